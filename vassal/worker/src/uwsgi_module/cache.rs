//! `uwsgi.cache_*`: caches that all workers share. Without a cache, or of one that is not there, they find nothing and
//! store nothing, as in uWSGI.

use empery_shared::cache::{self, Math, Present, Stored};
use empery_sys::region::Locked;
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyList, PyModule},
};

use super::{add_functions, text::Text};
use crate::shared::{Shared, cache::Cache};

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        module,
        cache_get,
        cache_set,
        cache_update,
        cache_exists,
        cache_del,
        cache_clear,
        cache_inc,
        cache_dec,
        cache_mul,
        cache_div,
        cache_num,
        cache_keys
    );
    Ok(())
}

/// The cache of this name.
///
/// # Errors
/// `ValueError` for one of another host, `NAME@ADDRESS`.
fn named(name: Option<&str>) -> PyResult<Option<&'static Cache>> {
    if let Some(remote) = name.filter(|name| name.contains('@')) {
        return Err(PyValueError::new_err(format!(
            "{remote:?}: caches of other hosts cannot be reached; use Redis or memcached"
        )));
    }
    Ok(Shared::here().and_then(|shared| shared.cache(name)))
}

/// Does something with a cache, without holding up other threads; None when there is no such cache.
fn with<T: Send>(
    py: Python<'_>,
    name: Option<&str>,
    use_it: impl FnOnce(&mut cache::Cache<'_, Locked<'_>>, u64) -> T + Send,
) -> PyResult<Option<T>> {
    let Some(cache) = named(name)? else { return Ok(None) };
    Ok(Some(py.detach(|| cache.with(use_it))?))
}

/// When an item expires that shall live so many seconds, unix s; 0 is never.
fn end(expires: i64, now_s: u64) -> u64 {
    u64::try_from(expires).ok().filter(|seconds| *seconds > 0).map_or(0, |seconds| now_s.saturating_add(seconds))
}

/// True, or None as uWSGI answers where nothing was done.
fn done(done: Option<bool>) -> Option<bool> {
    done.filter(|done| *done)
}

fn store(
    py: Python<'_>,
    key: &Text,
    value: &Text,
    expires: i64,
    name: Option<&str>,
    present: Present,
) -> PyResult<Option<bool>> {
    let stored =
        with(py, name, |cache, now_s| cache.store(&key.0, &value.0, end(expires, now_s), present) == Stored::Yes)?;
    Ok(done(stored))
}

/// The value of a key, bytes; None when it is not there.
#[pyfunction]
#[pyo3(signature = (key, cache=None, /))]
fn cache_get<'py>(py: Python<'py>, key: Text, cache: Option<&str>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let value = with(py, cache, |cache, _| cache.get(&key.0))?.flatten();
    Ok(value.map(|value| PyBytes::new(py, &value)))
}

/// Stores a value for so many seconds (0 is for ever) unless the key is there. True, or None when it was not stored.
#[pyfunction]
#[pyo3(signature = (key, value, expires=0, cache=None, /))]
fn cache_set(py: Python<'_>, key: Text, value: Text, expires: i64, cache: Option<&str>) -> PyResult<Option<bool>> {
    store(py, &key, &value, expires, cache, Present::Stays)
}

/// Stores a value for so many seconds, whatever is there. True, or None when it was not stored.
#[pyfunction]
#[pyo3(signature = (key, value, expires=0, cache=None, /))]
fn cache_update(py: Python<'_>, key: Text, value: Text, expires: i64, cache: Option<&str>) -> PyResult<Option<bool>> {
    store(py, &key, &value, expires, cache, Present::Replaced)
}

/// True when the key is there, else None.
#[pyfunction]
#[pyo3(signature = (key, cache=None, /))]
fn cache_exists(py: Python<'_>, key: Text, cache: Option<&str>) -> PyResult<Option<bool>> {
    Ok(done(with(py, cache, |cache, _| cache.exists(&key.0))?))
}

/// Removes a key. True, or None when it was not there.
#[pyfunction]
#[pyo3(signature = (key, cache=None, /))]
fn cache_del(py: Python<'_>, key: Text, cache: Option<&str>) -> PyResult<Option<bool>> {
    Ok(done(with(py, cache, |cache, _| cache.delete(&key.0))?))
}

/// Removes everything. True, or None without a cache.
#[pyfunction]
#[pyo3(signature = (cache=None, /))]
fn cache_clear(py: Python<'_>, cache: Option<&str>) -> PyResult<Option<bool>> {
    Ok(with(py, cache, |cache, _| cache.clear())?.map(|()| true))
}

fn math(py: Python<'_>, key: &Text, math: Math, by: i64, expires: i64, name: Option<&str>) -> PyResult<Option<bool>> {
    let stored = with(py, name, |cache, now_s| cache.math(&key.0, math, by, end(expires, now_s)) == Stored::Yes)?;
    Ok(done(stored))
}

/// Adds to a number of 8 bytes, which begins where there is none. True, or None when it could not be stored.
#[pyfunction]
#[pyo3(signature = (key, by=1, expires=0, cache=None, /))]
fn cache_inc(py: Python<'_>, key: Text, by: i64, expires: i64, cache: Option<&str>) -> PyResult<Option<bool>> {
    math(py, &key, Math::Inc, by, expires, cache)
}

/// Takes away from a number, as [`cache_inc`] adds.
#[pyfunction]
#[pyo3(signature = (key, by=1, expires=0, cache=None, /))]
fn cache_dec(py: Python<'_>, key: Text, by: i64, expires: i64, cache: Option<&str>) -> PyResult<Option<bool>> {
    math(py, &key, Math::Dec, by, expires, cache)
}

/// Multiplies a number.
#[pyfunction]
#[pyo3(signature = (key, by=2, expires=0, cache=None, /))]
fn cache_mul(py: Python<'_>, key: Text, by: i64, expires: i64, cache: Option<&str>) -> PyResult<Option<bool>> {
    math(py, &key, Math::Mul, by, expires, cache)
}

/// Divides a number; by zero is zero.
#[pyfunction]
#[pyo3(signature = (key, by=2, expires=0, cache=None, /))]
fn cache_div(py: Python<'_>, key: Text, by: i64, expires: i64, cache: Option<&str>) -> PyResult<Option<bool>> {
    math(py, &key, Math::Div, by, expires, cache)
}

/// A number of 8 bytes; 0 when there is none.
#[pyfunction]
#[pyo3(signature = (key, cache=None, /))]
fn cache_num(py: Python<'_>, key: Text, cache: Option<&str>) -> PyResult<i64> {
    let value = with(py, cache, |cache, _| cache.get(&key.0))?.flatten();
    Ok(value.and_then(|value| value.try_into().ok()).map_or(0, i64::from_ne_bytes))
}

/// All keys, a list of bytes.
///
/// # Errors
/// `ValueError` when there is no such cache.
#[pyfunction]
#[pyo3(signature = (cache=None, /))]
fn cache_keys<'py>(py: Python<'py>, cache: Option<&str>) -> PyResult<Bound<'py, PyList>> {
    let keys = with(py, cache, |cache, _| cache.keys())?;
    let keys = keys.ok_or_else(|| PyValueError::new_err("no local uWSGI cache available"))?;
    PyList::new(py, keys.iter().map(|key| PyBytes::new(py, key)))
}
