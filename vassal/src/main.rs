//! The vassal: one app and its master. This file is the table of contents; see `ARCHITECTURE.md` for the walks.
#![forbid(unsafe_code)]

mod apps;
mod boot_output;
mod cli;
mod clock;
mod command;
mod curl;
mod descriptor;
mod doorbell;
mod extension;
mod facts;
mod fifo;
mod file_monitor;
mod gateway;
mod given_text;
mod handover;
mod hooks;
mod interpreter;
mod link;
mod listeners;
mod log;
mod mount_points;
mod peer;
mod pidfile;
mod process;
mod reading;
mod regions;
mod reload_descriptors;
mod remains;
mod revision;
mod room;
mod runtime;
mod shell;
mod signals;
mod standalone;
mod started_with;
mod static_files;
mod station;
mod stats;
mod succession;
mod successor;
mod supervise;
mod title;
mod touch;
mod under_emperor;
mod zygote;

use std::process::ExitCode;

use empery_control::boot::MASTER_BOOT_FD;
use succession::TESTAMENT_FD;

fn main() -> ExitCode {
    if let Some(testament_fd) = std::env::var_os(TESTAMENT_FD) {
        return successor::run(&testament_fd.to_string_lossy());
    }
    if let Some(boot_fd) = std::env::var_os(MASTER_BOOT_FD) {
        return under_emperor::run(&boot_fd.to_string_lossy());
    }
    let mut arguments = Vec::new();
    for argument in std::env::args_os().skip(1) {
        match argument.into_string() {
            Ok(argument) => arguments.push(argument),
            Err(argument) => {
                eprintln!("vassal: {argument:?} is not UTF-8");
                return ExitCode::FAILURE;
            }
        }
    }
    cli::run(arguments)
}
