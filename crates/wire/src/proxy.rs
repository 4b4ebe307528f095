//! What a load balancer puts before the first request of a connection to say who its client is: the PROXY protocol,
//! version 1 and 2 (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). Where it is asked for it must be
//! there (section 2: a receiver must not guess), and anything malformed ends the connection without a word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{Bad, Parsed, framing::decimal, limits::PROXY_V2_MAX_BYTES};

/// Longest header of version 1 with its line's end (section 2.1).
const V1_MAX_BYTES: usize = 107;

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;

/// Type of what is said about TLS (section 2.2.6), and the bit that says there is some.
const V2_TYPE_SSL: u8 = 0x20;
const V2_CLIENT_SSL: u8 = 0x01;

/// What it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// The client; None when it is whoever connected, such as the load balancer's own health check.
    pub client: Option<SocketAddr>,
    /// Whether the client came over TLS.
    pub is_https: bool,
}

/// What the bytes received so far are.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed<Head> {
    let parsed = match bytes.first() {
        None => return Parsed::NeedMore,
        Some(b'P') => version_1(bytes),
        Some(_) => version_2(bytes),
    };
    match parsed {
        Ok(Some((head, consumed))) => Parsed::Head { head, consumed },
        Ok(None) => Parsed::NeedMore,
        Err(bad) => Parsed::Bad(bad),
    }
}

type Found = Result<Option<(Head, usize)>, Bad>;

const MISSING: Bad = Bad::new(400, "no PROXY protocol header, which is asked for on this address");
const MALFORMED: Bad = Bad::new(400, "a malformed PROXY protocol header");

fn version_1(bytes: &[u8]) -> Found {
    const START: &[u8] = b"PROXY ";
    let known = bytes.len().min(START.len());
    if bytes[..known] != START[..known] {
        return Err(MISSING);
    }
    let searched = &bytes[..bytes.len().min(V1_MAX_BYTES)];
    let Some(end) = memchr::memchr(b'\n', searched) else {
        return if bytes.len() >= V1_MAX_BYTES { Err(MALFORMED) } else { Ok(None) };
    };
    let line = bytes[..end].strip_suffix(b"\r").and_then(|line| line.get(START.len()..)).ok_or(MALFORMED)?;
    let head = if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") { Head::default() } else { addresses(line)? };
    Ok(Some((head, end + 1)))
}

/// `TCP4 SOURCE DESTINATION PORT PORT` with one blank between.
fn addresses(line: &[u8]) -> Result<Head, Bad> {
    let line = std::str::from_utf8(line).map_err(|_| MALFORMED)?;
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(MALFORMED);
    let (family, source, destination, source_port, destination_port) = (word()?, word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(MALFORMED);
    }
    let address = |text: &str| -> Result<IpAddr, Bad> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| MALFORMED),
            "TCP6" => text.parse::<Ipv6Addr>().map(|address| address.to_canonical()).map_err(|_| MALFORMED),
            _ => Err(MALFORMED),
        }
    };
    address(destination)?;
    port(destination_port)?;
    Ok(Head { client: Some(SocketAddr::new(address(source)?, port(source_port)?)), is_https: false })
}

fn port(text: &str) -> Result<u16, Bad> {
    if text.len() > 1 && text.starts_with('0') {
        return Err(MALFORMED);
    }
    decimal(text.as_bytes()).and_then(|port| u16::try_from(port).ok()).ok_or(MALFORMED)
}

fn version_2(bytes: &[u8]) -> Found {
    let known = bytes.len().min(V2_SIGNATURE.len());
    if bytes[..known] != V2_SIGNATURE[..known] {
        return Err(MISSING);
    }
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_BYTES>() else { return Ok(None) };
    let (command, family) = (fixed[12], fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if command & 0xf0 != 0x20 || command & 0x0f > 1 || length > PROXY_V2_MAX_BYTES {
        return Err(MALFORMED);
    }
    let Some(rest) = bytes.get(V2_FIXED_BYTES..V2_FIXED_BYTES + length) else { return Ok(None) };
    let consumed = V2_FIXED_BYTES + length;
    if command & 0x0f == 0 {
        // LOCAL: the proxy speaks for itself, and what follows is to be skipped.
        return Ok(Some((Head::default(), consumed)));
    }
    let (client, more) = match family {
        0x11 => {
            let (block, more) = rest.split_first_chunk::<12>().ok_or(MALFORMED)?;
            let [a, b, c, d, _, _, _, _, port_high, port_low, _, _] = *block;
            (Some((Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([port_high, port_low]))), more)
        }
        0x21 => {
            let (block, more) = rest.split_first_chunk::<36>().ok_or(MALFORMED)?;
            let source = block.first_chunk::<16>().ok_or(MALFORMED)?;
            (Some((Ipv6Addr::from(*source).to_canonical(), u16::from_be_bytes([block[32], block[33]]))), more)
        }
        // A stream between unix sockets has no address that means anything here.
        0x31 => (None, rest.get(216..).ok_or(MALFORMED)?),
        0x00 => return Ok(Some((Head::default(), consumed))),
        _ => return Err(MALFORMED),
    };
    let is_https = is_tls(more)?;
    Ok(Some((Head { client: client.map(|(address, port)| SocketAddr::new(address, port)), is_https }, consumed)))
}

/// Looks through what follows the addresses: type, length, value (section 2.2).
fn is_tls(mut bytes: &[u8]) -> Result<bool, Bad> {
    let mut is_tls = false;
    while let Some((&kind, rest)) = bytes.split_first() {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(MALFORMED)?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(MALFORMED)?;
        if kind == V2_TYPE_SSL {
            is_tls |= value.first().ok_or(MALFORMED)? & V2_CLIENT_SSL != 0;
        }
        bytes = rest;
    }
    Ok(is_tls)
}
