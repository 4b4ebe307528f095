//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"): a file that the kernel sends when it is
//! a real one, and an iterable of blocks when not.

use std::os::fd::{BorrowedFd, RawFd};

use nix::sys::stat::{SFlag, fstat};
use pyo3::{exceptions::PyStopIteration, prelude::*, types::PyBytes};

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
    /// The regular file behind it, from where the app has read up to.
    pub(super) fn regular_file(&self, py: Python<'_>) -> Option<RegularFile> {
        let file = self.file.bind(py);
        let fd: RawFd = file.call_method0("fileno").ok()?.extract().ok()?;
        let offset: i64 = file.call_method0("tell").ok()?.extract().ok()?;
        // SAFETY: borrowed for the call only; a descriptor that the file object has closed is an error of fstat.
        let stat = fstat(unsafe { BorrowedFd::borrow_raw(fd) }).ok()?;
        let regular = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        let length = u64::try_from(stat.st_size - offset).ok()?;
        regular.then_some(RegularFile { fd, offset, length })
    }
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (file, block_size=8192))]
    fn new(file: Py<PyAny>, block_size: usize) -> Self {
        Self { file, block_bytes: block_size }
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
