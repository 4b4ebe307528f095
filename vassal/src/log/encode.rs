//! What `log-encoder` makes of a line, as uWSGI 2.0 does (core/logging.c), each line by itself. Pure but for the clock of those
//! that want the time.

use std::io::Write;

use empery_config::loggers::{Encoder, Encoding, Piece};

use crate::clock;

/// A line, its end included, after those encoders that hold for a logger of this name. Whatever they did, it ends as a line does.
pub(super) fn encode(encoders: &[Encoder], logger: Option<&str>, text: &[u8]) -> Vec<u8> {
    let mut line = [text, b"\n"].concat();
    for encoder in encoders {
        if encoder.only_for.as_deref().is_none_or(|name| Some(name) == logger) {
            line = apply(&encoder.how, &line);
        }
    }
    if line.last() != Some(&b'\n') {
        line.push(b'\n');
    }
    line
}

fn apply(how: &Encoding, line: &[u8]) -> Vec<u8> {
    match how {
        Encoding::Prefix(text) => [text.as_bytes(), line].concat(),
        Encoding::Suffix(text) => [line, text.as_bytes()].concat(),
        Encoding::NewLine => [line, b"\n"].concat(),
        Encoding::Format(pieces) => assembled(pieces, line, |text, out| out.extend_from_slice(text)),
        Encoding::Json(pieces) => assembled(pieces, line, escape),
    }
}

/// Texts that come from elsewhere are put in by `put`.
fn assembled(pieces: &[Piece], line: &[u8], put: fn(&[u8], &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len() + 64);
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Message => put(line.strip_suffix(b"\n").unwrap_or(line), &mut out),
            Piece::MessageLine => put(line, &mut out),
            Piece::Unix => drop(write!(out, "{}", clock::unix_s())),
            Piece::Millis => drop(write!(out, "{}", clock::unix_ms())),
            Piece::Micros => drop(write!(out, "{}", clock::unix_us())),
            Piece::Strftime(format) => put(clock::local_time(format).as_bytes(), &mut out),
        }
    }
    out
}

/// Inside of a string of JSON (RFC 8259, section 7). Bytes that are no UTF-8 are what stands for such.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    let quoted = serde_json::Value::from(String::from_utf8_lossy(text)).to_string();
    out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(hows: &[Encoding], text: &str) -> String {
        let encoders: Vec<Encoder> = hows.iter().map(|how| Encoder { only_for: None, how: how.clone() }).collect();
        String::from_utf8(encode(&encoders, None, text.as_bytes())).unwrap()
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    #[test]
    fn encoders_work_one_after_the_other_and_a_line_stays_a_line() {
        let message = Encoding::Format(vec![text("<"), Piece::Message, text(">")]);
        assert_eq!(encoded(&[], "a"), "a\n");
        assert_eq!(encoded(std::slice::from_ref(&message), "a"), "<a>\n");
        assert_eq!(encoded(&[message.clone(), Encoding::NewLine], "a"), "<a>\n");
        let line = Encoding::Format(vec![text("<"), Piece::MessageLine]);
        assert_eq!(encoded(&[Encoding::Prefix("p ".into()), line], "a"), "<p a\n");
        assert_eq!(encoded(&[message, Encoding::Suffix("!".into())], ""), "<>!\n");
    }

    #[test]
    fn whatever_a_line_is_json_stays_json() {
        let json = Encoding::Json(vec![text("{\"m\":\""), Piece::Message, text("\"}")]);
        let encoders = [Encoder { only_for: None, how: json }];
        for line in [&b"plain"[..], b"\"\\\x00\x1b[1m\t", b"\xff\xfe", "\u{e4}".as_bytes(), b"\r"] {
            let object: serde_json::Value = serde_json::from_slice(&encode(&encoders, None, line)).unwrap();
            assert_eq!(object["m"], String::from_utf8_lossy(line).as_ref());
        }
    }

    #[test]
    fn an_encoder_of_one_logger_is_for_no_other() {
        let encoders = [Encoder { only_for: Some("cron".into()), how: Encoding::Prefix("c ".into()) }];
        assert_eq!(encode(&encoders, Some("cron"), b"x"), b"c x\n");
        assert_eq!(encode(&encoders, None, b"x"), b"x\n");
        assert_eq!(encode(&encoders, Some("other"), b"x"), b"x\n");
    }
}
