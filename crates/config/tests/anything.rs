//! Whatever the bytes: no panic, an answer in bounded time, and every problem with a place.

use std::{cell::Cell, collections::BTreeMap, fmt::Write as _};

use empery_config::{
    facts::{Facts, FileError, Files, NoFiles},
    problem::{Colour, Severity, render},
    read::{Entry, Outcome, read},
};
use proptest::prelude::*;

fn facts() -> Facts {
    let environment = [("HOME".to_owned(), "/home/x".to_owned()), ("LOOP".to_owned(), "%(a)$(LOOP)".to_owned())].into();
    Facts {
        working_directory: "/etc/vassals".into(),
        hostname: "box".into(),
        cpu_cores: 2,
        uid: 1000,
        environment,
        ..Facts::default()
    }
}

fn file(content: impl Into<Vec<u8>>) -> Outcome {
    let entry = Entry::File { path: "/etc/vassals/app.ini".into(), content: content.into() };
    read(&entry, &facts(), &NoFiles)
}

/// What holds for every outcome; rendering it must not panic either.
fn check(outcome: &Outcome) {
    let refused = outcome.problems.iter().any(|problem| problem.severity == Severity::Error);
    assert!(!(refused && outcome.config.is_some()));
    assert!(outcome.problems.is_sorted_by_key(|problem| problem.severity) || outcome.problems.len() > 200);
    for problem in &outcome.problems {
        assert!(!problem.code.is_empty() && !problem.message.is_empty(), "{problem:?}");
    }
    assert_eq!(render(&outcome.problems, Colour::Plain).is_empty(), outcome.problems.is_empty());
}

/// Lines that reach far into the code more often than random bytes do.
fn line() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "socket",
        "http-socket",
        "http",
        "stats",
        "module",
        "wsgi-file",
        "processes",
        "chmod-socket",
        "listen",
        "env",
        "set",
        "set-ph",
        "ini",
        "include",
        "plugin",
        "strict",
        "uid",
        "umask",
        "mount",
        "a",
        "b",
        "logto",
        "buffer-size",
        "harakiri",
        "python",
    ]);
    let values = prop_oneof![
        "[ -~]{0,24}",
        r"[%$@]?\(?[a-c ]{0,4}\)?[%$]?[a-z0-9:/.=]{0,8}",
        Just(":8000".to_owned()),
        Just("%(a)%(b)".to_owned()),
        Just("$(LOOP)".to_owned()),
        Just(":uwsgi".to_owned()),
        Just("%".to_owned()),
        "-?[0-9]{0,22}",
        "\\PC{0,8}",
    ];
    prop_oneof![
        6 => (keys, values).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => "\\PC{0,20}",
        1 => Just("[uwsgi]".to_owned()),
        1 => Just("[a]".to_owned()),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        check(&file([b"[uwsgi]\n".as_slice(), &bytes].concat()));
        check(&file(bytes));
    }

    #[test]
    fn arbitrary_lines_are_read_without_panic(lines in prop::collection::vec(line(), 0..40)) {
        check(&file(format!("[uwsgi]\n{}", lines.join("\n"))));
    }

    #[test]
    fn arbitrary_arguments_are_read_without_panic(arguments in prop::collection::vec("(-{0,2}[a-z]{0,8}=?)?\\PC{0,6}", 0..12)) {
        check(&read(&Entry::Arguments(arguments), &facts(), &NoFiles));
    }

    #[test]
    fn the_same_bytes_mean_the_same_every_time(lines in prop::collection::vec(line(), 0..20)) {
        let text = format!("[uwsgi]\n{}", lines.join("\n"));
        prop_assert_eq!(file(text.clone()), file(text));
    }
}

/// Counts how often it is asked, so that bounds are told in work and not in time.
struct Counted<'a> {
    files: BTreeMap<&'a str, String>,
    reads: Cell<usize>,
}

impl Files for Counted<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.reads.set(self.reads.get() + 1);
        self.files.get(path).map(|text| text.clone().into_bytes()).ok_or(FileError::NotFound)
    }
}

#[test]
fn files_that_include_each_other_come_to_an_end() {
    let everything = "[uwsgi]\nini = a.ini\nini = b.ini\nini = c.ini\nini = :uwsgi\n".to_owned();
    let files: BTreeMap<&str, String> = ["/etc/vassals/a.ini", "/etc/vassals/b.ini", "/etc/vassals/c.ini"]
        .map(|path| (path, everything.clone()))
        .into();
    let files = Counted { files, reads: Cell::new(0) };
    let entry = Entry::File { path: "/etc/vassals/app.ini".into(), content: everything.into_bytes() };
    let outcome = read(&entry, &facts(), &files);
    check(&outcome);
    assert!(outcome.problems.iter().any(|problem| problem.code == "include-cycle"));
    assert!(files.reads.get() <= 3, "each file is read once, not {} times", files.reads.get());
}

/// One MiB each, of what could take long. A quadratic step would take minutes and the test's runner would say so; what
/// is asserted is that there is an answer.
#[test]
fn a_mebibyte_of_anything_is_answered() {
    const MEBIBYTE: usize = 1024 * 1024;
    let fill = |piece: &str| format!("[uwsgi]\n{}", piece.repeat(MEBIBYTE / piece.len()));
    let mut distinct = String::from("[uwsgi]\n");
    for number in 0..60_000 {
        writeln!(distinct, "key{number} = %(key{})", number + 1).unwrap();
    }
    let doubling: String = (0..2000).map(|n| format!("p{n} = %(p{0})%(p{0})\n", n + 1)).collect();
    let texts = [
        fill("a\n"),
        fill("a = %(a)\n"),
        fill("a = %(b)%(b)\nb = %(a)%(a)\n"),
        fill("socket = :8000\n"),
        fill("x = %p%d%p%d\n"),
        fill("%"),
        fill("ini = :uwsgi\n"),
        fill("ini = nope.ini\n"),
        fill("[uwsgi]\n"),
        fill("\n"),
        format!("[uwsgi]\na = {}", "%(".repeat(MEBIBYTE / 2)),
        format!("[uwsgi]\na = {}{}", "%(".repeat(MEBIBYTE / 3), ")".repeat(MEBIBYTE / 3)),
        format!("[uwsgi]\na = {}\nb = {}", "x".repeat(MEBIBYTE / 2), "%(a a)".repeat(80_000)),
        format!("[uwsgi]\na = {}\n{}", "x".repeat(60_000), "b = %(a a)%(a + 1)\n".repeat(50_000)),
        format!("[uwsgi]\n{}", "$(HOME)".repeat(140_000)),
        format!("[uwsgi]\nx = {}", "$(HOME)".repeat(140_000)),
        format!("[uwsgi]\nplugins = {}", "x,".repeat(MEBIBYTE / 2)),
        distinct,
        format!("[uwsgi]\n{doubling}"),
    ];
    for text in texts {
        check(&file(text));
    }
}
