//! `--version` and `--help`.

use std::process::ExitCode;

/// As uWSGI: the bare version.
pub(crate) fn version() -> ExitCode {
    println!("{}", env!("CARGO_PKG_VERSION"));
    ExitCode::SUCCESS
}

/// How to start.
pub(crate) fn help() -> ExitCode {
    print!("{USAGE}");
    ExitCode::SUCCESS
}

const USAGE: &str = "\
Usage: vassal [OPTION]... [FILE.ini[:SECTION]]...

Runs one Python WSGI app, with uWSGI's options on the command line or in INI files:

  vassal --http :9090 --wsgi-file foobar.py --processes 4 --threads 2 --stats 127.0.0.1:9191
  vassal app.ini

And:
  --reload PIDFILE            have the vassal of this pidfile reload (SIGHUP)
  --stop PIDFILE              have it finish its requests and stop (SIGINT)
  --connect-and-read ADDRESS  show what a stats socket says (on stderr)
  --emperor DIR               govern every vassal file of a directory
  --version, --help
";
