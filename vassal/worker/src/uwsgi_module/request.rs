//! The request that the calling thread serves, for functions that need no environ: found by the thread's slot in the
//! scoreboard, so that requests pay nothing for it.

use pyo3::prelude::*;

use crate::{request::StartResponse, serve::Serving};

/// Its answer, and through it its connection; None outside of a request.
pub(super) fn current(py: Python<'_>) -> Option<Bound<'_, StartResponse>> {
    let serving = Serving::here()?;
    let (core, _) = serving.worker.request_of_this_thread(py)?;
    serving.answer_of(py, core)
}
