//! Workers that die, and apps that kill them: only what the dead one held is lost, another serves in its place, and what
//! happened is told in one sentence with the evidence below it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http::{self, Ask, Connection, Failure},
    procfs,
    runner::Story,
    wait,
};
use nix::sys::signal::Signal;

use super::stuck::{Shop, joined};

pub(crate) const STORIES: &[Story] = &[
    Story::new("deaths/p5-a-killed-worker-is-replaced-within-a-tenth-of-a-second", at_once).alone(),
    Story::new("deaths/p5-the-evidence-of-one-that-wrote-nothing-is-not-the-emperor-s-log", of_a_silent_one),
    Story::new("deaths/p6-p8-a-worker-killed-in-a-request-loses-that-request-and-no-other", in_a_request),
    Story::new("deaths/p7-a-worker-killed-in-an-answer-leaves-it-truncated", in_an_answer),
    Story::new("deaths/p15-a-worker-that-the-kernel-kills-for-memory-is-told-as-that", out_of_memory),
    Story::new("deaths/a4-an-import-that-ends-the-process-is-told-and-not-tried-in-a-tight-loop", at_import),
    Story::new("deaths/a5-an-app-that-ends-its-process-in-a-request-is-told-with-its-stack", by_the_app),
    Story::new("deaths/a6-an-app-that-hangs-at-exit-does-not-hold-up-a-stop", at_exit),
    Story::new("deaths/a7-an-app-that-blocks-every-signal-is-killed-when-its-mercy-is-over", deaf),
    Story::new("deaths/one-that-is-killed-after-a-reload-tells-where-it-was", last_words),
    Story::new("deaths/a12-a-worker-without-descriptors-is-replaced", without_descriptors),
    Story::new("deaths/a15-an-app-that-closes-every-descriptor-costs-only-its-worker", closed),
    Story::new("deaths/a16-an-app-that-upsets-its-process-is-supervised-as-before", upset),
    Story::new("deaths/a24-children-of-the-app-outlive-a-reload-and-are-reaped", children),
    Story::new("deaths/a30-an-app-that-kills-its-parent-or-everybody-is-up-again", killer).within_s(120),
];

/// With `lazy-apps` it would take the import as well.
const REPLACED_WITHIN: Duration = Duration::from_millis(100);

fn at_once(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "")?;
    let mut times = Vec::new();
    for _ in 0..7 {
        let victim: i32 = http::get(shop.port, "/")?.text().parse()?;
        let began = Instant::now();
        procfs::signal(victim, Signal::SIGKILL);
        // The socket stays: whoever comes waits for the next worker.
        let next = wait::until("another worker to answer", Duration::from_secs(10), || {
            let pid = http::get(shop.port, "/").ok()?.text();
            (pid != victim.to_string()).then_some(())
        });
        next?;
        times.push(began.elapsed());
        // One that dies again soon is replaced later, so that a crash loop does not eat the machine.
        shop.emperor.says("reload", &["shop.ini"])?.success()?;
    }
    times.sort();
    let median = times[times.len() / 2];
    ground.note(&format!("replaced after {} (median of {})", super::milliseconds(median), times.len()));
    ensure!(median <= REPLACED_WITHIN, "{times:?}");
    shop.emperor.stop()
}

fn in_a_request(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "processes = 2\n")?;
    let gate = ground.path("gate");
    let path = format!("/wait{}", gate.display());
    let clients = [shop.asks(&path), shop.asks(&path)];
    shop.busy(2)?;
    let victim = *shop.worker_pids()?.first().context("no worker")?;
    procfs::signal(victim, Signal::SIGKILL);
    let text = shop.incident("worker-died", "")?;
    let sentence = text.lines().next().unwrap_or_default();
    ensure!(
        sentence.contains("signal 9 (SIGKILL)") && sentence.contains(&format!("while it served GET {path}")),
        "{text}"
    );
    ensure!(text.contains("request id r-1"), "{text}");
    fs::write(&gate, "")?;
    let mut answers: Vec<_> = clients.into_iter().map(joined).collect::<Result<_>>()?;
    answers.sort_by_key(Result::is_err);
    let [Ok(whole), Err(Failure::Closed { after_bytes: 0 } | Failure::Reset(_))] = &answers[..] else {
        bail!("{answers:?}")
    };
    ensure!(whole.status == 200, "{whole:?}");
    shop.replaced(victim)?;
    let counted = shop.emperor.vassal_until("shop.ini", "the lost request to be counted", |vassal| {
        vassal["numbers"]["errors_5xx_total"] == 1 && vassal["numbers"]["busy_threads"] == 0
    })?;
    ensure!(counted["numbers"]["requests_total"].as_u64() >= Some(2), "{counted:#}");
    let said = shop.emperor.says("status", &["shop.ini"])?.success()?;
    ensure!(said.contains("last incidents:") && said.contains(&path), "{said}");
    shop.emperor.stop()
}

fn in_an_answer(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "")?;
    let victim = *shop.worker_pids()?.first().context("no worker")?;
    let mut client = TcpStream::connect(("127.0.0.1", shop.port))?;
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    client.write_all(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let (mut got, mut part) = (Vec::new(), [0; 4096]);
    while !got.ends_with(b"xxxx") {
        let length = client.read(&mut part)?;
        ensure!(length > 0, "closed after {:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&part[..length]);
    }
    procfs::signal(victim, Signal::SIGKILL);
    // Its end is seen, and before the length that was promised.
    let rest = client.read_to_end(&mut got);
    let head = String::from_utf8_lossy(&got).to_lowercase();
    ensure!(head.contains("content-length: 1000000") && got.len() < 100_000, "{} bytes, {rest:?}", got.len());
    let text = shop.incident("worker-died", "GET /stream")?;
    ensure!(text.contains("signal 9 (SIGKILL) while it served GET /stream"), "{text}");
    shop.replaced(victim)?;
    shop.emperor.stop()
}

/// A memory cgroup of version 1 for the master and what it forks; gone with the value.
struct MemoryGroup(std::path::PathBuf);

impl MemoryGroup {
    fn make(ground: &Ground) -> Result<MemoryGroup> {
        ground.needs_root()?;
        let root = Path::new("/sys/fs/cgroup/memory");
        if !root.join("memory.limit_in_bytes").exists() {
            return Err(ground::Skip("there is no memory cgroup of version 1".to_owned()).into());
        }
        let group = root.join(format!("empery-story-{}", std::process::id()));
        fs::create_dir(&group)?;
        fs::write(group.join("memory.limit_in_bytes"), "100663296")?;
        // Without it, swap would take what does not fit.
        let _ = fs::write(group.join("memory.memsw.limit_in_bytes"), "100663296");
        Ok(MemoryGroup(group))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = wait::until("the memory cgroup to be empty", Duration::from_secs(5), || fs::remove_dir(&self.0).ok());
    }
}

fn out_of_memory(ground: &Ground) -> Result<()> {
    let group = MemoryGroup::make(ground)?;
    let shop = Shop::open(ground, "")?;
    let master = *shop.emperor.masters().first().context("no master")?;
    fs::write(group.0.join("cgroup.procs"), master.to_string())?;
    shop.emperor.says("reload", &["shop.ini"])?.success()?;
    let victim = *shop.worker_pids()?.last().context("no worker")?;
    let client = shop.asks("/hog");
    let text = shop.incident("worker-died", "GET /hog")?;
    ensure!(joined(client)?.is_err());
    let sentence = text.lines().next().unwrap_or_default();
    ensure!(sentence.contains("out of memory: the kernel killed it") && sentence.contains("limit 96 MiB"), "{text}");
    ensure!(
        sentence.contains("GET /hog") && text.contains("kills for memory since it was forked: 1 in memory"),
        "{text}"
    );
    shop.replaced(victim)?;
    shop.emperor.stop()
}

fn at_import(ground: &Ground) -> Result<()> {
    let emperor = Emperor::start(ground)?;
    let ends = [
        ("leaves", "import os\nos._exit(0)\n", "exit code 0"),
        ("aborts", "import os\nos.abort()\n", "SIGABRT"),
        ("crashes", "import ctypes\ndef fall():\n    ctypes.string_at(0)\nfall()\n", "SIGSEGV"),
    ];
    for (name, text, _) in ends {
        ground.write(&format!("apps/{name}.py"), text)?;
        let apps = ground.path("apps");
        let ini = format!(
            "[uwsgi]\nhttp-socket = 127.0.0.1:{}\npythonpath = {}\nmodule = {name}\n",
            ground.port()?,
            apps.display()
        );
        emperor.drop_file(&format!("{name}.ini"), &ini)?;
    }
    for (name, _, how) in ends {
        let vassal =
            emperor.vassal_until(&format!("{name}.ini"), "to be cursed", |vassal| vassal["state"] == "cursed")?;
        ensure!(vassal["last_deployment"]["end"].to_string().contains(how), "{vassal:#}");
        ensure!(
            vassal["retry_at_unix_ms"].as_u64() > vassal["last_deployment"]["ended_unix_ms"].as_u64(),
            "{vassal:#}"
        );
        if name == "crashes" {
            let output = vassal["last_deployment"]["boot_output"].as_str().unwrap_or_default();
            ensure!(output.contains("in fall"), "no stack in {output}");
        }
    }
    emperor.stop()
}

fn by_the_app(ground: &Ground) -> Result<()> {
    let ends = [
        ("crash", "signal 11 (SIGSEGV) in ", "in crash"),
        ("abort", "signal 6 (SIGABRT) in abort", "in abort"),
        ("leave", "exit code 7 while it served GET /leave", "GET /leave"),
        (
            "leave_without_a_word",
            "exit code 0 while it served GET /leave_without_a_word",
            "about to leave_without_a_word",
        ),
    ];
    for (route, sentence, evidence) in ends {
        let shop = Shop::open(ground, "")?;
        let victim = *shop.worker_pids()?.first().context("no worker")?;
        let lost = http::get(shop.port, &format!("/{route}"));
        ensure!(matches!(lost, Err(Failure::Closed { .. } | Failure::Reset(_))), "{route}: {lost:?}");
        let text = shop.incident("worker-died", &format!("GET /{route}"))?;
        ensure!(text.lines().next().is_some_and(|first| first.contains(sentence)), "{route}: {text}");
        ensure!(text.contains(evidence) && text.contains(&format!("about to {route}")), "{route}: {text}");
        shop.replaced(victim)?;
        let log = shop.log()?;
        ensure!(log.contains("DAMN") && log.contains(evidence), "{log}");
        shop.emperor.stop()?;
    }
    // An exception like any other.
    let shop = Shop::open(ground, "")?;
    let before = shop.worker_pids()?;
    ensure!(http::get(shop.port, "/leave_by_exception")?.status == 500);
    ensure!(http::get(shop.port, "/")?.status == 200 && shop.worker_pids()? == before);
    shop.emperor.stop()
}

fn at_exit(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "worker-reload-mercy = 2\n")?;
    ensure!(http::get(shop.port, "/hang_at_exit")?.status == 200);
    let workers = shop.worker_pids()?;
    shop.emperor.says("stop", &["shop.ini"])?.success()?;
    ensure!(workers.into_iter().all(|pid| !procfs::alive(pid)));
    shop.emperor.stop()
}

fn deaf(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "worker-reload-mercy = 2\n")?;
    let client = shop.asks("/ignore_the_end");
    shop.busy(1)?;
    let workers = shop.worker_pids()?;
    shop.emperor.says("stop", &["shop.ini"])?.success()?;
    ensure!(workers.into_iter().all(|pid| !procfs::alive(pid)));
    ensure!(joined(client)?.is_err());
    let text = shop.incident("worker-unfinished", "")?;
    ensure!(text.contains("its mercy was over and it was killed while it served GET /ignore_the_end"), "{text}");
    shop.emperor.stop()
}

fn last_words(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "worker-reload-mercy = 1\n")?;
    let path = format!("/wait{}", ground.path("gate").display());
    let client = shop.asks(&path);
    shop.busy(1)?;
    let workers = shop.worker_pids()?;
    shop.emperor.says("reload", &["shop.ini"])?.success()?;
    let text = shop.incident("worker-unfinished", "")?;
    ensure!(text.contains(&format!("its mercy was over and it was killed while it served GET {path}")), "{text}");
    let stack = text.split("where it was when its mercy was over:").nth(1).context(text.clone())?;
    ensure!(stack.contains("stuck.py\", line ") && stack.contains("in wait"), "{text}");
    ensure!(joined(client)?.is_err());
    ensure!(workers.into_iter().all(|pid| !procfs::alive(pid)));
    shop.emperor.stop()
}

fn without_descriptors(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "")?;
    let victim: i32 = http::get(shop.port, "/")?.text().parse()?;
    let answer = http::get(shop.port, "/leak_descriptors")?;
    ensure!(answer.text().contains("Too many open files"), "{answer:?}");
    // An idle connection has the last descriptor: it makes room for the next client, and the worker for another.
    let mut idle = Connection::open(shop.port, Duration::from_secs(10))?;
    ensure!(idle.ask(&Ask::get("/"))?.status == 200);
    ensure!(http::get(shop.port, "/")?.status == 200);
    shop.replaced(victim)?;
    shop.emperor.stop()
}

fn closed(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "")?;
    let victim: i32 = http::get(shop.port, "/")?.text().parse()?;
    let lost = http::get(shop.port, "/close_everything");
    ensure!(lost.is_err(), "{lost:?}");
    shop.replaced(victim)?;
    let text = shop.incident("worker-died", "")?;
    ensure!(text.lines().next().is_some_and(|first| first.contains("Worker 1 of generation 1 ended: ")), "{text}");
    shop.emperor.stop()
}

fn upset(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "")?;
    let pid: i32 = http::get(shop.port, "/upset_the_process")?.text().parse()?;
    // The signals by which a worker is asked have their default action now, which would end it.
    let said = shop.emperor.says("stack", &["shop.ini"])?.success()?;
    ensure!(said.contains("in Python") && procfs::alive(pid), "{said}");
    ensure!(http::get(shop.port, "/")?.text() == pid.to_string());
    procfs::signal(pid, Signal::SIGKILL);
    shop.replaced(pid)?;
    let pid: i32 = http::get(shop.port, "/upset_the_process")?.text().parse()?;
    shop.emperor.says("reload", &["shop.ini"])?.success()?;
    shop.replaced(pid)?;
    shop.emperor.says("stop", &["shop.ini"])?.success()?;
    shop.emperor.stop()
}

fn children(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground, "")?;
    let master = *shop.emperor.masters().first().context("no master")?;
    let child: i32 = http::get(shop.port, "/start_children")?.text().parse()?;
    let before = *shop.worker_pids()?.first().context("no worker")?;
    shop.emperor.says("reload", &["shop.ini"])?.success()?;
    wait::until("the old worker to be gone", Duration::from_secs(20), || (!procfs::alive(before)).then_some(()))?;
    ensure!(procfs::alive(child) && procfs::parent(child) == Some(master), "the child of the app is gone, or nobody's");
    procfs::signal(child, Signal::SIGKILL);
    wait::until("it to be reaped", Duration::from_secs(10), || procfs::state(child).is_none().then_some(()))?;
    shop.emperor.stop()
}

fn killer(ground: &Ground) -> Result<()> {
    ground.needs_root()?;
    let (port, other) = (ground.port()?, ground.port()?);
    let mut emperor = Emperor::prepare(ground)?.for_every_user()?.with(&["--user", "daemon"]);
    emperor.up()?;
    for module in ["stuck.py", "ids.py"] {
        ground.write(&format!("apps/{module}"), &fs::read_to_string(ground::app(module))?)?;
    }
    let apps = ground.path("apps");
    let ini = |port: u16, module: &str, uid: u32| {
        format!(
            "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nchdir = {apps}\npythonpath = .\nmodule = {module}\nuid = {uid}\ngid = {uid}\n",
            apps = apps.display()
        )
    };
    // Ids that nobody else on the machine has.
    emperor.drop_file("shop.ini", &ini(port, "stuck", 54_321))?;
    emperor.drop_file("other.ini", &ini(other, "ids", 54_322))?;
    let calm = emperor.loyal("other.ini")?["master_pid"].clone();
    for route in ["/kill_the_parent", "/kill_everybody"] {
        let before = emperor.loyal("shop.ini")?["master_pid"].clone();
        // The client learns of it, one way or the other.
        let (target, path) = (port, route.to_owned());
        let client = std::thread::spawn(move || http::get(target, &path));
        emperor.vassal_until("shop.ini", "another master", |vassal| {
            let workers =
                vassal["workers"].as_array().is_some_and(|all| all.len() == 1 && all[0]["phase"] == "serving");
            vassal["state"] == "loyal" && vassal["master_pid"] != before && workers
        })?;
        let lost = client.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
        ensure!(lost.is_err(), "{lost:?}");
        ensure!(http::get(port, "/")?.status == 200);
    }
    ensure!(emperor.loyal("other.ini")?["master_pid"] == calm && http::get(other, "/")?.status == 200);
    emperor.stop()
}

/// The emperor's stderr, which is the master's too, is a file here.
fn of_a_silent_one(ground: &Ground) -> Result<()> {
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("other.ini", &super::ini(ground.port()?, "hello", ""))?;
    emperor.loyal("other.ini")?;
    emperor.drop_file("quiet.ini", &super::ini(ground.port()?, "hello", "disable-logging = true\n"))?;
    let vassal = emperor.loyal("quiet.ini")?;
    let victim = i32::try_from(vassal["workers"][0]["pid"].as_i64().context("no worker")?)?;
    procfs::signal(victim, Signal::SIGKILL);
    let told = wait::until("the incident", Duration::from_secs(20), || {
        let incidents = emperor.ask(Ask::get("/api/v1/vassals/quiet.ini/incidents")).ok()?.text();
        incidents.contains("worker-died").then_some(incidents)
    })?;
    ensure!(emperor.output().contains("other.ini") && !told.contains("other.ini"), "{told}");
    emperor.stop()
}
