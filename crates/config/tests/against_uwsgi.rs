//! The same texts through a real uWSGI, when one is named in EMPERY_UWSGI: both must come to the same configuration.
//!
//! Keys are unknown to uWSGI on purpose: it keeps them as placeholders, does nothing with them, and shows them with
//! `--show-config` after all its passes. Without the variable the test says that it skips.

// Tests may do I/O; the crate may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, clippy::disallowed_types)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use empery_config::{
    facts::{Facts, FileError, Files},
    read::{Entry, read},
    show::show,
};

/// Name of the test, text of the entry, text of `other.ini` beside it.
const TEXTS: [(&str, &str, &str); 9] = [
    (
        "lines and blanks",
        "x-before = 1\r\n[uwsgi]\r\n\tx-a = 1 \t\r\n  x-b=2\n x-c\nx-d = a=b = c\n=x-e\nx-f = end",
        "",
    ),
    ("comments and quotes", "[uwsgi]\n; x-a = 1\n # x-b\nx-c = \"q\" ; no comment # here\nx-d = 'y' \\\nx-e = z\n", ""),
    (
        "sections",
        "[other]\nx-a = 1\n[uwsgi]\nx-b = 2\n[uwsgi] ; note\nx-c = 3\n  [uwsgi]\nx-d = 4\n[uwsgix\nx-e = 5\n",
        "",
    ),
    (
        "magic",
        "[uwsgi]\nx-a = %p|%o|%s|%n|%e|%d|%c|%0|%1|%2|%3|%x|%j|%v|%k|%u|%U|%g|%G\nx-b = %P|%N|%D 100%% %%(x-a\n",
        "",
    ),
    (
        "placeholders",
        "[uwsgi]\nx-b = 5\nx-b = 6\nx-a = v%(x-b)w %(x-none) %(x-c)\nx-c = late\nx-d = z%(x-e)\nx-e = a%(x-c)\n",
        "",
    ),
    (
        "arithmetic",
        "[uwsgi]\nx-n = 4\nx-m = 12\nx-a = r%(x-n x-m + 2)\nx-b = r%(x-m / x-n)\nx-c = r%(x-m / 0) %(x-n ++) %(x-n --) %(x-no + 1)\n",
        "",
    ),
    ("environment", "[uwsgi]\nx-a = $(X_SET)/y\nx-b = $(X_UNSET)/y $X_SET $()\nx-c = q%(x-a)\n", ""),
    ("set", "[uwsgi]\nset = x-a=b=c\nset-ph = x-p=q\nx-b = <%(x-a)%(x-p)>\n", ""),
    (
        "other files",
        "[uwsgi]\nx-a = %n %N\nini = other.ini\nini = :two\nini = other.ini:two\nx-z = %n\n[two]\nx-wrong = 1\n",
        "[uwsgi]\nx-b = %n %s %x\n[two]\nx-c = %n %x\n",
    ),
];

struct Beside<'a>(&'a Path);

impl Files for Beside<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        std::fs::read(self.0.join(path)).map_err(|_| FileError::NotFound)
    }
}

#[test]
fn uwsgi_and_empery_read_the_same_configuration() {
    let Some(uwsgi) = std::env::var_os("EMPERY_UWSGI") else {
        println!("skipped: EMPERY_UWSGI names no uwsgi");
        return;
    };
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("against-uwsgi");
    std::fs::create_dir_all(&directory).unwrap();
    let directory = directory.canonicalize().unwrap();
    for (name, text, other) in TEXTS {
        std::fs::write(directory.join("entry.ini"), text).unwrap();
        std::fs::write(directory.join("other.ini"), other).unwrap();
        let mut command = Command::new(&uwsgi);
        command.args(["--ini", "entry.ini", "--show-config", "--no-server"]).current_dir(&directory);
        let shown = command.env_clear().env("X_SET", "set").output().unwrap();
        let theirs = ours_of(&String::from_utf8_lossy(&[shown.stdout, shown.stderr].concat()));
        assert!(!theirs.is_empty(), "uwsgi showed nothing for {name}");
        assert_eq!(empery(&directory, text), theirs, "{name}");
    }
}

/// What Empery shows for the same text. An app and an address are added: without them there is no configuration.
fn empery(directory: &Path, text: &str) -> Vec<String> {
    let facts = Facts {
        working_directory: directory.to_string_lossy().into_owned(),
        cpu_cores: u32::try_from(std::thread::available_parallelism().map_or(1, usize::from)).unwrap_or(1),
        user: "root".into(),
        group: "root".into(),
        environment: [("X_SET".to_owned(), "set".to_owned())].into(),
        ..Facts::default()
    };
    let path = directory.join("entry.ini").to_string_lossy().into_owned();
    let content = format!("{text}\n[uwsgi]\nmodule = app\nsocket = :1\n").into_bytes();
    let outcome = read(&Entry::File { path, content }, &facts, &Beside(directory));
    ours_of(&show(&outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.problems))))
}

/// The lines with the keys of these texts, blanks at their ends aside.
fn ours_of(shown: &str) -> Vec<String> {
    let keys = |line: &&str| line.starts_with("x-") || line.starts_with(" = x-");
    shown.lines().filter(keys).map(|line| line.trim_end().to_owned()).collect()
}
