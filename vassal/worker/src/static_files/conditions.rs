//! Conditional requests (RFC 9110 section 13): whether the client's copy is as good as the file.

use std::time::{Duration, UNIX_EPOCH};

/// What tells one state of a file from another.
#[derive(Debug, Clone)]
pub(crate) struct Validators {
    /// With its quotes; strong.
    pub(crate) etag: String,
    /// Of the last change, unix s.
    pub(crate) modified_unix_s: u64,
}

/// The conditions of a request, as sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conditions<'r> {
    pub(crate) if_match: Option<&'r [u8]>,
    pub(crate) if_none_match: Option<&'r [u8]>,
    pub(crate) if_modified_since: Option<&'r [u8]>,
    pub(crate) if_unmodified_since: Option<&'r [u8]>,
    pub(crate) if_range: Option<&'r [u8]>,
}

/// What they come to for a GET or HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The file is sent.
    Send,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

impl Conditions<'_> {
    /// Evaluates them in the order of RFC 9110 section 13.2.2.
    pub(crate) fn judge(&self, file: &Validators) -> Verdict {
        if let Some(tags) = self.if_match {
            // Strong comparison: a weak tag fits nothing.
            if !names(tags, &file.etag, Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if let Some(since) = self.if_unmodified_since.and_then(unix_s)
            && file.modified_unix_s > since
        {
            return Verdict::Failed;
        }
        if let Some(tags) = self.if_none_match {
            if names(tags, &file.etag, Comparison::Weak) {
                return Verdict::NotModified;
            }
        } else if let Some(since) = self.if_modified_since.and_then(unix_s)
            && file.modified_unix_s <= since
        {
            return Verdict::NotModified;
        }
        Verdict::Send
    }

    /// Whether a range may be sent (If-Range): the client has the other bytes of the same state. A date must be the very one,
    /// and of a second that is over: in the running one the file may change again (RFC 9110 sections 13.1.5 and 8.8.2.2).
    pub(crate) fn allow_range(&self, file: &Validators, now_unix_s: u64) -> bool {
        match self.if_range {
            None => true,
            Some(tag) if tag.starts_with(b"\"") || tag.starts_with(b"W/") => tag == file.etag.as_bytes(),
            Some(date) => unix_s(date) == Some(file.modified_unix_s) && file.modified_unix_s < now_unix_s,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags has this one; `*` has every.
fn names(list: &[u8], etag: &str, comparison: Comparison) -> bool {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        rest = rest.trim_ascii_start();
        while let Some(more) = rest.strip_prefix(b",") {
            rest = more.trim_ascii_start();
        }
        let (weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let Some(inside) = quoted.strip_prefix(b"\"") else { return false };
        let Some(end) = memchr::memchr(b'"', inside) else { return false };
        let tag = &quoted[..end + 2];
        if tag == etag.as_bytes() && !(weak && comparison == Comparison::Strong) {
            return true;
        }
        rest = &inside[end + 1..];
    }
}

/// A date in any of the three forms of RFC 9110 section 5.6.7.
fn unix_s(date: &[u8]) -> Option<u64> {
    let date = httpdate::parse_http_date(std::str::from_utf8(date).ok()?).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// A date as HTTP writes it.
pub(crate) fn http_date(unix_s: u64) -> String {
    // The last moment of the year 9999: the form has four digits.
    const LAST_UNIX_S: u64 = 253_402_300_799;
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix_s.min(LAST_UNIX_S)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const UNIX_S: u64 = 784_111_777;

    fn file() -> Validators {
        Validators { etag: "\"a-1\"".into(), modified_unix_s: UNIX_S }
    }

    #[test]
    fn all_forms_of_a_date_are_read() {
        for date in [DATE, b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"] {
            assert_eq!(unix_s(date), Some(UNIX_S));
        }
        for none in
            [&b""[..], b"yesterday", b"Sun, 06 Nov 1994 25:49:37 GMT", b"\xff", b"Thu, 01 Jan 1960 00:00:00 GMT"]
        {
            assert_eq!(unix_s(none), None);
        }
        assert_eq!(http_date(UNIX_S).as_bytes(), DATE);
        assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn a_copy_that_is_as_good_is_not_sent_again() {
        let judge = |tags: &'static str| {
            Conditions { if_none_match: Some(tags.as_bytes()), ..Conditions::default() }.judge(&file())
        };
        for same in
            ["\"a-1\"", "W/\"a-1\"", "\"x\", \"a-1\"", "\"x\",,W/\"a-1\" , \"y\"", "*", " * ", "\"a,b\",\"a-1\""]
        {
            assert_eq!(judge(same), Verdict::NotModified, "{same}");
        }
        for other in ["\"a-2\"", "", "a-1", "\"a-1", "W/", "\"x\" \"a-1x\"", "x, \"a-1\""] {
            assert_eq!(judge(other), Verdict::Send, "{other}");
        }
    }

    #[test]
    fn dates_count_only_where_no_tag_was_sent() {
        let since = |date| Conditions { if_modified_since: Some(date), ..Conditions::default() };
        assert_eq!(since(DATE).judge(&file()), Verdict::NotModified);
        assert_eq!(since(b"Sun, 06 Nov 1994 08:49:38 GMT").judge(&file()), Verdict::NotModified);
        assert_eq!(since(b"Sun, 06 Nov 1994 08:49:36 GMT").judge(&file()), Verdict::Send);
        assert_eq!(since(b"rubbish").judge(&file()), Verdict::Send);
        let both = Conditions { if_none_match: Some(b"\"x\""), ..since(DATE) };
        assert_eq!(both.judge(&file()), Verdict::Send);
    }

    #[test]
    fn a_precondition_that_fails_comes_first() {
        let with = |if_match: Option<&'static [u8]>, if_unmodified_since: Option<&'static [u8]>| {
            Conditions { if_match, if_unmodified_since, if_none_match: Some(b"*"), ..Conditions::default() }
                .judge(&file())
        };
        assert_eq!(with(Some(b"\"x\""), None), Verdict::Failed);
        assert_eq!(with(Some(b"W/\"a-1\""), None), Verdict::Failed);
        assert_eq!(with(Some(b"\"a-1\""), None), Verdict::NotModified);
        assert_eq!(with(Some(b"*"), None), Verdict::NotModified);
        assert_eq!(with(None, Some(b"Sun, 06 Nov 1994 08:49:36 GMT")), Verdict::Failed);
        assert_eq!(with(None, Some(DATE)), Verdict::NotModified);
        assert_eq!(with(Some(b"*"), Some(b"Sun, 06 Nov 1994 08:49:36 GMT")), Verdict::NotModified);
    }

    #[test]
    fn a_range_of_another_state_is_not_sent() {
        let allow = |if_range: Option<&'static [u8]>| {
            Conditions { if_range, ..Conditions::default() }.allow_range(&file(), UNIX_S + 1)
        };
        assert!(allow(None) && allow(Some(b"\"a-1\"")) && allow(Some(DATE)));
        assert!(!allow(Some(b"\"a-2\"")) && !allow(Some(b"W/\"a-1\"")) && !allow(Some(b"rubbish")));
        assert!(!allow(Some(b"Sun, 06 Nov 1994 08:49:38 GMT")));
    }

    #[test]
    fn a_date_of_the_running_second_allows_no_range_and_a_tag_does() {
        let allow = |if_range: &'static [u8]| {
            Conditions { if_range: Some(if_range), ..Conditions::default() }.allow_range(&file(), UNIX_S)
        };
        assert!(!allow(DATE) && allow(b"\"a-1\""));
    }
}
