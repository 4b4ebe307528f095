//! What the workers of a vassal share: caches, locks, the queue, areas of memory, metrics.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http::{self, Ask, Connection},
    python,
    runner::Story,
    vassal::{Vassal, surroundings},
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("shared/the-functions-answer-as-uwsgi-s-do", as_uwsgi),
    Story::new("shared/a-cache-is-of-all-workers-and-outlives-reloads-and-the-master-s-binary", outlives_reloads),
    Story::new("shared/p3-what-is-shared-outlives-a-master-that-is-killed", master_killed),
    Story::new("shared/p3-what-is-shared-outlives-a-first-boot-that-fails-after-the-master-was-killed", boot_fails),
    Story::new("shared/a-killed-worker-leaves-no-lock-and-nothing-torn", killed),
    Story::new("shared/a-store-outlives-the-vassal", stored),
    Story::new("shared/the-vassal-s-own-numbers-are-metrics", numbers),
    Story::new("shared/a-cache-begins-with-what-the-file-says-and-answers-requests", begins),
];

/// How long one of several workers may take to be the one that answers.
const SOON: Duration = Duration::from_secs(20);

/// What an expression comes to in a worker of a vassal that runs `evaluate`.
pub(super) fn evaluate(port: u16, expression: &str) -> Result<String> {
    let answer = http::ask(port, Ask::post("/").body("text/plain", expression.as_bytes()))?;
    ensure!(answer.status == 200, "{expression}: {} {}", answer.status, answer.text());
    Ok(answer.text())
}

/// The same, by another process than this one.
fn evaluate_elsewhere(port: u16, pid: &str, expression: &str) -> Result<String> {
    wait::until("another worker to answer", SOON, || {
        let both = evaluate(port, &format!("(os.getpid(), {expression})")).ok()?;
        let (by, value) = both.strip_prefix('(')?.strip_suffix(')')?.split_once(", ")?;
        (by != pid).then(|| value.to_owned())
    })
}

const EVERYTHING: &str = "cache2 = name=first,items=20\ncache2 = name=other,items=5,blocksize=100\nlocks = 2\nqueue = 10\n\
                          sharedarea = 1\nmetric = foo\nmetric = name=bar,initial_value=5\n";

/// Each is evaluated by both, in this order.
const EXPRESSIONS: &[&str] = &[
    "uwsgi.cache_get('a')",
    "uwsgi.cache_set('a', 'v'), uwsgi.cache_set('a', 'w'), uwsgi.cache_get('a')",
    "uwsgi.cache_set(b'b', b'v\\0x'), uwsgi.cache_get('b')",
    "uwsgi.cache_update('a', 'w', 0), uwsgi.cache_get(b'a')",
    "uwsgi.cache_exists('a'), uwsgi.cache_exists('none')",
    "uwsgi.cache_del('a'), uwsgi.cache_del('a'), uwsgi.cache_exists('a')",
    "uwsgi.cache_inc('n', 4), uwsgi.cache_num('n'), uwsgi.cache_mul('n'), uwsgi.cache_num('n')",
    "uwsgi.cache_dec('n'), uwsgi.cache_div('n', 3), uwsgi.cache_num('n'), uwsgi.cache_get('n')",
    "uwsgi.cache_div('n', 0), uwsgi.cache_num('n'), uwsgi.cache_num('none')",
    "sorted(uwsgi.cache_keys()), uwsgi.cache_keys('other')",
    "uwsgi.cache_keys('none')",
    "uwsgi.cache_get('a', 'none'), uwsgi.cache_set('a', 'v', 0, 'none'), uwsgi.cache_clear('none')",
    "uwsgi.cache_set('k', 'v', 0, 'other'), uwsgi.cache_get('k', 'other'), uwsgi.cache_get('k')",
    "uwsgi.cache_set('long', 'x' * 101, 0, 'other'), uwsgi.cache_set('fits', 'x' * 100, 0, 'other')",
    "uwsgi.cache_set('a', ''), uwsgi.cache_set('', 'v'), uwsgi.cache_set('k' * 2049, 'v')",
    "uwsgi.cache_set('a', 1)",
    "uwsgi.cache_set('a', 'v', 1.5)",
    "uwsgi.cache_set('\\u00e9', '\\u20ac'), uwsgi.cache_get('\\u00e9')",
    "uwsgi.cache_set('short', 'v', 100), uwsgi.cache_get('short')",
    "uwsgi.cache_clear(), uwsgi.cache_keys()",
    "uwsgi.is_locked(), uwsgi.lock(), uwsgi.is_locked(), uwsgi.unlock(), uwsgi.is_locked(), uwsgi.unlock()",
    "uwsgi.lock(2), uwsgi.is_locked(2), uwsgi.is_locked(1), uwsgi.unlock(2)",
    "uwsgi.lock(3)",
    "uwsgi.unlock(-1)",
    "uwsgi.is_locked(9)",
    "uwsgi.queue_size, uwsgi.queue_push('abc'), uwsgi.queue_push(b'd\\0'), uwsgi.queue_last(), uwsgi.queue_last(3)",
    "uwsgi.queue_slot(), uwsgi.queue_pull_slot(), uwsgi.queue_get(0), uwsgi.queue_get(99), uwsgi.queue_get(5)",
    "uwsgi.queue_pull(), uwsgi.queue_pop(), uwsgi.queue_pull()",
    "uwsgi.queue_set(3, 'zz'), uwsgi.queue_get(3), uwsgi.queue_set(99, 'x'), uwsgi.queue_push(''), uwsgi.queue_push('x' * 8177)",
    "uwsgi.sharedarea_write(0, 0, b'hello'), uwsgi.sharedarea_read(0, 0, 5), len(uwsgi.sharedarea_read(0, 0))",
    "len(uwsgi.sharedarea_read(0, 4000)), uwsgi.sharedarea_write(0, 0, 'text')",
    "uwsgi.sharedarea_read(0, 0, 99999)",
    "uwsgi.sharedarea_read(7, 0, 1)",
    "uwsgi.sharedarea_write(0, 4090, b'1234567890')",
    "uwsgi.sharedarea_write8(0, 8, 200), uwsgi.sharedarea_read8(0, 8), uwsgi.sharedarea_readbyte(0, 8)",
    "uwsgi.sharedarea_write32(0, 8, -30), uwsgi.sharedarea_read32(0, 8)",
    "uwsgi.sharedarea_write64(0, 8, 2**40), uwsgi.sharedarea_read64(0, 8), uwsgi.sharedarea_readlong(0, 8)",
    "uwsgi.sharedarea_inc64(0, 8, 5), uwsgi.sharedarea_inc64(0, 8), uwsgi.sharedarea_dec64(0, 8, 2), uwsgi.sharedarea_read64(0, 8)",
    "uwsgi.sharedarea_inc32(0, 16, 5), uwsgi.sharedarea_dec32(0, 16), uwsgi.sharedarea_read32(0, 16)",
    "uwsgi.sharedarea_wlock(0), uwsgi.sharedarea_unlock(0), uwsgi.sharedarea_rlock(0), uwsgi.sharedarea_unlock(0)",
    "bytes(uwsgi.sharedarea_memoryview(0)[:4]), len(uwsgi.sharedarea_memoryview(0))",
    "uwsgi.sharedarea_memoryview(3)",
    "uwsgi.metric_get('foo'), uwsgi.metric_get('none'), uwsgi.metric_get('bar')",
    "uwsgi.metric_inc('foo'), uwsgi.metric_inc('foo', 5), uwsgi.metric_dec('foo'), uwsgi.metric_get('foo')",
    "uwsgi.metric_mul('foo', 3), uwsgi.metric_div('foo', 2), uwsgi.metric_div('foo', 0), uwsgi.metric_get('foo')",
    "uwsgi.metric_set('foo', 7), uwsgi.metric_set_max('foo', 9), uwsgi.metric_set_max('foo', 1), uwsgi.metric_get('foo')",
    "uwsgi.metric_set_min('foo', 2), uwsgi.metric_get('foo'), uwsgi.metric_set_min('foo', -1), uwsgi.metric_get('foo')",
    "uwsgi.metric_set_min('bar', 4), uwsgi.metric_get('bar'), uwsgi.metric_inc('none'), uwsgi.metric_set('none', 1)",
    "uwsgi.register_rpc('hello', lambda *a: b'-'.join(a)), uwsgi.rpc('', b'hello', b'a', b'b'), uwsgi.call(b'hello', b'x')",
    "uwsgi.rpc('', 'hello')",
    "uwsgi.rpc(None, b'hello', b'x'), uwsgi.rpc(None, b'hello')",
    "uwsgi.rpc('', b'hello', 'x')",
    "uwsgi.call('hello')",
    "uwsgi.rpc('')",
    "uwsgi.rpc('', b'none'), uwsgi.register_rpc('text', lambda *a: 'text'), uwsgi.rpc('', b'text')",
    "uwsgi.register_rpc('fails', lambda *a: 1 / 0), uwsgi.rpc('', b'fails')",
    "[uwsgi.register_rpc('ends', type('Ends', (), {'__call__': lambda self: b'', '__del__': lambda self, list=uwsgi.rpc_list: list()})()) \
     for _ in 'ab']",
    "[uwsgi.register_signal(9, '', type('Ends', (), {'__call__': print, '__del__': lambda self, is_there=uwsgi.signal_registered: is_there(9)})()) \
     for _ in 'ab']",
    "uwsgi.register_rpc('one', lambda a: a, 1), uwsgi.rpc('', b'one', b'q'), uwsgi.rpc('', b'one', b'q', b'r'), uwsgi.rpc_list()",
];

fn as_uwsgi(ground: &Ground) -> Result<()> {
    alike(ground, EVERYTHING, EXPRESSIONS)
}

/// Whether expressions come to the same in a vassal and in uWSGI with these lines, each in turn.
pub(super) fn alike<E: AsRef<str>>(ground: &Ground, lines: &str, expressions: &[E]) -> Result<()> {
    let (port, theirs) = (ground.port()?, ground.port()?);
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "evaluate", lines))?;
    vassal.answers(port)?;
    let more = format!("{lines}master = true\ndie-on-term = true\nneed-app = true\n");
    let config = ground.write("uwsgi.ini", &super::ini(theirs, "evaluate", &more))?;
    let mut command = Command::new(python::program("uwsgi")?);
    command.arg(config);
    let mut uwsgi = ground.start("uwsgi", command)?;
    wait::until_ok("uWSGI to answer", SOON, || Ok(http::get(theirs, "/")?))?;
    let mut different = Vec::new();
    for expression in expressions.iter().map(AsRef::as_ref) {
        let (ours, other) = (evaluate(port, expression)?, evaluate(theirs, expression)?);
        if ours != other {
            different.push(format!("{expression}\n  ours:  {ours}\n  uWSGI: {other}"));
        }
    }
    ensure!(different.is_empty(), "{}", different.join("\n"));
    ground.note(&format!("{} expressions alike", expressions.len()));
    uwsgi.signal(Signal::SIGTERM);
    uwsgi.exited(Duration::from_secs(10))?;
    vassal.stop()
}

fn outlives_reloads(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let bin = ground.lend_binaries()?;
    let more = "master = true\nprocesses = 4\ncache2 = name=c,items=100\nqueue = 10\nsharedarea = 1\nmetric = m\n";
    ground.write("app.ini", &super::ini(port, "evaluate", more))?;
    let mut command = Command::new(bin.join("vassal"));
    surroundings(&mut command);
    command.current_dir(ground.directory()).arg("app.ini");
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    let mut boot = super::boot_of(&vassal.answers(port)?);
    let stored = "os.getpid(), uwsgi.cache_set('k', 'kept'), uwsgi.queue_push('first'), \
                  uwsgi.sharedarea_write(0, 9, b'area'), uwsgi.metric_set('m', 42)";
    let pid = evaluate(port, stored)?.trim_start_matches('(').split(',').next().unwrap_or_default().to_owned();
    let read = "uwsgi.cache_get('k') + uwsgi.queue_get(0) + uwsgi.sharedarea_read(0, 9, 4), uwsgi.metric_get('m')";
    let kept = "(b'keptfirstarea', 42)";
    ensure!(evaluate_elsewhere(port, &pid, &format!("({read})"))? == kept, "not shared");

    vassal.signal(Signal::SIGHUP);
    boot = super::boot_changes(port, &boot)?;
    ensure!(evaluate(port, read)? == kept, "lost by a reload: {}", evaluate(port, read)?);

    // A new binary under the old pid.
    fs::copy(ground::binary("vassal")?, bin.join("vassal.new"))?;
    fs::rename(bin.join("vassal.new"), bin.join("vassal"))?;
    vassal.signal(Signal::SIGHUP);
    boot = super::boot_changes(port, &boot)?;
    ensure!(evaluate(port, read)? == kept, "lost by a new binary: {}", evaluate(port, read)?);

    // A cache of another size is another one; the rest is as it was.
    ground.write("app.ini", &super::ini(port, "evaluate", &more.replace("items=100", "items=101")))?;
    vassal.signal(Signal::SIGHUP);
    super::boot_changes(port, &boot)?;
    ensure!(evaluate(port, "uwsgi.cache_get('k'), uwsgi.queue_get(0)")? == "(None, b'first')");
    vassal.stop()
}

fn master_killed(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let more = "processes = 2\ncache2 = name=c,items=100\nqueue = 10\nsharedarea = 1\nmetric = m\n";
    let mut emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "evaluate", more))?;
    emperor.loyal("shop.ini")?;
    let stored = "uwsgi.cache_set('k', 'kept'), uwsgi.queue_push('first'), \
                  uwsgi.sharedarea_write(0, 9, b'area'), uwsgi.metric_set('m', 42)";
    evaluate(port, stored)?;
    let read = "uwsgi.cache_get('k') + uwsgi.queue_get(0) + uwsgi.sharedarea_read(0, 9, 4), uwsgi.metric_get('m')";
    let kill_master = |emperor: &Emperor<'_>| -> Result<()> {
        let boot = super::boot_of(&http::get(port, "/")?);
        let before = emperor.vassal("shop.ini")?["master_pid"].as_i64().context("no master")?;
        kill(Pid::from_raw(i32::try_from(before)?), Signal::SIGKILL)?;
        super::boot_changes(port, &boot)?;
        let now = emperor.vassal_until("shop.ini", "to have another master", |vassal| {
            vassal["state"] == "loyal" && vassal["master_pid"].as_i64().is_some_and(|pid| pid != before)
        })?;
        ensure!(now["master_pid"].is_i64());
        Ok(())
    };
    kill_master(&emperor)?;
    ensure!(evaluate(port, read)? == "(b'keptfirstarea', 42)", "lost: {}", evaluate(port, read)?);
    // A keeper that is new has it from the master, and gives it to the next one.
    emperor.kill_keeper()?;
    emperor.up()?;
    emperor.loyal("shop.ini")?;
    kill_master(&emperor)?;
    ensure!(evaluate(port, read)? == "(b'keptfirstarea', 42)", "lost: {}", evaluate(port, read)?);
    // After a stop there is nothing left of it.
    emperor.says("stop", &["shop.ini"])?.success()?;
    emperor.says("start", &["shop.ini"])?.success()?;
    emperor.loyal("shop.ini")?;
    ensure!(evaluate(port, "uwsgi.cache_get('k')")? == "None");
    emperor.stop()
}

fn boot_fails(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let (refuses, refused) = (ground.write("refuses", "")?, ground.path("refused"));
    fs::remove_file(&refuses)?;
    let app = format!(
        "import os\nif os.path.exists({refuses:?}):\n    open({refused:?}, 'a').close()\n    raise RuntimeError('not now')\n\
         from evaluate import application\n"
    );
    ground.write("sometimes.py", &app)?;
    let emperor = Emperor::start(ground)?;
    let more = format!("pythonpath = {}\ncache2 = name=c,items=100\n", ground.directory().display());
    emperor.drop_file("shop.ini", &super::ini(port, "sometimes", &more))?;
    let master = emperor.loyal("shop.ini")?["master_pid"].as_i64().context("no master")?;
    evaluate(port, "uwsgi.cache_set('k', 'kept')")?;
    let boot = super::boot_of(&http::get(port, "/")?);
    ground.write("refuses", "")?;
    kill(Pid::from_raw(i32::try_from(master)?), Signal::SIGKILL)?;
    wait::until("the next master's boot to fail", SOON, || refused.exists().then_some(()))?;
    ensure!(evaluate(port, "uwsgi.cache_get('k')")? == "b'kept'", "not even the workers that are left have it");
    fs::remove_file(&refuses)?;
    // The emperor may be trying again by itself this moment.
    emperor.says("reload", &["shop.ini"])?;
    super::boot_changes(port, &boot)?;
    let kept = evaluate(port, "uwsgi.cache_get('k')")?;
    ensure!(kept == "b'kept'", "lost: {kept}");
    emperor.stop()
}

fn killed(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let more = "master = true\nprocesses = 3\nlocks = 1\nthreads = 2\ncache2 = name=c,items=20,purge_lru=1\n";
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "evaluate", more))?;
    vassal.answers(port)?;
    for round in 0..3 {
        // One that has a lock and writes without end; its client sees its end.
        let noted = ground.path(&format!("victim-{round}"));
        let forever = format!(
            "(open({noted:?}, 'w').write(str(os.getpid())), uwsgi.lock(1), \
             [uwsgi.cache_update(str(i % 30), chr(97 + i % 26) * (1 + i * 37 % 60000)) \
             for i in iter(lambda: int(time.time() * 1e6), None)])"
        );
        let mut busy = Connection::open(port, SOON)?;
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", forever.len());
        busy.send(head.as_bytes())?;
        busy.send(forever.as_bytes())?;
        wait::until("the lock to be taken", SOON, || {
            (evaluate(port, "uwsgi.is_locked(1)").ok()? == "True").then_some(())
        })?;
        let victim: i32 = fs::read_to_string(&noted)?.parse()?;
        kill(Pid::from_raw(victim), Signal::SIGKILL)?;
        ensure!(busy.rest().is_ok_and(|rest| rest.is_empty()) || busy.answer(false).is_err(), "it was not the victim");
        ensure!(evaluate(port, "uwsgi.lock(1), uwsgi.is_locked(1), uwsgi.unlock(1)")? == "(None, True, None)");
        let whole =
            "all(len(set(uwsgi.cache_get(k) or b'x')) == 1 for k in uwsgi.cache_keys()), len(uwsgi.cache_keys()) <= 20";
        ensure!(evaluate(port, whole)? == "(True, True)", "round {round}: {}", evaluate(port, whole)?);
        let goes_on = "uwsgi.cache_update('x', 'y'), uwsgi.cache_get('x')";
        ensure!(evaluate(port, goes_on)? == "(True, b'y')", "round {round}");
    }
    vassal.stop()
}

fn stored(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let more = "master = true\ncache2 = name=c,items=50,store=cache.store\nqueue = 8\nqueue-store = queue.store\n";
    let text = super::ini(port, "evaluate", more);
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    evaluate(port, "uwsgi.cache_set('k', 'kept'), uwsgi.cache_set('gone', 'x', 1), uwsgi.queue_push('message')")?;
    vassal.stop()?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    ensure!(evaluate(port, "uwsgi.cache_get('k'), uwsgi.queue_pull()")? == "(b'kept', b'message')");
    wait::until("an item to expire", SOON, || {
        (evaluate(port, "uwsgi.cache_exists('gone'), uwsgi.cache_keys()").ok()? == "(None, [b'k'])").then_some(())
    })?;
    // Another size does not take what is there for its own, and keeps what serves.
    ground.write("app.ini", &text.replace("items=50", "items=51"))?;
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("remove the file", SOON)?;
    ensure!(evaluate(port, "uwsgi.cache_get('k')")? == "b'kept'");
    vassal.stop()
}

fn numbers(ground: &Ground) -> Result<()> {
    let (port, stats) = (ground.port()?, ground.port()?);
    let more = format!(
        "master = true\nprocesses = 2\nenable-metrics = true\ncache2 = name=c,items=7,lastmod=1\n\
         stats = 127.0.0.1:{stats}\nstats-http = true\n"
    );
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "evaluate", &more))?;
    vassal.answers(port)?;
    evaluate(port, "uwsgi.cache_set('k', 'v'), uwsgi.cache_get('k'), uwsgi.cache_get('none')")?;
    wait::until("the requests to be counted", SOON, || {
        let counted = "uwsgi.metric_get('worker.1.requests') + uwsgi.metric_get('worker.2.requests')";
        (evaluate(port, counted).ok()?.parse::<u64>().ok()? > 1).then_some(())
    })?;
    // The other worker may be about to be idle.
    let own = "uwsgi.metric_get('core.busy_workers') in (1, 2), uwsgi.metric_get('worker.1.rss_size') > 10**6, \
               uwsgi.metric_get('worker.3.requests'), uwsgi.metric_get('worker.1.core.0.exceptions'), \
               uwsgi.metric_set('worker.1.requests', 0)";
    let shown = evaluate(port, own)?;
    ensure!(shown == "(True, True, 0, 0, None)", "{shown}");
    let caches: serde_json::Value = serde_json::from_slice(&http::get(stats, "/")?.body)?;
    let cache = &caches["caches"][0];
    let shown = ["items", "hits", "miss", "full", "max_items", "blocksize"].map(|key| cache[key].as_u64());
    ensure!(cache["name"] == "c" && shown == [1, 1, 1, 0, 7, 65_535].map(Some), "{cache:#}");
    ensure!(cache["last_modified_at"].as_u64().is_some_and(|when| when > 1_700_000_000), "{cache:#}");
    vassal.stop()
}

fn begins(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let page = "HTTP/1.0 201 Created\r\nContent-Type: text/plain\r\n\r\nfrom the cache";
    ground.write("page.txt", page)?;
    let more = "master = true\nchdir = %d\ncache2 = name=a,items=10\ncache2 = name=pages,items=10\n\
                add-cache-item = a key=va=lue\nadd-cache-item = both=x\nload-file-in-cache = a page.txt\n\
                load-file-in-cache-gzip = a page.txt\nload-file-in-cache = none.txt\ncheck-cache = pages\n";
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "evaluate", more))?;
    vassal.answers(port)?;
    let first = "uwsgi.cache_get('key'), uwsgi.cache_get('both'), uwsgi.cache_get('both', 'pages')";
    ensure!(evaluate(port, first)? == "(b'va=lue', b'x', b'x')");
    let unzipped = "__import__('gzip').decompress(uwsgi.cache_get('page.txt')).decode()";
    ensure!(evaluate(port, unzipped)?.contains("from the cache"), "{}", evaluate(port, unzipped)?);
    ensure!(http::get(port, "/page")?.text().starts_with("evaluate "), "nothing is there yet");
    evaluate(port, "uwsgi.cache_set('/page?q=1', open('page.txt', newline='').read(), 0, 'pages')")?;
    let answer = http::get(port, "/page?q=1")?;
    ensure!(answer.status == 201 && answer.text() == "from the cache", "{} {}", answer.status, answer.text());
    ensure!(answer.header("content-type") == Some("text/plain"), "{:?}", answer.headers);
    ensure!(http::get(port, "/page?q=2")?.text().starts_with("evaluate "), "another URI is for the app");
    let posted = http::ask(port, Ask::post("/page?q=1").body("text/plain", b"1 + 1"))?;
    ensure!(posted.text() == "2", "POST is for the app: {}", posted.text());
    vassal.stop().context("the vassal was to stop")
}
