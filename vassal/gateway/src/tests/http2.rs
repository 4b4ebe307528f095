//! Clients that speak HTTP/2 and mean no good: floods, and streams that are kept open at no cost (H1, H2). Frames are written
//! by hand (RFC 9113, section 4.1): no well-behaved client would send these.

use std::io::ErrorKind;

use super::*;
use crate::connection::serve_http2;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:method GET`, `:scheme https`, `:path /` (RFC 7541, appendix A), and `:authority a` as a literal.
const GET: &[u8] = &[0x82, 0x87, 0x84, 0x01, 1, b'a'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The client's beginning, with these settings.
fn preface(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &payload)].concat()
}

/// A client's end of a connection, and who is on the floor of its gateway.
fn connect_http2(workers: &Arc<Workers>, waits: Waits) -> DuplexStream {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let workers = Arc::clone(workers);
    tokio::spawn(async move {
        let floor = Arc::new(Floor::new());
        let manners = Manners { waits, head_max_bytes: 65_536 };
        serve_http2(server, manners, &floor, |activity| Requests(Arc::new(exchange_of(workers, activity, waits))))
            .await;
    });
    client
}

/// Everything until the end of the connection, which must come; the kinds of its frames.
async fn kinds_until_the_end(client: &mut DuplexStream) -> Vec<u8> {
    let mut said = Vec::new();
    // An end in the middle of something is an end.
    let _ = tokio::time::timeout(SOON, client.read_to_end(&mut said)).await.expect("the connection is not ended");
    let mut kinds = Vec::new();
    let mut rest = said.as_slice();
    while let [a, b, c, kind, ..] = rest {
        kinds.push(*kind);
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    kinds
}

/// A worker that reads whatever comes, answers nothing, and tells of each connection.
fn silent() -> (Arc<Workers>, mpsc::Receiver<()>) {
    let (tell, told) = mpsc::channel();
    let workers = worker(move |_, mut stream| {
        tell.send(()).unwrap();
        thread::spawn(move || while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {});
    });
    (workers, told)
}

#[tokio::test]
async fn h2_a_client_that_takes_its_requests_back_is_cut_before_it_has_cost_much_cve_2023_44487() {
    let (workers, told) = silent();
    let mut client = connect_http2(&workers, PATIENT);
    client.write_all(&preface(&[])).await.unwrap();
    let mut sent = 0;
    for stream in (1_u32..40_000).step_by(2) {
        let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, GET);
        let mut written = client.write_all(&request).await;
        // The request is on its way before it is taken back: no queue of the library sees it.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        if written.is_ok() {
            written = client.write_all(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
        }
        if written.is_err() {
            break;
        }
        sent += 1;
    }
    kinds_until_the_end(&mut client).await;
    let reached = std::iter::from_fn(|| told.recv_timeout(Duration::from_millis(200)).ok()).count();
    assert!(sent < 19_999, "all requests were taken");
    assert!(reached <= 250, "{reached} of {sent} requests reached a worker");
}

#[tokio::test]
async fn h4_a_head_without_an_end_is_cut_over_http2_cve_2024_27316() {
    let (workers, told) = silent();
    let mut client = connect_http2(&workers, PATIENT);
    client.write_all(&preface(&[])).await.unwrap();
    client.write_all(&frame(HEADERS, 0, 1, GET)).await.unwrap();
    // `x: yyy…`, a literal that is not indexed.
    let field = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat();
    let mut sent_bytes = 0_usize;
    while sent_bytes < 100_000_000 && client.write_all(&frame(CONTINUATION, 0, 1, &field.repeat(100))).await.is_ok() {
        sent_bytes += 10_400;
    }
    let kinds = kinds_until_the_end(&mut client).await;
    assert!(sent_bytes < 10_000_000, "{sent_bytes} bytes of one head were taken");
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    assert!(told.try_recv().is_err(), "something of it reached a worker");
}

#[tokio::test]
async fn h2_floods_of_pings_and_settings_stop_at_what_the_client_does_not_read() {
    for flood in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9])] {
        let (workers, told) = silent();
        let mut client = connect_http2(
            &workers,
            Waits { client: Duration::from_millis(500), head: Duration::from_millis(500), idle: SOON },
        );
        client.write_all(&preface(&[])).await.unwrap();
        client.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await.unwrap();
        let many = flood.repeat(1000);
        let mut sent_bytes = 0;
        // It never reads: what it asks for has no room, and nothing more of it is read.
        while sent_bytes < 50_000_000 {
            match tokio::time::timeout(SOON, client.write_all(&many)).await.expect("it is neither read nor ended") {
                Ok(()) => sent_bytes += many.len(),
                Err(_) => break,
            }
        }
        assert!(sent_bytes < 5_000_000, "{sent_bytes} bytes were taken from a client that reads nothing");
        drop(told);
    }
}

#[tokio::test]
async fn h2_a_reader_without_room_for_an_answer_is_cut_and_its_worker_is_free() {
    let (tell, told) = mpsc::channel();
    let workers = worker(move |_, mut stream| {
        head(&mut stream);
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".to_vec();
        answer.resize(answer.len() + 100_000, b'x');
        // Its connection ends with the client's, with an error where the rest of the answer was not read.
        let sent = stream.write_all(&answer).and_then(|()| stream.read(&mut [0]));
        let has_ended = sent.map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |read| read == 0);
        tell.send(has_ended).unwrap();
    });
    let brief = Duration::from_millis(400);
    let mut client = connect_http2(&workers, Waits { client: brief, head: brief, idle: SOON });
    // SETTINGS_INITIAL_WINDOW_SIZE (4): no byte of any body.
    client.write_all(&preface(&[(4, 0)])).await.unwrap();
    client.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await.unwrap();
    let began = tokio::time::Instant::now();
    let kinds = kinds_until_the_end(&mut client).await;
    assert!(kinds.contains(&HEADERS) && began.elapsed() >= brief, "{kinds:?} after {:?}", began.elapsed());
    assert!(told.recv_timeout(SOON).unwrap(), "the worker's connection is still there");
}

#[tokio::test]
async fn a_get_with_a_body_of_unknown_length_reaches_the_worker_whole() {
    let (workers, told) = telling();
    let mut client = connect_http2(&workers, PATIENT);
    client.write_all(&preface(&[])).await.unwrap();
    client.write_all(&frame(HEADERS, END_HEADERS, 1, GET)).await.unwrap();
    client.write_all(&frame(DATA, END_STREAM, 1, b"hello")).await.unwrap();
    let (head, body) = tokio::task::spawn_blocking(move || told.recv_timeout(SOON).unwrap()).await.unwrap();
    assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n", "{head}");
}

/// `:method POST` (RFC 7541, appendix A), and the rest as of [`GET`].
const POST: &[u8] = &[0x83, 0x87, 0x84, 0x01, 1, b'a'];

#[tokio::test]
async fn h1_a_body_that_does_not_come_takes_no_worker() {
    let (workers, told) = telling();
    let mut client = connect_http2(&workers, PATIENT);
    client.write_all(&preface(&[])).await.unwrap();
    for stream in (1..200).step_by(2) {
        client.write_all(&frame(HEADERS, END_HEADERS, stream, POST)).await.unwrap();
        client.write_all(&frame(DATA, 0, stream, b"he")).await.unwrap();
    }
    // They were read before the last one, which comes whole.
    client.write_all(&frame(HEADERS, END_HEADERS, 201, POST)).await.unwrap();
    client.write_all(&frame(DATA, END_STREAM, 201, b"hello")).await.unwrap();
    let next = |told: mpsc::Receiver<(String, String)>| {
        tokio::task::spawn_blocking(move || (told.recv_timeout(SOON).unwrap().1, told))
    };
    let (body, told) = next(told).await.unwrap();
    assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n");
    client.write_all(&frame(DATA, END_STREAM, 7, b"y")).await.unwrap();
    let (body, told) = next(told).await.unwrap();
    assert_eq!(body, "3\r\nhey\r\n0\r\n\r\n");
    assert!(told.try_recv().is_err(), "a body that has not come has a worker");
}

#[tokio::test]
async fn h1_a_body_that_does_not_come_is_not_waited_for_for_ever() {
    let (workers, told) = silent();
    let brief = Duration::from_millis(300);
    let mut client = connect_http2(&workers, Waits { client: brief, head: SOON, idle: brief });
    client.write_all(&preface(&[])).await.unwrap();
    client.write_all(&frame(HEADERS, END_HEADERS, 1, POST)).await.unwrap();
    // It is answered (408), and then nothing keeps the connection.
    let kinds = kinds_until_the_end(&mut client).await;
    assert!(kinds.contains(&HEADERS), "{kinds:?}");
    assert!(told.try_recv().is_err(), "something of it reached a worker");
}

#[tokio::test]
async fn h1_a_connection_that_never_becomes_a_request_is_cut_over_http2() {
    let (workers, told) = silent();
    let brief = Duration::from_millis(300);
    for beginning in [&b"PRI * HT"[..], &preface(&[]), &[preface(&[]), frame(HEADERS, 0, 1, GET)].concat()] {
        let mut client = connect_http2(&workers, Waits { client: brief, head: brief, idle: SOON });
        client.write_all(beginning).await.unwrap();
        let began = tokio::time::Instant::now();
        kinds_until_the_end(&mut client).await;
        assert!(began.elapsed() >= brief, "it was cut at once");
    }
    assert!(told.try_recv().is_err(), "something of it reached a worker");
}
