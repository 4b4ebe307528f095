//! `--emperor DIR`, or a file with `emperor = DIR`: the `emperor` beside this binary takes over, in this process.

use std::{
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode},
};

use empery_config::emperor::Emperor;

/// Becomes the emperor. Returns only when that failed.
pub(super) fn run(emperor: &Emperor) -> ExitCode {
    let program = beside().unwrap_or_else(|| PathBuf::from("emperor"));
    let watched = emperor.vassals.iter().flat_map(|named| ["--vassals", named]);
    let error = Command::new(&program).arg("run").args(watched).args(&emperor.flags).exec();
    eprintln!("vassal: {} cannot be run: {error}", program.display());
    ExitCode::FAILURE
}

fn beside() -> Option<PathBuf> {
    let path = crate::extension::binary().ok()?.parent()?.join("emperor");
    path.is_file().then_some(path)
}
