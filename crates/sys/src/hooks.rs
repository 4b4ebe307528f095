//! Does what a hook says (uWSGI: core/hooks.c). Blocks until it is done.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    process::{Command, ExitStatus},
};

use empery_control::process::Hook;
use nix::unistd::{Gid, Uid};

use crate::identity;

/// What is left to the caller.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// `putenv`: a variable to set, or with None to remove.
    Variable(String, Option<String>),
    /// `print`, `log`: a line for the log.
    Line(String),
    /// `exit`: the process is to end with this code.
    Exit(i32),
}

/// Permission bits of new files and directories, before the umask.
const FILE_MODE: u32 = 0o666;
const DIRECTORY_MODE: u32 = 0o777;

/// Does it; a command is run in this process's surroundings, for as long as it takes.
///
/// # Errors
/// One sentence that names the hook.
pub fn perform(hook: &Hook) -> Result<Left, String> {
    perform_by(hook, &command)
}

/// Does it, and has a command run by `command`.
///
/// # Errors
/// One sentence that names the hook.
pub fn perform_by(hook: &Hook, command: &dyn Fn(&str) -> io::Result<()>) -> Result<Left, String> {
    let Hook { action, argument } = hook;
    let failed = |error: io::Error| format!("the hook {action}:{argument} failed: {error}");
    let done = match action.as_str() {
        "print" | "log" => return Ok(Left::Line(argument.clone())),
        "putenv" => {
            let (name, value) =
                argument.split_once('=').map_or((&**argument, None), |(name, value)| (name, Some(value)));
            return Ok(Left::Variable(name.to_owned(), value.map(str::to_owned)));
        }
        "exit" => return Ok(Left::Exit(argument.parse().unwrap_or(0))),
        "cd" | "chdir" => std::env::set_current_dir(argument),
        "mkdir" => fs::DirBuilder::new().mode(DIRECTORY_MODE).create(argument),
        "unlink" => fs::remove_file(argument),
        "creat" | "create" => write(argument, Existing::Truncate, ""),
        "write" => two(argument).and_then(|(file, text)| write(file, Existing::Truncate, text)),
        "writen" => two(argument).and_then(|(file, text)| write(file, Existing::Truncate, &format!("{text}\n"))),
        "append" => two(argument).and_then(|(file, text)| write(file, Existing::Append, text)),
        "appendn" => {
            let (file, text) = argument.split_once(' ').unwrap_or((argument, ""));
            write(file, Existing::Append, &format!("{text}\n"))
        }
        "chmod" => two(argument).and_then(|(file, mode)| {
            let mode = u32::from_str_radix(mode, 8).map_err(|_| wrong("an octal mode"))?;
            fs::set_permissions(file, fs::Permissions::from_mode(mode))
        }),
        "sticky" => fs::metadata(argument).and_then(|facts| {
            fs::set_permissions(argument, fs::Permissions::from_mode(facts.permissions().mode() | 0o1000))
        }),
        "chown" | "chown2" => own(argument),
        "exec" => command(argument),
        "safeexec" => {
            return Ok(match command(argument) {
                Ok(()) => Left::Nothing,
                Err(error) => Left::Line(failed(error)),
            });
        }
        _ => Err(wrong("an action that is known")),
    };
    done.map(|()| Left::Nothing).map_err(failed)
}

enum Existing {
    Truncate,
    Append,
}

fn write(file: &str, existing: Existing, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).mode(FILE_MODE);
    match existing {
        Existing::Truncate => options.write(true).truncate(true),
        Existing::Append => options.append(true),
    };
    options.open(file)?.write_all(text.as_bytes())
}

/// A file and a text behind a blank.
fn two(argument: &str) -> io::Result<(&str, &str)> {
    argument.split_once(' ').ok_or_else(|| wrong("a file, a blank, and what is to be with it"))
}

fn own(argument: &str) -> io::Result<()> {
    let mut words = argument.splitn(3, ' ');
    let (Some(file), Some(user), Some(group)) = (words.next(), words.next(), words.next()) else {
        return Err(wrong("a file, a user and a group"));
    };
    let (user, group) = (identity::user(user)?.uid, identity::group(group)?);
    Ok(nix::unistd::chown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?)
}

/// By the shell, as uWSGI has it run.
fn command(text: &str) -> io::Result<()> {
    judge(Command::new("/bin/sh").arg("-c").arg(text).status()?)
}

/// The end of a command, as its hook sees it.
///
/// # Errors
/// When it was no success, with how it was.
pub fn judge(status: ExitStatus) -> io::Result<()> {
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("it ended with {status}"))) }
}

fn wrong(expected: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(action: &str, argument: String) -> Hook {
        Hook { action: action.into(), argument }
    }

    #[test]
    fn files_are_made_written_and_removed_as_the_hooks_say() {
        let place = std::env::temp_dir().join(format!("empery-hooks-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        let path = |name: &str| place.join(name).display().to_string();
        let done = |action: &str, argument: String| assert_eq!(perform(&hook(action, argument)), Ok(Left::Nothing));
        done("mkdir", path(""));
        done("writen", format!("{} a b", path("file")));
        done("append", format!("{} c", path("file")));
        done("appendn", path("file"));
        assert_eq!(fs::read_to_string(path("file")).unwrap(), "a b\nc\n");
        done("chmod", format!("{} 600", path("file")));
        assert_eq!(fs::metadata(path("file")).unwrap().permissions().mode() & 0o777, 0o600);
        done("exec", format!("test -f {0} && mv {0} {1}", path("file"), path("moved")));
        done("unlink", path("moved"));
        let sentence = perform(&hook("unlink", path("moved"))).unwrap_err();
        assert!(sentence.contains("unlink:") && sentence.contains("No such file"), "{sentence}");
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_command_that_fails_is_an_error_unless_it_is_safe() {
        assert!(perform(&hook("exec", "exit 3".into())).unwrap_err().contains("exit status: 3"));
        assert!(matches!(perform(&hook("safeexec", "exit 3".into())), Ok(Left::Line(_))));
    }

    #[test]
    fn what_a_process_says_of_itself_is_left_to_it() {
        let left = |action: &str, argument: &str| perform(&hook(action, argument.into())).unwrap();
        assert_eq!(left("putenv", "A=b=c"), Left::Variable("A".into(), Some("b=c".into())));
        assert_eq!(left("print", "text"), Left::Line("text".into()));
        assert_eq!(left("exit", "4"), Left::Exit(4));
    }
}
