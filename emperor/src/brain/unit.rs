//! Asks systemd whether it would kill the vassals when the emperor stops or is replaced: they are to survive it
//! (`KillMode=process`, systemd.kill(5)). Only looks; outside systemd it says nothing.

use std::process::Stdio;

use super::inputs::{Inbox, Input};

/// Looks once, and raises an alarm when survivors would be killed.
pub(crate) async fn check_kill_mode(inbox: Inbox) {
    if std::env::var_os("INVOCATION_ID").is_none() {
        return;
    }
    let Some(unit) = own_unit() else { return };
    let asked = tokio::task::spawn_blocking(move || {
        let mut question = std::process::Command::new("systemctl");
        question.args(["show", "--property=KillMode", "--value", &unit]).stdin(Stdio::null()).stderr(Stdio::null());
        question.output().ok().map(|output| (unit, String::from_utf8_lossy(&output.stdout).trim().to_owned()))
    });
    let Ok(Some((unit, mode))) = asked.await else { return };
    if !mode.is_empty() && mode != "process" && mode != "none" {
        let text = format!(
            "{unit} has KillMode={mode}: systemd kills every vassal when the emperor stops or crashes; set KillMode=process in the unit"
        );
        tracing::warn!("{text}");
        inbox.tell(Input::Alarm(text));
    }
}

/// The service this process is in, by its cgroup (cgroups(7): `0::/system.slice/empery.service`).
fn own_unit() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    unit_of(&text)
}

fn unit_of(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.rsplit('/').find(|part| part.ends_with(".service")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_service_of_the_cgroup() {
        assert_eq!(unit_of("0::/system.slice/empery.service\n").as_deref(), Some("empery.service"));
        assert_eq!(unit_of("0::/system.slice/empery.service/vassals\n").as_deref(), Some("empery.service"));
        assert_eq!(unit_of("0::/user.slice/user-0.slice/session-1.scope\n"), None);
    }
}
