//! The buttons. Each is a form sent with POST that carries its session's token, and leads back to the page it belongs
//! to: the vassal's, which shows how far the operation is, or the fleet's.

use axum::{
    Extension, Form,
    extract::{Path, State},
    http::StatusCode,
    response::Redirect,
};
use empery_control::fleet::OperationView;
use empery_lifecycle::{fleet::Verb, ids::VassalName};
use serde::Deserialize;

use super::words::segment;
use crate::{Realm, access::same, guard::Caller, problem::Problem};

/// What every form of ours carries.
#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    form_token: String,
}

impl Sent {
    /// A form of another site could be sent with this browser's cookie, but does not know the token.
    pub(super) fn check(&self, caller: &Caller) -> Result<(), Problem> {
        match caller {
            Caller::Session { form_token, .. } if !same(form_token.as_bytes(), self.form_token.as_bytes()) => {
                Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "wrong-form-token",
                    "this form does not belong to your session; go back, load the page again and repeat",
                ))
            }
            Caller::Session { .. } | Caller::Token | Caller::Local { .. } => Ok(()),
        }
    }
}

type Answer = Result<Redirect, Problem>;

pub(super) async fn reload(
    realm: State<Realm>,
    name: Path<String>,
    caller: Extension<Caller>,
    form: Form<Sent>,
) -> Answer {
    act(realm, name, caller, form, Verb::Reload).await
}

pub(super) async fn stop(
    realm: State<Realm>,
    name: Path<String>,
    caller: Extension<Caller>,
    form: Form<Sent>,
) -> Answer {
    act(realm, name, caller, form, Verb::Stop).await
}

pub(super) async fn start(
    realm: State<Realm>,
    name: Path<String>,
    caller: Extension<Caller>,
    form: Form<Sent>,
) -> Answer {
    act(realm, name, caller, form, Verb::Start).await
}

pub(super) async fn freeze(
    realm: State<Realm>,
    name: Path<String>,
    caller: Extension<Caller>,
    form: Form<Sent>,
) -> Answer {
    act(realm, name, caller, form, Verb::Freeze).await
}

pub(super) async fn resume(
    realm: State<Realm>,
    name: Path<String>,
    caller: Extension<Caller>,
    form: Form<Sent>,
) -> Answer {
    act(realm, name, caller, form, Verb::Resume).await
}

pub(super) async fn retry(
    State(realm): State<Realm>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    Form(sent): Form<Sent>,
) -> Answer {
    sent.check(&caller)?;
    let name = VassalName::new(name.clone()).map_err(|_| Problem::unknown_vassal(&name))?;
    let operation = realm.retry(name.clone(), caller.actor()).await?;
    Ok(back_to(&name, &operation))
}

pub(super) async fn confirm_removals(
    State(realm): State<Realm>,
    Extension(caller): Extension<Caller>,
    Form(sent): Form<Sent>,
) -> Answer {
    sent.check(&caller)?;
    realm.confirm_removals(caller.actor()).await?;
    Ok(Redirect::to("/"))
}

async fn act(
    State(realm): State<Realm>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    Form(sent): Form<Sent>,
    verb: Verb,
) -> Answer {
    sent.check(&caller)?;
    let name = VassalName::new(name.clone()).map_err(|_| Problem::unknown_vassal(&name))?;
    let operation = realm.ask(name.clone(), verb, caller.actor()).await?;
    Ok(back_to(&name, &operation))
}

/// 303: the browser asks for the page with GET, and a reload of it repeats nothing.
fn back_to(name: &VassalName, operation: &OperationView) -> Redirect {
    Redirect::to(&format!("/vassals/{}?operation={}", segment(name.as_str()), operation.id))
}
