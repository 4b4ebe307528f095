//! Whether the kernel has killed a process for want of memory: it says so in counters only, of the process's memory
//! cgroup (`memory.events` of version 2, `memory.oom_control` of version 1) and of the machine (`/proc/vmstat`). They are
//! read when a worker is forked and compared when it was killed. A kill that was told of counts for nobody else.

use std::{
    fs,
    path::{Path, PathBuf},
};

const CGROUPS: &str = "/sys/fs/cgroup";

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillCounts {
    group: Option<Group>,
    in_group: u64,
    on_machine: u64,
}

/// A memory cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    /// As the kernel names it.
    name: String,
    directory: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl KillCounts {
    /// Those that concern this process.
    #[must_use]
    pub fn of(pid: i32) -> KillCounts {
        let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let group = group(&membership, Path::new(CGROUPS));
        let in_group = group.as_ref().map_or(0, Group::kills);
        KillCounts { group, in_group, on_machine: on_machine() }
    }

    /// Since then, when there was such a kill: why a process that was killed probably was.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        match (&self.group, self.kills_in_group()) {
            (Some(group), 1..) => {
                let limit = group.limit().map(|limit| format!(", limit {limit}")).unwrap_or_default();
                Some(format!("out of memory: the kernel killed it (memory cgroup {}{limit})", group.name))
            }
            _ if on_machine() > self.on_machine => Some(
                "out of memory, most likely: the kernel has killed for memory on this machine since it was forked"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// The numbers behind [`Self::sentence`].
    #[must_use]
    pub fn evidence(&self) -> Option<String> {
        self.sentence()?;
        let machine = on_machine().saturating_sub(self.on_machine);
        let group = self.group.as_ref().map_or_else(String::new, |group| {
            let peak = group.peak().map(|peak| format!(", most ever used {peak}")).unwrap_or_default();
            format!("{} in memory cgroup {}{peak}; ", self.kills_in_group(), group.name)
        });
        Some(format!("kills for memory since it was forked: {group}{machine} on the machine (/proc/vmstat oom_kill)"))
    }

    /// One such kill was told of: it does not explain the end of another process, too.
    pub fn told_of(&mut self, same: &KillCounts) {
        if self.group == same.group {
            self.in_group = (self.in_group + 1).min(self.group.as_ref().map_or(0, Group::kills).max(self.in_group));
        }
        self.on_machine = self.on_machine.saturating_add(1).min(on_machine().max(self.on_machine));
    }

    fn kills_in_group(&self) -> u64 {
        self.group.as_ref().map_or(0, Group::kills).saturating_sub(self.in_group)
    }
}

impl Group {
    fn kills(&self) -> u64 {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        number_of(&self.read(file), "oom_kill").unwrap_or(0)
    }

    fn limit(&self) -> Option<String> {
        let file = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        size(&self.read(file))
    }

    fn peak(&self) -> Option<String> {
        let file = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        size(&self.read(file))
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.directory.join(file)).unwrap_or_default()
    }
}

/// The memory cgroup of a process: `hierarchy:controllers:path` in /proc/PID/cgroup (cgroups(7)), below where
/// hierarchies are usually mounted. In a container the path may begin outside of what is mounted; then its root counts.
fn group(membership: &str, mounted: &Path) -> Option<Group> {
    let mut lines = membership.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    let (version, path) =
        match lines.clone().find(|(controllers, _)| controllers.split(',').any(|name| name == "memory")) {
            Some((_, path)) => (Version::One, path),
            None => (Version::Two, lines.find(|(controllers, _)| controllers.is_empty())?.1),
        };
    let (roots, probe) = match version {
        Version::One => (vec![mounted.join("memory")], "memory.oom_control"),
        Version::Two => (vec![mounted.to_owned(), mounted.join("unified")], "memory.events"),
    };
    let relative = path.trim_start_matches('/');
    let directory = roots
        .iter()
        .map(|root| root.join(relative))
        .chain(roots.iter().cloned())
        .find(|directory| directory.join(probe).exists())?;
    Some(Group { name: path.to_owned(), directory, version })
}

fn on_machine() -> u64 {
    number_of(&fs::read_to_string("/proc/vmstat").unwrap_or_default(), "oom_kill").unwrap_or(0)
}

/// `name number`, a line each.
fn number_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Bytes as people read them; None for no limit, which version 1 writes as a number near 2^63.
fn size(bytes: &str) -> Option<String> {
    let bytes: u64 = bytes.trim().parse().ok()?;
    (bytes < 1 << 60).then(|| format!("{} MiB", bytes.div_ceil(1024 * 1024)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let place = std::env::temp_dir().join(format!("empery-oom-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        for (file, content) in files {
            let path = place.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        place
    }

    fn since(group: Group) -> KillCounts {
        KillCounts { in_group: group.kills(), group: Some(group), on_machine: u64::MAX }
    }

    #[test]
    fn p15_a_kill_is_found_in_the_counters_of_both_versions() {
        let membership = "8:memory:/shop\n1:name=systemd:/\n0::/other\n";
        let one = place(
            "one",
            &[
                ("memory/shop/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
                ("memory/shop/memory.limit_in_bytes", "67108864\n"),
            ],
        );
        let before = since(group(membership, &one).unwrap());
        assert_eq!(before.sentence(), None);
        fs::write(one.join("memory/shop/memory.oom_control"), "oom_kill 4\n").unwrap();
        let sentence = before.sentence().unwrap();
        assert_eq!(sentence, "out of memory: the kernel killed it (memory cgroup /shop, limit 64 MiB)");

        let two = place(
            "two",
            &[("shop/memory.events", "low 0\noom 1\noom_kill 0\noom_group_kill 0\n"), ("shop/memory.max", "max\n")],
        );
        let before = since(group("0::/shop\n", &two).unwrap());
        fs::write(two.join("shop/memory.events"), "oom 1\noom_kill 1\noom_group_kill 9\n").unwrap();
        assert_eq!(before.sentence().unwrap(), "out of memory: the kernel killed it (memory cgroup /shop)");
        for place in [one, two] {
            fs::remove_dir_all(place).unwrap();
        }
    }

    #[test]
    fn a_kill_that_was_told_of_does_not_explain_another_end() {
        let machine = place("told", &[("shop/memory.events", "oom_kill 0\n"), ("shop/memory.max", "max\n")]);
        let mut first = since(group("0::/shop\n", &machine).unwrap());
        let mut second = first.clone();
        fs::write(machine.join("shop/memory.events"), "oom_kill 1\n").unwrap();
        assert!(first.sentence().is_some() && second.sentence().is_some(), "it may have been either");
        let told = first.clone();
        second.told_of(&told);
        assert_eq!(second.sentence(), None, "somebody else has sent this one SIGKILL");
        fs::write(machine.join("shop/memory.events"), "oom_kill 2\n").unwrap();
        assert!(second.sentence().is_some());
        // Both were killed before the first end was seen: both are explained.
        first.told_of(&told);
        assert!(first.sentence().is_some());
        fs::remove_dir_all(machine).unwrap();
    }

    #[test]
    fn where_nothing_is_mounted_nothing_is_claimed() {
        assert_eq!(group("0::/shop\n", Path::new("/nowhere")), None);
        assert_eq!(group("", Path::new("/sys/fs/cgroup")), None);
    }
}
