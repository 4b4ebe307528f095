//! What the command line asks for, before any configuration is read: most of it is configuration, some of it is a
//! single thing to do.

pub(crate) mod emperor;
pub(crate) mod pid_signal;
pub(crate) mod read_stats;
pub(crate) mod show;

use nix::sys::signal::Signal;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Run the vassal that all arguments together describe.
    Run,
    /// `--reload`, `--stop`: send a signal to the process a pidfile names.
    Signal {
        /// The pidfile.
        pidfile: String,
        /// The signal.
        signal: Signal,
    },
    /// `--connect-and-read`: show what a stats socket says.
    ReadStats {
        /// Its address.
        address: String,
    },
    /// `--emperor`: become an emperor of this directory.
    Emperor {
        /// The directory.
        vassals: String,
    },
    /// `--version`.
    Version,
    /// `--help`.
    Help,
}

/// Finds the command. What is not one of these is configuration, whose own reader finds its mistakes.
///
/// # Errors
/// One sentence, when a value is missing.
pub(crate) fn command(arguments: &[String]) -> Result<Command, String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (name, mut value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let mut value = || value.take().or_else(|| rest.next().cloned()).ok_or_else(|| format!("{name} needs a value"));
        return Ok(match name {
            "--version" => Command::Version,
            "--help" | "-h" => Command::Help,
            "--reload" => Command::Signal { pidfile: value()?, signal: Signal::SIGHUP },
            "--stop" => Command::Signal { pidfile: value()?, signal: Signal::SIGINT },
            "--connect-and-read" => Command::ReadStats { address: value()? },
            "--emperor" => Command::Emperor { vassals: value()? },
            _ => continue,
        });
    }
    Ok(Command::Run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Result<Command, String> {
        command(&arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn commands_are_found_in_both_spellings_and_the_rest_is_configuration() {
        let stop = Command::Signal { pidfile: "/run/a.pid".into(), signal: Signal::SIGINT };
        assert_eq!(of(&["--stop", "/run/a.pid"]), Ok(stop));
        let reload = Command::Signal { pidfile: "/run/a.pid".into(), signal: Signal::SIGHUP };
        assert_eq!(of(&["--reload=/run/a.pid"]), Ok(reload));
        assert_eq!(of(&["--http", ":9090", "--wsgi-file", "foobar.py"]), Ok(Command::Run));
        assert_eq!(of(&["app.ini"]), Ok(Command::Run));
        assert_eq!(of(&["--stop"]), Err("--stop needs a value".to_owned()));
    }
}
