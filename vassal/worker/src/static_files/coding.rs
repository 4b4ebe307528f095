//! Which compressed form of a file a client accepts (RFC 9110 section 12.5.3).

/// A content coding, and how its files are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// As Content-Encoding names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
        }
    }

    /// What is added to the name of the file.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Coding::Brotli => ".br",
            Coding::Gzip => ".gz",
        }
    }
}

/// The codings of Accept-Encoding that a file may have, the better first. A client that says nothing gets the plain file.
pub(crate) fn accepted(value: &[u8]) -> Vec<Coding> {
    let (mut brotli, mut gzip, mut any) = (None, None, None);
    for element in value.split(|byte| *byte == b',') {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(weight).unwrap_or(1000);
        if name.eq_ignore_ascii_case(b"br") {
            brotli = Some(weight);
        } else if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            gzip = Some(weight);
        } else if name == b"*" {
            any = Some(weight);
        }
    }
    let (brotli, gzip) = (brotli.or(any).unwrap_or(0), gzip.or(any).unwrap_or(0));
    // Brotli is smaller, so it is taken where the client does not mind.
    let order = if gzip > brotli {
        [(Coding::Gzip, gzip), (Coding::Brotli, brotli)]
    } else {
        [(Coding::Brotli, brotli), (Coding::Gzip, gzip)]
    };
    order.into_iter().filter(|(_, weight)| *weight > 0).map(|(coding, _)| coding).collect()
}

/// `q=0.5` in thousandths; what is malformed refuses.
fn weight(parameter: &[u8]) -> Option<u16> {
    let text = match parameter {
        [b'q' | b'Q', b'=', text @ ..] => text,
        _ => return None,
    };
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b""[..]),
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return Some(0);
    }
    match whole {
        b"1" => Some(1000),
        b"0" => {
            let digits = fraction.iter().chain(b"000").take(3);
            Some(digits.fold(0, |value, digit| value * 10 + u16::from(digit - b'0')))
        }
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coding_is_taken_only_if_it_is_accepted() {
        use Coding::{Brotli, Gzip};
        for (value, expected) in [
            ("gzip, deflate, br", &[Brotli, Gzip][..]),
            ("gzip", &[Gzip]),
            ("x-gzip", &[Gzip]),
            ("GZIP;q=0.001", &[Gzip]),
            ("gzip;q=1.0, br;q=0.5", &[Gzip, Brotli]),
            ("gzip;q=0, br;q=0", &[]),
            ("gzip;q=0.000", &[]),
            ("*", &[Brotli, Gzip]),
            ("*;q=0.1, br;q=0", &[Gzip]),
            ("identity", &[]),
            ("", &[]),
            ("brotli, gzipped", &[]),
            ("br;q=x", &[]),
            ("br;q=0.0001", &[]),
            ("br ; q=0.2 , gzip ; q=0.3", &[Gzip, Brotli]),
        ] {
            assert_eq!(accepted(value.as_bytes()), expected, "{value}");
        }
    }
}
