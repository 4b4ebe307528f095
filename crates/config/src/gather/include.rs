//! Other files: which format and section is meant, where the text comes from, and that inclusions end.

use std::rc::Rc;

use super::Gatherer;
use crate::{
    facts::Facts,
    formats::{Format, TooLong},
    magic::{FileNames, Magic, absolute},
    problem::{Origin, Problem},
    source::Source,
};

/// Deepest nesting of files.
const INCLUDE_DEPTH_MAX: usize = 32;
/// Most files and sections read for one entry.
const INCLUDES_MAX: usize = 256;
/// Most bytes read for one entry, magic variables replaced.
pub(super) const TEXT_MAX_BYTES: usize = 8 * 1024 * 1024;

/// A value of `ini` and its like, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named<'v> {
    /// A path, or another [`Source`]; empty for `:section`.
    path: &'v str,
    section: Option<&'v str>,
}

impl<'v> Named<'v> {
    /// The last colon parts file and section (core/ini.c:94-110); in a URL the last one behind the last slash.
    fn of(value: &'v str) -> Named<'v> {
        let from = match value.find("://") {
            Some(scheme) => value[scheme + 3..].rfind('/').map_or(scheme + 3, |slash| scheme + 4 + slash),
            None => 0,
        };
        match value[from..].rfind(':') {
            Some(colon) => Named { path: &value[..from + colon], section: Some(&value[from + colon + 1..]) },
            None => Named { path: value, section: None },
        }
    }
}

impl Gatherer<'_> {
    /// Reads a file whose content is known already.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        let whole = absolute(&self.facts.working_directory, path);
        self.contents.insert(whole, Rc::from(content));
        let given = shown_name(path, self.facts).to_owned();
        let origin = Origin { file: given.clone(), ..Origin::default() };
        let facts = self.facts;
        self.vassal = Some(given.clone());
        self.common(&facts.common.before);
        self.load(Format::of(path).unwrap_or(Format::Ini), Named { path: &given, section: None }, &origin);
        self.common(&facts.common.after);
    }

    /// What the emperor says for all its vassals.
    fn common(&mut self, options: &[(String, String)]) {
        for (key, value) in options {
            let at = Origin { file: EMPEROR.to_owned(), ..Origin::default() };
            self.add(key.clone(), Some(value.clone()), at.clone(), at);
        }
    }

    /// `inherit = FILE`, which uWSGI reads after all values have been expanded. The number of the first new directive.
    pub(crate) fn inherit(&mut self, value: &str, at: &Origin) -> usize {
        self.inherits = true;
        let first_new = self.gathered.directives.len();
        self.include(value, at);
        first_new
    }

    /// `include = FILE`, a file named on the command line: the suffix tells the format.
    pub(crate) fn include(&mut self, value: &str, at: &Origin) {
        let named = Named::of(value);
        if let Some(format) = Format::of(named.path) {
            return self.load(format, named, at);
        }
        let message = format!(
            "unable to load configuration from `{value}`: its name ends in none of .ini, .xml, .yml, .yaml, .json, .js"
        );
        self.problem(
            Problem::error("bad-include", at.clone(), message)
                .hint("write `ini = FILE` for an INI file of any name, or `yaml`, `json`, `xml`"),
        );
    }

    /// `ini = FILE`, `yaml = FILE` and so on.
    pub(super) fn file_option(&mut self, option: &str, value: &str, at: &Origin) {
        let format = match option {
            "ini" | "ini-paste" | "ini-paste-logged" => Format::Ini,
            "xml" | "xmlconfig" => Format::Xml,
            "yaml" | "yml" => Format::Yaml,
            _ => Format::Json,
        };
        let named = Named::of(value);
        if !named.path.is_empty() {
            return self.load(format, named, at);
        }
        match self.last_ini.clone().filter(|_| format == Format::Ini) {
            Some(path) => self.load(format, Named { path: &path, section: named.section }, at),
            None => {
                let message = format!("`{value}` names a section of the last INI file, but none has been read");
                self.problem(Problem::error("bad-include", at.clone(), message).hint("write `file.ini:section`"));
            }
        }
    }

    fn load(&mut self, format: Format, named: Named<'_>, at: &Origin) {
        let given = named.path;
        let source = match Source::of(given, at) {
            Ok(source) => source,
            Err(problem) => return self.problem(*problem),
        };
        let section = named.section.filter(|name| !name.is_empty());
        let place = (source.name(&self.facts.working_directory), section.unwrap_or("uwsgi").to_owned());
        if self.open.contains(&place) {
            let message = format!("section `{}` of `{given}` is being read already: it includes itself", place.1);
            return self
                .problem(Problem::error("include-cycle", at.clone(), message).hint("remove one of the inclusions"));
        }
        self.includes += 1;
        if self.open.len() >= INCLUDE_DEPTH_MAX || self.includes > INCLUDES_MAX {
            let message = format!("too many inclusions: at most {INCLUDE_DEPTH_MAX} deep and {INCLUDES_MAX} in all");
            return self.problem(Problem::error("too-many-includes", at.clone(), message));
        }
        let content = match self.content(&source, given, at) {
            Ok(content) => content,
            Err(problem) => return self.problem(*problem),
        };
        let whole = match self.with_injected(given, &content) {
            Ok(whole) => whole,
            Err(problem) => return self.problem(*problem),
        };
        // A file that is the emperor's for all vassals speaks of the vassal that it is read for.
        let vassal = self.vassal.clone().filter(|_| at.file == EMPEROR);
        let names = match &vassal {
            Some(vassal) => FileNames::of(vassal, None, self.facts, self.files),
            None => FileNames::of(given, named.section, self.facts, self.files),
        };
        let first = self.first.get_or_insert_with(|| names.clone()).clone();
        if format == Format::Ini {
            self.last_ini = Some(given.to_owned());
        }
        self.gathered.sources.insert(given.to_owned(), content);
        let magic = Magic::new(&names, &first, self.facts);
        let left = TEXT_MAX_BYTES.saturating_sub(self.bytes);
        let Ok::<_, TooLong>(mut found) = format.read(given, &whole.text, section, &magic, left) else {
            let message = format!(
                "the configuration is too long: at most {TEXT_MAX_BYTES} bytes with its magic variables replaced"
            );
            return self.problem(Problem::error("too-long", at.clone(), message));
        };
        self.bytes += whole.text.len();
        whole.places_of(&mut found);
        if found.pairs.is_empty() && found.problems.is_empty() {
            let origin = Origin { file: given.to_owned(), ..Origin::default() };
            let message = format!("there is no section `[{}]` in {given}, or it is empty", place.1);
            self.problem(
                Problem::warning("missing-section", origin, message)
                    .hint("a section line ends with `]`; nothing may follow it"),
            );
        }
        self.gathered.problems.extend(found.problems);
        self.open.push(place);
        for pair in found.pairs {
            self.add(pair.key, pair.value, pair.key_at, pair.value_at);
        }
        self.open.pop();
    }

    pub(super) fn content(&mut self, source: &Source<'_>, given: &str, at: &Origin) -> Result<Rc<[u8]>, Box<Problem>> {
        let directory = &self.facts.working_directory;
        let name = source.name(directory);
        if let Some(content) = self.contents.get(&name) {
            return Ok(content.clone());
        }
        let content = source.read(directory, self.files);
        let content: Rc<[u8]> =
            Rc::from(content.map_err(|error| Box::new(source.not_read(given, &error, directory, at)))?);
        self.contents.insert(name, content.clone());
        Ok(content)
    }
}

/// What origins of the emperor's options for all vassals name as their file.
const EMPEROR: &str = "the emperor";

/// How an entry's file is called in problems and by `%o`: by the name it has in the working directory, when it is there.
pub(crate) fn shown_name<'a>(path: &'a str, facts: &Facts) -> &'a str {
    let inside = path.strip_prefix(facts.working_directory.trim_end_matches('/'));
    inside.and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
}
