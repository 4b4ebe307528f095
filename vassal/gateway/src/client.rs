//! What the workers are told of a client: the same for all its requests, so it is written down once per connection. On the
//! private socket the workers believe these headers; whatever a client itself sends under these names is dropped.

use std::net::SocketAddr;

use empery_wire::gateway::{PEER, SCHEME};
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use rustls::pki_types::CertificateDer;

use crate::der;

const CLIENT_SUBJECT: HeaderName = HeaderName::from_static("x-empery-tls-client-s-dn");
const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-empery-tls-client-cert");

/// See the module.
pub(crate) struct Client {
    facts: Vec<(HeaderName, HeaderValue)>,
}

impl Client {
    /// A client that came over TLS.
    pub(crate) fn new(peer: SocketAddr, certificate: Option<&CertificateDer<'_>>, export: bool) -> Self {
        let mut facts = vec![(HeaderName::from_static(SCHEME), HeaderValue::from_static("https"))];
        let mut add = |name: HeaderName, value: String| {
            // What has no place in a header is not said.
            facts.extend(HeaderValue::try_from(value).map(|value| (name, value)));
        };
        add(HeaderName::from_static(PEER), peer.to_string());
        if let Some(certificate) = certificate {
            if let Some(known) = der::facts(certificate) {
                add(CLIENT_SUBJECT, known.subject);
            }
            if export {
                add(CLIENT_CERTIFICATE, base64(certificate));
            }
        }
        Self { facts }
    }

    /// Adds them to a request's head.
    pub(crate) fn introduce(&self, headers: &mut HeaderMap) {
        headers.reserve(self.facts.len());
        for (name, value) in &self.facts {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            match place > group.len() {
                true => text.push('='),
                false => text.push(char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63])),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
