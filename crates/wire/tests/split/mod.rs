//! What bytes mean must not depend on how they arrive: each function here takes bytes as a client might send them, has them
//! understood whole and in pieces, and panics where the two disagree. Used by the tests beside it and by the targets of
//! `fuzz/`, which find the bytes.
#![allow(dead_code, clippy::panic)]

use std::fmt::Debug;

use empery_wire::{Limits, Parsed, chunked, fastcgi, http, proxy, scgi, uwsgi};

/// Small enough that inputs reach them.
const LIMITS: Limits = Limits { head_max_bytes: 1024, headers_max: 16, body_max_bytes: 100_000 };

/// Up to here every piece is tried; of longer inputs this many, chosen by their bytes.
const PIECES_MAX: usize = 256;

/// By its name.
pub(crate) fn check(target: &str, bytes: &[u8]) {
    match target {
        "http" => http(bytes),
        "uwsgi" => head(bytes, |bytes| uwsgi::parse(bytes, &LIMITS)),
        "fastcgi" => fastcgi(bytes),
        "scgi" => head(bytes, |bytes| scgi::parse(bytes, &LIMITS)),
        "chunked" => chunked(bytes),
        "proxy" => head(bytes, proxy::parse),
        other => panic!("no target {other:?}"),
    }
}

/// All targets.
pub(crate) const TARGETS: [&str; 6] = ["http", "uwsgi", "fastcgi", "scgi", "chunked", "proxy"];

fn http(bytes: &[u8]) {
    head(bytes, |bytes| http::parse(bytes, &LIMITS));
    let Parsed::Head { head, consumed } = http::parse(bytes, &LIMITS) else { return };
    // What was understood can be said in one way only: the same head, spelled out, is the same head.
    let mut spelled = format!("{} ", head.method).into_bytes();
    spelled.extend_from_slice(head.target.whole);
    spelled.extend_from_slice(format!(" HTTP/1.{}\r\n", head.minor_version).as_bytes());
    for header in &head.headers {
        spelled.extend_from_slice(&[header.name.as_bytes(), b": ", header.value, b"\r\n"].concat());
    }
    spelled.extend_from_slice(b"\r\n");
    let wide = Limits { head_max_bytes: LIMITS.head_max_bytes * 4, ..LIMITS };
    match http::parse(&spelled, &wide) {
        Parsed::Head { head: again, consumed } => {
            assert_eq!(again, head);
            assert_eq!(consumed, spelled.len());
        }
        other => panic!("{head:?} of {consumed} bytes, spelled out, is {other:?}"),
    }
    assert!(!head.headers.iter().any(|header| header.name.contains('_')), "{head:?}");
    assert!(!bytes[..consumed].windows(2).any(|two| two[1] == b'\n' && two[0] != b'\r'), "a bare LF is understood");
}

fn head<'b, H: PartialEq + Debug>(bytes: &'b [u8], parse: impl Fn(&'b [u8]) -> Parsed<H>) {
    let whole = parse(bytes);
    let mut first = None;
    for end in ends(bytes) {
        match parse(&bytes[..end]) {
            Parsed::NeedMore if first.is_some() => panic!("more is wanted at {end} after an answer before"),
            Parsed::NeedMore => {}
            parsed => {
                let known = first.get_or_insert(parsed);
                let parsed = parse(&bytes[..end]);
                assert!(agree(known, &parsed), "at {end}: {known:?} became {parsed:?}");
            }
        }
    }
    match first {
        None => assert!(whole == Parsed::NeedMore || ends(bytes).last() != Some(bytes.len()), "{whole:?} of nothing"),
        Some(first) => assert!(agree(&first, &whole), "in pieces {first:?}, whole {whole:?}"),
    }
    if let Parsed::Head { consumed, .. } = whole {
        assert!(consumed <= bytes.len());
    }
}

/// The reason of a refusal may become another when more is known; that it is one may not.
fn agree<H: PartialEq>(one: &Parsed<H>, other: &Parsed<H>) -> bool {
    matches!((one, other), (Parsed::Bad(_), Parsed::Bad(_))) || one == other
}

/// Where input ends for now, in ascending order; the whole is the last.
fn ends(bytes: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let length = bytes.len();
    let mut seed = bytes.iter().fold(0x9e37_79b9_u64, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte));
    let mut ends: Vec<usize> = if length <= PIECES_MAX {
        (0..length).collect()
    } else {
        (0..PIECES_MAX).map(|_| (next(&mut seed) as usize) % length).collect()
    };
    ends.sort_unstable();
    ends.push(length);
    ends.into_iter()
}

/// SplitMix64.
pub(crate) fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A body: what came out, how much was read, and how it ended.
#[derive(Debug, PartialEq)]
struct Decoded {
    body: Vec<u8>,
    read: usize,
    ending: Result<bool, &'static str>,
}

/// A decoder that is fed pieces: bytes read and written.
type Decode<'d> = &'d mut dyn FnMut(&[u8], &mut [u8]) -> Result<(usize, usize, bool), &'static str>;

fn decoded(bytes: &[u8], piece: usize, room: usize, decode: Decode<'_>) -> Decoded {
    let mut done = Decoded { body: Vec::new(), read: 0, ending: Ok(false) };
    let mut output = vec![0; room];
    let mut end = 0;
    loop {
        match decode(&bytes[done.read..end], &mut output) {
            Err(reason) => {
                done.ending = Err(reason);
                // How far it had come before the byte that broke it depends on the pieces; what came out does not, but for
                // what the last call had written.
                done.read = 0;
                return done;
            }
            Ok((read, written, ended)) => {
                assert!(read <= end - done.read && written <= room);
                done.read += read;
                done.body.extend_from_slice(&output[..written]);
                if ended {
                    done.ending = Ok(true);
                    return done;
                }
                if read == 0 && written == 0 {
                    if end == bytes.len() {
                        return done;
                    }
                    end = (end + piece).min(bytes.len());
                }
            }
        }
    }
}

fn in_pieces(
    bytes: &[u8],
    make: impl Fn() -> Box<dyn FnMut(&[u8], &mut [u8]) -> Result<(usize, usize, bool), &'static str>>,
) {
    let whole = decoded(bytes, bytes.len().max(1), bytes.len().max(1), &mut *make());
    let one = decoded(bytes, 1, 1, &mut *make());
    let mut seed = bytes.len() as u64;
    let some = decoded(bytes, next(&mut seed) as usize % 17 + 1, next(&mut seed) as usize % 13 + 1, &mut *make());
    for other in [one, some] {
        assert_eq!((whole.read, &whole.ending), (other.read, &other.ending));
        if whole.ending.is_ok() {
            assert_eq!(whole.body, other.body);
        }
    }
}

fn chunked(bytes: &[u8]) {
    in_pieces(bytes, || {
        let mut decoder = chunked::Decoder::default();
        Box::new(move |input, output| {
            let progress = decoder.decode(input, output).map_err(|bad| bad.0)?;
            Ok((progress.read, progress.written, decoder.is_done()))
        })
    });
}

fn fastcgi(bytes: &[u8]) {
    head(bytes, |bytes| fastcgi::parse(bytes, &LIMITS));
    let length = bytes.first().map(|byte| u64::from(*byte)).filter(|length| *length < 200);
    in_pieces(bytes.get(1..).unwrap_or_default(), || {
        let mut decoder = fastcgi::stdin::Decoder::new(1, length);
        Box::new(move |input, output| {
            let progress = decoder.decode(input, output).map_err(|bad| bad.0)?;
            Ok((progress.read, progress.written, decoder.is_done()))
        })
    });
}
