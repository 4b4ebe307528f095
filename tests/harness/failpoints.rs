//! Failpoints from outside: which there are (`crates/failpoint/src/points.tsv`), and how one is armed.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    ground::{self, Ground, Skip},
    wait,
};

/// The variable that names the directory of the armed ones.
pub const DIRECTORY: &str = "EMPERY_FAILPOINTS";

/// How long a way to a failpoint may take.
const REACHED_WITHIN: Duration = Duration::from_secs(60);

/// A failpoint.
#[derive(Debug, Clone)]
pub struct Failpoint {
    /// Its name.
    pub name: String,
    /// What it can be armed with; a step that cannot fail has no `error`.
    pub actions: Vec<String>,
    /// What leads there.
    pub way: String,
}

/// All of them, as the tree lists them.
///
/// # Errors
/// When the list cannot be read.
pub fn all() -> Result<Vec<Failpoint>> {
    let path = ground::tree().join("crates/failpoint/src/points.tsv");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let line = |line: &str| -> Option<Failpoint> {
        let mut columns = line.split('\t').map(str::to_owned);
        let (name, actions, way) = (columns.next()?, columns.next()?, columns.next()?);
        Some(Failpoint { name, actions: actions.split(' ').map(str::to_owned).collect(), way })
    };
    text.lines().skip(1).map(|text| line(text).with_context(|| format!("{}: {text:?}", path.display()))).collect()
}

/// The directory of binaries with failpoints: `EMPERY_FAILPOINT_BINARIES`, or `target/failpoints`.
///
/// # Errors
/// [`Skip`], when there are none.
pub fn binaries() -> Result<PathBuf> {
    let given = std::env::var_os("EMPERY_FAILPOINT_BINARIES").map(PathBuf::from);
    let directory = given.unwrap_or_else(|| ground::target().join("failpoints"));
    if directory.join("emperor").exists() {
        return Ok(directory);
    }
    Err(Skip(format!("there are no binaries with failpoints in {} (`./dev e2e failpoints`)", directory.display()))
        .into())
}

/// Where failpoints are armed.
#[derive(Debug)]
pub struct Armory(pub PathBuf);

impl Armory {
    /// None is armed.
    ///
    /// # Errors
    /// When it has no place.
    pub fn open(ground: &Ground) -> Result<Armory> {
        let directory = ground.path("failpoints");
        fs::create_dir_all(&directory)?;
        Ok(Armory(directory))
    }

    /// Arms one: whoever reaches it first meets it, once.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn arm(&self, name: &str, action: &str) -> Result<()> {
        let aside = self.0.join("aside");
        fs::write(&aside, action)?;
        // In one step, so that nobody reads half of it.
        fs::rename(aside, self.0.join(name)).with_context(|| format!("arm {name}"))
    }

    /// Waits until somebody has met it.
    ///
    /// # Errors
    /// When nobody comes by.
    pub fn met(&self, name: &str) -> Result<()> {
        let hit = self.0.join(format!("{name}.hit"));
        wait::until(&format!("{name} to be reached"), REACHED_WITHIN, || hit.exists().then_some(()))?;
        fs::remove_file(hit)?;
        ensure!(!self.0.join(name).exists(), "{name} is armed still");
        Ok(())
    }
}
