//! The Python interpreters of this machine, and what of the test environment is there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    ground::{self, Skip},
    process,
};

/// The environment that `./dev` makes: `target/venv`.
#[must_use]
pub fn environment() -> PathBuf {
    // A runner built with another target directory still finds the tree's.
    let beside = ground::target().join("venv");
    if beside.exists() { beside } else { ground::tree().join("target/venv") }
}

/// A program of the environment.
///
/// # Errors
/// [`Skip`], when it is not installed.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = environment().join("bin").join(name);
    if path.exists() {
        return Ok(path);
    }
    Err(Skip(format!("{name} is not installed in {} (`./dev setup` does it)", environment().display())).into())
}

/// PATH for whatever a story starts: `python3` is the environment's, and never a version manager's shim.
#[must_use]
pub fn path_variable() -> std::ffi::OsString {
    let mut path = environment().join("bin").into_os_string();
    path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path
}

/// Every CPython found, one per minor version: `(3, 11) -> interpreter`. Looks where distributions and pyenv put them.
///
/// # Errors
/// When the machine has none at all.
pub fn interpreters() -> Result<BTreeMap<(u32, u32), PathBuf>> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    for minor in 6..=20 {
        for directory in ["/usr/bin", "/usr/local/bin", "/opt/python/bin"] {
            candidates.push(Path::new(directory).join(format!("python3.{minor}")));
        }
    }
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv"));
    for root in pyenv.into_iter().chain(home) {
        let versions = std::fs::read_dir(root.join("versions")).into_iter().flatten().flatten();
        candidates.extend(versions.map(|version| version.path().join("bin/python3")));
    }
    candidates.push(PathBuf::from("/usr/bin/python3"));
    let mut found = BTreeMap::new();
    for candidate in candidates.into_iter().filter(|candidate| candidate.exists()) {
        if let Some(version) = version(&candidate) {
            found.entry(version).or_insert(candidate);
        }
    }
    anyhow::ensure!(!found.is_empty(), "there is no Python 3 on this machine");
    Ok(found)
}

fn version(interpreter: &Path) -> Option<(u32, u32)> {
    let mut command = Command::new(interpreter);
    command.args(["-I", "-c", "import sys; print(*sys.version_info[:2])"]);
    let text = process::run(command).ok()?.success().ok()?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Runs Python code in the environment and answers with what it printed.
///
/// # Errors
/// When it fails.
pub fn run(code: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program("python")?);
    command.arg("-c").arg(code).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(command)?.success().context("Python code of the story")
}
