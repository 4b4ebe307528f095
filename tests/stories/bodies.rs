//! Large bodies: whatever their size and however slow the client, a worker holds a block of them at a time.

use std::{io::Write, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    ground::Ground,
    http::{self, Ask, Connection},
    procfs,
    runner::Story,
    vassal::Vassal,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("bodies/ten-mebibytes-either-way-leave-a-worker-as-small-as-it-was", flat).alone(),
    Story::new("bodies/a-client-that-does-not-read-holds-the-app-back", held_back).alone(),
];

const MIB: usize = 1024 * 1024;

/// Most that a worker may grow while such a body passes, in KiB.
const GROWTH_MAX_KIB: u64 = 1024;

const PATIENCE: Duration = Duration::from_secs(30);

fn post_chunked(body: &[u8]) -> Result<Vec<u8>> {
    let mut request = b"POST /length?65536 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in body.chunks(100_000) {
        write!(request, "{:x}\r\n", piece.len())?;
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    Ok(request)
}

/// Passes a body of so many bytes.
type Way = fn(port: u16, bytes: usize) -> Result<()>;

fn upload(port: u16, bytes: usize) -> Result<()> {
    let ask = Ask::post("/length?65536").body("application/octet-stream", &vec![b'x'; bytes]);
    let text = http::ask(port, ask)?.text();
    ensure!(text == bytes.to_string(), "{text} bytes arrived");
    Ok(())
}

fn upload_in_chunks(port: u16, bytes: usize) -> Result<()> {
    let mut connection = Connection::open(port, PATIENCE)?;
    connection.send(&post_chunked(&vec![b'x'; bytes])?)?;
    let text = connection.answer(false)?.text();
    ensure!(text == bytes.to_string(), "{text} bytes arrived");
    Ok(())
}

fn download(port: u16, path: &str, bytes: usize) -> Result<()> {
    let answer = http::get(port, path)?;
    ensure!(answer.body.len() == bytes, "{path} gave {} bytes", answer.body.len());
    Ok(())
}

fn flat(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "wsgi_letter", ""))?;
    let worker: i32 = vassal.answers(port)?.text().parse()?;
    let ways: [(&str, Way); 5] = [
        ("an upload", upload),
        ("an upload in chunks", upload_in_chunks),
        ("a generator", |port, bytes| download(port, &format!("/blocks?{}", bytes / 65_536), bytes)),
        ("write", |port, bytes| download(port, &format!("/writes?{}", bytes / 65_536), bytes)),
        ("wsgi.file_wrapper", |port, bytes| download(port, &format!("/big-file?{bytes}"), bytes)),
    ];
    for (what, way) in ways {
        // A small one brings in the code and a first arena of the allocator.
        way(port, 2 * 65_536).with_context(|| what.to_owned())?;
        let before_kib = procfs::reset_peak_kib(worker).context("the worker's memory")?;
        for _ in 0..3 {
            way(port, 10 * MIB).with_context(|| what.to_owned())?;
        }
        let grown_kib = procfs::peak_kib(worker).context("the worker's memory")?.saturating_sub(before_kib);
        ground.note(&format!("{what}: {grown_kib} KiB more at its peak, of {before_kib} KiB"));
        ensure!(grown_kib < GROWTH_MAX_KIB, "{what} of 10 MiB took {grown_kib} KiB in the worker");
    }
    vassal.stop()
}

fn held_back(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let more = "threads = 2\nsocket-timeout = 60\n";
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "wsgi_letter", more))?;
    let worker: i32 = vassal.answers(port)?.text().parse()?;
    let given = || -> Result<u64> { Ok(http::get(port, "/given")?.text().parse()?) };
    let blocks = 4096;

    let mut slow = Connection::open(port, PATIENCE)?;
    let before_kib = procfs::reset_peak_kib(worker).context("the worker's memory")?;
    slow.send(format!("GET /blocks?{blocks} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes())?;
    // The kernel takes some of it; then the app is not asked for more, while others are served.
    let mut seen = given()?;
    wait::until_ok("the app to be held back", PATIENCE, || {
        let before = std::mem::replace(&mut seen, given()?);
        ensure!(seen > 0 && seen == before, "{seen} blocks were asked for");
        Ok(())
    })?;
    let grown_kib = procfs::peak_kib(worker).context("the worker's memory")?.saturating_sub(before_kib);
    ground.note(&format!("{seen} of {blocks} blocks of 64 KiB were asked for, and {grown_kib} KiB more held"));
    ensure!(seen < blocks, "nothing held the app back");
    ensure!(grown_kib < GROWTH_MAX_KIB, "the worker holds {grown_kib} KiB for one client");
    let rest = slow.rest()?;
    ensure!(rest.ends_with(b"\r\n0\r\n\r\n") && rest.len() > blocks as usize * 65_536, "{} bytes came", rest.len());
    vassal.stop()
}
