//! The tree's own sources, for rules about them.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};

use crate::ground;

/// Every Rust file git knows (or would), with its text.
///
/// # Errors
/// When git does not list them.
pub fn all() -> Result<Vec<(String, String)>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs"])
        .current_dir(ground::tree())
        .output()
        .context("ask git for the sources")?;
    let names = String::from_utf8(output.stdout)?;
    let read = |name: &str| fs::read_to_string(ground::tree().join(name)).ok().map(|text| (name.to_owned(), text));
    let sources: Vec<_> = names.lines().filter_map(read).collect();
    ensure!(sources.len() > 10, "git listed no sources");
    Ok(sources)
}
