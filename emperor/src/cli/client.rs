//! Asks the running emperor over its control socket. One question, one connection.

use std::path::{Path, PathBuf};

use empery_control::places;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode, body::Bytes, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::{
    Running,
    exit::{Exit, Failure},
    places as defaults,
};

/// The emperor, as far as the command line knows it.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

/// An answer that is no refusal.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Bytes,
}

/// The parts of a problem document that are used here (RFC 9457).
#[derive(Debug, Deserialize)]
struct Problem {
    code: String,
    detail: String,
}

impl Answer {
    /// As text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// As what it is.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::new(
                Exit::Usage,
                format!("the emperor's answer was not understood (is it of another version?): {error}"),
            )
        })
    }
}

impl Client {
    /// For the emperor of this runtime directory.
    pub(super) fn new(running: &Running) -> Result<Client, Failure> {
        let directory = running.runtime.clone().unwrap_or_else(defaults::runtime);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Client { socket: places::control_socket(&directory), runtime })
    }

    /// Reads.
    pub(super) fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.ask(Method::GET, path)
    }

    /// Asks for something to be done.
    pub(super) fn post(&self, path: &str) -> Result<Answer, Failure> {
        self.ask(Method::POST, path)
    }

    fn ask(&self, method: Method, path: &str) -> Result<Answer, Failure> {
        let answer = self.runtime.block_on(exchange(&self.socket, method, path))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(match serde_json::from_slice::<Problem>(&answer.body) {
            Ok(problem) => refused(answer.status, &problem),
            Err(_) => Failure::new(Exit::Usage, format!("the emperor answered {}: {}", answer.status, answer.text())),
        })
    }
}

/// A path segment with everything escaped that may not stand in one (RFC 3986, section 3.3).
pub(super) fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn refused(status: StatusCode, problem: &Problem) -> Failure {
    let exit = match (status, problem.code.as_str()) {
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Exit::NotAuthorised,
        (StatusCode::NOT_FOUND, "unknown-vassal") => Exit::NoSuchVassal,
        (StatusCode::CONFLICT, "nothing-to-confirm") => Exit::NothingToConfirm,
        (StatusCode::SERVICE_UNAVAILABLE, "shutting-down" | "starting" | "busy") => Exit::Unreachable,
        (StatusCode::GATEWAY_TIMEOUT, "no-answer") => Exit::TimedOut,
        _ => Exit::Usage,
    };
    Failure::new(exit, &problem.detail)
}

async fn exchange(socket: &Path, method: Method, path: &str) -> Result<Answer, Failure> {
    let unreachable = |cause: String| {
        let sentence = format!(
            "the emperor cannot be reached at {}: {cause}; is it running, and with this --runtime?",
            socket.display()
        );
        Failure::new(Exit::Unreachable, sentence)
    };
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Failure::new(
            Exit::NotAuthorised,
            format!("you may not use the control socket {}: {error}", socket.display()),
        ),
        _ => unreachable(error.to_string()),
    })?;
    let lost = |error: hyper::Error| unreachable(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    let response = sender.send_request(request).await.map_err(lost)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(lost)?.to_bytes();
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_can_tell_from_the_exit_code_that_asking_again_may_help() {
        let exit = |status, code: &str| refused(status, &Problem { code: code.into(), detail: String::new() }).exit;
        for code in ["shutting-down", "starting", "busy"] {
            assert_eq!(exit(StatusCode::SERVICE_UNAVAILABLE, code), Exit::Unreachable, "{code}");
        }
        assert_eq!(exit(StatusCode::GATEWAY_TIMEOUT, "no-answer"), Exit::TimedOut);
        assert_eq!(exit(StatusCode::CONFLICT, "conflict"), Exit::Usage);
    }

    #[test]
    fn a_name_is_escaped_to_stay_one_segment() {
        assert_eq!(segment("shop 1.ini"), "shop%201.ini");
        assert_eq!(segment("ä?"), "%C3%A4%3F");
    }
}
