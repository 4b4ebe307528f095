//! One configuration, two readers.

pub(super) mod random;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use empery_config::{
    facts::{Facts, FileError, FileKind, Files},
    read::{Entry, read},
    show::show,
};

/// An entry and `other.ini` beside it.
pub(super) struct Pair {
    pub(super) entry: String,
    pub(super) other: String,
}

/// Variables of both readers.
const VARIABLES: [(&str, &str); 2] = [("X_SET", "set"), ("X_NUMBER", "7")];

/// The uWSGI to compare with; None is said.
pub(super) fn uwsgi() -> Option<PathBuf> {
    let named = std::env::var_os("EMPERY_UWSGI").map(PathBuf::from);
    let in_environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../venv/bin/uwsgi");
    let found = named.or_else(|| in_environment.exists().then_some(in_environment));
    if found.is_none() {
        println!("skipped: EMPERY_UWSGI names no uwsgi, and the test environment has none");
    }
    found
}

/// A number that was not there before, to be printed.
pub(super) fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}

/// Where the texts are written.
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn new(name: &str) -> Disk {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("against-uwsgi").join(name);
        std::fs::create_dir_all(directory.join("sub")).unwrap();
        Disk(directory.canonicalize().unwrap())
    }
}

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        std::fs::read(self.0.join(path)).map_err(|_| FileError::NotFound)
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let facts = std::fs::metadata(self.0.join(path)).ok()?;
        Some(if facts.is_dir() { FileKind::Directory } else { FileKind::File })
    }

    fn is_readable(&self, path: &str) -> bool {
        self.kind(path).is_some()
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let entries = std::fs::read_dir(self.0.join(path)).map_err(|_| FileError::NotFound)?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}

/// Both must show the same.
pub(super) fn compare(uwsgi: &Path, disk: &Disk, pair: &Pair, what: &str) {
    std::fs::write(disk.0.join("entry.ini"), &pair.entry).unwrap();
    std::fs::write(disk.0.join("other.ini"), &pair.other).unwrap();
    let mut command = Command::new(uwsgi);
    // First, so that no block that stays open holds them back.
    command.args(["--show-config", "--no-server", "--ini", "entry.ini"]).current_dir(&disk.0);
    let shown = command.env_clear().envs(VARIABLES).output().unwrap();
    let shown = String::from_utf8_lossy(&[shown.stdout, shown.stderr].concat()).into_owned();
    assert!(
        shown.contains(";end of configuration"),
        "uwsgi showed nothing for {what}:\n{shown}\n--- entry.ini\n{}\n--- other.ini\n{}",
        pair.entry,
        pair.other
    );
    let (ours, theirs) = (empery(disk, &pair.entry), ours_of(&shown));
    assert_eq!(ours, theirs, "{what} (ours left)\n--- entry.ini\n{}\n--- other.ini\n{}", pair.entry, pair.other);
}

/// What Empery shows for the same text. An app and an address come by `UWSGI_…` variables, as uWSGI takes them too, so
/// that the text stays as it is.
fn empery(disk: &Disk, text: &str) -> Vec<String> {
    let needed = [("UWSGI_MODULE", "app"), ("UWSGI_SOCKET", ":1")];
    let environment: BTreeMap<String, String> =
        needed.into_iter().chain(VARIABLES).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let me = nix_like();
    let facts = Facts {
        working_directory: disk.0.to_string_lossy().into_owned(),
        hostname: "not-compared".into(),
        cpu_cores: u32::try_from(std::thread::available_parallelism().map_or(1, usize::from)).unwrap_or(1),
        environment,
        ..me
    };
    assert_eq!(std::fs::read_to_string(disk.0.join("entry.ini")).unwrap(), text);
    let outcome = read(&Entry::Arguments(vec!["--ini".into(), "entry.ini".into()]), &facts, disk);
    ours_of(&show(&outcome.config.unwrap_or_else(|| panic!("{:?}\n{text}", outcome.problems))))
}

/// Who runs the test, as `%u`, `%U`, `%g` and `%G` show it.
fn nix_like() -> Facts {
    let id = |flags: &str| {
        let output = Command::new("id").arg(flags).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    Facts {
        uid: id("-u").parse().unwrap(),
        user: id("-un"),
        gid: id("-g").parse().unwrap(),
        group: id("-gn"),
        ..Facts::default()
    }
}

/// The lines with the keys of these texts, blanks at their ends aside.
fn ours_of(shown: &str) -> Vec<String> {
    let text = shown.split(";uWSGI instance configuration").nth(1).unwrap_or_default();
    let text = text.split(";end of configuration").next().unwrap_or_default();
    let keys = |line: &&str| line.starts_with("x-") || line.starts_with(" = x-");
    text.lines().filter(keys).map(|line| line.trim_end().to_owned()).collect()
}
