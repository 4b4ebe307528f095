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
        let mut who = Who { peer: connection.peer, ..Who::default() };
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
        let direct = who.peer.map(|peer| peer.ip());
        if !trusted.covers(direct) {
            who.hides_forwarded = trusted.is_said();
            return Ok(who);
        }
        if !trusted.is_said() {
            who.is_https |= heard.says_https();
            return Ok(who);
        }
        let client = heard.client(direct, trusted)?;
        who.peer = client.address.or(who.peer);
        who.is_https = client.is_https.unwrap_or(who.is_https);
        who.host = client.host;
        Ok(who)
    }

    /// Whether a header is for the app to see.
    pub(super) fn shows(&self, name: &str) -> bool {
        !(gateway::is_reserved(name) || (self.hides_forwarded && forwarded::kind(name).is_some()))
    }
}
