//! How long a request's body is: what a client says of it, and what a worker is told (H5).

use super::*;

#[tokio::test]
async fn h5_nothing_that_could_be_read_in_two_ways_reaches_a_worker_in_two_ways() {
    // A body that looks like a request, framed in every way that one reader would count and another would not, and one more
    // request behind it.
    const INNER: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let (workers, told) = telling();
    let chunked = format!("{:x}\r\n{INNER}\r\n0\r\n\r\n", INNER.len());
    // What the worker may see of each: its body, where anything is passed on.
    let framings = [
        ("Content-Length: 0\r\nTransfer-Encoding: chunked", None),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", None),
        ("Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 37", None),
        ("Transfer-Encoding: chunked\nX: y", None),
        ("X: y\n\nContent-Length: 37", None),
        ("Transfer-Encoding: xchunked", None),
        ("Transfer-Encoding: chunked, identity", None),
        ("Transfer-Encoding: identity", None),
        ("Transfer-Encoding: identity, chunked", None),
        ("Transfer-Encoding: gzip, chunked", None),
        ("Transfer-Encoding: , chunked", None),
        ("Transfer-Encoding: chunked,", None),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", None),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", None),
        ("Transfer-Encoding : chunked", None),
        ("Transfer-Encoding: \x0bchunked", None),
        ("Content-Length: 0\r\nContent-Length: 37", None),
        ("Content-Length: 0, 37", None),
        ("Content-Length: +0", None),
        ("Content-Length: 0x25", None),
        ("Content-Length: 18446744073709551616", None),
        ("X: y\r\n Content-Length: 37", None),
        // No length: what follows is the next request, and none.
        ("Content_Length: 37", Some("")),
        ("Content-Length: 0\r\nContent-Length: 0", None),
    ];
    for (framing, passes) in framings {
        let mut client = connect(&workers, PATIENT);
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{chunked}{NEXT}");
        // To the end of the connection, which has to come.
        let said = exchange(&mut client, &request, "nothing").await;
        let seen: Vec<(String, String)> = told.try_iter().collect();
        match passes {
            None => {
                assert!(seen.is_empty(), "{framing:?}: {seen:?}");
                assert!(said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.1 501 "), "{framing:?}: {said}");
            }
            Some(body) => {
                let [(head, seen_body)] = &seen[..] else { panic!("{framing:?}: {seen:?}") };
                assert!(head.starts_with("POST / HTTP/1.1\r\n") && seen_body == body, "{framing:?}: {seen:?}");
                assert!(said.starts_with("HTTP/1.1 200 "), "{framing:?}: {said}");
            }
        }
        assert!(said.matches("HTTP/1.1 ").count() == 1 + usize::from(passes == Some("")), "{framing:?}: {said}");
    }
}

#[tokio::test]
async fn a_body_of_any_method_reaches_the_worker_whether_or_not_its_length_is_known() {
    let (workers, told) = telling();
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        let mut client = connect(&workers, PATIENT);
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n");
        let said = exchange(&mut client, &format!("{head}5\r\nhello\r\n0\r\n\r\n"), "nothing").await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        let (head, body) = told.recv_timeout(SOON).unwrap();
        assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n", "{head}");
    }
}

#[tokio::test]
async fn a_request_of_http_1_0_without_a_host_is_answered() {
    let (workers, told) = telling();
    let mut client = connect(&workers, PATIENT);
    let said = exchange(&mut client, "GET /old HTTP/1.0\r\n\r\n", "nothing").await;
    assert!(said.starts_with("HTTP/1.0 200 ") && said.ends_with("ok"), "{said}");
    let (head, _) = told.recv_timeout(SOON).unwrap();
    assert!(head.starts_with("GET /old HTTP/1.0\r\n") && !head.to_lowercase().contains("\nhost:"), "{head}");
}

#[tokio::test]
async fn h5_a_head_is_read_as_without_tls() {
    let (workers, told) = telling();
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000));
    let heads = [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("\0\0\0\0", 400),
        (&long, 414),
    ];
    for (head, status) in heads {
        let mut client = connect(&workers, PATIENT);
        let said = exchange(&mut client, head, "nothing").await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?}: {said}");
        assert!(said.contains("\r\nConnection: close\r\n") && told.try_recv().is_err(), "{head:?}: {said}");
    }
}

#[tokio::test]
async fn h5_a_chunk_is_read_as_without_tls() {
    let (workers, told) = telling();
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(300));
    for body in ["5 \r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5\r\nhello!\r\n0\r\n\r\n", &long] {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for bytes_at_once in [1, usize::MAX] {
            let mut client = connect(&workers, PATIENT);
            for piece in format!("{head}{body}").as_bytes().chunks(bytes_at_once) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let said = exchange(&mut client, "GET /next HTTP/1.1\r\nHost: a\r\n\r\n", "nothing").await;
            assert!(said.starts_with("HTTP/1.1 400 ") && said.matches("HTTP/1.1 ").count() == 1, "{body:?}: {said}");
            assert!(told.try_recv().is_err(), "{body:?}");
        }
    }
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_their_order_and_the_refusal_comes_last() {
    let (workers, told) = telling();
    let chunked =
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: t\r\n\r\n";
    let counted = "\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let ahead = format!("{chunked}{counted}GET /3 HTTP/1.1\r\nHost: a\r\n\r\nGET /4 HTTP/1.1\nHost: a\r\n\r\n");
    for bytes_at_once in [1, 7, usize::MAX] {
        let mut client = connect(&workers, PATIENT);
        for piece in ahead.as_bytes().chunks(bytes_at_once) {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let said = until(&mut client, "nothing").await;
        let statuses: Vec<&str> = said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(statuses, ["200", "200", "200", "400"], "{said}");
        let paths: Vec<String> = told.try_iter().map(|(head, body)| format!("{} {body}", &head[..7])).collect();
        assert_eq!(
            paths,
            ["POST /1 5\r\nhello\r\n0\r\n\r\n", "POST /2 hello", "GET /3  "].map(str::to_owned),
            "{paths:?}"
        );
    }
}

#[tokio::test]
async fn h9_an_answer_to_a_body_that_nobody_reads_is_there_to_be_read() {
    let workers = worker(|_, mut stream| {
        head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            .unwrap();
        // As a worker does: what comes is read for a while, so that the answer is not reset with it.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let mut client = connect(&workers, PATIENT);
    let body_bytes = 5_000_000;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {body_bytes}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    // All of it, although the worker has answered and is gone: a connection that is closed here is reset.
    let sending = async {
        for _ in 0..body_bytes / 50_000 {
            client
                .write_all(&[b'x'; 50_000])
                .await
                .expect("the connection is closed before its client has read the answer");
        }
    };
    tokio::time::timeout(SOON, sending).await.unwrap();
    client.shutdown().await.unwrap();
    let said = until(&mut client, "nothing").await;
    assert!(said.starts_with("HTTP/1.1 413 ") && said.ends_with("no"), "{said}");
}
