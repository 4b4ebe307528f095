//! The corpora of `fuzz/` and inputs made of them mean the same whole and in pieces: what the fuzzers look for over hours, in
//! seconds. `EMPERY_SPLIT_SEED` and `EMPERY_SPLIT_ROUNDS` look elsewhere and longer.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros)] // tests may do I/O; the crate may not

mod split;

use std::path::Path;

use split::{TARGETS, check, next};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn every_input_of_the_corpora_means_the_same_whole_and_in_pieces() {
    for target in TARGETS {
        let inputs = corpus(target);
        assert!(inputs.len() >= 4, "the corpus of {target} is missing");
        inputs.iter().for_each(|input| check(target, input));
    }
}

/// One of the changes by which real attacks are made: a byte more, less or another, a piece twice, or a piece of another input.
fn changed(input: &[u8], other: &[u8], seed: &mut u64) -> Vec<u8> {
    const ODD: &[u8] = b"\0\t\n\x0b\x0c\r \"+,-0:;=_x{\x7f\x80\xff";
    let mut bytes = input.to_vec();
    for _ in 0..=next(seed) % 3 {
        let at = next(seed) as usize % (bytes.len() + 1);
        let odd = ODD[next(seed) as usize % ODD.len()];
        match next(seed) % 6 {
            0 => bytes.insert(at, odd),
            1 if at < bytes.len() => bytes[at] = odd,
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => {
                let end = (at + next(seed) as usize % 16).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let from = next(seed) as usize % (other.len() + 1);
                bytes.splice(at.., other[from..].iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn inputs_made_of_the_corpora_mean_the_same_whole_and_in_pieces() {
    let seed = number("EMPERY_SPLIT_SEED", 20_261_122);
    println!("EMPERY_SPLIT_SEED={seed}");
    for target in TARGETS {
        let inputs = corpus(target);
        let mut state = seed;
        for round in 0..number("EMPERY_SPLIT_ROUNDS", 8000) {
            let pick = |state: &mut u64| &inputs[next(state) as usize % inputs.len()];
            let (one, other) = (pick(&mut state), pick(&mut state));
            let input = changed(one, other, &mut state);
            let result = std::panic::catch_unwind(|| check(target, &input));
            assert!(result.is_ok(), "{target}, round {round} of seed {seed}: {}", input.escape_ascii());
        }
    }
}
