//! A request's head as a worker gets it: HTTP/1.1 in origin form, framed anew. Nothing of the client's framing survives,
//! so it cannot be read in two ways; what could be meant in two ways is refused (RFC 9113, 8.2 and 10.3; RFC 9112, 3.2 and 6).

use empery_wire::gateway::PREFIX;
use hyper::{
    HeaderMap, Method, StatusCode, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
    http::{request, uri::PathAndQuery},
};

use crate::upload::Upload;

/// Headers about one connection, besides those that `Connection` names (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    UPGRADE,
];

/// Headers that no `Connection` may take away: the request would mean something else.
const KEPT: [HeaderName; 2] = [HOST, CONTENT_LENGTH];

/// Makes a client's head one for a worker. Answers with the protocol that the client wants to change to.
///
/// # Errors
/// The status of the refusal.
pub(crate) fn to_worker(head: &mut request::Parts) -> Result<Option<HeaderValue>, StatusCode> {
    if head.method == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    let is_http2 = head.version == Version::HTTP_2;
    host(head, is_http2)?;
    origin_form(head)?;
    length(&head.headers)?;
    coding(&head.headers)?;
    expectation(&mut head.headers)?;
    if is_http2 {
        one_cookie(&mut head.headers);
    }
    let upgrade = if is_http2 { None } else { wanted_upgrade(&head.headers) };
    leave_hop_by_hop(&mut head.headers);
    // The worker's connection is framed anew: see `frame`.
    head.headers.remove(TRANSFER_ENCODING);
    leave_reserved(&mut head.headers);
    if let Some(protocol) = &upgrade {
        head.headers.insert(UPGRADE, protocol.clone());
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    // Without a Host it is HTTP/1.0 still (RFC 9112, 3.2).
    head.version = if head.headers.contains_key(HOST) { Version::HTTP_11 } else { Version::HTTP_10 };
    Ok(upgrade)
}

/// Says how the body is framed whose length the client has not told: without a word of it hyper takes a GET for one that
/// has none.
pub(crate) fn frame(headers: &mut HeaderMap, body: &Upload) {
    if matches!(body, Upload::Stream { .. }) && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Makes a worker's head one for a client.
pub(crate) fn to_client(headers: &mut HeaderMap) {
    leave_hop_by_hop(headers);
    headers.remove(TRANSFER_ENCODING);
}

/// There is one host, and it is the authority's where there is one.
fn host(head: &mut request::Parts, is_http2: bool) -> Result<(), StatusCode> {
    let mut named = head.headers.get_all(HOST).iter();
    let (first, second) = (named.next(), named.next());
    if second.is_some() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let Some(authority) = head.uri.authority() else {
        // HTTP/1.0 knew no Host; HTTP/2 has `:authority` for it, or, from what translates, a Host.
        return if first.is_none() && head.version != Version::HTTP_10 { Err(StatusCode::BAD_REQUEST) } else { Ok(()) };
    };
    let text = authority.as_str();
    if text.contains('@') {
        return Err(StatusCode::BAD_REQUEST);
    }
    if is_http2 && first.is_some_and(|first| !first.as_bytes().eq_ignore_ascii_case(text.as_bytes())) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let host = HeaderValue::from_str(text).map_err(|_| StatusCode::BAD_REQUEST)?;
    head.headers.insert(HOST, host);
    Ok(())
}

fn origin_form(head: &mut request::Parts) -> Result<(), StatusCode> {
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let is_whole_server = path.as_str() == "*" && head.method == Method::OPTIONS;
    if !(path.as_str().starts_with('/') || is_whole_server) {
        return Err(StatusCode::BAD_REQUEST);
    }
    head.uri = Uri::from(path);
    Ok(())
}

/// One length in digits, or none.
fn length(headers: &HeaderMap) -> Result<(), StatusCode> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(()),
        (Some(length), None) if !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit) => Ok(()),
        (Some(_), _) => Err(StatusCode::BAD_REQUEST),
    }
}

/// `chunked` once, or nothing (RFC 9112, 6.1): hyper takes whatever ends in it.
fn coding(headers: &HeaderMap) -> Result<(), StatusCode> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(StatusCode::NOT_IMPLEMENTED),
    }
}

/// `100-continue` is answered here, as soon as the body is asked for.
fn expectation(headers: &mut HeaderMap) -> Result<(), StatusCode> {
    match headers.remove(EXPECT) {
        Some(expected) if !expected.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(StatusCode::EXPECTATION_FAILED)
        }
        Some(_) | None => Ok(()),
    }
}

/// HTTP/2 clients send each cookie as a field of its own, so that it can be compressed (RFC 9113, 8.2.3).
fn one_cookie(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wants = named_by_connection(headers).any(|name| name.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| wants).cloned()
}

fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn leave_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named = named_by_connection(headers).filter_map(|name| name.parse::<HeaderName>().ok());
        for name in named.filter(|name| !KEPT.contains(name)).collect::<Vec<_>>() {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn leave_reserved(headers: &mut HeaderMap) {
    let reserved: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in reserved {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn translated(request: request::Builder) -> Result<(request::Parts, Option<HeaderValue>), StatusCode> {
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        to_worker(&mut head).map(|upgrade| (head, upgrade))
    }

    fn http2(uri: &str) -> request::Builder {
        Request::builder().version(Version::HTTP_2).uri(uri)
    }

    #[test]
    fn the_authority_becomes_the_host_and_the_rest_the_path() {
        let (head, _) = translated(http2("https://a.example/p?q")).unwrap();
        assert_eq!((head.headers[HOST].as_bytes(), head.uri.to_string().as_str()), (&b"a.example"[..], "/p?q"));
        assert_eq!(head.version, Version::HTTP_11);
        let absolute = Request::builder().uri("http://b.example/x").header("host", "a.example");
        let (head, _) = translated(absolute).unwrap();
        assert_eq!(head.headers[HOST], "b.example");
    }

    #[test]
    fn h12_two_hosts_are_one_too_many_and_none_too_few() {
        assert!(translated(http2("https://a.example/").header("host", "b.example")).is_err());
        assert!(translated(http2("https://a.example/").header("host", "A.example")).is_ok());
        assert!(translated(Request::builder().uri("/").header("host", "a").header("host", "a")).is_err());
        assert!(translated(Request::builder().uri("/")).is_err());
        assert!(translated(Request::builder().uri("/").version(Version::HTTP_10)).is_ok());
        assert!(translated(http2("https://user@a.example/")).is_err());
    }

    #[test]
    fn h5_a_length_that_could_be_read_in_two_ways_is_refused() {
        for bad in ["+5", "5,5", "5, 6", "0x5", "", " ", "5 5", "-1"] {
            let request = http2("https://a/").header("content-length", bad);
            assert_eq!(translated(request).unwrap_err(), StatusCode::BAD_REQUEST, "{bad:?}");
        }
        let twice = http2("https://a/").header("content-length", "5").header("content-length", "5");
        assert!(translated(twice).is_err());
    }

    #[test]
    fn what_is_about_one_connection_or_reserved_stays_behind() {
        let request = http2("https://a/")
            .header("connection", "x-mine, host, content-length")
            .header("x-mine", "1")
            .header("keep-alive", "1")
            .header("te", "trailers")
            .header("transfer-encoding", "chunked")
            .header("content-length", "3")
            .header("x-empery-peer", "127.0.0.1:1")
            .header("x-empery-scheme", "https")
            .header("x-kept", "1");
        let (head, _) = translated(request).unwrap();
        let mut names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "host", "x-kept"]);
    }

    #[test]
    fn the_crumbs_of_a_cookie_are_one_again() {
        let crumbs = http2("https://a/").header("cookie", "a=1").header("cookie", "b=2").header("cookie", "c=3");
        let (head, _) = translated(crumbs).unwrap();
        assert_eq!(head.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    }

    #[test]
    fn an_upgrade_passes_and_only_over_http1() {
        let wish = |builder: request::Builder| {
            translated(builder.header("connection", "keep-alive, Upgrade").header("upgrade", "websocket")).unwrap()
        };
        let (head, upgrade) = wish(Request::builder().uri("/").header("host", "a"));
        assert_eq!(
            (upgrade.unwrap(), &head.headers[CONNECTION]),
            ("websocket".parse().unwrap(), &"upgrade".parse::<HeaderValue>().unwrap())
        );
        let (head, upgrade) = wish(http2("https://a/"));
        assert!(upgrade.is_none() && !head.headers.contains_key(UPGRADE));
    }

    #[test]
    fn h10_h11_what_is_no_path_of_ours_or_expects_the_unknown_is_refused() {
        assert_eq!(
            translated(Request::builder().method("CONNECT").uri("a:1")).unwrap_err(),
            StatusCode::NOT_IMPLEMENTED
        );
        let star = |method| translated(Request::builder().method(method).uri("*").header("host", "a"));
        assert!(star("OPTIONS").is_ok());
        assert_eq!(star("GET").unwrap_err(), StatusCode::BAD_REQUEST);
        let expecting = Request::builder().uri("/").header("host", "a").header("expect", "200-ok");
        assert_eq!(translated(expecting).unwrap_err(), StatusCode::EXPECTATION_FAILED);
    }
}
