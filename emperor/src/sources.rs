//! What an emperor watches: directories, and patterns of paths, as uWSGI's monitors `dir://` and `glob://` have them
//! (core/emperor.c). Names of vassals are paths below [`Sources::base`].

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail};
use empery_config::glob::{fits, has_wildcards, unescaped};
use empery_control::places::counts;
use empery_lifecycle::ids::VassalName;

/// Most directories that one pattern reaches.
const DIRECTORIES_MAX: usize = 10_000;

/// All that one emperor watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sources {
    base: PathBuf,
    all: Vec<Source>,
    /// Where vassals that a pattern finds start, as in uWSGI.
    started_in: PathBuf,
    /// `emperor-extra-extension`: more endings of names that count.
    endings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// Every file in it that counts.
    Directory(PathBuf),
    /// What fits below a directory that is no pattern.
    Pattern {
        root: PathBuf,
        /// One for each level; the last is for files. Never empty.
        parts: Vec<String>,
    },
}

impl Sources {
    /// One directory, which need not be there.
    pub(crate) fn of_directory(directory: PathBuf) -> Sources {
        Sources {
            base: directory.clone(),
            all: vec![Source::Directory(directory)],
            started_in: "/".into(),
            endings: Vec::new(),
        }
    }

    /// What `--vassals` or `emperor =` name, from within the directory `started_in`.
    ///
    /// # Errors
    /// When nothing is named, a directory is not there, or it is another kind of source.
    pub(crate) fn new(named: &[String], started_in: &Path) -> anyhow::Result<Sources> {
        let all: Vec<Source> =
            named.iter().map(|named| Source::new(named, started_in)).collect::<anyhow::Result<_>>()?;
        let base = common(all.iter().map(Source::root)).context("no directory of vassal files is named")?;
        Ok(Sources { base, all, started_in: started_in.to_owned(), endings: Vec::new() })
    }

    /// The same where files with these endings count as well.
    pub(crate) fn with_endings(self, endings: Vec<String>) -> Sources {
        Sources { endings, ..self }
    }

    /// The words with which [`Sources::new`] makes the same again, whatever is there by then.
    pub(crate) fn words(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(|source| match source {
            Source::Directory(path) => format!("{}/", path.display()),
            Source::Pattern { .. } => source.to_string(),
        })
    }

    /// Each directory and pattern, absolute.
    pub(crate) fn each(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(Source::to_string)
    }

    /// What all of it lies below; the directory itself when there is but one.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// Where the file of this name is.
    pub(crate) fn path_of(&self, name: &VassalName) -> PathBuf {
        self.base.join(name.as_str())
    }

    /// The name of a file here; None when it is no vassal's.
    pub(crate) fn name_of(&self, path: &Path) -> Option<VassalName> {
        let below = path.strip_prefix(&self.base).ok().and_then(Path::to_str)?;
        VassalName::new(below).ok().filter(|name| self.cover(name))
    }

    /// Whether the name is one of a vassal file here. Nothing else is ever opened.
    pub(crate) fn cover(&self, name: &VassalName) -> bool {
        self.source_of(name).is_some()
    }

    /// What is said of where the vassal comes from, in `emperor-stats`.
    pub(crate) fn monitor_of(&self, name: &VassalName) -> String {
        self.source_of(name).map_or_else(|| self.base.display().to_string(), Source::to_string)
    }

    /// The directory in which this vassal's master starts: its own, or the emperor's where a pattern has found it (uWSGI's
    /// `dir://` changes into the directory, its `glob://` does not).
    pub(crate) fn working_directory(&self, name: &VassalName) -> &Path {
        match self.source_of(name) {
            Some(Source::Directory(path)) => path,
            Some(Source::Pattern { .. }) => &self.started_in,
            None => &self.base,
        }
    }

    /// The directory below which nothing between it and the vassal's file was named by whoever started the emperor.
    pub(crate) fn root_of(&self, name: &VassalName) -> &Path {
        self.source_of(name).map_or(&self.base, Source::root)
    }

    /// The directories that are no patterns, each once.
    pub(crate) fn roots(&self) -> BTreeSet<&Path> {
        self.all.iter().map(Source::root).collect()
    }

    /// Every directory that has to be looked into, whether it is there or not.
    pub(crate) fn directories(&self) -> BTreeSet<PathBuf> {
        self.all.iter().flat_map(|source| source.levels().0).collect()
    }

    /// The path and name of everything that may be a vassal file, in the order of names.
    ///
    /// # Errors
    /// With the directory, when one of the roots, or a device below it, cannot be read: that says nothing about what is there.
    pub(crate) fn list(&self) -> Result<Vec<(VassalName, PathBuf)>, (PathBuf, io::Error)> {
        let mut found = BTreeSet::new();
        for source in &self.all {
            found.extend(source.files()?.into_iter().filter_map(|path| Some((self.name_of(&path)?, path))));
        }
        Ok(found.into_iter().collect())
    }

    /// Whether a name is one of a vassal's file by its ending and its first character.
    pub(crate) fn counts(&self, name: &str) -> bool {
        let file = name.rsplit('/').next().unwrap_or(name);
        let has = |ending: &String| file.len() > ending.len() && file.ends_with(ending.as_str());
        counts(name) || (!file.starts_with('.') && self.endings.iter().any(has))
    }

    fn source_of(&self, name: &VassalName) -> Option<&Source> {
        let path = self.path_of(name);
        self.all.iter().find(|source| self.counts(name.as_str()) && source.covers(&path))
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.each().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Directory(path) => write!(f, "{}", path.display()),
            Source::Pattern { root, parts } => write!(f, "{}", root.join(parts.join("/")).display()),
        }
    }
}

impl Source {
    fn new(named: &str, started_in: &Path) -> anyhow::Result<Source> {
        let path = named.strip_prefix("dir://").or_else(|| named.strip_prefix("glob://")).unwrap_or(named);
        if path.is_empty() || path.contains("://") {
            bail!("`{named}` is no directory or pattern: vassals come from files only");
        }
        let path = std::path::absolute(started_in.join(path)).with_context(|| format!("{path} as an absolute path"))?;
        let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let plain = parts.iter().take_while(|part| !has_wildcards(part)).count();
        if named.ends_with('/') && plain == parts.len() {
            return Ok(Source::Directory(parts.iter().collect::<PathBuf>().rooted()));
        }
        let directories = parts.len().saturating_sub(1);
        let root: PathBuf = parts[..plain.min(directories)].iter().collect::<PathBuf>().rooted();
        let parts = parts[plain.min(directories)..].iter().map(|part| (*part).to_owned()).collect();
        let pattern = Source::Pattern { root, parts };
        match &pattern.fitting()[..] {
            [only] if only.is_dir() => Ok(Source::Directory(only.clone())),
            [] if plain > directories => {
                bail!("there is no directory {} to watch: make it, or name another with --vassals", path.display())
            }
            [only] if plain > directories && !only.to_str().is_some_and(counts) => {
                bail!("{} is no directory, and no vassal file by its name", only.display())
            }
            _ => Ok(pattern),
        }
    }

    fn root(&self) -> &Path {
        match self {
            Source::Directory(path) | Source::Pattern { root: path, .. } => path,
        }
    }

    /// Whether a file of this path is one of a vassal, if its name counts.
    fn covers(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(self.root()) else { return false };
        let names: Vec<_> = below.components().collect();
        match self {
            Source::Directory(_) => names.len() == 1,
            Source::Pattern { parts, .. } => {
                names.len() == parts.len()
                    && names.iter().zip(parts).all(|(name, part)| match name {
                        Component::Normal(name) => name.to_str().is_some_and(|name| matches(part, name)),
                        _ => false,
                    })
            }
        }
    }

    /// The directories on every level, and those of the last one, in which files are.
    fn levels(&self) -> (BTreeSet<PathBuf>, Vec<PathBuf>) {
        let mut here = vec![self.root().to_owned()];
        let mut all: BTreeSet<PathBuf> = here.iter().cloned().collect();
        let between = match self {
            Source::Directory(_) => &[],
            Source::Pattern { parts, .. } => &parts[..parts.len() - 1],
        };
        for part in between {
            // What cannot be looked into has nothing in it, as for glob(3).
            here = here.iter().flat_map(|directory| within(directory, part).unwrap_or_default()).collect();
            here.retain(|path| path.is_dir());
            here.truncate(DIRECTORIES_MAX);
            all.extend(here.iter().cloned());
        }
        (all, here)
    }

    fn files(&self) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
        let part = match self {
            Source::Directory(_) => "*",
            Source::Pattern { parts, .. } => parts.last().map_or("*", String::as_str),
        };
        let failed = |directory: &Path| {
            let directory = directory.to_owned();
            move |error| (directory, error)
        };
        // Asked for by itself: a pattern may name only what is further below.
        std::fs::read_dir(self.root()).map_err(failed(self.root()))?;
        let mut files = Vec::new();
        for directory in self.levels().1 {
            match within(&directory, part) {
                Ok(found) => files.extend(found),
                Err(error) if self.root() != directory && is_nothing(&error) => {}
                Err(error) => return Err(failed(&directory)(error)),
            }
        }
        Ok(files)
    }

    /// Everything that fits now, of whatever kind.
    fn fitting(&self) -> Vec<PathBuf> {
        self.files().unwrap_or_default().into_iter().filter(|path| path.exists()).collect()
    }
}

/// What a directory has that fits one part of a pattern. A part that is none fits without being looked for.
fn within(directory: &Path, part: &str) -> io::Result<Vec<PathBuf>> {
    if !has_wildcards(part) {
        return Ok(vec![directory.join(unescaped(part))]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| matches(part, name)) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// As glob(3): a dot at the beginning is matched by a dot only.
fn matches(part: &str, name: &str) -> bool {
    name.starts_with('.') == part.starts_with('.') && fits(part, name)
}

/// Whether there is nothing to be found, or not for this user.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied)
}

/// The longest path that all lie below; None of none.
fn common<'p>(mut paths: impl Iterator<Item = &'p Path>) -> Option<PathBuf> {
    let mut base = paths.next()?.to_owned();
    for path in paths {
        while !path.starts_with(&base) {
            base.pop();
        }
    }
    Some(base)
}

/// A path of names alone, from the root on.
trait Rooted {
    fn rooted(self) -> PathBuf;
}

impl Rooted for PathBuf {
    fn rooted(self) -> PathBuf {
        Path::new("/").join(self)
    }
}

#[cfg(test)]
mod tests;
