//! Records, read and written. Numbers are big-endian (section 3.3 of the specification).

use crate::Bad;

/// Length of a record's header.
pub const HEADER_BYTES: usize = 8;

/// Longest content of a record.
const CONTENT_MAX_BYTES: usize = 65_535;

const VERSION: u8 = 1;
const KEEP_CONN: u8 = 1;
const RESPONDER: u16 = 1;

/// What a record is (section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BeginRequest,
    AbortRequest,
    Params,
    Stdin,
    GetValues,
    /// Only applications send these, and authorizers and filters get them.
    NotForUs,
    Unknown(u8),
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            1 => Kind::BeginRequest,
            2 => Kind::AbortRequest,
            4 => Kind::Params,
            5 => Kind::Stdin,
            9 => Kind::GetValues,
            3 | 6 | 7 | 8 | 10 | 11 => Kind::NotForUs,
            other => Kind::Unknown(other),
        }
    }
}

/// The first bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) request_id: u16,
    pub(crate) content_length: u16,
    pub(crate) padding_length: u8,
}

impl Header {
    /// None when it has not come yet.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, Bad> {
        // Told by its first byte, or HTTP would be waited for until the client gives up.
        if bytes.first().is_some_and(|version| *version != VERSION) {
            return Err(Bad::new(400, "no FastCGI: fastcgi_pass goes here, other protocols not"));
        }
        Ok(bytes.first_chunk::<HEADER_BYTES>().map(Self::of))
    }

    pub(crate) fn of(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [_, kind, id_high, id_low, length_high, length_low, padding_length, _] = *bytes;
        Self {
            kind: Kind::of(kind),
            request_id: u16::from_be_bytes([id_high, id_low]),
            content_length: u16::from_be_bytes([length_high, length_low]),
            padding_length,
        }
    }
}

/// A whole record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'b> {
    pub(crate) kind: Kind,
    pub(crate) request_id: u16,
    pub(crate) content: &'b [u8],
    /// With header and padding.
    pub(crate) length: usize,
}

impl<'b> Record<'b> {
    /// None when it has not come whole yet.
    pub(crate) fn read(bytes: &'b [u8]) -> Result<Option<Self>, Bad> {
        let Some(header) = Header::read(bytes)? else { return Ok(None) };
        let content_end = HEADER_BYTES + usize::from(header.content_length);
        let length = content_end + usize::from(header.padding_length);
        Ok((bytes.len() >= length).then(|| Self {
            kind: header.kind,
            request_id: header.request_id,
            content: &bytes[HEADER_BYTES..content_end],
            length,
        }))
    }
}

/// The content of BEGIN_REQUEST (section 5.1).
pub(crate) struct Begin {
    pub(crate) is_responder: bool,
    pub(crate) keeps: bool,
}

impl Begin {
    pub(crate) fn read(content: &[u8]) -> Result<Self, Bad> {
        let [role_high, role_low, flags, _, _, _, _, _] = *content else {
            return Err(Bad::new(400, "a BEGIN_REQUEST of another length"));
        };
        Ok(Self { is_responder: u16::from_be_bytes([role_high, role_low]) == RESPONDER, keeps: flags & KEEP_CONN != 0 })
    }
}

/// Lengths of a name and its value, and of how many bytes they are (section 3.4).
pub(crate) fn pair_lengths(bytes: &[u8]) -> Option<(usize, usize, usize)> {
    let (name, first) = length(bytes)?;
    let (value, second) = length(&bytes[first..])?;
    Some((name, value, first + second))
}

fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((first.into(), 1));
    }
    let long = u32::from_be_bytes(*bytes.first_chunk::<4>()?) & 0x7fff_ffff;
    Some((usize::try_from(long).ok()?, 4))
}

/// How a request ended (section 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It was served.
    Complete = 0,
    /// Another one is being served on this connection.
    CannotMultiplex = 1,
    /// It is not for a responder.
    UnknownRole = 3,
}

/// Appends END_REQUEST.
pub fn end(request_id: u16, status: Status, into: &mut Vec<u8>) {
    header(3, request_id, 8, into);
    into.extend_from_slice(&[0, 0, 0, 0, status as u8, 0, 0, 0]);
}

/// Appends pieces of an answer as STDOUT; nothing for nothing, since an empty record would be its end.
pub fn stdout(request_id: u16, pieces: [&[u8]; 3], into: &mut Vec<u8>) {
    for piece in pieces {
        for content in piece.chunks(CONTENT_MAX_BYTES) {
            header(6, request_id, content.len(), into);
            into.extend_from_slice(content);
        }
    }
}

fn header(kind: u8, request_id: u16, content_length: usize, into: &mut Vec<u8>) {
    let [id_high, id_low] = request_id.to_be_bytes();
    let [length_high, length_low] = u16::try_from(content_length).unwrap_or(u16::MAX).to_be_bytes();
    into.extend_from_slice(&[VERSION, kind, id_high, id_low, length_high, length_low, 0, 0]);
}

/// Answers a record that is not of the request being served, when it wants an answer.
pub(crate) fn answer_beside(
    kind: Kind,
    request_id: u16,
    content: &[u8],
    active: Option<u16>,
    answer: &mut Vec<u8>,
) -> Result<(), Bad> {
    match (kind, request_id) {
        (Kind::GetValues, 0) => get_values_result(content, answer),
        // Section 4.2: types of management records that are not known.
        (Kind::Unknown(byte), 0) => {
            header(11, 0, 8, answer);
            answer.extend_from_slice(&[byte, 0, 0, 0, 0, 0, 0, 0]);
            Ok(())
        }
        (_, 0) => Err(Bad::new(400, "a record of no request")),
        (Kind::BeginRequest, other) if active.is_some() => {
            end(other, Status::CannotMultiplex, answer);
            Ok(())
        }
        // Section 3.3: records of requests that are over, or never began, are ignored.
        _ => Ok(()),
    }
}

/// Section 4.1: of what is asked for, what is known. How many connections are served is the web server's to limit.
fn get_values_result(content: &[u8], answer: &mut Vec<u8>) -> Result<(), Bad> {
    const MULTIPLEXES: &[u8] = b"FCGI_MPXS_CONNS";
    let mut rest = content;
    let mut asked = false;
    while !rest.is_empty() {
        let found = pair_lengths(rest).and_then(|(name, value, lengths)| {
            let end = lengths.checked_add(name)?.checked_add(value)?;
            Some((rest.get(lengths..lengths + name)?, rest.get(end..)?))
        });
        let (name, after) = found.ok_or(Bad::new(400, "a malformed GET_VALUES"))?;
        asked |= name == MULTIPLEXES;
        rest = after;
    }
    let pair = if asked { &b"\x0f\x01FCGI_MPXS_CONNS0"[..] } else { b"" };
    header(10, 0, pair.len(), answer);
    answer.extend_from_slice(pair);
    Ok(())
}
