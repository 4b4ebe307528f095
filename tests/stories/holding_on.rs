//! Connections in every state that one can be in, none of which may hold up a reload or a stop longer than
//! `worker-reload-mercy` says.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    ground::{self, Ground},
    http,
    process::Spawned,
    procfs, python,
    runner::Story,
    tls,
    vassal::Vassal,
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] =
    &[Story::new("clients/no-connection-holds-up-a-stop-granian-548-granian-611", held_up).within_s(120)];

const HOST: &str = "localhost";

const APP: &str = "
import os
import uwsgi

def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/ws':
        uwsgi.websocket_handshake()
        while True:
            uwsgi.websocket_recv()
    if path == '/read':
        environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    if path == '/endless':
        return iter(lambda: b'x' * 65536, b'')
    return [str(os.getpid()).encode() if path == '/pid' else b'ok']
";

/// `worker-reload-mercy` and what a busy machine adds; far from its default, a minute.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

fn clients(ground: &Ground, name: &str, port: u16, tls_port: u16) -> Result<Spawned> {
    let mut command = Command::new(python::program("python")?);
    command.arg(ground::app("holds_on.py")).args([port.to_string(), tls_port.to_string()]);
    let mut clients = ground.start(name, command)?;
    clients.says("all are there", Duration::from_secs(30))?;
    Ok(clients)
}

fn held_up(ground: &Ground) -> Result<()> {
    let (port, tls_port) = (ground.port()?, ground.port()?);
    let pair = tls::pair(ground, "site", HOST, None, 30)?;
    ground.write("holds.py", APP)?;
    let text = format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nhttps = 127.0.0.1:{tls_port},site.crt,site.key\nwsgi-file = holds.py\n\
         master = true\nthreads = 12\nworker-reload-mercy = 2\ndisable-logging = true\n"
    );
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    tls::answers(&pair.certificate, HOST, tls_port).map_err(|error| error.context(vassal.master.output()))?;

    let mut before = clients(ground, "before", port, tls_port)?;
    let old: i32 = http::get(port, "/pid")?.text().parse()?;
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("generation 2 serves", Duration::from_secs(20))?;
    wait::until("the worker before the reload to be gone", ENDS_WITHIN, || (!procfs::alive(old)).then_some(()))?;
    vassal.answers(port)?;

    let mut after = clients(ground, "after", port, tls_port)?;
    vassal.signal(Signal::SIGTERM);
    vassal.master.exited(ENDS_WITHIN).with_context(|| vassal.master.output())?;
    for clients in [&mut before, &mut after] {
        ensure!(clients.exited(Duration::from_secs(20))?.success(), "{}", clients.output());
        ensure!(clients.output().contains("all have ended"), "{}", clients.output());
    }
    Ok(())
}
