//! When connections end, and what is not lost with them: the last of an answer that is read slowly, a head that is half here.

use super::*;

/// A worker whose answer to everything is so long.
fn long_answers(bytes: usize) -> Arc<Workers> {
    worker(move |_, mut stream| {
        head(&mut stream);
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + bytes, b'x');
        stream.write_all(&answer).unwrap();
    })
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SHORTLY: Duration = Duration::from_millis(200);

#[tokio::test]
async fn who_reads_slowly_reads_to_the_end_however_soon_idle_connections_are_ended() {
    let workers = long_answers(60_000);
    let (mut client, server) = tokio::io::duplex(1024);
    let waits = Waits { client: 5 * SHORTLY, head: SOON, idle: SHORTLY };
    serve_on(server, &Arc::new(Floor::new()), &workers, waits);
    client.write_all(GET.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let mut room = [0; 1000];
    loop {
        let length = client.read(&mut room).await.unwrap();
        said.extend_from_slice(&room[..length]);
        if length == 0 {
            break;
        }
        // 60 times, which is longer than both waits together.
        tokio::time::sleep(SHORTLY / 4).await;
    }
    assert_eq!(said.iter().filter(|byte| **byte == b'x').count(), 60_000);
}

#[tokio::test]
async fn one_that_reads_a_byte_now_and_then_is_cut() {
    let workers = long_answers(60_000);
    let (mut client, server) = tokio::io::duplex(1024);
    // So much that one byte in a while is no pace.
    let waits = Waits { client: Duration::from_secs(1), head: SOON, idle: SHORTLY };
    serve_on(server, &Arc::new(Floor::new()), &workers, waits);
    client.write_all(GET.as_bytes()).await.unwrap();
    let mut left = 600;
    while client.read(&mut [0]).await.unwrap() > 0 && left > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        left -= 1;
        if left < 540 {
            // What is in the pipe is read out.
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(SHORTLY, client.read_to_end(&mut rest)).await.is_ok();
            assert!(ended && rest.len() < 50_000, "{} bytes are left to it", rest.len());
            return;
        }
    }
    panic!("it was ended too soon: {left}");
}

#[tokio::test]
async fn a_head_that_is_coming_has_its_own_time_and_not_that_of_idle_connections() {
    let (workers, _told) = telling();
    let mut client = connect(&workers, Waits { client: SOON, head: SOON, idle: SHORTLY });
    for _ in 0..2 {
        client.write_all(&GET.as_bytes()[..20]).await.unwrap();
        tokio::time::sleep(4 * SHORTLY).await;
        let said = exchange(&mut client, &GET[20..], "ok").await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{said:?}");
    }
    // Half of it comes with the request before.
    let said = exchange(&mut client, &format!("{GET}{}", &GET[..20]), "ok").await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said:?}");
    tokio::time::sleep(4 * SHORTLY).await;
    let said = exchange(&mut client, &GET[20..], "ok").await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said:?}");
}

#[tokio::test]
async fn at_closing_time_whoever_has_come_with_a_request_is_served() {
    let (workers, _told) = telling();
    let floor = Arc::new(Floor::new());
    let mut fresh = connect_on(&floor, &workers, PATIENT);
    let mut halfway = connect_on(&floor, &workers, PATIENT);
    halfway.write_all(&GET.as_bytes()[..20]).await.unwrap();
    let mut resting = connect_on(&floor, &workers, PATIENT);
    assert!(exchange(&mut resting, GET, "ok").await.starts_with("HTTP/1.1 200 "));
    tokio::time::sleep(SHORTLY).await;
    floor.close();
    assert_eq!(until(&mut resting, "nothing").await, "", "one that rests is ended at once");
    for (client, rest) in [(&mut fresh, GET), (&mut halfway, &GET[20..])] {
        client.write_all(rest.as_bytes()).await.unwrap();
        let said = until(client, "nothing").await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("ok"), "{said:?}");
    }
    tokio::time::timeout(SOON, floor.empty()).await.expect("nobody is left");
}
