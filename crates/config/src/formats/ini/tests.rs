//! The rules of uWSGI's tokenizer, one by one.

use super::*;
use crate::{facts::Facts, magic::FileNames};

fn section(text: &[u8], asked: &str) -> Section {
    let magic = Magic::new(&FileNames::default(), &FileNames::default(), &Facts::default());
    read("t.ini", text, asked, &magic, 1 << 20).unwrap()
}

fn pairs(text: &str) -> Vec<(String, String)> {
    section(text.as_bytes(), "uwsgi").pairs.into_iter().map(|pair| (pair.key, pair.value.unwrap_or_default())).collect()
}

fn strings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn lines_may_end_with_carriage_return_and_line_feed() {
    assert_eq!(pairs("[uwsgi]\r\nmaster = true\r\n"), strings(&[("master", "true")]));
}

#[test]
fn the_last_line_needs_no_line_feed() {
    assert_eq!(pairs("[uwsgi]\nmaster = true"), strings(&[("master", "true")]));
}

#[test]
fn indentation_means_nothing() {
    assert_eq!(pairs("  [uwsgi]\n\t a = 1 \t\n    b"), strings(&[("a", "1"), ("b", "")]));
}

#[test]
fn b1_a_backslash_at_the_end_does_not_continue_the_line() {
    assert_eq!(pairs("[uwsgi]\ncont = one \\\ntwo\n"), strings(&[("cont", "one \\"), ("two", "")]));
}

#[test]
fn b1_semicolon_and_hash_begin_comments_only_at_the_start_of_a_line() {
    assert_eq!(pairs("[uwsgi]\n; a = 1\n  # b = 2\nbar = hello ; x # y\n"), strings(&[("bar", "hello ; x # y")]));
}

#[test]
fn b1_quotes_are_part_of_the_value() {
    assert_eq!(pairs("[uwsgi]\na = \"x\"\n"), strings(&[("a", "\"x\"")]));
}

#[test]
fn the_first_equals_sign_splits() {
    assert_eq!(pairs("[uwsgi]\nenv = A=B=C\n"), strings(&[("env", "A=B=C")]));
}

#[test]
fn keys_are_case_sensitive_and_kept_as_written() {
    assert_eq!(pairs("[uwsgi]\nUPPER_case = x\n"), strings(&[("UPPER_case", "x")]));
}

#[test]
fn b1_a_key_without_equals_sign_has_an_empty_value() {
    assert_eq!(pairs("[uwsgi]\nmaster\n"), strings(&[("master", "")]));
}

#[test]
fn the_last_character_of_a_section_line_is_cut_whatever_it_is() {
    assert_eq!(pairs("[uwsgi] ; note\na = 1\n"), vec![]);
    assert_eq!(pairs("[uwsgix\na = 1\n"), strings(&[("a", "1")]));
    assert_eq!(pairs("[\na = 1\n"), vec![]);
}

#[test]
fn keys_before_any_section_are_ignored() {
    assert_eq!(pairs("a = 1\n[uwsgi]\nb = 2\n"), strings(&[("b", "2")]));
}

#[test]
fn a_section_that_stands_there_twice_is_read_in_order() {
    assert_eq!(pairs("[uwsgi]\na = 1\n[other]\nb = 2\n[uwsgi]\na = 3\n"), strings(&[("a", "1"), ("a", "3")]));
}

#[test]
fn another_section_is_read_when_asked_for() {
    let found = section(b"[uwsgi]\na = 1\n[app1]\nplugin = rack\n", "app1");
    assert_eq!(found.pairs.iter().map(|pair| pair.key.as_str()).collect::<Vec<_>>(), ["plugin"]);
}

#[test]
fn a_percent_sign_never_eats_the_line_break_and_is_reported_with_its_place() {
    let found = section(b"[uwsgi]\npassword = end%\nenv = A=B\n", "uwsgi");
    assert_eq!(found.pairs.iter().map(|pair| pair.value.as_deref()).collect::<Vec<_>>(), [Some("end%"), Some("A=B")]);
    let problem = &found.problems[0];
    assert_eq!((problem.code.as_str(), problem.origin.line, problem.origin.column), ("unknown-magic", 2, 15));
}

#[test]
fn a_comment_that_ends_with_a_percent_sign_is_reported_too() {
    let found = section(b"[uwsgi]\n# up to 80%\nmaster = true\n# 50% of it\n", "uwsgi");
    assert_eq!((found.pairs.len(), found.problems.len()), (1, 1));
}

#[test]
fn places_count_characters_from_one() {
    let found = section("[uwsgi]\n  chdir =  /srv/äpp  \n".as_bytes(), "uwsgi");
    let pair = &found.pairs[0];
    assert_eq!((pair.key_at.line, pair.key_at.column, pair.key_at.length), (2, 3, 5));
    assert_eq!((pair.value_at.line, pair.value_at.column, pair.value_at.length), (2, 12, 8));
}

#[test]
fn latin1_is_fine_in_a_comment_and_refused_in_a_value() {
    let found = section(b"[uwsgi]\n; gr\xfc\xdfe\nchdir = /gr\xfc\n", "uwsgi");
    assert_eq!((found.pairs.len(), found.problems[0].code.as_str()), (0, "not-utf8"));
}

#[test]
fn a_nul_byte_is_refused() {
    assert_eq!(section(b"[uwsgi]\na = \0b\n", "uwsgi").problems[0].code, "nul-byte");
}

#[test]
fn a_byte_order_mark_is_skipped_and_reported() {
    let found = section(b"\xef\xbb\xbf[uwsgi]\na = 1\n", "uwsgi");
    assert_eq!((found.pairs.len(), found.problems[0].code.as_str()), (1, "byte-order-mark"));
}

#[test]
fn a_text_that_grows_beyond_the_limit_is_given_up() {
    let facts = Facts { hostname: "h".repeat(1000), ..Facts::default() };
    let magic = Magic::new(&FileNames::default(), &FileNames::default(), &facts);
    assert!(read("t.ini", "[uwsgi]\na = %h%h%h\n".as_bytes(), "uwsgi", &magic, 2000).is_err());
}
