//! What children inherit of the keeper's environment (contract with uWSGI: everything but its own variables).

use std::{ffi::OsString, os::unix::ffi::OsStrExt};

use empery_control::{boot::MASTER_BOOT_FD, keeper::KEEPER_FD};
use empery_sys::service_manager::NOTIFY_SOCKET;

use crate::brain::common::FOR_VASSALS;

use super::successor::{LOCK_FD, NOTE, STORE_FD};

type Variable = (OsString, OsString);

/// The brain's environment, with the number of its end of the channel.
pub(super) fn of_brain(own: impl Iterator<Item = Variable>, channel: i32) -> Vec<Variable> {
    let mut variables: Vec<_> = own.filter(|(name, _)| !is_ours_alone(name.as_bytes())).collect();
    variables.push((KEEPER_FD.into(), channel.to_string().into()));
    variables
}

/// A master's environment, with the number of the descriptor that holds its boot spec.
pub(super) fn of_master(own: impl Iterator<Item = Variable>, boot: i32) -> Vec<Variable> {
    let mut variables: Vec<_> = of_vassals(own).collect();
    variables.push((MASTER_BOOT_FD.into(), boot.to_string().into()));
    variables
}

/// What of an emperor's environment reaches its vassals, under the names that they see.
pub(crate) fn of_vassals(own: impl Iterator<Item = Variable>) -> impl Iterator<Item = Variable> {
    own.filter_map(|(name, value)| Some((for_vassal(name)?, value)))
}

/// Under which name a vassal sees it, if at all.
fn for_vassal(name: OsString) -> Option<OsString> {
    if let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(FOR_VASSALS)) {
        return Some(format!("UWSGI_{rest}").into());
    }
    let hidden = name.as_bytes().starts_with(b"UWSGI_") || is_ours_alone(name.as_bytes());
    (!hidden).then_some(name)
}

/// What systemd (sd_notify(3), sd_listen_fds(3)) and the keeper's own starter say to the keeper and nobody else.
fn is_ours_alone(name: &[u8]) -> bool {
    name.starts_with(b"LISTEN_")
        || [NOTIFY_SOCKET, KEEPER_FD, MASTER_BOOT_FD, LOCK_FD, STORE_FD, NOTE].iter().any(|own| own.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> impl Iterator<Item = Variable> {
        ["PATH", "UWSGI_HTTP", "UWSGI_VASSAL_THREADS", "NOTIFY_SOCKET", "LISTEN_FDS", KEEPER_FD, LOCK_FD, STORE_FD]
            .into_iter()
            .map(|name| (name.into(), "value".into()))
    }

    fn names(variables: &[Variable]) -> Vec<&str> {
        variables.iter().map(|(name, _)| name.to_str().unwrap()).collect()
    }

    #[test]
    fn b34_a_master_inherits_all_but_what_would_steer_it_by_accident() {
        assert_eq!(names(&of_master(own(), 7)), ["PATH", "UWSGI_THREADS", MASTER_BOOT_FD]);
    }

    #[test]
    fn the_brain_cannot_speak_to_systemd_in_the_emperors_name() {
        let variables = of_brain(own(), 7);
        assert_eq!(names(&variables), ["PATH", "UWSGI_HTTP", "UWSGI_VASSAL_THREADS", KEEPER_FD]);
        assert_eq!(variables[3].1, "7");
    }
}
