//! The two doors with real sockets: the kernel says who is at the other end of the control socket.

use std::{os::unix::fs::MetadataExt, time::Duration};

use crate::called::Called;
use empery_web_ui::serve::{self, Patience};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

/// Asks over a connection and reads all that comes back.
async fn ask(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_control_socket_knows_its_peer_from_the_kernel() {
    let called = Called::tcp();
    let me = std::fs::metadata(&called.directory).unwrap().uid();
    let path = called.directory.join("emperor.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let served = tokio::spawn(serve::control(listener, called.fake.realm.clone(), vec![me]));
    let request =
        "POST /api/v1/vassals/shop.ini/reload?wait=20s HTTP/1.1\r\nhost: emperor\r\nconnection: close\r\n\r\n";
    let answer = ask(UnixStream::connect(&path).await.unwrap(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&format!("\"cli:uid {me}\"")), "{answer}");
    served.abort();

    std::fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    let served = tokio::spawn(serve::control(listener, called.fake.realm.clone(), vec![me + 1]));
    let answer = ask(UnixStream::connect(&path).await.unwrap(), request).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("wrong-user"), "{answer}");
    served.abort();
}

#[tokio::test]
async fn strangers_who_say_nothing_take_few_places_of_the_control_socket_and_not_for_long() {
    let called = Called::tcp();
    let me = std::fs::metadata(&called.directory).unwrap().uid();
    let path = called.directory.join("emperor.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let served = tokio::spawn(serve::control(listener, called.fake.realm.clone(), vec![me + 1]));
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(UnixStream::connect(&path).await.unwrap());
    }
    let mut byte = [0];
    let mut hung_up = 0;
    let ended = tokio::time::timeout(Duration::from_secs(30), async {
        for stream in silent.iter_mut().rev() {
            hung_up += usize::from(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)));
        }
    });
    ended.await.expect("whoever says nothing is hung up on");
    assert_eq!(hung_up, 40);
    let request = "GET /api/v1/stats HTTP/1.1\r\nhost: emperor\r\nconnection: close\r\n\r\n";
    let answer = ask(UnixStream::connect(&path).await.unwrap(), request).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    served.abort();
}

#[tokio::test]
async fn tcp_asks_for_the_token() {
    let called = Called::tcp();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(serve::tcp(listener, called.fake.realm.clone()));
    let head = format!("GET /api/v1/stats HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    let answer = ask(TcpStream::connect(address).await.unwrap(), &format!("{head}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let right = format!("{head}authorization: Bearer {}\r\n\r\n", called.token);
    let answer = ask(TcpStream::connect(address).await.unwrap(), &right).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    served.abort();
}

#[tokio::test]
async fn guests_who_are_silent_in_the_middle_of_something_lose_their_places() {
    let called = Called::tcp();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let patience =
        Patience { head: Duration::from_millis(300), body: Duration::from_millis(300), ..Patience::default() };
    let served = tokio::spawn(serve::tcp_with(listener, called.fake.realm.clone(), patience));
    let get = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\n");
    let post =
        format!("POST /login HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-www-form-urlencoded\r\n");
    for (said, told) in [
        (String::new(), ""),
        (get.clone(), ""),
        (format!("{get}\r\n"), "HTTP/1.1 200 "),
        (format!("{post}content-length: 100\r\n\r\ntoken="), "HTTP/1.1 400 "),
    ] {
        let answered = ask(TcpStream::connect(address).await.unwrap(), &said);
        let answer = tokio::time::timeout(Duration::from_secs(30), answered).await.expect("to be hung up on");
        assert!(answer.starts_with(told) && answer.is_empty() == told.is_empty(), "{said}: {answer}");
    }
    served.abort();
}

#[tokio::test]
async fn a_guest_who_takes_nothing_of_its_answers_loses_its_place() {
    let called = Called::tcp();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let patience = Patience { answer: Duration::from_millis(300), ..Patience::default() };
    let served = tokio::spawn(serve::tcp_with(listener, called.fake.realm.clone(), patience));
    let mut greedy = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /login HTTP/1.1\r\nhost: {address}\r\n\r\n").repeat(100);
    let written = tokio::time::timeout(Duration::from_secs(60), async {
        while greedy.write_all(request.as_bytes()).await.is_ok() {}
    });
    written.await.expect("to be hung up on");
    served.abort();
}
