//! The file of uWSGI's emperor (`emperor = DIR` in `[uwsgi]`): what `emperor run` takes over of it, what it says for all
//! vassals, and what to do about the rest, as the dialect's reader and the registry say.

use std::path::{Path, PathBuf};

use empery_config::{
    emperor::{Emperor, flag_of},
    glob::has_wildcards,
    problem::{Origin, Problem},
    read::{Command, Outcome},
    registry::{self, Status},
};

use super::{
    super::{check::ForAll, run, uwsgi_style},
    Said,
};
use crate::sources::Sources;

/// One that was found.
pub(super) struct EmperorFile {
    pub(super) path: PathBuf,
    emperor: Emperor,
    /// What it watches; None when that is not there.
    sources: Option<Sources>,
    outcome: Outcome,
    /// What it says, or why it cannot.
    options: Result<run::Options, String>,
}

/// None when it is no emperor's file.
pub(super) fn read(path: &Path) -> Option<EmperorFile> {
    let outcome = uwsgi_style::read(vec![path.display().to_string()]);
    let Command::Emperor(emperor) = &outcome.command else { return None };
    let (emperor, options) = (emperor.clone(), uwsgi_style::options(emperor));
    let here = std::env::current_dir().unwrap_or_default();
    let sources = Sources::new(&emperor.vassals, &here).ok();
    Some(EmperorFile { path: path.to_owned(), emperor, sources, outcome, options })
}

impl EmperorFile {
    /// Whether this file, if it is a vassal's, is one of its vassals.
    pub(super) fn watches(&self, file: &Path) -> bool {
        let directory = file.parent().unwrap_or(file);
        let is_in = |named: &String| is_same(Path::new(named), directory);
        self.emperor.vassals.iter().any(is_in) || self.sources.iter().any(|sources| sources.name_of(file).is_some())
    }

    /// More endings of names that are vassals'.
    pub(super) fn endings(&self) -> Vec<String> {
        self.options.as_ref().map(|options| options.emperor_extra_extension.clone()).unwrap_or_default()
    }

    /// What it says for all its vassals.
    pub(super) fn for_all(&self) -> ForAll {
        match &self.options {
            Ok(options) => ForAll::of(options, self.sources.clone()),
            Err(_) => ForAll::default(),
        }
    }

    /// Whether the file is a part of its own configuration or of every vassal's, and no vassal itself.
    pub(super) fn includes(&self, file: &Path) -> bool {
        if self.watches(file) {
            return false;
        }
        let read = self.outcome.config.iter().flat_map(|config| &config.effective);
        let own = read.map(|option| PathBuf::from(&option.origin.file));
        let common = self.options.iter().map(|options| &options.common);
        let lists = common.flat_map(|all| [&all.include, &all.include_before, &all.inherit, &all.inherit_before]);
        // A vassal's master starts in the directory of vassals, or where the emperor did.
        let starts_in = self.emperor.vassals.iter().map(Path::new).chain([Path::new("")]);
        let of_vassals =
            lists.flatten().flat_map(|named| starts_in.clone().map(move |directory| directory.join(named)));
        own.chain(of_vassals).any(|named| is_same(&named, file))
    }

    /// What is to be said of it.
    pub(super) fn said(&self) -> Said {
        // A pattern is the shell's as well.
        let quote = |named: &str| if has_wildcards(named) { "'" } else { "" };
        let words = self.emperor.vassals.iter().map(|named| format!(" --vassals {0}{named}{0}", quote(named)));
        let watched: String = words.collect();
        let mut notes = vec![format!("start it with `emperor run{watched}`, or `emperor FILE` as it is")];
        notes.extend(self.outcome.problems.iter().map(|problem| self.told(problem)));
        notes.extend(self.options.as_ref().err().cloned());
        let effective = self.outcome.config.iter().flat_map(|config| &config.effective);
        let is_told = |origin: &Origin| self.outcome.problems.iter().any(|problem| problem.origin.line == origin.line);
        for option in effective.filter(|option| !is_told(&option.origin)) {
            let text = match registry::lookup(&option.key).map(|entry| entry.status) {
                _ if matches!(option.key.as_str(), "emperor" | "master" | "die-on-term") => continue,
                _ if flag_of(&option.key).is_some() => "is taken over as it is",
                Some(Status::Accepted { why, .. }) => why,
                _ => continue,
            };
            notes.push(format!("{}: `{}`: {text}", self.place(&option.origin), option.key));
        }
        Said { notes, can_run: self.outcome.config.is_some() && self.options.is_ok() }
    }

    fn told(&self, problem: &Problem) -> String {
        let hint = problem.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{}: {}{hint}", self.place(&problem.origin), problem.message)
    }

    fn place(&self, origin: &Origin) -> String {
        if is_same(Path::new(&origin.file), &self.path) { format!("line {}", origin.line) } else { origin.to_string() }
    }
}

/// Whether two names are of one file, by the paths alone where it is not there.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file in a room of its own, which is gone when the test is over.
    fn with(name: &str, text: &str, test: impl FnOnce(Option<EmperorFile>, &Path)) {
        let room = std::env::temp_dir().join(format!("empery-migrate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(room.join("vassals")).unwrap();
        std::fs::write(room.join("emperor.ini"), text).unwrap();
        test(read(&room.join("emperor.ini")), &room);
        std::fs::remove_dir_all(room).unwrap();
    }

    #[test]
    fn the_emperor_s_own_options_are_answered_one_by_one() {
        let text = "[uwsgi]\nemperor = %d/vassals\nuid = www-data\nmaster = true\nlogto = /x\nemperor-throttle = 5\nemperor-tyrant = no\n";
        with("own", text, |found, room| {
            let found = found.unwrap();
            let said = found.said();
            assert!(said.can_run && found.watches(&room.join("vassals/app.ini")));
            assert_eq!(said.notes.len(), 5, "{:?}", said.notes);
            assert!(said.notes[0].contains("emperor run --vassals /"), "{:?}", said.notes);
            assert!(said.notes[1].starts_with("line 6: `emperor-throttle` does not do here"), "{:?}", said.notes);
            assert!(said.notes[2].starts_with("line 3: `uid = www-data`: the emperor stays root"), "{:?}", said.notes);
            assert!(said.notes[3].contains("StandardError"), "{:?}", said.notes);
            assert_eq!(said.notes[4], "line 7: `emperor-tyrant`: is taken over as it is");
            assert_eq!(found.for_all().common.before, [("set".to_owned(), "uid=www-data".to_owned())]);
        });
    }

    #[test]
    fn what_every_vassal_includes_is_no_vassal_unless_it_lies_among_them() {
        let text = "[uwsgi]\nemperor = %dvassals\nvassals-include = %dall.ini\nvassals-include-before = in.ini\ninclude = %dmore.ini\n";
        with("parts", text, |_, room| {
            for part in ["all.ini", "more.ini", "vassals/in.ini", "other.ini"] {
                std::fs::write(room.join(part), "[uwsgi]\nprocesses = 2\n").unwrap();
            }
            let found = read(&room.join("emperor.ini")).unwrap();
            let included =
                ["all.ini", "more.ini", "vassals/in.ini", "other.ini"].map(|name| found.includes(&room.join(name)));
            assert_eq!(included, [true, true, false, false]);
        });
    }

    #[test]
    fn what_is_no_source_must_be_changed_and_a_vassal_is_no_emperor() {
        for refused in ["emperor = pg://x", "emperor =", "emperor = /v\nchroot = /x"] {
            with("refused", &format!("[uwsgi]\n{refused}\n"), |found, _| assert!(!found.unwrap().said().can_run));
        }
        with("pattern", "[uwsgi]\nemperor = %dvassals/*.ini\nemperor = %dvassals/*/x.ini\n", |found, room| {
            let found = found.unwrap();
            assert!(found.watches(&room.join("vassals/app.ini")) && !found.watches(&room.join("emperor.ini")));
            assert!(found.said().notes[0].contains("vassals/*.ini' --vassals '/"), "{:?}", found.said().notes);
        });
        with("none", "[uwsgi]\nmodule = app\n[x]\nemperor = /a\n", |found, _| assert!(found.is_none()));
    }
}
