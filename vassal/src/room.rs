//! How much memory could still be had: of the machine, and of every control group this process is in (proc(5), cgroups(7)).
//! Unknown is plenty: nothing is held back because a file could not be read.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes that can be had without the machine swapping or the kernel killing somebody; None when nothing limits it.
pub(crate) fn available_bytes() -> Option<u64> {
    let of_groups =
        fs::read_to_string("/proc/self/cgroup").ok().map(|groups| of_groups(&groups, Path::new("/sys/fs/cgroup")));
    let of_machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    of_groups.flatten().into_iter().chain(of_machine).min()
}

fn of_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
}

/// The smallest of what the groups leave, of /proc/self/cgroup's and all above them.
fn of_groups(groups: &str, mount: &Path) -> Option<u64> {
    let lines = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        let group = group.trim_start_matches('/');
        match controllers {
            "" => Some((Version::Two, mount.to_owned(), group)),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some((Version::One, mount.join("memory"), group))
            }
            _ => None,
        }
    });
    lines.filter_map(|(version, root, group)| of_group(version, &root, &root.join(group))).min()
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

fn of_group(version: Version, root: &Path, group: &Path) -> Option<u64> {
    let above = group.ancestors().take_while(|path| path.starts_with(root));
    above.filter_map(|path| left_in(version, path)).min()
}

/// What its limit leaves; what the kernel only caches of files is given back when it is needed.
fn left_in(version: Version, group: &Path) -> Option<u64> {
    let (limit, used) = match version {
        Version::One => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        Version::Two => ("memory.max", "memory.current"),
    };
    let number = |name: &str| -> Option<u64> { fs::read_to_string(group.join(name)).ok()?.trim().parse().ok() };
    // "max" is no number. Version 1 says the largest multiple of a page.
    let limit = number(limit).filter(|limit| *limit < 1 << 60)?;
    let used = number(used)?;
    Some(limit.saturating_sub(used.saturating_sub(cached(version, group.join("memory.stat")))))
}

fn cached(version: Version, stat: PathBuf) -> u64 {
    let name = match version {
        Version::One => "total_inactive_file",
        Version::Two => "inactive_file",
    };
    let text = fs::read_to_string(stat).unwrap_or_default();
    let found = text.lines().find_map(|line| line.split_once(' ').filter(|(key, _)| *key == name));
    found.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("empery-room-{}", std::process::id())).join(name);
        fs::create_dir_all(&path).unwrap();
        for (file, content) in files {
            fs::write(path.join(file), content).unwrap();
        }
        path
    }

    #[test]
    fn the_machine_says_what_is_available() {
        assert_eq!(of_machine("MemTotal: 8 kB\nMemFree: 1 kB\nMemAvailable:     3 kB\n"), Some(3072));
        assert_eq!(of_machine("MemTotal: 8 kB\n"), None);
    }

    #[test]
    fn a_group_of_version_2_leaves_what_its_limit_and_those_above_it_leave() {
        let inner = group("two/slice/unit", &[("memory.max", "max\n"), ("memory.current", "10\n")]);
        let mount = inner.ancestors().nth(2).unwrap().to_owned();
        group(
            "two/slice",
            &[("memory.max", "1000\n"), ("memory.current", "900\n"), ("memory.stat", "anon 1\ninactive_file 50\n")],
        );
        assert_eq!(of_groups("0::/slice/unit\n", &mount), Some(150));
        group("two/slice/unit", &[("memory.max", "70\n")]);
        assert_eq!(of_groups("0::/slice/unit\n", &mount), Some(60));
    }

    #[test]
    fn a_group_of_version_1_is_found_by_its_controller_and_one_without_a_limit_is_none() {
        let unit = group(
            "one/memory/unit",
            &[
                ("memory.limit_in_bytes", "500\n"),
                ("memory.usage_in_bytes", "400\n"),
                ("memory.stat", "total_inactive_file 7\n"),
            ],
        );
        let mount = unit.ancestors().nth(2).unwrap().to_owned();
        assert_eq!(of_groups("5:pids:/unit\n4:memory:/unit\n0::/\n", &mount), Some(107));
        group("one/memory/unit", &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(of_groups("4:memory:/unit\n", &mount), None);
    }
}
