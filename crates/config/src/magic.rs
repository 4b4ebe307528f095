//! Magic variables: `%n`, `%d` and the like, replaced in a file's text before it is cut into keys and values
//! (uWSGI: uwsgi.c:996-1140, 2212-2226, and `magic_sub` in core/utils.c).
//!
//! One deliberate difference: uWSGI replaces `%` and an unknown byte by nothing, the line break after a `%` at the end of
//! a line included. Here both stay as they are, and the caller is told.

use std::collections::BTreeMap;

use crate::{
    facts::{Facts, Files},
    source,
};

/// The version `%V` shows: the uWSGI whose dialect this is, since files compare with it.
pub(crate) const UWSGI_VERSION: &str = "2.0.31";

/// The names one file is known by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FileNames {
    /// `%p`.
    pub(crate) absolute: String,
    /// `%o`: as written where it was named.
    pub(crate) given: String,
    /// `%x`: the section asked for; empty when none was.
    pub(crate) section: String,
    /// `%i`.
    pub(crate) inode: u64,
}

impl FileNames {
    /// The names of `given`, a path as written, with the section it was asked for. What is no file has no names but this one
    /// (uwsgi.c:1003).
    pub(crate) fn of(given: &str, section: Option<&str>, facts: &Facts, files: &dyn Files) -> FileNames {
        if source::is_no_file(given) {
            let (given, section) = (given.to_owned(), section.unwrap_or_default().to_owned());
            return FileNames { given, section, ..FileNames::default() };
        }
        let lexical = absolute(&facts.working_directory, given);
        FileNames {
            inode: files.inode(&lexical),
            absolute: behind_links(lexical, files),
            given: given.to_owned(),
            section: section.unwrap_or_default().to_owned(),
        }
    }

    fn directory(&self) -> &str {
        self.absolute.rfind('/').map_or("", |slash| &self.absolute[..=slash])
    }

    fn base(&self) -> &str {
        if self.absolute.is_empty() {
            return "";
        }
        self.given.rfind('/').map_or(self.given.as_str(), |slash| &self.given[slash + 1..])
    }
}

/// The path behind the links above a file; where the file itself is one, uWSGI leaves all of them alone
/// (core/utils.c, `config_magic_table_fill`).
fn behind_links(path: String, files: &dyn Files) -> String {
    let real = files.real_path(&path);
    let (directory, name) = path.rsplit_once('/').unwrap_or_default();
    let is_link = real != absolute(&files.real_path(directory), name);
    if is_link && !directory.is_empty() { path } else { real }
}

/// `path` made absolute with `directory`, `.` and `..` resolved as text.
pub(crate) fn absolute(directory: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The values of every magic variable while one file is read.
#[derive(Debug, Clone)]
pub(crate) struct Magic {
    values: BTreeMap<u8, String>,
}

/// A text with its magic variables replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    /// The result.
    pub(crate) bytes: Vec<u8>,
    /// Where in the original (byte offset) each `%` stands that begins no magic variable.
    pub(crate) unknown: Vec<usize>,
    /// What stands for each variable, in order.
    pub(crate) put: Vec<Put>,
}

/// The text that stands for one variable. Everything in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Put {
    /// Where it begins in the result.
    pub(crate) at: usize,
    /// How long it is.
    pub(crate) length: usize,
    /// Where the two characters of the variable stand in the original.
    pub(crate) raw_at: usize,
}

impl Magic {
    /// The table for `now`, the file being read; `first` is the first one that was.
    pub(crate) fn new(now: &FileNames, first: &FileNames, facts: &Facts) -> Magic {
        let mut values: BTreeMap<u8, String> = BTreeMap::new();
        let mut set = |name: u8, value: String| {
            values.insert(name, value);
        };
        for (names, lower) in [(now, true), (first, false)] {
            let case = |name: u8| if lower { name } else { name.to_ascii_uppercase() };
            let (name, extension) = names.base().rsplit_once('.').unwrap_or((names.base(), ""));
            set(case(b'p'), names.absolute.clone());
            set(case(b'o'), names.given.clone());
            set(case(b's'), names.base().to_owned());
            set(case(b'n'), name.to_owned());
            set(case(b'e'), extension.to_owned());
            set(case(b'd'), names.directory().to_owned());
            set(case(b'c'), names.directory().trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned());
            set(case(b'i'), names.inode.to_string());
            set(case(b'x'), names.section.clone());
            set(case(b'j'), format!("{:08X}", djb33x(names.absolute.as_bytes()).swap_bytes()));
        }
        let mut parts = now.directory().split('/').filter(|part| !part.is_empty());
        for digit in b'0'..=b'9' {
            set(digit, parts.next().unwrap_or_default().to_owned());
        }
        set(b'v', facts.working_directory.clone());
        set(b'h', facts.hostname.clone());
        set(b't', (facts.now_unix_us / 1_000_000).to_string());
        set(b'T', facts.now_unix_us.to_string());
        set(b'V', UWSGI_VERSION.to_owned());
        set(b'k', facts.cpu_cores.to_string());
        set(b'u', facts.uid.to_string());
        set(b'U', facts.user.clone());
        set(b'g', facts.gid.to_string());
        set(b'G', facts.group.clone());
        set(b'[', "\u{1b}".to_owned());
        set(b'%', "%".to_owned());
        set(b'(', "%(".to_owned());
        Magic { values }
    }

    /// Replaces the variables of one line.
    pub(crate) fn replace(&self, line: &[u8]) -> Replaced {
        let mut replaced = Replaced { bytes: Vec::with_capacity(line.len()), unknown: Vec::new(), put: Vec::new() };
        let mut rest = line.iter().copied().enumerate().peekable();
        while let Some((at, byte)) = rest.next() {
            if byte != b'%' {
                replaced.bytes.push(byte);
                continue;
            }
            match rest.peek().and_then(|(_, name)| self.values.get(name)) {
                Some(value) => {
                    replaced.put.push(Put { at: replaced.bytes.len(), length: value.len(), raw_at: at });
                    replaced.bytes.extend_from_slice(value.as_bytes());
                    rest.next();
                }
                None => {
                    replaced.bytes.push(byte);
                    replaced.unknown.push(at);
                }
            }
        }
        replaced
    }
}

/// Bernstein's hash with xor. uWSGI prints its bytes in the order of memory, so the lowest comes first.
fn djb33x(bytes: &[u8]) -> u32 {
    bytes.iter().fold(5381, |hash: u32, byte| hash.wrapping_mul(33) ^ u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::NoFiles;

    /// `/e/link.ini` is a link to `/real/a.ini`, and `/current` one to `/releases/42`.
    struct Links;

    impl Files for Links {
        fn read(&self, _: &str) -> Result<Vec<u8>, crate::facts::FileError> {
            Err(crate::facts::FileError::NotFound)
        }

        fn real_path(&self, path: &str) -> String {
            match path {
                "/e/link.ini" => "/real/a.ini".to_owned(),
                _ => path.replacen("/current", "/releases/42", 1),
            }
        }
    }

    #[test]
    fn links_above_a_file_are_followed_unless_the_file_is_one_itself() {
        let names = |given: &str| FileNames::of(given, None, &facts(), &Links).absolute;
        assert_eq!(names("/current/app.ini"), "/releases/42/app.ini");
        assert_eq!(names("/e/link.ini"), "/e/link.ini");
        assert_eq!(names("/e/app.ini"), "/e/app.ini");
    }

    fn facts() -> Facts {
        Facts {
            working_directory: "/tmp/ut/cwd".into(),
            hostname: "box".into(),
            cpu_cores: 8,
            uid: 33,
            user: "www-data".into(),
            gid: 34,
            group: "web".into(),
            now_unix_us: 1_700_000_000_123_456,
            ..Facts::default()
        }
    }

    fn replace(text: &str) -> String {
        let file = |given, section| FileNames::of(given, section, &facts(), &NoFiles);
        let magic = Magic::new(&file("sub/m.x.ini", Some("uwsgi")), &file("first.conf", None), &facts());
        String::from_utf8(magic.replace(text.as_bytes()).bytes).unwrap()
    }

    #[test]
    fn b3_lower_case_names_describe_the_file_being_read() {
        // As uWSGI 2.0.31 prints them for this path.
        assert_eq!(
            replace("%v|%p|%o|%s|%n|%e|%d|%c|%0|%1|%2|%3|%4|%j|%x"),
            "/tmp/ut/cwd|/tmp/ut/cwd/sub/m.x.ini|sub/m.x.ini|m.x.ini|m.x|ini|/tmp/ut/cwd/sub/|sub|tmp|ut|cwd|sub||4DA24B9E|uwsgi"
        );
    }

    #[test]
    fn b3_capitals_describe_the_first_file() {
        assert_eq!(
            replace("%P|%O|%S|%N|%E|%D|%C|%X"),
            "/tmp/ut/cwd/first.conf|first.conf|first.conf|first|conf|/tmp/ut/cwd/|cwd|"
        );
    }

    #[test]
    fn b3_the_others_describe_the_machine_and_the_start() {
        assert_eq!(
            replace("%h %k %u %U %g %G %t %T %V"),
            "box 8 33 www-data 34 web 1700000000 1700000000123456 2.0.31"
        );
        assert_eq!(replace("%["), "\u{1b}");
    }

    #[test]
    fn b3_a_doubled_percent_is_one_and_a_parenthesis_waits_for_the_placeholder_pass() {
        assert_eq!(replace("100%% %(key) %%(key)"), "100% %(key) %(key)");
    }

    #[test]
    fn an_unknown_variable_stays_as_text_and_is_reported() {
        let magic = Magic::new(&FileNames::default(), &FileNames::default(), &facts());
        let replaced = magic.replace(b"a %q b %");
        assert_eq!(
            (replaced.bytes.as_slice(), replaced.unknown.as_slice()),
            (b"a %q b %".as_slice(), [2, 7].as_slice())
        );
    }

    #[test]
    fn a_path_becomes_absolute_and_loses_its_dots() {
        assert_eq!(absolute("/srv", "./a/../b.ini"), "/srv/b.ini");
        assert_eq!(absolute("/srv", "/../x//y"), "/x/y");
    }
}
