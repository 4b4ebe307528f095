//! A unit of systemd that starts uWSGI: what happens when only the program is swapped (systemd.service(5),
//! systemd.kill(5)).

use super::Said;

/// What is to be said of a unit's text.
pub(super) fn read(text: &str) -> Said {
    let setting = |name: &str| {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
        lines
            .filter_map(|line| line.split_once('='))
            .filter(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
            .next_back()
    };
    let mut notes = Vec::new();
    let mut can_run = true;
    match setting("ExecStart") {
        None => {
            notes.push("it has no ExecStart: what starts uWSGI stands elsewhere".to_owned());
            can_run = false;
        }
        Some(line) if is_emperor(line) => {
            notes.push(format!("ExecStart: swap the program, `ExecStart={}`", swapped(line, "emperor")));
            notes.extend(kill_mode(setting("KillMode")));
        }
        Some(line) => notes.push(format!("ExecStart: swap the program, `ExecStart={}`", swapped(line, "vassal"))),
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

fn is_emperor(line: &str) -> bool {
    line.contains("--emperor") || line.contains("emperor.ini") || line.contains("emperor.uwsgi")
}

/// The command line with another program, prefixes such as `-` kept.
fn swapped(line: &str, program: &str) -> String {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let prefix: String = first.chars().take_while(|letter| matches!(letter, '-' | '@' | ':' | '+' | '!')).collect();
    format!("{prefix}/usr/bin/{program} {rest}").trim_end().to_owned()
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
    }
}
