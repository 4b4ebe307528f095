//! Texts of routes with places in them: `$1` for a group of the regular expression, `${NAME}` for a variable of the request,
//! `${cookie[NAME]}` and the like. What is put in is never looked at again, so no request can put in a place of its own.

use serde::{Deserialize, Serialize};

use super::walk::{Fact, Host};

/// A text, cut into pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(pub Vec<Piece>);

/// A piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// As it is.
    Text(String),
    /// `$N`.
    Group(usize),
    /// `${NAME}`.
    Variable(String),
    /// `${cookie[NAME]}`.
    Cookie(String),
    /// `${qs[NAME]}`.
    Query(String),
    /// `${upper[NAME]}`.
    Upper(String),
    /// `${lower[NAME]}`.
    Lower(String),
    /// `${hex[NAME]}`.
    Hex(String),
    /// `${base64[NAME]}`.
    Base64(String),
    /// `${uwsgi[…]}`, `${time[…]}`.
    Fact(Fact),
    /// `${httptime[SECONDS]}`: as HTTP writes the time in so many seconds.
    HttpTime(u64),
    /// `${mime[NAME]}`.
    Mime(String),
    /// `${metric[NAME]}`.
    Metric(String),
}

impl Template {
    /// Whether it has no place in it, and what it is then.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for a request. `groups` are those of the regular expression that was found, the whole first.
    pub fn fill(&self, host: &impl Host, groups: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.0 {
            piece.fill(host, groups, &mut out);
        }
        out
    }

    /// The same for a path of a file. What a client puts into it must not lead out of where it was put; the configuration itself
    /// may say `..`.
    pub(super) fn fill_path(&self, host: &impl Host, groups: &[Vec<u8>]) -> Filled {
        let (mut path, mut is_put_in) = (Vec::new(), Vec::new());
        for piece in &self.0 {
            piece.fill(host, groups, &mut path);
            is_put_in.resize(path.len(), !matches!(piece, Piece::Text(_)));
        }
        let mut begins = 0;
        let climbs = path.split(|byte| *byte == b'/').any(|segment| {
            let ends = begins + segment.len();
            // With the slashes around it, which make a segment of it.
            let around = begins.saturating_sub(1)..(ends + 1).min(path.len());
            begins = ends + 1;
            segment == b".." && is_put_in[around].contains(&true)
        });
        if climbs || path.contains(&0) { Filled::Climbs(path) } else { Filled::Path(path) }
    }
}

/// A path for a request.
pub(super) enum Filled {
    /// It.
    Path(Vec<u8>),
    /// It leads elsewhere.
    Climbs(Vec<u8>),
}

impl Filled {
    /// As it stands there.
    pub(super) fn shown(&self) -> &[u8] {
        match self {
            Filled::Path(path) | Filled::Climbs(path) => path,
        }
    }
}

impl Piece {
    fn fill(&self, host: &impl Host, groups: &[Vec<u8>], out: &mut Vec<u8>) {
        let variable = |name: &str| host.variable(name.as_bytes()).unwrap_or_default();
        match self {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Group(number) => out.extend_from_slice(groups.get(*number).map_or(&b""[..], Vec::as_slice)),
            Piece::Variable(name) => out.extend_from_slice(&variable(name)),
            Piece::Cookie(name) => out.extend_from_slice(named(&variable("HTTP_COOKIE"), b';', name)),
            Piece::Query(name) => out.extend_from_slice(named(&variable("QUERY_STRING"), b'&', name)),
            Piece::Upper(name) => out.extend(variable(name).to_ascii_uppercase()),
            Piece::Lower(name) => out.extend(variable(name).to_ascii_lowercase()),
            Piece::Hex(name) => out.extend(variable(name).iter().flat_map(|byte| format!("{byte:02X}").into_bytes())),
            Piece::Base64(name) => out.extend(base64(&variable(name))),
            Piece::Fact(fact) => out.extend(host.fact(*fact)),
            Piece::HttpTime(seconds) => out.extend(host.http_time(*seconds)),
            Piece::Metric(name) => out.extend(host.metric(name).to_string().into_bytes()),
            Piece::Mime(name) => out.extend(host.mime(&variable(name))),
        }
    }
}

/// The value of `NAME=VALUE` in a list of such.
fn named<'t>(text: &'t [u8], between: u8, name: &str) -> &'t [u8] {
    let pairs = text.split(|byte| *byte == between).map(<[u8]>::trim_ascii_start);
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values.next().unwrap_or_default()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().enumerate().fold(0_u32, |bits, (place, byte)| bits | u32::from(*byte) << (16 - 8 * place));
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= chunk.len() { letter } else { b'=' });
        }
    }
    out
}

/// The bytes that a text of base64 stands for; None when it is none.
pub(super) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let (mut out, mut bits, mut number) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0_u32);
    for byte in text {
        let value = ALPHABET.iter().position(|letter| letter == byte)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        number += 6;
        if number >= 8 {
            number -= 8;
            out.push((bits >> number) as u8);
            bits &= (1 << number) - 1;
        }
    }
    Some(out)
}
