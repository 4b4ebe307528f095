//! Clients that speak HTTP/2 and mean no good: floods, and streams that are kept open at no cost (H1, H2). Frames are written
//! by hand (RFC 9113, section 4.1): no well-behaved client would send these.

use std::io::ErrorKind;

use super::*;
use crate::{
    connection::serve_http2,
    limits::{CONNECTION_BEGUN_BYTES, STREAMS_MAX, UNBEGUN_MAX},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
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

/// The whole frames in these bytes: kind, flags, payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, &[u8])> {
    let mut all = Vec::new();
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = bytes {
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
        let Some((payload, behind)) = rest.split_at_checked(length) else { break };
        all.push((*kind, *flags, payload));
        bytes = behind;
    }
    all
}

/// Everything until the end of the connection, which must come; the kinds of its frames.
async fn kinds_until_the_end(client: &mut DuplexStream) -> Vec<u8> {
    let mut said = Vec::new();
    // An end in the middle of something is an end.
    let _ = tokio::time::timeout(SOON, client.read_to_end(&mut said)).await.expect("the connection is not ended");
    frames(&said).into_iter().map(|(kind, ..)| kind).collect()
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

/// Begins one request after the other, each followed by what `ends` it before it is answered; how many could be sent, and how many
/// reached a worker.
async fn flood(ends: impl Fn(u32) -> Vec<u8>) -> (usize, usize) {
    let (workers, told) = silent();
    let mut client = connect_http2(&workers, PATIENT);
    client.write_all(&preface(&[])).await.unwrap();
    let mut sent = 0;
    for stream in (1_u32..40_000).step_by(2) {
        let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, GET);
        let mut written = client.write_all(&request).await;
        // The request is on its way before it is ended: no queue of the library sees it.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        if written.is_ok() {
            written = client.write_all(&ends(stream)).await;
        }
        if written.is_err() {
            break;
        }
        sent += 1;
    }
    kinds_until_the_end(&mut client).await;
    let reached = std::iter::from_fn(|| told.recv_timeout(Duration::from_millis(200)).ok()).count();
    (sent, reached)
}

#[tokio::test]
async fn h2_a_client_that_takes_its_requests_back_is_cut_before_it_has_cost_much_cve_2023_44487() {
    let (sent, reached) = flood(|stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
    assert!(sent < 19_999, "all requests were taken");
    assert!(reached <= 250, "{reached} of {sent} requests reached a worker");
}

#[tokio::test]
async fn h2_so_is_one_that_has_the_gateway_take_them_back_cve_2025_8671() {
    // The window grows beyond what it can be (RFC 9113, 6.9.1): the gateway resets the stream.
    let (sent, reached) = flood(|stream| frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())).await;
    assert!(sent < 19_999, "all requests were taken");
    assert!(reached <= 250, "{reached} of {sent} requests reached a worker");
}

#[tokio::test]
async fn h9_an_answer_to_a_body_that_nobody_reads_comes_whole_and_the_body_is_not_refused_at_once_over_http2() {
    let workers = worker(|_, mut stream| {
        head(&mut stream);
        stream.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").unwrap();
    });
    let mut client = connect_http2(&workers, PATIENT);
    client.write_all(&preface(&[])).await.unwrap();
    client.write_all(&frame(HEADERS, END_HEADERS, 1, POST)).await.unwrap();
    let part = frame(DATA, 0, 1, &[b'x'; 16_384]);
    client.write_all(&[&part[..], &part].concat()).await.unwrap();
    let mut said = Vec::new();
    let of_stream = |said: &[u8]| -> Vec<(u8, u8, Vec<u8>)> {
        let all = frames(said).into_iter().filter(|(kind, ..)| [HEADERS, DATA, RST_STREAM].contains(kind));
        all.map(|(kind, flags, payload)| (kind, flags, payload.to_vec())).collect()
    };
    let ends = |said: &[u8]| of_stream(said).iter().any(|(_, flags, _)| flags & END_STREAM != 0);
    let reading = async {
        while !ends(&said) {
            assert!(client.read_buf(&mut said).await.unwrap() > 0, "{:?}", frames(&said));
        }
        // It goes on, says its end, and hears of everything in between.
        client.write_all(&[part, frame(DATA, END_STREAM, 1, b""), frame(PING, 0, 0, &[7; 8])].concat()).await.unwrap();
        while frames(&said).iter().all(|(kind, ..)| *kind != PING) {
            assert!(client.read_buf(&mut said).await.unwrap() > 0, "{:?}", frames(&said));
        }
    };
    tokio::time::timeout(SOON, reading).await.expect("it is not answered, or its body is not received");
    let all = of_stream(&said);
    let body: Vec<u8> = all.iter().filter(|(kind, ..)| *kind == DATA).flat_map(|(.., data)| data.clone()).collect();
    assert_eq!((all[0].0, &body[..]), (HEADERS, &b"no"[..]), "{all:?}");
    assert!(all.iter().all(|(kind, ..)| *kind != RST_STREAM), "{all:?}");
}

#[tokio::test]
async fn h5_a_length_that_is_not_the_bodys_never_reaches_a_worker_over_http2() {
    /// `content-length` (RFC 7541, appendix A: 28), not indexed.
    fn length(said: &str) -> Vec<u8> {
        [&[0x0f, 13, u8::try_from(said.len()).unwrap()], said.as_bytes()].concat()
    }
    for (said, body) in [
        ("5", &[][..]),
        ("5", &[&b"hel"[..]]),
        ("2", &[b"hello"]),
        ("2", &[b"he", b"llo"]),
        ("+5", &[b"hello"]),
        ("5, 5", &[b"hello"]),
        ("", &[b"hello"]),
    ] {
        let (workers, told) = telling();
        let mut client = connect_http2(&workers, PATIENT);
        let head = [POST, &length(said)].concat();
        let end = |is_last: bool| if is_last { END_STREAM } else { 0 };
        let mut bytes = [preface(&[]), frame(HEADERS, END_HEADERS | end(body.is_empty()), 1, &head)].concat();
        for (at, part) in body.iter().enumerate() {
            bytes.extend(frame(DATA, end(at + 1 == body.len()), 1, part));
        }
        client.write_all(&bytes).await.unwrap();
        // What comes after it on the same connection is served, or nothing is.
        let next = [POST, &length("2")].concat();
        let after = [frame(HEADERS, END_HEADERS, 3, &next), frame(DATA, END_STREAM, 3, b"ok")].concat();
        let _ = client.write_all(&after).await;
        let seen = tokio::task::spawn_blocking(move || told.recv_timeout(Duration::from_secs(2))).await.unwrap();
        assert!(seen.is_err() || seen.is_ok_and(|(_, body)| body == "ok"), "{said:?} of {body:?} reached a worker");
    }
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
async fn h1_a_client_that_reads_one_answer_cannot_keep_the_workers_of_others() {
    let (tell, told) = mpsc::channel();
    let workers = worker(move |_, mut stream| {
        let tell = tell.clone();
        thread::spawn(move || {
            head(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
            while stream.write_all(&[b'x'; 65_536]).is_ok() {}
            let _ = tell.send(());
        });
    });
    let brief = Duration::from_millis(700);
    let mut client = connect_http2(&workers, Waits { client: brief, head: SOON, idle: SOON });
    // The window of every stream: no byte. That of the connection, and of the second stream: without end.
    let windows = |stream: u32| frame(WINDOW_UPDATE, 0, stream, &0x7000_0000_u32.to_be_bytes());
    let get = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, GET);
    client.write_all(&[preface(&[(4, 0)]), windows(0), get(1), get(3), windows(3)].concat()).await.unwrap();
    let mut said = Vec::new();
    let reading = async {
        while client.read_buf(&mut said).await.is_ok_and(|length| length > 0) {
            said.clear();
        }
    };
    tokio::time::timeout(SOON, reading).await.expect("one answer that is read keeps the other");
    for _ in 0..2 {
        told.recv_timeout(SOON).expect("a worker still waits for the client");
    }
}

#[tokio::test]
async fn who_gives_room_slowly_gets_the_whole_answer_over_http2() {
    const LENGTH: usize = 30_000;
    let workers = worker(|_, mut stream| {
        head(&mut stream);
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + LENGTH, b'x');
        stream.write_all(&answer).unwrap();
    });
    let brief = Duration::from_millis(200);
    let mut client = connect_http2(&workers, Waits { client: 3 * brief, head: SOON, idle: brief });
    client.write_all(&preface(&[(4, 0)])).await.unwrap();
    client.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await.unwrap();
    let mut said = Vec::new();
    let data = |said: &[u8]| {
        frames(said).iter().filter(|(kind, ..)| *kind == DATA).map(|(.., data)| data.len()).sum::<usize>()
    };
    while data(&said) < LENGTH {
        let room = frame(WINDOW_UPDATE, 0, 1, &300_u32.to_be_bytes());
        client.write_all(&room).await.expect("it is cut");
        let before = data(&said);
        while data(&said) == before {
            let read = tokio::time::timeout(SOON, client.read_buf(&mut said)).await.expect("nothing comes").unwrap();
            assert!(read > 0, "it is ended after {before} bytes");
        }
        tokio::time::sleep(brief / 4).await;
    }
}

#[tokio::test]
async fn h1_what_is_read_of_a_worker_for_a_client_without_room_is_bounded_per_answer() {
    let (tell, told) = mpsc::channel();
    let workers = worker(move |_, mut stream| {
        let tell = tell.clone();
        thread::spawn(move || {
            head(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
            stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            let (mut taken, piece) = (0, [b'x'; 4096]);
            while let Ok(length) = stream.write(&piece) {
                taken += length;
            }
            tell.send(taken).unwrap();
            let _ = stream.read(&mut [0]);
        });
    });
    let mut client = connect_http2(&workers, PATIENT);
    client.write_all(&preface(&[(4, 0)])).await.unwrap();
    client.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await.unwrap();
    let taken = tokio::task::spawn_blocking(move || told.recv_timeout(SOON).unwrap()).await.unwrap();
    // With what the socket between them holds (unix(7): net.core.wmem_default).
    let socket: usize = std::fs::read_to_string("/proc/sys/net/core/wmem_default").unwrap().trim().parse().unwrap();
    assert!(taken < socket + 160 * 1024, "{taken} bytes of one answer, {socket} of them in the socket");
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
async fn h1_of_too_many_bodies_that_do_not_come_the_oldest_is_refused_and_one_that_comes_is_served() {
    let (workers, told) = telling();
    let mut oldest = connect(&workers, PATIENT);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    // It is being waited for.
    assert!(exchange(&mut oldest, head, "\r\n\r\n").await.starts_with("HTTP/1.1 100 "));
    let mut others = Vec::new();
    for _ in 0..UNBEGUN_MAX / STREAMS_MAX as usize {
        let mut client = connect_http2(&workers, PATIENT);
        client.write_all(&preface(&[])).await.unwrap();
        for stream in (1..2 * STREAMS_MAX).step_by(2) {
            client.write_all(&frame(HEADERS, END_HEADERS, stream, POST)).await.unwrap();
            client.write_all(&frame(DATA, 0, stream, b"he")).await.unwrap();
        }
        others.push(client);
    }
    let said = until(&mut oldest, "nothing").await;
    assert!(said.starts_with("HTTP/1.1 503 ") && said.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{said}");
    let mut client = connect_http2(&workers, PATIENT);
    client.write_all(&preface(&[])).await.unwrap();
    client.write_all(&frame(HEADERS, END_HEADERS, 1, POST)).await.unwrap();
    client.write_all(&frame(DATA, END_STREAM, 1, b"hello")).await.unwrap();
    let (told, body) = tokio::task::spawn_blocking(move || {
        let body = told.recv_timeout(SOON).unwrap().1;
        (told, body)
    })
    .await
    .unwrap();
    assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n");
    assert!(told.try_recv().is_err(), "a body that has not come has a worker");
    drop(others);
}

#[tokio::test]
async fn h1_the_bodies_of_one_connection_hold_no_more_together_than_one_connection_may() {
    let (workers, told) = silent();
    let mut client = connect_http2(&workers, PATIENT);
    client.write_all(&preface(&[])).await.unwrap();
    let each = CONNECTION_BEGUN_BYTES / STREAMS_MAX as usize;
    for stream in (1..2 * STREAMS_MAX).step_by(2) {
        client.write_all(&frame(HEADERS, END_HEADERS, stream, POST)).await.unwrap();
    }
    // All requests are here now: of one alone so much would be too little.
    let bytes = vec![b'x'; each];
    client.write_all(&frame(DATA, 0, 1, &bytes[1..])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(told.try_recv().is_err(), "it has a worker too early");
    client.write_all(&frame(DATA, 0, 1, &bytes[..1])).await.unwrap();
    tokio::task::spawn_blocking(move || told.recv_timeout(SOON).unwrap()).await.unwrap();
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
