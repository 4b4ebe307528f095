//! FastCGI and SCGI: what is served, what is refused, and that the way the bytes arrive changes nothing.
#![allow(clippy::unwrap_used)]

use empery_wire::{
    Limits, Parsed,
    fastcgi::{self, Head, Request, record, stdin::Decoder},
    framing::Body,
    limits::{GET_VALUES_MAX_BYTES, RECORDS_MAX_BYTES},
    scgi,
};
use proptest::prelude::*;

const LIMITS: Limits = Limits { head_max_bytes: 512, headers_max: 16, body_max_bytes: 1000 };

/// One record with as much padding as is said.
fn record(kind: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let [long_high, long_low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut bytes = vec![1, kind, high, low, long_high, long_low, padding, 0];
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len() + usize::from(padding), 0xee);
    bytes
}

fn begin(id: u16, role: u8, flags: u8) -> Vec<u8> {
    record(1, id, &[0, role, flags, 0, 0, 0, 0, 0], 0)
}

fn params(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        bytes.push(u8::try_from(name.len()).unwrap());
        // The long form of a length, as it may be used for any.
        bytes.extend_from_slice(&(0x8000_0000 | u32::try_from(value.len()).unwrap()).to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

fn head(id: u16, pairs: &[(&str, &str)]) -> Vec<u8> {
    [begin(id, 1, 1), record(4, id, &params(pairs), 3), record(4, id, b"", 0)].concat()
}

fn request(bytes: &[u8]) -> (Request, usize) {
    match fastcgi::parse(bytes, &LIMITS) {
        Parsed::Head { head: Head::Request(request), consumed } => (request, consumed),
        other => panic!("{other:?}"),
    }
}

/// None for "not yet", 0 for an answer without the app, 200 for a request, else the refusal.
fn status(bytes: &[u8]) -> Option<u16> {
    match fastcgi::parse(bytes, &LIMITS) {
        Parsed::NeedMore => None,
        Parsed::Head { head: Head::Request(_), .. } => Some(200),
        Parsed::Head { head: Head::Other { .. }, .. } => Some(0),
        Parsed::Bad(bad) => Some(bad.status),
    }
}

#[test]
fn a_fastcgi_request_is_understood_wherever_its_records_are_cut() {
    let all = params(&[("REQUEST_METHOD", "GET"), ("QUERY_STRING", ""), ("PATH_INFO", "/a b")]);
    for cut in 1..all.len() {
        let bytes = [
            begin(258, 1, 1),
            record(4, 258, &all[..cut], 5),
            record(4, 258, &all[cut..], 0),
            record(4, 258, b"", 8),
            record(5, 258, b"", 0),
            b"next".to_vec(),
        ]
        .concat();
        let (request, consumed) = request(&bytes);
        assert_eq!((request.request_id, request.keeps, request.body), (258, true, Body::Length(0)));
        assert_eq!(&bytes[consumed..], b"next");
        let vars: Vec<_> = request.params.iter().collect();
        let expected: [(&[u8], &[u8]); 3] =
            [(b"REQUEST_METHOD", b"GET"), (b"QUERY_STRING", b""), (b"PATH_INFO", b"/a b")];
        assert_eq!(vars, expected);
    }
}

#[test]
fn the_end_of_a_fastcgi_body_is_known_from_the_head() {
    let with = |length: &str, behind: &[u8]| {
        request(&[head(1, &[("CONTENT_LENGTH", length)]), behind.to_vec()].concat()).0.body
    };
    let records = |length| Body::Records { request_id: 1, length };
    assert_eq!(with("12", b""), records(Some(12)));
    assert_eq!(with("0", &record(5, 1, b"", 0)), Body::Length(0));
    assert_eq!(with("", &record(5, 1, b"", 200)), Body::Length(0));
    assert_eq!(with("", &record(5, 1, b"x", 0)[..8]), records(None), "a body whose length nobody knows");
    assert_eq!(status(&head(1, &[("CONTENT_LENGTH", "")])), None, "whether there is a body is not known yet");
}

#[test]
fn h14_what_is_no_fastcgi_request_never_becomes_one() {
    let good = head(1, &[("A", "b")]);
    for (what, bytes, expected) in [
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Some(400)),
        ("a later record of another version", [begin(1, 1, 0), b"\x02".to_vec()].concat(), Some(400)),
        ("a filter", begin(1, 3, 1), Some(0)),
        ("a BEGIN_REQUEST that is too short", record(1, 1, &[0, 1, 0], 0), Some(400)),
        ("a BEGIN_REQUEST of request 0", record(1, 0, &[0, 1, 0, 0, 0, 0, 0, 0], 0), Some(400)),
        ("STDIN before the parameters end", [begin(1, 1, 0), record(5, 1, b"x", 0)].concat(), Some(400)),
        ("BEGIN_REQUEST twice", [begin(1, 1, 0), begin(1, 1, 0)].concat(), Some(400)),
        ("DATA behind the parameters", [good.clone(), record(8, 1, b"x", 0)].concat(), Some(400)),
        ("a request given up in its head", [begin(1, 1, 0), record(2, 1, b"", 0)].concat(), Some(0)),
        (
            "a length beyond the parameters",
            [begin(1, 1, 0), record(4, 1, b"\x05\x01A", 0), record(4, 1, b"", 0)].concat(),
            Some(400),
        ),
        (
            "a huge length",
            [begin(1, 1, 0), record(4, 1, b"\xff\xff\xff\xff\xff\xff\xff\xffA", 0), record(4, 1, b"", 0)].concat(),
            Some(400),
        ),
        ("half a long length", [begin(1, 1, 0), record(4, 1, b"\x80\0", 0), record(4, 1, b"", 0)].concat(), Some(400)),
        ("a parameter without a name", head(1, &[("", "x")]), Some(400)),
        ("too many parameters", head(1, &[("A", "b"); 17]), Some(431)),
        ("parameters that are too long", [begin(1, 1, 0), record(4, 1, &[b'a'; 600], 0)].concat(), Some(431)),
        (
            "too many records",
            [begin(1, 1, 0), record(4, 1, b"a", 255).repeat(RECORDS_MAX_BYTES / 200)].concat(),
            Some(431),
        ),
        ("a body that is too long", head(1, &[("CONTENT_LENGTH", "1001")]), Some(413)),
        ("CONTENT_LENGTH with a sign", head(1, &[("CONTENT_LENGTH", "+1")]), Some(400)),
        ("two lengths", head(1, &[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "2")]), Some(400)),
        ("the same length twice", head(1, &[("CONTENT_LENGTH", "7"), ("CONTENT_LENGTH", "7")]), Some(200)),
        ("half a head", good[..good.len() - 1].to_vec(), None),
    ] {
        assert_eq!(status(&bytes), expected, "{what}");
    }
}

#[test]
fn what_is_asked_beside_a_request_is_answered() {
    let other = |bytes: &[u8]| match fastcgi::parse(bytes, &LIMITS) {
        Parsed::Head { head: Head::Other { answer, closes }, consumed } if consumed == bytes.len() => (answer, closes),
        parsed => panic!("{parsed:?}"),
    };
    let values = record(9, 0, b"\x0e\0FCGI_MAX_CONNS\x0f\0FCGI_MPXS_CONNS", 1);
    assert_eq!(other(&values), (record(10, 0, b"\x0f\x01FCGI_MPXS_CONNS0", 0), false));
    assert_eq!(other(&record(9, 0, b"\x01\0A", 0)), (record(10, 0, b"", 0), false));
    assert_eq!(other(&record(77, 0, b"abc", 0)), (record(11, 0, &[77, 0, 0, 0, 0, 0, 0, 0], 0), false));
    assert_eq!(other(&record(5, 9, b"of a request that is over", 0)), (Vec::new(), false));
    let mut unknown_role = Vec::new();
    record::end(5, record::Status::UnknownRole, &mut unknown_role);
    assert_eq!(other(&begin(5, 2, 1)), (unknown_role.clone(), false));
    assert_eq!(other(&begin(5, 2, 0)), (unknown_role, true));
    let beside = [begin(1, 1, 1), begin(2, 1, 1), values, record(4, 1, b"", 0), record(5, 1, b"", 0)].concat();
    let mut answer = Vec::new();
    record::end(2, record::Status::CannotMultiplex, &mut answer);
    answer.extend(record(10, 0, b"\x0f\x01FCGI_MPXS_CONNS0", 0));
    assert_eq!(request(&beside).0.answer, answer);
}

/// The body, whether it ended, and what is answered beside it.
fn body(
    length: Option<u64>,
    bytes: &[u8],
    step: usize,
    room: usize,
) -> Result<(Vec<u8>, usize, Vec<u8>), &'static str> {
    let mut decoder = Decoder::new(1, length);
    let (mut body, mut at, mut end) = (Vec::new(), 0, 0);
    let mut output = vec![0; room];
    while !decoder.is_done() {
        let progress = decoder.decode(&bytes[at..end], &mut output).map_err(|bad| bad.0)?;
        body.extend_from_slice(&output[..progress.written]);
        at += progress.read;
        if progress.read == 0 && progress.written == 0 && !decoder.is_done() {
            if end == bytes.len() {
                return Err("more is wanted");
            }
            end = (end + step).min(bytes.len());
        }
    }
    Ok((body, at, decoder.take_answer()))
}

#[test]
fn a_fastcgi_body_ends_where_its_records_say_and_is_as_long_as_was_said() {
    let good =
        [record(5, 1, b"hel", 7), record(5, 9, b"other", 1), record(5, 1, b"lo", 0), record(5, 1, b"", 2)].concat();
    for (step, room) in [(1, 1), (3, 2), (usize::MAX / 2, 64)] {
        assert_eq!(body(Some(5), &good, step, room), Ok((b"hello".to_vec(), good.len(), Vec::new())));
        assert_eq!(body(None, &good, step, room), Ok((b"hello".to_vec(), good.len(), Vec::new())));
        assert_eq!(body(Some(4), &good, step, room), Err("the body is longer than CONTENT_LENGTH"));
        assert_eq!(body(Some(6), &good, step, room), Err("the body ends before CONTENT_LENGTH"));
    }
    for (what, bytes, error) in [
        ("given up", record(2, 1, b"", 0), "the web server gave the request up"),
        ("parameters again", record(4, 1, b"x", 0), "a record that does not belong into a body"),
        ("another version", b"\x05".to_vec(), "a record of another version"),
        ("cut", good[..good.len() - 1].to_vec(), "more is wanted"),
        ("long question", record(9, 0, &[0; GET_VALUES_MAX_BYTES + 1], 0), "a GET_VALUES that is too long"),
    ] {
        assert_eq!(body(None, &bytes, 1, 8), Err(error), "{what}");
    }
    let asked = [begin(3, 1, 1), record(9, 0, b"\x0f\0FCGI_MPXS_CONNS", 3), record(5, 1, b"", 0)].concat();
    let (_, _, answer) = body(None, &asked, 1, 8).unwrap();
    assert_eq!(answer.len(), 16 + 8 + 18, "END_REQUEST for the second request and the answer to GET_VALUES");
}

fn netstring(vars: &[(&str, &str)]) -> Vec<u8> {
    let block: String = vars.iter().map(|(name, value)| format!("{name}\0{value}\0")).collect();
    format!("{}:{block},", block.len()).into_bytes()
}

#[test]
fn h14_an_scgi_head_is_understood_and_every_lie_is_refused() {
    let good =
        [netstring(&[("CONTENT_LENGTH", "27"), ("SCGI", "1"), ("REQUEST_URI", "/deep")]), b"body".to_vec()].concat();
    let Parsed::Head { head, consumed } = scgi::parse(&good, &LIMITS) else { panic!() };
    assert_eq!((head.body, head.vars.len(), &good[consumed..]), (Body::Length(27), 3, &b"body"[..]));
    let first = ("CONTENT_LENGTH", "0");
    let many: Vec<_> = [first, ("SCGI", "1")].into_iter().chain([("A", "b"); 15]).collect();
    for (what, bytes, expected) in [
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
        ("a uwsgi packet", b"\0\x05\0\0".to_vec(), 400),
        ("no length", b":,".to_vec(), 400),
        ("zeros in front", b"05:a\0b\0\0,".to_vec(), 400),
        ("a sign", b"+5:".to_vec(), 400),
        ("a length that never ends", b"123456789".to_vec(), 400),
        ("a length that is too long", b"513:".to_vec(), 431),
        ("no comma", b"3:a\0b;".to_vec(), 400),
        ("nothing", b"0:,".to_vec(), 400),
        ("another first variable", netstring(&[("SCGI", "1"), first]), 400),
        ("no SCGI", netstring(&[first]), 400),
        ("another SCGI", netstring(&[first, ("SCGI", "2")]), 400),
        ("a variable without a name", netstring(&[first, ("SCGI", "1"), ("", "x")]), 400),
        ("a value without its end", b"27:CONTENT_LENGTH\x000\0SCGI\x001\0a\0b,".to_vec(), 400),
        ("a length with a sign", netstring(&[("CONTENT_LENGTH", "+1"), ("SCGI", "1")]), 400),
        ("two lengths", netstring(&[first, ("CONTENT_LENGTH", "1"), ("SCGI", "1")]), 400),
        ("a body that is too long", netstring(&[("CONTENT_LENGTH", "1001"), ("SCGI", "1")]), 413),
        ("too many variables", netstring(&many), 431),
    ] {
        let Parsed::Bad(bad) = scgi::parse(&bytes, &LIMITS) else { panic!("{what} is understood") };
        assert_eq!(bad.status, expected, "{what}");
    }
}

fn records() -> impl Strategy<Value = Vec<u8>> {
    let piece = (0_u8..12, 0_u16..3, prop::collection::vec(0_u8..6, 0..20), 0_u8..4)
        .prop_map(|(kind, id, content, padding)| record(kind, id, &content, padding));
    let piece = prop_oneof![
        4 => piece,
        2 => (1_u16..3).prop_map(|id| begin(id, 1, 1)),
        2 => (1_u16..3, "[0-9]{0,2}").prop_map(|(id, length)| record(4, id, &params(&[("CONTENT_LENGTH", &length)]), 0)),
        2 => (1_u16..3).prop_map(|id| record(4, id, b"", 0)),
        1 => prop::collection::vec(any::<u8>(), 0..9),
    ];
    (prop::bool::ANY, prop::collection::vec(piece, 0..8)).prop_map(|(begins, pieces)| {
        let start = if begins { begin(1, 1, 1) } else { Vec::new() };
        [start, pieces.concat()].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fastcgi_head_means_the_same_however_it_arrives(bytes in records()) {
        let limits = Limits { head_max_bytes: 64, headers_max: 4, body_max_bytes: 0 };
        let whole = fastcgi::parse(&bytes, &limits);
        let first = (0..=bytes.len()).map(|end| fastcgi::parse(&bytes[..end], &limits)).find(|parsed| *parsed != Parsed::NeedMore).unwrap_or(Parsed::NeedMore);
        match (&whole, &first) {
            (Parsed::Bad(_), Parsed::Bad(_)) => {}
            _ => prop_assert_eq!(whole, first),
        }
    }

    #[test]
    fn a_fastcgi_body_means_the_same_however_it_arrives(bytes in records(), length in prop::option::of(0_u64..40), step in 1_usize..9, room in 1_usize..9) {
        prop_assert_eq!(body(length, &bytes, step, room), body(length, &bytes, bytes.len().max(1), 4096));
    }

    #[test]
    fn an_scgi_head_means_the_same_however_it_arrives(
        block in "(CONTENT_LENGTH\0[0-9]{0,2}\0)?(SCGI\x001\0)?([A-C]?\0?[a-c]?\0?){0,5}",
        off in -1_i64..2,
        end in "[,;]?.{0,5}",
    ) {
        let bytes = format!("{}:{block}{end}", (block.len() as i64 + off).max(0)).into_bytes();
        let whole = scgi::parse(&bytes, &LIMITS);
        let first = (0..=bytes.len()).map(|end| scgi::parse(&bytes[..end], &LIMITS)).find(|parsed| *parsed != Parsed::NeedMore).unwrap_or(Parsed::NeedMore);
        prop_assert_eq!(whole, first);
    }
}
