//! What a failpoint does in a build that has them.

use std::{
    fs, io,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use nix::{
    poll::{PollTimeout, poll},
    sys::signal::{Signal, raise},
};

/// The directory with the armed failpoints.
const DIRECTORY: &str = "EMPERY_FAILPOINTS";

/// Every failpoint: its name, what it can be armed with, how a test gets there, and the step it stands for.
pub const LIST: &str = include_str!("points.tsv");

/// Whether an environment variable must reach processes that get no others of ours.
#[must_use]
pub fn is_passed_on(variable: &str) -> bool {
    variable == DIRECTORY
}

/// Does what it is armed with.
///
/// # Errors
/// When it is armed with `error`.
///
/// # Panics
/// When it is armed with `panic`, or with something that is not known.
pub fn reached(name: &'static str) -> io::Result<()> {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return Ok(()) };
    let armed = Path::new(&directory).join(name);
    let Some(action) = claim(&armed) else { return Ok(()) };
    eprintln!("failpoint {name}: {action} in pid {}", std::process::id());
    match action.trim().split_once(' ').unwrap_or((action.trim(), "")) {
        ("kill", _) => {
            // It does not come back.
            let _ = raise(Signal::SIGKILL);
            Ok(())
        }
        ("error", _) => Err(io::Error::other(format!("failpoint {name}"))),
        ("delay", ms) => {
            let length = ms.parse::<u16>().map_or(PollTimeout::from(5_000_u16), PollTimeout::from);
            // A signal only makes it shorter.
            let _ = poll(&mut [], length);
            Ok(())
        }
        ("panic", _) => panic!("failpoint {name}"),
        (other, _) => panic!("failpoint {name} is armed with {other:?}"),
    }
}

/// The same between fork and exec; whether the child may go on.
#[must_use]
pub fn reached_in_child(name: &'static str) -> bool {
    match catch_unwind(|| reached(name)) {
        Ok(outcome) => outcome.is_ok(),
        Err(_) => std::process::abort(),
    }
}

/// Takes the file away, so that nobody else meets it; what it holds.
fn claim(armed: &Path) -> Option<String> {
    let mut hit = armed.to_owned().into_os_string();
    hit.push(".hit");
    let hit = PathBuf::from(hit);
    fs::rename(armed, &hit).ok()?;
    fs::read_to_string(hit).ok()
}
