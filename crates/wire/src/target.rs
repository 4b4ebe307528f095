//! The request target of HTTP (RFC 9112 section 3.2): origin-form and absolute-form, `*` for OPTIONS.

use crate::{Bad, framing::is_authority_byte};

/// A request target, cut into what CGI asks for. Everything is as sent: nothing is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'b> {
    /// REQUEST_URI: the whole target.
    pub whole: &'b [u8],
    /// The path, percent-encoded; `*` for `OPTIONS *`.
    pub path: &'b [u8],
    /// QUERY_STRING, without the question mark.
    pub query: &'b [u8],
    /// Host and port of the absolute form, which overrule the Host header (RFC 9112 section 3.2.2).
    pub authority: Option<&'b [u8]>,
}

impl<'b> Target<'b> {
    pub(crate) fn parse(method: &str, whole: &'b [u8]) -> Result<Self, Bad> {
        if method == "CONNECT" {
            return Err(Bad::new(501, "CONNECT is for proxies"));
        }
        // One look for both: most targets have neither.
        let marked = memchr::memchr2(b'#', b'?', whole);
        if marked.is_some_and(|at| memchr::memchr(b'#', &whole[at..]).is_some()) {
            return Err(Bad::new(400, "a fragment in the request target"));
        }
        let (authority, rest) = match whole.first() {
            Some(b'/') => (None, whole),
            Some(b'*') if whole.len() == 1 && method == "OPTIONS" => (None, whole),
            _ => {
                let (authority, rest) =
                    absolute(whole).ok_or(Bad::new(400, "the request target is neither a path nor a http URI"))?;
                (Some(authority), rest)
            }
        };
        // Where there is no fragment, the mark is the question mark, which no authority holds.
        let marked = marked.map(|at| at - (whole.len() - rest.len()));
        let (path, query) = match marked {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        let path = if path.is_empty() { b"/" } else { path };
        if has_encoded_nul(path) {
            return Err(Bad::new(400, "an encoded NUL in the path"));
        }
        Ok(Self { whole, path, query, authority })
    }
}

fn absolute(whole: &[u8]) -> Option<(&[u8], &[u8])> {
    let scheme_end = if whole.get(..7)?.eq_ignore_ascii_case(b"http://") {
        7
    } else if whole.get(..8)?.eq_ignore_ascii_case(b"https://") {
        8
    } else {
        return None;
    };
    let rest = &whole[scheme_end..];
    let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    (!authority.is_empty() && authority.iter().all(|byte| is_authority_byte(*byte))).then_some((authority, rest))
}

/// No file name and no route holds a NUL; C code behind Python takes it for the end of the path.
fn has_encoded_nul(path: &[u8]) -> bool {
    memchr::memmem::find(path, b"%00").is_some()
}

/// The path with its percent-escapes decoded, into `into` (cleared first). An escape that is none stays as it is, as in uWSGI.
pub fn percent_decode(path: &[u8], into: &mut Vec<u8>) {
    decode(path, |_| true, into);
}

/// The same, but `%2F` stays: which slashes cut the path is the client's to say (`http-path-info-no-decode-slashes`).
pub fn percent_decode_but_slashes(path: &[u8], into: &mut Vec<u8>) {
    decode(path, |byte| byte != b'/', into);
}

fn decode(path: &[u8], is_decoded: impl Fn(u8) -> bool, into: &mut Vec<u8>) {
    into.clear();
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        into.extend_from_slice(&rest[..at]);
        let escaped = rest.get(at + 1..at + 3).and_then(|digits| Some(hex(digits[0])? << 4 | hex(digits[1])?));
        let (byte, length) = escaped.filter(|byte| is_decoded(*byte)).map_or((b'%', 1), |byte| (byte, 3));
        into.push(byte);
        rest = &rest[at + length..];
    }
    into.extend_from_slice(rest);
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, whole: &'static str) -> Result<(String, String, Option<String>), u16> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Target::parse(method, whole.as_bytes())
            .map(|target| (text(target.path), text(target.query), target.authority.map(text)))
            .map_err(|bad| bad.status)
    }

    #[test]
    fn targets_of_the_rfc_are_told_apart() {
        assert_eq!(parts("GET", "/a/b?c=d?e"), Ok(("/a/b".into(), "c=d?e".into(), None)));
        assert_eq!(parts("GET", "//a"), Ok(("//a".into(), String::new(), None)));
        assert_eq!(parts("GET", "http://h:80"), Ok(("/".into(), String::new(), Some("h:80".into()))));
        assert_eq!(parts("GET", "HTTP://h?x"), Ok(("/".into(), "x".into(), Some("h".into()))));
        assert_eq!(parts("GET", "https://h/p?x"), Ok(("/p".into(), "x".into(), Some("h".into()))));
        assert_eq!(parts("OPTIONS", "*"), Ok(("*".into(), String::new(), None)));
        for (method, whole, status) in [
            ("GET", "*", 400),
            ("GET", "a", 400),
            ("GET", "/a#b", 400),
            ("GET", "http://", 400),
            ("GET", "http:///a", 400),
            ("GET", "http://u@h/", 400),
            ("GET", "ftp://h/", 400),
            ("GET", "/a%00b", 400),
            ("CONNECT", "h:443", 501),
        ] {
            assert_eq!(parts(method, whole), Err(status), "{method} {whole}");
        }
    }

    #[test]
    fn an_escape_that_is_none_stays() {
        let mut out = b"old".to_vec();
        for (path, decoded) in [("/a%20b", "/a b"), ("/%zz%4", "/%zz%4"), ("/%2F%41", "/A"), ("%", "%"), ("", "")] {
            percent_decode(path.as_bytes(), &mut out);
            let decoded = if path == "/%2F%41" { "//A" } else { decoded };
            assert_eq!(out, decoded.as_bytes(), "{path}");
        }
        percent_decode(b"/%e4%FF", &mut out);
        assert_eq!(out, b"/\xe4\xff");
        percent_decode_but_slashes(b"/a%2fb%2F%20/%25", &mut out);
        assert_eq!(out, b"/a%2fb%2F /%");
    }
}
