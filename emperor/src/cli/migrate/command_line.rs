//! A command line of a unit with another program in uWSGI's place, wherever in it that stands: behind `env`, or in the
//! text for a shell where that is plain enough to be sure.

use std::ops::Range;

/// What comes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    /// The line as it is to be.
    Line(String),
    /// Nobody but a person can tell where uWSGI is started.
    ByHand,
}

/// What systemd takes before a program's path (systemd.service(5), "Command lines").
const PREFIXES: [char; 6] = ['-', '@', ':', '+', '!', '|'];
/// Programs that read a command out of the argument after `-c`.
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "zsh", "ksh"];

/// The line with `/usr/bin/PROGRAM` where uWSGI's is.
pub(super) fn swapped(line: &str, program: &str) -> Swapped {
    let words = words(line);
    let first = words.iter().position(|word| is_uwsgi(word.text) || SHELLS.contains(&base(word.text)));
    let place = first.and_then(|first| match &words[first..] {
        [word, ..] if is_uwsgi(word.text) => Some(word.path()),
        of_shell => in_shell(of_shell),
    });
    match place {
        Some(place) => Swapped::Line(format!("{}/usr/bin/{program}{}", &line[..place.start], &line[place.end..])),
        None => Swapped::ByHand,
    }
}

/// A word, without its quotes and prefixes.
struct Word<'l> {
    text: &'l str,
    start: usize,
}

impl Word<'_> {
    /// Where it stands in the line.
    fn path(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }
}

/// The words of a line; what is in quotes is one.
fn words(line: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(begin) = line[at..].find(|letter: char| !letter.is_whitespace()).map(|skip| at + skip) {
        let rest = &line[begin..];
        let quote = rest.chars().next().filter(|letter| matches!(letter, '\'' | '"'));
        let (start, end, next) = match quote {
            Some(quote) => {
                let end = rest[1..].find(quote).map_or(line.len(), |length| begin + 1 + length);
                (begin + 1, end, (end + 1).min(line.len()))
            }
            None => {
                let end = rest.find(char::is_whitespace).map_or(line.len(), |length| begin + length);
                (begin, end, end)
            }
        };
        let text = &line[start..end];
        let bare = if words.is_empty() { text.trim_start_matches(PREFIXES) } else { text };
        words.push(Word { text: bare, start: end - bare.len() });
        at = next;
    }
    words
}

/// Where the text after `-c` starts uWSGI, when it does so once and has nothing in it that only a shell understands.
fn in_shell(words: &[Word<'_>]) -> Option<Range<usize>> {
    let option = words.iter().position(|word| word.text.starts_with('-') && word.text.ends_with('c'))?;
    let script = words.get(option + 1)?;
    if script.text.contains(['\'', '"', '`', '\\', '\n', '(', '{']) {
        return None;
    }
    let mut found = Vec::new();
    let mut begin = 0;
    for command in script.text.split_inclusive([';', '&', '|']) {
        let mut at = 0;
        for word in command.trim_end_matches([';', '&', '|']).split_inclusive(char::is_whitespace) {
            let text = word.trim_end();
            // What stands before a command without being it.
            let leads = text.is_empty() || text.contains('=') || matches!(base(text), "exec" | "env");
            if is_uwsgi(text) {
                let start = script.start + begin + at;
                found.push(start..start + text.len());
            }
            if !leads {
                break;
            }
            at += word.len();
        }
        begin += command.len();
    }
    match found.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

fn is_uwsgi(word: &str) -> bool {
    let name = base(word);
    name == "uwsgi" || name == "uwsgi-core" || name.starts_with("uwsgi_python")
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_is_uwsgi_is_swapped_wherever_it_stands() {
        for (line, told) in [
            ("/usr/bin/uwsgi --ini a.ini", "/usr/bin/vassal --ini a.ini"),
            ("-/opt/venv/bin/uwsgi a.ini", "-/usr/bin/vassal a.ini"),
            ("/usr/bin/env LANG=C uwsgi --chdir /srv/uwsgi", "/usr/bin/env LANG=C /usr/bin/vassal --chdir /srv/uwsgi"),
            ("\"/opt/my apps/uwsgi\" a.ini", "\"/usr/bin/vassal\" a.ini"),
            ("/usr/bin/env bash -c 'cd /srv/uwsgi; uwsgi'", "/usr/bin/env bash -c 'cd /srv/uwsgi; /usr/bin/vassal'"),
            ("/bin/bash -c 'uwsgi --ini a.ini'", "/bin/bash -c '/usr/bin/vassal --ini a.ini'"),
            (
                "/bin/sh -ec \"mkdir -p /run/uwsgi; chown app /run/uwsgi && exec /opt/uwsgi a.ini\"",
                "/bin/sh -ec \"mkdir -p /run/uwsgi; chown app /run/uwsgi && exec /usr/bin/vassal a.ini\"",
            ),
        ] {
            assert_eq!(swapped(line, "vassal"), Swapped::Line(told.into()), "{line}");
        }
    }

    #[test]
    fn what_only_a_shell_understands_is_left_to_a_person() {
        for line in [
            "/bin/sh -c 'if test -f x; then uwsgi a.ini; fi'",
            "/bin/sh -c 'uwsgi a.ini & uwsgi b.ini'",
            "/bin/sh -c '$(which uwsgi) a.ini'",
            "/bin/bash /srv/start.sh",
            "/srv/start.sh --with /srv/uwsgi.d",
            "",
        ] {
            assert_eq!(swapped(line, "vassal"), Swapped::ByHand, "{line}");
        }
    }

    #[test]
    fn what_is_advised_for_an_emperor_is_a_command_line_of_ours() {
        use clap::Parser;
        for line in [
            "/usr/bin/uwsgi --emperor /etc/v --uid www-data --gid www-data --logto /l --pidfile /p --die-on-term",
            "/usr/bin/uwsgi --master --emperor=/etc/v -M --enable-threads --listen 1024",
            "/usr/bin/env uwsgi --uid nobody --emperor /etc/v --emperor-tyrant",
        ] {
            let Swapped::Line(advised) = swapped(line, "emperor") else { panic!("{line}") };
            let words = advised.split(' ').skip_while(|word| !word.ends_with("/emperor")).map(Into::into).collect();
            let translated = crate::cli::uwsgi_style::translated(words).unwrap();
            assert!(crate::cli::Line::try_parse_from(translated).is_ok(), "{advised}");
        }
    }
}
