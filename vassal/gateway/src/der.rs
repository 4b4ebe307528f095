//! Two facts of a certificate that rustls does not tell: until when it is good, and who it is for. Reads DER (X.690) as
//! far as RFC 5280, 4.1 needs it. What cannot be read is None: whether a certificate is good is decided elsewhere.

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The end of its validity, unix s.
    pub(crate) not_after_unix_s: i64,
    /// Its subject as OpenSSL's X509_NAME_oneline writes it, `/C=DE/CN=name`; uWSGI's HTTPS_DN.
    pub(crate) subject: String,
}

const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// Attribute types (RFC 4519) by their last two numbers of DER, `2.5.4.N`.
const NAMES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

/// The facts of a certificate.
pub(crate) fn facts(certificate: &[u8]) -> Option<Facts> {
    let mut outer = Reader(certificate);
    let mut signed = Reader(outer.next(SEQUENCE)?);
    let mut fields = Reader(signed.next(SEQUENCE)?);
    if fields.tag() == Some(VERSION) {
        fields.next(VERSION)?;
    }
    fields.next(INTEGER)?;
    // The algorithm and the issuer.
    fields.next(SEQUENCE)?;
    fields.next(SEQUENCE)?;
    let mut validity = Reader(fields.next(SEQUENCE)?);
    validity.any()?;
    let (tag, end) = validity.any()?;
    let subject = fields.next(SEQUENCE)?;
    Some(Facts { not_after_unix_s: unix_s(tag, end)?, subject: one_line(subject)? })
}

fn one_line(subject: &[u8]) -> Option<String> {
    let mut line = String::new();
    let mut sets = Reader(subject);
    while sets.tag().is_some() {
        let mut set = Reader(sets.next(SET)?);
        while set.tag().is_some() {
            let mut pair = Reader(set.next(SEQUENCE)?);
            let kind = pair.next(OID)?;
            let (_, value) = pair.any()?;
            let name = NAMES.iter().find(|(oid, _)| *oid == kind).map_or("UNDEF", |(_, name)| name);
            line.push('/');
            line.push_str(name);
            line.push('=');
            // As OpenSSL: what is not printable ASCII is escaped, so it fits into a header.
            for byte in value {
                match byte {
                    b' '..=b'~' => line.push(char::from(*byte)),
                    other => line.push_str(&format!("\\x{other:02X}")),
                }
            }
        }
    }
    Some(line)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, 4.1.2.5).
fn unix_s(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME if text.len() == 12 => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        GENERALIZED_TIME if text.len() == 14 => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let two = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day, hour, minute, second) = (two(0)?, two(2)?, two(4)?, two(6)?, two(8)?);
    // Days since 1970 of the civil calendar, with years that begin in March so that the leap day is the last.
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// What is left to read.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self, tag: u8) -> Option<&'b [u8]> {
        if self.tag()? != tag {
            return None;
        }
        self.any().map(|(_, content)| content)
    }

    fn any(&mut self) -> Option<(u8, &'b [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_forms_are_read() {
        assert_eq!(unix_s(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(unix_s(UTC_TIME, b"261122235959Z"), Some(1_795_391_999));
        assert_eq!(unix_s(GENERALIZED_TIME, b"20000229120000Z"), Some(951_825_600));
        assert_eq!(unix_s(GENERALIZED_TIME, b"2000022912000Z"), None);
        assert_eq!(unix_s(UTC_TIME, b"70010100000aZ"), None);
    }

    #[test]
    fn a_subject_is_written_as_openssl_writes_it() {
        let name = [
            0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x06, 0x13, 0x02, b'D', b'E', //
            0x31, 0x0d, 0x30, 0x0b, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x04, b'a', 0xc3, 0xa4, b'b',
        ];
        assert_eq!(one_line(&name).as_deref(), Some("/C=DE/CN=a\\xC3\\xA4b"));
    }

    #[test]
    fn what_is_cut_or_nonsense_is_none() {
        assert_eq!(facts(b""), None);
        assert_eq!(facts(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(facts(&[0x30, 0x03, 0x30, 0x01, 0x02]), None);
    }
}
