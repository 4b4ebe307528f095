//! The `emperor` command line: reads what was typed and hands it to one module per verb. What steers a running emperor
//! speaks HTTP over its control socket, where the kernel says who is calling.

mod check;
mod client;
mod completion;
mod confirm_removal;
mod exit;
mod login;
mod logs;
mod machine;
mod migrate;
mod operate;
mod places;
mod print;
mod restart;
mod run;
mod stack;
mod status;
mod upgrade;
mod uwsgi_style;

use std::{ffi::OsString, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::brain::{self, settings::BrainSettings};
use exit::Exit;

/// The environment variable that sets what is logged, as in `EMPERY_LOG=debug`.
const LOG_FILTER: &str = "EMPERY_LOG";

/// Keeps an app running for every vassal file of a directory.
#[derive(Debug, Parser)]
#[command(name = "emperor", version, after_help = exit::HELP)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the emperor.
    Run(run::Options),
    /// What the keeper starts.
    #[command(hide = true)]
    Brain(BrainSettings),
    /// Show the fleet, or one vassal with its last deployment and the problems of its file.
    Status(status::Options),
    /// Bring the present content of a vassal into service again, beside what serves.
    Reload(operate::Options),
    /// Stop a vassal; it stays stopped until it is started.
    Stop(operate::Options),
    /// Start a stopped vassal, or retry a cursed one now.
    Start(operate::Options),
    /// Try a cursed vassal again now, without waiting for its back-off.
    Retry(operate::Options),
    /// Have a vassal accept nothing: requests in flight are finished, clients wait in its sockets' queues.
    Freeze(operate::Options),
    /// Have a frozen vassal accept again.
    Resume(operate::Options),
    /// Stop the vassals whose files are gone, when so many went at once that the emperor asks first.
    ConfirmRemoval(confirm_removal::Options),
    /// Show what the workers of a vassal are doing, thread by thread. Stops nothing.
    Stack(stack::Options),
    /// Print the end of a vassal's log.
    Logs(logs::Options),
    /// Look for problems in a vassal file, or in every one of a directory. Changes nothing.
    Check(check::Options),
    /// Read a set-up of uWSGI and say what runs as it is, what differs and what to change. Changes nothing.
    Migrate(migrate::Options),
    /// Print what a shell needs to complete `emperor` and `vassal`.
    Completion(completion::Options),
    /// Print a link that signs a browser in to the dashboard, once.
    Login(login::Options),
    /// Replace the running keeper and brain (after an upgrade); vassals serve on.
    Restart(restart::Options),
    /// Have everything run what is installed now: the emperor, then every vassal that runs older binaries.
    Upgrade(upgrade::Options),
}

/// Where the running emperor is found.
#[derive(Debug, Clone, Args)]
struct Running {
    /// Its runtime directory [default: /run/empery; without root $XDG_RUNTIME_DIR/empery]
    #[arg(long, value_name = "DIR")]
    runtime: Option<std::path::PathBuf>,
}

/// Does what the command line says.
pub(crate) fn run() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    #[cfg(feature = "failpoints")]
    if typed.get(1).is_some_and(|word| word == "--list-failpoints") {
        print!("{}", empery_failpoint::LIST);
        return Exit::Done.into();
    }
    let line = match uwsgi_style::translated(typed) {
        Ok(line) => Line::try_parse_from(line),
        Err(sentence) => {
            eprintln!("emperor: {sentence}");
            return Exit::Usage.into();
        }
    };
    let line = match line {
        Ok(line) => line,
        Err(told) => {
            // Help and version are no mistakes.
            let exit = if told.use_stderr() { Exit::Usage } else { Exit::Done };
            // A closed terminal cannot be told anything.
            let _ = told.print();
            return exit.into();
        }
    };
    let done = match line.verb {
        Verb::Run(options) => return keeper_or_brain(|| run::run(options)),
        Verb::Brain(settings) => return keeper_or_brain(|| brain::run(settings)),
        Verb::Status(options) => status::run(&options),
        Verb::Reload(options) => operate::run(&options, operate::RELOAD),
        Verb::Stop(options) => operate::run(&options, operate::STOP),
        Verb::Start(options) => operate::run(&options, operate::START),
        Verb::Retry(options) => operate::run(&options, operate::RETRY),
        Verb::Freeze(options) => operate::run(&options, operate::FREEZE),
        Verb::Resume(options) => operate::run(&options, operate::RESUME),
        Verb::ConfirmRemoval(options) => confirm_removal::run(&options),
        Verb::Stack(options) => stack::run(&options),
        Verb::Logs(options) => logs::run(&options),
        Verb::Check(options) => check::run(&options),
        Verb::Migrate(options) => migrate::run(&options),
        Verb::Completion(options) => completion::run(&options),
        Verb::Login(options) => login::run(&options),
        Verb::Restart(options) => restart::run(&options),
        Verb::Upgrade(options) => upgrade::run(&options),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("emperor: {}", failure.sentence);
            failure.exit.into()
        }
    }
}

fn keeper_or_brain(live: impl FnOnce() -> anyhow::Result<ExitCode>) -> ExitCode {
    log_to_stderr();
    match live() {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            Exit::Usage.into()
        }
    }
}

fn log_to_stderr() {
    use std::io::IsTerminal;
    use tracing_subscriber::{EnvFilter, fmt};
    let filter = EnvFilter::try_from_env(LOG_FILTER).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // systemd's journal stamps lines itself and shows colours as garbage.
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let log = log.with_ansi(std::io::stderr().is_terminal() && !to_journal);
    if to_journal {
        log.without_time().init();
    } else {
        log.init();
    }
}
