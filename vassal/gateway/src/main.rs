//! The gateway: ends TLS and HTTP/2 in front of a vassal's workers and passes every request on over one private socket. It
//! holds the private keys and no Python; it is no part of a generation, so a reload does not concern it. It decides
//! nothing about the vassal: its master starts it, says when to accept and when to leave. This file is its beginning.
#![forbid(unsafe_code)]

mod answer;
mod begun;
mod certificates;
mod ciphers;
mod client;
mod connection;
mod deadlines;
mod der;
mod directory;
mod door;
mod files;
mod floor;
mod forward;
mod host;
mod judged;
mod limits;
mod lobby;
mod log;
mod master;
mod redirect;
mod relay;
#[cfg(test)]
mod tests;
mod translate;
mod upload;
mod workers;
mod writes;

use std::process::ExitCode;

use empery_control::gateway::GATEWAY_FD;
use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(sentence) => {
            eprintln!("vassal-gateway: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    if std::env::args().nth(1).is_some_and(|argument| argument == "--version") {
        println!("vassal-gateway {}", env!("CARGO_PKG_VERSION"));
        return Ok(ExitCode::SUCCESS);
    }
    // No core file and no ptrace: what follows has private keys in its memory (prctl(2), PR_SET_DUMPABLE).
    prctl::set_dumpable(false).map_err(|error| format!("its memory cannot be kept private: {error}"))?;
    let number = std::env::var(GATEWAY_FD).ok().and_then(|number| number.parse().ok());
    let number = number.ok_or("started by `vassal` for `https` and its relatives; it is of no use alone")?;
    let line = empery_sys::inherited::take(number).map_err(|error| format!("descriptor {number}: {error}"))?;
    allow_many_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no event loop can be made: {error}"))?;
    Ok(runtime.block_on(master::serve(line)))
}

/// Every client is a descriptor, and every request of it another one.
fn allow_many_descriptors() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // With fewer it serves fewer clients at a time.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}
