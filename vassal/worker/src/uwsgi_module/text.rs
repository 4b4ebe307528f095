//! Arguments that uWSGI takes as text or bytes.

use pyo3::{
    Borrowed,
    exceptions::PyTypeError,
    prelude::*,
    types::{PyByteArray, PyBytes, PyMemoryView, PyString},
};

/// A `str`, as UTF-8, or the bytes of `bytes`, `bytearray` or `memoryview`.
pub(super) struct Text(pub(super) Vec<u8>);

impl<'py> FromPyObject<'_, 'py> for Text {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Text> {
        if let Ok(text) = object.cast::<PyString>() {
            return Ok(Text(text.to_cow()?.into_owned().into_bytes()));
        }
        Bytes::extract(object).map(|Bytes(bytes)| Text(bytes))
    }
}

/// The bytes of `bytes`, `bytearray` or `memoryview`.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'py> FromPyObject<'_, 'py> for Bytes {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Bytes> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Bytes(bytes.as_bytes().to_vec()));
        }
        if let Ok(bytes) = object.cast::<PyByteArray>() {
            return Ok(Bytes(bytes.to_vec()));
        }
        if let Ok(view) = object.cast::<PyMemoryView>() {
            return Ok(Bytes(view.call_method0("tobytes")?.extract()?));
        }
        let name = object.get_type().name()?;
        Err(PyTypeError::new_err(format!("a bytes-like object is required, not '{name}'")))
    }
}
