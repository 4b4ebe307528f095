//! YAML, JSON and XML: which keys and values they give, and where they stand.

use proptest::prelude::*;

use super::*;
use crate::{facts::Facts, magic::FileNames};

fn read(format: Format, text: &str, section: Option<&str>) -> Section {
    let names = FileNames { given: "t.x".into(), absolute: "/v/shop.x".into(), ..FileNames::default() };
    let magic = Magic::new(&FileNames { given: "shop.x".into(), ..names.clone() }, &names, &Facts::default());
    format.read("t.x", text.as_bytes(), section, &magic, 1 << 20).unwrap()
}

fn pairs(section: &Section) -> Vec<String> {
    section.pairs.iter().map(|pair| format!("{}={}", pair.key, pair.value.as_deref().unwrap_or("(none)"))).collect()
}

fn codes(section: &Section) -> Vec<&str> {
    section.problems.iter().map(|problem| problem.code.as_str()).collect()
}

#[test]
fn yaml_scalars_are_taken_as_written_and_lists_repeat() {
    let text = "other: 1\nuwsgi:\n  chmod-socket: 0660\n  master: no\n  env: [A=1, 'B=2']\n  pp:\n    - /a\n    - /b\n  n: %n\n  \"q\": \"x: y\"\nlater: 1\n";
    let found = read(Format::Yaml, text, None);
    assert_eq!(
        (pairs(&found), codes(&found)),
        (
            ["chmod-socket=0660", "master=no", "env=A=1", "env=B=2", "pp=/a", "pp=/b", "n=shop", "q=x: y"]
                .map(str::to_owned)
                .to_vec(),
            vec![]
        )
    );
    let place = |pair: &Pair| (pair.key_at.line, pair.key_at.column, pair.value_at.line, pair.value_at.column);
    assert_eq!([place(&found.pairs[0]), place(&found.pairs[4])], [(3, 3, 3, 17), (6, 3, 7, 7)]);
}

#[test]
fn yaml_sections_bare_keys_and_what_is_no_value() {
    assert_eq!(pairs(&read(Format::Yaml, "uwsgi: {a: 1}\nprod: {a: 2}\n", Some("prod"))), ["a=2"]);
    let found = read(Format::Yaml, "uwsgi:\n  master:\n  a: {b: 1}\n  c: *x\n", None);
    assert_eq!(codes(&found).first(), Some(&"bare-key"));
    let found = read(Format::Yaml, "uwsgi:\n  x: &x 1\n  a: {b: 1}\n  c: *x\n  d: [[1], 2]\n", None);
    assert_eq!(
        (pairs(&found), codes(&found)),
        (["x=1", "b=1", "d=2"].map(str::to_owned).to_vec(), vec!["nested-value"; 3])
    );
    assert_eq!(codes(&read(Format::Yaml, "a: 1\n", None)), ["missing-section"]);
    let broken = read(Format::Yaml, "uwsgi:\n  a: [1\nb: 2\n", None);
    assert_eq!(codes(&broken), ["bad-format"]);
    assert!(broken.problems[0].origin.line >= 2, "{:?}", broken.problems[0]);
}

#[test]
fn what_is_no_yaml_is_read_as_uwsgi_without_libyaml_reads_it() {
    let text = "other:\n  a: 1\nuwsgi:\n    logformat : UWSGI: %%(method) # note\n    q: 'x'\nlater:\n  b: 2\n";
    let found = read(Format::Yaml, text, None);
    assert_eq!(
        (pairs(&found), codes(&found)),
        (["logformat=UWSGI: %(method)", "q='x'"].map(str::to_owned).to_vec(), vec!["bad-format"])
    );
    assert_eq!((found.pairs[0].value_at.line, found.pairs[0].value_at.column), (4, 17));
    assert_eq!(found.problems[0].severity, crate::problem::Severity::Warning);
}

#[test]
fn yaml_keys_may_stand_there_twice() {
    assert_eq!(pairs(&read(Format::Yaml, "uwsgi:\n  env: A=1\n  env: B=2\n", None)), ["env=A=1", "env=B=2"]);
}

#[test]
fn json_values_become_texts() {
    let text = r#"{"a": {}, "uwsgi": {"s": "x\"\u00e9\ud83d\ude00", "n": -3, "t": true, "f": false, "z": null,
        "l": ["1", 2, true], "o": {"x": 1}, "d": 1.5}}"#;
    let found = read(Format::Json, text, None);
    assert_eq!(pairs(&found), ["s=x\"é😀", "n=-3", "t=1", "f=0", "z=0", "l=1", "l=2", "l=1"]);
    assert_eq!(codes(&found), ["nested-value", "nested-value"]);
    let place = |pair: &Pair| (pair.key_at.line, pair.key_at.column, pair.value_at.line, pair.value_at.column);
    assert_eq!([place(&found.pairs[0]), place(&found.pairs[5])], [(1, 21, 1, 26), (2, 9, 2, 15)]);
    assert_eq!(pairs(&read(Format::Json, r#"{"uwsgi": {"a": 1}, "prod": {"a": 2}}"#, Some("prod"))), ["a=2"]);
}

#[test]
fn json_that_is_none_is_refused_with_its_place() {
    let found = read(Format::Json, "{\"uwsgi\": {\n  \"a\": 1,\n}}", None);
    assert_eq!(
        (codes(&found), found.problems[0].origin.line, found.problems[0].origin.column),
        (vec!["bad-format"], 3, 1)
    );
    for text in ["", "[]", "{}", "{\"uwsgi\": 1}"] {
        assert_eq!(read(Format::Json, text, None).problems.len(), 1, "{text}");
    }
    assert_eq!(codes(&read(Format::Json, &"[".repeat(100_000), None)), ["bad-format"]);
}

#[test]
fn xml_elements_are_options() {
    let text =
        "<uwsgi>\n  <socket>/run/%n.sock</socket>\n  <master/>\n  <!-- note -->\n  <env>A=&lt;1&gt;</env>\n</uwsgi>";
    let found = read(Format::Xml, text, None);
    assert_eq!(
        (pairs(&found), codes(&found)),
        (["socket=/run/shop.sock", "master=1", "env=A=<1>"].map(str::to_owned).to_vec(), vec![])
    );
    let place = |pair: &Pair| (pair.key_at.line, pair.key_at.column, pair.value_at.column);
    assert_eq!(place(&found.pairs[0]), (2, 4, 11));
}

#[test]
fn xml_ids_choose_stanzas_and_options() {
    let text = "<root><uwsgi id=\"a\"><x>1</x></uwsgi><uwsgi id=\"b\"><x>2</x><y id=\"c\">3</y><z id=\"b\">4</z></uwsgi></root>";
    assert_eq!(pairs(&read(Format::Xml, text, Some("b"))), ["x=2", "z=4"]);
    assert_eq!(pairs(&read(Format::Xml, text, None)), ["x=1"]);
    assert_eq!(codes(&read(Format::Xml, text, Some("none"))), ["missing-section"]);
}

#[test]
fn xml_apps_are_mounts_and_a_document_type_is_refused() {
    let text = "<uwsgi><app mountpoint=\"/x\"><script>mod</script></app><app mountpoint=\"/y\">other</app></uwsgi>";
    assert_eq!(pairs(&read(Format::Xml, text, None)), ["mount=/x=mod", "app=", "mount=/y=other", "app="]);
    let laughs = "<!DOCTYPE a [<!ENTITY b \"c\">]><uwsgi><x>&b;</x></uwsgi>";
    assert_eq!(codes(&read(Format::Xml, laughs, None)), ["bad-format"]);
    assert_eq!(codes(&read(Format::Xml, "<uwsgi><x></uwsgi>", None)), ["bad-format"]);
    assert_eq!(codes(&read(Format::Xml, &"<a>".repeat(100_000), None)), ["bad-format"]);
}

#[test]
fn places_are_those_in_the_file_whatever_stands_for_its_variables() {
    let place = |at: &Origin| (at.line, at.column, at.length);
    let places = |found: &Section| -> Vec<_> {
        found.pairs.iter().map(|pair| (place(&pair.key_at), place(&pair.value_at))).collect()
    };
    // `shop` stands for `%n`, nothing for `%x`.
    let yaml = read(Format::Yaml, "uwsgi:\n  a: %n\n  é%n: [x%n, '%x', %n%n, z]\n", None);
    assert_eq!(pairs(&yaml), ["a=shop", "éshop=xshop", "éshop=", "éshop=shopshop", "éshop=z"]);
    let key = (3, 3, 3);
    let values = [(3, 9, 3), (3, 14, 4), (3, 20, 4), (3, 26, 1)];
    assert_eq!(places(&yaml), [vec![((2, 3, 1), (2, 6, 2))], values.map(|value| (key, value)).to_vec()].concat());
    let json = read(Format::Json, "{\"uwsgi\": {\"%n\": \"%n\", \"b\": 1}}", None);
    assert_eq!(places(&json), [((1, 12, 4), (1, 18, 4)), ((1, 24, 3), (1, 29, 1))]);
    let xml = read(Format::Xml, "<uwsgi><a>%n</a><b>%n.%n</b></uwsgi>", None);
    assert_eq!(places(&xml), [((1, 9, 1), (1, 11, 2)), ((1, 18, 1), (1, 20, 5))]);
    let broken = read(Format::Json, "{\"uwsgi\": {\"%n%n\": }}", None);
    assert_eq!(broken.problems.iter().map(|problem| place(&problem.origin)).collect::<Vec<_>>(), [(1, 20, 1)]);
}

#[test]
fn every_format_tells_of_magic_that_is_none_and_of_other_encodings() {
    assert_eq!(codes(&read(Format::Yaml, "uwsgi:\n  a: 100%q\n", None)), ["unknown-magic"]);
    let magic = Magic::new(&FileNames::default(), &FileNames::default(), &Facts::default());
    let found = Format::Json.read("t", b"{\n\"\xff\": 1}", None, &magic, 1 << 20).unwrap();
    assert_eq!((codes(&found), found.problems[0].origin.line), (vec!["not-utf8"], 2));
    assert_eq!(Format::Json.read("t", b"{      }", None, &magic, 4).unwrap_err(), TooLong);
}

proptest! {
    #[test]
    fn json_is_what_serde_json_takes_for_it(text in r#"([\[\]{}:,"0-9eE+.\-\\untrflsa /]|"a"|"uwsgi":|true|null|\\u00e9){0,24}"#) {
        let ours = !codes(&read(Format::Json, &text.replace('%', ""), None)).contains(&"bad-format");
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(ours, theirs, "{}", text);
    }
}
