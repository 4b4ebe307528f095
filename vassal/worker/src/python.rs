//! Small questions to the interpreter that several modules ask: what an exception says, flushing the standard streams,
//! text in Latin-1 as PEP 3333 wants it.

use pyo3::{
    exceptions::PySystemExit,
    ffi,
    prelude::*,
    types::{PyBytes, PyList, PyString, PyTraceback},
};

/// Longest traceback that is sent to the master, in bytes; its end is kept.
const TRACEBACK_MAX_BYTES: usize = 16 * 1024;

/// Text of bytes, as PEP 3333 says ("Unicode Issues"): each byte is the character of its number.
pub(crate) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: pointer and length are those of `bytes`, which are copied; a null `errors` means strict. The result is a new reference or null with an exception set.
    unsafe {
        Bound::from_owned_ptr_or_err(
            py,
            ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t, std::ptr::null()),
        )
    }
}

/// The bytes of a text in Latin-1.
pub(crate) enum Latin1<'a, 'py> {
    /// An ASCII text, whose bytes lie in the object.
    Ascii(&'a [u8]),
    /// Any other.
    Encoded(Bound<'py, PyBytes>),
}

impl Latin1<'_, '_> {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Latin1::Ascii(bytes) => bytes,
            Latin1::Encoded(bytes) => bytes.as_bytes(),
        }
    }
}

unsafe extern "C" {
    /// In the stable ABI since 3.10, so pyo3 leaves it out for 3.9, which exports it just the same.
    fn PyUnicode_AsUTF8AndSize(text: *mut ffi::PyObject, size: *mut ffi::Py_ssize_t) -> *const libc::c_char;
}

/// The bytes of a text in Latin-1, without copying those of an ASCII text; a UnicodeEncodeError when it has others.
pub(crate) fn in_latin1<'a, 'py>(text: &'a Bound<'py, PyString>) -> PyResult<Latin1<'a, 'py>> {
    let mut size = 0;
    // SAFETY: `text` is a str, and `size` a place for its length in UTF-8. What is returned is null, with an exception set,
    // or lives as long as the object, as `'a` says.
    let utf8 = unsafe {
        let start = PyUnicode_AsUTF8AndSize(text.as_ptr(), &raw mut size);
        (!start.is_null()).then(|| std::slice::from_raw_parts(start.cast::<u8>(), size as usize))
    };
    match utf8 {
        Some(ascii) if ascii.is_ascii() => Ok(Latin1::Ascii(ascii)),
        Some(_) => Ok(Latin1::Encoded(latin1_bytes(text)?)),
        None => {
            // Lone surrogates, which the other encoding will name as well.
            drop(PyErr::take(text.py()));
            Ok(Latin1::Encoded(latin1_bytes(text)?))
        }
    }
}

fn latin1_bytes<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyBytes>> {
    // SAFETY: `text` is a str. The result is a new reference to bytes or null with an exception set.
    unsafe {
        Ok(Bound::from_owned_ptr_or_err(text.py(), ffi::PyUnicode_AsLatin1String(text.as_ptr()))?.cast_into_unchecked())
    }
}

/// An exception in one line: `ValueError: no such thing`.
pub(crate) fn one_line(py: Python<'_>, error: &PyErr) -> String {
    let kind = error.get_type(py).qualname().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    let text = error.value(py).str().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
    let text = text.lines().next().unwrap_or("").trim();
    if text.is_empty() { kind } else { format!("{kind}: {text}") }
}

/// The traceback as Python prints it, without the frames of the import machinery it begins with.
pub(crate) fn traceback(py: Python<'_>, error: &PyErr) -> Option<String> {
    let format = || -> PyResult<String> {
        let from = app_frames(error.traceback(py))?;
        let lines =
            py.import("traceback")?.call_method1("format_exception", (error.get_type(py), error.value(py), from))?;
        Ok(PyString::new(py, "").call_method1("join", (lines,))?.cast::<PyString>()?.to_string_lossy().into_owned())
    };
    let text = format().ok()?;
    let start = text.len().saturating_sub(TRACEBACK_MAX_BYTES);
    let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Some(text[start..].to_owned())
}

fn app_frames(first: Option<Bound<'_, PyTraceback>>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let mut at = first.map(Bound::into_any);
    while let Some(entry) = &at {
        let file = entry
            .getattr("tb_frame")?
            .getattr("f_code")?
            .getattr("co_filename")?
            .cast::<PyString>()?
            .to_string_lossy()
            .into_owned();
        if !file.starts_with("<frozen importlib") && !file.ends_with("/importlib/__init__.py") {
            break;
        }
        let next = entry.getattr("tb_next")?;
        at = (!next.is_none()).then_some(next);
    }
    Ok(at)
}

/// Writes an exception with its traceback to `sys.stderr`. SystemExit is an exception like any other here: an app that calls
/// `sys.exit` in a request must not end the worker (and `PyErr_Print` would).
pub(crate) fn print_exception(py: Python<'_>, error: &PyErr) {
    let text = traceback(py, error).unwrap_or_else(|| one_line(py, error));
    let print = || py.import("sys")?.getattr("stderr")?.call_method1("write", (text.as_str(),)).map(|_| ());
    if print().is_err() {
        crate::os::write_stderr(text.as_bytes());
    }
    flush(py);
}

/// What a function of the app beside requests raised is logged; SystemExit is passed on, for it ends the process, as in uWSGI.
///
/// # Errors
/// A SystemExit.
pub(crate) fn unless_it_exits(py: Python<'_>, error: PyErr) -> PyResult<()> {
    if error.is_instance_of::<PySystemExit>(py) {
        return Err(error);
    }
    print_exception(py, &error);
    Ok(())
}

/// Flushes `sys.stdout` and `sys.stderr`: what lies in their buffers at a fork would be written by every worker.
pub(crate) fn flush(py: Python<'_>) {
    let Ok(sys) = py.import("sys") else { return };
    for name in ["stdout", "stderr"] {
        // An app may have put None or a thing without flush there.
        let _ = sys.getattr(name).and_then(|stream| stream.call_method0("flush"));
    }
}

/// What `sys.exit` was called with, when the exception is a SystemExit.
pub(crate) fn exit_argument(py: Python<'_>, error: &PyErr) -> Option<String> {
    if !error.is_instance_of::<PySystemExit>(py) {
        return None;
    }
    let code = error.value(py).getattr("code").ok()?;
    Some(if code.is_none() {
        String::new()
    } else {
        code.repr().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
    })
}

/// Names of the threads that run besides this one; those that C code started without telling Python are not seen.
pub(crate) fn other_threads(py: Python<'_>) -> PyResult<Vec<String>> {
    // An app that has not imported threading has started none with it.
    let modules = py.import("sys")?.getattr("modules")?;
    if !modules.contains("threading")? {
        return Ok(Vec::new());
    }
    let threading = py.import("threading")?;
    let current = threading.call_method0("current_thread")?;
    let all = threading.call_method0("enumerate")?;
    let mut names = Vec::new();
    for thread in all.cast::<PyList>()?.iter() {
        if !thread.is(&current) {
            names.push(thread.getattr("name")?.cast::<PyString>()?.to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// `major.minor.micro`.
pub(crate) fn version(py: Python<'_>) -> String {
    let version = py.version_info();
    format!("{}.{}.{}", version.major, version.minor, version.patch)
}
