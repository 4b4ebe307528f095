//! Patterns for paths: `*`, `?` and `[…]` within one name, as glob(3) has them; no braces, no `~`.

use crate::{
    facts::{FileKind, Files},
    magic::absolute,
};

/// Most paths that one pattern gives.
const PATHS_MAX: usize = 10_000;

/// The paths that fit, sorted, directories with a slash at their end; the pattern itself when none does (GLOB_MARK and
/// GLOB_NOCHECK, as uWSGI asks for). A relative pattern starts in `directory` and gives relative paths.
pub(crate) fn expand(pattern: &str, directory: &str, files: &dyn Files) -> Vec<String> {
    let mut found = if pattern.starts_with('/') { vec!["/".to_owned()] } else { vec![String::new()] };
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    for (index, part) in parts.iter().enumerate() {
        let is_last = index + 1 == parts.len();
        let mut next = Vec::new();
        for base in found {
            let names =
                if has_wildcards(part) { fitting(part, &base, directory, files) } else { vec![unescaped(part)] };
            for name in names {
                let path = format!("{base}{name}");
                match files.kind(&absolute(directory, &path)) {
                    Some(FileKind::Directory) => next.push(format!("{path}/")),
                    Some(_) if is_last && !pattern.ends_with('/') => next.push(path),
                    _ => {}
                }
                if next.len() > PATHS_MAX {
                    break;
                }
            }
        }
        found = next;
    }
    if found.is_empty() || parts.is_empty() {
        return vec![pattern.to_owned()];
    }
    found.sort();
    found
}

/// Whether a part of a path is a pattern.
#[must_use]
pub fn has_wildcards(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

/// A part that is no pattern, as the name it is.
#[must_use]
pub fn unescaped(part: &str) -> String {
    part.replace('\\', "")
}

fn fitting(part: &str, base: &str, directory: &str, files: &dyn Files) -> Vec<String> {
    let names = files.list(&absolute(directory, base)).unwrap_or_default();
    // A leading dot is matched by a dot only.
    let hidden = part.starts_with('.');
    names.into_iter().filter(|name| name.starts_with('.') == hidden && fits(part, name)).collect()
}

/// Whether a name fits a pattern without slashes. A leading dot is like any other character here.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut in_name) = (0, 0);
    // Where the last star stands, and how far it reaches: only that one is ever widened, so the work is bounded.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match one(&pattern[at..], name[in_name]) {
            One::Star => {
                star = Some((at, in_name));
                at += 1;
            }
            One::Fits(length) => {
                at += length;
                in_name += 1;
            }
            One::Differs => match star {
                Some((star_at, reach)) => {
                    star = Some((star_at, reach + 1));
                    at = star_at + 1;
                    in_name = reach + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

enum One {
    Star,
    /// And how much of the pattern that was.
    Fits(usize),
    Differs,
}

fn one(pattern: &[char], character: char) -> One {
    match pattern {
        ['*', ..] => One::Star,
        ['?', ..] => One::Fits(1),
        ['[', rest @ ..] => match class(rest, character) {
            Some((true, length)) => One::Fits(length + 1),
            Some((false, _)) => One::Differs,
            None if character == '[' => One::Fits(1),
            None => One::Differs,
        },
        ['\\', escaped, ..] if *escaped == character => One::Fits(2),
        [same, ..] if *same == character && *same != '\\' => One::Fits(1),
        _ => One::Differs,
    }
}

/// Whether `[…]`, without its opening bracket, has the character, and how long it is; None when it is not closed.
fn class(rest: &[char], character: char) -> Option<(bool, usize)> {
    let negated = matches!(rest.first(), Some('!' | '^'));
    let start = usize::from(negated);
    let mut at = start;
    let mut has = false;
    loop {
        match rest.get(at)? {
            ']' if at > start => return Some((has != negated, at + 1)),
            low => {
                if let (Some('-'), Some(high)) = (rest.get(at + 1), rest.get(at + 2).filter(|high| **high != ']')) {
                    has |= (*low..=*high).contains(&character);
                    at += 3;
                } else {
                    has |= *low == character;
                    at += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_as_glob_has_it() {
        let fitting = [
            ("*", "a"),
            ("*.ini", "x.ini"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[!a]x", "bx"),
            ("[]]", "]"),
            ("a*b*c", "aXbYbZc"),
            ("\\*", "*"),
            ("[", "["),
        ];
        for (pattern, name) in fitting {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.ini", "x.in"), ("a?c", "ac"), ("[a-c]x", "dx"), ("[^a]x", "ax"), ("\\*", "a")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn stars_do_not_multiply_the_work() {
        assert!(!fits(&"*a".repeat(200), &"a".repeat(150)));
        assert!(fits(&"*a".repeat(100), &"a".repeat(2000)));
    }
}
