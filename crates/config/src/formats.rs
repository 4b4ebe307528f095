//! The file formats of uWSGI, each cut into keys and values with their places. What they mean is not their business.

pub(crate) mod ini;
mod json;
mod places;
mod strftime;
mod xml;
mod yaml;
mod yaml_lines;

use places::Places;

use crate::{
    magic::Magic,
    problem::{Origin, Problem},
};

/// One `key = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// As written, case included.
    pub(crate) key: String,
    /// Empty for an INI line without `=`; None for a YAML key with nothing behind it.
    pub(crate) value: Option<String>,
    /// Where the key stands.
    pub(crate) key_at: Origin,
    /// Where the value stands; the key's place when it is empty.
    pub(crate) value_at: Origin,
}

/// What a file holds for one section.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// In the order of the file; a section that stands there twice is one.
    pub(crate) pairs: Vec<Pair>,
    /// What could not be understood.
    pub(crate) problems: Vec<Problem>,
}

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Ini,
    Xml,
    Yaml,
    Json,
}

/// Growing beyond the bytes allowed by magic variables.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Format {
    /// By the end of a file's name, as uWSGI's `include` and its emperor tell them apart.
    pub(crate) fn of(path: &str) -> Option<Format> {
        match path.rsplit_once('.')?.1 {
            "ini" => Some(Format::Ini),
            "xml" => Some(Format::Xml),
            "yml" | "yaml" => Some(Format::Yaml),
            "json" | "js" => Some(Format::Json),
            _ => None,
        }
    }

    /// What `section` of `content` holds; without one `uwsgi` (in XML the first `<uwsgi>`). `file` is the name shown.
    ///
    /// # Errors
    /// When the text grows beyond `max_bytes` by its magic variables.
    pub(crate) fn read(
        self,
        file: &str,
        content: &[u8],
        section: Option<&str>,
        magic: &Magic,
        max_bytes: usize,
    ) -> Result<Section, TooLong> {
        let name = section.unwrap_or("uwsgi");
        if self == Format::Ini {
            return ini::read(file, content, name, magic, max_bytes);
        }
        let mut found = Section::default();
        let mut places = Places::default();
        let text = match text(file, content, magic, max_bytes, (&mut found.problems, &mut places))? {
            Ok(text) => text,
            Err(problem) => {
                found.problems.push(*problem);
                return Ok(found);
            }
        };
        // These have their places in the file already.
        let told = found.problems.len();
        match self {
            Format::Ini => {}
            Format::Xml => xml::read(file, &text, section, &mut found),
            Format::Yaml => yaml::read(file, &text, name, &mut found),
            Format::Json => json::read(file, &text, name, &mut found),
        }
        found.problems[told..].iter_mut().for_each(|problem| places.in_file(&mut problem.origin));
        for pair in &mut found.pairs {
            places.in_file(&mut pair.key_at);
            places.in_file(&mut pair.value_at);
        }
        Ok(found)
    }
}

/// The whole text with its magic variables replaced, line by line so that lines keep their numbers. What it says of its places is
/// where they are in the text.
fn text(
    file: &str,
    content: &[u8],
    magic: &Magic,
    max_bytes: usize,
    (problems, places): (&mut Vec<Problem>, &mut Places),
) -> Result<Result<String, Box<Problem>>, TooLong> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut whole = Vec::with_capacity(content.len());
    for (index, raw) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = ini::Line { file, number: u32::try_from(index + 1).unwrap_or(u32::MAX), raw };
        let (mut replaced, meant) = line.replaced(magic);
        if whole.len() + replaced.bytes.len() > max_bytes {
            return Err(TooLong);
        }
        if raw.contains(&0) {
            return Ok(Err(Box::new(line.nul_byte())));
        }
        problems.extend(replaced.unknown.iter().map(|at| line.unknown_variable(*at)));
        problems.extend(meant);
        places.note(line.number, raw, &replaced);
        if index > 0 {
            whole.push(b'\n');
        }
        whole.append(&mut replaced.bytes);
    }
    Ok(String::from_utf8(whole).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let number = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Box::new(ini::not_utf8(Origin {
            file: file.to_owned(),
            line: u32::try_from(number).unwrap_or(u32::MAX),
            ..Origin::default()
        }))
    }))
}

/// A text that is not of its format.
fn not_of_format(format: &str, at: Origin, cause: &str) -> Problem {
    Problem::error("bad-format", at, format!("this is not {format}: {cause}"))
        .hint("check the file with an editor that knows the format")
}

/// A section that is not there, where uWSGI ends.
fn no_section(kind: &str, name: &str, file: &str) -> Problem {
    let origin = Origin { file: file.to_owned(), ..Origin::default() };
    Problem::error("missing-section", origin, format!("there is no {kind} `{name}` in {file}"))
        .hint("uWSGI's options stand below `uwsgi`; another name is asked for with `FILE:NAME`")
}

/// Something nested that uWSGI passes over or mixes up.
fn nested(key: &str, at: Origin, what: &str) -> Problem {
    Problem::warning("nested-value", at, format!("`{key}` holds {what}, which is no value of an option; it is ignored"))
        .hint("write one value, or a list of values")
}

#[cfg(test)]
mod tests;
