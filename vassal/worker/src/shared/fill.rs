//! What caches begin with (`add-cache-item`, `load-file-in-cache`): stored by the zygote before it imports the app, over what
//! an earlier generation has left. As in uWSGI a file that cannot be read, and an item that does not fit, is a line in the
//! log and no reason not to start.

use empery_control::shared::{Filling, From};
use empery_shared::cache::{Present, Stored};
use pyo3::{prelude::*, types::PyBytes};

use super::Shared;
use crate::os;

/// Stores them.
///
/// # Errors
/// When a cache is broken, or Python cannot compress.
pub(crate) fn fill(py: Python<'_>, shared: &Shared, fillings: &[Filling]) -> PyResult<()> {
    for filling in fillings {
        let Some(value) = value(py, filling)? else { continue };
        let wanted = |name: &str| filling.cache.as_ref().is_none_or(|cache| cache == name);
        for cache in shared.caches.iter().filter(|cache| wanted(cache.name())) {
            let (key, name) = (&filling.key, cache.name());
            let stored = cache.with(|cache, _| cache.store(key.as_bytes(), &value, 0, Present::Replaced))?;
            let line = match stored {
                Stored::Yes => format!("[cache] stored \"{key}\" in \"{name}\"\n"),
                Stored::Unfit => format!("[cache-error] unable to store \"{key}\" in \"{name}\": empty or too long\n"),
                Stored::Exists | Stored::Full => {
                    format!("[cache-error] unable to store \"{key}\" in \"{name}\": it is full\n")
                }
            };
            os::write_stderr(line.as_bytes());
        }
    }
    Ok(())
}

fn value(py: Python<'_>, filling: &Filling) -> PyResult<Option<Vec<u8>>> {
    let is_compressed = match &filling.from {
        From::Text(text) => return Ok(Some(text.clone().into_bytes())),
        From::File => false,
        From::FileCompressed => true,
    };
    let content = match std::fs::read(&filling.key) {
        Ok(content) => content,
        Err(error) => {
            os::write_stderr(format!("[cache-error] unable to read file \"{}\": {error}\n", filling.key).as_bytes());
            return Ok(None);
        }
    };
    if !is_compressed {
        return Ok(Some(content));
    }
    let compressed = py.import("gzip")?.call_method1("compress", (PyBytes::new(py, &content),))?;
    Ok(Some(compressed.extract()?))
}
