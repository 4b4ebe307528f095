//! Who a request comes from when a proxy in front says so: `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` (RFC 7239).
//! Anybody can send these headers, so they are read from the last entry, written by the peer itself, and followed only
//! as long as whoever wrote an entry is trusted.

use std::net::{IpAddr, SocketAddr};

use crate::{Bad, framing::is_authority_byte, limits::FORWARDED_HOPS_MAX};

mod rfc7239;

/// The proxies that may speak for a client.
#[derive(Debug, Clone, Default)]
pub struct Trusted {
    /// An address and how many of its bits count; None when nobody said who is trusted.
    networks: Option<Vec<(IpAddr, u8)>>,
}

impl Trusted {
    /// Of what the configuration says.
    #[must_use]
    pub fn new(networks: Option<Vec<(IpAddr, u8)>>) -> Self {
        Self { networks }
    }

    /// Whether the configuration says anything. If so, a trusted proxy's word replaces the peer's address, and others' headers
    /// are removed. If not, it is as in uWSGI, with the one bound that only this machine's proxies decide the scheme.
    #[must_use]
    pub fn is_said(&self) -> bool {
        self.networks.is_some()
    }

    /// Whether a peer may speak for others. Who may connect to a unix socket (None) is decided by its mode.
    #[must_use]
    pub fn covers(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer else { return true };
        match &self.networks {
            None => peer.is_loopback(),
            Some(networks) => networks.iter().any(|(network, bits)| contains(*network, *bits, peer.to_canonical())),
        }
    }
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differ = u32::from(network) ^ u32::from(address);
            differ.checked_shr(32_u32.saturating_sub(bits.into())).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differ = u128::from(network) ^ u128::from(address);
            differ.checked_shr(128_u32.saturating_sub(bits.into())).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// A header that speaks for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `X-Forwarded-For`.
    For,
    /// `X-Forwarded-Proto`.
    Proto,
    /// `X-Forwarded-Host`.
    Host,
    /// `X-Forwarded-Port`: nothing here reads it, apps do.
    Port,
    /// `X-Forwarded-SSL`: `on` or `1`.
    Ssl,
    /// `Forwarded`.
    Forwarded,
}

/// Whether a header is one of them.
#[must_use]
pub fn kind(name: &str) -> Option<Kind> {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        9 if is("forwarded") => Some(Kind::Forwarded),
        15 if is("x-forwarded-for") => Some(Kind::For),
        15 if is("x-forwarded-ssl") => Some(Kind::Ssl),
        16 if is("x-forwarded-host") => Some(Kind::Host),
        16 if is("x-forwarded-port") => Some(Kind::Port),
        17 if is("x-forwarded-proto") => Some(Kind::Proto),
        _ => None,
    }
}

/// Whether a CGI variable holds one of them.
#[must_use]
pub fn kind_of_variable(key: &[u8]) -> Option<Kind> {
    match key.strip_prefix(b"HTTP_")? {
        b"FORWARDED" => Some(Kind::Forwarded),
        b"X_FORWARDED_FOR" => Some(Kind::For),
        b"X_FORWARDED_SSL" => Some(Kind::Ssl),
        b"X_FORWARDED_HOST" => Some(Kind::Host),
        b"X_FORWARDED_PORT" => Some(Kind::Port),
        b"X_FORWARDED_PROTO" => Some(Kind::Proto),
        _ => None,
    }
}

/// Those of a request, each as the lines in which it came.
#[derive(Debug, Clone, Default)]
pub struct Heard<'b> {
    for_: Vec<&'b [u8]>,
    proto: Vec<&'b [u8]>,
    host: Vec<&'b [u8]>,
    ssl: Vec<&'b [u8]>,
    forwarded: Vec<&'b [u8]>,
}

/// What is believed of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Client<'b> {
    /// Its address; port 0 when only the address was said. None: it is the peer.
    pub address: Option<SocketAddr>,
    /// Whether it came over TLS, when that was said.
    pub is_https: Option<bool>,
    /// The host it asked for, when that was said.
    pub host: Option<&'b [u8]>,
}

impl<'b> Heard<'b> {
    /// Takes a header.
    pub fn header(&mut self, kind: Kind, value: &'b [u8]) {
        match kind {
            Kind::For => self.for_.push(value),
            Kind::Proto => self.proto.push(value),
            Kind::Host => self.host.push(value),
            Kind::Ssl => self.ssl.push(value),
            Kind::Forwarded => self.forwarded.push(value),
            Kind::Port => {}
        }
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [&self.for_, &self.proto, &self.host, &self.ssl, &self.forwarded].iter().all(|lines| lines.is_empty())
    }

    /// What the headers say, when the configuration says who is trusted; nothing when the peer is not.
    ///
    /// # Errors
    /// When `Forwarded` and the `X-` headers contradict each other: a proxy that writes one of them lets the other through.
    pub fn client(&self, peer: Option<IpAddr>, trusted: &Trusted) -> Result<Client<'b>, Bad> {
        if !trusted.covers(peer) {
            return Ok(Client::default());
        }
        let old = self.of_x_headers(peer, trusted);
        let new = self.of_forwarded(peer, trusted);
        let differ = contradict(old.address.map(|address| address.ip()), new.address.map(|address| address.ip()))
            || contradict(old.is_https, new.is_https)
            || contradict(old.host, new.host);
        if differ {
            return Err(Bad::new(400, "X-Forwarded headers and Forwarded contradict each other"));
        }
        Ok(Client {
            address: old.address.or(new.address),
            is_https: old.is_https.or(new.is_https),
            host: old.host.or(new.host),
        })
    }

    /// Whether the headers say TLS, when nothing says who is trusted: uWSGI takes any of them.
    #[must_use]
    pub fn says_https(&self) -> bool {
        self.proto.iter().any(|value| value.eq_ignore_ascii_case(b"https")) || self.ssl.iter().any(|value| is_on(value))
    }

    fn of_x_headers(&self, peer: Option<IpAddr>, trusted: &Trusted) -> Client<'b> {
        let hops = from_last(&self.for_).map(node);
        let (address, place) = follow(peer, trusted, hops);
        let at_place = |lines: &[&'b [u8]]| {
            let mut entries = from_last(lines);
            let last = entries.next()?;
            Some(entries.take(place).last().unwrap_or(last))
        };
        let by_ssl = self.ssl.last().map(|value| is_on(value));
        Client {
            address,
            is_https: at_place(&self.proto).and_then(is_https).or(by_ssl),
            host: at_place(&self.host).filter(|host| is_authority(host)),
        }
    }

    fn of_forwarded(&self, peer: Option<IpAddr>, trusted: &Trusted) -> Client<'b> {
        let Some(elements) = rfc7239::elements(&self.forwarded) else { return Client::default() };
        if elements.is_empty() {
            return Client::default();
        }
        let hops = elements.iter().rev().map(|element| element.for_.and_then(node));
        let (address, place) = follow(peer, trusted, hops);
        let element = &elements[elements.len() - 1 - place.min(elements.len() - 1)];
        Client {
            address,
            is_https: element.proto.and_then(is_https),
            host: element.host.filter(|host| is_authority(host)),
        }
    }
}

/// Follows the entries as long as whoever wrote them is trusted; the client, and which entry from the last on named it.
fn follow(
    peer: Option<IpAddr>,
    trusted: &Trusted,
    hops: impl Iterator<Item = Option<SocketAddr>>,
) -> (Option<SocketAddr>, usize) {
    let mut found: Option<SocketAddr> = None;
    let mut taken: usize = 0;
    for hop in hops.take(FORWARDED_HOPS_MAX) {
        let writer = found.map_or(peer, |address| Some(address.ip()));
        // `unknown` and hidden names (RFC 7239 section 6) end it: nothing before them can be checked.
        let (true, Some(hop)) = (trusted.covers(writer), hop) else { break };
        found = Some(hop);
        taken += 1;
    }
    (found, taken.saturating_sub(1))
}

/// Entries of a list over several lines, the last one first.
fn from_last<'l, 'b: 'l>(lines: &'l [&'b [u8]]) -> impl Iterator<Item = &'b [u8]> + 'l {
    lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// An address, with a port or without.
fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address.to_canonical(), 0));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(SocketAddr::new(address.ip().to_canonical(), address.port()));
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<std::net::Ipv6Addr>().ok().map(|address| SocketAddr::new(address.into(), 0))
}

fn is_https(word: &[u8]) -> Option<bool> {
    let is = |known: &[u8]| word.eq_ignore_ascii_case(known);
    match () {
        () if is(b"https") || is(b"wss") => Some(true),
        () if is(b"http") || is(b"ws") => Some(false),
        () => None,
    }
}

/// How `X-Forwarded-SSL` and uwsgi's HTTPS say yes (uWSGI: protocol.c, `uwsgi_parse_vars`).
#[must_use]
pub fn is_on(value: &[u8]) -> bool {
    value == b"1" || value.eq_ignore_ascii_case(b"on")
}

fn is_authority(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_authority_byte(*byte))
}

fn contradict<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

#[cfg(test)]
mod tests;
