//! Addresses to listen on, with the options that hold for all of them.

use std::{collections::BTreeSet, path::Path};

use crate::{
    address::{Address, AddressError},
    problem::{Origin, Problem},
    vassal::{Listener, Protocol},
};

use super::draft::{Draft, Variant};

/// The listeners in order; an address named twice is one, as in uWSGI.
pub(super) fn listeners(draft: &Draft, base: &Path, problems: &mut Vec<Problem>) -> Vec<Listener> {
    let mut seen = BTreeSet::new();
    let mut listeners = Vec::new();
    for listen in &draft.listeners {
        let Some(address) = parse(&listen.text, &listen.at, base, problems) else { continue };
        let address = match address {
            Address::Unix(_) if draft.abstract_sockets => Address::Abstract(listen.text.clone()),
            address => address,
        };
        let chosen_by_kernel = matches!(address, Address::Tcp(tcp) if tcp.port() == 0);
        if !chosen_by_kernel && !seen.insert(address.clone()) {
            let message = format!("`{address}` is named twice; it is bound once");
            problems.push(Problem::warning("same-address", listen.at.clone(), message).hint("remove one of the lines"));
            continue;
        }
        let is_path = address.path().is_some();
        let protocol = listen.protocol.unwrap_or(draft.protocol);
        let proxied =
            if listen.variant == Variant::Router { draft.router_proxy_protocol } else { draft.proxy_protocol };
        listeners.push(Listener {
            address,
            protocol,
            backlog: draft.backlog,
            mode: draft.socket_mode.filter(|_| is_path),
            owner: draft.socket_owner.clone().filter(|_| is_path),
            reuse_port: draft.reuse_port,
            // As in uWSGI only for HTTP: the other protocols carry the client's address themselves.
            proxy_protocol: proxied && protocol == Protocol::Http,
        });
    }
    listeners
}

/// Where the statistics are.
pub(super) fn stats(draft: &Draft, base: &Path, problems: &mut Vec<Problem>) -> Option<Address> {
    let (text, at) = draft.stats.as_ref()?;
    parse(text, at, base, problems)
}

fn parse(text: &str, at: &Origin, base: &Path, problems: &mut Vec<Problem>) -> Option<Address> {
    let error = match Address::parse(text, base) {
        Ok(address) => return Some(address),
        Err(error) => error,
    };
    let hint = match &error {
        AddressError::Host(host) if host == "localhost" => "write `127.0.0.1:PORT`".to_owned(),
        AddressError::Host(host) if host == "*" => "write `:PORT` for all addresses".to_owned(),
        AddressError::Host(host) if host.starts_with("unix") => "write the path of the socket alone".to_owned(),
        AddressError::Host(_) | AddressError::Port(_) | AddressError::Empty | AddressError::Nul => {
            "write `127.0.0.1:8000`, `:8000`, `[::1]:8000`, `/run/app.sock` or `@name`".to_owned()
        }
        AddressError::Shared(_) => "write the address itself: it is bound before privileges are dropped".to_owned(),
        AddressError::PathTooLong(_) => "use a shorter path, for example under /run".to_owned(),
    };
    problems.push(Problem::error("bad-address", at.clone(), error.to_string()).hint(hint));
    None
}
