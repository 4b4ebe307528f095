//! `metric-dir`: a file for each metric, with its number, a line's end and NULs to the end of a page, as uWSGI maps them
//! (core/metrics.c), so that whoever reads one never sees half a number.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

use crate::log;

const PAGE_BYTES: usize = 4096;

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct MetricFiles {
    directory: PathBuf,
    written: BTreeMap<String, i64>,
    has_failed: bool,
}

impl MetricFiles {
    /// Writes what is not there yet. What cannot be written is told once.
    pub(crate) fn write(&mut self, directory: &Path, numbers: &BTreeMap<String, i64>) {
        if self.directory != directory {
            *self = MetricFiles { directory: directory.to_owned(), ..MetricFiles::default() };
        }
        for (name, number) in numbers.iter().filter(|(name, _)| is_file_name(name)) {
            if self.written.get(name) == Some(number) {
                continue;
            }
            match write(&directory.join(name), *number) {
                Ok(()) => {
                    self.written.insert(name.clone(), *number);
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.has_failed, true) {
                        log::say(&format!(
                            "*** metric-dir: {} is not written: {error} ***",
                            directory.join(name).display()
                        ));
                    }
                    return;
                }
            }
        }
        self.has_failed = false;
    }
}

/// What the file of a metric says; None without one.
pub(crate) fn read(directory: &Path, name: &str) -> Option<i64> {
    let mut text = Vec::new();
    let file = is_file_name(name).then(|| open(OpenOptions::new().read(true), &directory.join(name)).ok())??;
    file.take(PAGE_BYTES as u64).read_to_end(&mut text).ok()?;
    let line = text.split(|byte| matches!(byte, b'\n' | 0)).next()?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '\0'])
}

fn write(path: &Path, number: i64) -> io::Result<()> {
    let mut page = format!("{number}\n").into_bytes();
    page.resize(PAGE_BYTES, 0);
    let file = open(OpenOptions::new().write(true).create(true).truncate(false).mode(0o640), path)?;
    file.write_all_at(&page, 0)
}

/// Whoever else may write to the directory does not choose what is opened: no link is followed, and nothing but a file waited for.
fn open(how: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = how.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file: remove it")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_was_written_and_names_stay_in_the_directory() {
        let directory = std::env::temp_dir().join(format!("empery-metrics-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let mut files = MetricFiles::default();
        let metric = |name: &str, number| (name.to_owned(), number);
        files.write(&directory, &[metric("jobs", -1234), metric("../out", 1), metric("worker.1.requests", 7)].into());
        assert_eq!((read(&directory, "jobs"), read(&directory, "worker.1.requests")), (Some(-1234), Some(7)));
        files.write(&directory, &[metric("jobs", 5)].into());
        let page = std::fs::read(directory.join("jobs")).unwrap();
        assert_eq!((page.len(), &page[..4]), (PAGE_BYTES, &b"5\n\0\0"[..]));
        assert_eq!((read(&directory, "none"), read(&directory, "../out")), (None, None));
        assert!(!directory.parent().unwrap().join("out").exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_lies_under_a_metric_s_name_and_is_no_file_is_not_opened() {
        let directory = std::env::temp_dir().join(format!("empery-metrics-{}-odd", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let at = |name: &str| directory.join(name);
        std::fs::write(at("target"), "42\n").unwrap();
        std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
        for name in ["fifo", "open"] {
            nix::unistd::mkfifo(&at(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let _reader = OpenOptions::new().read(true).write(true).open(at("open")).unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        let place = directory.clone();
        std::thread::spawn(move || {
            let outcomes =
                ["link", "fifo", "open"].map(|name| (write(&place.join(name), 1).is_ok(), read(&place, name)));
            told.send(outcomes).unwrap();
        });
        let outcomes = heard.recv_timeout(std::time::Duration::from_secs(10)).expect("it waits for who reads the pipe");
        assert_eq!(outcomes, [(false, None); 3]);
        assert_eq!(std::fs::read_to_string(at("target")).unwrap(), "42\n");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
