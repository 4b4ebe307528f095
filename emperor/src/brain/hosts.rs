//! The names that the dashboard and the API answer to beside loopback ones and addresses (`--host`), and the address that login
//! links begin with. A name that was not given is refused: that is what keeps pages of other sites out (DNS rebinding).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::ensure;

/// One of them, understood.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    /// Lower case, without a port.
    name: String,
    /// What was given as an URL, for a proxy in front that has TLS or another port.
    url: Option<String>,
}

/// The names, lower case.
///
/// # Errors
/// When one of the texts is neither a name nor an URL of one.
pub(crate) fn names(given: &[String]) -> anyhow::Result<Vec<String>> {
    given.iter().map(|text| Ok(read(text)?.name)).collect()
}

/// What a login link begins with: the first of the names, else the address that is listened on.
///
/// # Errors
/// As [`names`].
pub(crate) fn base_url(given: &[String], listen: SocketAddr) -> anyhow::Result<String> {
    let port = listen.port();
    Ok(match given.first().map(|text| read(text)).transpose()? {
        Some(Host { url: Some(url), .. }) => url,
        Some(Host { name, url: None }) => format!("http://{name}:{port}"),
        // No browser can be sent to "every address": the one on this host will do.
        None if listen.ip() == Ipv4Addr::UNSPECIFIED => format!("http://{}:{port}", Ipv4Addr::LOCALHOST),
        None if listen.ip() == Ipv6Addr::UNSPECIFIED => format!("http://[{}]:{port}", Ipv6Addr::LOCALHOST),
        None => format!("http://{listen}"),
    })
}

fn read(text: &str) -> anyhow::Result<Host> {
    let lower = text.to_ascii_lowercase();
    let url = lower.trim_end_matches('/');
    let authority = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let name = authority.map_or(url, |authority| match authority.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) | None => authority,
    });
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    ensure!(
        !name.is_empty() && name.bytes().all(is_name),
        "host: \"{text}\" is no name such as panel.example, and no URL such as https://panel.example"
    );
    Ok(Host { name: name.to_owned(), url: authority.map(|_| url.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_an_url_are_both_answered_to_and_begin_the_links() {
        let listen = "0.0.0.0:7070".parse().unwrap();
        for (given, name, url) in [
            ("Panel.Example", "panel.example", "http://panel.example:7070"),
            ("https://panel.example/", "panel.example", "https://panel.example"),
            ("http://panel.example:8443", "panel.example", "http://panel.example:8443"),
        ] {
            let given = [given.to_owned()];
            assert_eq!(names(&given).unwrap(), [name]);
            assert_eq!(base_url(&given, listen).unwrap(), url);
        }
        for wrong in ["", "panel.example:7070", "https://", "https://a/b", "a b", "https://user@a"] {
            let error = names(&[wrong.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{wrong}\"")), "{error}");
        }
    }

    #[test]
    fn without_a_name_a_link_leads_to_an_address_that_a_browser_can_reach() {
        for (listen, url) in [
            ("127.0.0.1:7070", "http://127.0.0.1:7070"),
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("[::]:1", "http://[::1]:1"),
            ("[2001:db8::1]:1", "http://[2001:db8::1]:1"),
        ] {
            assert_eq!(base_url(&[], listen.parse().unwrap()).unwrap(), url);
        }
    }
}
