//! Heads of SCGI requests (<https://python.ca/scgi/protocol.txt>): a netstring of names and values that each end in NUL,
//! CONTENT_LENGTH first and `SCGI` `1` among them, then the body. Whoever sends anything else gets no answer: the status
//! of a refusal is for the log.

use crate::{Bad, Limits, Parsed, cgi::ContentLength, framing::Body};

/// Most digits of the netstring's length: what `buffer-size` can be.
const LENGTH_DIGITS_MAX: usize = 7;

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'b> {
    /// The variables, in their order.
    pub vars: Vec<(&'b [u8], &'b [u8])>,
    /// Length of the body, from CONTENT_LENGTH.
    pub body: Body,
}

/// What the bytes received so far are.
#[must_use]
pub fn parse<'b>(bytes: &'b [u8], limits: &Limits) -> Parsed<Head<'b>> {
    let (length, digits) = match length(bytes) {
        Ok(Some(found)) => found,
        Ok(None) => return Parsed::NeedMore,
        Err(bad) => return Parsed::Bad(bad),
    };
    if length > limits.head_max_bytes {
        return Parsed::Bad(Bad::new(431, "the netstring is longer than buffer-size allows"));
    }
    let block_start = digits + 1;
    let Some(comma) = bytes.get(block_start + length) else { return Parsed::NeedMore };
    if *comma != b',' {
        return Parsed::Bad(Bad::new(400, "the netstring does not end in a comma"));
    }
    match whole(&bytes[block_start..block_start + length], limits) {
        Ok(head) => Parsed::Head { head, consumed: block_start + length + 1 },
        Err(bad) => Parsed::Bad(bad),
    }
}

/// The netstring's length and of how many digits it is; None when the colon has not come yet.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Bad> {
    let mut length = 0;
    for (at, byte) in bytes.iter().take(LENGTH_DIGITS_MAX + 1).enumerate() {
        match byte {
            b':' if at > 0 => return Ok(Some((length, at))),
            // No zeros in front: <https://cr.yp.to/proto/netstrings.txt>.
            b'0'..=b'9' if at < LENGTH_DIGITS_MAX && !(at == 1 && length == 0) => {
                length = length * 10 + usize::from(byte - b'0');
            }
            _ => return Err(Bad::new(400, "no netstring: scgi_pass goes here, other protocols not")),
        }
    }
    Ok(None)
}

fn whole<'b>(block: &'b [u8], limits: &Limits) -> Result<Head<'b>, Bad> {
    let mut vars = Vec::with_capacity(32);
    let mut length = ContentLength::default();
    let mut is_scgi = false;
    let mut rest = block;
    while !rest.is_empty() {
        let (key, value, after) = pair(rest).ok_or(Bad::new(400, "a variable does not end in NUL"))?;
        rest = after;
        if key.is_empty() {
            return Err(Bad::new(400, "a variable without a name"));
        }
        if vars.is_empty() && key != b"CONTENT_LENGTH" {
            return Err(Bad::new(400, "the first variable is not CONTENT_LENGTH"));
        }
        if vars.len() == limits.headers_max {
            return Err(Bad::new(431, "too many variables"));
        }
        if key == b"SCGI" {
            if value != b"1" {
                return Err(Bad::new(400, "SCGI is not 1"));
            }
            is_scgi = true;
        }
        length.var(key, value, limits.body_max_bytes)?;
        vars.push((key, value));
    }
    if !is_scgi {
        return Err(Bad::new(400, "no variable SCGI"));
    }
    Ok(Head { vars, body: Body::Length(length.said().unwrap_or(0)) })
}

fn pair(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let name_end = memchr::memchr(0, bytes)?;
    let rest = &bytes[name_end + 1..];
    let value_end = memchr::memchr(0, rest)?;
    Some((&bytes[..name_end], &rest[..value_end], &rest[value_end + 1..]))
}
