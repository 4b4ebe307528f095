//! Workers that are replaced while they serve: by requests, age, size, exceptions; with memory for two and without. The
//! successor accepts first, nothing is lost, and never more than one is replaced at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    cgroup::Cgroup,
    ground::Ground,
    http::{self, Ask, Connection},
    load::{Load, Mode},
    procfs,
    runner::Story,
    vassal::{self, Vassal},
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("recycle/a13-b29-a-leak-of-ten-megabytes-a-request-loses-nothing", leak).alone(),
    Story::new("recycle/a14-a-leak-of-threads-is-ended-without-waiting-for-them", threads),
    Story::new("recycle/p5-b29-by-requests-under-load-keeps-all-workers", requests).alone(),
    Story::new("recycle/p5-a-killed-idle-worker-costs-nothing-while-others-are-recycled", killed_idle).alone(),
    Story::new("recycle/b29-by-age-one-after-the-other", age),
    Story::new("recycle/after-an-exception-that-is-named", exception),
    Story::new("recycle/a-connection-that-a-worker-does-not-take-in-time-goes-to-another", not_taken),
    Story::new("recycle/a-worker-too-large-in-the-middle-of-a-request-finishes-it", evil),
    Story::new("recycle/without-memory-for-two-the-old-one-goes-first", short_worker),
    Story::new("recycle/a-reload-without-memory-for-two-goes-one-by-one", short_reload).alone(),
    Story::new("recycle/a-reload-without-memory-for-two-imports-sends-the-zygote-away-first", short_import).alone(),
    Story::new("recycle/c20-numbers-at-their-extremes-serve", extremes),
    Story::new("recycle/r12-a-fork-that-fails-is-tried-again-and-the-others-serve", no_fork),
];

/// How long recycling may take on a busy machine.
const SOON: Duration = Duration::from_secs(40);

/// A vassal with `heavy`.
fn heavy(ground: &Ground, more: &str) -> Result<(Vassal, u16)> {
    let port = ground.port()?;
    let more = format!("master = true\ndisable-logging = true\nmin-worker-lifetime = 0\n{more}");
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "heavy", &more))?;
    vassal.answers(port)?;
    Ok((vassal, port))
}

/// A worker that seems to have nothing to do, and stands still, is offered some of the connections of one that leaves.
fn not_taken(ground: &Ground) -> Result<()> {
    let (vassal, port) = heavy(ground, "processes = 3\nreload-on-exception = true\n")?;
    let mut clients: BTreeMap<i32, Vec<Connection>> = BTreeMap::new();
    for _ in 0..24 {
        let mut client = Connection::open(port, Duration::from_secs(5))?;
        let pid = client.ask(&Ask::get("/"))?.text().parse()?;
        clients.entry(pid).or_default().push(client);
    }
    let leaves = *clients.iter().max_by_key(|(_, its)| its.len()).context("no client")?.0;
    let stands_still = *clients.keys().find(|pid| **pid != leaves).context("one worker has them all")?;
    let mut clients = clients.remove(&leaves).unwrap_or_default();
    procfs::signal(stands_still, Signal::SIGSTOP);
    ensure!(clients.pop().context("no client")?.ask(&Ask::get("/raise/ValueError"))?.status == 500);
    wait::until("the worker to be gone", SOON, || (!procfs::alive(leaves)).then_some(()))?;
    for client in &mut clients {
        let pid: i32 = client.ask(&Ask::get("/"))?.text().parse()?;
        ensure!(pid != leaves && pid != stands_still, "answered by {pid}");
    }
    // Once it is killed for that, everybody has what it was offered.
    ensure!(procfs::alive(stands_still), "they were answered when the one that stood still was killed");
    ground.note(&format!("{} connections were taken by others", clients.len()));
    procfs::signal(stands_still, Signal::SIGCONT);
    vassal.stop()
}

fn recycled(vassal: &Vassal) -> usize {
    vassal.master.output().matches("has been recycled").count()
}

/// The pid that answers.
fn pid(port: u16, path: &str) -> Result<i32> {
    Ok(http::get(port, path)?.text().parse()?)
}

/// Counts, again and again, how many workers accept, as the statistics say; answers with the least.
struct LeastAccepting {
    stop: Arc<AtomicBool>,
    looks: std::thread::JoinHandle<(usize, u32)>,
}

impl LeastAccepting {
    fn start(stats: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let looks = std::thread::spawn(move || {
            let (mut least, mut looks) = (usize::MAX, 0);
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(said) = super::stats::read(stats) {
                    let workers = said["workers"].as_array().cloned().unwrap_or_default();
                    least = least.min(workers.iter().filter(|worker| worker["accepting"] == 1).count());
                    looks += 1;
                }
            }
            (least, looks)
        });
        Self { stop, looks }
    }

    fn stop(self) -> Result<(usize, u32)> {
        self.stop.store(true, Ordering::Relaxed);
        self.looks.join().map_err(|_| anyhow::anyhow!("the looks ended early"))
    }
}

fn leak(ground: &Ground) -> Result<()> {
    let (vassal, port) = heavy(ground, "processes = 2\nreload-on-rss = 150\n")?;
    let mut load = Load::on(port, Mode::KeepAlive);
    (load.path, load.think) = ("/leak/10".to_owned(), Duration::from_millis(20));
    let load = load.start();
    let mut largest_kib = 0;
    wait::until("six workers to be recycled", SOON, || {
        let sizes = vassal.family().into_iter().filter_map(procfs::peak_kib);
        largest_kib = largest_kib.max(sizes.max().unwrap_or(0));
        (recycled(&vassal) >= 6).then_some(())
    })?;
    let ledger = load.stop();
    ground.note(&format!("{ledger}; the largest worker had {} MB", largest_kib / 1024));
    ledger.flawless()?;
    // Until its successor accepts it goes on to serve, and to leak.
    ensure!(largest_kib < 600 * 1024, "a worker grew to {} MB", largest_kib / 1024);
    ensure!(vassal.master.output().contains("(reload-on-rss = 150)"), "the reason is not said");
    vassal.stop()
}

fn threads(ground: &Ground) -> Result<()> {
    // Each thread takes 8 MB of address space.
    let (vassal, port) = heavy(ground, "reload-on-as = 900\nworker-reload-mercy = 600\n")?;
    let first = pid(port, "/")?;
    wait::until_ok("the worker with the threads to be replaced", SOON, || {
        ensure!(pid(port, "/thread")? != first, "still the first");
        Ok(())
    })?;
    // They wait for ever, and the mercy is ten minutes.
    wait::until("the worker to be gone with its threads", SOON, || (!procfs::alive(first)).then_some(()))?;
    vassal
        .master
        .output()
        .contains("threads")
        .then_some(())
        .ok_or_else(|| anyhow::anyhow!("nothing is said of the threads"))?;
    vassal.stop()
}

fn requests(ground: &Ground) -> Result<()> {
    let stats = ground.port()?;
    let more = format!("processes = 3\nmax-requests = 30\nmax-requests-delta = 7\nstats = 127.0.0.1:{stats}\n");
    let (vassal, port) = heavy(ground, &more)?;
    let least = LeastAccepting::start(stats);
    let load = Load::on(port, Mode::KeepAlive).start();
    wait::until("twelve workers to be recycled", SOON, || (recycled(&vassal) >= 12).then_some(()))?;
    let ledger = load.stop();
    let (least, looks) = least.stop()?;
    ground.note(&format!("{ledger}; {looks} looks, at least {least} workers accepted"));
    ledger.flawless()?;
    ensure!(least == 3, "only {least} of 3 accepted at some moment");
    vassal.stop()
}

fn killed_idle(ground: &Ground) -> Result<()> {
    let (vassal, port) = heavy(ground, "processes = 3\nmax-requests = 40\n")?;
    let load = Load { clients: 2, ..Load::on(port, Mode::Close) }.start();
    let zygote = *procfs::children(vassal.master.pid()).first().unwrap_or(&0);
    wait::until("six workers to be recycled", SOON, || (recycled(&vassal) >= 6).then_some(()))?;
    let before = vassal.master.output().matches("DAMN ! worker").count();
    // Between two requests of a client that thinks, a worker is idle: stop the load first, to be sure.
    let ledger = load.stop();
    ledger.flawless()?;
    let victim = procfs::children(vassal.master.pid()).into_iter().rfind(|child| *child != zygote);
    procfs::signal(victim.unwrap_or(0), Signal::SIGKILL);
    wait::until("its death to be told", SOON, || {
        (vassal.master.output().matches("DAMN ! worker").count() > before).then_some(())
    })?;
    let load = Load::on(port, Mode::Close).start();
    let recycled_before = recycled(&vassal);
    wait::until("four more to be recycled", SOON, || (recycled(&vassal) >= recycled_before + 4).then_some(()))?;
    load.stop().flawless()?;
    vassal.stop()
}

fn age(ground: &Ground) -> Result<()> {
    let stats = ground.port()?;
    let more = format!("processes = 3\nmax-worker-lifetime = 2\nstats = 127.0.0.1:{stats}\n");
    let (vassal, port) = heavy(ground, &more)?;
    let least = LeastAccepting::start(stats);
    let load = Load::on(port, Mode::KeepAlive).start();
    wait::until("all three to be recycled", SOON, || (recycled(&vassal) >= 3).then_some(()))?;
    load.stop().flawless()?;
    ensure!(least.stop()?.0 == 3, "not all accepted all the time");
    ensure!(vassal.master.output().contains("(max-worker-lifetime = 2)"), "the reason is not said");
    vassal.stop()
}

fn exception(ground: &Ground) -> Result<()> {
    let (vassal, port) = heavy(ground, "reload-on-exception-type = ValueError\n")?;
    let first = pid(port, "/")?;
    ensure!(http::get(port, "/raise/KeyError")?.status == 500);
    ensure!(pid(port, "/")? == first, "an exception that is not named has replaced it");
    ensure!(http::get(port, "/raise/ValueError")?.status == 500);
    wait::until_ok("another worker to answer", SOON, || {
        ensure!(pid(port, "/")? != first, "still the first");
        Ok(())
    })?;
    ensure!(vassal.master.output().contains("the app raised ValueError (reload-on-exception-type)"));
    vassal.stop()
}

fn evil(ground: &Ground) -> Result<()> {
    let (vassal, port) = heavy(ground, "evil-reload-on-rss = 100\nmem-collector-freq = 1\n")?;
    let gate = ground.path("gate");
    let path = format!("/hold/150{}", gate.display());
    let first = pid(port, "/")?;
    let request = std::thread::spawn(move || http::get(port, &path));
    wait::until_ok("another worker to answer while the request waits", SOON, || {
        let mut probe = Connection::open(port, Duration::from_secs(1))?;
        let answer = probe.ask(&http::Ask::get("/").header("Connection", "close"))?;
        ensure!(answer.text() != first.to_string(), "still the first");
        Ok(())
    })?;
    fs::write(&gate, "")?;
    let answer = request.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    ensure!(answer.text() == first.to_string(), "{answer:?}");
    ensure!(vassal.master.output().contains("(evil-reload-on-rss = 100)"), "the reason is not said");
    vassal.stop()
}

/// A vassal in a group with so many megabytes, whose workers import 60 of them each.
fn confined(ground: &Ground, group: &Cgroup, megabytes: u64, more: &str) -> Result<(Vassal, u16)> {
    let port = ground.port()?;
    group.limit(megabytes * 1024 * 1024)?;
    let more = format!(
        "master = true\ndisable-logging = true\nmin-worker-lifetime = 0\nlazy-apps = true\nenv = BASE=60\n{more}"
    );
    ground.write("app.ini", &super::ini(port, "heavy", &more))?;
    let command = group.around(&vassal::command(ground.directory(), &["app.ini"])?);
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    vassal.answers(port)?;
    Ok((vassal, port))
}

fn short_worker(ground: &Ground) -> Result<()> {
    let group = Cgroup::of_memory("worker")?;
    let (vassal, port) = confined(ground, &group, 115, "max-requests = 20\n")?;
    let load = Load { clients: 2, ..Load::on(port, Mode::Close) }.start();
    wait::until("a worker to give way", SOON, || {
        vassal.master.output().contains("there is no memory for a second worker 1").then_some(())
    })?;
    let answered = load.answered();
    wait::until("its successor to answer", SOON, || (load.answered() > answered + 30).then_some(()))?;
    let ledger = load.stop();
    ground.note(&format!("{ledger}"));
    ledger.flawless()?;
    ensure!(!vassal.master.output().contains("DAMN"), "somebody was killed:\n{}", vassal.master.output());
    vassal.stop()?;
    Ok(())
}

fn short_reload(ground: &Ground) -> Result<()> {
    let group = Cgroup::of_memory("reload")?;
    let (vassal, port) = confined(ground, &group, 330, "processes = 3\n")?;
    let first: BTreeSet<i32> = procfs::children(vassal.master.pid()).into_iter().collect();
    let load = Load::on(port, Mode::KeepAlive).start();
    load.goes_on(20)?;
    let most = AtomicUsize::new(0);
    vassal.signal(Signal::SIGHUP);
    wait::until("all workers to be new", SOON, || {
        let there = procfs::children(vassal.master.pid());
        most.fetch_max(there.len(), Ordering::Relaxed);
        (there.len() == 4 && there.iter().all(|pid| !first.contains(pid))).then_some(())
    })?;
    load.goes_on(20)?;
    let ledger = load.stop();
    let most = most.into_inner();
    ground.note(&format!("{ledger}; at most {most} processes"));
    ledger.flawless()?;
    let said = vassal.master.output();
    ensure!(said.contains("they take the places of the old ones one by one"), "{said}");
    ensure!(!said.contains("DAMN"), "somebody was killed:\n{said}");
    // Two zygotes, three workers, and one more.
    ensure!(most <= 6, "{most} processes at once");
    vassal.stop()
}

/// An app of 60 MB, of which its worker comes to have a copy of its own: the zygote's is nobody else's then.
fn short_import(ground: &Ground) -> Result<()> {
    let group = Cgroup::of_memory("import")?;
    let port = ground.port()?;
    let app = ground.write(
        "apps/large.py",
        "import os\nKEPT = bytearray(b'x') * (60 << 20)\n\ndef application(environ, start_response):\n    \
         if environ['PATH_INFO'] == '/touch':\n        KEPT[::4096] = b'y' * len(range(0, len(KEPT), 4096))\n    \
         start_response('200 OK', [])\n    return [str(os.getpid()).encode()]\n",
    )?;
    let apps = app.parent().context("no directory")?.display().to_string();
    ground.write("app.ini", &super::ini(port, "large", &format!("pythonpath = {apps}\n")))?;
    let command = group.around(&vassal::command(ground.directory(), &["app.ini"])?);
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    vassal.answers(port)?;
    let first = pid(port, "/touch")?;
    // So much more as one import does not fit into, and with the zygote's own does.
    let used = group.used()?;
    group.limit(used + (40 << 20))?;
    let load = Load::on(port, Mode::KeepAlive).start();
    load.goes_on(20)?;
    vassal.signal(Signal::SIGHUP);
    wait::until("the worker to be new", SOON, || pid(port, "/").is_ok_and(|now| now != first).then_some(()))
        .map_err(|error| error.context(vassal.master.output()))?;
    load.goes_on(20)?;
    load.stop().flawless()?;
    let said = vassal.master.output();
    ensure!(said.contains("the zygote of the generation that serves goes first"), "{said}");
    ensure!(!said.contains("DAMN") && !said.contains("did not come into service"), "{said}");
    ensure!(!said.contains("the zygote of generation 1"), "what was asked for is no incident:\n{said}");
    vassal.stop()
}

fn extremes(ground: &Ground) -> Result<()> {
    let most = "9223372036854775808";
    let more = format!(
        "processes = 3\ncheaper = 1\ncheaper-algo = busyness\ncheaper-overload = {most}\ncheaper-step = {most}\nidle = {most}\n\
         cheaper-busyness-multiplier = {most}\ncheaper-busyness-backlog-nonzero = {most}\nmax-requests = {most}\n\
         max-requests-delta = {most}\nmax-worker-lifetime = {most}\nmax-worker-lifetime-delta = {most}\nreload-on-rss = {most}\n\
         evil-reload-on-rss = {most}\nmem-collector-freq = {most}\nharakiri = {most}\nworker-reload-mercy = {most}\n\
         boot-deadline = {most}\nreload-on-uss = 2147483648\n"
    );
    let (vassal, port) = heavy(ground, &more)?;
    let ledger = Load::on(port, Mode::KeepAlive).run(Duration::from_secs(2));
    ledger.flawless()?;
    ensure!(recycled(&vassal) == 0, "somebody was replaced");
    vassal.signal(Signal::SIGHUP);
    wait::until("a second generation", SOON, || {
        vassal.master.output().contains("*** generation 2 serves ***").then_some(())
    })?;
    ensure!(http::get(port, "/")?.status == 200);
    vassal.stop()
}

fn no_fork(ground: &Ground) -> Result<()> {
    let group = Cgroup::of_pids("fork")?;
    let port = ground.port()?;
    ground.write("app.ini", &super::ini(port, "heavy", "master = true\nprocesses = 2\n"))?;
    let command = group.around(&vassal::command(ground.directory(), &["app.ini"])?);
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    vassal.answers(port)?;
    let load = Load { clients: 2, ..Load::on(port, Mode::Close) }.start();
    load.goes_on(20)?;
    let victim = pid(port, "/")?;
    procfs::signal(victim, Signal::SIGSTOP);
    // Full without it: not even the process between zygote and worker fits.
    group.limit(group.pids()? - 1)?;
    procfs::signal(victim, Signal::SIGKILL);
    wait::until("two attempts to fail", SOON, || {
        (vassal.master.output().matches("respawning it in").count() >= 2).then_some(())
    })?;
    load.goes_on(20)?;
    group.limit(500)?;
    wait::until("the worker to be back", SOON, || vassal.master.output().contains("respawned worker").then_some(()))?;
    let ledger = load.stop();
    // Those that the killed worker had.
    ensure!(ledger.failures.len() <= 2, "{ledger}");
    ensure!(ledger.refused() == 0, "{ledger}");
    vassal.stop()
}
