//! The one thread's event loop.

use std::{future::Future, process::ExitCode};

/// Runs the supervisor on a runtime of one thread. A sentence instead of an exit code is said, and exits with 1.
pub(crate) fn block_on(supervisor: impl Future<Output = Result<u8, String>>) -> ExitCode {
    // Connections that go from one worker to another are descriptors of this process for a moment, all at once at a reload.
    if let Err(error) = empery_sys::limits::take_descriptors() {
        crate::log::say(&format!("*** the limit of open files of the master stays as it is: {error} ***"));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::log::say(&format!("*** no event loop can be made: {error} ***"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(supervisor) {
        Ok(code) => ExitCode::from(code),
        Err(sentence) => {
            crate::log::say(&format!("*** {sentence} ***"));
            ExitCode::FAILURE
        }
    }
}
