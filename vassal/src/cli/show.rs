//! `--version`, `--help` and `--dump-options`.

use std::{fmt::Write, process::ExitCode};

use empery_config::registry::{self, Argument, Status};

/// As uWSGI: the bare version.
pub(super) fn version() -> ExitCode {
    println!("{}", env!("CARGO_PKG_VERSION"));
    ExitCode::SUCCESS
}

/// How to start, and every option that does something.
pub(super) fn help() -> ExitCode {
    print!("{USAGE}{}", supported());
    ExitCode::SUCCESS
}

/// The name of every option there is an answer for.
pub(super) fn options() -> ExitCode {
    for entry in registry::all() {
        println!("{}", entry.name);
    }
    ExitCode::SUCCESS
}

const USAGE: &str = "\
Usage: vassal [OPTION]... [FILE.ini[:SECTION]]...

Runs one Python WSGI app, with uWSGI's options on the command line or in INI files:

  vassal --http :9090 --wsgi-file foobar.py --processes 4 --threads 2 --stats 127.0.0.1:9191
  vassal app.ini

Options:
";

fn supported() -> String {
    let mut text = String::new();
    for entry in registry::all() {
        let Status::Supported { meaning } = entry.status else { continue };
        let short = entry.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
        let value = match entry.argument {
            Argument::No => "",
            Argument::Optional => "[=VALUE]",
            Argument::Required => " VALUE",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {short}--{:<34} {meaning}", format!("{}{value}", entry.name));
    }
    text
}
