//! What is true of every text that is read as a configuration, whatever it says. Used by the test beside it and by the
//! targets of `fuzz/`, which find the texts.
#![allow(clippy::panic)]

use std::collections::BTreeMap;

use empery_config::{
    facts::{Facts, FileError, FileKind, Files},
    problem::{Colour, render},
    read::{Entry, Outcome, read},
    show::show,
};

/// Longest value after expansion, in bytes, unless the text itself is longer.
const VALUE_MAX_BYTES: usize = 64 * 1024;

/// A directory with the entry itself, which may include itself, and nothing else.
struct Itself<'c> {
    name: &'c str,
    content: &'c [u8],
}

impl Files for Itself<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        if path.ends_with(self.name) { Ok(self.content.to_vec()) } else { Err(FileError::NotFound) }
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        path.ends_with(self.name).then_some(FileKind::File)
    }

    fn list(&self, _path: &str) -> Result<Vec<String>, FileError> {
        Ok(vec![self.name.to_owned()])
    }
}

/// Reads the bytes as a file of this format: twice the same, every problem with a place and a text, and no value without
/// bounds.
pub(crate) fn check(target: &str, bytes: &[u8]) {
    let name = format!("a.{target}");
    let outcome = outcome(&name, bytes);
    for problem in &outcome.problems {
        assert!(!problem.origin.file.is_empty(), "{problem:?}");
        assert!(!problem.message.is_empty(), "{problem:?}");
    }
    let told = render(&outcome.problems, Colour::Plain);
    assert_eq!(told.is_empty(), outcome.problems.is_empty(), "{told}");
    let again = self::outcome(&name, bytes);
    assert_eq!(render(&again.problems, Colour::Plain), told);
    let (Some(config), Some(other)) = (&outcome.config, &again.config) else {
        assert!(outcome.config.is_none() && again.config.is_none());
        return;
    };
    assert_eq!(show(config), show(other));
    let most = VALUE_MAX_BYTES.max(bytes.len());
    for effective in &config.effective {
        assert!(effective.value.as_ref().is_none_or(|value| value.len() <= most), "{effective:?}");
    }
}

fn outcome(name: &str, bytes: &[u8]) -> Outcome {
    let facts = Facts {
        working_directory: "/v".into(),
        hostname: "box".into(),
        cpu_cores: 2,
        uid: 1000,
        environment: BTreeMap::from([("X".to_owned(), "%(y)$(X)".to_owned())]),
        ..Facts::default()
    };
    let entry = Entry::File { path: format!("/v/{name}"), content: bytes.to_vec() };
    read(&entry, &facts, &Itself { name, content: bytes })
}
