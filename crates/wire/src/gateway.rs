//! What the gateway that terminates TLS says of its client, in headers that it puts before the request is passed on. They
//! count only on the private socket of that gateway; whoever else sends one is not heard, here and in the gateway.

use std::net::SocketAddr;

/// What every name of the gateway begins with.
pub const PREFIX: &str = "x-empery-";

/// Address and port of the client, `192.0.2.1:4711` or `[2001:db8::1]:4711`.
pub const PEER: &str = "x-empery-peer";

/// `https` when the client came over TLS.
pub const SCHEME: &str = "x-empery-scheme";

/// What the names of TLS facts begin with; what follows is the variable, `x-empery-tls-client-s-dn` is `SSL_CLIENT_S_DN`.
pub const TLS_PREFIX: &str = "x-empery-tls-";

/// One fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact<'b> {
    /// Where the client is.
    Peer(SocketAddr),
    /// It came over TLS.
    Https,
    /// About its TLS session.
    Tls {
        /// What follows the prefix in the header's name.
        name: &'b str,
        /// The value.
        value: &'b [u8],
    },
}

/// Whether a header is the gateway's to send.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    begins_with(name, PREFIX)
}

/// What such a header says; None when it says nothing that is known.
#[must_use]
pub fn fact<'b>(name: &'b str, value: &'b [u8]) -> Option<Fact<'b>> {
    if name.eq_ignore_ascii_case(PEER) {
        return std::str::from_utf8(value).ok()?.parse().ok().map(Fact::Peer);
    }
    if name.eq_ignore_ascii_case(SCHEME) {
        return (value == b"https").then_some(Fact::Https);
    }
    (begins_with(name, TLS_PREFIX) && name.len() > TLS_PREFIX.len())
        .then(|| Fact::Tls { name: &name[TLS_PREFIX.len()..], value })
}

/// The CGI variable of a TLS fact, as mod_ssl names them: `client-s-dn` is `SSL_CLIENT_S_DN`.
fn tls_variable(name: &str) -> String {
    let mut variable = String::with_capacity(4 + name.len());
    variable.push_str("SSL_");
    variable.extend(name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_uppercase() }));
    variable
}

/// The variables of a TLS fact as mod_ssl and as uWSGI's router name them, and their value: a certificate, which a header
/// can only hold as one line of base64, becomes PEM again.
#[must_use]
pub fn tls_variables(name: &str, value: &[u8]) -> (String, Option<&'static str>, Vec<u8>) {
    let (uwsgi, value) = match name {
        "client-s-dn" => (Some("HTTPS_DN"), value.to_vec()),
        "client-cert" => (Some("HTTPS_CC"), pem(value)),
        _ => (None, value.to_vec()),
    };
    (tls_variable(name), uwsgi, value)
}

/// RFC 7468, section 5: lines of 64 characters.
fn pem(base64: &[u8]) -> Vec<u8> {
    let mut text = b"-----BEGIN CERTIFICATE-----\n".to_vec();
    for line in base64.chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(b"-----END CERTIFICATE-----\n");
    text
}

fn begins_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_is_pem_again_and_has_uwsgis_names_too() {
        let (name, uwsgi, value) = tls_variables("client-cert", &[b'A'; 65]);
        assert_eq!((name.as_str(), uwsgi), ("SSL_CLIENT_CERT", Some("HTTPS_CC")));
        let text = format!("-----BEGIN CERTIFICATE-----\n{}\nA\n-----END CERTIFICATE-----\n", "A".repeat(64));
        assert_eq!(value, text.as_bytes());
        let (_, uwsgi, value) = tls_variables("client-s-dn", b"/CN=a");
        assert_eq!((uwsgi, value.as_slice()), (Some("HTTPS_DN"), &b"/CN=a"[..]));
        assert_eq!(tls_variables("protocol", b"TLSv1.3").1, None);
    }

    #[test]
    fn the_gateways_headers_are_told_from_all_others() {
        assert_eq!(fact("X-Empery-Peer", b"192.0.2.1:80"), Some(Fact::Peer(([192, 0, 2, 1], 80).into())));
        assert_eq!(fact("x-empery-peer", b"192.0.2.1"), None);
        assert_eq!(fact("x-empery-scheme", b"https"), Some(Fact::Https));
        assert_eq!(fact("x-empery-scheme", b"http"), None);
        let Some(Fact::Tls { name, value: b"CN=a" }) = fact("x-empery-tls-client-s-dn", b"CN=a") else { panic!() };
        assert_eq!(tls_variable(name), "SSL_CLIENT_S_DN");
        assert_eq!(fact("x-empery-tls-", b"a"), None);
        for (name, reserved) in
            [("X-EMPERY-", true), ("x-empery-anything", true), ("x-empery", false), ("x-emperor-a", false), ("", false)]
        {
            assert_eq!(is_reserved(name), reserved, "{name:?}");
        }
    }
}
