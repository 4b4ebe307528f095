//! The two ways in which uWSGI's emperor is started, said as `emperor run`: `emperor --emperor DIR` and
//! `emperor emperor.ini` with `emperor = DIR` in it. Nothing else of uWSGI's own options means anything to an emperor.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use crate::brain::common::CommonOptions;

/// The command line as clap is to read it.
pub(super) fn translated(typed: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let mut words = typed.into_iter();
    let program = words.next().unwrap_or_else(|| "emperor".into());
    let rest: Vec<OsString> = words.collect();
    let Some(first) = rest.first() else { return Ok(vec![program]) };
    let mut more = Vec::new();
    let (directory, used) = if first == "--emperor" {
        let directory = rest.get(1).cloned().ok_or("--emperor needs a directory")?;
        (directory, 2)
    } else if let Some(directory) = first.to_str().and_then(|word| word.strip_prefix("--emperor=")) {
        (directory.into(), 1)
    } else if first == "--ini" {
        let file = rest.get(1).ok_or("--ini needs a file")?;
        (directory_of(Path::new(file), &mut more)?, 2)
    } else if Path::new(first).extension() == Some(OsStr::new("ini")) {
        (directory_of(Path::new(first), &mut more)?, 1)
    } else {
        return Ok(std::iter::once(program).chain(rest).collect());
    };
    let run = [program, "run".into(), "--vassals".into(), directory];
    let typed = rest.into_iter().skip(used).map(spelt_out);
    Ok(run.into_iter().chain(more).chain(typed).collect())
}

/// uWSGI's shorter names of options that an emperor takes.
fn spelt_out(word: OsString) -> OsString {
    let Some(text) = word.to_str() else { return word };
    for (short, long) in ALIASES {
        if let Some(rest) = text.strip_prefix("--").and_then(|text| text.strip_prefix(short))
            && (rest.is_empty() || rest.starts_with('='))
        {
            return format!("--{long}{rest}").into();
        }
    }
    word
}

/// Names of core/uwsgi.c for the same options.
const ALIASES: [(&str, &str); 4] = [
    ("emperor-on-demand-dir", "emperor-on-demand-directory"),
    ("emperor-on-demand-ext", "emperor-on-demand-extension"),
    ("vassals-set", "vassal-set"),
    ("emperor-stats-server", "emperor-stats"),
];

/// Options that mean the same in an emperor's ini file and on the command line.
const TAKEN: [&str; 13] = [
    "emperor-tyrant",
    "emperor-tyrant-initgroups",
    "emperor-tyrant-nofollow",
    "emperor-on-demand-extension",
    "emperor-on-demand-directory",
    "emperor-on-demand-exec",
    "emperor-stats",
    "emperor-pidfile",
    "vassal-set",
    "vassals-include",
    "vassals-include-before",
    "vassals-inherit",
    "vassals-inherit-before",
];

/// What an emperor's file says for all its vassals.
///
/// # Errors
/// When it cannot be read.
pub(super) fn common_of(file: &Path) -> Result<CommonOptions, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let taken = emperor_of(&text).2.into_iter().filter_map(|word| word.into_string().ok());
    let mut common = CommonOptions::default();
    for word in taken {
        if let Some((name, value)) = word.trim_start_matches('-').split_once('=') {
            common.put(name, value);
        }
    }
    Ok(common)
}

/// Whether an emperor takes this option out of its ini file.
pub(super) fn takes(option: &str) -> bool {
    TAKEN.contains(&long(option))
}

/// Its name here.
fn long(option: &str) -> &str {
    ALIASES.iter().find(|(short, _)| *short == option).map_or(option, |(_, long)| long)
}

fn directory_of(file: &Path, more: &mut Vec<OsString>) -> Result<OsString, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let (directory, others, taken) = emperor_of(&text);
    more.extend(taken);
    let Some(directory) = directory else {
        return Err(format!(
            "{} names no directory to watch: it needs `emperor = DIR` in its [uwsgi] section",
            file.display()
        ));
    };
    if !others.is_empty() {
        eprintln!("emperor: of {} only `emperor` is used; not {}", file.display(), others.join(", "));
    }
    Ok(directory.into())
}

/// What follows `emperor =` in the section `[uwsgi]`, the other keys there, and what is taken over of them.
fn emperor_of(text: &str) -> (Option<String>, Vec<String>, Vec<OsString>) {
    let mut directory = None;
    let (mut others, mut taken) = (Vec::new(), Vec::new());
    let mut section = "";
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with([';', '#'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, ""), |(key, value)| (key.trim(), value.trim()));
        match key {
            _ if section != "uwsgi" => {}
            "emperor" => directory = Some(value.to_owned()),
            // Always so here.
            "master" => {}
            other => {
                if takes(other) {
                    taken.push(format!("--{}={value}", long(other)).into());
                } else {
                    others.push(other.to_owned());
                }
            }
        }
    }
    (directory, others, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<OsString> {
        line.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_emperor_option_is_a_run() {
        let run = words(&["emperor", "run", "--vassals", "/v", "--listen", "127.0.0.1:1"]);
        assert_eq!(translated(words(&["emperor", "--emperor", "/v", "--listen", "127.0.0.1:1"])), Ok(run.clone()));
        assert_eq!(translated(words(&["emperor", "--emperor=/v", "--listen", "127.0.0.1:1"])), Ok(run));
        let on_demand = ["emperor", "--emperor", "/v", "--emperor-on-demand-dir", "/s"];
        let long = ["emperor", "run", "--vassals", "/v", "--emperor-on-demand-directory", "/s"];
        assert_eq!(translated(words(&on_demand)), Ok(words(&long)));
        assert_eq!(translated(words(&["emperor", "status"])), Ok(words(&["emperor", "status"])));
        assert!(translated(words(&["emperor", "--emperor"])).is_err());
    }

    #[test]
    fn an_emperor_ini_names_the_directory() {
        let text =
            "[other]\nemperor = /no\n[uwsgi]\n; a comment\nmaster = true\nemperor = /etc/vassals\nuid = www-data\n";
        assert_eq!(emperor_of(text), (Some("/etc/vassals".to_owned()), vec!["uid".to_owned()], Vec::new()));
        let common = emperor_of("[uwsgi]\nemperor = /v\nvassals-set = processes=2\nvassals-include = /c.ini\n");
        assert_eq!(common.2, words(&["--vassal-set=processes=2", "--vassals-include=/c.ini"]));
        assert_eq!(emperor_of("[uwsgi]\nmodule = app\n").0, None);
        let on_demand = emperor_of("[uwsgi]\nemperor = /v\nemperor-on-demand-ext = .socket\n");
        assert_eq!(on_demand.2, words(&["--emperor-on-demand-extension=.socket"]));
        let tyrant = emperor_of("[uwsgi]\nemperor = /v\nemperor-tyrant = true\nemperor-tyrant-nofollow\n");
        assert_eq!(tyrant.2, words(&["--emperor-tyrant=true", "--emperor-tyrant-nofollow="]));
    }
}
