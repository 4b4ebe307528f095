//! Including files and sections, and what is done while reading.

use super::*;

struct Tree(BTreeMap<&'static str, &'static str>);

impl Files for Tree {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.0.get(path).map(|text| text.as_bytes().to_vec()).ok_or(FileError::NotFound)
    }
}

fn gathered(entry: &str, tree: &[(&'static str, &'static str)]) -> Gathered {
    let facts = Facts { working_directory: "/etc/vassals".into(), ..Facts::default() };
    let files = Tree(tree.iter().copied().collect());
    let mut gatherer = Gatherer::new(&facts, &files);
    gatherer.file("/etc/vassals/app.ini", entry.as_bytes());
    gatherer.finish()
}

fn keys(gathered: &Gathered) -> Vec<String> {
    let shown = |directive: &Directive| format!("{}={}", directive.key, directive.value.as_deref().unwrap_or_default());
    gathered.directives.iter().map(shown).collect()
}

fn codes(gathered: &Gathered) -> Vec<&str> {
    gathered.problems.iter().map(|problem| problem.code.as_str()).collect()
}

#[test]
fn another_file_is_read_where_it_is_named() {
    let found =
        gathered("[uwsgi]\na = 1\nini = common.ini\nb = 2\n", &[("/etc/vassals/common.ini", "[uwsgi]\nc = 3\n")]);
    assert_eq!(keys(&found), ["a=1", "ini=common.ini", "c=3", "b=2"]);
}

#[test]
fn a_section_of_another_file_is_named_after_a_colon() {
    let found =
        gathered("[uwsgi]\nini = common.ini:prod\n", &[("/etc/vassals/common.ini", "[uwsgi]\na = 1\n[prod]\nb = 2\n")]);
    assert_eq!(keys(&found), ["ini=common.ini:prod", "b=2"]);
}

#[test]
fn a_section_alone_is_of_the_file_read_last() {
    let text = "[uwsgi]\nini = :app1\nini = defaults.ini\nini = :app2\n[app1]\nplugin = rack\n[app2]\nx = wrong\n";
    let found = gathered(text, &[("/etc/vassals/defaults.ini", "[uwsgi]\na = 1\n[app2]\nplugin = php\n")]);
    assert_eq!(keys(&found), ["ini=:app1", "plugin=rack", "ini=defaults.ini", "a=1", "ini=:app2", "plugin=php"]);
    assert_eq!(codes(&found), Vec::<&str>::new());
}

#[test]
fn the_entry_itself_is_not_read_again_from_disk() {
    let found = gathered("[uwsgi]\nini = :b\n[b]\nnew = 1\n", &[("/etc/vassals/app.ini", "[b]\nold = 1\n")]);
    assert_eq!(keys(&found), ["ini=:b", "new=1"]);
}

#[test]
fn a_missing_section_is_a_warning() {
    let found = gathered("[wsgi]\na = 1\n", &[]);
    assert_eq!((codes(&found), found.problems[0].origin.file.as_str()), (vec!["missing-section"], "app.ini"));
}

#[test]
fn a_missing_file_is_an_error_at_its_line() {
    let found = gathered("[uwsgi]\nini = nope.ini\n", &[]);
    assert_eq!(
        (codes(&found), found.problems[0].origin.line, found.problems[0].origin.column),
        (vec!["file-not-read"], 2, 7)
    );
}

#[test]
fn a_cycle_of_files_is_an_error() {
    let found = gathered("[uwsgi]\nini = b.ini\n", &[("/etc/vassals/b.ini", "[uwsgi]\nx = 1\nini = ./app.ini\n")]);
    assert_eq!(codes(&found), ["include-cycle"]);
    assert_eq!(codes(&gathered("[uwsgi]\nini = :uwsgi\n", &[])), ["include-cycle"]);
}

#[test]
fn inclusions_that_multiply_are_given_up() {
    let four = "[uwsgi]\nini = :b\nini = :b\nini = :b\nini = :b\n[b]\nini = :c\nini = :c\nini = :c\nini = :c\n[c]\nini = :d\nini = :d\n\
                ini = :d\nini = :d\n[d]\nini = :e\nini = :e\nini = :e\nini = :e\n[e]\nx = 1\n";
    let found = gathered(four, &[]);
    assert!(codes(&found).contains(&"too-many-includes"));
    assert!(found.directives.len() < 2000);
}

#[test]
fn include_knows_the_format_by_its_suffix() {
    assert_eq!(
        keys(&gathered("[uwsgi]\ninclude = b.ini\n", &[("/etc/vassals/b.ini", "[uwsgi]\nx = 1\n")])),
        ["include=b.ini", "x=1"]
    );
    assert_eq!(codes(&gathered("[uwsgi]\ninclude = b.yml\n", &[])), ["format-not-read"]);
    assert_eq!(codes(&gathered("[uwsgi]\ninclude = b.conf\n", &[])), ["bad-include"]);
}

#[test]
fn other_formats_are_refused_by_name() {
    let facts = Facts::default();
    for (path, format) in
        [("/v/a.xml", "XML"), ("/v/a.yml", "YAML"), ("/v/a.yaml", "YAML"), ("/v/a.json", "JSON"), ("/v/a.js", "JSON")]
    {
        let mut gatherer = Gatherer::new(&facts, &crate::facts::NoFiles);
        gatherer.file(path, b"uwsgi:\n");
        let found = gatherer.finish();
        assert_eq!(codes(&found), ["format-not-read"]);
        assert!(found.problems[0].message.starts_with(format));
    }
}

#[test]
fn nothing_is_run_or_fetched_to_understand_a_file() {
    for value in ["exec://cat x", "http://host/x.ini", "emperor://x", "-"] {
        assert_eq!(gathered(&format!("[uwsgi]\nini = {value}\n"), &[]).problems.len(), 1, "{value}");
    }
}

#[test]
fn set_gives_an_option_or_a_placeholder() {
    assert_eq!(
        keys(&gathered("[uwsgi]\nset = base=/srv\nset = c=d=e\n", &[])),
        ["set=base=/srv", "base=/srv", "set=c=d=e", "c=d=e"]
    );
    assert_eq!(codes(&gathered("[uwsgi]\nset = base\n", &[])), ["bad-value"]);
}

#[test]
fn blanks_around_the_equals_sign_of_set_count_for_nothing() {
    let found = gathered("[uwsgi]\nset = base = /srv\nset-ph = other = 1\n", &[]);
    assert_eq!(keys(&found)[1..], ["base=/srv", "set-ph=other = 1", "other=1"]);
}

#[test]
fn set_ph_may_not_name_an_option() {
    let found = gathered("[uwsgi]\nset-ph = base=/srv\nset-placeholder = master=1\n", &[]);
    assert_eq!((keys(&found).len(), codes(&found)), (3, vec!["placeholder-is-option"]));
}

#[test]
fn an_included_file_is_lower_case_and_the_vassal_is_capital() {
    let found = gathered("[uwsgi]\nini = sub/b.ini\n", &[("/etc/vassals/sub/b.ini", "[uwsgi]\nx = %n %N %d %p\n")]);
    assert_eq!(keys(&found)[1], "x=b app /etc/vassals/sub/ /etc/vassals/sub/b.ini");
}

#[test]
fn a_vassal_is_named_as_its_emperor_names_it() {
    assert_eq!(keys(&gathered("[uwsgi]\nx = %o %p %v\n", &[])), ["x=app.ini /etc/vassals/app.ini /etc/vassals"]);
}
