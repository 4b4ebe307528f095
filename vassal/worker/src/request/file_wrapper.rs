//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"): a file that the kernel sends when it is
//! a real one, and an iterable of blocks when not.

use std::os::fd::{BorrowedFd, RawFd};

use nix::sys::stat::{SFlag, fstat};
use pyo3::{exceptions::PyStopIteration, prelude::*, sync::PyOnceLock, types::PyBytes};

/// The wrapper.
#[pyclass(module = "uwsgi", name = "FileWrapper")]
pub(super) struct FileWrapper {
    file: Py<PyAny>,
    block_bytes: usize,
}

/// What the kernel may send.
pub(super) struct RegularFile {
    pub(super) fd: RawFd,
    pub(super) offset: i64,
    pub(super) length: u64,
}

impl FileWrapper {
    /// The regular file behind it, from where the app has read up to. None when reading it may give other bytes than
    /// the kernel would send: a `gzip.GzipFile` has a descriptor too, and that of the compressed file.
    pub(super) fn regular_file(&self, py: Python<'_>) -> Option<RegularFile> {
        let file = kinds(py).ok()?.plain(self.file.bind(py))?;
        // What was written to it may still be in its buffer.
        file.call_method0("flush").ok()?;
        let fd: RawFd = file.call_method0("fileno").ok()?.extract().ok()?;
        let offset: i64 = file.call_method0("tell").ok()?.extract().ok()?;
        // SAFETY: borrowed for the call only; a descriptor that the file object has closed is an error of fstat.
        let stat = fstat(unsafe { BorrowedFd::borrow_raw(fd) }).ok()?;
        let regular = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        let length = u64::try_from(stat.st_size - offset).ok()?;
        regular.then_some(RegularFile { fd, offset, length })
    }
}

/// The classes whose objects read what lies in the file, byte for byte.
struct Kinds {
    raw: Py<PyAny>,
    buffered: [Py<PyAny>; 2],
    /// `tempfile.NamedTemporaryFile` hands out this, which passes everything to its `file`.
    temporary: Py<PyAny>,
}

static KINDS: PyOnceLock<Kinds> = PyOnceLock::new();

fn kinds(py: Python<'_>) -> PyResult<&Kinds> {
    KINDS.get_or_try_init(py, || {
        let io = py.import("io")?;
        Ok(Kinds {
            raw: io.getattr("FileIO")?.unbind(),
            buffered: [io.getattr("BufferedReader")?.unbind(), io.getattr("BufferedRandom")?.unbind()],
            temporary: py.import("tempfile")?.getattr("_TemporaryFileWrapper")?.unbind(),
        })
    })
}

impl Kinds {
    /// The object to ask for descriptor and place. Classes derived from these may read otherwise, so they do not count.
    fn plain<'py>(&self, file: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        let file = if is_exactly(file, &self.temporary) { file.getattr("file").ok()? } else { file.clone() };
        let is_buffered = self.buffered.iter().any(|kind| is_exactly(&file, kind));
        let raw = if is_buffered { file.getattr("raw").ok()? } else { file.clone() };
        is_exactly(&raw, &self.raw).then_some(file)
    }
}

fn is_exactly(object: &Bound<'_, PyAny>, kind: &Py<PyAny>) -> bool {
    object.get_type().is(kind)
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, block_size=8192))]
    fn new(filelike: Py<PyAny>, block_size: usize) -> Self {
        Self { file: filelike, block_bytes: block_size }
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let block = self.file.bind(py).call_method1("read", (self.block_bytes,))?.cast_into::<PyBytes>()?;
        if block.as_bytes().is_empty() { Err(PyStopIteration::new_err(())) } else { Ok(block) }
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let file = self.file.bind(py);
        if file.hasattr("close")? {
            file.call_method0("close")?;
        }
        Ok(())
    }
}
