//! A control group of a story's own, where the machine lets it have one: for processes that shall have less memory, or
//! fewer processes, than they ask for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::ground::Skip;

/// A group under one controller, in the hierarchy of version 1 or 2. Removed when it is dropped, as soon as it is empty.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    limit: &'static str,
}

impl Cgroup {
    /// A group that limits memory.
    ///
    /// # Errors
    /// As a skip, where groups cannot be made.
    pub fn of_memory(name: &str) -> Result<Cgroup> {
        Cgroup::make("memory", name, "memory.limit_in_bytes", "memory.max")
    }

    /// A group that limits the number of processes and threads.
    ///
    /// # Errors
    /// As a skip, where groups cannot be made.
    pub fn of_pids(name: &str) -> Result<Cgroup> {
        Cgroup::make("pids", name, "pids.max", "pids.max")
    }

    fn make(controller: &str, name: &str, version_1: &'static str, version_2: &'static str) -> Result<Cgroup> {
        let name = format!("empery-story-{name}-{}", std::process::id());
        let roots =
            [(Path::new("/sys/fs/cgroup").join(controller), version_1), (PathBuf::from("/sys/fs/cgroup"), version_2)];
        for (root, limit) in roots {
            let path = root.join(&name);
            if fs::create_dir(&path).is_ok() {
                let group = Cgroup { path, limit };
                if group.path.join(limit).exists() {
                    return Ok(group);
                }
            }
        }
        Err(Skip(format!("no control group for {controller} can be made here")).into())
    }

    /// Sets the limit.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn limit(&self, value: u64) -> Result<()> {
        let path = self.path.join(self.limit);
        fs::write(&path, value.to_string()).with_context(|| format!("write {value} to {}", path.display()))
    }

    /// How much memory is used in it, in bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn used(&self) -> Result<u64> {
        let name = if self.limit == "memory.max" { "memory.current" } else { "memory.usage_in_bytes" };
        Ok(fs::read_to_string(self.path.join(name))?.trim().parse()?)
    }

    /// How many processes and threads are in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pids(&self) -> Result<u64> {
        Ok(fs::read_to_string(self.path.join("pids.current"))?.trim().parse()?)
    }

    /// The same command, begun inside the group.
    #[must_use]
    pub fn around(&self, command: &Command) -> Command {
        let mut inside = Command::new("/bin/sh");
        inside.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.path.join("cgroup.procs"));
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            inside.current_dir(directory);
        }
        inside
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Not while a process of a story that failed is in it; the name says whose it was.
        let _ = fs::remove_dir(&self.path);
    }
}
