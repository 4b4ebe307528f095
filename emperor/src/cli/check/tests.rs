//! What is told of one file, as an emperor would tell it.

use super::*;

fn told(name: &str, text: &str, for_all: &ForAll) -> (Option<Identity>, Vec<String>) {
    let room = std::env::temp_dir().join(format!("empery-check-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&room).unwrap();
    std::fs::write(room.join(name), text).unwrap();
    let reading = read(&room.join(name), for_all).unwrap();
    std::fs::remove_dir_all(room).unwrap();
    (reading.plan.map(|plan| plan.identity), reading.problems.into_iter().map(|problem| problem.code).collect())
}

const APP: &str = "[uwsgi]\nmodule = app\nhttp-socket = 127.0.0.1:8000\nuid = 4242\n";

#[test]
fn a_file_that_no_emperor_looks_at_is_told() {
    assert!(!told("shop.ini", APP, &ForAll::default()).1.contains(&"not-a-vassal".to_owned()));
    for name in ["shop.conf", ".hidden.ini", "shop.ini.bak"] {
        assert!(told(name, APP, &ForAll::default()).1.contains(&"not-a-vassal".to_owned()), "{name}");
    }
}

#[test]
fn an_emperor_s_extra_extension_and_its_patterns_count_in_the_check() {
    let more = ForAll { endings: vec![".conf".to_owned()], ..ForAll::default() };
    assert!(!told("shop.conf", APP, &more).1.contains(&"not-a-vassal".to_owned()));
    assert!(told("shop.bak", APP, &more).1.contains(&"not-a-vassal".to_owned()));
    let room = std::env::temp_dir().join(format!("empery-check-{}-pattern", std::process::id()));
    std::fs::create_dir_all(room.join("sites/shop")).unwrap();
    let file = room.join("sites/shop/app.conf");
    std::fs::write(&file, format!("{APP}env = HERE=%v\nenv = NAME=%o\n")).unwrap();
    let sources = Sources::new(&[format!("{}/sites/*/app.conf", room.display())], Path::new("/srv")).unwrap();
    let of = |for_all: &ForAll| {
        let reading = read(&file, for_all).unwrap();
        let variables = reading.plan.unwrap().config.env.into_iter();
        variables.filter_map(|(_, value)| value).collect::<Vec<_>>()
    };
    // As uWSGI: a file that a pattern has found is read where the emperor was started.
    let path = file.display().to_string();
    assert_eq!(of(&ForAll { sources: Some(sources), ..more }), ["/srv", &path]);
    assert_eq!(of(&ForAll::default()), [room.join("sites/shop").display().to_string().as_str(), "app.conf"]);
    assert_eq!(files_of(&room.join("sites/shop"), &ForAll::default()).unwrap(), Vec::<PathBuf>::new());
    std::fs::remove_dir_all(&room).unwrap();
}

#[test]
fn one_file_that_cannot_be_read_does_not_hide_the_others() {
    let room = std::env::temp_dir().join(format!("empery-check-{}-unreadable", std::process::id()));
    std::fs::create_dir_all(&room).unwrap();
    std::fs::write(room.join("a.ini"), vec![b'#'; usize::try_from(FILE_MAX_BYTES).unwrap() + 1]).unwrap();
    std::fs::write(room.join("b.ini"), APP).unwrap();
    let of_directory = read_all(&room, &ForAll::default()).unwrap_or_else(|failure| panic!("{}", failure.sentence));
    let of_file = read_all(&room.join("a.ini"), &ForAll::default()).is_err();
    std::fs::remove_dir_all(&room).unwrap();
    let [(_, unread), (_, read)] = of_directory.as_slice() else { panic!("{} files", of_directory.len()) };
    assert_eq!((unread.plan.is_none(), unread.problems[0].code.as_str()), (true, "unreadable"));
    assert!(unread.problems[0].message.contains("longer than"), "{}", unread.problems[0].message);
    assert!(read.plan.is_some() && of_file);
}

#[test]
fn a_tyrant_counts_in_the_check() {
    let for_all = ForAll { tyrant: Some(Tyrant { initgroups: false, nofollow: false }), ..ForAll::default() };
    let (identity, codes) = told("tyrant.ini", APP, &for_all);
    // The file belongs to whoever runs the tests.
    if nix::unistd::geteuid().is_root() {
        assert_eq!((identity, codes), (None, vec!["owner-is-root".to_owned()]));
    } else {
        assert_eq!(identity.map(|who| who.uid), Some(nix::unistd::geteuid().as_raw()));
        assert_eq!(codes, ["identity-ignored"]);
    }
}

#[test]
fn an_app_that_would_run_as_root_is_told_whether_or_not_it_says_so() {
    let reader = Reader::new(Arc::new(Sources::of_directory("/nowhere".into())), Identity { uid: 0, gid: 0 });
    let name = VassalName::new("shop.ini").unwrap();
    let read = |more: &str| {
        let text = format!("[uwsgi]\nmodule = app\nhttp-socket = 127.0.0.1:8000\n{more}");
        reader.read(&name, RevisionId(1), text.into_bytes(), Circumstances::default()).problems
    };
    for (more, line) in [("", 0), ("uid = root\n", 4), ("uid = 0\n", 4)] {
        let problems = read(more);
        assert_eq!((problems.len(), problems[0].code.as_str(), problems[0].line), (1, "runs-as-root", line), "{more}");
    }
    assert!(read("")[0].message.contains("no `uid` is named"));
    assert!(read("uid = 4242\n").is_empty());
}
