//! What the protocols that carry CGI variables (RFC 3875) have in common.

use crate::{Bad, framing::decimal};

/// CONTENT_LENGTH among variables. The same number twice is one number: web servers send a variable again when their
/// parameter file is included twice. Two numbers are two bodies, and refused.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ContentLength {
    said: Option<u64>,
}

impl ContentLength {
    /// Takes a variable, if it is this one.
    pub(crate) fn var(&mut self, key: &[u8], value: &[u8], body_max_bytes: u64) -> Result<(), Bad> {
        // nginx sends the variable empty when there is no body.
        if key != b"CONTENT_LENGTH" || value.is_empty() {
            return Ok(());
        }
        let length = decimal(value).ok_or(Bad::new(400, "CONTENT_LENGTH is not a number. skip."))?;
        if body_max_bytes != 0 && length > body_max_bytes {
            return Err(Bad::new(413, "Invalid (too big) CONTENT_LENGTH. skip."));
        }
        match self.said.replace(length) {
            Some(before) if before != length => Err(Bad::new(400, "two values of CONTENT_LENGTH. skip.")),
            _ => Ok(()),
        }
    }

    /// The length; None when it was not said.
    pub(crate) fn said(self) -> Option<u64> {
        self.said
    }
}
