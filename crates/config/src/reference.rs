//! The reference of all options as Markdown, made from the registry: `docs/options.md`.
//!
//! A test compares the file with this text, so that neither says what the other does not.

use std::fmt::Write;

use crate::{
    problem::CODES,
    registry::{self, Argument, Entry, Since, Status},
};

const HEAD: &str = "\
# Options

Every option of uWSGI by name, and what Empery does about it. Made from the registry in `crates/config/src/registry/`;
`EMPERY_BLESS=1 cargo test -p empery-config --test reference` writes it again.

* **supported**: it works, as described.
* **accepted**: nothing needs doing; it is so already, or has no object here.
  Where something is not as in uWSGI all the same, it *differs*, which is told.
* **refused**: it will not exist here; what to do instead stands beside it. A file with it does not run; *ignored* means that
  it runs, with a warning, since only something beside the app is missing.

An option that is switched off (`vhost = false`, `idle = 0`) asks for nothing, so it is at most a warning.
Deliberate differences from uWSGI are in [from-uwsgi.md](from-uwsgi.md).
";

/// The whole page.
#[must_use]
pub fn options() -> String {
    let mut page = String::from(HEAD);
    let count = |wanted: &str| registry::all().iter().filter(|entry| status(entry).0.starts_with(wanted)).count();
    let words = ["supported", "accepted", "refused"].map(|word| format!("{} {word}", count(word)));
    write(&mut page, &format!("\nOf {} options: {}.\n", registry::all().len(), words.join(", ")));
    write(
        &mut page,
        "\n## Problems\n\nWhat is told about a configuration has one of these codes. The emperor adds `unknown-user`, \
                     `unknown-group` and\n`identity-ignored` for a `uid` and `gid` that it cannot apply; `emperor check` adds \
                     `not-a-vassal` for a file\nthat no emperor looks at.\n\n",
    );
    write(&mut page, "| Code | Meaning |\n|---|---|\n");
    for (code, meaning) in CODES {
        write(&mut page, &format!("| `{code}` | {meaning} |\n"));
    }
    let mut families: Vec<&str> = registry::all().iter().map(|entry| entry.family).collect();
    families.sort_unstable();
    families.dedup();
    for family in families {
        write(&mut page, &format!("\n## {family}\n\n| Option | Status | |\n|---|---|---|\n"));
        for entry in registry::all().iter().filter(|entry| entry.family == family) {
            write(&mut page, &row(entry));
        }
    }
    page
}

fn write(page: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = page.write_str(text);
}

fn row(entry: &Entry) -> String {
    let (status, text) = status(entry);
    let short = entry.short.map(|short| format!(", `-{short}`")).unwrap_or_default();
    let value = match entry.argument {
        Argument::No => "",
        Argument::Optional => "[=…]",
        Argument::Required => " …",
    };
    let since = match entry.since {
        Since::Uwsgi21 => " (uWSGI 2.1)",
        Since::Uwsgi20 | Since::Empery => "",
    };
    format!("| `{}{value}`{short}{since} | {status} | {} |\n", entry.name, text.replace('|', "\\|"))
}

fn status(entry: &Entry) -> (&'static str, &'static str) {
    match entry.status {
        Status::Supported { meaning } => ("supported", meaning),
        Status::Accepted { why, differs: false } => ("accepted", why),
        Status::Accepted { why, differs: true } => ("accepted, differs", why),
        Status::Refused { blocks: true, instead } => ("refused", instead),
        Status::Refused { blocks: false, instead } => ("refused, ignored", instead),
    }
}
