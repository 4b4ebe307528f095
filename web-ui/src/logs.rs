//! The end of a vassal's log. The directory belongs to the vassal, which may put anything in place of the file: only a
//! regular file with one name is read, never through a link, and never more than stated.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Most that is read for one answer, in bytes.
const TAIL_MAX_BYTES: u64 = 1 << 20;

/// Most lines of one answer.
pub(crate) const LINES_MAX: usize = 10_000;

/// The last lines of the file; empty when there is none yet. Bytes that are no UTF-8 show as U+FFFD.
pub(crate) async fn tail(path: std::path::PathBuf, lines: usize) -> io::Result<String> {
    tokio::task::spawn_blocking(move || read_tail(&path, lines)).await.map_err(io::Error::other)?
}

/// Where the log was rotated a moment ago, its end is in the youngest full file.
fn read_tail(path: &Path, lines: usize) -> io::Result<String> {
    let now = read_one(path, lines)?;
    let missing = lines.saturating_sub(now.lines().count());
    if missing == 0 {
        return Ok(now);
    }
    let mut before = path.as_os_str().to_owned();
    before.push(".1");
    // What cannot be read of it is not shown: nobody asked for that file by name.
    let before = read_one(Path::new(&before), missing).unwrap_or_default();
    Ok(if before.is_empty() || before.ends_with('\n') { before + &now } else { before + "\n" + &now })
}

fn read_one(path: &Path, lines: usize) -> io::Result<String> {
    // O_NONBLOCK: a FIFO in its place must not hold the thread up; open(2).
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    // A second name would be a hard link to a file of somebody else's; 0 is a file just rotated away.
    if !meta.is_file() || meta.nlink() > 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file with one name"));
    }
    last_lines(file, meta.len(), lines)
}

fn last_lines(mut file: File, length: u64, lines: usize) -> io::Result<String> {
    let start = length.saturating_sub(TAIL_MAX_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_MAX_BYTES).read_to_end(&mut bytes)?;
    let whole = match bytes.iter().position(|byte| *byte == b'\n') {
        // Begun in the middle of a line: that line is left out.
        Some(end) if start > 0 => &bytes[end + 1..],
        Some(_) | None => &bytes[..],
    };
    let ended = whole.strip_suffix(b"\n").unwrap_or(whole);
    let from = ended
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(lines.saturating_sub(1))
        .map_or(0, |(at, _)| at + 1);
    Ok(String::from_utf8_lossy(&whole[from..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of one test, gone when the test is.
    struct Place(std::path::PathBuf);

    impl Place {
        fn new(test: &str) -> Place {
            let directory = std::env::temp_dir().join(format!("empery-logs-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            Place(directory)
        }

        fn file(&self, name: &str) -> std::path::PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_last_lines_are_read_and_a_missing_file_is_an_empty_log() {
        let place = Place::new("plain");
        let path = place.file("plain");
        std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(read_tail(&path, 2).unwrap(), "two\nthree\n");
        assert_eq!(read_tail(&path, 9).unwrap(), "one\ntwo\nthree\n");
        std::fs::write(&path, b"half\xff line").unwrap();
        assert_eq!(read_tail(&path, 2).unwrap(), "half\u{fffd} line");
        assert_eq!(read_tail(&place.file("none"), 5).unwrap(), "");
    }

    #[test]
    fn after_a_rotation_the_end_of_the_log_is_in_the_file_before() {
        let place = Place::new("rotated");
        let path = place.file("rotated");
        std::fs::write(place.file("rotated.1"), "one\ntwo\nthree\n").unwrap();
        assert_eq!(read_tail(&path, 2).unwrap(), "two\nthree\n");
        std::fs::write(&path, "four\n").unwrap();
        assert_eq!(read_tail(&path, 2).unwrap(), "three\nfour\n");
        assert_eq!(read_tail(&path, 1).unwrap(), "four\n");
    }

    #[test]
    fn a_long_log_is_read_from_its_end_only() {
        let place = Place::new("long");
        let path = place.file("long");
        let line = "x".repeat(99) + "\n";
        std::fs::write(&path, line.repeat(20_000)).unwrap();
        assert_eq!(read_tail(&path, 3).unwrap(), line.repeat(3));
        assert!(read_tail(&path, LINES_MAX * 2).unwrap().len() as u64 <= TAIL_MAX_BYTES);
    }

    #[test]
    fn what_a_vassal_puts_in_place_of_its_log_is_not_read() {
        let place = Place::new("secret");
        let secret = place.file("secret");
        std::fs::write(&secret, "secret\n").unwrap();
        let link = place.file("link");
        let hard = place.file("hard");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        assert!(read_tail(&link, 5).is_err(), "a symbolic link");
        std::fs::hard_link(&secret, &hard).unwrap();
        assert!(read_tail(&hard, 5).is_err(), "a hard link");
        assert!(read_tail(Path::new("/dev/zero"), 5).is_err(), "a device");
    }
}
