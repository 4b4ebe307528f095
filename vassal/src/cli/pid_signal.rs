//! `--reload PIDFILE`, `--stop PIDFILE` and `--suspend PIDFILE`, with uWSGI's exit codes: 0 when the signal was sent, 255 when no such
//! process is there, 1 when the file says nothing usable. uWSGI takes an empty file for pid 0 and hits the whole
//! process group of whoever called it; here only a positive number is a pid.

use std::{path::Path, process::ExitCode};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// See the module.
pub(super) fn run(pidfile: &Path, signal: Signal) -> ExitCode {
    let shown = pidfile.display();
    let text = match std::fs::read_to_string(pidfile) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("vassal: the pidfile {shown} cannot be read: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Some(pid) = pid(&text) else {
        eprintln!("vassal: the pidfile {shown} holds no pid: expected one positive number");
        return ExitCode::FAILURE;
    };
    match kill(pid, signal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vassal: {signal} was not sent to pid {pid} of {shown}: {}", error.desc());
            ExitCode::from(255)
        }
    }
}

fn pid(text: &str) -> Option<Pid> {
    text.trim().parse::<i32>().ok().filter(|pid| *pid > 0).map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b26_only_one_positive_number_is_a_pid() {
        assert_eq!(pid("123\n"), Some(Pid::from_raw(123)));
        for text in ["", "\n", "0", "-1", "abc", "12 13", "99999999999"] {
            assert_eq!(pid(text), None, "{text:?}");
        }
    }
}
