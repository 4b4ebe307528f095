//! Signing in, by the token or by a link of `emperor login`, and out again. The link only shows a form: programs that
//! fetch links ahead of a person (mail scanners, browsers) use nothing up.

use askama::Template;
use axum::{
    Extension, Form,
    extract::{Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::{act::Sent, html};
use crate::{
    Realm,
    access::{AccessError, Denied, SignedIn},
    guard::{Caller, SESSION_COOKIE},
    problem::{Complete, Problem},
};

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    once: Option<String>,
    refusal: Option<&'static str>,
}

#[derive(Deserialize)]
pub(super) struct Link {
    once: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Shown {
    once: Option<String>,
    token: Option<String>,
}

pub(super) async fn form(Query(Link { once }): Query<Link>) -> Response {
    html(&Page { once, refusal: None })
}

pub(super) async fn submit(State(realm): State<Realm>, Form(shown): Form<Shown>) -> Result<Response, Problem> {
    let by_link = shown.once.is_some();
    let outcome = match &shown.once {
        Some(once) => realm.access.sign_in_by_link(once),
        None => realm.access.sign_in_by_token(shown.token.as_deref().unwrap_or_default().trim()),
    };
    let denied = match outcome.map_err(|error: AccessError| Problem::failed(error.to_string()))? {
        Ok(signed_in) => return welcome(&signed_in),
        Err(denied) => denied,
    };
    let refusal = match denied {
        Denied::TooOften => return Err(Problem::denied(denied)),
        Denied::Wrong if by_link => "This link was used already or is too old. Ask for a new one with `emperor login`.",
        Denied::Wrong => "That is not the token. It stands in the file `token` of the emperor's state directory.",
    };
    // With the form, not as a problem: the form is what helps.
    let mut response = html(&Page { once: None, refusal: Some(refusal) });
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.extensions_mut().insert(Complete);
    Ok(response)
}

fn welcome(signed_in: &SignedIn) -> Result<Response, Problem> {
    let cookie = format!("{SESSION_COOKIE}={}; Path=/; HttpOnly; SameSite=Strict", signed_in.cookie);
    let cookie = HeaderValue::from_str(&cookie).map_err(|error| Problem::failed(error.to_string()))?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

pub(super) async fn sign_out(
    State(realm): State<Realm>,
    Extension(caller): Extension<Caller>,
    Form(sent): Form<Sent>,
) -> Result<Response, Problem> {
    sent.check(&caller)?;
    if let Caller::Session { cookie, .. } = &caller {
        realm.access.sign_out(cookie);
    }
    let forget = HeaderValue::from_static("empery_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok(([(header::SET_COOKIE, forget)], Redirect::to("/login")).into_response())
}
