//! `emperor logs`: the end of a vassal's log, and what is added to it. The emperor says where it is; when it cannot be
//! reached the place is the usual one below the state directory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc,
};

use empery_control::{fleet::VassalSnapshot, places};
use empery_lifecycle::ids::VassalName;
use notify::{RecursiveMode, Watcher};

use super::{
    Running,
    client::{Client, segment},
    exit::{Exit, Failure},
    places as defaults,
};

/// How much is read at a time, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The vassal: the name of its file.
    name: String,
    /// Go on printing what is added.
    #[arg(short, long)]
    follow: bool,
    /// How many lines of the end.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    lines: usize,
    /// Print each line as a JSON object with the key "line".
    #[arg(long)]
    json: bool,
    /// The emperor's state directory, for when it cannot be reached [default: /var/lib/empery; without root $XDG_STATE_HOME/empery]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    running: Running,
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let name = VassalName::new(options.name.clone()).map_err(|error| Failure::new(Exit::NoSuchVassal, error))?;
    let path = place(options, &name)?;
    let mut out = Out { json: options.json, rest: Vec::new() };
    // Watched before it is read: nothing falls between.
    let watched = if options.follow { Some(watch(&path)?) } else { None };
    let mut file = match open(&path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.follow => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("{name} has written nothing to {} yet", path.display());
            return Ok(Exit::Done);
        }
        Err(error) => return Err(unreadable(&path, &error)),
    };
    if let Some(file) = &mut file {
        seek_to_last_lines(file, options.lines)?;
    }
    let Some((_watcher, events)) = watched else {
        copy(file.as_mut(), &mut out)?;
        out.finish()?;
        return Ok(Exit::Done);
    };
    loop {
        copy(file.as_mut(), &mut out)?;
        // Rotated: what was written to the old file has been read; the new one begins at its beginning.
        match open(&path) {
            Ok(now) if !same(file.as_ref(), &now) => {
                copy(file.as_mut(), &mut out)?;
                file = Some(now);
                continue;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&path, &error)),
        }
        if events.recv().is_err() {
            return Ok(Exit::Done);
        }
    }
}

fn place(options: &Options, name: &VassalName) -> Result<PathBuf, Failure> {
    let asked = Client::new(&options.running)?.get(&format!("/api/v1/vassals/{}", segment(name.as_str())));
    match asked.and_then(|answer| answer.json::<VassalSnapshot>()) {
        Ok(VassalSnapshot { log_file: Some(path), .. }) => Ok(path.into()),
        Ok(_) => Ok(usual(options, name)),
        Err(failure) if matches!(failure.exit, Exit::Unreachable | Exit::NoSuchVassal) => {
            // The log of a vassal that is gone, or of an emperor that is not running, can still be read.
            let path = usual(options, name);
            if path.exists() { Ok(path) } else { Err(failure) }
        }
        Err(failure) => Err(failure),
    }
}

fn usual(options: &Options, name: &VassalName) -> PathBuf {
    let state = options.state.clone().unwrap_or_else(defaults::state);
    places::logs(&state, name).join(places::CURRENT_LOG)
}

/// The directory may belong to the vassal, which may put anything there: never through a link, and no device or FIFO.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::PermissionDenied { Exit::NotAuthorised } else { Exit::Usage };
    Failure::new(exit, format!("the log {} cannot be read: {error}", path.display()))
}

fn same(one: Option<&File>, other: &File) -> bool {
    let id = |file: &File| file.metadata().ok().map(|facts| (facts.dev(), facts.ino()));
    one.is_some_and(|one| id(one) == id(other))
}

type Watched = (notify::RecommendedWatcher, mpsc::Receiver<()>);

fn watch(path: &Path) -> Result<Watched, Failure> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let (sender, events) = mpsc::channel();
    let woken = move |_| {
        // The reader has ended.
        let _ = sender.send(());
    };
    let failed = |error| Failure::new(Exit::Usage, format!("{} cannot be watched: {error}", directory.display()));
    let mut watcher = notify::recommended_watcher(woken).map_err(failed)?;
    watcher.watch(directory, RecursiveMode::NonRecursive).map_err(failed)?;
    Ok((watcher, events))
}

/// Moves to the beginning of the n-th last line.
fn seek_to_last_lines(file: &mut File, lines: usize) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut left = lines;
    let mut start = end;
    let mut chunk = vec![0; CHUNK_BYTES];
    while start > 0 {
        let length = start.min(CHUNK_BYTES as u64);
        start -= length;
        file.seek(SeekFrom::Start(start))?;
        let part = &mut chunk[..usize::try_from(length).unwrap_or(CHUNK_BYTES)];
        file.read_exact(part)?;
        for (at, byte) in part.iter().enumerate().rev() {
            let is_last = start + at as u64 + 1 == end;
            if *byte != b'\n' || is_last {
                continue;
            }
            left = left.saturating_sub(1);
            if left == 0 {
                file.seek(SeekFrom::Start(start + at as u64 + 1))?;
                return Ok(());
            }
        }
    }
    file.seek(if lines == 0 { SeekFrom::End(0) } else { SeekFrom::Start(0) })?;
    Ok(())
}

fn copy(file: Option<&mut File>, out: &mut Out) -> io::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(()),
            length => out.write(&chunk[..length])?,
        }
    }
}

/// Standard output: bytes as they are, or a JSON object for each line.
struct Out {
    json: bool,
    rest: Vec<u8>,
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.json {
            out.write_all(bytes)?;
            return out.flush();
        }
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            writeln!(out, "{}", serde_json::json!({ "line": String::from_utf8_lossy(&line[..end]) }))?;
        }
        out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.rest.is_empty() { Ok(()) } else { self.write(b"\n") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(text: &str, lines: usize) -> String {
        let path = std::env::temp_dir().join(format!("empery-tail-{}-{lines}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let mut file = open(&path).unwrap();
        seek_to_last_lines(&mut file, lines).unwrap();
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        std::fs::remove_file(&path).unwrap();
        rest
    }

    #[test]
    fn the_last_lines_are_found_across_chunks() {
        assert_eq!(tail("one\ntwo\nthree\n", 2), "two\nthree\n");
        assert_eq!(tail("one\ntwo\nthr", 1), "thr");
        assert_eq!(tail("one\n", 9), "one\n");
        assert_eq!(tail("one\n", 0), "");
        let long = format!("{}\n", "x".repeat(CHUNK_BYTES));
        assert_eq!(tail(&long.repeat(3), 2), long.repeat(2));
    }
}
