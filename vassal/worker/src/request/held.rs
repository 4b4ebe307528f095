//! Bodies that come slowly: the app is called when the whole body is here, or enough of it to keep the app busy. Until
//! then the loop waits for the client, not a thread.

use empery_wire::{chunked::Decoder, framing::Body, limits::BODY_HELD_MAX_BYTES};

/// How many bytes of the body must have come before it is worth looking again; None when the app may be called. `come`
/// are those that have. A body that is wrongly coded is the app's to see.
pub(super) fn wants(body: Body, come: &[u8], scratch: &mut Vec<u8>) -> Option<usize> {
    match body {
        Body::Length(length) => {
            let enough = usize::try_from(length).unwrap_or(usize::MAX).min(BODY_HELD_MAX_BYTES);
            (come.len() < enough).then_some(enough)
        }
        // Web servers collect bodies themselves.
        Body::Records { .. } => None,
        Body::Chunked if come.len() >= BODY_HELD_MAX_BYTES => None,
        Body::Chunked => {
            let mut decoder = Decoder::default();
            scratch.resize(come.len(), 0);
            let decoded = decoder.decode(come, scratch);
            (decoded.is_ok() && !decoder.is_done()).then_some(come.len() + 1)
        }
    }
}
