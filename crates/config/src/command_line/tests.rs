//! What getopt_long(3) makes of uWSGI's command line.

use super::*;
use crate::{
    facts::{Facts, FileError, Files},
    gather::Gathered,
};

struct OneFile;

impl Files for OneFile {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match path {
            "/srv/app.ini" => Ok(b"[uwsgi]\nthreads = 2\n[dev]\nthreads = 3\n".to_vec()),
            _ => Err(FileError::NotFound),
        }
    }
}

fn gathered(arguments: &str) -> Gathered {
    let facts = Facts { working_directory: "/srv".into(), ..Facts::default() };
    let mut gatherer = Gatherer::new(&facts, &OneFile);
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    read(&arguments, &mut gatherer);
    gatherer.finish()
}

fn pairs(arguments: &str) -> Vec<(String, Option<String>)> {
    gathered(arguments).directives.into_iter().map(|directive| (directive.key, directive.value)).collect()
}

fn expect(arguments: &str, expected: &[(&str, Option<&str>)]) {
    let expected: Vec<_> = expected.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect();
    assert_eq!(pairs(arguments), expected, "for {arguments}");
}

fn problem(arguments: &str) -> Problem {
    gathered(arguments).problems.remove(0)
}

#[test]
fn a_value_stands_after_a_blank_or_an_equals_sign() {
    expect("--http :9090 --wsgi-file=foobar.py", &[("http", Some(":9090")), ("wsgi-file", Some("foobar.py"))]);
}

#[test]
fn an_option_of_one_s_own_is_one_of_the_command_line_from_its_declaration_on() {
    let (two, none) = ("declare-option", "all");
    let line = "--declare-option two=threads=$1 --two 2 --two=3 --declare-option all=master=1 --all app.ini";
    expect(
        line,
        &[
            ("threads", Some("2")),
            ("threads", Some("3")),
            ("master", Some("1")),
            (two, Some("two=threads=$1")),
            ("two", Some("2")),
            ("two", Some("3")),
            (two, Some("all=master=1")),
            (none, None),
            ("threads", Some("2")),
        ],
    );
    assert_eq!(problem("--two 2 --declare-option two=threads=$1").code, "unknown-argument");
    assert_eq!(problem("--declare-option two=threads=$1 --two").code, "missing-argument");
}

#[test]
fn an_option_without_argument_takes_none() {
    expect("--master --processes 4", &[("master", None), ("processes", Some("4"))]);
}

#[test]
fn short_options_may_be_joined_with_each_other_and_their_value() {
    expect("-Mp 2 -w app", &[("master", None), ("processes", Some("2")), ("module", Some("app"))]);
    expect("-p4 -H/venv -s :3031", &[("processes", Some("4")), ("home", Some("/venv")), ("socket", Some(":3031"))]);
}

#[test]
fn an_optional_value_must_be_attached() {
    expect("--chmod-socket --vacuum", &[("chmod-socket", None), ("vacuum", None)]);
    expect("--chmod-socket=660", &[("chmod-socket", Some("660"))]);
    expect("-C660", &[("chmod", Some("660"))]);
}

#[test]
fn a_required_value_may_begin_with_a_dash() {
    expect("--procname -x", &[("procname", Some("-x"))]);
}

#[test]
fn a_unique_beginning_of_a_name_is_enough() {
    expect("--proce 4", &[("processes", Some("4"))]);
    let ambiguous = problem("--http-sock :80");
    assert!(ambiguous.message.contains("ambiguous"), "{ambiguous:?}");
    assert!(ambiguous.hint.unwrap().contains("--http-socket"));
}

#[test]
fn an_unknown_option_is_an_error_with_a_suggestion() {
    let unknown = problem("--procceses 4");
    assert_eq!(
        (unknown.code.as_str(), unknown.hint.as_deref()),
        ("unknown-argument", Some("did you mean `--processes`?"))
    );
    assert_eq!((unknown.origin.file.as_str(), unknown.origin.column, unknown.origin.length), ("command line", 1, 11));
    assert_eq!(problem("-9").code, "unknown-argument");
}

#[test]
fn a_missing_value_is_an_error() {
    assert_eq!(problem("--http").code, "missing-argument");
    assert_eq!(problem("-H").code, "missing-argument");
}

#[test]
fn a_file_is_read_where_its_option_stands() {
    expect("--ini app.ini --threads 4", &[("ini", Some("app.ini")), ("threads", Some("2")), ("threads", Some("4"))]);
    expect("--ini app.ini:dev", &[("ini", Some("app.ini:dev")), ("threads", Some("3"))]);
}

#[test]
fn a_bare_file_is_read_after_all_options() {
    expect("app.ini --threads 4", &[("threads", Some("4")), ("threads", Some("2"))]);
    expect("--master -- app.ini", &[("master", None), ("threads", Some("2"))]);
}

#[test]
fn a_bare_file_may_name_its_section() {
    expect("app.ini:dev", &[("threads", Some("3"))]);
}

#[test]
fn an_option_without_argument_may_have_one_after_an_equals_sign() {
    expect("--master=true", &[("master", Some("true"))]);
}

#[test]
fn a_bare_file_of_no_known_format_is_an_error() {
    assert_eq!(problem("foobar.py").code, "bad-include");
    assert_eq!(problem("app.yaml").code, "file-not-read");
}

#[test]
fn arguments_in_brackets_are_room_for_process_names() {
    expect("--master [uwsgi]", &[("master", None)]);
}
