//! `emperor migrate`: reads an existing set-up of uWSGI (vassal files, files of its emperor, units of systemd, upstreams of
//! nginx) and says per file what runs as it is, what will be different and why, and what to change. Changes nothing.

mod command_line;
mod emperor_file;
mod nginx;
mod unit;

use std::path::{Path, PathBuf};

use emperor_file::EmperorFile;
use empery_config::vassal::VassalConfig;
use empery_control::places::counts;
use serde::Serialize;

use super::{
    check::{ForAll, read_all},
    exit::{Exit, Failure},
    print::{self, say},
};
use crate::{brain::scan::reading::Reading, sources::Sources};

/// Deepest directory that is looked into.
const DEPTH_MAX: usize = 4;
/// Longest unit or nginx file that is read, in bytes.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The directory of uWSGI's files, such as /etc/uwsgi
    path: PathBuf,
    /// Where units of systemd are; may be given several times
    #[arg(long, value_name = "DIR", default_values = ["/etc/systemd/system", "/lib/systemd/system"])]
    units: Vec<PathBuf>,
    /// Where nginx's files are
    #[arg(long, value_name = "DIR", default_value = "/etc/nginx")]
    nginx: PathBuf,
    /// Print JSON: one object for each file
    #[arg(long)]
    json: bool,
}

/// What is said of one file.
#[derive(Debug, Serialize)]
struct Finding {
    file: String,
    /// `vassal`, `emperor`, `included` (by an emperor, for itself or its vassals), `unit` or `nginx`.
    kind: &'static str,
    verdict: Verdict,
    /// What is different, and what to do.
    notes: Vec<String>,
    #[serde(skip)]
    problems: Vec<empery_control::fleet::ProblemView>,
}

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// It runs as it is, with the same meaning.
    AsIs,
    /// It runs; something is different or wants a look.
    Differs,
    /// It does not run before it is changed.
    MustChange,
}

impl Verdict {
    fn sentence(self) -> &'static str {
        match self {
            Verdict::AsIs => "runs as it is",
            Verdict::Differs => "runs; look at these",
            Verdict::MustChange => "must be changed first",
        }
    }
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let top = std::path::absolute(&options.path)?;
    let unreadable = |error| Failure::new(Exit::Usage, format!("{}: {error}", top.display()));
    let mut findings = Vec::new();
    let mut served: Vec<VassalConfig> = Vec::new();
    let files = files_below(&top, DEPTH_MAX, counts).map_err(unreadable)?;
    let emperors: Vec<EmperorFile> = files.iter().filter_map(|file| emperor_file::read(file)).collect();
    let endings = emperors.iter().flat_map(EmperorFile::endings).collect();
    let sources = Sources::of_directory(top.clone()).with_endings(endings);
    for file in files_below(&top, DEPTH_MAX, |name| sources.counts(name)).map_err(unreadable)? {
        if let Some(emperor) = emperors.iter().find(|emperor| emperor.path == file) {
            findings.push(of_said(&file, "emperor", emperor.said()));
        } else if emperors.iter().any(|emperor| emperor.includes(&file)) {
            findings.push(included(&file));
        } else {
            for (file, reading) in read_all(&file, &for_all(&emperors, &file))? {
                findings.push(of_vassal(&file, &reading));
                served.extend(reading.plan.map(|plan| plan.config));
            }
        }
    }
    for directory in &options.units {
        let is_unit = |name: &str| name.ends_with(".service");
        for file in files_below(directory, 0, is_unit).unwrap_or_default() {
            let is_named = file.file_name().is_some_and(|name| name.to_string_lossy().contains("uwsgi"));
            if is_named || text_of(&file).is_ok_and(|text| unit::starts_uwsgi(&text)) {
                findings.push(of_text(&file, "unit", unit::read));
            }
        }
    }
    let is_anything = |name: &str| !name.starts_with('.');
    let files = files_below(&options.nginx, DEPTH_MAX, is_anything).unwrap_or_default();
    let mut upstreams = nginx::Upstreams::default();
    for text in files.iter().filter_map(|file| text_of(file).ok()) {
        upstreams.take(&text);
    }
    for file in files {
        let finding = of_text(&file, "nginx", |text| nginx::read(text, &served, &upstreams));
        // Most files of nginx pass nothing on.
        if !finding.notes.is_empty() {
            findings.push(finding);
        }
    }
    if options.json {
        say!("{}", serde_json::to_string_pretty(&findings).map_err(|error| Failure::new(Exit::Usage, error))?);
    } else {
        findings.iter().for_each(show);
        summary(&findings);
    }
    let is_stuck = findings.iter().any(|finding| finding.verdict == Verdict::MustChange);
    Ok(if is_stuck { Exit::ConfigInvalid } else { Exit::Done })
}

/// What holds for a vassal file: what the only emperor says, or of several the one that watches its directory.
fn for_all(emperors: &[EmperorFile], file: &Path) -> ForAll {
    let watches = |emperor: &&EmperorFile| emperor.watches(file);
    match emperors {
        [only] => only.for_all(),
        several => several.iter().find(watches).map(EmperorFile::for_all).unwrap_or_default(),
    }
}

fn included(file: &Path) -> Finding {
    let note = "an emperor's file includes it for itself or for its vassals; it is no vassal".to_owned();
    Finding { verdict: Verdict::AsIs, ..of_said(file, "included", Said { notes: vec![note], can_run: true }) }
}

fn of_vassal(file: &Path, reading: &Reading) -> Finding {
    let file_name = file.display().to_string();
    let verdict = match (&reading.plan, reading.problems.is_empty()) {
        (None, _) => Verdict::MustChange,
        (Some(_), true) => Verdict::AsIs,
        (Some(_), false) => Verdict::Differs,
    };
    let note = |problem: &empery_control::fleet::ProblemView| match &problem.hint {
        Some(hint) => format!("line {}: {}; {hint}", problem.line, problem.message),
        None => format!("line {}: {}", problem.line, problem.message),
    };
    let notes = reading.problems.iter().map(note).collect();
    Finding { file: file_name, kind: "vassal", verdict, notes, problems: reading.problems.clone() }
}

/// What is said of a text: notes, and whether it can stay.
struct Said {
    notes: Vec<String>,
    can_run: bool,
}

fn of_text(file: &Path, kind: &'static str, read: impl Fn(&str) -> Said) -> Finding {
    let said = match text_of(file) {
        Ok(text) => read(&text),
        Err(error) => Said { notes: vec![format!("it could not be read: {error}")], can_run: true },
    };
    of_said(file, kind, said)
}

fn of_said(file: &Path, kind: &'static str, said: Said) -> Finding {
    let verdict = match (said.can_run, said.notes.is_empty()) {
        (false, _) => Verdict::MustChange,
        (true, true) => Verdict::AsIs,
        (true, false) => Verdict::Differs,
    };
    Finding { file: file.display().to_string(), kind, verdict, notes: said.notes, problems: Vec::new() }
}

fn text_of(file: &Path) -> std::io::Result<String> {
    if std::fs::metadata(file)?.len() > FILE_MAX_BYTES {
        return Err(std::io::Error::other(format!("it is longer than {FILE_MAX_BYTES} bytes")));
    }
    Ok(String::from_utf8_lossy(&std::fs::read(file)?).into_owned())
}

/// Regular files below a directory whose names fit, in the order of paths; directories behind links are not entered.
fn files_below(directory: &Path, depth: usize, fits: impl Fn(&str) -> bool + Copy) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth > 0 {
                files.extend(files_below(&path, depth - 1, fits).unwrap_or_default());
            }
        } else if entry.file_name().to_str().is_some_and(fits) && std::fs::metadata(&path).is_ok_and(|it| it.is_file())
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn show(finding: &Finding) {
    say!("{} ({}): {}", finding.file, finding.kind, finding.verdict.sentence());
    if finding.problems.is_empty() {
        finding.notes.iter().for_each(|note| say!("  {note}"));
    } else {
        finding.problems.iter().for_each(print::problem);
    }
}

fn summary(findings: &[Finding]) {
    let count = |kind: &str, verdict| findings.iter().filter(|one| one.kind == kind && one.verdict == verdict).count();
    say!(
        "vassals: {} run as they are, {} run with differences, {} must be changed first",
        count("vassal", Verdict::AsIs),
        count("vassal", Verdict::Differs),
        count("vassal", Verdict::MustChange)
    );
}
