//! The file of uWSGI's emperor (`emperor = DIR` in `[uwsgi]`): which of its options `emperor run` takes over, and what to
//! do about the others, as the registry says.

use empery_config::registry::{self, Status};

use super::{super::uwsgi_style::takes, Said};

/// None when it is no emperor's file.
pub(super) fn read(text: &str) -> Option<Said> {
    let pairs = pairs(text);
    let directories: Vec<&str> =
        pairs.iter().filter(|(_, key, _)| *key == "emperor").map(|(_, _, value)| *value).collect();
    let first = directories.first()?;
    let mut said = Said { notes: Vec::new(), can_run: true };
    said.notes.push(format!("start it with `emperor run --vassals {first}`, or `emperor FILE` as it is"));
    if directories.len() > 1 {
        said.can_run = false;
        said.notes.push(
            "an emperor governs one directory: start one emperor for each, with its own --state and --runtime".into(),
        );
    }
    if first.contains("://") || first.contains(['*', '?', '[']) {
        said.can_run = false;
        said.notes.push(format!("`{first}` is no directory: name the directory of the files"));
    }
    for (line, key, _) in &pairs {
        said.notes.extend(note(*line, key));
    }
    Some(said)
}

fn note(line: usize, key: &str) -> Option<String> {
    // Always so here, or said above.
    if matches!(key, "emperor" | "master" | "die-on-term") {
        return None;
    }
    let told = |text: &str| Some(format!("line {line}: `{key}`: {text}"));
    match key {
        "uid" | "gid" => told("the keeper stays root to start vassals as their users; the brain runs as `--user NAME`"),
        "stats" | "emperor-stats" | "emperor-stats-server" => {
            told("the fleet's numbers are at /metrics, /api/v1/vassals and `emperor status --json`")
        }
        "logto" | "daemonize" => {
            told("the emperor writes to stderr, which systemd keeps; vassals have logs of their own")
        }
        "pidfile" => told("systemd knows the pid; nothing else needs it"),
        _ if takes(key) => told("is taken over as it is"),
        _ => match registry::lookup(key)?.status {
            Status::Supported { .. } => told("is an option of vassals; in the emperor's own file it means nothing"),
            Status::Accepted { why } => told(why),
            Status::Refused { instead: text, .. } => told(text),
        },
    }
}

/// Line, key and value of the section `[uwsgi]`.
fn pairs(text: &str) -> Vec<(usize, &str, &str)> {
    let mut pairs = Vec::new();
    let mut section = "";
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if section == "uwsgi" && !line.is_empty() && !line.starts_with([';', '#']) {
            let (key, value) = line.split_once('=').map_or((line, ""), |(key, value)| (key.trim(), value.trim()));
            pairs.push((index + 1, key, value));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emperor_s_own_options_are_answered_one_by_one() {
        let text = "[uwsgi]\nemperor = /etc/uwsgi/vassals\nuid = www-data\nmaster = true\nchroot = /x\nemperor-tyrant = true\n";
        let said = read(text).unwrap();
        assert!(said.can_run);
        assert_eq!(said.notes.len(), 4, "{:?}", said.notes);
        assert!(said.notes[3].ends_with("`emperor-tyrant`: is taken over as it is"), "{:?}", said.notes);
        assert!(said.notes[0].contains("--vassals /etc/uwsgi/vassals"));
        assert!(said.notes[1].starts_with("line 3: `uid`"));
        assert!(said.notes[2].contains("sandboxing"));
    }

    #[test]
    fn what_is_no_directory_must_be_changed_and_a_vassal_is_no_emperor() {
        assert!(!read("[uwsgi]\nemperor = /a\nemperor = /b\n").unwrap().can_run);
        assert!(!read("[uwsgi]\nemperor = /etc/*.ini\n").unwrap().can_run);
        assert!(!read("[uwsgi]\nemperor = pg://x\n").unwrap().can_run);
        assert!(read("[uwsgi]\nmodule = app\n[x]\nemperor = /a\n").is_none());
    }
}
