//! The variables of a request by their CGI names, looked up in what came: for whoever wants a few of them without the dictionary
//! that is made for the app. What is kept from the app is kept from them, too.

use std::borrow::Cow;

use empery_control::boot::AppListener;
use empery_wire::{gateway::tls_variables, http};

use super::{environ::CONTROL_PREFIX, http_rules, rules::Routed, who::Who};

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Vars<'b> {
    pub(super) source: Source<'b>,
    pub(super) who: &'b Who<'b>,
    pub(super) listener: Option<&'static AppListener>,
    /// What routes have said of the request, when there are any rules.
    pub(super) routed: Option<&'b Routed>,
}

/// Where they are.
#[derive(Clone, Copy)]
pub(super) enum Source<'b> {
    /// In the head of an HTTP request.
    Http(&'b http::Head<'b>),
    /// In what a web server sent.
    Cgi(&'b [(&'b [u8], &'b [u8])]),
}

impl<'b> Vars<'b> {
    /// The variable of this name; None when the app would not have it.
    pub(super) fn find(&self, name: &[u8]) -> Option<Cow<'b, [u8]>> {
        if let Some(value) = self.routed.and_then(|routed| routed.variable(name)) {
            return Some(Cow::Owned(value));
        }
        match self.source {
            Source::Http(head) => self.of_http(head, name),
            Source::Cgi(vars) => self.of_cgi(vars, name),
        }
    }

    fn of_http(&self, head: &'b http::Head<'b>, name: &[u8]) -> Option<Cow<'b, [u8]>> {
        let borrowed = |bytes: &'b [u8]| Some(Cow::Borrowed(bytes));
        if let Some(value) = http_rules::variable(self.listener, name) {
            return borrowed(value);
        }
        match name {
            b"REQUEST_METHOD" => borrowed(head.method.as_bytes()),
            b"REQUEST_URI" => borrowed(head.target.whole),
            b"QUERY_STRING" => borrowed(head.target.query),
            b"SERVER_PROTOCOL" => borrowed(if head.minor_version == 0 { b"HTTP/1.0" } else { b"HTTP/1.1" }),
            b"SCRIPT_NAME" => borrowed(b""),
            b"PATH_INFO" => {
                let mut path = Vec::new();
                http_rules::path_info(self.listener, head.target.path, &mut path);
                Some(Cow::Owned(path))
            }
            b"SERVER_NAME" if self.listener?.http.server_name_is_host => {
                self.of_http(head, b"HTTP_HOST").or(borrowed(self.listener?.server_name.as_bytes()))
            }
            b"SERVER_NAME" => borrowed(self.listener?.server_name.as_bytes()),
            b"SERVER_PORT" => borrowed(self.listener?.server_port.as_bytes()),
            b"REMOTE_ADDR" | b"REMOTE_PORT" => self.remote(name),
            b"HTTPS" => self.who.is_https.then_some(Cow::Borrowed(b"on")),
            b"HTTP_HOST" => match self.who.host.or(head.target.authority) {
                Some(host) => borrowed(host),
                None => self.header(head, "HOST".as_bytes()),
            },
            b"CONTENT_TYPE" | b"CONTENT_LENGTH" => self.header(head, name),
            _ => match name.strip_prefix(b"HTTP_") {
                Some(name) => self.header(head, name),
                None => self.of_tls(name),
            },
        }
    }

    /// A fact about the TLS session, under either of its names.
    fn of_tls(&self, name: &[u8]) -> Option<Cow<'b, [u8]>> {
        self.who.tls.iter().find_map(|(fact, value)| {
            let (variable, of_uwsgi, value) = tls_variables(fact, value);
            let is_it = [Some(variable.as_str()), of_uwsgi].into_iter().flatten().any(|known| known.as_bytes() == name);
            is_it.then_some(Cow::Owned(value))
        })
    }

    /// A header by what CGI makes of its name. Repeated ones are one list (RFC 9110 section 5.3).
    fn header(&self, head: &'b http::Head<'b>, name: &[u8]) -> Option<Cow<'b, [u8]>> {
        let is = |header: &&http::Header<'_>| {
            header.name.len() == name.len()
                && header.name.bytes().zip(name).all(|(byte, wanted)| match byte {
                    b'-' => *wanted == b'_',
                    byte => byte.to_ascii_uppercase() == *wanted,
                })
                && self.who.shows(header.name)
        };
        let mut found = head.headers.iter().filter(is).map(|header| header.value);
        let first = found.next()?;
        let between: &[u8] = if name == b"COOKIE" { b"; " } else { b", " };
        Some(found.fold(Cow::Borrowed(first), |before, value| Cow::Owned([&before, between, value].concat())))
    }

    fn of_cgi(&self, vars: &'b [(&'b [u8], &'b [u8])], name: &[u8]) -> Option<Cow<'b, [u8]>> {
        if name.starts_with(CONTROL_PREFIX) || !self.who.shows_variable(name) {
            return None;
        }
        match name {
            b"REMOTE_ADDR" | b"REMOTE_PORT" if self.who.peer.is_some() => self.remote(name),
            b"HTTP_HOST" if self.who.host.is_some() => self.who.host.map(Cow::Borrowed),
            _ => vars.iter().rfind(|(key, _)| *key == name).map(|(_, value)| Cow::Borrowed(*value)),
        }
    }

    fn remote(&self, name: &[u8]) -> Option<Cow<'b, [u8]>> {
        let peer = self.who.peer;
        let text = match (name, peer) {
            (b"REMOTE_ADDR", Some(peer)) => peer.ip().to_string(),
            (_, Some(peer)) if peer.port() != 0 => peer.port().to_string(),
            _ => String::new(),
        };
        Some(Cow::Owned(text.into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use empery_wire::{Limits, Parsed};

    use super::*;

    #[test]
    fn facts_about_the_tls_session_are_variables_like_others() {
        let limits = Limits { head_max_bytes: 4096, headers_max: 10, body_max_bytes: 0 };
        let parsed = http::parse(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n", &limits);
        let Parsed::Head { head, .. } = parsed else { panic!("a head") };
        let who = Who { tls: vec![("client-s-dn", b"CN=joe"), ("protocol", b"TLSv1.3")], ..Who::default() };
        let vars = Vars { source: Source::Http(&head), who: &who, listener: None, routed: None };
        let found = |name: &str| vars.find(name.as_bytes()).map(|value| String::from_utf8_lossy(&value).into_owned());
        for (name, value) in [
            ("SSL_CLIENT_S_DN", Some("CN=joe")),
            ("HTTPS_DN", Some("CN=joe")),
            ("SSL_PROTOCOL", Some("TLSv1.3")),
            ("HTTP_HOST", Some("shop.example")),
            ("SSL_CIPHER", None),
        ] {
            assert_eq!(found(name).as_deref(), value, "{name}");
        }
    }
}
