//! Addresses to listen on, with the options that hold for all of them.

use std::{collections::BTreeSet, path::Path};

use empery_rules::http::HttpRules;

use crate::{
    address::{Address, AddressError},
    facts::Inherited,
    problem::{Origin, Problem},
    vassal::{Door, Listener, Protocol},
};

use super::{
    draft::{Draft, Variant},
    inherited,
};

/// How many connections may wait on the socket between the gateway and the workers; cut to what the kernel allows.
const GATEWAY_BACKLOG: u32 = 4096;

/// Permission bits of an on-demand socket (core/emperor.c binds it with 0666).
const ON_DEMAND_MODE: u32 = 0o666;

/// The listeners in order; an address named twice is one, as in uWSGI. When the gateway has any, the socket that it
/// reaches the workers by comes last.
pub(super) fn listeners(
    draft: &Draft,
    base: &Path,
    inherited: &[Inherited],
    problems: &mut Vec<Problem>,
) -> Vec<Listener> {
    let mut seen = BTreeSet::new();
    let mut listeners = Vec::new();
    let mut mapped = Mapped { of: &draft.mapped, counted: 0 };
    for listen in &draft.listeners {
        let Some(text) = unshared(&listen.text, draft, &listen.at, problems) else { continue };
        let named = match inherited::numbered(text, inherited, &listen.at, problems) {
            Some(numbered) => numbered.ok(),
            None => parse(text, &listen.at, base, problems).map(|address| match address {
                Address::Unix(_) if draft.abstract_sockets => Address::Abstract(text.to_owned()),
                address => inherited::meant(address, inherited),
            }),
        };
        let Some(address) = named else { continue };
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
            freebind: draft.freebind,
            workers: mapped.next_workers(listen.variant),
            // As in uWSGI only for HTTP: the other protocols carry the client's address themselves.
            proxy_protocol: proxied && protocol == Protocol::Http,
            door: listen.door.clone(),
            nph: listen.variant == Variant::Nph,
            defer_accept: draft.defer_accept,
            http: http_rules(draft, listen.variant, protocol),
        });
    }
    for address in inherited::unnamed(inherited, draft.skip_zero) {
        if seen.insert(address.clone()) {
            let workers = mapped.next_workers(Variant::Plain);
            listeners.push(Listener { workers, ..held_by_others(address.clone(), draft) });
        }
    }
    if listeners.iter().any(|listener| !listener.door.is_workers()) {
        let has_uwsgi = listeners.iter().any(|listener| matches!(listener.door, Door::TlsUwsgi(_)));
        let http = http_rules(draft, Variant::Router, Protocol::Http);
        listeners.push(Listener { http, ..from_gateway(Protocol::Http) });
        listeners.extend(has_uwsgi.then(|| from_gateway(Protocol::Uwsgi)));
    }
    unused_shared_sockets(draft, problems);
    mapped.tell_unused(problems);
    listeners
}

/// The options of the router hold where uWSGI has one (`http`, `https`), and the one of its own HTTP parser elsewhere.
fn http_rules(draft: &Draft, variant: Variant, protocol: Protocol) -> HttpRules {
    match (protocol, variant) {
        (Protocol::Http, Variant::Router) => HttpRules { keeps_encoded_slashes: false, ..draft.http.clone() },
        (Protocol::Http, Variant::Plain | Variant::Nph) => {
            HttpRules { keeps_encoded_slashes: draft.http.keeps_encoded_slashes, ..HttpRules::default() }
        }
        (Protocol::Uwsgi | Protocol::FastCgi | Protocol::Scgi, _) => HttpRules::default(),
    }
}

/// `map-socket` while the sockets are counted: from 0, those of a router (`http`, `https`) aside.
struct Mapped<'d> {
    of: &'d [(usize, Vec<u32>, Origin)],
    counted: usize,
}

impl Mapped<'_> {
    /// The workers of the next socket; none are all.
    fn next_workers(&mut self, variant: Variant) -> Vec<u32> {
        if variant == Variant::Router {
            return Vec::new();
        }
        self.counted += 1;
        let own = self.of.iter().filter(|(number, _, _)| number + 1 == self.counted);
        own.flat_map(|(_, workers, _)| workers.iter().copied()).collect()
    }

    fn tell_unused(&self, problems: &mut Vec<Problem>) {
        for (number, _, at) in self.of.iter().filter(|(number, _, _)| *number >= self.counted) {
            let message = format!("`map-socket` names socket {number}, and there are {}", self.counted);
            problems.push(Problem::error("bad-value", at.clone(), message).hint("sockets are counted from 0"));
        }
    }
}

/// The socket that an emperor holds for a vassal on demand, when no line names it: `protocol` is spoken there, and everybody
/// may connect to a path unless `chmod-socket` says otherwise, as in uWSGI.
pub(super) fn on_demand(
    address: &str,
    draft: &Draft,
    (base, name): (&Path, &str),
    problems: &mut Vec<Problem>,
) -> Option<Listener> {
    let address = parse(address, &Origin { file: name.to_owned(), ..Origin::default() }, base, problems)?;
    let is_path = address.path().is_some();
    Some(Listener {
        mode: draft.socket_mode.or(Some(ON_DEMAND_MODE)).filter(|_| is_path),
        owner: draft.socket_owner.clone().filter(|_| is_path),
        ..held_by_others(address, draft)
    })
}

/// A socket that no line names: `protocol` is spoken there.
fn held_by_others(address: Address, draft: &Draft) -> Listener {
    Listener {
        address,
        protocol: draft.protocol,
        backlog: draft.backlog,
        mode: None,
        owner: None,
        reuse_port: false,
        freebind: false,
        workers: Vec::new(),
        proxy_protocol: draft.proxy_protocol && draft.protocol == Protocol::Http,
        nph: false,
        defer_accept: draft.defer_accept,
        http: http_rules(draft, Variant::Plain, draft.protocol),
        door: Door::Workers,
    }
}

fn from_gateway(protocol: Protocol) -> Listener {
    Listener {
        address: Address::Private(protocol),
        protocol,
        backlog: GATEWAY_BACKLOG,
        mode: None,
        owner: None,
        reuse_port: false,
        freebind: false,
        workers: Vec::new(),
        proxy_protocol: false,
        nph: false,
        defer_accept: false,
        http: HttpRules::default(),
        door: Door::FromGateway,
    }
}

/// What `=N` stands for. Every socket is bound before privileges are dropped, so a shared one is its address.
fn unshared<'a>(text: &'a str, draft: &'a Draft, at: &Origin, problems: &mut Vec<Problem>) -> Option<&'a str> {
    let Some(number) = text.strip_prefix('=') else { return Some(text) };
    let shared = number.parse::<usize>().ok().and_then(|number| draft.shared.get(number));
    if shared.is_none() {
        let message = match draft.shared.len() {
            0 => format!("`{text}` names a shared socket, and there is none"),
            there => format!("`{text}` names a shared socket; expected `=0` to `={}`", there - 1),
        };
        let hint = "write `shared-socket = :443` before it; they are counted from 0";
        problems.push(Problem::error("no-shared-socket", at.clone(), message).hint(hint));
    }
    shared.map(|(address, _)| address.as_str())
}

fn unused_shared_sockets(draft: &Draft, problems: &mut Vec<Problem>) {
    for (number, (text, at)) in draft.shared.iter().enumerate() {
        let name = format!("={number}");
        if !draft.listeners.iter().any(|listen| listen.text == name) {
            let message = format!("nothing serves `shared-socket = {text}`; it is not bound");
            problems.push(
                Problem::warning("shared-socket-unused", at.clone(), message)
                    .hint(format!("name it, for example `https = {name},site.crt,site.key`")),
            );
        }
    }
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
        AddressError::Host(host) if host == "*" => "write `:PORT` for all addresses".to_owned(),
        AddressError::Host(host) if host.starts_with("unix") => "write the path of the socket alone".to_owned(),
        AddressError::Host(_) | AddressError::Port(_) | AddressError::Empty | AddressError::Nul => {
            "write `127.0.0.1:8000`, `:8000`, `[::1]:8000`, `/run/app.sock` or `@name`".to_owned()
        }
        AddressError::Shared(_) => "write the address itself; `=N` works in `socket`, `http`, `http-socket`, `https`, `https-socket`, `http-to-https`".to_owned(),
        AddressError::PathTooLong(_) => "use a shorter path, for example under /run".to_owned(),
    };
    problems.push(Problem::error("bad-address", at.clone(), error.to_string()).hint(hint));
    None
}
