//! What was found out about a text of the app's, kept with the text: apps and their frameworks give the same objects, of
//! statuses and of headers' names, in every answer, and what is checked once need not be read again.

use pyo3::{prelude::*, types::PyString};

/// Texts remembered; a newer one may take the place of an older.
const PLACES: usize = 16;

/// Strings lie at multiples of this.
const ALIGNED_BYTES: usize = 16;

/// See the module.
pub(super) struct Recalled<T> {
    places: [Option<(Py<PyString>, T)>; PLACES],
}

impl<T> Recalled<T> {
    pub(super) fn nothing() -> Self {
        Self { places: std::array::from_fn(|_| None) }
    }

    /// What `find_out` says about a text, or said when it was seen before.
    pub(super) fn of(
        &mut self,
        text: &Bound<'_, PyString>,
        find_out: impl FnOnce(&Bound<'_, PyString>) -> PyResult<T>,
    ) -> PyResult<&T> {
        let place = &mut self.places[text.as_ptr().addr() / ALIGNED_BYTES % PLACES];
        // It is held, so nothing else can have come to lie where it lies.
        if place.as_ref().is_none_or(|(known, _)| !known.is(text)) {
            *place = Some((text.clone().unbind(), find_out(text)?));
        }
        let (_, found) = place.as_ref().expect("what was not there was put there");
        Ok(found)
    }
}
