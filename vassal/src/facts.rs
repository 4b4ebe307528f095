//! What the configuration must know of this machine and process: the I/O side of `empery_config::facts`.

use std::{
    io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use empery_config::facts::{Facts, FileError, FileKind, Files};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Gid, Group, Pid, Uid, User, getgid, getuid},
};

/// Largest configuration file that is read, in bytes (the emperor refuses larger vassal files too).
pub(crate) const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// How long all commands of values together may take under an emperor.
const RUN_WITHIN: Duration = Duration::from_secs(5);

/// Facts about this process. `working_directory` is what `%v` shows; `started_by` who started it, when it has become somebody
/// else before (`%u`, `%g`); `is_a_reload` is for `if-reload`.
pub(crate) fn gather(working_directory: String, started_by: Option<(u32, u32)>, is_a_reload: bool) -> Facts {
    let (uid, gid) = started_by.map_or((getuid(), getgid()), |(uid, gid)| (uid.into(), gid.into()));
    Facts {
        working_directory,
        hostname: hostname(),
        cpu_cores: std::thread::available_parallelism()
            .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        uid: uid.as_raw(),
        user: user_name(uid),
        gid: gid.as_raw(),
        group: group_name(gid),
        now_unix_us: crate::clock::unix_us(),
        environment: std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect(),
        environment_order: std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect(),
        is_a_reload,
        on_demand: None,
        common: Default::default(),
        inherited: Vec::new(),
    }
}

/// The working directory as text; `/` when it cannot be found out (it was removed).
pub(crate) fn working_directory() -> String {
    std::env::current_dir().map_or_else(|_| "/".to_owned(), |path| path.to_string_lossy().into_owned())
}

/// The host's name, as uWSGI's `SERVER_NAME` and `%h` show it.
pub(crate) fn hostname() -> String {
    nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn user_name(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

fn group_name(gid: Gid) -> String {
    Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name)
}

/// Files of this machine, read with the identity of this process.
pub(crate) struct Disk {
    pub(crate) started_by: Starter,
    /// Until when commands of values may run under an emperor: a master that reads must not be taken for one that hangs.
    pub(crate) run_until: Instant,
}

impl Disk {
    /// For one reading.
    pub(crate) fn new(started_by: Starter) -> Disk {
        Disk { started_by, run_until: Instant::now() + RUN_WITHIN }
    }
}

/// Who started this process, which decides about `exec://` and `fd://`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starter {
    /// Somebody who could have run the commands himself, and who gives it descriptors.
    Somebody,
    /// The emperor: the file is somebody's who may not run what he likes as the emperor.
    Emperor,
}

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let metadata = std::fs::metadata(path).map_err(|error| file_error(&error))?;
        if metadata.is_dir() {
            return Err(FileError::Other("it is a directory".to_owned()));
        }
        if metadata.len() > FILE_MAX_BYTES {
            return Err(FileError::Other(format!("it is longer than {FILE_MAX_BYTES} bytes")));
        }
        std::fs::read(path).map_err(|error| file_error(&error))
    }

    fn inode(&self, path: &str) -> u64 {
        std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.ino())
    }

    fn real_path(&self, path: &str) -> String {
        Path::new(path).canonicalize().map_or_else(|_| path.to_owned(), |real| real.to_string_lossy().into_owned())
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(match (metadata.is_file(), metadata.is_dir()) {
            (true, _) => FileKind::File,
            (_, true) => FileKind::Directory,
            _ => FileKind::Other,
        })
    }

    fn is_readable(&self, path: &str) -> bool {
        nix::unistd::access(path, nix::unistd::AccessFlags::R_OK).is_ok()
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let entries = std::fs::read_dir(path).map_err(|error| file_error(&error))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn run(&self, command: &str) -> Result<Vec<u8>, FileError> {
        match self.started_by {
            Starter::Somebody => output_of(command, None),
            Starter::Emperor => {
                Err(FileError::Other("under an emperor no command is run to understand a vassal file".to_owned()))
            }
        }
    }

    fn run_for_value(&self, command: &str) -> Result<Vec<u8>, FileError> {
        match self.started_by {
            Starter::Somebody => output_of(command, None),
            // This process is the vassal's user, as the app will be.
            Starter::Emperor => output_of(command, Some(self.run_until)),
        }
    }

    fn read_descriptor(&self, number: i32) -> Result<Vec<u8>, FileError> {
        match self.started_by {
            Starter::Somebody => crate::given_text::read(number),
            Starter::Emperor => {
                Err(FileError::Other("under an emperor a vassal is given no descriptors of its own".to_owned()))
            }
        }
    }

    fn resolve(&self, host: &str) -> Result<String, FileError> {
        use std::net::{SocketAddr, ToSocketAddrs};
        let found = (host, 0).to_socket_addrs().map_err(|error| FileError::Other(error.to_string()))?;
        let address = found.filter(SocketAddr::is_ipv4).map(|found| found.ip().to_string()).next();
        address.ok_or_else(|| FileError::Other("it has no IPv4 address".to_owned()))
    }
}

fn file_error(error: &std::io::Error) -> FileError {
    match error.kind() {
        std::io::ErrorKind::NotFound => FileError::NotFound,
        _ => FileError::Other(error.to_string()),
    }
}

/// What `/bin/sh -c COMMAND` prints; its errors go where ours go. What is not over by then is killed.
fn output_of(command: &str, until: Option<Instant>) -> Result<Vec<u8>, FileError> {
    let other = |what: String| FileError::Other(what);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).process_group(0);
    empery_sys::limits::spare(&mut shell);
    let child = shell.spawn().map_err(|error| other(format!("/bin/sh: {error}")))?;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let output = match until {
        None => child.wait_with_output(),
        Some(until) => {
            let (tell, told) = mpsc::channel();
            std::thread::spawn(move || tell.send(child.wait_with_output()));
            let left = until.saturating_duration_since(Instant::now());
            told.recv_timeout(left).unwrap_or_else(|_| {
                // The thread that waits for it has not reaped it yet, or it is gone.
                let _ = killpg(group, Signal::SIGKILL);
                Err(io::Error::other(format!("it was killed: commands have {} s", RUN_WITHIN.as_secs())))
            })
        }
    };
    let output = output.map_err(|error| other(error.to_string()))?;
    if !output.status.success() {
        return Err(other(format!("it ended with {}", output.status)));
    }
    if output.stdout.len() as u64 > FILE_MAX_BYTES {
        return Err(other(format!("it printed more than {FILE_MAX_BYTES} bytes")));
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_an_emperor_commands_run_for_values_alone_and_not_for_long() {
        let alone = Disk::new(Starter::Somebody);
        let governed = Disk { started_by: Starter::Emperor, run_until: Instant::now() + Duration::from_secs(1) };
        let text = |output: Result<Vec<u8>, FileError>| output.map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(text(alone.run("echo a; exit 0")).unwrap(), "a\n");
        assert_eq!(text(governed.run_for_value("echo b")).unwrap(), "b\n");
        assert!(governed.run("echo c").unwrap_err().to_string().contains("no command is run"));
        assert!(alone.run("exit 3").unwrap_err().to_string().contains("exit status: 3"));
        let slow = governed.run_for_value("sleep 1000 & echo $$; wait").unwrap_err().to_string();
        assert!(slow.contains("it was killed"), "{slow}");
    }
}
