//! The REST API: who may, what it answers, and how it says no.

use crate::called::{Called, FORM};
use crate::fake;
use axum::http::StatusCode;
use empery_control::fleet::{FleetEvent, FleetSnapshot, OperationView, VassalSnapshot};
use empery_lifecycle::{fleet::Verb, ids::OperationId};
use empery_store::Store;
use empery_web_ui::Trust;

#[tokio::test]
async fn nothing_is_told_without_the_token() {
    let called = Called::tcp();
    for path in ["/api/v1/vassals", "/api/v1/vassals/shop.ini", "/api/v1/stats", "/api/v1/events", "/metrics"] {
        let answer = called.call("GET", path, &[], "").await;
        answer.assert_problem(401, "sign-in-needed");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        called.call("GET", path, &[("authorization", "Bearer nonsense")], "").await.assert_problem(401, "wrong-token");
        called.call("GET", path, &[("authorization", "Basic cm9vdDo=")], "").await.assert_problem(401, "wrong-token");
    }
    called.call("POST", "/api/v1/vassals/shop.ini/stop", &[], "").await.assert_problem(401, "sign-in-needed");
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(called.call("GET", path, &[], "").await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn guessing_is_slowed_and_the_right_token_still_works() {
    let called = Called::tcp();
    let mut limited = None;
    for _ in 0..50 {
        let answer = called.call("GET", "/api/v1/stats", &[("authorization", "Bearer guess")], "").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.unwrap();
    limited.assert_problem(429, "too-many-failures");
    assert!(limited.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(called.api("GET", "/api/v1/stats").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_fleet_and_a_vassal_read_back_as_the_words_of_control() {
    let called = Called::tcp();
    let fleet: FleetSnapshot = serde_json::from_str(&called.api("GET", "/api/v1/vassals").await.text).unwrap();
    let published = fake::fleet();
    assert_eq!(fleet.vassals.len(), published.vassals.len());
    assert!(
        fleet
            .vassals
            .iter()
            .filter_map(|vassal| vassal.last_deployment.as_ref())
            .all(|view| view.boot_output.is_none())
    );
    let blog: VassalSnapshot = serde_json::from_str(&called.api("GET", "/api/v1/vassals/blog.ini").await.text).unwrap();
    assert_eq!(Some(&blog), published.vassals.iter().find(|vassal| vassal.name == blog.name));
    let stats = called.api("GET", "/api/v1/stats").await.json();
    assert_eq!(stats["vassals"].as_array().unwrap().len(), published.vassals.len());
    assert_eq!(stats["vassals"][1]["requests_total"], 1_284_417);
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_with_a_code() {
    let called = Called::tcp();
    called.api("GET", "/api/v1/vassals/none.ini").await.assert_problem(404, "unknown-vassal");
    called.api("POST", "/api/v1/vassals/none.ini/reload").await.assert_problem(404, "unknown-vassal");
    called.api("POST", "/api/v1/vassals/a%2Fb/reload").await.assert_problem(404, "unknown-vassal");
    called.api("GET", "/api/v1/operations/4711").await.assert_problem(404, "unknown-operation");
    called.api("GET", "/api/v1/operations/x").await.assert_problem(404, "unknown-operation");
    called.api("GET", "/api/v1/nothing").await.assert_problem(404, "not-found");
    called.api("DELETE", "/api/v1/vassals").await.assert_problem(405, "method-not-allowed");
    called.api("GET", "/api/v1/vassals/shop.ini/stop").await.assert_problem(405, "method-not-allowed");
    called.api("POST", "/api/v1/vassals/shop.ini/stop?wait=soon").await.assert_problem(400, "bad-wait");
    called.api("GET", "/api/v1/vassals/shop.ini/logs?lines=many").await.assert_problem(400, "bad-request");
    called.api("GET", "/api/v1/vassals/shop.ini/operations").await.assert_problem(503, "no-history");
    assert!(called.fake.realm.operations.get(OperationId(101)).is_none(), "a wait that cannot be read begins nothing");
}

#[tokio::test]
async fn a_worker_tells_what_its_threads_do() {
    let called = Called::tcp();
    let told = called.api("GET", "/api/v1/vassals/shop.ini/workers/1/stack").await;
    assert_eq!(told.status, StatusCode::OK);
    let told = told.json();
    assert_eq!((&told["source"], &told["threads"][0]["request"]["uri"]), (&"python".into(), &"/<script>".into()));
    assert!(told["text"].as_str().unwrap().contains("File \"/srv/<b>.py\", line 7, in view\n    time.sleep(60)"));
    let of_process = called.api("GET", "/api/v1/vassals/shop.ini/workers/1/stack?pid=4711").await;
    assert_eq!(of_process.json()["pid"], 4711);
    called.api("GET", "/api/v1/vassals/shop.ini/workers/1/stack?pid=x").await.assert_problem(400, "bad-request");
    called.api("GET", "/api/v1/vassals/shop.ini/workers/9/stack").await.assert_problem(404, "unknown-worker");
    called.api("GET", "/api/v1/vassals/shop.ini/workers/x/stack").await.assert_problem(404, "unknown-worker");
    called.api("GET", "/api/v1/vassals/none.ini/workers/1/stack").await.assert_problem(404, "unknown-vassal");
}

#[tokio::test]
async fn a_request_is_answered_with_an_operation_that_can_be_waited_for() {
    let called = Called::tcp();
    let taken = called.api("POST", "/api/v1/vassals/cron.ini/start").await;
    assert_eq!(taken.status, StatusCode::ACCEPTED);
    assert_eq!(taken.header("location"), "/api/v1/operations/101");
    let view: OperationView = serde_json::from_str(&taken.text).unwrap();
    assert_eq!((view.id.0, view.verb, view.actor.as_str(), view.end), (101, Verb::Start, "api", None));

    let still = called.api("GET", "/api/v1/operations/101?wait=20ms").await;
    assert_eq!(still.status, StatusCode::ACCEPTED, "an expired wait answers 202 again");
    assert_eq!(still.header("location"), "/api/v1/operations/101");

    let board = called.fake.realm.operations.clone();
    let (ended, ()) = tokio::join!(called.api("GET", "/api/v1/operations/101?wait=30s"), async {
        tokio::task::yield_now().await;
        board.record(fake::operation(101, "cron.ini", Verb::Start, Some(fake::failed())));
    });
    assert_eq!(ended.status, StatusCode::OK);
    assert_eq!(ended.json()["end"]["result"], "failed");
    assert_eq!(ended.json()["end"]["reason"]["traceback"], fake::TRACEBACK);
    assert_eq!(called.api("GET", "/api/v1/operations/101").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_can_wait_for_its_own_end() {
    let called = Called::tcp();
    let answer = called.api("POST", "/api/v1/vassals/shop.ini/reload?wait=30s").await;
    assert_eq!((answer.status, &answer.json()["end"]["result"]), (StatusCode::OK, &"succeeded".into()));
    let answer = called.api("POST", "/api/v1/vassals/blog.ini/reload?wait=30s").await;
    assert_eq!((answer.status, &answer.json()["end"]["still_serving"]), (StatusCode::OK, &true.into()));
    let answer = called.api("POST", "/api/v1/vassals/cron.ini/start?wait=10ms").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_browsers_session_cannot_change_anything_over_the_api() {
    let called = Called::tcp();
    let cookie = called.sign_in().await;
    let headers = [("cookie", cookie.as_str()), ("origin", "http://127.0.0.1:7070"), FORM];
    called.call("POST", "/api/v1/vassals/shop.ini/stop", &headers, "").await.assert_problem(403, "token-needed");
    let read = called.call("GET", "/api/v1/stats", &[("cookie", &cookie)], "").await;
    assert_eq!(read.status, StatusCode::OK, "but it can read");
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_not_answered() {
    let called = Called::tcp();
    for host in ["evil.example:7070", "evil.example", "127.0.0.1.evil.example", "[evil.example]:7070", "[]", ""] {
        called.call("GET", "/healthz", &[("host", host)], "").await.assert_problem(421, "wrong-host");
    }
    for host in [
        "127.0.0.1:7070",
        "localhost",
        "LOCALHOST:1",
        "[::1]:7070",
        "127.9.9.9",
        "10.0.0.1:7070",
        "[2001:db8::1]",
        "panel.example:443",
    ] {
        assert_eq!(called.call("GET", "/healthz", &[("host", host)], "").await.status, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn the_control_socket_serves_the_users_it_was_given_and_no_other() {
    let root = Called::control(0);
    let answer = root.call("POST", "/api/v1/vassals/shop.ini/reload?wait=9s", &[("host", "emperor")], "").await;
    assert_eq!((answer.status, &answer.json()["actor"]), (StatusCode::OK, &"cli:uid 0".into()));
    let link = root.call("POST", "/api/v1/login-links", &[], "").await;
    assert_eq!(link.status, StatusCode::CREATED);
    assert!(link.json()["url"].as_str().unwrap().starts_with("http://127.0.0.1:7070/login?once="));

    let other = Called::control(1000);
    other.call("GET", "/api/v1/vassals", &[], "").await.assert_problem(403, "wrong-user");
    other.call("GET", "/healthz", &[], "").await.assert_problem(403, "wrong-user");
    let unknown = Called::new(Trust::Local { allowed_uids: vec![0] }, None);
    unknown.call("GET", "/api/v1/vassals", &[], "").await.assert_problem(403, "wrong-user");
    Called::tcp().api("POST", "/api/v1/login-links").await.assert_problem(403, "control-socket-only");
}

#[tokio::test]
async fn every_answer_names_its_request_and_forbids_foreign_scripts() {
    let called = Called::tcp();
    let answer = called.call("GET", "/healthz", &[("x-request-id", "ci-run.42")], "").await;
    assert_eq!(answer.header("x-request-id"), "ci-run.42");
    let answer = called.call("GET", "/healthz", &[("x-request-id", "<script>")], "").await;
    assert!(!answer.header("x-request-id").is_empty() && !answer.header("x-request-id").contains('<'));
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    assert!(!answer.header("content-security-policy").contains("unsafe"));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn the_end_of_a_log_is_plain_text() {
    let called = Called::tcp();
    std::fs::write(called.directory.join("shop.ini"), "one\ntwo <b>\nthree\n").unwrap();
    let answer = called.api("GET", "/api/v1/vassals/shop.ini/logs?lines=2").await;
    assert_eq!(
        (answer.text.as_str(), answer.header("content-type")),
        ("two <b>\nthree\n", "text/plain; charset=utf-8")
    );
    called.api("GET", "/api/v1/vassals/none.ini/logs").await.assert_problem(404, "unknown-vassal");
}

#[tokio::test]
async fn history_is_read_from_the_database_also_what_left_the_board() {
    let directory = std::env::temp_dir().join(format!("empery-web-history-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let opened = Store::open(&directory.join("state.db")).await.unwrap();
    let old = fake::operation(5, "shop.ini", Verb::Reload, Some(fake::failed()));
    opened.store.record_operation(old.clone()).done().await.unwrap();
    let called = Called::new(Trust::Tcp, Some(opened.reader));
    let read: OperationView =
        serde_json::from_str(&called.api("GET", "/api/v1/operations/5?wait=5s").await.text).unwrap();
    assert_eq!(read, old);
    let list = called.api("GET", "/api/v1/vassals/shop.ini/operations").await.json();
    assert_eq!(list["operations"][0]["id"], 5);
    for rest in ["incidents", "revisions", "samples"] {
        let list = called.api("GET", &format!("/api/v1/vassals/shop.ini/{rest}")).await.json();
        assert_eq!(list[rest].as_array().unwrap().len(), 0);
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn events_tell_names_and_never_what_an_app_wrote() {
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    let called = Called::tcp();
    let request = axum::http::Request::get("/api/v1/events")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", called.token))
        .body(axum::body::Body::empty())
        .unwrap();
    let mut body = called.router.clone().oneshot(request).await.unwrap().into_body();
    let events = called.fake.realm.events.clone();
    events.send(FleetEvent::VassalChanged { name: fake::name(fake::HOSTILE) }).unwrap();
    events.send(FleetEvent::Operation(fake::operation(9, "blog.ini", Verb::Reload, Some(fake::failed())))).unwrap();
    let mut text = String::new();
    while !text.contains("event: operation") {
        text.push_str(&String::from_utf8_lossy(&body.frame().await.unwrap().unwrap().into_data().unwrap()));
    }
    assert!(text.starts_with("id: 17\nevent: hello\n") || text.starts_with("event: hello\n"), "{text}");
    assert!(text.contains("id: 17"), "{text}");
    assert!(text.contains("event: vassal\n") && text.contains(r#""result":"failed""#), "{text}");
    assert!(!text.contains("Traceback") && !text.contains("importing settings"), "{text}");
}

#[tokio::test]
async fn an_emperor_on_its_way_out_says_so() {
    let called = Called::tcp();
    let mut realm = called.fake.realm.clone();
    let (asks, queue) = tokio::sync::mpsc::channel(1);
    realm.asks = asks;
    drop(queue);
    let router = empery_web_ui::router(realm, Trust::Tcp);
    let request = axum::http::Request::post("/api/v1/vassals/shop.ini/stop")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", called.token))
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = tower::ServiceExt::oneshot(router, request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn it_is_ready_once_the_directory_was_read_and_denies_no_vassal_before() {
    let called = Called::tcp();
    called.fake.snapshots.send_replace(std::sync::Arc::default());
    called.call("GET", "/readyz", &[], "").await.assert_problem(503, "starting");
    called.api("GET", "/api/v1/vassals/none.ini").await.assert_problem(503, "starting");
    called.api("GET", "/api/v1/vassals/none.ini/logs").await.assert_problem(503, "starting");
    called.api("POST", "/api/v1/vassals/none.ini/reload").await.assert_problem(503, "starting");
    assert_eq!(called.call("GET", "/healthz", &[], "").await.status, StatusCode::OK);
    called.fake.snapshots.send_replace(std::sync::Arc::new(fake::fleet()));
    assert_eq!(called.call("GET", "/readyz", &[], "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_removal_is_confirmed_once_and_then_there_is_nothing_to_confirm() {
    let called = Called::tcp();
    assert_eq!(called.api("GET", "/api/v1/removals/confirm").await.status, StatusCode::METHOD_NOT_ALLOWED);
    let confirmed = called.api("POST", "/api/v1/removals/confirm").await;
    assert_eq!(confirmed.status, StatusCode::ACCEPTED, "{}", confirmed.text);
    assert_eq!(confirmed.json()["vassals"], serde_json::json!(["cron.ini", fake::HOSTILE]));
    called.api("POST", "/api/v1/removals/confirm").await.assert_problem(409, "nothing-to-confirm");
    let cookie = called.sign_in().await;
    let by_session = called.call("POST", "/api/v1/removals/confirm", &[("cookie", &*cookie)], "").await;
    by_session.assert_problem(403, "token-needed");
}
