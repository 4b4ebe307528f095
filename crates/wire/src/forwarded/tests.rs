//! Whose word is taken for what.

use super::*;

fn trusted(networks: &[(&str, u8)]) -> Trusted {
    Trusted::new(Some(networks.iter().map(|(address, bits)| (address.parse().unwrap(), *bits)).collect()))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn heard<'b>(headers: &[(&str, &'b str)]) -> Heard<'b> {
    let mut heard = Heard::default();
    for (name, value) in headers {
        heard.header(kind(name).unwrap(), value.as_bytes());
    }
    heard
}

#[test]
fn a_range_holds_what_shares_its_bits() {
    let trusted = trusted(&[("10.1.0.0", 16), ("192.0.2.7", 32), ("2001:db8::", 32), ("::1", 128)]);
    for (address, expected) in [
        ("10.1.255.1", true),
        ("10.2.0.1", false),
        ("192.0.2.7", true),
        ("192.0.2.6", false),
        ("2001:db8:1::", true),
        ("2001:db9::", false),
        ("::1", true),
        ("::2", false),
        ("::ffff:10.1.0.1", true),
        ("127.0.0.1", false),
    ] {
        assert_eq!(trusted.covers(Some(ip(address))), expected, "{address}");
    }
    let all = super::tests::trusted(&[("0.0.0.0", 0)]);
    assert!(all.covers(Some(ip("203.0.113.1"))) && !all.covers(Some(ip("::1"))));
    assert!(!Trusted::new(Some(Vec::new())).covers(Some(ip("127.0.0.1"))));
    assert!(Trusted::default().covers(Some(ip("127.0.0.1"))) && !Trusted::default().covers(Some(ip("10.0.0.1"))));
}

#[test]
fn entries_are_followed_from_the_last_as_long_as_their_writer_is_trusted() {
    let proxies = trusted(&[("10.0.0.0", 8)]);
    let client = |peer: &str, value: &str| {
        let heard = heard(&[("X-Forwarded-For", value)]);
        heard.client(Some(ip(peer)), &proxies).unwrap().address.map(|address| address.to_string())
    };
    for (peer, value, expected) in [
        ("10.0.0.1", "203.0.113.9", Some("203.0.113.9:0")),
        // Whatever a client forged stands before what the proxy wrote.
        ("10.0.0.1", "127.0.0.1, 203.0.113.9", Some("203.0.113.9:0")),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", Some("203.0.113.9:0")),
        ("10.0.0.1", "203.0.113.9:4711", Some("203.0.113.9:4711")),
        ("10.0.0.1", "[2001:db8::1]:80", Some("[2001:db8::1]:80")),
        ("10.0.0.1", "[2001:db8::1]", Some("[2001:db8::1]:0")),
        ("10.0.0.1", "2001:db8::1", Some("[2001:db8::1]:0")),
        ("10.0.0.1", "203.0.113.9, unknown", None),
        ("10.0.0.1", "203.0.113.9, unknown, 10.0.0.2", Some("10.0.0.2:0")),
        ("10.0.0.1", "", None),
        ("10.0.0.1", "203.0.113.9,", None),
        ("203.0.113.1", "198.51.100.1", None),
    ] {
        assert_eq!(client(peer, value).as_deref(), expected, "{peer} says {value:?}");
    }
}

#[test]
fn scheme_and_host_are_those_that_the_same_proxy_wrote() {
    let proxies = trusted(&[("10.0.0.0", 8)]);
    let two = heard(&[
        ("X-Forwarded-For", "203.0.113.9, 10.0.0.2"),
        ("X-Forwarded-Proto", "http, https, http"),
        ("X-Forwarded-Host", "forged, shop.example, inner"),
    ]);
    let client = two.client(Some(ip("10.0.0.1")), &proxies).unwrap();
    assert_eq!((client.is_https, client.host), (Some(true), Some(&b"shop.example"[..])));
    let one = heard(&[("X-Forwarded-For", "203.0.113.9, 10.0.0.2"), ("X-Forwarded-Proto", "https")]);
    assert_eq!(one.client(Some(ip("10.0.0.1")), &proxies).unwrap().is_https, Some(true));
    let odd = heard(&[("X-Forwarded-Proto", "gopher"), ("X-Forwarded-Host", "a b")]);
    assert_eq!(odd.client(Some(ip("10.0.0.1")), &proxies).unwrap(), Client::default());
}

#[test]
fn forwarded_is_read_as_its_rfc_says() {
    let proxies = trusted(&[("10.0.0.0", 8)]);
    for (value, address, is_https, host) in [
        ("for=192.0.2.60;proto=https;by=203.0.113.43", Some("192.0.2.60:0"), Some(true), None),
        ("For=\"[2001:db8:cafe::17]:4711\"", Some("[2001:db8:cafe::17]:4711"), None, None),
        ("for=192.0.2.43, for=198.51.100.17;host=\"a:80\"", Some("198.51.100.17:0"), None, Some("a:80")),
        ("for=192.0.2.43;proto=https, for=10.0.0.2;proto=http", Some("192.0.2.43:0"), Some(true), None),
        ("for=\"a,b;c\", for=192.0.2.1", Some("192.0.2.1:0"), None, None),
        ("for=unknown;proto=https", None, Some(true), None),
        ("for=_hidden", None, None, None),
        ("for=192.0.2.1;for=192.0.2.2", None, None, None),
        ("for=\"192.0.2.1", None, None, None),
        ("192.0.2.1", None, None, None),
        ("", None, None, None),
    ] {
        let heard = heard(&[("Forwarded", value)]);
        let client = heard.client(Some(ip("10.0.0.1")), &proxies).unwrap();
        assert_eq!(client.address.map(|address| address.to_string()).as_deref(), address, "{value:?}");
        assert_eq!((client.is_https, client.host), (is_https, host.map(str::as_bytes)), "{value:?}");
    }
}

#[test]
fn two_headers_that_contradict_each_other_are_refused() {
    let proxies = trusted(&[("10.0.0.0", 8)]);
    let said = |headers: &[(&str, &str)]| heard(headers).client(Some(ip("10.0.0.1")), &proxies).is_ok();
    assert!(said(&[("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1:99;proto=https")]));
    assert!(!said(&[("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=127.0.0.1")]));
    assert!(!said(&[("X-Forwarded-Proto", "http"), ("Forwarded", "proto=https")]));
    assert!(!said(&[("X-Forwarded-Host", "a"), ("Forwarded", "host=b")]));
}

#[test]
fn without_a_word_about_trust_only_the_scheme_is_read() {
    assert!(heard(&[("X-Forwarded-Proto", "HTTPS")]).says_https());
    assert!(heard(&[("X-Forwarded-SSL", "on")]).says_https());
    assert!(
        !heard(&[("X-Forwarded-Proto", "http"), ("X-Forwarded-SSL", "off"), ("Forwarded", "proto=https")]).says_https()
    );
}
