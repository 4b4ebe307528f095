//! Calls the router without a socket and reads what comes back.

use axum::{
    Extension, Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use empery_store::Reader;
use empery_web_ui::{Access, Trust, router, serve::ControlPeer};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::fake::Fake;

pub(crate) struct Called {
    pub(crate) router: Router,
    pub(crate) fake: Fake,
    pub(crate) token: String,
    pub(crate) directory: std::path::PathBuf,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Called {
    pub(crate) fn new(trust: Trust, reader: Option<Reader>) -> Called {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("empery-web-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let access = Access::open(&directory.join("token")).unwrap();
        let token = std::fs::read_to_string(directory.join("token")).unwrap().trim().to_owned();
        let mut fake = Fake::new(access, reader, directory.clone());
        fake.take_requests();
        Called { router: router(fake.realm.clone(), trust), fake, token, directory }
    }

    pub(crate) fn tcp() -> Called {
        Called::new(Trust::Tcp, None)
    }

    /// Over the control socket, by this user.
    pub(crate) fn control(uid: u32) -> Called {
        let mut called = Called::new(Trust::Local { allowed_uids: vec![0, 987] }, None);
        called.router = called.router.clone().layer(Extension(ConnectInfo(ControlPeer { uid: Some(uid) })));
        called
    }

    pub(crate) async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header(header::HOST, "127.0.0.1:7070");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// As a program with the token.
    pub(crate) async fn api(&self, method: &str, path: &str) -> Answer {
        self.call(method, path, &[("authorization", &format!("Bearer {}", self.token))], "").await
    }

    /// As a browser that signs in by the token: its cookie, as it sends it back.
    pub(crate) async fn sign_in(&self) -> String {
        let sent = format!("token={}", self.token);
        let answer = self.call("POST", "/login", &[FORM, ("origin", "http://127.0.0.1:7070")], &sent).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        let cookie = answer.header("set-cookie");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        cookie.split(';').next().unwrap().to_owned()
    }

    pub(crate) async fn page(&self, path: &str, cookie: &str) -> Answer {
        self.call("GET", path, &[("cookie", cookie), ("accept", "text/html")], "").await
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(crate) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// That it is a problem with this status and code, in the shape every problem has.
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let json = self.json();
        assert_eq!((&json["code"], &json["status"]), (&code.into(), &status.into()));
        assert_eq!(json["request_id"], self.header("x-request-id"));
        assert!(json["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{json}");
        let known: serde_json::Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
        let codes = known["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().unwrap();
        assert!(codes.contains(&code.into()), "{code} is not in openapi.json");
    }
}
