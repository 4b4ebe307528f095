//! Files of htpasswd(1), as uWSGI 2.0 reads them (plugins/router_basicauth): `{SHA}` and what crypt(3) of this machine knows, which
//! is all of it here and not only the first 13 characters. Apache's own `$apr1$` is neither.

use std::fs;

use pyo3::{prelude::*, types::PyBytes};

/// The library of crypt(3).
const LIBRARY: &str = "libcrypt.so.1";

/// Whether a file has this user with this password.
///
/// # Errors
/// One sentence, when it cannot be said.
pub(super) fn knows(py: Python<'_>, file: &str, user: &[u8], password: &[u8]) -> Result<bool, String> {
    let text = fs::read(file).map_err(|error| error.to_string())?;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, kept) = (&line[..colon], &line[colon + 1..]);
        if name == user && !name.is_empty() {
            let made = match kept.strip_prefix(b"{SHA}") {
                Some(_) => sha(py, password).map(Some),
                None => crypted(py, password, kept),
            };
            let made = made.map_err(|error| crate::python::one_line(py, &error))?;
            return Ok(made.is_some_and(|made| made == kept));
        }
    }
    Ok(false)
}

fn sha(py: Python<'_>, password: &[u8]) -> PyResult<Vec<u8>> {
    let digest = py.import("hashlib")?.call_method1("sha1", (PyBytes::new(py, password),))?.call_method0("digest")?;
    let text = py.import("base64")?.call_method1("b64encode", (digest,))?;
    Ok([b"{SHA}", text.cast::<PyBytes>()?.as_bytes()].concat())
}

/// With Python's lock, since crypt(3) has one place for its result.
/// None for a kind that it does not know, such as that of a locked account.
fn crypted(py: Python<'_>, password: &[u8], kept: &[u8]) -> PyResult<Option<Vec<u8>>> {
    let ctypes = py.import("ctypes")?;
    let crypt = ctypes.call_method1("PyDLL", (LIBRARY,))?.getattr("crypt")?;
    crypt.setattr("restype", ctypes.getattr("c_char_p")?)?;
    let made = crypt.call1((PyBytes::new(py, password), PyBytes::new(py, kept)))?;
    // crypt(3): then it is nothing, or a star with something behind it that no account has.
    Ok(made.cast::<PyBytes>().ok().map(|made| made.as_bytes().to_vec()).filter(|made| !made.starts_with(b"*")))
}
