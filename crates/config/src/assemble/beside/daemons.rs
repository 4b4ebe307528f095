//! `attach-daemon` and its relatives: one line each.

use std::path::PathBuf;

use super::keys::{number, pairs, unknown_key};
use crate::{
    assemble::values::Value,
    beside::{Account, Daemon, usual_mercy_s},
};

/// `stopsignal=` by default, and the highest signal there is (signal(7)).
const SIGTERM: i32 = 15;
const SIGNAL_MAX: i64 = 64;
/// `freq=` by default.
const LOOKS: u32 = 10;
/// `max_throttle=` by default, in s.
const THROTTLE_MAX_S: u32 = 300;
pub(super) fn plain(command: String) -> Daemon {
    Daemon {
        command,
        pidfile: None,
        looks: LOOKS,
        control: false,
        daemonize: false,
        touch: Vec::new(),
        stop_signal: SIGTERM,
        reload_signal: None,
        stdin: false,
        mercy_s: usual_mercy_s(),
        uid: None,
        gid: None,
        directory: PathBuf::new(),
        throttle_max_s: THROTTLE_MAX_S,
        notify: false,
    }
}

/// `PIDFILE[,FREQ] COMMAND`.
pub(super) fn smart(value: &mut Value<'_>) -> Option<Daemon> {
    let text = value.required()?;
    let Some((pidfile, command)) = text.split_once(' ').filter(|(pidfile, _)| !pidfile.is_empty()) else {
        let hint = format!("write `{} = /run/NAME.pid COMMAND`", value.directive.key);
        value.bad("a pidfile, a blank and a command", &hint);
        return None;
    };
    let (pidfile, looks) = pidfile.split_once(',').map_or((pidfile, None), |(path, looks)| (path, Some(looks)));
    let looks = looks.map_or(LOOKS, |looks| looks_of(value, looks));
    Some(Daemon { pidfile: Some(pidfile.into()), looks, ..plain(command.to_owned()) })
}

fn looks_of(value: &mut Value<'_>, text: &str) -> u32 {
    u32::try_from(number(value, "freq", text)).unwrap_or(0)
}

pub(super) fn by_keys(value: &mut Value<'_>) -> Option<Daemon> {
    let text = value.required()?;
    let mut daemon = plain(String::new());
    for (key, said) in pairs(&text) {
        match key.as_str() {
            "command" | "cmd" | "exec" => daemon.command = said,
            "freq" => daemon.looks = looks_of(value, &said),
            "pidfile" => daemon.pidfile = Some(said.into()),
            "control" => daemon.control = true,
            "daemonize" | "daemon" => daemon.daemonize = true,
            "touch" => daemon.touch.extend(said.split(';').filter(|path| !path.is_empty()).map(PathBuf::from)),
            "stopsignal" | "stop_signal" => daemon.stop_signal = signal(value, &key, &said).unwrap_or(SIGTERM),
            "reloadsignal" | "reload_signal" => daemon.reload_signal = signal(value, &key, &said),
            "stdin" => daemon.stdin = true,
            "uid" => daemon.uid = Account::said(&said),
            "gid" => daemon.gid = Account::said(&said),
            "chdir" => daemon.directory = said.into(),
            "max_throttle" => {
                daemon.throttle_max_s =
                    u32::try_from(number(value, &key, &said)).ok().filter(|most| *most > 0).unwrap_or(THROTTLE_MAX_S);
            }
            "notifypid" => daemon.notify = true,
            "ns_pid" => {
                value.bad("no `ns_pid`", "give the daemon a pid namespace with `unshare --pid --fork COMMAND`");
            }
            "legion" => {
                value.bad("no `legion`", "there is no legion of hosts: run it on one host by a unit of its own")
            }
            _ => unknown_key(value, &key),
        }
    }
    if daemon.command.is_empty() {
        value.bad("a key `cmd`", "write `attach-daemon2 = cmd=COMMAND,KEY=VALUE`");
        return None;
    }
    if daemon.daemonize && daemon.pidfile.is_none() {
        value.bad("a key `pidfile` beside `daemonize`", "say where its pid is to be written");
        return None;
    }
    Some(daemon)
}

fn signal(value: &mut Value<'_>, key: &str, text: &str) -> Option<i32> {
    match number(value, key, text) {
        0 => None,
        number @ 1..=SIGNAL_MAX => i32::try_from(number).ok(),
        _ => {
            value.bad(&format!("`{key}` to be the number of a signal"), "15 is SIGTERM, 1 is SIGHUP (signal(7))");
            None
        }
    }
}
