//! The PROXY protocol: what is understood, what is refused, and that the way it arrives changes nothing.
#![allow(clippy::unwrap_used)]

use empery_wire::{
    Parsed,
    limits::PROXY_V2_MAX_BYTES,
    proxy::{Head, parse},
};
use proptest::prelude::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &u16::try_from(rest.len()).unwrap().to_be_bytes(), rest].concat()
}

fn understood(bytes: &[u8]) -> Option<Head> {
    match parse(bytes) {
        Parsed::Head { head, consumed } => {
            assert_eq!(consumed, bytes.len(), "{bytes:?}");
            Some(head)
        }
        Parsed::NeedMore => panic!("{bytes:?} is waited for"),
        Parsed::Bad(_) => None,
    }
}

fn client(bytes: &[u8]) -> Option<String> {
    understood(bytes).and_then(|head| head.client).map(|client| client.to_string())
}

#[test]
fn h13_version_1_is_read_to_the_letter() {
    for (line, expected) in [
        ("PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n", Some("203.0.113.9:4711")),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", Some("[2001:db8::1]:1")),
        ("PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n", Some("10.0.0.1:1")),
    ] {
        assert_eq!(client(line.as_bytes()).as_deref(), expected, "{line:?}");
    }
    for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"] {
        assert_eq!(understood(line.as_bytes()), Some(Head::default()), "{line:?}");
    }
    for line in [
        "PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 4711  80\r\n",
        "PROXY TCP4  203.0.113.9 192.0.2.1 4711 80\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 4711 80 \r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 4711\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 65536 80\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 +1 80\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 01 80\r\n",
        "PROXY TCP4 203.0.113.09 192.0.2.1 1 80\r\n",
        "PROXY TCP4 2001:db8::1 192.0.2.1 1 80\r\n",
        "PROXY TCP6 203.0.113.9 192.0.2.1 1 80\r\n",
        "PROXY UDP4 203.0.113.9 192.0.2.1 1 80\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "proxy TCP4 203.0.113.9 192.0.2.1 1 80\r\n",
        "PROXZ",
        "POST / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "\0\x05\0\0",
    ] {
        assert_eq!(understood(line.as_bytes()), None, "{line:?}");
    }
    assert_eq!(understood(format!("PROXY UNKNOWN {}", "a".repeat(200)).as_bytes()), None);
}

#[test]
fn h13_version_2_is_read_to_the_letter() {
    let four = [203, 0, 113, 9, 192, 0, 2, 1, 0x12, 0x67, 0, 80];
    assert_eq!(client(&v2(0x21, 0x11, &four)).as_deref(), Some("203.0.113.9:4711"));
    let mut six = vec![0; 36];
    (six[0], six[1], six[15], six[33]) = (0x20, 0x01, 7, 5);
    assert_eq!(client(&v2(0x21, 0x21, &six)).as_deref(), Some("[2001::7]:5"));
    for nobody in [v2(0x20, 0x00, b""), v2(0x20, 0x11, b"x"), v2(0x21, 0x00, b"anything"), v2(0x21, 0x31, &[0; 216])] {
        assert_eq!(understood(&nobody), Some(Head::default()), "{nobody:?}");
    }
    let with = |tlv: &[u8]| v2(0x21, 0x11, &[&four[..], tlv].concat());
    assert!(understood(&with(&[0x20, 0, 5, 1, 0, 0, 0, 0])).unwrap().is_https);
    assert!(!understood(&with(&[0x20, 0, 5, 4, 0, 0, 0, 0])).unwrap().is_https);
    assert!(!understood(&with(&[0xea, 0, 1, 1])).unwrap().is_https);
    for bad in [
        v2(0x11, 0x11, &four),
        v2(0x22, 0x11, &four),
        v2(0x21, 0x12, &four),
        v2(0x21, 0x11, &four[..11]),
        v2(0x21, 0x21, &six[..35]),
        v2(0x21, 0x31, &[0; 215]),
        with(&[0x20]),
        with(&[0x20, 0, 9, 1]),
        with(&[0x20, 0, 0]),
        v2(0x21, 0x11, &vec![0; PROXY_V2_MAX_BYTES + 1]),
        b"\r\n\r\n\0\r\nQUIX".to_vec(),
        b"\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        assert_eq!(understood(&bad), None, "{bad:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_proxy_header_means_the_same_however_it_arrives(
        family in prop::sample::select(vec![0x00_u8, 0x11, 0x21, 0x31, 0x99]),
        command in 0x1f_u8..0x23,
        rest in prop::collection::vec(any::<u8>(), 0..260),
        line in "PROXY (TCP4|TCP6|UNKNOWN|X) ?[0-9a-f.: ]{0,50}\r?\n?.{0,70}",
    ) {
        for bytes in [v2(command, family, &rest), line.into_bytes()] {
            let whole = parse(&bytes);
            let first = (0..=bytes.len()).map(|end| parse(&bytes[..end])).find(|parsed| *parsed != Parsed::NeedMore).unwrap_or(Parsed::NeedMore);
            prop_assert_eq!(whole, first);
        }
    }
}
