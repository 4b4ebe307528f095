//! `post-buffering`: the body is read before the app is called, into memory, or into a file when it is long, so that
//! `wsgi.input` can be read more than once.

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};

use super::input::Input;

/// How much is moved at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// The whole body as a file of Python, at its beginning; a body of `to_file_bytes` or more is one in TMPDIR.
///
/// # Errors
/// An OSError where the body is not whole.
pub(super) fn whole<'py>(input: &Bound<'py, Input>, to_file_bytes: u64) -> PyResult<Bound<'py, PyAny>> {
    let py = input.py();
    let mut memory: Vec<u8> = Vec::new();
    let mut file: Option<Bound<'py, PyAny>> = None;
    loop {
        let piece = input.call_method1("read", (PIECE_BYTES,))?.cast_into::<PyBytes>()?;
        if piece.as_bytes().is_empty() {
            break;
        }
        match &file {
            Some(file) => file.call_method1("write", (piece,)).map(|_| ())?,
            None => memory.extend_from_slice(piece.as_bytes()),
        }
        if file.is_none() && memory.len() as u64 >= to_file_bytes {
            let made = py.import("tempfile")?.call_method0("TemporaryFile")?;
            made.call_method1("write", (PyBytes::new(py, &std::mem::take(&mut memory)),))?;
            file = Some(made);
        }
    }
    match file {
        Some(file) => {
            file.call_method1("seek", (0,))?;
            Ok(file)
        }
        None => py.import("io")?.call_method("BytesIO", (PyBytes::new(py, &memory),), None::<&Bound<'_, PyDict>>),
    }
}
