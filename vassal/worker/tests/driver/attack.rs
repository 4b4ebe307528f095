//! Sends what an attacker would send, in every way it can arrive, and tells what the app saw of it.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

use super::{DEADLINE, read_to_end, recorder::Recorder};

/// Of longer input only so much is sent byte by byte, around where a head gets too long, or at its end: all its pieces would
/// take longer than a head may.
const BYTE_BY_BYTE_MAX: usize = 600;

/// `buffer-size` where nobody says otherwise.
const HEAD_MAX_BYTES: usize = 65_536;

/// Where to.
#[derive(Clone, Copy)]
pub(crate) enum To {
    Http,
    /// The same, behind a request whose answer's head is waited for.
    Behind(&'static str),
    /// Whatever the second listener speaks.
    Socket,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Of the first answer; 0 when there was none.
    pub(crate) status: u16,
    /// All answers.
    pub(crate) text: String,
    /// The app's requests: method, path, and the body or `<error>`.
    pub(crate) seen: Vec<String>,
}

/// Runs one attack whole, byte by byte and in random pieces; the judge sees each outcome.
pub(crate) fn attack(recorder: &Recorder, to: To, what: &str, bytes: &[u8], judge: impl Fn(&Outcome)) {
    let mut seed = bytes.iter().fold(1_u64, |sum, byte| sum.rotate_left(7) ^ u64::from(*byte));
    let mut ways =
        vec![("whole".to_owned(), vec![bytes.len()]), ("byte by byte".to_owned(), byte_by_byte(bytes.len()))];
    for _ in 0..2 {
        let name = format!("split with seed {seed}");
        let most = bytes.len() as u64 / 3 + 1;
        let mut pieces = Vec::new();
        while pieces.iter().sum::<usize>() < bytes.len() {
            pieces.push((next(&mut seed) % most) as usize + 1);
        }
        ways.push((name, pieces));
    }
    let tcp = || TcpStream::connect(recorder.listeners.address()).unwrap();
    for (way, pieces) in ways {
        recorder.forget();
        let text = match to {
            To::Http => exchange(tcp(), bytes, &pieces),
            To::Behind(request) => {
                let mut stream = tcp();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.extend(byte);
                }
                String::from_utf8(head).unwrap() + &exchange(stream, bytes, &pieces)
            }
            To::Socket => exchange(UnixStream::connect(&recorder.listeners.uwsgi_path).unwrap(), bytes, &pieces),
        };
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0);
        let shown = |seen: &serde_json::Value| {
            let part = |key: &str| seen[key].as_str().unwrap_or_default().to_owned();
            let body = if seen["body_error"].is_null() { part("body") } else { "<error>".to_owned() };
            format!("{} {} {body}", part("REQUEST_METHOD"), part("PATH_INFO")).trim_end().to_owned()
        };
        let outcome = Outcome { status, text, seen: recorder.seen().iter().map(shown).collect() };
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(&outcome)));
        assert!(judged.is_ok(), "{what}, {way}: {outcome:?}");
    }
}

fn byte_by_byte(length: usize) -> Vec<usize> {
    let end = length.min(HEAD_MAX_BYTES + BYTE_BY_BYTE_MAX / 2);
    let start = end.saturating_sub(BYTE_BY_BYTE_MAX);
    [vec![start], vec![1; end - start], vec![length - end]].concat()
}

/// SplitMix64.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

trait Stream: Read + Write {
    fn prepare(&self);
    fn end(&self);
}

impl Stream for TcpStream {
    fn prepare(&self) {
        self.set_nodelay(true).unwrap();
        self.set_read_timeout(Some(DEADLINE)).unwrap();
        self.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Stream for UnixStream {
    fn prepare(&self) {
        self.set_read_timeout(Some(DEADLINE)).unwrap();
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

fn exchange(mut stream: impl Stream, bytes: &[u8], pieces: &[usize]) -> String {
    stream.prepare();
    let mut rest = bytes;
    for piece in pieces {
        let (now, later) = rest.split_at((*piece).min(rest.len()));
        // A server that has seen enough may be gone.
        if stream.write_all(now).is_err() {
            break;
        }
        rest = later;
    }
    stream.end();
    read_to_end(stream)
}
