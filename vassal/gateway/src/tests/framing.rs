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
        // The coding counts, and the connection ends behind it (RFC 9112, 6.1).
        ("Content-Length: 0\r\nTransfer-Encoding: chunked", Some(chunked.as_str())),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", Some(&chunked)),
        ("Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 37", Some(&chunked)),
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
        // The same length twice is that length (RFC 9112, 6.3).
        ("Content-Length: 0\r\nContent-Length: 0", Some("")),
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
