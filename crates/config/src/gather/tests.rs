//! Including files and sections, and what is done while reading.

use super::*;
use crate::facts::{FileError, FileKind};

struct Tree(BTreeMap<&'static str, &'static str>);

impl Files for Tree {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.0.get(path).map(|text| text.as_bytes().to_vec()).ok_or(FileError::NotFound)
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let below = format!("{}/", path.trim_end_matches('/'));
        match self.0.contains_key(path) {
            true => Some(FileKind::File),
            false => self.0.keys().any(|file| file.starts_with(&below)).then_some(FileKind::Directory),
        }
    }

    fn is_readable(&self, path: &str) -> bool {
        self.kind(path).is_some()
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let below = format!("{}/", path.trim_end_matches('/'));
        let names = self.0.keys().filter_map(|file| file.strip_prefix(below.as_str())?.split('/').next());
        Ok(names.map(str::to_owned).collect::<std::collections::BTreeSet<_>>().into_iter().collect())
    }

    fn run(&self, command: &str) -> Result<Vec<u8>, FileError> {
        let text = command.strip_prefix("echo ").ok_or_else(|| FileError::Other("no such command".to_owned()))?;
        Ok(text.replace(';', "\n").into_bytes())
    }

    fn resolve(&self, host: &str) -> Result<String, FileError> {
        if host == "db" { Ok("10.0.0.7".to_owned()) } else { Err(FileError::NotFound) }
    }
}

pub(super) fn gathered(entry: &str, tree: &[(&'static str, &'static str)]) -> Gathered {
    let facts = Facts {
        working_directory: "/etc/vassals".into(),
        hostname: "box".into(),
        environment: [("STAGE".to_owned(), "prod".to_owned())].into(),
        ..Facts::default()
    };
    let files = Tree(tree.iter().copied().collect());
    let mut gatherer = Gatherer::new(&facts, &files);
    gatherer.file("/etc/vassals/app.ini", entry.as_bytes());
    gatherer.finish()
}

pub(super) fn keys(gathered: &Gathered) -> Vec<String> {
    let shown = |directive: &Directive| format!("{}={}", directive.key, directive.value.as_deref().unwrap_or_default());
    gathered.directives.iter().map(shown).collect()
}

pub(super) fn codes(gathered: &Gathered) -> Vec<&str> {
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
fn b32_a_section_alone_is_of_the_file_read_last() {
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
fn b32_include_knows_the_format_by_its_suffix() {
    assert_eq!(
        keys(&gathered("[uwsgi]\ninclude = b.ini\n", &[("/etc/vassals/b.ini", "[uwsgi]\nx = 1\n")])),
        ["include=b.ini", "x=1"]
    );
    assert_eq!(
        keys(&gathered("[uwsgi]\ninclude = b.yml\n", &[("/etc/vassals/b.yml", "uwsgi:\n  x: 1\n")])),
        ["include=b.yml", "x=1"]
    );
    assert_eq!(codes(&gathered("[uwsgi]\ninclude = b.conf\n", &[])), ["bad-include"]);
}

#[test]
fn a_file_of_any_format_is_read_by_the_end_of_its_name() {
    let facts = Facts::default();
    let texts = [
        ("/v/a.xml", "<uwsgi><master>true</master><x/></uwsgi>"),
        ("/v/a.yml", "uwsgi:\n  master: true\n  x: 1\n"),
        ("/v/a.yaml", "uwsgi: {master: true, x: 1}"),
        ("/v/a.json", r#"{"uwsgi": {"master": "true", "x": 1}}"#),
        ("/v/a.js", r#"{"uwsgi": {"master": "true", "x": true}}"#),
    ];
    for (path, text) in texts {
        let mut gatherer = Gatherer::new(&facts, &crate::facts::NoFiles);
        gatherer.file(path, text.as_bytes());
        let found = gatherer.finish();
        assert_eq!((keys(&found), codes(&found)), (vec!["master=true".to_owned(), "x=1".to_owned()], vec![]), "{path}");
    }
}

#[test]
fn nothing_is_run_or_fetched_to_understand_a_file() {
    for value in ["exec://cat x", "http://host/x.ini", "emperor://x", "fd://3", "sym://x", "what://x", "-"] {
        assert_eq!(gathered(&format!("[uwsgi]\nini = {value}\n"), &[]).problems.len(), 1, "{value}");
    }
}

#[test]
fn b32_set_gives_an_option_or_a_placeholder() {
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

#[test]
fn a_command_is_read_where_the_caller_runs_it() {
    let found = gathered("[uwsgi]\nini = exec://echo [uwsgi];a = 1\n", &[]);
    assert_eq!((keys(&found).last().map(String::as_str), codes(&found)), (Some("a=1"), vec![]));
}

#[test]
fn a_section_of_a_url_stands_behind_its_last_slash() {
    let found = gathered("[uwsgi]\nini = exec://echo /x;[prod];a = 1:prod\n", &[]);
    assert_eq!((keys(&found).last().map(String::as_str), codes(&found)), (Some("a=1"), vec![]));
}

#[test]
fn texts_are_injected_around_the_files_that_follow() {
    let tree = [
        ("/etc/vassals/head.txt", "[uwsgi]\nbefore = 1\n"),
        ("/etc/vassals/b.ini", "x = 1\n"),
        ("/etc/vassals/tail.txt", "after = %n\n"),
    ];
    let found = gathered("[uwsgi]\ninject-before = head.txt\ninject-after = tail.txt\nini = b.ini\n", &tree);
    assert_eq!(keys(&found)[3..], ["before=1", "x=1", "after=b"]);
    let places: Vec<String> = found.directives[3..].iter().map(|found| found.key_at.to_string()).collect();
    assert_eq!(places, ["head.txt:2:1", "b.ini:1:1", "tail.txt:1:1"], "and not those of all three put together");
    assert_eq!(&found.sources["b.ini"][..], b"x = 1\n");
}

#[test]
fn a_line_that_two_injected_texts_share_is_that_of_the_first() {
    let tree = [("/etc/vassals/head.txt", "[uwsgi]\nbefore = "), ("/etc/vassals/b.ini", "1\nx = 1\n")];
    let found = gathered("[uwsgi]\ninject-before = head.txt\nini = b.ini\n", &tree);
    let places: Vec<String> = found.directives[2..].iter().map(|found| found.key_at.to_string()).collect();
    assert_eq!(places, ["head.txt:2:1", "b.ini:2:1"]);
}

#[test]
fn an_option_of_one_s_own_stands_for_others() {
    let text =
        "[uwsgi]\nthreads = 2\ndeclare-option = app=module=$1.wsgi;chdir=/srv/$1/$2\napp = shop v1\nthreads = 3\n";
    // What it stands for is applied while the file is read, and thus before all that is not.
    assert_eq!(
        keys(&gathered(text, &[])),
        [
            "module=shop.wsgi",
            "chdir=/srv/shop/v1",
            "threads=2",
            "declare-option=app=module=$1.wsgi;chdir=/srv/$1/$2",
            "app=shop v1",
            "threads=3"
        ]
    );
    // What stands before the declaration is applied where it stands.
    let early = gathered("[uwsgi]\nmine = 7\nmine = 8\nx = 1\ndeclare-option = mine=threads=$1\n", &[]);
    let expected = ["mine=7", "threads=7", "mine=8", "threads=8", "x=1", "declare-option=mine=threads=$1"];
    assert_eq!(keys(&early), expected);
    // No condition finds it, as no placeholder does.
    let asked = "[uwsgi]\ndeclare-option = mine=threads=$1\nmine = 7\nif-opt = threads=7\nx = 1\nend-if =\n";
    assert!(!keys(&gathered(asked, &[])).contains(&"x=1".to_owned()));
    let endless = gathered("[uwsgi]\ndeclare-option = a=b=$1\ndeclare-option = b=a=$1;a=$1\na = 1\n", &[]);
    assert!(codes(&endless).contains(&"endless-option") && endless.directives.len() < 2000, "{:?}", codes(&endless));
    assert_eq!(codes(&gathered("[uwsgi]\ndeclare-option = master=threads=$1\n", &[])), ["option-exists"]);
    assert_eq!(codes(&gathered("[uwsgi]\ndeclare-option = nothing\n", &[])), ["bad-value"]);
}

#[test]
fn lists_forbid_options_until_they_are_ended() {
    let text = "[uwsgi]\nblacklist = a b\na = 1\nc = 1\nend-blacklist =\na = 2\n";
    let found = gathered(text, &[]);
    assert_eq!((codes(&found), keys(&found).last().map(String::as_str)), (vec!["option-forbidden"], Some("a=2")));
    let found = gathered("[uwsgi]\nwhitelist = a\na = 1\nc = 1\nend-whitelist =\nc = 2\n", &[]);
    assert_eq!(
        (codes(&found), keys(&found)[1..].to_vec()),
        (vec!["option-forbidden"], ["a=1", "end-whitelist=", "c=2"].map(str::to_owned).to_vec())
    );
}

#[test]
fn a_host_is_resolved_into_a_placeholder() {
    let found = gathered("[uwsgi]\nresolve = db=db\nresolve = other=nowhere\nresolve = x\n", &[]);
    assert_eq!((keys(&found)[1].as_str(), codes(&found)), ("db=10.0.0.7", vec!["not-resolved", "bad-value"]));
}

#[test]
fn a_directory_of_variables_is_read_early() {
    let tree = [
        ("/etc/vassals/env/A", "1 \n\n"),
        ("/etc/vassals/env/B", ""),
        ("/etc/vassals/env/.c", "x"),
        ("/etc/vassals/env/D", "a\0b"),
    ];
    let found =
        gathered("[uwsgi]\nearly-envdir = env\nif-env = A=1\nx = 1\nendif =\nif-env = STAGE\ny = 1\nendif =\n", &tree);
    let set = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    assert_eq!(found.early_environment, [set("A", Some("1")), set("B", None), set("D", Some("a\nb"))]);
    assert!(keys(&found).contains(&"x=1".to_owned()));
}

#[test]
fn exit_ends_the_start() {
    let found = gathered("[uwsgi]\nif-not-file = secret\nexit = 3\nendif =\n", &[]);
    assert_eq!((codes(&found), found.problems[0].origin.line), (vec!["exit-asked"], 3));
}
