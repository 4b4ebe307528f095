//! What the command line asks for besides serving: each is one thing to do, then the process is over.

mod emperor;
mod pid_signal;
mod read_stats;
mod show;

use std::process::ExitCode;

use empery_config::read::{Command, Entry};
use nix::sys::signal::Signal;

use crate::{reading, standalone, started_with};

/// Does what the arguments (without the program's name) ask for.
pub(crate) fn run(arguments: Vec<String>) -> ExitCode {
    let inherited = started_with::sockets();
    let outcome = reading::outcome(&Entry::Arguments(arguments.clone()), inherited.clone());
    match &outcome.command {
        Command::Serve => standalone::run(arguments, outcome, inherited),
        Command::ShowConfig => {
            if let Some(config) = &outcome.config {
                crate::log::say(empery_config::show::show(config).trim_end());
            }
            standalone::run(arguments, outcome, inherited)
        }
        Command::Emperor(emperor) => {
            reading::say(&outcome.problems);
            match &outcome.config {
                None => ExitCode::FAILURE,
                Some(_) => emperor::run(emperor),
            }
        }
        Command::Reload(pidfile) => pid_signal::run(pidfile, Signal::SIGHUP),
        Command::Stop(pidfile) => pid_signal::run(pidfile, Signal::SIGINT),
        Command::Suspend(pidfile) => pid_signal::run(pidfile, Signal::SIGTSTP),
        Command::ConnectAndRead(address) => read_stats::run(address),
        Command::Version => show::version(),
        Command::Help => show::help(),
        Command::DumpOptions => show::options(),
    }
}
