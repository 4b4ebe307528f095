//! `http-to-https`: every request without TLS is sent to the same place with it.

use std::{convert::Infallible, sync::Arc};

use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{HOST, HeaderValue, LOCATION},
    http::uri::Authority,
    service::Service,
};

use crate::{answer::Answer, connection::Pending, deadlines::Activity, host::without_port};

/// Sends clients to https, on this port when it is not 443.
pub(crate) struct ToHttps {
    /// The port.
    pub(crate) port: Option<u16>,
    /// What happens on the connection.
    pub(crate) activity: Arc<Activity>,
}

impl Service<Request<Incoming>> for ToHttps {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pending;

    fn call(&self, request: Request<Incoming>) -> Pending {
        let mut in_flight = self.activity.request();
        // Where the target has an authority, the Host counts for nothing (RFC 9112, 3.2.2).
        let named = named(request.uri(), request.headers());
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let answer = match named.and_then(|named| place(named, self.port, path)) {
            None => Answer::own(StatusCode::BAD_REQUEST),
            Some(place) => {
                let mut answer = Answer::own(StatusCode::MOVED_PERMANENTLY);
                answer.headers_mut().insert(LOCATION, place);
                answer
            }
        };
        in_flight.answered();
        drop(in_flight);
        Box::pin(std::future::ready(Ok(answer)))
    }
}

/// The host that a request names. Where its target has an authority, the Host counts for nothing (RFC 9112, 3.2.2).
fn named<'r>(target: &'r Uri, headers: &'r HeaderMap) -> Option<&'r str> {
    let host = || headers.get(HOST).and_then(|host| host.to_str().ok());
    target.authority().map(Authority::as_str).or_else(host)
}

/// Where to. None when the host is none that a client could mean.
fn place(host: &str, port: Option<u16>, path: &str) -> Option<HeaderValue> {
    let name = without_port(host)?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_host) || !path.starts_with('/') {
        return None;
    }
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    HeaderValue::try_from(format!("https://{name}{port}{path}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(host: &str, port: Option<u16>, path: &str) -> Option<String> {
        place(host, port, path).map(|place| place.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_same_place_with_https_and_its_port() {
        assert_eq!(to("a.example:80", None, "/p?q=1").as_deref(), Some("https://a.example/p?q=1"));
        assert_eq!(to("a.example", Some(8443), "/").as_deref(), Some("https://a.example:8443/"));
        assert_eq!(to("[::1]:80", None, "/").as_deref(), Some("https://[::1]/"));
    }

    #[test]
    fn the_authority_of_the_target_goes_before_the_host() {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("evil.example"))]);
        assert_eq!(named(&Uri::from_static("http://a.example/p"), &headers), Some("a.example"));
        assert_eq!(named(&Uri::from_static("/p"), &headers), Some("evil.example"));
    }

    #[test]
    fn a_host_that_leads_elsewhere_is_refused() {
        for host in ["", "a/b", "a@b", "a b", "[::1", "a\\b", "a?b"] {
            assert_eq!(to(host, None, "/"), None, "{host}");
        }
        assert_eq!(to("a", None, "*"), None);
    }
}
