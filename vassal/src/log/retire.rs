//! What becomes of a full log file: another name, and perhaps gzip (RFC 1952). Compressing is done beside everything else,
//! and finds its file again by its inode when the names have moved on meanwhile.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use flate2::{Compression, write::GzEncoder};

/// What happens to the full file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Retired {
    /// It takes this name; what had the name before is gone (`log-backupname`).
    Named(PathBuf),
    /// It takes its own name with the time in unix seconds behind it, as uWSGI's `log-maxsize` does; where a file has that
    /// already, with `.1` behind it, or what is free. uWSGI would overwrite that file.
    Stamped,
    /// It takes its own name with `.1` behind it, what had that one `.2`, and so on (`log-keep`).
    Numbered {
        /// So many; what is older is removed.
        keep: u32,
        /// From the second on they are compressed, with `.gz` behind the number.
        compress: bool,
    },
}

/// One at a time gives names.
static NAMES: Mutex<()> = Mutex::new(());

/// One at a time compresses: they share the name of what is not finished.
static COMPRESSING: Mutex<()> = Mutex::new(());

/// Logs for which somebody waits to compress, and will find whatever is the second by then.
static WAITING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

impl Retired {
    /// Whether each file has a name of its own, however fast they follow each other.
    pub(super) fn is_numbered(&self) -> bool {
        match self {
            Retired::Numbered { .. } => true,
            Retired::Named(_) | Retired::Stamped => false,
        }
    }

    /// Gives the file its next name.
    ///
    /// # Errors
    /// When it keeps its name.
    pub(super) fn retire(&self, path: &Path) -> io::Result<()> {
        match self {
            Retired::Named(name) => fs::rename(path, name),
            Retired::Stamped => {
                let _names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
                fs::rename(path, free(with(path, &format!(".{}", crate::clock::unix_s()))))
            }
            Retired::Numbered { keep: 0, .. } => fs::remove_file(path),
            Retired::Numbered { keep, compress } => {
                shift(path, *keep)?;
                if *compress && *keep > 1 && waiting().insert(path.to_owned()) {
                    let (path, keep) = (path.to_owned(), *keep);
                    // A file that cannot be compressed stays as it is.
                    std::thread::spawn(move || drop(compress_second(&path, keep)));
                }
                Ok(())
            }
        }
    }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// This name, or the first with a number behind it that no file has.
fn free(name: PathBuf) -> PathBuf {
    let is_free = |name: &PathBuf| fs::symlink_metadata(name).is_err();
    let numbered = (1..u32::MAX).map(|number| plain(&name, number));
    std::iter::once(name.clone()).chain(numbered).find(is_free).unwrap_or(name)
}

fn plain(path: &Path, number: u32) -> PathBuf {
    with(path, &format!(".{number}"))
}

fn compressed(path: &Path, number: u32) -> PathBuf {
    with(path, &format!(".{number}.gz"))
}

fn shift(path: &Path, keep: u32) -> io::Result<()> {
    let _names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    for number in (1..=keep).rev() {
        for name in [plain, compressed] {
            let result = match number == keep {
                true => fs::remove_file(name(path, number)),
                false => fs::rename(name(path, number), name(path, number + 1)),
            };
            match result {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    fs::rename(path, plain(path, 1))
}

fn waiting() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn compress_second(path: &Path, keep: u32) -> io::Result<()> {
    let _alone = COMPRESSING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting().remove(path);
    let mut source = match File::open(plain(path, 2)) {
        // There is none yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let facts = source.metadata()?;
    let unfinished = with(path, ".compressing");
    let target = fs::OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished)?;
    target.set_permissions(fs::Permissions::from_mode(facts.mode() & 0o777))?;
    let mut encoder = GzEncoder::new(target, Compression::default());
    let written = io::copy(&mut source, &mut encoder).and_then(|_| encoder.finish());
    if let Err(error) = written {
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    let _names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let is_it = |number: &u32| {
        fs::metadata(plain(path, *number)).is_ok_and(|now| (now.dev(), now.ino()) == (facts.dev(), facts.ino()))
    };
    match (2..=keep).find(is_it) {
        Some(number) => {
            fs::rename(&unfinished, compressed(path, number))?;
            fs::remove_file(plain(path, number))
        }
        // It has become too old meanwhile.
        None => fs::remove_file(&unfinished),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn numbered_files_move_on_and_the_older_ones_are_compressed() {
        let place = std::env::temp_dir().join(format!("empery-retire-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        let path = place.join("current.log");
        let retired = Retired::Numbered { keep: 3, compress: true };
        for number in 1..=5 {
            fs::write(&path, format!("file {number}\n")).unwrap();
            retired.retire(&path).unwrap();
            // Only then is it certain which of them are compressed.
            let began = std::time::Instant::now();
            while plain(&path, 2).exists() && began.elapsed() < std::time::Duration::from_secs(20) {
                std::thread::yield_now();
            }
        }
        let mut names: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["current.log.1", "current.log.2.gz", "current.log.3.gz"]);
        assert_eq!(fs::read_to_string(plain(&path, 1)).unwrap(), "file 5\n");
        for (number, text) in [(2, "file 4\n"), (3, "file 3\n")] {
            let mut read = String::new();
            GzDecoder::new(File::open(compressed(&path, number)).unwrap()).read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
        }
        let _ = fs::remove_dir_all(place);
    }

    #[test]
    fn two_rotations_within_a_second_keep_both_files() {
        let place = std::env::temp_dir().join(format!("empery-retire-stamped-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        let path = place.join("current.log");
        for number in 0..5 {
            fs::write(&path, format!("file {number}\n")).unwrap();
            Retired::Stamped.retire(&path).unwrap();
        }
        let entries = fs::read_dir(&place).unwrap();
        let mut texts: Vec<_> = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
        texts.sort();
        assert_eq!(texts, ["file 0\n", "file 1\n", "file 2\n", "file 3\n", "file 4\n"]);
        let _ = fs::remove_dir_all(place);
    }

    #[test]
    fn a_flood_of_rotations_leaves_the_second_compressed_whole() {
        let place = std::env::temp_dir().join(format!("empery-retire-flood-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        let path = place.join("current.log");
        let retired = Retired::Numbered { keep: 2, compress: true };
        for number in 0..60 {
            fs::write(&path, format!("file {number}\n").repeat(20_000)).unwrap();
            retired.retire(&path).unwrap();
        }
        let began = std::time::Instant::now();
        while !compressed(&path, 2).exists() || !waiting().is_empty() {
            assert!(began.elapsed().as_secs() < 60, "it is never compressed");
            std::thread::yield_now();
        }
        let mut text = String::new();
        GzDecoder::new(File::open(compressed(&path, 2)).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "file 58\n".repeat(20_000));
        assert!(!with(&path, ".compressing").exists());
        let _ = fs::remove_dir_all(place);
    }
}
