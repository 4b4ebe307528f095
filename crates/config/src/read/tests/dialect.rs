//! What spans reading and expanding: inherited files, fallbacks, environment files, lines for the log.

use std::collections::BTreeMap;

use super::*;
use crate::facts::FileKind;

struct Tree(BTreeMap<&'static str, &'static str>);

impl Files for Tree {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.0.get(path).map(|text| text.as_bytes().to_vec()).ok_or(FileError::NotFound)
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        self.0.contains_key(path).then_some(FileKind::File)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let names: Vec<String> =
            self.0.keys().filter_map(|file| file.strip_prefix(path)?.strip_prefix('/')).map(str::to_owned).collect();
        if names.is_empty() { Err(FileError::NotFound) } else { Ok(names) }
    }
}

fn with(text: &str, tree: &[(&'static str, &'static str)]) -> Outcome {
    let entry = Entry::File { path: "/etc/vassals/app.ini".into(), content: text.as_bytes().to_vec() };
    let facts = Facts { environment: [("WHERE".to_owned(), "/srv".to_owned())].into(), ..facts() };
    read(&entry, &facts, &Tree(tree.iter().copied().collect()))
}

#[test]
fn b32_an_inherited_file_comes_last_and_its_placeholders_are_replaced() {
    let text = format!("{APP}inherit = base.ini\nthreads = 2\nprocesses = 2\nroot = /x\n");
    let base = "[uwsgi]\nprocesses = 4\nchdir = %(root)/%n\nenv = A=$(WHERE)\nroot = /y\n";
    let outcome = with(&text, &[("/etc/vassals/base.ini", base)]);
    assert_eq!(codes(&outcome), ["inherit-expanded"]);
    assert_eq!((outcome.problems[0].origin.file.as_str(), outcome.problems[0].origin.line), ("base.ini", 3));
    assert_eq!(outcome.problems[0].source.as_deref(), Some("chdir = %(root)/%n"));
    let config = outcome.config.unwrap();
    assert_eq!((config.processes, config.threads), (4, 2));
    // The first of a name counts for a placeholder; `%n` is the inherited file's own.
    assert_eq!(config.app.chdir, Some("/x/base".into()));
    assert_eq!(config.env, [("A".to_owned(), Some("/srv".to_owned()))]);
}

#[test]
fn inherited_files_inherit_but_not_each_other() {
    let base = ("/etc/vassals/a.ini", "[uwsgi]\ninherit = b.ini\n");
    let outcome = with(&format!("{APP}inherit = a.ini\n"), &[base, ("/etc/vassals/b.ini", "[uwsgi]\nthreads = 3\n")]);
    assert_eq!(outcome.config.unwrap().threads, 3);
    let endless =
        with(&format!("{APP}inherit = a.ini\n"), &[base, ("/etc/vassals/b.ini", "[uwsgi]\ninherit = a.ini\n")]);
    assert!(codes(&endless).contains(&"too-many-includes"));
}

#[test]
fn a_fallback_is_run_when_the_file_cannot_be() {
    let broken = "[uwsgi]\nmodule = app\nhttp-socket = :8000\nchroot = /jail\nfallback-config = safe.ini\n";
    let outcome = with(broken, &[("/etc/vassals/safe.ini", "[uwsgi]\nmodule = safe\nhttp-socket = :8001\n")]);
    assert_eq!(codes(&outcome), ["fallback-used", "option-refused"]);
    assert!(outcome.problems.iter().all(|problem| problem.severity == Severity::Warning));
    assert_eq!(outcome.config.unwrap().app.target, Some(AppTarget::Module("safe".into())));
    let none = with(broken, &[]);
    assert_eq!((codes(&none), none.config.is_none()), (vec!["file-not-read", "option-refused"], true));
    let both = with(broken, &[("/etc/vassals/safe.ini", "[uwsgi]\nmodule = safe\n")]);
    assert_eq!((codes(&both), both.config.is_none()), (vec!["option-refused", "no-listener"], true));
    let fine = with(&format!("{APP}fallback-config = safe.ini\n"), &[]);
    assert_eq!((codes(&fine), fine.config.is_some()), (vec![], true));
}

#[test]
fn files_of_variables_come_before_and_after_env() {
    let tree = [("/etc/vassals/early/A", "1"), ("/etc/vassals/late/A", "3\n"), ("/etc/vassals/late/B", "")];
    let outcome = with(
        &format!("{APP}envdir = late\nenv = A=2\nearly-envdir = early\nienv = C=x\nx = $(A)$(C)\ny = %(x)\n"),
        &tree,
    );
    let set = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let config = outcome.config.unwrap();
    assert_eq!(
        config.env,
        [set("A", Some("1")), set("C", Some("x")), set("A", Some("2")), set("A", Some("3")), set("B", None)]
    );
    let shown = config.effective.iter().find(|effective| effective.key == "y").unwrap();
    assert_eq!(shown.value.as_deref(), Some("1x"));
    assert_eq!(codes(&with(&format!("{APP}envdir = none\n"), &[])), ["file-not-read"]);
}

#[test]
fn lines_for_the_log_are_expanded_unless_they_are_immediate() {
    let outcome = with(&format!("{APP}print = at $(WHERE)\niprint = at $(WHERE)\n"), &[]);
    assert_eq!(outcome.prints, ["at /srv", "at $(WHERE)"]);
}

#[test]
fn b60_what_is_missing_beside_the_app_is_a_warning_and_a_jail_an_error() {
    let outcome = file(&format!("{APP}carbon = 127.0.0.1:2003\nvhost = true\n"));
    assert_eq!((codes(&outcome), outcome.config.is_some()), (vec!["option-refused"; 2], true));
    assert!(file(&format!("{APP}chroot = /x\n")).config.is_none());
}

#[test]
fn a_file_of_another_format_is_a_vassal_like_any() {
    for (path, text) in [
        ("/etc/vassals/app.yaml", "uwsgi:\n  module: app\n  http-socket: :8000\n  threads: 3\n"),
        ("/etc/vassals/app.json", "{\"uwsgi\": {\"module\": \"app\", \"http-socket\": \":8000\", \"threads\": 3}}"),
        (
            "/etc/vassals/app.xml",
            "<uwsgi><module>app</module><http-socket>:8000</http-socket><threads>3</threads></uwsgi>",
        ),
    ] {
        let entry = Entry::File { path: path.into(), content: text.as_bytes().to_vec() };
        let outcome = read(&entry, &facts(), &NoFiles);
        assert_eq!(codes(&outcome), Vec::<&str>::new(), "{path}");
        assert_eq!(outcome.config.unwrap().threads, 3, "{path}");
    }
}
