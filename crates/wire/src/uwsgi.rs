//! Heads of the uwsgi protocol: four bytes (modifier1, the block's length in little-endian order, modifier2), then a
//! block of pairs, each of a key and a value with its 16-bit length before it. Malformed packets get no answer, as in uWSGI: the
//! status of a refusal is for the log.

use crate::{Bad, Limits, Parsed, cgi::ContentLength, framing::Body};

/// Length of what comes before the block.
pub const PACKET_HEAD_BYTES: usize = 4;

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'b> {
    /// Which plugin is asked for: 0 is Python.
    pub modifier1: u8,
    /// Of the plugin; 0.
    pub modifier2: u8,
    /// The block as sent.
    pub block: &'b [u8],
    /// Its pairs, in their order.
    pub vars: Vec<(&'b [u8], &'b [u8])>,
    /// Length of the body, from CONTENT_LENGTH.
    pub body: Body,
}

/// What the bytes received so far are.
#[must_use]
pub fn parse<'b>(bytes: &'b [u8], limits: &Limits) -> Parsed<Head<'b>> {
    let Some((head, rest)) = bytes.split_first_chunk::<PACKET_HEAD_BYTES>() else {
        return Parsed::NeedMore;
    };
    if looks_like_http(head) {
        return Parsed::Bad(Bad::new(400, "HTTP, but this is a uwsgi socket: uwsgi_pass goes here, browsers not"));
    }
    let [modifier1, low, high, modifier2] = *head;
    let length = usize::from(u16::from_le_bytes([low, high]));
    if length > limits.head_max_bytes {
        return Parsed::Bad(Bad::new(431, "invalid request block size: longer than buffer-size allows"));
    }
    let Some(block) = rest.get(..length) else {
        return Parsed::NeedMore;
    };
    match whole(modifier1, modifier2, block, limits) {
        Ok(head) => Parsed::Head { head, consumed: PACKET_HEAD_BYTES + length },
        Err(bad) => Parsed::Bad(bad),
    }
}

/// The beginning of an HTTP request line. Read as a packet it would have a long block, which would be waited for until
/// the client gives up; uWSGI has no plugin behind the modifiers that these letters are.
fn looks_like_http(head: &[u8; PACKET_HEAD_BYTES]) -> bool {
    [b"GET ", b"HEAD", b"POST", b"PUT ", b"PATC", b"DELE", b"OPTI"].contains(&head)
}

fn whole<'b>(modifier1: u8, modifier2: u8, block: &'b [u8], limits: &Limits) -> Result<Head<'b>, Bad> {
    let mut vars = Vec::with_capacity(32);
    let mut length = ContentLength::default();
    // The block of another modifier need not be pairs.
    if modifier1 == 0 {
        if block.is_empty() {
            return Err(Bad::new(400, "Empty python request. skip."));
        }
        let mut pairs = Pairs { rest: block };
        while !pairs.rest.is_empty() {
            let (key, value) =
                pairs.pair().ok_or(Bad::new(400, "invalid uwsgi request: a length points beyond the block"))?;
            if key.is_empty() {
                return Err(Bad::new(400, "uwsgi key cannot be null. skip."));
            }
            if vars.len() == limits.headers_max {
                return Err(Bad::new(431, "max vec size reached. skip this request."));
            }
            length.var(key, value, limits.body_max_bytes)?;
            vars.push((key, value));
        }
    }
    Ok(Head { modifier1, modifier2, block, vars, body: Body::Length(length.said().unwrap_or(0)) })
}

/// A block of pairs, as far as `most` bytes hold them: for the scoreboard, which shows every protocol in this form.
#[must_use]
pub fn block<'b>(vars: impl Iterator<Item = (&'b [u8], &'b [u8])>, most: usize) -> Vec<u8> {
    let mut block = Vec::new();
    for text in vars.flat_map(|(key, value)| [key, value]) {
        let Ok(length) = u16::try_from(text.len()) else { break };
        if block.len() >= most {
            break;
        }
        block.extend_from_slice(&length.to_le_bytes());
        block.extend_from_slice(text);
    }
    block
}

/// The pairs of a block.
pub(crate) struct Pairs<'b> {
    pub(crate) rest: &'b [u8],
}

impl<'b> Pairs<'b> {
    /// The next pair; None when the rest is not a whole one.
    pub(crate) fn pair(&mut self) -> Option<(&'b [u8], &'b [u8])> {
        let (key, rest) = sized(self.rest)?;
        let (value, rest) = sized(rest)?;
        self.rest = rest;
        Some((key, value))
    }
}

fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}
