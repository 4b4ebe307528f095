//! The harness keeps its own promises: what a story leaves behind is found, and failures are told apart.

use std::{net::TcpListener, process::Command, time::Duration};

use anyhow::{Result, ensure};
use empery_tests::{
    ground::Ground,
    http::{self, Failure},
    leftovers::Baseline,
    procfs,
    runner::Story,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("harness/a-process-left-behind-is-found-and-killed", process_left_behind),
    Story::new("harness/an-open-descriptor-is-found", descriptor_left_open),
    Story::new("harness/a-refused-connection-is-told-from-a-closed-one", failures_are_told_apart),
];

fn process_left_behind(_: &Ground) -> Result<()> {
    let baseline = Baseline::take();
    // A daemon: double-forked and in a session of its own, so that nothing but adoption finds it.
    let mut shell = Command::new("sh").args(["-c", "setsid sh -c 'exec tail -f /dev/null' & echo started"]).spawn()?;
    shell.wait()?;
    let me = i32::try_from(std::process::id())?;
    let daemon = wait::until("the daemon", Duration::from_secs(5), || procfs::children(me).first().copied())?;
    let found = baseline.check();
    ensure!(found.is_err_and(|error| error.to_string().contains("left over")), "the daemon was not found");
    ensure!(!procfs::alive(daemon), "the daemon was not killed");
    Ok(())
}

fn descriptor_left_open(_: &Ground) -> Result<()> {
    let baseline = Baseline::take();
    let open = TcpListener::bind("127.0.0.1:0")?;
    ensure!(baseline.check().is_err_and(|error| error.to_string().contains("descriptors left open")));
    drop(open);
    Ok(())
}

fn failures_are_told_apart(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    ensure!(matches!(http::get(port, "/"), Err(Failure::Refused(_))));
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let asked = std::thread::spawn(move || http::get(port, "/"));
    let (mut stream, _) = listener.accept()?;
    std::io::Read::read(&mut stream, &mut [0; 1024])?;
    std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
    drop(stream);
    let failure = asked.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
    ensure!(
        failure.as_ref().is_err_and(|failure| matches!(failure, Failure::Closed { after_bytes: 4 })),
        "{failure:?}"
    );
    Ok(())
}
