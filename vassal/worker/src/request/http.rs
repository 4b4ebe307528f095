//! HTTP/1.1 on a worker's listener.

use std::sync::Arc;

use empery_control::{scoreboard::HeadKind, worker::Proxied};
use empery_wire::{Bad, Parsed, http, proxy, refusal::refusal};
use pyo3::prelude::*;

use super::{
    After, Tools, cached, environ,
    framing::Asked,
    held, reply,
    request_line::{Address, Spoken},
    routing,
    rules::Routed,
    static_file,
    vars::{Source, Vars},
    who::Who,
    wsgi::{self, Request},
};
use crate::{
    os, python,
    serve::{
        Serving,
        connection::Connection,
        outgoing::{Outgoing, Then},
    },
};

/// Variables of a request that uWSGI's HTTP parser makes beside those of the headers (proto/http.c): method, URI, path, query,
/// protocol, script name, server's name and port, client's address and port, and which router it came by.
const OWN_VARIABLES: usize = 11;

/// Serves the request at the beginning of the buffer, if it is whole; before the first one there may have to be a
/// PROXY protocol header.
pub(crate) fn serve(py: Python<'_>, tools: &mut Tools, connection: &mut Connection, buffer: &[u8]) -> After {
    let listener = tools.worker.boot.listeners.get(connection.listener);
    let is_past_it = connection.proxied.is_some() || connection.has_no_proxy_header;
    if is_past_it || !listener.is_some_and(|listener| listener.proxy_protocol) {
        return serve_request(py, tools, connection, buffer);
    }
    let (head, consumed) = match proxy::parse(buffer) {
        Parsed::NeedMore => return After::NeedMore,
        Parsed::Bad(bad) => return refuse_proxy(tools, connection, bad.reason),
        Parsed::Head { head, consumed } => (head, consumed),
    };
    let direct = connection.peer;
    if tools.trusted.is_said() && !tools.trusted.covers(direct.map(|peer| peer.ip())) {
        return refuse_proxy(
            tools,
            connection,
            "a PROXY protocol header from an address that is not in trusted-proxies",
        );
    }
    connection.take_proxied(Proxied { client: head.client, is_https: head.is_https });
    let after = match serve_request(py, tools, connection, &buffer[consumed..]) {
        After::NeedMore => After::NeedMore,
        After::NeedBody { bytes } => After::NeedBody { bytes: consumed + bytes },
        after => {
            connection.parting_word = tools.serving.parting_word(connection);
            return after;
        }
    };
    // What came is kept, and read again with what comes.
    connection.proxied = None;
    connection.peer = direct;
    after
}

/// Closes without a word: whoever sends this does not know what an answer would be.
fn refuse_proxy(tools: &Tools, connection: &Connection, reason: &str) -> After {
    tools.worker.log(&format!("invalid connection from {}: {reason}", connection.from()));
    After::Close
}

fn serve_request(py: Python<'_>, tools: &mut Tools, connection: &mut Connection, buffer: &[u8]) -> After {
    let listener = tools.worker.boot.listeners.get(connection.listener);
    let from_gateway = listener.is_some_and(|listener| listener.from_gateway);
    let limits = if from_gateway { &tools.gateway_limits } else { &tools.limits };
    let (head, consumed) = match http::parse(buffer, limits) {
        Parsed::NeedMore => return After::NeedMore,
        Parsed::Bad(bad) => return refuse(tools, connection, bad),
        Parsed::Head { head, consumed } => (head, consumed),
    };
    let who = match Who::of(connection, &tools.trusted, from_gateway, &head.headers) {
        Ok(who) => who,
        Err(bad) => return refuse(tools, connection, bad),
    };
    if !connection.has_ended
        && let Some(bytes) = held::wants(head.body, &buffer[consumed..], &mut connection.chunks)
    {
        // Who has begun to send does not wait to be told to (RFC 9110 section 10.1.1).
        let is_waited_for = head.expect_continue && buffer.len() == consumed && !connection.has_continued;
        if is_waited_for && let Err(after) = go_on(connection) {
            return after;
        }
        return After::NeedBody { bytes: consumed + bytes };
    }
    let find = |name: &str| {
        head.headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .map_or(&b""[..], |header| header.value)
    };
    let vars = Vars { source: Source::Http(&head), who: &who, listener, routed: None };
    let routed = tools.serving.rules.as_ref().map(|_| Arc::<Routed>::default());
    let outcome = routed.as_ref().map(|routed| routing::follow(py, tools, &vars, routed));
    let vars = Vars { routed: routed.as_deref(), ..vars };
    let mut request = Request {
        spoken: Spoken {
            method: head.method.as_bytes(),
            uri: head.target.whole,
            protocol: if head.minor_version == 1 { b"HTTP/1.1" } else { b"HTTP/1.0" },
            remote_addr: Address::Known(who.peer.map(|peer| peer.ip())),
            remote_user: b"",
            forwarded_for: if tools.logs_forwarded_for() { find("x-forwarded-for") } else { b"" },
            vars_number: OWN_VARIABLES + head.headers.len(),
            head_bytes: consumed,
            vars: &vars,
        },
        kind: HeadKind::Http,
        peer: who.peer,
        head: &buffer[..consumed],
        behind: &buffer[consumed..],
        body: head.body,
        beside: None,
        routed: None,
        asked: Asked {
            fd: connection.raw(),
            is_http: true,
            is_cgi: false,
            records: None,
            minor_version: head.minor_version,
            is_head: head.method == "HEAD",
            client_keeps: head.keep_alive,
        },
    };
    let changed = routed.as_deref().map(Routed::of_line);
    if let Some(changed) = &changed {
        request.spoken = changed.over(request.spoken);
    }
    if let Some(after) = outcome.and_then(|outcome| routing::answer(py, tools, &request, outcome)) {
        return after;
    }
    let serving = tools.serving;
    let without_app = serving.answers.and_then(|cache| cached::answer(py, tools, cache, &request));
    let of_file = |files| static_file::of_http(py, tools, files, &head, &request);
    if let Some(after) = without_app.or_else(|| serving.static_files.as_ref().and_then(of_file)) {
        return after;
    }
    let environ = match environ::of_http(py, tools, connection, &head, &who) {
        Ok(environ) => environ,
        Err(error) => {
            python::print_exception(py, &error);
            return After::Close;
        }
    };
    request.routed = routed.clone();
    if let Some(Err(error)) = routed.as_ref().map(|routed| environ::add_routed(&environ, routed)) {
        python::print_exception(py, &error);
        return After::Close;
    }
    match wsgi::answer(py, tools, connection, &environ, &request) {
        Ok(after) => after,
        Err(error) => {
            python::print_exception(py, &error);
            tools.after_panic(py);
            After::Close
        }
    }
}

/// Tells the client to send its body. One that does not take even that has earlier answers to read first, and need not
/// wait for this one (RFC 9110 section 10.1.1).
fn go_on(connection: &mut Connection) -> Result<(), After> {
    const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    connection.has_continued = true;
    match os::send(connection.raw(), [GO_ON, b"", b""]) {
        Ok(sent) if sent == GO_ON.len() => Ok(()),
        Err(error) if os::would_block(&error) => Ok(()),
        Ok(_) | Err(_) => Err(After::Close),
    }
}

/// Says why, as fast as the client takes it, and reads on for a while so that the client gets to read it.
fn refuse(tools: &mut Tools, connection: &Connection, bad: Bad) -> After {
    let counters = &tools.slot.counters;
    counters.errors_4xx.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    tools.worker.log(&format!(
        "invalid HTTP request from {}: {} ({}), skip",
        connection.from(),
        bad.reason,
        bad.status
    ));
    let bytes = refusal(bad, tools.dates.line(os::realtime_ns() / 1_000_000_000));
    After::Send(Outgoing { bytes, file: None, then: Then::Rest })
}

/// A head that did not become whole in time. Sent as far as the client takes it at once: the leader does not wait for it.
pub(crate) fn refuse_slow(serving: &Serving, connection: &Connection) {
    let boot = serving.worker.boot;
    if boot
        .listeners
        .get(connection.listener)
        .is_some_and(|listener| listener.protocol == empery_control::boot::Protocol::Http)
    {
        let bad = Bad::new(408, "the request did not come within socket-timeout");
        let date = reply::Dates::default().line(os::realtime_ns() / 1_000_000_000).to_vec();
        let _ = os::send(connection.raw(), [&refusal(bad, &date), b"", b""]);
    }
}
