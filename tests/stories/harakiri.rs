//! `harakiri` with its relatives: the signal of its own, the queue that must be full, the line that says where a worker is.

use std::{thread, time::Duration};

use anyhow::{Result, anyhow, ensure};
use empery_tests::{
    ground::Ground,
    http::{Answer, Ask, Connection, Failure},
    runner::Story,
    vassal::Vassal,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("harakiri/its-graceful-signal-reaches-an-app-that-handles-it-and-verbose-says-where-it-was", graceful),
    Story::new("harakiri/with-a-queue-threshold-it-strikes-only-while-clients-wait", threshold),
];

/// A client that waits long enough.
const PATIENCE: Duration = Duration::from_secs(50);

type Client = thread::JoinHandle<Result<Answer, Failure>>;

fn asks(port: u16, path: &str) -> Client {
    let ask = Ask::get(path);
    thread::spawn(move || Connection::open(port, PATIENCE)?.ask(&ask))
}

fn timed_out(client: Client) -> Result<()> {
    let answer = client.join().map_err(|_| anyhow!("the client panicked"))??;
    ensure!(answer.status == 504, "{answer:?}");
    Ok(())
}

/// Without a number the signal would be SIGTERM.
fn graceful(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let text = "import signal\nfrom stuck import application\n\
                signal.signal(signal.SIGUSR2, lambda *_: print('asked to end by a signal', flush=True))\n";
    let app = ground.write("apps/handles.py", text)?;
    let apps = app.parent().map(|path| path.display().to_string()).unwrap_or_default();
    let more = format!(
        "pythonpath = {apps}\nharakiri = 1\nharakiri-graceful-timeout = 3\nharakiri-graceful-signal = 12\n\
         harakiri-verbose = true\n"
    );
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "handles", &more))?;
    vassal.answers(port)?;
    timed_out(asks(port, "/sleep_in_python"))?;
    for said in ["asked to end by a signal", "HARAKIRI: -- syscall> ", "HARAKIRI: -- wchan> ", "has ended the request"]
    {
        vassal.master.says(said, PATIENCE)?;
    }
    ensure!(!vassal.master.output().contains("DAMN"), "{}", vassal.master.output());
    vassal.stop()
}

fn threshold(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let more = "harakiri = 1\nharakiri-queue-threshold = 3\n";
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "stuck", more))?;
    vassal.answers(port)?;
    let stuck = asks(port, "/sleep_in_python");
    vassal.master.says("about to sleep_in_python", PATIENCE)?;
    wait::throughout("it to be spared while nobody waits", Duration::from_secs(3), || {
        !vassal.master.output().contains("HARAKIRI")
    })?;
    // The one worker is in its request: they wait in the queue.
    let others: Vec<Client> = (0..5).map(|_| asks(port, "/")).collect();
    timed_out(stuck)?;
    ensure!(vassal.master.output().contains("/sleep_in_python ran longer than 1 s"), "{}", vassal.master.output());
    for other in others {
        let answer = other.join().map_err(|_| anyhow!("the client panicked"))??;
        ensure!(answer.status == 200, "{answer:?}");
    }
    vassal.stop()
}
