//! Configurations that come through descriptors (`--ini -`, `fd://3`). They can be had once: the first reading takes them, and
//! every reading after it is given the same, where uWSGI finds nothing and ends.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    sync::{Mutex, MutexGuard, PoisonError},
};

use empery_config::facts::FileError;
use empery_sys::inherited;

use crate::facts::FILE_MAX_BYTES;

/// What was read, by the number of its descriptor.
pub(crate) type Texts = BTreeMap<i32, Vec<u8>>;

struct Known {
    texts: Texts,
    /// The numbers are somebody else's by now.
    is_complete: bool,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { texts: Texts::new(), is_complete: false });

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the descriptor gives until its end.
///
/// # Errors
/// When it is not open, or was not read at the start.
pub(crate) fn read(number: i32) -> Result<Vec<u8>, FileError> {
    let mut known = known();
    if let Some(text) = known.texts.get(&number) {
        return Ok(text.clone());
    }
    if known.is_complete {
        return Err(FileError::Other("it was not named at the start, and is not open any more".to_owned()));
    }
    let text = read_to_end(number).map_err(|error| FileError::Other(error.to_string()))?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(FileError::Other(format!("it is longer than {FILE_MAX_BYTES} bytes")));
    }
    known.texts.insert(number, text.clone());
    Ok(text)
}

fn read_to_end(number: i32) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let stream: Box<dyn Read> = match number {
        0 => Box::new(io::stdin()),
        _ => Box::new(File::from(inherited::take(number)?)),
    };
    stream.take(FILE_MAX_BYTES + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// The first reading is over: from now on descriptors may be of this process's own making.
pub(crate) fn complete() {
    known().is_complete = true;
}

/// For a new image of this process.
pub(crate) fn leave() -> Texts {
    known().texts.clone()
}

/// In a new image: what the one before it had read.
pub(crate) fn take_over(texts: Texts) {
    *known() = Known { texts, is_complete: true };
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::IntoRawFd};

    use super::*;

    #[test]
    fn a_descriptor_is_read_once_and_its_text_given_again() {
        let (end, write) = empery_sys::pipe::cloexec_pipe().unwrap();
        File::from(write).write_all(b"[uwsgi]\n").unwrap();
        let number = end.into_raw_fd();
        assert_eq!(read(number).unwrap(), b"[uwsgi]\n");
        complete();
        assert_eq!(read(number).unwrap(), b"[uwsgi]\n");
        let other = read(number + 1).unwrap_err().to_string();
        assert!(other.contains("not named at the start"), "{other}");
        let left = leave();
        assert_eq!(left.keys().collect::<Vec<_>>(), [&number]);
        take_over(left);
        assert_eq!(read(number).unwrap(), b"[uwsgi]\n");
    }
}
