//! `uwsgi.sharedarea_*`: memory that all workers share; only with `sharedarea`. What is asked for beyond the end of an area
//! is a `ValueError`.

use std::io;

use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    ffi,
    prelude::*,
    types::{PyBytes, PyInt, PyModule},
};

use super::{add_functions, text::Text};
use crate::shared::{Shared, area::Area};

/// Of Include/cpython/pybuffer.h: the view may be written through.
const PYBUF_WRITE: std::ffi::c_int = 0x200;

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    if Shared::here().is_none_or(|shared| shared.areas.is_empty()) {
        return Ok(());
    }
    add_functions!(
        module,
        sharedarea_read,
        sharedarea_write,
        sharedarea_read8,
        sharedarea_write8,
        sharedarea_read16,
        sharedarea_write16,
        sharedarea_read32,
        sharedarea_write32,
        sharedarea_read64,
        sharedarea_write64,
        sharedarea_inc32,
        sharedarea_dec32,
        sharedarea_inc64,
        sharedarea_dec64,
        sharedarea_rlock,
        sharedarea_wlock,
        sharedarea_unlock,
        sharedarea_memoryview
    );
    // uWSGI's older names.
    for (alias, name) in [
        ("sharedarea_readbyte", "sharedarea_read8"),
        ("sharedarea_writebyte", "sharedarea_write8"),
        ("sharedarea_readlong", "sharedarea_read64"),
        ("sharedarea_writelong", "sharedarea_write64"),
        ("sharedarea_inclong", "sharedarea_inc64"),
    ] {
        module.add(alias, module.getattr(name)?)?;
    }
    Ok(())
}

fn area(number: usize) -> Option<&'static Area> {
    Shared::here()?.areas.get(number)
}

/// What an area answers; a ValueError in uWSGI's words when it does not.
fn ask<T: Send>(
    py: Python<'_>,
    function: &str,
    number: usize,
    use_it: impl FnOnce(&Area) -> io::Result<Option<T>> + Send,
) -> PyResult<T> {
    let outcome = match area(number) {
        Some(area) => py.detach(|| use_it(area))?,
        None => None,
    };
    outcome.ok_or_else(|| PyValueError::new_err(format!("error calling uwsgi_sharedarea_{function}()")))
}

/// So many bytes from a position on; without a number all to the end.
#[pyfunction]
#[pyo3(signature = (area, position, length=0, /))]
fn sharedarea_read(py: Python<'_>, area: usize, position: usize, length: usize) -> PyResult<Bound<'_, PyBytes>> {
    let bytes = ask(py, "read", area, |area| {
        let rest = area.memory().1.saturating_sub(position);
        area.read(position, if length == 0 { rest } else { length })
    })?;
    Ok(PyBytes::new(py, &bytes))
}

/// Writes bytes from a position on.
#[pyfunction]
#[pyo3(signature = (area, position, value, /))]
fn sharedarea_write(py: Python<'_>, area: usize, position: usize, value: Text) -> PyResult<()> {
    ask(py, "write", area, |area| area.write(position, &value.0).map(|done| done.then_some(())))
}

/// The low bytes of a number, in the machine's byte order: what does not fit is cut off, as in uWSGI, so that a number without
/// a sign can be written where one with a sign is read.
fn low_bytes<const N: usize>(value: &Bound<'_, PyInt>) -> PyResult<[u8; N]> {
    let masked: u64 = value.call_method1("__and__", (u64::MAX >> (64 - 8 * N),))?.extract()?;
    let bytes = masked.to_ne_bytes();
    let first = if cfg!(target_endian = "big") { bytes.len() - N } else { 0 };
    Ok(std::array::from_fn(|at| bytes[first + at]))
}

/// Functions for the numbers of one width, in the machine's byte order, as uWSGI has them.
macro_rules! number {
    ($read:ident, $write:ident, $read_name:literal, $write_name:literal, $number:ty) => {
        #[doc = concat!("The ", stringify!($number), " at a position.")]
        #[pyfunction]
        #[pyo3(signature = (area, position, /))]
        fn $read(py: Python<'_>, area: usize, position: usize) -> PyResult<$number> {
            ask(py, $read_name, area, |area| {
                let bytes = area.read(position, size_of::<$number>())?;
                Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map(<$number>::from_ne_bytes))
            })
        }

        #[doc = concat!("Writes a number of the width of ", stringify!($number), ".")]
        #[pyfunction]
        #[pyo3(signature = (area, position, value, /))]
        fn $write(py: Python<'_>, area: usize, position: usize, value: &Bound<'_, PyInt>) -> PyResult<()> {
            let bytes = low_bytes::<{ size_of::<$number>() }>(value)?;
            ask(py, $write_name, area, |area| area.write(position, &bytes).map(|done| done.then_some(())))
        }
    };
}

number!(sharedarea_read8, sharedarea_write8, "read8", "write8", i8);
number!(sharedarea_read16, sharedarea_write16, "read16", "write16", i16);
number!(sharedarea_read32, sharedarea_write32, "read32", "write32", i32);
number!(sharedarea_read64, sharedarea_write64, "read64", "write64", i64);

/// Functions that count.
macro_rules! count {
    ($function:ident, $name:literal, $number:ty, $count:ident) => {
        #[doc = concat!("Changes the ", stringify!($number), " at a position by so much, in one step for all workers.")]
        #[pyfunction]
        #[pyo3(signature = (area, position, by=1, /))]
        fn $function(py: Python<'_>, area: usize, position: usize, by: $number) -> PyResult<()> {
            ask(py, $name, area, |area| {
                let counted = |bytes| <$number>::from_ne_bytes(bytes).$count(by).to_ne_bytes();
                area.change(position, counted).map(|done| done.then_some(()))
            })
        }
    };
}

count!(sharedarea_inc32, "inc32", i32, wrapping_add);
count!(sharedarea_dec32, "dec32", i32, wrapping_sub);
count!(sharedarea_inc64, "inc64", i64, wrapping_add);
count!(sharedarea_dec64, "dec64", i64, wrapping_sub);

/// Takes the lock of an area, which this thread may take again. There is one kind of it: readers wait for each other, too.
#[pyfunction]
#[pyo3(signature = (area, /))]
fn sharedarea_rlock(py: Python<'_>, area: usize) -> PyResult<()> {
    ask(py, "rlock", area, |area| area.lock().map(Some))
}

/// See `sharedarea_rlock`.
#[pyfunction]
#[pyo3(signature = (area, /))]
fn sharedarea_wlock(py: Python<'_>, area: usize) -> PyResult<()> {
    ask(py, "wlock", area, |area| area.lock().map(Some))
}

/// Gives the lock of an area back.
///
/// # Errors
/// `RuntimeError` when this thread does not have it.
#[pyfunction]
#[pyo3(signature = (area, /))]
fn sharedarea_unlock(py: Python<'_>, area: usize) -> PyResult<()> {
    ask(py, "unlock", area, |area| Ok(Some(area.unlock().is_ok())))?
        .then_some(())
        .ok_or_else(|| PyRuntimeError::new_err("this thread does not have the lock of the area"))
}

/// The whole area, to be read and written without copies.
#[pyfunction]
#[pyo3(signature = (area, /))]
fn sharedarea_memoryview(py: Python<'_>, area: usize) -> PyResult<Bound<'_, PyAny>> {
    let found = self::area(area);
    let found =
        found.ok_or_else(|| PyValueError::new_err(format!("cannot get a memoryview object from sharedarea {area}")))?;
    let (start, length) = found.memory();
    // SAFETY: the mapping has `length` bytes from `start` on, is writable, and is never unmapped: it lives in a static.
    unsafe {
        let view = ffi::PyMemoryView_FromMemory(start.cast(), length.cast_signed(), PYBUF_WRITE);
        Bound::from_owned_ptr_or_err(py, view)
    }
}
