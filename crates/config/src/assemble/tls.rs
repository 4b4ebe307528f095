//! `https`, `https2`, `https-socket`, `http-to-https` and `sni`: which certificate goes with which address or name. The
//! files are not looked at here.

use std::path::{Path, PathBuf};

use crate::vassal::{Certificate, ClientCa, Door, NamedCertificate, Protocol};

use super::{
    draft::{Listen, Variant},
    values::Value,
};

/// `ADDRESS,CERTIFICATE,KEY[,CIPHERS[,CLIENT_CA]]`.
pub(super) fn door(value: &mut Value<'_>) -> Option<Listen> {
    let text = value.text();
    let (address, rest) = text.split_once(',').unwrap_or((&text, ""));
    match certificate(rest) {
        Some(certificate) if !address.is_empty() => Some(listen(value, address, Door::Tls(Box::new(certificate)))),
        _ => {
            value.bad("an address, a certificate and a key", "write `https = :443,site.crt,site.key`");
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
            Some(listen(value, address, Door::Tls(Box::new(certificate))))
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
        Ok(port) => Some(listen(value, address, Door::ToHttps(port))),
        Err(_) => {
            value.bad("an address, and after a comma the port of https", "write `http-to-https = :80`");
            None
        }
    }
}

/// `NAME CERTIFICATE,KEY[,CIPHERS[,CLIENT_CA]]`.
pub(super) fn named(value: &mut Value<'_>) -> Option<NamedCertificate> {
    let text = value.text();
    let (name, rest) = text.split_once(' ').unwrap_or((&text, ""));
    match certificate(rest.trim_start()) {
        Some(certificate) if !name.is_empty() => {
            Some(NamedCertificate { name: name.to_ascii_lowercase(), certificate })
        }
        _ => {
            value.bad(
                "a host name, a blank, a certificate and a key",
                "write `sni = www.example.com site.crt,site.key`",
            );
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

fn listen(value: &Value<'_>, address: &str, door: Door) -> Listen {
    let at = value.directive.value_at.clone();
    Listen { text: address.to_owned(), protocol: Some(Protocol::Http), variant: Variant::Plain, door, at }
}

/// Makes the paths of a door absolute. uWSGI opens certificates while it reads its options, before it changes directory.
pub(super) fn resolve(door: &mut Door, working_directory: &Path) {
    if let Door::Tls(certificate) = door {
        resolve_certificate(certificate, working_directory);
    }
}

/// The same for a named one.
pub(super) fn resolved(mut named: NamedCertificate, working_directory: &Path) -> NamedCertificate {
    resolve_certificate(&mut named.certificate, working_directory);
    named
}

fn resolve_certificate(certificate: &mut Certificate, working_directory: &Path) {
    let from_start = |path: &mut PathBuf| *path = working_directory.join(&*path);
    from_start(&mut certificate.chain);
    from_start(&mut certificate.key);
    if let Some(client_ca) = &mut certificate.client_ca {
        from_start(&mut client_ca.path);
    }
}
