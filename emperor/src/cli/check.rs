//! `emperor check`: what the emperor would say about a vassal file, without an emperor. Changes nothing, and runs nothing
//! unless `--interpreter` asks for it.

mod effective;
mod github;
mod interpreter;
mod running;

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use empery_control::{boot::Common, fleet::ProblemView, places::SUFFIXES};
use empery_lifecycle::{
    fleet::Identity,
    ids::{RevisionId, VassalName},
};
use serde::Serialize;

use super::{
    Running,
    exit::{Exit, Failure},
    print::{self, say},
    uwsgi_style,
};
use crate::{
    brain::{
        common::CommonOptions,
        scan::reading::{Circumstances, FILE_MAX_BYTES, Reader, Reading},
    },
    sources::Sources,
    tyrant::Tyrant,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A vassal file, or a directory of them.
    #[arg(required = true)]
    path: PathBuf,
    /// Print JSON: one object for each file.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// How problems are shown; `github` makes annotations of a workflow of GitHub Actions
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Show every option and placeholder with its final value and where it stands
    #[arg(long)]
    effective: bool,
    /// Look for the Python, and import the app in it as the user it would run as: this runs the app's code
    #[arg(long)]
    interpreter: bool,
    /// Show what is different from what runs now: needs the running emperor, and a state directory that you may read
    #[arg(long)]
    diff: bool,
    /// An emperor's file (`emperor.ini`) whose `vassal-set`, `vassals-include`, `vassals-inherit`, `uid`, `gid`, `emperor-tyrant` and `emperor-extra-extension` hold for the files; where its patterns find one, names and relative paths are as the emperor has them
    #[arg(long, value_name = "FILE")]
    emperor_ini: Option<PathBuf>,
    /// What an emperor says for all its vassals, as it is said to `emperor run`
    #[command(flatten)]
    common: CommonOptions,
    /// Files whose names end so are vassals' too, as it is said to `emperor run`
    #[arg(long, value_name = "EXT")]
    emperor_extra_extension: Vec<String>,
    /// Where the running emperor keeps its state, for --diff [default: as of `emperor run`]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The running emperor is asked for --diff only.
    #[command(flatten)]
    running: Running,
}

/// What an emperor says for all its vassals.
#[derive(Default)]
pub(super) struct ForAll {
    pub(super) common: Common,
    pub(super) tyrant: Option<Tyrant>,
    /// `emperor-extra-extension`.
    pub(super) endings: Vec<String>,
    /// What the emperor watches, where that is known and there.
    pub(super) sources: Option<Sources>,
}

impl ForAll {
    /// What an emperor of these options says.
    pub(super) fn of(options: &super::run::Options, sources: Option<Sources>) -> ForAll {
        ForAll {
            common: options.common.common(),
            tyrant: options.tyrant.tyrant(),
            endings: options.emperor_extra_extension.clone(),
            sources,
        }
    }
}

/// A vassal's file as its emperor knows it.
struct Known {
    sources: Arc<Sources>,
    name: VassalName,
}

impl Known {
    /// By what the emperor watches, where that finds the file; else by its directory.
    fn of(file: &Path, for_all: &ForAll) -> std::io::Result<Known> {
        let not_a_name = || std::io::Error::other("its name cannot be a vassal's");
        let watched = for_all.sources.clone().map(|sources| sources.with_endings(for_all.endings.clone()));
        if let Some((name, sources)) = watched.and_then(|sources| Some((sources.name_of(file)?, sources))) {
            return Ok(Known { sources: Arc::new(sources), name });
        }
        let directory = file.parent().unwrap_or(Path::new("/"));
        let name = file.file_name().and_then(|name| name.to_str()).ok_or_else(not_a_name)?;
        let name = VassalName::new(name).map_err(|_| not_a_name())?;
        Ok(Known { sources: Arc::new(sources_of(directory, for_all)), name })
    }
}

fn sources_of(directory: &Path, for_all: &ForAll) -> Sources {
    Sources::of_directory(directory.to_owned()).with_endings(for_all.endings.clone())
}

/// How problems are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// With their lines, for a person.
    Text,
    /// As `--json`.
    Json,
    /// As workflow commands of GitHub Actions.
    Github,
}

/// All about one file.
#[derive(Serialize)]
struct Checked<'r> {
    file: String,
    runs: bool,
    problems: &'r [ProblemView],
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<Vec<effective::Line<'r>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interpreter: Option<interpreter::Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<running::Difference>,
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let of_file = options.emperor_ini.as_deref().map(uwsgi_style::options_of).transpose();
    let of_file = of_file.map_err(|error| Failure::new(Exit::Usage, error))?.unwrap_or_default();
    let common = options.common.clone().or(of_file.common.clone()).common();
    let typed = &options.emperor_extra_extension;
    let endings = if typed.is_empty() { of_file.emperor_extra_extension.clone() } else { typed.clone() };
    let sources = Sources::new(&of_file.vassals, &std::env::current_dir()?).ok();
    let for_all = ForAll { common, endings, ..ForAll::of(&of_file, sources) };
    let readings = read_all(&options.path, &for_all)?;
    let mut checked = Vec::new();
    for (file, reading) in &readings {
        let known = Known::of(file, &for_all)?;
        let config = reading.plan.as_ref().map(|plan| &plan.config);
        checked.push(Checked {
            file: file.display().to_string(),
            runs: reading.plan.is_some(),
            problems: &reading.problems,
            effective: config.filter(|_| options.effective).map(effective::lines),
            interpreter: reading
                .plan
                .as_ref()
                .filter(|_| options.interpreter)
                .map(|plan| interpreter::report(plan, known.sources.working_directory(&known.name))),
            diff: match config.filter(|_| options.diff) {
                Some(config) => Some(running::difference((file, &known.name), config, &for_all, options)?),
                None => None,
            },
        });
    }
    match options.format {
        _ if options.json => json(&checked)?,
        Format::Json => json(&checked)?,
        Format::Github => readings.iter().for_each(|(file, reading)| github::show(file, &reading.problems)),
        Format::Text => checked.iter().for_each(show),
    }
    let is_well = |one: &Checked<'_>| one.runs && one.interpreter.as_ref().is_none_or(interpreter::Report::is_well);
    Ok(if checked.iter().all(is_well) { Exit::Done } else { Exit::ConfigInvalid })
}

/// Every file of a path with what it says, as an emperor would read it that says this for all.
pub(super) fn read_all(path: &Path, for_all: &ForAll) -> Result<Vec<(PathBuf, Reading)>, Failure> {
    let path = std::path::absolute(path)?;
    let failed = |path: &Path, error: std::io::Error| Failure::new(Exit::Usage, format!("{}: {error}", path.display()));
    let files = files_of(&path, for_all).map_err(|error| failed(&path, error))?;
    if files == [path.as_path()] {
        let reading = read(&path, for_all).map_err(|error| failed(&path, error))?;
        return Ok(vec![(path, reading)]);
    }
    let read_one = |file: PathBuf| {
        let reading = read(&file, for_all).unwrap_or_else(|error| unreadable(&file, &error));
        (file, reading)
    };
    Ok(files.into_iter().map(read_one).collect())
}

/// One of many files that cannot be read: the others are told of all the same.
fn unreadable(file: &Path, error: &std::io::Error) -> Reading {
    let problem = ProblemView {
        severity: "error".into(),
        code: "unreadable".into(),
        file: file.display().to_string(),
        line: 0,
        column: 0,
        source: None,
        message: format!("the file cannot be read: {error}"),
        hint: Some("check it as a user who may read it, or as root, as the emperor does".into()),
    };
    Reading {
        revision: RevisionId(1),
        sha256: String::new(),
        content: Vec::new(),
        on_demand: None,
        plan: None,
        problems: vec![problem],
    }
}

fn json(checked: &[Checked<'_>]) -> Result<(), Failure> {
    say!("{}", serde_json::to_string_pretty(checked).map_err(|error| Failure::new(Exit::Usage, error))?);
    Ok(())
}

fn show(checked: &Checked<'_>) {
    checked.problems.iter().for_each(print::problem);
    checked.effective.iter().flatten().for_each(effective::Line::show);
    checked.interpreter.iter().for_each(interpreter::Report::show);
    checked.diff.iter().for_each(running::Difference::show);
    let count = |severity: &str| {
        let number = checked.problems.iter().filter(|problem| problem.severity == severity).count();
        format!("{number} {severity}{}", if number == 1 { "" } else { "s" })
    };
    let verdict = if checked.runs { "can be run" } else { "is refused" };
    say!("{} {verdict}: {}, {}", checked.file, count("error"), count("warning"));
}

fn files_of(path: &Path, for_all: &ForAll) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let sources = sources_of(path, for_all);
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| sources.counts(name))
            && std::fs::metadata(entry.path()).is_ok_and(|facts| facts.is_file())
        {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// As the emperor would, if it were started by this user over the file's directory.
fn read(file: &Path, for_all: &ForAll) -> std::io::Result<Reading> {
    if std::fs::metadata(file)?.len() > FILE_MAX_BYTES {
        return Err(std::io::Error::other(format!("it is longer than {FILE_MAX_BYTES} bytes")));
    }
    read_content(file, for_all, std::fs::read(file)?)
}

/// What a content means when the file has it.
fn read_content(file: &Path, for_all: &ForAll, content: Vec<u8>) -> std::io::Result<Reading> {
    let Known { sources, name } = Known::of(file, for_all)?;
    let me = Identity { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() };
    let reader = Reader::new(Arc::clone(&sources), me).with_common(for_all.common.clone()).with_tyrant(for_all.tyrant);
    // As the keeper tells it: of the file behind a link, unless a tyrant follows none.
    let facts = match for_all.tyrant {
        Some(Tyrant { nofollow: true, .. }) => std::fs::symlink_metadata(file)?,
        _ => std::fs::metadata(file)?,
    };
    let owner = Some(Identity { uid: facts.uid(), gid: facts.gid() });
    let mut reading = reader.read(&name, RevisionId(1), content, Circumstances { owner, on_demand: None });
    reading.problems.extend(not_looked_at(file, &name, &sources));
    Ok(reading)
}

/// An emperor passes over files whose names are none of a vassal's, whatever is in them.
fn not_looked_at(file: &Path, name: &VassalName, sources: &Sources) -> Option<ProblemView> {
    if sources.counts(name.as_str()) {
        return None;
    }
    let suffixes = SUFFIXES.map(|suffix| format!("`{suffix}`")).join(", ");
    Some(ProblemView {
        severity: "warning".into(),
        code: "not-a-vassal".into(),
        file: file.display().to_string(),
        line: 0,
        column: 0,
        source: None,
        message: format!("an emperor does not look at a file of the name `{name}`"),
        hint: Some(format!(
            "a vassal file's name ends in one of {suffixes} and begins with no dot; `--emperor-extra-extension` names more"
        )),
    })
}

#[cfg(test)]
mod tests;
