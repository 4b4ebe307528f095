//! The grammar of `Forwarded` (RFC 7239 section 4): elements apart by commas, pairs apart by semicolons, values that are
//! tokens or quoted strings. Backslashes in quoted strings are refused: no address, scheme or host needs one.

/// One element: what one proxy said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Element<'b> {
    pub(super) for_: Option<&'b [u8]>,
    pub(super) proto: Option<&'b [u8]>,
    pub(super) host: Option<&'b [u8]>,
}

/// The elements in their order; None when a line is malformed, which makes all of them worthless.
pub(super) fn elements<'b>(lines: &[&'b [u8]]) -> Option<Vec<Element<'b>>> {
    let mut elements = Vec::new();
    for line in lines {
        for element in pieces(line, b',')? {
            elements.push(one(element)?);
        }
    }
    Some(elements)
}

fn one(text: &[u8]) -> Option<Element<'_>> {
    let mut element = Element::default();
    for pair in pieces(text, b';')? {
        let pair = pair.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let equals = memchr::memchr(b'=', pair)?;
        let (name, value) = (&pair[..equals], unquoted(&pair[equals + 1..])?);
        let place = match () {
            () if name.eq_ignore_ascii_case(b"for") => &mut element.for_,
            () if name.eq_ignore_ascii_case(b"proto") => &mut element.proto,
            () if name.eq_ignore_ascii_case(b"host") => &mut element.host,
            () => continue,
        };
        // Section 4: a parameter occurs at most once in an element.
        if place.replace(value).is_some() {
            return None;
        }
    }
    Some(element)
}

fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', inner @ .., b'"'] => (!inner.contains(&b'"')).then_some(inner),
        _ => (!value.is_empty() && !value.contains(&b'"')).then_some(value),
    }
}

/// Splits where the mark stands outside of quotes; None when a quote does not end.
fn pieces(text: &[u8], mark: u8) -> Option<Vec<&[u8]>> {
    let mut pieces = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' => return None,
            _ if *byte == mark && !quoted => {
                pieces.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return None;
    }
    pieces.push(&text[start..]);
    Some(pieces)
}
