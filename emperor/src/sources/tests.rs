//! Which files each kind of source gives, under which names.

use std::fs;

use super::*;

struct Room(PathBuf);

impl Room {
    fn with(name: &str, files: &[&str]) -> Room {
        let room = std::env::temp_dir().join(format!("empery-sources-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&room);
        fs::create_dir_all(&room).unwrap();
        for file in files {
            fs::create_dir_all(room.join(file).parent().unwrap()).unwrap();
            fs::write(room.join(file), "").unwrap();
        }
        Room(room)
    }

    fn sources(&self, named: &[&str]) -> anyhow::Result<Sources> {
        Sources::new(&named.iter().map(|named| (*named).to_owned()).collect::<Vec<_>>(), &self.0)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn names(sources: &Sources) -> Vec<String> {
    sources.list().unwrap().into_iter().map(|(name, _)| name.to_string()).collect()
}

fn name(text: &str) -> VassalName {
    VassalName::new(text).unwrap()
}

const SITES: [&str; 6] = ["a/app.ini", "a/other.ini", "b/app.ini", "b/deep/app.ini", ".c/app.ini", "app.ini"];

#[test]
fn one_directory_gives_bare_names_and_is_where_its_vassals_start() {
    let room = Room::with("directory", &SITES);
    for named in ["a", "./a/", "dir://a", "[a]"] {
        let sources = room.sources(&[named]).unwrap();
        assert_eq!(names(&sources), ["app.ini", "other.ini"], "{named}");
        assert_eq!(sources.working_directory(&name("app.ini")), room.0.join("a"));
        assert_eq!(sources.to_string(), room.0.join("a").display().to_string());
        assert!(!sources.cover(&name("deep/app.ini")) && !sources.cover(&name("app.conf")));
    }
}

#[test]
fn a_pattern_gives_paths_below_what_is_no_pattern_and_its_vassals_start_where_the_emperor_did() {
    let room = Room::with("pattern", &SITES);
    let sources = room.sources(&["./*/app.ini"]).unwrap();
    assert_eq!(names(&sources), ["a/app.ini", "b/app.ini"]);
    assert_eq!((sources.base(), sources.working_directory(&name("a/app.ini"))), (room.0.as_path(), room.0.as_path()));
    assert_eq!(names(&room.sources(&["glob://b/*/*.ini"]).unwrap()), ["deep/app.ini"]);
    assert_eq!(names(&room.sources(&["a/app.ini"]).unwrap()), ["app.ini"]);
    for beyond in ["app.ini", "a/other.ini", "b/deep/app.ini", ".c/app.ini"] {
        assert!(!sources.cover(&name(beyond)), "{beyond}");
    }
    let directories: Vec<_> = sources.directories().into_iter().collect();
    assert_eq!(directories, [room.0.clone(), room.0.join("a"), room.0.join("b")]);
    fs::create_dir(room.0.join("z")).unwrap();
    fs::write(room.0.join("z/app.ini"), "").unwrap();
    assert_eq!(names(&sources), ["a/app.ini", "b/app.ini", "z/app.ini"]);
}

#[test]
fn several_sources_have_their_names_below_what_they_have_in_common() {
    let room = Room::with("several", &SITES);
    let sources = room.sources(&["a", "b/deep", "?/app.ini"]).unwrap();
    assert_eq!(names(&sources), ["a/app.ini", "a/other.ini", "b/app.ini", "b/deep/app.ini"]);
    assert_eq!(sources.working_directory(&name("b/deep/app.ini")), room.0.join("b/deep"));
    assert_eq!(sources.working_directory(&name("b/app.ini")), room.0);
    assert_eq!(sources.monitor_of(&name("b/app.ini")), room.0.join("?/app.ini").display().to_string());
    assert_eq!(sources.roots().len(), 3);
}

#[test]
fn the_words_make_the_same_again_even_when_a_directory_has_gone() {
    let room = Room::with("words", &SITES);
    let sources = room.sources(&["a", "*/app.ini"]).unwrap();
    let words: Vec<String> = sources.words().collect();
    fs::remove_dir_all(room.0.join("a")).unwrap();
    assert_eq!(Sources::new(&words, &room.0).unwrap(), sources);
    let (lost, _) = sources.list().unwrap_err();
    assert_eq!(lost, room.0.join("a"), "a root that is gone says nothing about what is there");
}

#[test]
fn a_directory_that_a_pattern_has_found_may_go_and_a_root_may_not() {
    let room = Room::with("gone", &SITES);
    let sources = room.sources(&["*/app.ini"]).unwrap();
    fs::remove_dir_all(room.0.join("a")).unwrap();
    assert_eq!(names(&sources), ["b/app.ini"]);
    fs::remove_dir_all(&room.0).unwrap();
    assert!(sources.list().is_err());
}

#[test]
fn what_is_no_directory_or_pattern_of_files_is_refused() {
    let room = Room::with("refused", &["notes.txt"]);
    for (named, why) in [
        ("missing", "there is no directory"),
        ("notes.txt", "no vassal file by its name"),
        ("pg://host/db", "vassals come from files only"),
        ("", "vassals come from files only"),
    ] {
        let error = room.sources(&[named]).unwrap_err().to_string();
        assert!(error.contains(why), "{named}: {error}");
    }
    assert!(room.sources(&[]).unwrap_err().to_string().contains("no directory of vassal files is named"));
    assert_eq!(names(&room.sources(&["*/*.ini"]).unwrap()), [""; 0], "what fits nothing yet may later");
}
