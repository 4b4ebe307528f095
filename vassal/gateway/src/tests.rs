//! Requests through the gateway to a worker that does as the test says: what reaches it, and what comes back.

use std::{
    io::{Read, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use hyper::{Request, Response, body::Incoming, service::Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::{
    answer::Answer,
    certificates::Mark,
    client::Client,
    connection::{Manners, Pending, serve_http1},
    deadlines::{Activity, Waits},
    floor::Floor,
    forward::Exchange,
    workers::Workers,
};

mod framing;
mod http2;
mod leaving;

const SOON: Duration = Duration::from_secs(20);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A worker whose connections are served by `serve`, one after the other.
fn worker(serve: impl Fn(u32, UnixStream) + Send + 'static) -> Arc<Workers> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("empery-gateway-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    thread::spawn(move || {
        for (number, stream) in (0..).zip(listener.incoming()) {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            serve(number, stream);
        }
    });
    Arc::new(Workers::new(&name, Duration::from_secs(75)))
}

/// Reads one request's head.
fn head(stream: &mut UnixStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// One request off a worker's connection, its head and its body as it was framed; None at the end.
fn request(stream: &mut UnixStream) -> Option<(String, String)> {
    let head = head(stream);
    let is = |name: &str| head.lines().find_map(|line| line.to_lowercase().strip_prefix(name).map(str::to_owned));
    let mut body = Vec::new();
    let mut take = |enough: &dyn Fn(&[u8]) -> bool| {
        let mut byte = [0];
        while !enough(&body) && stream.read(&mut byte).unwrap() == 1 {
            body.push(byte[0]);
        }
    };
    match (is("content-length: "), is("transfer-encoding: ")) {
        (None, None) => {}
        (Some(length), None) => take(&|body| body.len() == length.parse::<usize>().unwrap()),
        (None, Some(coding)) if coding == "chunked" => take(&|body| body.ends_with(b"0\r\n\r\n")),
        framings => panic!("{framings:?}"),
    }
    (!head.is_empty()).then(|| (head, String::from_utf8(body).unwrap()))
}

/// A worker that answers everything, and tells of each request before it does.
fn telling() -> (Arc<Workers>, mpsc::Receiver<(String, String)>) {
    let (tell, told) = mpsc::channel();
    let workers = worker(move |_, mut stream| {
        let tell = tell.clone();
        thread::spawn(move || {
            while let Some(request) = request(&mut stream) {
                let _ = tell.send(request);
                stream.write_all(OK).unwrap();
            }
        });
    });
    (workers, told)
}

struct Requests(Arc<Exchange>);

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Answer>;
    type Error = std::convert::Infallible;
    type Future = Pending;

    fn call(&self, request: Request<Incoming>) -> Pending {
        Box::pin(Arc::clone(&self.0).answer(request))
    }
}

/// A client's end of a connection.
fn connect(workers: &Arc<Workers>, waits: Waits) -> DuplexStream {
    connect_on(&Arc::new(Floor::new()), workers, waits)
}

fn connect_on(floor: &Arc<Floor>, workers: &Arc<Workers>, waits: Waits) -> DuplexStream {
    let (client, server) = tokio::io::duplex(256 * 1024);
    serve_on(server, floor, workers, waits);
    client
}

/// Serves a server's end.
fn serve_on(server: DuplexStream, floor: &Arc<Floor>, workers: &Arc<Workers>, waits: Waits) {
    let (workers, floor) = (Arc::clone(workers), Arc::clone(floor));
    tokio::spawn(async move {
        let _guest = floor.enter();
        let manners = Manners { waits, head_max_bytes: 65_536 };
        serve_http1(server, "192.0.2.1:9".parse().unwrap(), manners, &floor, |activity| {
            Requests(Arc::new(exchange_of(workers, activity, waits)))
        })
        .await;
    });
}

fn exchange_of(workers: Arc<Workers>, activity: Arc<Activity>, waits: Waits) -> Exchange {
    let client = Client::new("192.0.2.1:9".parse().unwrap(), None, false);
    let none = Mark::default();
    Exchange { workers, client, activity, waits, strict: None, certificate: none, door_certificate: none }
}

const PATIENT: Waits = Waits { client: SOON, head: SOON, idle: SOON };

/// Sends a text, and answers with everything that comes until the connection ends or `end` has come.
async fn exchange(client: &mut DuplexStream, text: &str, end: &str) -> String {
    client.write_all(text.as_bytes()).await.unwrap();
    until(client, end).await
}

async fn until(client: &mut DuplexStream, end: &str) -> String {
    let mut said = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&said).ends_with(end) && client.read_buf(&mut said).await.unwrap() > 0 {}
    };
    tokio::time::timeout(SOON, reading).await.unwrap();
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn an_upgrade_passes_through_and_then_bytes_go_both_ways_untouched() {
    let workers = worker(|_, mut stream| {
        let head = head(&mut stream).to_lowercase();
        assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n\x81\x02hi").unwrap();
        let mut frame = [0; 5];
        stream.read_exact(&mut frame).unwrap();
        assert_eq!(&frame, b"\x00\xff\r\n!");
        stream.write_all(b"bye").unwrap();
    });
    let mut client = connect(&workers, PATIENT);
    let wish = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
    client.write_all(wish.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\x81\x02hi") {
        assert!(tokio::time::timeout(SOON, client.read_buf(&mut said)).await.unwrap().unwrap() > 0);
    }
    let text = String::from_utf8_lossy(&said).to_lowercase();
    assert!(
        text.starts_with("http/1.1 101 ")
            && text.contains("upgrade: websocket")
            && text.contains("sec-websocket-accept: x"),
        "{text}"
    );
    client.write_all(b"\x00\xff\r\n!").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, client.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"bye");
}

#[tokio::test]
async fn a_gateway_that_leaves_stays_for_an_upgraded_connection_to_end() {
    let workers = worker(|_, mut stream| {
        head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhi")
            .unwrap();
        let mut word = [0; 5];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(&word).unwrap();
    });
    let floor = Arc::new(Floor::new());
    let mut client = connect_on(&floor, &workers, PATIENT);
    let wish = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    exchange(&mut client, wish, "hi").await;
    floor.close();
    tokio::time::timeout(SOON, floor.quiet()).await.expect("what is left is with a worker");
    assert!(tokio::time::timeout(Duration::from_millis(300), floor.empty()).await.is_err(), "somebody is left");
    client.write_all(b"later").await.unwrap();
    assert!(until(&mut client, "later").await.ends_with("later"));
    tokio::time::timeout(SOON, floor.empty()).await.expect("nobody is left");
}

#[tokio::test]
async fn h9_a_client_that_says_no_more_gets_its_answer() {
    let (go, wait) = mpsc::channel();
    let workers = worker(move |_, mut stream| {
        head(&mut stream);
        wait.recv_timeout(SOON).unwrap();
        stream.write_all(OK).unwrap();
    });
    let mut client = connect(&workers, PATIENT);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), client.read(&mut [0])).await;
    assert!(early.is_err(), "the connection ended before the answer: {early:?}");
    go.send(()).unwrap();
    let said = until(&mut client, "ok").await;
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("ok"), "{said}");
    let rest = tokio::time::timeout(SOON, client.read(&mut [0])).await.unwrap().unwrap();
    assert_eq!(rest, 0, "and then it ends");
}

/// A worker that serves one request on its first connection, hangs up at the next (after `answer_begins`), and serves
/// everything on later connections. Tells of every head it reads.
fn hangs_up_once(answer_begins: &'static [u8]) -> (Arc<Workers>, mpsc::Receiver<String>) {
    let (tell, told) = mpsc::channel();
    let workers = worker(move |number, mut stream| {
        tell.send(head(&mut stream)).unwrap();
        stream.write_all(OK).unwrap();
        if number == 0 {
            tell.send(head(&mut stream)).unwrap();
            stream.write_all(answer_begins).unwrap();
        }
    });
    (workers, told)
}

async fn after_one_request(workers: &Arc<Workers>, request: &str) -> String {
    let mut client = connect(workers, PATIENT);
    let first = exchange(&mut client, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n", "ok").await;
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    tokio::time::timeout(SOON, async {
        while !said.windows(4).any(|end| end == b"\r\n\r\n") && client.read_buf(&mut said).await.unwrap() > 0 {}
    })
    .await
    .unwrap();
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn what_changes_nothing_is_sent_again_when_a_used_connection_ends_without_a_byte() {
    let (workers, told) = hangs_up_once(b"");
    let answer = after_one_request(&workers, "GET /again HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let heads: Vec<String> = (0..3).map(|_| told.recv_timeout(SOON).unwrap()).collect();
    assert!(heads[1].starts_with("GET /again ") && heads[2].starts_with("GET /again "), "{heads:?}");
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_twice() {
    let (workers, told) = hangs_up_once(b"");
    let answer = after_one_request(&workers, "POST /buy HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nme").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!((0..2).filter(|_| told.recv_timeout(SOON).unwrap().starts_with("POST")).count(), 1);
    assert!(told.try_recv().is_err(), "it was sent again");
}

#[tokio::test]
async fn an_answer_that_began_is_not_asked_for_again() {
    let (workers, told) = hangs_up_once(b"HTTP/1.1 200 OK\r\nX-Half");
    let answer = after_one_request(&workers, "GET /half HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!((0..2).filter(|_| told.recv_timeout(SOON).unwrap().starts_with("GET /half")).count(), 1);
    assert!(told.try_recv().is_err(), "it was sent again");
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for_reaches_no_client() {
    let workers = worker(|_, mut stream| {
        head(&mut stream);
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhi").unwrap();
    });
    let mut client = connect(&workers, PATIENT);
    let said = exchange(&mut client, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "nothing").await;
    assert!(said.starts_with("HTTP/1.1 502 ") && !said.contains("hi"), "{said}");
    assert!(workers.take().await.is_ok_and(|taken| !taken.is_used), "its connection serves others");
}

#[tokio::test]
async fn an_answer_may_have_a_long_head_with_many_lines_and_no_longer_one() {
    let workers = worker(|_, mut stream| {
        let asked = head(&mut stream);
        let wanted: Vec<usize> = asked.split(['/', ' ']).filter_map(|word| word.parse().ok()).collect();
        let line = |number: usize| format!("X-{number}: {}\r\n", "x".repeat(wanted[1]));
        let lines: String = (0..wanted[0]).map(line).collect();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\nConnection: close\r\n\r\nok");
    });
    for (lines, length, status) in [(500, 100, 200), (2, 60_000, 200), (600, 1, 502), (4, 60_000, 502)] {
        let mut client = connect(&workers, PATIENT);
        let text = format!("GET /{lines}/{length} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let said = exchange(&mut client, &text, "nothing").await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{lines} of {length}: {}", &said[..30]);
        assert_eq!(said.matches("\r\nx-").count(), if status == 200 { lines } else { 0 });
    }
}

#[tokio::test]
async fn an_upgraded_client_that_takes_nothing_is_cut_and_its_worker_is_free() {
    let (tell, told) = mpsc::channel();
    let workers = worker(move |_, mut stream| {
        head(&mut stream);
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhi").unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        let error = std::iter::repeat_with(|| stream.write_all(&[b'x'; 65_536])).find_map(Result::err).unwrap();
        tell.send(error.kind()).unwrap();
    });
    let floor = Arc::new(Floor::new());
    let brief = Duration::from_millis(300);
    let mut client = connect_on(&floor, &workers, Waits { client: brief, head: brief, idle: brief });
    let wish = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    client.write_all(wish.as_bytes()).await.unwrap();
    // It never reads.
    let how = tokio::task::spawn_blocking(move || told.recv_timeout(SOON)).await.unwrap();
    let ended = [std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::ConnectionReset];
    assert!(how.is_ok_and(|kind| ended.contains(&kind)), "the worker waits for it: {how:?}");
    tokio::time::timeout(SOON, floor.empty()).await.expect("nobody is left");
}

#[tokio::test]
async fn a_connection_that_was_busy_at_the_last_look_is_ended_in_its_time_too() {
    let brief = Duration::from_millis(300);
    let workers = worker(move |_, mut stream| {
        head(&mut stream);
        // Longer than the first look takes to come.
        thread::park_timeout(2 * brief);
        stream.write_all(OK).unwrap();
    });
    let mut client = connect(&workers, Waits { client: SOON, head: SOON, idle: brief });
    let began = tokio::time::Instant::now();
    let said = exchange(&mut client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "nothing").await;
    assert!(said.ends_with("ok") && began.elapsed() < SOON / 2, "{said} after {:?}", began.elapsed());
}

#[tokio::test]
async fn h1_a_slow_head_and_an_idle_connection_are_ended_each_in_its_time() {
    let workers = worker(|_, mut stream| {
        head(&mut stream);
        stream.write_all(OK).unwrap();
    });
    let brief = Duration::from_millis(300);
    let mut slow = connect(&workers, Waits { client: brief, head: brief, idle: SOON });
    let began = tokio::time::Instant::now();
    let said = exchange(&mut slow, "GET / HTTP/1.1\r\nHost: a\r\nX", "nothing").await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(began.elapsed() >= brief && began.elapsed() < SOON / 2);
    // Between two requests the other clock runs.
    let mut idle = connect(&workers, Waits { client: SOON, head: SOON, idle: brief });
    let began = tokio::time::Instant::now();
    let said = exchange(&mut idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "nothing").await;
    assert!(said.ends_with("ok") && began.elapsed() >= brief && began.elapsed() < SOON / 2, "{said}");
}
