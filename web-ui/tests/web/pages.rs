//! The dashboard: signing in, forms and their protection, and that nothing hostile gets through as markup.

use crate::called::{Called, FORM};
use axum::http::StatusCode;

/// The token of the first form on a page.
fn form_token(page: &str) -> String {
    page.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_led_to_the_sign_in_page() {
    let called = Called::tcp();
    for path in ["/", "/vassals/shop.ini", "/about"] {
        let answer = called.call("GET", path, &[("accept", "text/html")], "").await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/login"), "{path}");
    }
    let page = called.call("GET", "/login", &[("accept", "text/html")], "").await;
    assert!(page.text.contains("type=\"password\""), "{}", page.text);
    let stop = called.call("POST", "/vassals/shop.ini/stop", &[FORM, ("accept", "text/html")], "").await;
    assert_eq!(stop.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_wrong_token_is_told_on_the_form() {
    let called = Called::tcp();
    let answer = called.call("POST", "/login", &[FORM, ("accept", "text/html")], "token=wrong").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text.contains("That is not the token") && answer.header("set-cookie").is_empty(), "{}", answer.text);
}

#[tokio::test]
async fn a_login_link_signs_in_once_and_looking_at_it_uses_nothing_up() {
    let called = Called::tcp();
    let link = called.fake.realm.access.login_link("http://127.0.0.1:7070").unwrap().url;
    let path = link.strip_prefix("http://127.0.0.1:7070").unwrap();
    for _ in 0..3 {
        let page = called.call("GET", path, &[("accept", "text/html")], "").await;
        assert!(page.status == StatusCode::OK && page.header("set-cookie").is_empty());
    }
    let sent = path.split_once('?').unwrap().1;
    let headers =
        [FORM, ("origin", "http://127.0.0.1:7070"), ("sec-fetch-site", "same-origin"), ("accept", "text/html")];
    let first = called.call("POST", "/login", &headers, sent).await;
    assert_eq!((first.status, first.header("location")), (StatusCode::SEE_OTHER, "/"));
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(called.page("/", &cookie).await.status, StatusCode::OK);
    let second = called.call("POST", "/login", &headers, sent).await;
    assert!(second.status == StatusCode::FORBIDDEN && second.text.contains("used already"), "{}", second.text);
}

#[tokio::test]
async fn the_stack_of_a_worker_is_one_click_away_and_inert() {
    let called = Called::tcp();
    let cookie = called.sign_in().await;
    let text = called.page("/vassals/shop.ini", &cookie).await.text;
    let (_, rest) = text.split_once("href=\"/vassals/shop.ini/workers/1/stack").unwrap();
    let link = format!("/vassals/shop.ini/workers/1/stack{}", rest.split_once('"').unwrap().0);
    assert!(link.contains("?pid="), "{link}");
    let page = called.page(&link, &cookie).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("time.sleep(60)") && page.text.contains("MainThread"), "{}", page.text);
    assert!(!page.text.contains("/<script>") && !page.text.contains("<b>.py"), "{}", page.text);
}

#[tokio::test]
async fn a_button_without_javascript_leads_back_to_the_page_with_its_operation() {
    let called = Called::tcp();
    let cookie = called.sign_in().await;
    let page = called.page("/vassals/shop.ini", &cookie).await.text;
    let sent = format!("form_token={}", form_token(&page));
    let headers = [FORM, ("cookie", cookie.as_str()), ("origin", "http://127.0.0.1:7070"), ("accept", "text/html")];
    for (verb, number) in [("reload", 101), ("stop", 102), ("start", 103)] {
        let answer = called.call("POST", &format!("/vassals/shop.ini/{verb}"), &headers, &sent).await;
        let back = format!("/vassals/shop.ini?operation={number}");
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, &*back), "{}", answer.text);
        let page = called.page(&back, &cookie).await.text;
        assert!(page.contains(&format!("Operation {number}")) && page.contains("by dashboard"), "{page}");
    }
    let page = called.page("/vassals/shop.ini?operation=103", &cookie).await.text;
    assert!(page.contains("http-equiv=\"refresh\""), "a start that still runs is asked for again");
    let page = called.page("/vassals/shop.ini?operation=102", &cookie).await.text;
    assert!(!page.contains("http-equiv=\"refresh\""));
}

#[tokio::test]
async fn a_form_of_another_page_does_nothing() {
    let called = Called::tcp();
    let cookie = called.sign_in().await;
    let page = called.page("/vassals/shop.ini", &cookie).await.text;
    let right = format!("form_token={}", form_token(&page));
    let try_with = async |headers: &[(&str, &str)], sent: &str| {
        let mut all = vec![FORM, ("cookie", cookie.as_str())];
        all.extend_from_slice(headers);
        called.call("POST", "/vassals/shop.ini/stop", &all, sent).await
    };
    let ours = [("origin", "http://127.0.0.1:7070"), ("sec-fetch-site", "same-origin")];
    try_with(&ours, "").await.assert_problem(403, "wrong-form-token");
    try_with(&ours, "form_token=guess").await.assert_problem(403, "wrong-form-token");
    // A vassal on another port of this host is the same site to a browser.
    try_with(&[("origin", "http://127.0.0.1:8000"), ("sec-fetch-site", "same-site")], &right)
        .await
        .assert_problem(403, "cross-origin");
    try_with(&[("origin", "http://127.0.0.1:8000")], &right).await.assert_problem(403, "cross-origin");
    try_with(&[("origin", "null")], &right).await.assert_problem(403, "cross-origin");
    try_with(&[("sec-fetch-site", "cross-site")], &right).await.assert_problem(403, "cross-origin");
    assert_eq!(try_with(&ours, &right).await.status, StatusCode::SEE_OTHER);
    let login = called.call("POST", "/login", &[FORM, ("origin", "http://evil.example")], "token=x").await;
    login.assert_problem(403, "cross-origin");
}

#[tokio::test]
async fn nothing_changes_by_looking() {
    let called = Called::tcp();
    let cookie = called.sign_in().await;
    for path in ["/vassals/shop.ini/stop", "/vassals/shop.ini/reload", "/logout"] {
        assert_eq!(called.page(path, &cookie).await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[tokio::test]
async fn whoever_signs_out_is_out() {
    let called = Called::tcp();
    let cookie = called.sign_in().await;
    let sent = format!("form_token={}", form_token(&called.page("/about", &cookie).await.text));
    let headers = [FORM, ("cookie", cookie.as_str()), ("origin", "http://127.0.0.1:7070")];
    assert_eq!(called.call("POST", "/logout", &headers, &sent).await.status, StatusCode::SEE_OTHER);
    assert_eq!(called.page("/", &cookie).await.header("location"), "/login");
}

#[tokio::test]
async fn hostile_names_and_tracebacks_are_shown_as_text() {
    let called = Called::tcp();
    std::fs::write(called.directory.join("blog.ini"), "a log line </pre><script>alert(3)</script>\n").unwrap();
    let cookie = called.sign_in().await;
    let hostile = "/vassals/%3Cscript%3Ealert%281%29%3C%25%3E%22%27%26.ini";
    for path in ["/", "/vassals/blog.ini", "/vassals/wiki.ini", hostile, "/live/fleet", "/about"] {
        let page = called.page(path, &cookie).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(!page.text.contains("<script>") && !page.text.contains("<b>") && !page.text.contains("<i>"), "{path}");
        assert!(
            !page.text.contains(" style=") && !page.text.contains(" onclick="),
            "{path}: inline things break the policy"
        );
    }
    let fleet = called.page("/", &cookie).await.text;
    assert!(fleet.contains(&format!("href=\"{hostile}\"")), "{fleet}");
    assert!(called.page("/vassals/blog.ini", &cookie).await.text.contains("ModuleNotFoundError"));
    let missing = called.page("/vassals/%3Cscript%3E.ini", &cookie).await;
    assert!(missing.status == StatusCode::NOT_FOUND && !missing.text.contains("<script>"), "{}", missing.text);
}

#[tokio::test]
async fn what_needs_attention_stands_first() {
    let called = Called::tcp();
    let cookie = called.sign_in().await;
    let page = called.page("/", &cookie).await.text;
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}"));
    assert!(place("Needs attention") < place(">blog.ini<"));
    assert!(place(">wiki.ini<") < place("Everything else") && place("Everything else") < place(">shop.ini<"));
    assert!(page.contains("The database is full"));
}

#[tokio::test]
async fn a_refused_file_shows_its_line_with_a_mark_under_the_column() {
    let called = Called::tcp();
    let cookie = called.sign_in().await;
    let page = called.page("/vassals/wiki.ini", &cookie).await.text;
    assert!(page.contains("wiki.ini:4:13") && page.contains("processes = fuor"), "{page}");
    assert!(page.contains(&format!(">{}^<", " ".repeat(12))), "{page}");
    assert!(page.contains("write a number such as 4"));
}

#[tokio::test]
async fn a_page_and_its_live_part_are_the_same() {
    let called = Called::tcp();
    let cookie = called.sign_in().await;
    for (page, part) in [("/", "/live/fleet"), ("/vassals/blog.ini", "/live/vassals/blog.ini")] {
        let whole = called.page(page, &cookie).await.text;
        let part = called.page(part, &cookie).await.text;
        assert!(whole.contains(part.trim()), "{page}");
    }
}

#[tokio::test]
async fn assets_are_sent_again_only_when_they_changed() {
    let called = Called::tcp();
    for path in ["/assets/empery.css", "/assets/live.js", "/assets/icon.svg"] {
        let first = called.call("GET", path, &[], "").await;
        let tag = first.header("etag").to_owned();
        assert_eq!(first.status, StatusCode::OK);
        assert_eq!(called.call("GET", path, &[("if-none-match", &tag)], "").await.status, StatusCode::NOT_MODIFIED);
    }
}

#[tokio::test]
async fn the_fleet_page_asks_before_it_stops_vassals_whose_files_are_gone() {
    let called = Called::tcp();
    let cookie = called.sign_in().await;
    let page = called.page("/", &cookie).await.text;
    assert!(page.contains("Stop 2 vassals"), "{page}");
    assert!(
        called.page("/live/fleet", &cookie).await.text.contains(&form_token(&page)),
        "the live part has the token too"
    );
    let headers = [FORM, ("cookie", cookie.as_str()), ("origin", "http://127.0.0.1:7070")];
    called
        .call("POST", "/removals/confirm", &headers, "form_token=guess")
        .await
        .assert_problem(403, "wrong-form-token");
    let sent = format!("form_token={}", form_token(&page));
    let answer = called.call("POST", "/removals/confirm", &headers, &sent).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"), "{}", answer.text);
    called.call("POST", "/removals/confirm", &headers, &sent).await.assert_problem(409, "nothing-to-confirm");
}
