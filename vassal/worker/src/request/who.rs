//! Who an HTTP request comes from: the other end of the connection, or whom the gateway of this vassal or a trusted proxy
//! names instead. Decided once, before environ is made of it.

use std::net::SocketAddr;

use empery_wire::{
    Bad,
    forwarded::{self, Heard, Trusted},
    gateway::{self, Fact},
    http::Header,
};

use crate::serve::connection::Connection;

/// What a variable says.
fn parsed<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The answer.
#[derive(Default)]
pub(super) struct Who<'b> {
    /// REMOTE_ADDR and REMOTE_PORT; None on a unix socket.
    pub(super) peer: Option<SocketAddr>,
    pub(super) is_https: bool,
    /// The Host that a trusted proxy was asked for.
    pub(super) host: Option<&'b [u8]>,
    /// Facts about the TLS session: the name behind the prefix, and the value.
    pub(super) tls: Vec<(&'b str, &'b [u8])>,
    /// Whether headers that speak for a client are kept from the app: their sender is not trusted.
    pub(super) hides_forwarded: bool,
}

impl<'b> Who<'b> {
    /// Of the headers of a request.
    ///
    /// # Errors
    /// When trusted headers contradict each other.
    pub(super) fn of(
        connection: &Connection,
        trusted: &Trusted,
        from_gateway: bool,
        headers: &[Header<'b>],
    ) -> Result<Self, Bad> {
        let is_https = connection.proxied.is_some_and(|proxied| proxied.is_https);
        let mut who = Who { peer: connection.peer, is_https, ..Who::default() };
        let mut heard = Heard::default();
        for header in headers {
            if let Some(kind) = forwarded::kind(header.name) {
                heard.header(kind, header.value);
            } else if from_gateway && gateway::is_reserved(header.name) {
                match gateway::fact(header.name, header.value) {
                    Some(Fact::Peer(peer)) => who.peer = Some(peer),
                    Some(Fact::Https) => who.is_https = true,
                    Some(Fact::Tls { name, value }) => who.tls.push((name, value)),
                    None => {}
                }
            }
        }
        who.believe(&heard, trusted)?;
        Ok(who)
    }

    /// Of the variables of a web server, which says itself who its client is. Nobody asks for the address of one for whom nobody
    /// else has spoken, unless it is said who is trusted.
    ///
    /// # Errors
    /// When trusted headers contradict each other.
    pub(super) fn of_vars(vars: &[(&'b [u8], &'b [u8])], trusted: &Trusted) -> Result<Self, Bad> {
        let mut who = Who::default();
        let mut heard = Heard::default();
        let (mut address, mut port) = (None, None);
        for (key, value) in vars {
            match *key {
                b"REMOTE_ADDR" => address = Some(*value),
                b"REMOTE_PORT" => port = Some(*value),
                b"HTTPS" => who.is_https |= forwarded::is_on(value),
                _ => {
                    if let Some(kind) = forwarded::kind_of_variable(key) {
                        heard.header(kind, value);
                    }
                }
            }
        }
        if trusted.is_said() || !heard.is_empty() {
            let port = port.and_then(parsed).unwrap_or(0);
            who.peer = address.and_then(parsed).map(|address| SocketAddr::new(address, port));
        }
        who.believe(&heard, trusted)?;
        Ok(who)
    }

    fn believe(&mut self, heard: &Heard<'b>, trusted: &Trusted) -> Result<(), Bad> {
        let direct = self.peer.map(|peer| peer.ip());
        if !trusted.covers(direct) {
            self.hides_forwarded = trusted.is_said();
            return Ok(());
        }
        if !trusted.is_said() {
            self.is_https |= heard.says_https();
            return Ok(());
        }
        let client = heard.client(direct, trusted)?;
        self.peer = client.address.or(self.peer);
        self.is_https = client.is_https.unwrap_or(self.is_https);
        self.host = client.host;
        Ok(())
    }

    /// Whether a variable is for the app to see.
    pub(super) fn shows_variable(&self, key: &[u8]) -> bool {
        !(self.hides_forwarded && forwarded::kind_of_variable(key).is_some())
    }

    /// Whether a header is for the app to see.
    pub(super) fn shows(&self, name: &str) -> bool {
        !(gateway::is_reserved(name) || (self.hides_forwarded && forwarded::kind(name).is_some()))
    }
}
