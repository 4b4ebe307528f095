//! `https`, `https2`, `https-socket`, `suwsgi-socket`, `http-to-https` and `sni`: which certificate goes with which
//! address or name. The files are not looked at here.

use std::path::{Path, PathBuf};

use crate::vassal::{Certificate, ClientCa, Door, HostName, NamedCertificate, Protocol};

use super::{
    draft::{Listen, Variant},
    values::Value,
};

/// `ADDRESS,CERTIFICATE,KEY[,CIPHERS[,CLIENT_CA]]` of `https` and `https-socket`.
pub(super) fn door(value: &mut Value<'_>) -> Option<Listen> {
    let (address, certificate) = addressed(value, "write `https = :443,site.crt,site.key`")?;
    let variant = if value.directive.key == "https" { Variant::Router } else { Variant::Plain };
    Some(listen(value, &address, Door::Tls(Box::new(certificate)), variant))
}

/// The same of `suwsgi-socket`.
pub(super) fn uwsgi_door(value: &mut Value<'_>) -> Option<Listen> {
    let (address, certificate) = addressed(value, "write `suwsgi-socket = :3032,site.crt,site.key`")?;
    Some(listen(value, &address, Door::TlsUwsgi(Box::new(certificate)), Variant::Plain))
}

fn addressed(value: &mut Value<'_>, hint: &str) -> Option<(String, Certificate)> {
    let text = value.text();
    let (address, rest) = text.split_once(',').unwrap_or((&text, ""));
    match certificate(rest) {
        Some(certificate) if !address.is_empty() => Some((address.to_owned(), certificate)),
        _ => {
            value.bad("an address, a certificate and a key", hint);
            None
        }
    }
}

/// `addr=ADDRESS,cert=CERTIFICATE,key=KEY[,ciphers=CIPHERS][,clientca=CLIENT_CA]`. `spdy` is passed over: HTTP/2 is
/// offered everywhere.
pub(super) fn keyed_door(value: &mut Value<'_>) -> Option<Listen> {
    let text = value.text();
    let of = |names: &[&str]| {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, value)| names.contains(name) && !value.is_empty()).map(|(_, value)| value).next_back()
    };
    match (of(&["addr"]), of(&["cert", "crt"]), of(&["key"])) {
        (Some(address), Some(chain), Some(key)) => {
            let certificate = Certificate {
                chain: chain.into(),
                key: key.into(),
                ciphers: of(&["ciphers"]).map(str::to_owned),
                client_ca: of(&["clientca", "client_ca"]).and_then(client_ca),
            };
            Some(listen(value, address, Door::Tls(Box::new(certificate)), Variant::Router))
        }
        _ => {
            value.bad("the items `addr`, `cert` and `key`", "write `https2 = addr=:443,cert=site.crt,key=site.key`");
            None
        }
    }
}

/// `ADDRESS[,PORT]`: the port of https when it is not 443.
pub(super) fn redirecting_door(value: &mut Value<'_>) -> Option<Listen> {
    let text = value.required()?;
    let (address, port) = text.split_once(',').map_or((text.as_str(), None), |(address, port)| (address, Some(port)));
    match port.map(str::parse).transpose() {
        Ok(port) => Some(listen(value, address, Door::ToHttps(port), Variant::Router)),
        Err(_) => {
            value.bad("an address, and after a comma the port of https", "write `http-to-https = :80`");
            None
        }
    }
}

/// `NAME CERTIFICATE,KEY[,CIPHERS[,CLIENT_CA]]`.
pub(super) fn named(value: &mut Value<'_>) -> Option<NamedCertificate> {
    let expected = ("a host name, a blank, a certificate and a key", "write `sni = www.example.com site.crt,site.key`");
    let (name, certificate) = called(value, expected)?;
    Some(NamedCertificate { name: HostName::Exact(name.to_ascii_lowercase()), certificate })
}

/// `REGEX CERTIFICATE,KEY[,CIPHERS[,CLIENT_CA]]`.
pub(super) fn named_by_pattern(value: &mut Value<'_>) -> Option<NamedCertificate> {
    let hint = r"write `sni-regexp = ^[a-z]+\.example\.com$ site.crt,site.key`";
    let (pattern, certificate) = called(value, ("a regular expression, a blank, a certificate and a key", hint))?;
    if let Err(error) = regex::bytes::RegexBuilder::new(&pattern).unicode(false).build() {
        let problem = error.to_string();
        let problem = problem.lines().next_back().unwrap_or_default().to_owned();
        value.bad("a regular expression for host names", &format!("`{pattern}`: {problem}"));
        return None;
    }
    Some(NamedCertificate { name: HostName::Pattern(pattern), certificate })
}

fn called(value: &mut Value<'_>, (expected, hint): (&str, &str)) -> Option<(String, Certificate)> {
    let text = value.text();
    let (name, rest) = text.split_once(' ').unwrap_or((&text, ""));
    match certificate(rest.trim_start()) {
        Some(certificate) if !name.is_empty() => Some((name.to_owned(), certificate)),
        _ => {
            value.bad(expected, hint);
            None
        }
    }
}

fn certificate(text: &str) -> Option<Certificate> {
    let mut parts = text.splitn(4, ',');
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let (chain, key) = (next()?, next()?);
    let ciphers = next();
    Some(Certificate {
        chain: chain.into(),
        key: key.into(),
        ciphers: ciphers.map(str::to_owned),
        client_ca: parts.next().and_then(client_ca),
    })
}

/// A leading `!` makes a certificate a must (core/ssl.c).
fn client_ca(text: &str) -> Option<ClientCa> {
    let (path, required) = text.strip_prefix('!').map_or((text, false), |path| (path, true));
    (!path.is_empty()).then(|| ClientCa { path: path.into(), required })
}

fn listen(value: &Value<'_>, address: &str, door: Door, variant: Variant) -> Listen {
    let at = value.directive.value_at.clone();
    let protocol = if matches!(door, Door::TlsUwsgi(_)) { Protocol::Uwsgi } else { Protocol::Http };
    Listen { text: address.to_owned(), protocol: Some(protocol), variant, door, at }
}

/// Makes the paths of a door absolute. uWSGI opens certificates while it reads its options, before it changes directory.
pub(super) fn resolve(door: &mut Door, working_directory: &Path) {
    if let Door::Tls(certificate) | Door::TlsUwsgi(certificate) = door {
        resolve_certificate(certificate, working_directory);
    }
}

/// The same for named ones. uWSGI looks through all exact names before the first expression.
pub(super) fn in_order_of_looking(mut all: Vec<NamedCertificate>, working_directory: &Path) -> Vec<NamedCertificate> {
    for named in &mut all {
        resolve_certificate(&mut named.certificate, working_directory);
    }
    all.sort_by_key(|named| matches!(named.name, HostName::Pattern(_)));
    all
}

fn resolve_certificate(certificate: &mut Certificate, working_directory: &Path) {
    let from_start = |path: &mut PathBuf| *path = working_directory.join(&*path);
    from_start(&mut certificate.chain);
    from_start(&mut certificate.key);
    if let Some(client_ca) = &mut certificate.client_ca {
        from_start(&mut client_ca.path);
    }
}
