//! The tables are complete and every line of them is read.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_line_of_every_table_is_an_entry() {
    for (family, table) in TABLES {
        for line in table.lines() {
            assert!(entry(family, line).is_some(), "in the table of {family}: {line:?}");
        }
    }
}

#[test]
fn all_1333_names_of_uwsgi_are_there_exactly_once() {
    let names: BTreeSet<&str> = all().iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), all().len(), "a name stands there twice");
    assert_eq!(all().iter().filter(|entry| entry.since != Since::Empery).count(), 1333);
}

#[test]
fn b60_silence_is_not_a_status() {
    for entry in all() {
        let (Status::Supported { meaning: text }
        | Status::Accepted { why: text, .. }
        | Status::Refused { instead: text, .. }) = entry.status;
        assert!(text.len() > 10, "{} says only {text:?}", entry.name);
    }
}

#[test]
fn a_name_is_found_as_written_only() {
    assert!(lookup("http-socket").is_some());
    assert!(lookup("HTTP-socket").is_none());
    assert!(lookup("http_socket").is_none());
}

#[test]
fn short_forms_lead_to_the_option_people_mean() {
    let name = |short| by_short(short).map(|entry| entry.name);
    let found = ['s', 'p', 'w', 'H', 'M', 'C', 'T', 't', 'b', 'l', 'S', 'd', 'h', 'L', 'i', 'R'].map(name);
    let expected = [
        "socket",
        "processes",
        "module",
        "home",
        "master",
        "chmod",
        "enable-threads",
        "harakiri",
        "buffer-size",
        "listen",
        "set",
        "daemonize",
        "help",
        "disable-logging",
        "single-interpreter",
        "max-requests",
    ];
    assert_eq!(found, expected.map(Some));
}
