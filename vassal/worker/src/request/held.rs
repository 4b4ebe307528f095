//! Bodies that come slowly: the app is called when the whole body is here, or enough of it to keep the app busy. Until
//! then the loop waits for the client, not a thread.

use empery_wire::{chunked::Decoder, framing::Body, limits::BODY_HELD_MAX_BYTES};

/// How far a chunked body that comes was looked at: each byte is looked at once, however small the pieces.
#[derive(Default)]
pub(crate) struct Chunks {
    decoder: Decoder,
    looked_at_bytes: usize,
}

/// How many bytes of the body must have come before it is worth looking again; None when the app may be called. `come`
/// are those that have, and `chunks` is kept between two calls for one request. A body that is wrongly coded is the app's to see.
pub(super) fn wants(body: Body, come: &[u8], chunks: &mut Option<Box<Chunks>>) -> Option<usize> {
    match body {
        Body::Length(length) => {
            let enough = usize::try_from(length).unwrap_or(usize::MAX).min(BODY_HELD_MAX_BYTES);
            (come.len() < enough).then_some(enough)
        }
        // Web servers collect bodies themselves.
        Body::Records { .. } => None,
        Body::Chunked => {
            let mut looked = chunks.take().unwrap_or_default();
            let passed = looked.decoder.pass(come.get(looked.looked_at_bytes..).unwrap_or_default());
            if come.len() >= BODY_HELD_MAX_BYTES || passed.is_err() || looked.decoder.is_done() {
                return None;
            }
            looked.looked_at_bytes = come.len();
            *chunks = Some(looked);
            Some(come.len() + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_that_comes_in_pieces_is_looked_at_once() {
        const WHOLE: &[u8] = b"5\r\nhello\r\n0\r\n\r\n";
        let mut chunks = None;
        for come in 1..WHOLE.len() {
            let mut bytes = WHOLE[..come].to_vec();
            // Whoever looked at these again would find them wrong.
            bytes[..come - 1].fill(b'?');
            assert_eq!(wants(Body::Chunked, &bytes, &mut chunks), Some(come + 1));
        }
        assert_eq!(wants(Body::Chunked, WHOLE, &mut chunks), None);
        assert!(chunks.is_none(), "the next request would begin in the middle");
        assert_eq!(wants(Body::Chunked, b"5\r\nhe", &mut chunks), Some(6));
        assert_eq!(wants(Body::Chunked, b"5\r\nhello!", &mut chunks), None);
        assert!(chunks.is_none());
    }
}
