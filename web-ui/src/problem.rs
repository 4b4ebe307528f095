//! An answer that says what went wrong: for programs as RFC 9457 problem+json with a stable `code`, for people as a
//! page. A handler only returns the [`Problem`]; [`crate::guard`] gives it the request's id and the shape its reader wants.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{AskError, access::Denied};

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// Stable; documented in `/openapi.json`.
    pub(crate) code: &'static str,
    /// One sentence: subject, what was expected, what to do.
    pub(crate) detail: String,
    pub(crate) retry_after_s: Option<u64>,
}

/// On a response that failed and says so itself: the guard leaves it as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Complete;

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into(), retry_after_s: None }
    }

    pub(crate) fn unknown_vassal(name: &str) -> Problem {
        let detail = format!("there is no vassal \"{name}\": no file of that name counts in the vassals directory");
        Problem::new(StatusCode::NOT_FOUND, "unknown-vassal", detail)
    }

    pub(crate) fn unknown_worker(name: &str, worker: &str) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "unknown-worker", format!("{name} has no worker {worker}"))
    }

    /// The emperor has just started: what it does not know may well be there.
    pub(crate) fn starting() -> Problem {
        Problem {
            retry_after_s: Some(1),
            ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting", "the vassals directory has not been read yet")
        }
    }

    pub(crate) fn unknown_operation(id: &str) -> Problem {
        let detail = format!("there is no operation {id}: it was never begun, or is older than the history kept");
        Problem::new(StatusCode::NOT_FOUND, "unknown-operation", detail)
    }

    pub(crate) fn denied(denied: Denied) -> Problem {
        match denied {
            Denied::Wrong => Problem::new(
                StatusCode::UNAUTHORIZED,
                "wrong-token",
                "that token is not the one in the emperor's state directory; `emperor login` prints a link that signs you in",
            ),
            Denied::TooOften => Problem {
                retry_after_s: Some(Denied::RETRY_AFTER_S),
                ..Problem::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too-many-failures",
                    "too many wrong tokens; wait before the next try",
                )
            },
        }
    }

    pub(crate) fn failed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", detail)
    }

    /// As a document, with the id of the request it answers.
    pub(crate) fn json(&self, request_id: &str) -> Response {
        let body = serde_json::json!({
            "type": format!("urn:empery:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Problem"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id,
        });
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        self.dressed((self.status, headers, body.to_string()).into_response())
    }

    /// The headers that belong to it, on a response that shows it.
    pub(crate) fn dressed(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"empery\""));
        }
        response
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Problem {
        let detail = error.to_string();
        match error {
            AskError::UnknownVassal(_) => Problem::new(StatusCode::NOT_FOUND, "unknown-vassal", detail),
            AskError::UnknownWorker(name, worker) => Problem::unknown_worker(name.as_str(), &worker.to_string()),
            AskError::NoAnswer(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "no-answer", detail),
            AskError::Starting => Problem::starting(),
            AskError::Conflict(_) => Problem::new(StatusCode::CONFLICT, "conflict", detail),
            AskError::NothingToConfirm => Problem::new(StatusCode::CONFLICT, "nothing-to-confirm", detail),
            AskError::Busy => {
                Problem { retry_after_s: Some(1), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail) }
            }
            AskError::Leaving => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting-down", detail),
        }
    }
}

impl From<empery_store::StoreError> for Problem {
    fn from(error: empery_store::StoreError) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-history", error.to_string())
    }
}

/// Not the answer yet: the guard turns the extension into one.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
