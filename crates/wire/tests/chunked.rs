//! The chunked coding: strict in every byte, and indifferent to how the bytes arrive.

use empery_wire::{
    chunked::Decoder,
    limits::{CHUNK_EXTENSION_MAX_BYTES, CHUNK_EXTENSIONS_MAX_BYTES, TRAILERS_MAX_BYTES},
};
use proptest::prelude::*;

/// The body and what was left over; None when the coding is broken; an unfinished body has nothing left over.
fn decode(input: &[u8], read_bytes: usize, write_bytes: usize) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let mut decoder = Decoder::default();
    let (mut body, mut at) = (Vec::new(), 0);
    let mut out = vec![0; write_bytes];
    loop {
        let end = input.len().min(at + read_bytes);
        let progress = decoder.decode(&input[at..end], &mut out).ok()?;
        body.extend_from_slice(&out[..progress.written]);
        at += progress.read;
        if decoder.is_done() {
            return Some((body, Some(input[at..].to_vec())));
        }
        if at == input.len() && progress.written == 0 {
            return Some((body, None));
        }
    }
}

#[test]
fn a_body_is_decoded_and_the_next_request_left_alone() {
    let wire = b"3\r\nabc\r\nA;x=\"y\";z\r\n0123456789\r\n000\r\nTrailer: 1\r\nOther: 2\r\n\r\nGET /";
    for (read, write) in [(1, 1), (2, 3), (7, 2), (100, 100)] {
        assert_eq!(
            decode(wire, read, write),
            Some((b"abc0123456789".to_vec(), Some(b"GET /".to_vec()))),
            "{read} {write}"
        );
    }
}

#[test]
fn every_odd_byte_breaks_the_coding() {
    for wire in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "1_0\r\nabc\r\n",
        " 3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "\r\nabc\r\n",
        ";x\r\n",
        "3\nabc\r\n",
        "3\r\nabc\n",
        "3\r\nabcd\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3\r\nabcXX",
        "3;a\nb\r\nabc\r\n",
        "3;\0\r\nabc",
        "11111111111111111\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "0\r\n\n",
        "0\r\nT: 1\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nnocolon\r\n\r\n",
        "0\r\n: no name\r\n\r\n",
        "0\r\nT : 1\r\n\r\n",
        "0\r\n T: 1\r\n\r\n",
        "0\r\nT: 1\r\n folded\r\n\r\n",
        "0\r\n\u{e9}: 1\r\n\r\n",
        "0\r\n\rX",
        "0\r\n\0",
        "g\r\n",
    ] {
        assert_eq!(decode(wire.as_bytes(), 1, 8), None, "{wire:?}");
        assert_eq!(decode(wire.as_bytes(), 99, 8), None, "{wire:?}");
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let extension = |bytes: u32| format!("1;{}\r\na\r\n", "x".repeat(bytes as usize - 1));
    assert!(decode(extension(CHUNK_EXTENSION_MAX_BYTES).as_bytes(), 99, 9).is_some());
    assert!(decode(extension(CHUNK_EXTENSION_MAX_BYTES + 1).as_bytes(), 99, 9).is_none());
    let many =
        extension(CHUNK_EXTENSION_MAX_BYTES).repeat((CHUNK_EXTENSIONS_MAX_BYTES / CHUNK_EXTENSION_MAX_BYTES) as usize);
    assert!(decode(many.as_bytes(), 99, 9).is_some());
    assert!(decode(format!("{many}1;x\r\n").as_bytes(), 99, 9).is_none());
    assert!(
        decode(format!("0\r\n{}", "T: v\r\n".repeat(TRAILERS_MAX_BYTES as usize / 4 + 1)).as_bytes(), 99, 9).is_none()
    );
}

#[test]
fn a_broken_body_stays_broken() {
    let mut decoder = Decoder::default();
    assert!(decoder.decode(b"zz", &mut [0; 4]).is_err());
    assert!(decoder.decode(b"3\r\nabc\r\n", &mut [0; 4]).is_err());
    assert!(decoder.decode(b"", &mut [0; 4]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded_however_it_arrives(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), read in 1_usize..50, write in 1_usize..50) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\nrest");
        prop_assert_eq!(decode(&wire, read, write), Some((chunks.concat(), Some(b"rest".to_vec()))));
    }

    #[test]
    fn any_bytes_mean_the_same_however_they_arrive(
        pieces in prop::collection::vec(prop::sample::select(vec!["3", "0", "a", "F", "\r\n", "\r\n", "\r", "\n", ";", "abc", "\r\n\r\n", ": ", "\0"]), 0..20),
        read in 1_usize..9,
        write in 1_usize..9,
    ) {
        let wire = pieces.concat().into_bytes();
        prop_assert_eq!(decode(&wire, read, write), decode(&wire, 1000, 1000));
    }
}
