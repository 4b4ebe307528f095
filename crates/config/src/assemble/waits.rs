//! `wait-for-…` while it comes in.

use std::{path::Path, time::Duration};

use super::values::Value;
use crate::waits::{Awaited, Wait};

/// How long is waited when nothing is said, as in uWSGI.
const WITHIN: Duration = Duration::from_secs(60);

/// What has been said so far; paths as written.
#[derive(Default)]
pub(super) struct WaitsDraft {
    interfaces: Vec<String>,
    paths: Vec<String>,
    mount_points: Vec<String>,
    sockets: Vec<String>,
    interfaces_within: Option<Duration>,
    paths_within: Option<Duration>,
    sockets_within: Option<Duration>,
}

impl WaitsDraft {
    pub(super) fn take(&mut self, value: &mut Value<'_>) -> bool {
        match value.directive.key.as_str() {
            "wait-for-interface" | "wait-interface" | "wait-for-iface" | "wait-iface" => {
                self.interfaces.extend(value.required());
            }
            "wait-for-fs" | "wait-for-file" | "wait-for-dir" => self.paths.extend(value.required()),
            "wait-for-mountpoint" => self.mount_points.extend(value.required()),
            "wait-for-socket" => self.sockets.extend(value.required()),
            "wait-for-interface-timeout"
            | "wait-interface-timeout"
            | "wait-for-iface-timeout"
            | "wait-iface-timeout" => self.interfaces_within = timeout(value),
            "wait-for-fs-timeout" => self.paths_within = timeout(value),
            "wait-for-socket-timeout" => self.sockets_within = timeout(value),
            _ => return false,
        }
        true
    }

    /// In the order in which uWSGI waits (core/utils.c: `uwsgi_as_root`), before it changes directory.
    pub(super) fn finish(self, working_directory: &Path) -> Vec<Wait> {
        let wait = |awaited, within: Option<Duration>| Wait { awaited, within: within.unwrap_or(WITHIN) };
        let absolute = |path: String| working_directory.join(path);
        let interfaces = self.interfaces.into_iter().map(|name| wait(Awaited::Interface(name), self.interfaces_within));
        let paths = self.paths.into_iter().map(|path| wait(Awaited::Path(absolute(path)), self.paths_within));
        let mount_points =
            self.mount_points.into_iter().map(|path| wait(Awaited::MountPoint(absolute(path)), self.paths_within));
        let sockets = self.sockets.into_iter().map(|name| {
            let name = if name.contains(':') || name.starts_with('@') {
                name
            } else {
                absolute(name).to_string_lossy().into_owned()
            };
            wait(Awaited::Socket(name), self.sockets_within)
        });
        interfaces.chain(paths).chain(mount_points).chain(sockets).collect()
    }
}

/// 0 is the default, as in uWSGI.
fn timeout(value: &mut Value<'_>) -> Option<Duration> {
    value.seconds().filter(|within| !within.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::tests::config;

    #[test]
    fn things_are_waited_for_in_uwsgi_s_order_each_with_its_time() {
        let waits = config(
            "wait-for-socket = db.sock\nwait-for-socket = 127.0.0.1:5432\nwait-for-file = here\nwait-for-mountpoint = /mnt\n\
             wait-iface = eth0\nwait-for-fs-timeout = 5\nwait-for-iface-timeout = 0",
        )
        .waits;
        let wait = |awaited, seconds| Wait { awaited, within: Duration::from_secs(seconds) };
        assert_eq!(
            waits,
            [
                wait(Awaited::Interface("eth0".into()), 60),
                wait(Awaited::Path("/v/here".into()), 5),
                wait(Awaited::MountPoint("/mnt".into()), 5),
                wait(Awaited::Socket("/v/db.sock".into()), 60),
                wait(Awaited::Socket("127.0.0.1:5432".into()), 60),
            ]
        );
    }
}
