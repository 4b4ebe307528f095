//! One request: to a worker and its answer back. A request goes out a second time only when its connection ended before a
//! byte of an answer came, and when sending it twice changes nothing (RFC 9110, 9.2.2) or it was never sent.

use std::{convert::Infallible, sync::Arc};

use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::Incoming,
    header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER, UPGRADE},
    http::request,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy, split};

use crate::{
    answer::Answer,
    certificates::{Certificates, Mark},
    client::Client,
    deadlines::{Activity, InFlight, Waits},
    host::as_in_a_handshake,
    limits::RETRY_AFTER_S,
    translate,
    upload::{Unbegun, Upload},
    workers::{Line, Taken, Workers, no_answer, tell_of_none},
};

/// What the requests of one connection have in common.
pub(crate) struct Exchange {
    /// Where they go.
    pub(crate) workers: Arc<Workers>,
    /// Who sends them.
    pub(crate) client: Client,
    /// What happens on the connection.
    pub(crate) activity: Arc<Activity>,
    /// The longest waits.
    pub(crate) waits: Waits,
    /// Every certificate, when some may ask clients for theirs.
    pub(crate) strict: Option<Arc<Certificates>>,
    /// The certificate that this connection was begun with, and its door's own.
    pub(crate) certificate: Mark,
    /// See `certificate`.
    pub(crate) door_certificate: Mark,
}

impl Exchange {
    /// Answers a request.
    pub(crate) async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Answer>, Infallible> {
        let mut in_flight = self.activity.request();
        let client_upgrade = hyper::upgrade::on(&mut request);
        let (mut head, body) = request.into_parts();
        let version = head.version;
        let upgrade = match translate::to_worker(&mut head) {
            Ok(upgrade) => upgrade,
            Err(status) => {
                in_flight.answered();
                return Ok(refusal(status, version));
            }
        };
        if self.is_misdirected(&head) {
            in_flight.answered();
            return Ok(Answer::own(StatusCode::MISDIRECTED_REQUEST));
        }
        self.client.introduce(&mut head.headers);
        let enough = || self.activity.begun_bytes();
        let body = match Upload::begin(body, self.waits.client, enough, &self.workers.lobby).await {
            Ok(body) => body,
            Err(Unbegun::Late) => {
                in_flight.answered();
                return Ok(refusal(StatusCode::REQUEST_TIMEOUT, version));
            }
            Err(Unbegun::CrowdedOut) => {
                in_flight.answered();
                return Ok(later(refusal(StatusCode::SERVICE_UNAVAILABLE, version)));
            }
            // Taken back, in case anybody counts.
            Err(Unbegun::Broken) => return Ok(refusal(StatusCode::BAD_REQUEST, version)),
        };
        translate::frame(&mut head.headers, &body);
        let answered = self.send(head, body).await;
        in_flight.answered();
        Ok(match answered {
            Ok((answer, line)) if upgrade.is_some() && answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.join(client_upgrade, answer, line, in_flight)
            }
            // Its connection is of no use to anybody else.
            Ok((answer, _)) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                crate::log::say(
                    "*** an app changes the protocol for a client that did not ask for it: it gets 502 ***",
                );
                unserved(StatusCode::BAD_GATEWAY)
            }
            Ok((answer, line)) => {
                let (mut head, body) = answer.into_parts();
                translate::to_client(&mut head.headers);
                Response::from_parts(head, Answer::of_worker(body, line, Arc::clone(&self.workers), in_flight))
            }
            Err(status) => unserved(status),
        })
    }

    /// Whether the host asked for has another certificate than the one this connection was begun with, and they ask
    /// different things of clients: what that one asks was not asked (RFC 9110, 15.5.20).
    fn is_misdirected(&self, head: &request::Parts) -> bool {
        let Some(certificates) = &self.strict else { return false };
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let wanted = certificates.of_name(&as_in_a_handshake(host)).map_or(self.door_certificate, |named| named.mark());
        wanted.number != self.certificate.number && (wanted.asks_clients || self.certificate.asks_clients)
    }

    async fn send(&self, head: request::Parts, body: Upload) -> Result<(Response<Incoming>, Line), StatusCode> {
        let copy = (matches!(body, Upload::Nothing) && is_idempotent(&head.method)).then(|| head.clone());
        let Taken { mut line, is_used } = self.workers.take().await.map_err(no_worker)?;
        let before = line.received_bytes();
        let failed = match line.sender.try_send_request(Request::from_parts(head, body)).await {
            Ok(answer) => return Ok((answer, line)),
            Err(failed) => failed,
        };
        let mut failed = failed;
        let again = match failed.take_message() {
            Some(unsent) => Some(unsent),
            None if line.received_bytes() == before => copy.map(|head| Request::from_parts(head, Upload::Nothing)),
            None => None,
        };
        let again = again.filter(|_| is_used).ok_or_else(|| no_answer(failed.error()))?;
        let Taken { mut line, .. } = self.workers.connect().await.map_err(no_worker)?;
        match line.sender.try_send_request(again).await {
            Ok(answer) => Ok((answer, line)),
            Err(failed) => Err(no_answer(failed.error())),
        }
    }

    /// Both sides speak another protocol from here on: bytes go through untouched until the worker is done. A client that has said
    /// all it wants to hears what the worker still has to say.
    fn join(
        &self,
        client: OnUpgrade,
        mut answer: Response<Incoming>,
        line: Line,
        in_flight: InFlight,
    ) -> Response<Answer> {
        let (activity, waits) = (Arc::clone(&self.activity), self.waits);
        let worker = hyper::upgrade::on(&mut answer);
        let guest = in_flight.stays();
        activity.change_protocol();
        tokio::spawn(async move {
            if let (Ok(client), Ok(worker)) = tokio::join!(client, worker) {
                let (mut from_client, mut to_client) = split(TokioIo::new(client));
                let (mut from_worker, mut to_worker) = split(TokioIo::new(worker));
                let up = async {
                    let _ = copy(&mut from_client, &mut to_worker).await;
                    let _ = to_worker.shutdown().await;
                    std::future::pending::<()>().await;
                };
                let down = async {
                    let _ = copy(&mut from_worker, &mut to_client).await;
                    let _ = to_client.shutdown().await;
                };
                tokio::select! {
                    () = up => {}
                    () = down => {}
                    () = activity.stuck(waits) => {}
                }
            }
            drop((line, in_flight, guest));
        });
        let (mut head, _) = answer.into_parts();
        let protocol = head.headers.get(UPGRADE).cloned();
        translate::to_client(&mut head.headers);
        if let Some(protocol) = protocol {
            head.headers.insert(UPGRADE, protocol);
            head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        Response::from_parts(head, Answer::empty())
    }
}

/// What could be meant in two ways ends its connection: nothing that came behind it is a request of anybody's.
fn refusal(status: StatusCode, version: Version) -> Response<Answer> {
    let mut answer = Answer::own(status);
    if version != Version::HTTP_2 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// No worker has answered.
fn unserved(status: StatusCode) -> Response<Answer> {
    let answer = Answer::own(status);
    if status == StatusCode::SERVICE_UNAVAILABLE { later(answer) } else { answer }
}

/// The client may come again.
fn later(mut answer: Response<Answer>) -> Response<Answer> {
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    answer
}

fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}

fn no_worker(error: std::io::Error) -> StatusCode {
    tell_of_none(&error);
    StatusCode::SERVICE_UNAVAILABLE
}
