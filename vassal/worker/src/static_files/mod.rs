//! Static files, as `static-map` and its relatives ask for them: which file a request means, and the answer that it
//! gets. An answer is a description, head lines and parts of an open file; sending it is [`crate::request`]'s.
//!
//! Knows nothing of Python. `path`, `range`, `conditions`, `coding` and `mime` are text only; `look` asks the kernel.

pub(crate) mod answer;
mod coding;
mod conditions;
pub(crate) mod look;
mod mime;
mod path;
pub(crate) mod range;

pub(crate) use answer::Answer;
use answer::Status;
pub(crate) use conditions::Conditions;
pub(crate) use look::Waiting;

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use empery_control::static_files::{self as words, ExpiresOf, Rest, Sender};
use look::{Found, Kernel, Looked, Looker};
use regex::bytes::{Regex, RegexBuilder};

/// What a request says about the file it wants.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked<'r> {
    pub(crate) method: &'r [u8],
    /// PATH_INFO, decoded.
    pub(crate) path_info: &'r [u8],
    pub(crate) uri: &'r [u8],
    /// DOCUMENT_ROOT of a web server in front; empty when there is none.
    pub(crate) document_root: &'r [u8],
    pub(crate) conditions: Conditions<'r>,
    pub(crate) range: Option<&'r [u8]>,
    pub(crate) accept_encoding: Option<&'r [u8]>,
    /// When it came, unix s.
    pub(crate) now_unix_s: u64,
}

/// What becomes of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// No file is meant.
    ForTheApp,
    /// This is the answer.
    Answer(Answer),
    /// It cannot be said without waiting for the disk.
    WouldWait,
}

/// The rules, ready to be followed.
pub(crate) struct StaticFiles {
    rules: Vec<words::StaticRule>,
    skip_ext: Vec<String>,
    pub(crate) looker: Looker,
    compressed: Compressed,
    expires: Vec<Expires>,
    types: mime::Types,
    sender: Sender,
}

/// Which files may have compressed forms.
struct Compressed {
    all: bool,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
    patterns: Vec<Regex>,
}

/// When an answer expires.
struct Expires {
    of: Subject,
    from_change: bool,
    seconds: u32,
}

enum Subject {
    File(Regex),
    PathInfo(Regex),
    Uri(Regex),
    Type(String),
}

impl StaticFiles {
    /// The rules. What is not there yet is told to `warn`.
    ///
    /// # Errors
    /// When a pattern is none. The configuration has been checked, so it is a fault of ours.
    pub(crate) fn new(told: &words::StaticFiles, warn: impl Fn(String)) -> Result<Self, regex::Error> {
        for root in told.rules.iter().filter_map(|rule| rule.root.as_ref()) {
            if let Err(error) = std::fs::metadata(root) {
                warn(format!("{}, from which static files are to be served: {error}", root.display()));
            }
        }
        let mut types = mime::Types::default();
        for path in &told.mime_files {
            match std::fs::read(path) {
                Ok(table) => types.add(&String::from_utf8_lossy(&table)),
                Err(error) => warn(format!("mimefile {} is not read: {error}", path.display())),
            }
        }
        let expires = told.expires.iter().map(|expires| {
            let of = match &expires.of {
                ExpiresOf::File(text) => Subject::File(pattern(text)?),
                ExpiresOf::PathInfo(text) => Subject::PathInfo(pattern(text)?),
                ExpiresOf::Uri(text) => Subject::Uri(pattern(text)?),
                ExpiresOf::Type(name) => Subject::Type(name.clone()),
            };
            Ok(Expires { of, from_change: expires.from_change, seconds: expires.seconds })
        });
        Ok(Self {
            rules: told.rules.clone(),
            skip_ext: told.skip_ext.clone(),
            looker: Looker { kernel: Kernel::running(), index: told.index.clone(), safe: told.safe.clone() },
            compressed: Compressed {
                all: told.compressed_all,
                prefixes: told.compressed_prefixes.clone(),
                suffixes: told.compressed_suffixes.clone(),
                patterns: told.compressed_patterns.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?,
            },
            expires: expires.collect::<Result<_, regex::Error>>()?,
            types,
            sender: told.sender,
        })
    }

    /// Whether a method is one that files are served for.
    pub(crate) fn serves(method: &[u8]) -> bool {
        matches!(method, b"GET" | b"HEAD")
    }

    /// Looks for the file that is meant, in the order of uWSGI 2.0 (core/protocol.c): the first rule that leads to one counts.
    pub(crate) fn answer(&self, asked: &Asked<'_>, waiting: Waiting) -> Outcome {
        if !Self::serves(asked.method) || self.skips(asked.path_info) {
            return Outcome::ForTheApp;
        }
        let mut refused = None;
        for rule in &self.rules {
            let Some(behind) = path::behind(asked.path_info, rule.prefix.as_bytes()) else { continue };
            let wanted = match rule.rest {
                Rest::BehindPrefix => behind,
                Rest::Whole => asked.path_info,
            };
            let root = match &rule.root {
                Some(root) => root.as_path(),
                None if asked.document_root.is_empty() => continue,
                None => Path::new(std::ffi::OsStr::from_bytes(asked.document_root)),
            };
            let looked = match path::below(wanted) {
                Ok(relative) => self.looker.look(root, &relative, waiting),
                Err(path::Escape) => Looked::Outside,
            };
            match looked {
                Looked::Found(found) if !self.skip_ext.is_empty() && self.skips(&found.real_path()) => {}
                Looked::Found(found) => return self.of_file(asked, root, found, waiting),
                Looked::Absent => {}
                Looked::Outside => refused = Some(refusal(asked, root)),
                // Where every path is looked up, what may not be read may be meant for the app.
                Looked::Forbidden if rule.prefix.is_empty() => {}
                Looked::Forbidden => {
                    let why = format!("{} may not be read below {}", asked.path_info.escape_ascii(), root.display());
                    refused = Some(Answer::of_status(Status::Forbidden).because(why));
                }
                Looked::WouldWait => return Outcome::WouldWait,
                Looked::Failed(error) => {
                    let why = format!("a file below {} cannot be opened: {}", root.display(), error.desc());
                    return Outcome::Answer(Answer::of_status(Status::Failed).because(why));
                }
            }
        }
        refused.map_or(Outcome::ForTheApp, Outcome::Answer)
    }

    /// The file of this path, wherever it is; one that does not begin at the root begins at the working directory.
    pub(crate) fn file(&self, asked: &Asked<'_>, path: &[u8], waiting: Waiting) -> Outcome {
        let root = Path::new("/");
        let Ok(absolute) = std::path::absolute(std::ffi::OsStr::from_bytes(path)) else { return Outcome::ForTheApp };
        let Ok(relative) = path::below(absolute.as_os_str().as_bytes()) else { return Outcome::ForTheApp };
        match self.looker.look(root, &relative, waiting) {
            Looked::Found(found) => self.of_file(asked, root, found, waiting),
            Looked::WouldWait => Outcome::WouldWait,
            Looked::Forbidden => {
                let why = format!("{} may not be read", path.escape_ascii());
                Outcome::Answer(Answer::of_status(Status::Forbidden).because(why))
            }
            Looked::Absent | Looked::Outside => Outcome::ForTheApp,
            Looked::Failed(error) => {
                let why = format!("{} cannot be opened: {}", path.escape_ascii(), error.desc());
                Outcome::Answer(Answer::of_status(Status::Failed).because(why))
            }
        }
    }

    /// The type of a file by its name; None when that does not say it.
    pub(crate) fn type_of(&self, path: &[u8]) -> Option<&str> {
        Some(self.types.of(path)).filter(|kind| *kind != mime::UNKNOWN)
    }

    fn skips(&self, path: &[u8]) -> bool {
        self.skip_ext.iter().any(|end| path.ends_with(end.as_bytes()))
    }

    fn of_file(&self, asked: &Asked<'_>, root: &Path, found: Found, waiting: Waiting) -> Outcome {
        let needs_path = self.compressed.asks_for_path()
            || self.sender != Sender::Worker
            || self.expires.iter().any(|expires| matches!(expires.of, Subject::File(_)));
        let real_path = if needs_path { found.real_path() } else { Vec::new() };
        let name = if found.relative.is_empty() { root.as_os_str().as_bytes() } else { &found.relative };
        let kind = self.types.of(name).to_owned();
        let varies = self.compressed.applies(&real_path);
        let mut coding = None;
        let mut file = found;
        if varies {
            for accepted in coding::accepted(asked.accept_encoding.unwrap_or_default()) {
                match self.look_for_sibling(root, &file, accepted, waiting) {
                    Looked::Found(sibling) => {
                        file = sibling;
                        coding = Some(accepted);
                        break;
                    }
                    Looked::WouldWait => return Outcome::WouldWait,
                    Looked::Absent | Looked::Outside | Looked::Forbidden | Looked::Failed(_) => {}
                }
            }
        }
        let expires = self.expires.iter().find(|expires| expires.fits(&real_path, asked, &kind));
        let variant = answer::Variant {
            kind: &kind,
            coding,
            varies,
            expires: expires.map(|expires| (expires.from_change, u64::from(expires.seconds))),
        };
        Outcome::Answer(match self.sender {
            Sender::Worker => answer::of_file(asked, file, &variant),
            Sender::Nginx => answer::by_server("X-Accel-Redirect", asked, &file, &variant),
            Sender::XSendfile => answer::by_server("X-Sendfile", asked, &file, &variant),
        })
    }

    fn look_for_sibling(&self, root: &Path, file: &Found, coding: coding::Coding, waiting: Waiting) -> Looked {
        if file.relative.is_empty() {
            let mut path = root.as_os_str().to_owned();
            path.push(coding.suffix());
            return self.looker.look(&PathBuf::from(path), b".", waiting);
        }
        self.looker.look(root, &[&file.relative, coding.suffix().as_bytes()].concat(), waiting)
    }
}

impl Compressed {
    fn asks_for_path(&self) -> bool {
        !(self.all || self.prefixes.is_empty() && self.suffixes.is_empty() && self.patterns.is_empty())
    }

    fn applies(&self, real_path: &[u8]) -> bool {
        self.all
            || self.prefixes.iter().any(|prefix| real_path.starts_with(prefix.as_bytes()))
            || self.suffixes.iter().any(|suffix| real_path.ends_with(suffix.as_bytes()))
            || self.patterns.iter().any(|pattern| pattern.is_match(real_path))
    }
}

impl Expires {
    fn fits(&self, real_path: &[u8], asked: &Asked<'_>, kind: &str) -> bool {
        match &self.of {
            Subject::File(pattern) => pattern.is_match(real_path),
            Subject::PathInfo(pattern) => pattern.is_match(asked.path_info),
            Subject::Uri(pattern) => pattern.is_match(asked.uri),
            Subject::Type(name) => name == kind,
        }
    }
}

fn refusal(asked: &Asked<'_>, root: &Path) -> Answer {
    let why = format!(
        "security error: {} leads outside {} and every static-safe directory",
        asked.path_info.escape_ascii(),
        root.display()
    );
    Answer::of_status(Status::Forbidden).because(why)
}

/// As the configuration was checked: bytes, since a path may hold any.
fn pattern(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).unicode(false).build()
}
