//! Requests that are stuck: what they do is told without stopping anything, `harakiri` ends the request before it ends
//! the worker, the others finish, the client is answered, and the log and the incidents say where it was.

use std::{
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http::{self, Answer, Ask, Connection, Failure},
    procfs, python,
    runner::Story,
    vassal::Vassal,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("stuck/what-a-worker-does-is-told-within-a-second-whatever-it-is-stuck-in", told).alone(),
    Story::new("stuck/what-a-worker-that-drains-is-stuck-in-is-told-beside-its-successor", told_of_draining),
    Story::new("stuck/one-stuck-thread-of-eight-is-found-and-the-others-finish", one_of_eight),
    Story::new("stuck/a9-b16-harakiri-ends-the-request-and-replaces-the-worker-without-a-kill", ends_the_request)
        .within_s(120),
    Story::new("stuck/a8-a-c-call-that-holds-the-lock-of-python-costs-the-worker-and-its-client-gets-504", a_c_call)
        .within_s(120),
    Story::new("stuck/a-request-limits-itself-and-may-catch-its-end", limits_of_its_own),
    Story::new("stuck/p17-workers-of-an-earlier-image-of-their-master-are-looked-after-as-before", of_an_earlier_image)
        .within_s(120),
    Story::new("stuck/p9-a-stopped-worker-is-killed-and-replaced", stopped).within_s(120),
    Story::new("stuck/p14-a-worker-that-a-debugger-holds-is-killed-and-replaced", traced).within_s(120),
];

/// A client that waits long enough.
const PATIENCE: Duration = Duration::from_secs(50);

pub(super) struct Shop<'g> {
    pub(super) emperor: Emperor<'g>,
    pub(super) port: u16,
}

impl<'g> Shop<'g> {
    pub(super) fn open(ground: &'g Ground, more: &str) -> Result<Shop<'g>> {
        let (port, emperor) = (ground.port()?, Emperor::start(ground)?);
        emperor.drop_file("shop.ini", &super::ini(port, "stuck", more))?;
        emperor.loyal("shop.ini")?;
        Ok(Shop { emperor, port })
    }

    /// A request in a thread of its own.
    pub(super) fn asks(&self, path: &str) -> JoinHandle<Result<Answer, Failure>> {
        let (port, ask) = (self.port, Ask::get(path).header("X-Request-ID", "r-1"));
        thread::spawn(move || Connection::open(port, PATIENCE)?.ask(&ask))
    }

    pub(super) fn worker_pids(&self) -> Result<Vec<i32>> {
        let vassal = self.emperor.vassal("shop.ini")?;
        let workers = vassal["workers"].as_array().context("no workers")?;
        Ok(workers.iter().filter_map(|worker| i32::try_from(worker["pid"].as_i64()?).ok()).collect())
    }

    pub(super) fn busy(&self, threads: u64) -> Result<()> {
        self.emperor.vassal_until("shop.ini", "busy threads", |vassal| vassal["numbers"]["busy_threads"] == threads)?;
        Ok(())
    }

    fn stack(&self, worker: u32) -> Result<Value> {
        self.emperor.json(Ask::get(&format!("/api/v1/vassals/shop.ini/workers/{worker}/stack")))
    }

    /// Waits for an incident of this code that says this, and answers with its text.
    pub(super) fn incident(&self, code: &str, says: &str) -> Result<String> {
        wait::until_ok(&format!("an incident {code}"), Duration::from_secs(20), || {
            let told = self.emperor.json(Ask::get("/api/v1/vassals/shop.ini/incidents"))?;
            let all = told["incidents"].as_array().context("no list")?;
            let of_it = |incident: &&Value| {
                incident["code"] == code && incident["text"].as_str().is_some_and(|text| text.contains(says))
            };
            let found = all.iter().find(of_it);
            Ok(found.with_context(|| format!("{told:#}"))?["text"].as_str().context("no text")?.to_owned())
        })
    }

    /// Waits until the worker that had this pid is gone and another serves in its place.
    pub(super) fn replaced(&self, pid: i32) -> Result<()> {
        self.emperor.vassal_until("shop.ini", "another worker", |vassal| {
            vassal["workers"].as_array().is_some_and(|workers| {
                !workers.is_empty() && workers.iter().all(|worker| worker["pid"] != pid && worker["phase"] == "serving")
            })
        })?;
        ensure!(http::get(self.port, "/")?.status == 200);
        Ok(())
    }

    pub(super) fn log(&self) -> Result<String> {
        self.emperor.says("logs", &["-n", "1000", "shop.ini"])?.success()
    }
}

pub(super) fn joined(client: JoinHandle<Result<Answer, Failure>>) -> Result<Result<Answer, Failure>> {
    client.join().map_err(|_| anyhow!("the client panicked"))
}

fn timed_out(client: JoinHandle<Result<Answer, Failure>>) -> Result<()> {
    match joined(client)? {
        Ok(answer) if answer.status == 504 => Ok(()),
        other => bail!("not 504 but {other:?}"),
    }
}

/// The thread that is inside a request of this path.
fn thread_in<'v>(told: &'v Value, path: &str) -> Result<&'v Value> {
    let threads = told["threads"].as_array().context("no threads")?;
    threads.iter().find(|thread| thread["request"]["uri"] == path).with_context(|| format!("{told:#}"))
}

fn innermost(thread: &Value) -> Result<&Value> {
    thread["frames"].as_array().and_then(|frames| frames.last()).with_context(|| format!("{thread:#}"))
}

fn told(ground: &Ground) -> Result<()> {
    let kinds = [
        ("sleep_in_python", "python"),
        ("deadlock", "faulthandler"),
        ("compute", "python"),
        ("hold_the_lock_of_python", "faulthandler"),
        ("stay_in_c", "faulthandler"),
        // Any handler of a signal cuts it short (sleep(3)): told all the same.
        ("sleep_in_c", "python"),
    ];
    for (function, source) in kinds {
        let shop = Shop::open(ground, "")?;
        let [pid] = shop.worker_pids()?[..] else { bail!("not one worker") };
        let (path, client) = (format!("/{function}"), shop.asks(&format!("/{function}")));
        shop.busy(1)?;
        for _ in 0..if function == "sleep_in_c" { 1 } else { 2 } {
            let told = shop.stack(1)?;
            ensure!(told["source"] == source && told["pid"] == pid, "{told:#}");
            ensure!(told["took_ms"].as_u64().is_some_and(|ms| ms <= 1_000), "{told:#}");
            let thread = thread_in(&told, &path)?;
            ensure!(innermost(thread)?["function"] == function, "{told:#}");
            ensure!(thread["request"]["method"] == "GET" && thread["request"]["request_id"] == "r-1", "{told:#}");
            ground.note(&format!("{function}: {} ms", told["took_ms"]));
        }
        if function == "sleep_in_c" {
            ensure!(joined(client)??.status == 200);
            shop.emperor.stop()?;
            continue;
        }
        let said = shop.emperor.says("stack", &["shop.ini", "--worker", "1"])?.success()?;
        ensure!(said.contains(&path) && said.contains(&format!("in {function}")), "{said}");
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?.count();
        ensure!(tasks == 1, "{tasks} threads where the app has one");
        ensure!(procfs::alive(pid), "asking has stopped the worker");
        procfs::signal(pid, Signal::SIGKILL);
        ensure!(joined(client)?.is_err(), "an answer out of nothing");
        shop.emperor.stop()?;
    }
    Ok(())
}

fn told_of_draining(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "worker-reload-mercy = 300\n")?;
    let [pid] = shop.worker_pids()?[..] else { bail!("not one worker") };
    let client = shop.asks("/sleep_in_python");
    shop.busy(1)?;
    shop.emperor.says("reload", &["shop.ini"])?.success()?;
    let said = shop.emperor.says("stack", &["shop.ini"])?.success()?;
    ensure!(said.contains(&pid.to_string()) && said.contains("in sleep_in_python"), "{said}");
    let path = format!("/api/v1/vassals/shop.ini/workers/1/stack?pid={pid}");
    let told = shop.emperor.json(Ask::get(&path))?;
    ensure!(innermost(thread_in(&told, "/sleep_in_python")?)?["function"] == "sleep_in_python", "{told:#}");
    ensure!(shop.stack(1)?["pid"] != pid, "the one that serves is the one that drains");
    procfs::signal(pid, Signal::SIGKILL);
    ensure!(joined(client)?.is_err(), "an answer out of nothing");
    shop.emperor.stop()
}

fn one_of_eight(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "threads = 8\nharakiri = 3\n")?;
    let [pid] = shop.worker_pids()?[..] else { bail!("not one worker") };
    let stuck = shop.asks("/sleep_in_python");
    shop.busy(1)?;
    let gate = ground.path("gate");
    let others: Vec<_> = (0..5).map(|_| shop.asks(&format!("/wait{}", gate.display()))).collect();
    shop.busy(6)?;
    let told = shop.stack(1)?;
    ensure!(told["source"] == "python", "{told:#}");
    ensure!(innermost(thread_in(&told, "/sleep_in_python")?)?["function"] == "sleep_in_python", "{told:#}");
    // It is struck, and lives until they have finished: they take longer than it may.
    shop.incident("harakiri", "/sleep_in_python")?;
    ensure!(procfs::alive(pid), "killed with its requests");
    std::fs::write(&gate, "")?;
    for other in others {
        let answer = joined(other)??;
        ensure!(answer.status == 200, "{answer:?}");
    }
    timed_out(stuck)?;
    shop.replaced(pid)?;
    shop.emperor.stop()
}

fn ends_the_request(ground: &Ground) -> Result<()> {
    for (function, more) in [("sleep_in_python", ""), ("deadlock", ""), ("compute", ""), ("compute", "threads = 3\n")] {
        let shop = Shop::open(ground, &format!("harakiri = 1\n{more}"))?;
        let [pid] = shop.worker_pids()?[..] else { bail!("not one worker") };
        let clients: Vec<_> =
            (0..if more.is_empty() { 1 } else { 2 }).map(|_| shop.asks(&format!("/{function}"))).collect();
        for client in clients {
            timed_out(client)?;
        }
        let text = shop.incident("harakiri", &format!("/{function}"))?;
        ensure!(
            text.lines().next().is_some_and(|first| first.contains(&format!("GET /{function} ran longer than 1 s"))),
            "{text}"
        );
        ensure!(text.contains(&format!("in {function}")), "{text}");
        shop.replaced(pid)?;
        // What has been replaced may still be on its way out.
        let log = wait::until_ok("the end of the request in the log", Duration::from_secs(20), || {
            let log = shop.log()?;
            ensure!(log.contains("HARAKIRI") && log.contains("has ended the request"), "{log}");
            Ok(log)
        })?;
        ensure!(log.contains("has been recycled") && !log.contains("DAMN"), "{log}");
        shop.emperor.stop()?;
    }
    Ok(())
}

fn a_c_call(ground: &Ground) -> Result<()> {
    for (function, more) in [("hold_the_lock_of_python", "threads = 2\n"), ("stay_in_c", "")] {
        let shop = Shop::open(ground, &format!("harakiri = 1\n{more}"))?;
        let [pid] = shop.worker_pids()?[..] else { bail!("not one worker") };
        let mut kept = Connection::open(shop.port, PATIENCE)?;
        ensure!(kept.ask(&Ask::get("/"))?.status == 200);
        let stuck = shop.asks(&format!("/{function}"));
        wait::pause(Duration::from_millis(200));
        // With several threads another has read it by then, and hangs.
        let neighbour = more.is_empty().then(|| thread::spawn(move || kept.ask(&Ask::get("/"))));
        timed_out(stuck)?;
        if let Some(neighbour) = neighbour {
            let answer = joined(neighbour)??;
            ensure!(answer.status == 200, "a request that had not begun went down with its worker: {answer:?}");
        }
        let text = shop.incident("harakiri", &format!("/{function}"))?;
        ensure!(text.contains(&format!("GET /{function}")) && text.contains(&format!("in {function}")), "{text}");
        ensure!(text.contains("by faulthandler"), "{text}");
        shop.replaced(pid)?;
        let died = shop.incident("worker-unfinished", &format!("/{function}"))?;
        ensure!(died.contains("harakiri") && died.contains("would not end"), "{died}");
        shop.emperor.stop()?;
    }
    Ok(())
}

fn limits_of_its_own(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "processes = 2\n")?;
    timed_out(shop.asks("/own_limit"))?;
    ensure!(shop.incident("harakiri", "/own_limit")?.contains("/own_limit ran longer than 1 s"));
    shop.emperor.stop()?;
    let shop = Shop::open(ground, "harakiri = 1\n")?;
    let caught = joined(shop.asks("/catch"))??;
    ensure!(caught.status == 200, "{caught:?}");
    shop.emperor.stop()
}

/// The master has become another binary, whose generation does not boot: those of the earlier one serve on.
fn of_an_earlier_image(ground: &Ground) -> Result<()> {
    let (port, bin, gate) = (ground.port()?, ground.lend_binaries()?, ground.path("gate"));
    let app = ground.write(
        "apps/guarded.py",
        "import os\nassert not os.path.exists(os.environ['GATE'])\nfrom stuck import application\n",
    )?;
    let apps = app.parent().context("no directory")?.display().to_string();
    let more = format!("processes = 3\nharakiri = 2\npythonpath = {apps}\nenv = GATE={}\n", gate.display());
    ground.write("app.ini", &super::ini(port, "guarded", &more))?;
    let mut command = std::process::Command::new(bin.join("vassal"));
    empery_tests::vassal::surroundings(&mut command);
    command.current_dir(ground.directory()).arg("app.ini");
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    vassal.answers(port)?;
    std::fs::write(&gate, "")?;
    super::upgrade::install(&bin, "vassal")?;
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("of an earlier master serves on", PATIENCE)?;
    vassal.master.says("did not come into service", PATIENCE)?;

    let asks = |path: &'static str| thread::spawn(move || Connection::open(port, PATIENCE)?.ask(&Ask::get(path)));
    timed_out(asks("/sleep_in_python"))?;
    vassal.master.says("GET /sleep_in_python ran longer than 2 s", PATIENCE)?;
    vassal.master.says("in sleep_in_python", PATIENCE)?;
    vassal.master.says("has ended the request: GET /sleep_in_python", PATIENCE)?;
    timed_out(asks("/stay_in_c"))?;
    vassal.master.says("in stay_in_c", PATIENCE)?;
    vassal.master.says("GET /stay_in_c ran longer than 2 s, and would not end", PATIENCE)?;
    let victim: i32 = http::get(port, "/")?.text().trim().parse()?;
    procfs::signal(victim, Signal::SIGKILL);
    vassal.master.says("nobody had asked it to: signal 9 (SIGKILL)", PATIENCE)?;

    std::fs::remove_file(&gate)?;
    vassal.signal(Signal::SIGHUP);
    wait::until_ok("workers of the new image", PATIENCE, || {
        ensure!(vassal.master.output().matches("serves ***").count() == 2, "{}", vassal.master.output());
        Ok(())
    })?;
    ensure!(http::get(port, "/")?.status == 200);
    vassal.stop()
}

fn stopped(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "processes = 2\n")?;
    let victim = *shop.worker_pids()?.first().context("no worker")?;
    procfs::signal(victim, Signal::SIGSTOP);
    gone(&shop, victim)?;
    shop.emperor.stop()
}

fn traced(ground: &Ground) -> Result<()> {
    // Alone, a master looks for it every 15 s.
    let port = ground.port()?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "stuck", "processes = 2\n"))?;
    vassal.master.says("serves ***", Duration::from_secs(20))?;
    let worker = || -> Result<i32> { Ok(http::get(port, "/")?.text().trim().parse()?) };
    let victim = worker()?;
    // PTRACE_ATTACH (ptrace(2)), and then nothing: a debugger that was forgotten.
    let debugger =
        "import ctypes, sys, time; libc = ctypes.CDLL(None); libc.ptrace(16, int(sys.argv[1]), 0, 0); time.sleep(600)";
    let mut command = std::process::Command::new(python::program("python3")?);
    command.args(["-c", debugger, &victim.to_string()]);
    let mut debugger = ground.start("debugger", command)?;
    wait::until("the worker to stand still", Duration::from_secs(20), || {
        (procfs::state(victim)? == 't').then_some(())
    })?;
    vassal.master.says("stood still for 10 s", Duration::from_secs(60))?;
    wait::until("its end", Duration::from_secs(20), || (!procfs::alive(victim)).then_some(()))?;
    ensure!(worker()? != victim);
    debugger.killed()?;
    vassal.stop()
}

fn gone(shop: &Shop<'_>, victim: i32) -> Result<()> {
    let told = shop.emperor.vassal_until("shop.ini", "two workers", |vassal| {
        vassal["workers"].as_array().is_some_and(|all| all.len() == 2)
    });
    told?;
    wait::until_ok("another worker", Duration::from_secs(60), || {
        let pids = shop.worker_pids()?;
        ensure!(pids.len() == 2 && !pids.contains(&victim), "{pids:?}");
        Ok(())
    })?;
    let text = shop.incident("worker-died", "stood still")?;
    ensure!(text.contains("stood still for 10 s"), "{text}");
    ensure!(http::get(shop.port, "/")?.status == 200);
    Ok(())
}
