//! A unit of systemd that starts uWSGI: what happens when only the program is swapped (systemd.service(5),
//! systemd.kill(5), systemd.syntax(7)).

use super::{
    Said,
    command_line::{Swapped, swapped},
};

/// Whether a unit is about uWSGI: by what it starts, whatever it is called.
pub(super) fn starts_uwsgi(text: &str) -> bool {
    joined(text).iter().filter_map(|line| line.split_once('=')).any(|(key, value)| {
        key.trim() == "ExecStart" && value.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(is_a_name_of_uwsgi)
    })
}

/// `uwsgi`, and what Debian and others call theirs (`uwsgi_python3`, `uwsgi-core` by its first part).
fn is_a_name_of_uwsgi(word: &str) -> bool {
    word.to_ascii_lowercase().starts_with("uwsgi")
}

/// What is to be said of a unit's text.
pub(super) fn read(text: &str) -> Said {
    let lines = joined(text);
    let setting = |name: &str| {
        let pairs = lines.iter().filter_map(|line| line.split_once('='));
        pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).next_back()
    };
    let mut notes = Vec::new();
    let mut can_run = true;
    match setting("ExecStart").filter(|line| !line.is_empty()) {
        None => {
            notes.push("it has no ExecStart: what starts uWSGI stands elsewhere".to_owned());
            can_run = false;
        }
        Some(line) => {
            let program = if is_emperor(line) { "emperor" } else { "vassal" };
            match swapped(line, program) {
                Swapped::Line(line) => notes.push(format!("ExecStart: swap the program, `ExecStart={line}`")),
                Swapped::ByHand => {
                    let why = "no word of it is uWSGI's program for sure";
                    notes
                        .push(format!("ExecStart: {why}: where it starts `uwsgi`, write `/usr/bin/{program}` by hand"));
                    can_run = false;
                }
            }
            if program == "emperor" {
                notes.extend(kill_mode(setting("KillMode")));
            }
        }
    }
    match setting("Type") {
        Some("notify") => {}
        Some("forking") => {
            notes.push("Type=forking: nothing goes to the background here; write `Type=notify`".to_owned())
        }
        other => notes.push(format!(
            "Type={}: with `Type=notify` systemd knows when it is ready",
            other.unwrap_or("simple (by default)")
        )),
    }
    if setting("ExecReload").is_none() {
        notes.push("ExecReload is missing: `ExecReload=/bin/kill -HUP $MAINPID` reloads every vassal".to_owned());
    }
    Said { notes, can_run }
}

/// The lines without comments; a backslash at the end joins the next one, over comments in between.
fn joined(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        match line.strip_suffix('\\') {
            Some(begun) => open.extend([begun.trim_end(), " "]),
            None => lines.push(std::mem::take(&mut open) + line),
        }
    }
    lines.push(open);
    lines
}

fn is_emperor(line: &str) -> bool {
    line.contains("--emperor") || line.contains("emperor.ini") || line.contains("emperor.uwsgi")
}

fn kill_mode(mode: Option<&str>) -> Option<String> {
    match mode {
        Some("process" | "mixed" | "none") => None,
        _ => Some(
            "KillMode is control-group: when the emperor dies its vassals die with it, as under uWSGI; with `KillMode=process` \
             they serve on and the next emperor takes them over"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_uwsgi_s_by_what_it_starts() {
        let starts = |line: &str| starts_uwsgi(&format!("[Service]\n{line}\n"));
        assert!(starts("ExecStart=/venv/bin/uwsgi --ini shop.ini") && starts("ExecStart = /usr/bin/uwsgi_python3"));
        assert!(!starts("ExecStart=/usr/bin/gunicorn") && !starts("Description=uwsgi"));
    }

    #[test]
    fn a_usual_unit_needs_only_its_program_swapped() {
        let text = "[Service]\nExecStart=/usr/bin/uwsgi --ini /etc/uwsgi/emperor.ini\nType=notify\nKillSignal=SIGQUIT\n\
                    ExecReload=/bin/kill -HUP $MAINPID\nKillMode=process\n";
        let said = read(text);
        assert!(said.can_run);
        assert_eq!(
            said.notes,
            ["ExecStart: swap the program, `ExecStart=/usr/bin/emperor --ini /etc/uwsgi/emperor.ini`"]
        );
    }

    #[test]
    fn what_would_be_different_is_told() {
        let said = read("[Service]\n# Type=notify\nExecStart=-/opt/uwsgi /srv/app.ini\nType=forking\n");
        assert!(said.notes[0].contains("`ExecStart=-/usr/bin/vassal /srv/app.ini`"), "{:?}", said.notes);
        assert!(said.notes.iter().any(|note| note.contains("Type=forking")));
        assert!(said.notes.iter().any(|note| note.contains("ExecReload")));
        let emperor = read("[Service]\nExecStart=/usr/bin/uwsgi --emperor /etc/v\n");
        assert!(emperor.notes.iter().any(|note| note.contains("KillMode=process")));
        assert!(!read("[Service]\n").can_run);
        assert!(!read("[Service]\nExecStart=/usr/local/bin/start-apps\n").can_run);
    }

    #[test]
    fn a_line_that_goes_on_is_one() {
        let text =
            "[Service]\nExecStart=/usr/bin/uwsgi \\\n  --emperor /etc/v \\\n# why\n  --uid www-data\nType=notify\n";
        let said = read(text);
        assert_eq!(
            said.notes[0],
            "ExecStart: swap the program, `ExecStart=/usr/bin/emperor --emperor /etc/v --uid www-data`"
        );
    }
}
