//! `emperor check`: what the emperor would say about a vassal file, without an emperor. Runs and changes nothing.

use std::path::{Path, PathBuf};

use empery_control::{fleet::ProblemView, places::counts};
use empery_lifecycle::{
    fleet::Identity,
    ids::{RevisionId, VassalName},
};
use serde::Serialize;

use super::{
    Running,
    exit::{Exit, Failure},
    print::{self, say},
};
use crate::brain::scan::reading::{FILE_MAX_BYTES, Reader, Reading};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A vassal file, or a directory of them.
    #[arg(required = true)]
    path: PathBuf,
    /// Print JSON: one object for each file.
    #[arg(long)]
    json: bool,
    /// Taken by every verb; nothing running is asked here.
    #[command(flatten)]
    _running: Running,
}

#[derive(Serialize)]
struct Checked<'r> {
    file: String,
    runs: bool,
    problems: &'r [ProblemView],
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let path = std::path::absolute(&options.path)?;
    let files = files_of(&path).map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", path.display())))?;
    let mut checked = Vec::new();
    for file in files {
        let reading = read(&file).map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", file.display())))?;
        checked.push((file, reading));
    }
    if options.json {
        let all: Vec<_> = checked
            .iter()
            .map(|(file, reading)| Checked {
                file: file.display().to_string(),
                runs: reading.plan.is_some(),
                problems: &reading.problems,
            })
            .collect();
        say!("{}", serde_json::to_string_pretty(&all).map_err(|error| Failure::new(Exit::Usage, error))?);
    } else {
        checked.iter().for_each(|(file, reading)| show(file, reading));
    }
    Ok(if checked.iter().all(|(_, reading)| reading.plan.is_some()) { Exit::Done } else { Exit::ConfigInvalid })
}

fn files_of(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(counts)
            && std::fs::metadata(entry.path()).is_ok_and(|facts| facts.is_file())
        {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// As the emperor would, if it were started by this user over the file's directory.
fn read(file: &Path) -> std::io::Result<Reading> {
    let not_a_name = || std::io::Error::other("its name cannot be a vassal's");
    let directory = file.parent().unwrap_or(Path::new("/"));
    let name = file.file_name().and_then(|name| name.to_str()).ok_or_else(not_a_name)?;
    let name = VassalName::new(name).map_err(|_| not_a_name())?;
    let me = Identity { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() };
    if std::fs::metadata(file)?.len() > FILE_MAX_BYTES {
        return Err(std::io::Error::other(format!("it is longer than {FILE_MAX_BYTES} bytes")));
    }
    let content = std::fs::read(file)?;
    Ok(Reader::new(directory, me).read(&name, RevisionId(1), content))
}

fn show(file: &Path, reading: &Reading) {
    for problem in &reading.problems {
        print::problem(problem);
    }
    let count = |severity: &str| reading.problems.iter().filter(|problem| problem.severity == severity).count();
    let verdict = if reading.plan.is_some() { "can be run" } else { "is refused" };
    say!("{} {verdict}: {} errors, {} warnings", file.display(), count("error"), count("warning"));
}
