//! What stands around every route: who calls, from where, and what every answer carries. Three rings, outermost first:
//! [`dress`] (request id, security headers, problems in the reader's shape), [`admit`] (host, origin, peer) and
//! [`authenticate`] (token or session; the routes behind it find a [`Caller`]).

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
};

use crate::{
    Realm, Trust, pages,
    problem::{Complete, Problem},
    serve::ControlPeer,
};

/// The cookie of a signed-in browser.
pub(crate) const SESSION_COOKIE: &str = "empery_session";

/// Longest body of a request, in bytes: forms and small JSON.
const BODY_MAX_BYTES: usize = 64 * 1024;

/// How much of an answer that axum wrote itself is taken over into a problem, in bytes.
const REASON_MAX_BYTES: usize = 4 * 1024;

/// Only our own files, no inline script or style, no frames (CSP level 3).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Who calls, once it is known that they may.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// A program with the token.
    Token,
    /// A browser; its forms must carry this token.
    Session { cookie: String, form_token: String },
    /// The command line on this host.
    Local { uid: u32 },
}

impl Caller {
    /// As operations record it.
    pub(crate) fn actor(&self) -> String {
        match self {
            Caller::Token => "api".to_owned(),
            Caller::Session { .. } => "dashboard".to_owned(),
            Caller::Local { uid } => format!("cli:uid {uid}"),
        }
    }
}

#[derive(Clone)]
struct Door {
    realm: Realm,
    trust: Arc<Trust>,
}

/// Puts the rings around the routes.
pub(crate) fn around(open: Router<Realm>, closed: Router<Realm>, realm: Realm, trust: Trust) -> Router {
    let door = Door { realm: realm.clone(), trust: Arc::new(trust) };
    open.merge(closed.layer(middleware::from_fn_with_state(door.clone(), authenticate)))
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn_with_state(door, admit))
        .layer(middleware::from_fn(dress))
        .with_state(realm)
}

async fn no_such_page(request: Request) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", format!("there is nothing at {}", request.uri().path()))
}

async fn no_such_method(request: Request) -> Problem {
    let detail = format!("{} cannot be asked with {}", request.uri().path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

async fn dress(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let for_people = wants_page(&request);
    let mut response = next.run(request).await;
    let failed = response.status().is_client_error() || response.status().is_server_error();
    if failed && response.extensions().get::<Complete>().is_none() {
        let problem = match response.extensions_mut().remove::<Problem>() {
            Some(problem) => problem,
            None => from_rejection(response).await,
        };
        if problem.status.is_server_error() {
            tracing::warn!(request_id = %id, code = problem.code, detail = %problem.detail, "a request could not be answered");
        }
        response = if for_people { pages::problem(&problem, &id) } else { problem.json(&id) };
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // Not `no-referrer`: with it, browsers send `Origin: null` with our own forms (Fetch, "append a request Origin header").
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What axum itself refused (a query or form that cannot be read), in our shape.
async fn from_rejection(response: Response) -> Problem {
    let status = response.status();
    let text = axum::body::to_bytes(response.into_body(), REASON_MAX_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let detail =
        if text.is_empty() { status.canonical_reason().unwrap_or("it failed").to_owned() } else { text.into_owned() };
    Problem::new(status, "bad-request", detail)
}

/// The caller's id when it is harmless in a log, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|text| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    });
    if let Some(given) = given {
        return given.to_owned();
    }
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    format!("{now_us:x}-{:x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn wants_page(request: &Request) -> bool {
    let accepts = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    !request.uri().path().starts_with("/api/") && accepts.is_some_and(|accepts| accepts.contains("text/html"))
}

async fn admit(State(door): State<Door>, mut request: Request, next: Next) -> Result<Response, Problem> {
    match &*door.trust {
        Trust::Local { allowed_uids } => {
            let uid = request.extensions().get::<ConnectInfo<ControlPeer>>().and_then(|ConnectInfo(peer)| peer.uid);
            let Some(uid) = uid.filter(|uid| allowed_uids.contains(uid)) else {
                return Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "wrong-user",
                    "the control socket serves root and the emperor's own user only; run the command as one of them",
                ));
            };
            request.extensions_mut().insert(Caller::Local { uid });
        }
        Trust::Tcp => {
            check_host(request.headers(), &door.realm.hosts)?;
            if !request.method().is_safe() && !request.headers().contains_key(header::AUTHORIZATION) {
                check_origin(request.headers())?;
            }
        }
    }
    Ok(next.run(request).await)
}

/// Against DNS rebinding: a page of somebody else's whose name was made to point at us still sends its own name.
fn check_host(headers: &HeaderMap, hosts: &[String]) -> Result<(), Problem> {
    let host = host_of(headers).map(|host| name_of(host).to_ascii_lowercase());
    let ours = host.as_deref().is_some_and(|host| {
        // An address is nothing that could be made to point elsewhere.
        let address = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(six) => six.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok(),
        };
        address || host == "localhost" || hosts.iter().any(|ours| ours == host)
    });
    if ours {
        return Ok(());
    }
    let detail = format!(
        "the emperor does not answer to the name \"{}\"; use an address or localhost, or have it answer \
         to this name with --host",
        host.unwrap_or_default()
    );
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "wrong-host", detail))
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// The host of `host:port`, with brackets when it is an IPv6 address.
fn name_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => authority,
    }
}

/// A request that changes something must come from one of our own pages. Exact, with the port: to a browser, another
/// port of this host is the same *site* and gets our cookies, and the vassals live there.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    let from_our_page = text("sec-fetch-site").is_none_or(|site| site == "same-origin");
    let our_origin = text("origin")
        .is_none_or(|origin| origin.split_once("://").map(|(_, authority)| authority) == host_of(headers));
    if from_our_page && our_origin {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "cross-origin",
        "this request came from another site's page; use the dashboard's own buttons",
    ))
}

async fn authenticate(State(door): State<Door>, mut request: Request, next: Next) -> Result<Response, Problem> {
    if request.extensions().get::<Caller>().is_none() {
        let Some(caller) = identify(&door.realm, request.headers())? else { return sign_in_first(&request) };
        let changes = *request.method() != Method::GET && *request.method() != Method::HEAD;
        if changes && matches!(caller, Caller::Session { .. }) && request.uri().path().starts_with("/api/") {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "token-needed",
                "changes over the API need the token (Authorization: Bearer); a browser's session only works with the dashboard's forms",
            ));
        }
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

/// Who it is. A token that is shown must be right, whatever cookie comes with it.
fn identify(realm: &Realm, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        return match realm.access.check_token(token.unwrap_or_default()) {
            Ok(()) => Ok(Some(Caller::Token)),
            Err(denied) => Err(Problem::denied(denied)),
        };
    }
    Ok(session_cookie(headers).and_then(|cookie| {
        let form_token = realm.access.form_token(cookie)?;
        Some(Caller::Session { cookie: cookie.to_owned(), form_token })
    }))
}

fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == SESSION_COOKIE).then_some(value)
        })
}

fn sign_in_first(request: &Request) -> Result<Response, Problem> {
    if *request.method() == Method::GET && wants_page(request) {
        return Ok(Redirect::to("/login").into_response());
    }
    Err(Problem::new(
        StatusCode::UNAUTHORIZED,
        "sign-in-needed",
        "send the token from the file `token` in the emperor's state directory as `Authorization: Bearer TOKEN`, or sign in with the link that `emperor login` prints",
    ))
}
