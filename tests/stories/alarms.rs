//! Alarms: what raises them and what is done then. Nobody waits for one: not the request in which it is raised, not the master.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http, procfs,
    runner::Story,
    vassal::{self, Vassal},
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    noting::{App, SOON, notes},
    shared::evaluate,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("alarms/a-line-of-the-log-raises-one-and-the-same-line-not-at-once-again", lines),
    Story::new("alarms/an-app-raises-one-and-each-kind-does-its-work", kinds),
    Story::new("alarms/commands-that-hang-hold-nobody-up-and-end-with-the-vassal", hanging),
    Story::new("alarms/a-crash-and-a-full-queue-raise-one", crash_and_queue),
    Story::new("alarms/a-metric-and-an-inherited-descriptor-raise-one", metric_and_descriptor),
    Story::new("alarms/what-the-command-of-one-prints-raises-none", echo),
    Story::new("alarms/the-last-words-of-a-vassal-are-told", last_words),
    Story::new("alarms/a-vassal-of-an-emperor-has-them-too", under_emperor),
];

/// A vassal with `evaluate`.
fn start(ground: &Ground, more: &str) -> Result<(Vassal, u16)> {
    let port = ground.port()?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "evaluate", more))?;
    vassal.answers(port)?;
    Ok((vassal, port))
}

fn noted(ground: &Ground, name: &str, number: usize) -> Result<Vec<String>> {
    wait::until(&format!("{number} lines in {name}"), SOON, || {
        Some(notes(ground, name)).filter(|notes| notes.len() >= number)
    })
}

fn lines(ground: &Ground) -> Result<()> {
    let more = "alarm-freq = 600\nalarm = note cmd:cat >> raised\nalarm = other cmd:cat >> others\n\
                not-alarm-log = note harmless\nalarm-log = note,other B[O]+M\n";
    let (mut vassal, port) = start(ground, more)?;
    let log = |text: &str| evaluate(port, &format!("uwsgi.log('{text}')"));
    for text in ["a BOOM", "a BOOM", "a harmless BOOM", "nothing", "another BOM"] {
        ensure!(log(text)? == "True");
    }
    // Lines are looked at in their order, so what comes before the last is known when that is there; commands run side by side.
    for name in ["raised", "others"] {
        noted(ground, name, 2)?;
    }
    log("the last BOOM")?;
    for name in ["raised", "others"] {
        let mut raised = noted(ground, name, 3)?;
        raised.sort();
        ensure!(raised == ["a BOOM", "another BOM", "the last BOOM"], "{name}: {raised:?}");
    }
    vassal.master.says("[uwsgi-alarm] \"note\": a BOOM", SOON)?;
    vassal.stop()
}

fn kinds(ground: &Ground) -> Result<()> {
    let hook = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/hook", hook.local_addr()?);
    let more = format!(
        "mules = 2\nalarm-msg-size = 40\nalarm = say log:OH NO\nalarm = mule mule:2\nalarm = any mule:0\n\
         alarm = signal signal:2\nalarm = post curl:{url};auth_user=me;auth_pass=a secret\n\
         alarm = pigeon xmpp:me;you\nimport = raises\npythonpath = .\n"
    );
    ground.write("raises.py", "import uwsgi\nuwsgi.alarm('say', 'at import')\n")?;
    let mut app = App::start(ground, "mules", &more)?;
    let raise = |name: &str, text: &str| -> Result<()> {
        let answer = app.get(&format!("/alarm/{name}/{text}"))?;
        ensure!(answer == "None", "{answer}");
        Ok(())
    };
    raise("say", "down")?;
    raise("mule", "to-the-second")?;
    raise("any", "to-whoever")?;
    raise("signal", "x")?;
    raise("post", "posted")?;
    raise("pigeon", "flies")?;
    raise("nobody", "x")?;
    raise("say", &"long".repeat(20))?;
    let got = app.noted("messages", 2)?;
    let find = |text: &str| got.iter().find(|line| line.contains(text)).cloned().unwrap_or_default();
    ensure!(find("to-the-second").starts_with('2') && !find("to-whoever").is_empty(), "{got:?}");
    ensure!(app.noted("mule2", 1)? == ["2"], "the signal did not come");
    let posted = taken(&hook, "posted")?;
    ensure!(posted.starts_with("POST /hook HTTP/1.1\r\n") && posted.ends_with("\r\n\r\nposted"), "{posted}");
    ensure!(posted.contains("Authorization: Basic bWU6YSBzZWNyZXQ="), "{posted}");
    for said in [
        " - ALARM: OH NO down\n",
        &format!("ALARM: OH NO {}\n", "long".repeat(10)),
        "[uwsgi-alarm] \"pigeon\": flies",
        "[uwsgi-alarm] there is no alarm \"nobody\"",
        "[uwsgi-alarm] \"say\" is not raised while the app is imported",
    ] {
        app.vassal.master.says(said, SOON)?;
    }
    app.vassal.stop()
}

/// The request that comes here, answered.
fn taken(hook: &TcpListener, end: &str) -> Result<String> {
    let (mut client, _) = hook.accept()?;
    client.set_read_timeout(Some(SOON))?;
    let mut request = String::new();
    let mut room = [0; 4096];
    while !request.ends_with(end) {
        let length = client.read(&mut room)?;
        ensure!(length > 0, "it ended with {request:?}");
        request.push_str(&String::from_utf8_lossy(&room[..length]));
    }
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok(request)
}

fn hanging(ground: &Ground) -> Result<()> {
    let more = "alarm-freq = 0\nalarm = hang cmd:echo $$ >> pids; exec sleep 1000\nalarm = say log:\n";
    let (mut vassal, port) = start(ground, more)?;
    for number in 0..18 {
        ensure!(evaluate(port, &format!("uwsgi.alarm('hang', 'number {number}')"))? == "None");
    }
    vassal.master.says("[uwsgi-alarm] the command of \"hang\" is not run: too many run already", SOON)?;
    let pids = noted(ground, "pids", 16)?;
    ensure!(http::get(port, "/")?.status == 200);
    evaluate(port, "uwsgi.alarm('say', 'still here')")?;
    vassal.master.says("ALARM: still here", SOON)?;
    vassal.stop()?;
    let pids: Vec<i32> = pids.iter().map(|pid| pid.parse()).collect::<Result<_, _>>()?;
    ensure!(pids.len() == 16 && pids.iter().all(|pid| !procfs::alive(*pid)), "{pids:?}");
    Ok(())
}

fn crash_and_queue(ground: &Ground) -> Result<()> {
    let more = "alarm = crash cmd:cat > crashed.part; mv crashed.part crashed\nalarm-segfault = crash\nalarm = once cmd:cat >> once\nalarm-log = once before the end\nalarm-freq = 0\n\
                alarm = full cmd:cat >> full; echo >> full\nlq-alarm = full\nlisten = 1\nprocesses = 1\n";
    let (vassal, port) = start(ground, more)?;
    evaluate(port, "uwsgi.log('before the end')")?;
    noted(ground, "once", 1)?;
    let died = evaluate(port, "__import__('ctypes').string_at(0)");
    ensure!(died.is_err(), "{died:?}");
    let told = wait::until("the crash to be told", SOON, || fs::read_to_string(ground.path("crashed")).ok())?;
    ensure!(
        told.starts_with("*** worker 1 (pid: ") && told.contains("crashed: ") && told.contains("SIGSEGV"),
        "{told}"
    );
    ensure!(told.contains("before the end"), "{told}");
    wait::until_ok("another worker", SOON, || {
        ensure!(http::get(port, "/")?.status == 200);
        Ok(())
    })?;
    // Nobody accepts, so whoever comes waits in the queue, which has room for one.
    let pid = http::get(port, "/")?.text().rsplit(' ').next().context("no pid")?.parse()?;
    kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
    // The first client came before there was a worker.
    let before = notes(ground, "full").len();
    let waiting = (0..2).map(|_| TcpStream::connect(("127.0.0.1", port))).collect::<Result<Vec<_>, _>>()?;
    let full = noted(ground, "full", before + 1);
    kill(Pid::from_raw(pid), Signal::SIGCONT)?;
    drop(waiting);
    let full = full?;
    ensure!(full[0].starts_with("listen queue of socket \"127.0.0.1:") && full[0].contains("full !!! ("), "{full:?}");
    // What was shown of the log once more has raised nothing.
    vassal.stop()?;
    ensure!(notes(ground, "once") == ["before the end"], "{:?}", notes(ground, "once"));
    Ok(())
}

/// A vassal that goes on counting where the last one stopped.
const RESTORED: &str = "metric = jobs\nmetric-dir = metrics\nmetric-dir-restore = true\n";

fn metric_and_descriptor(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let more = "alarm-freq = 0\nalarm = many cmd:cat >> many; echo >> many\nalarm = input cmd:cat >> input; echo >> input\n\
                metric = jobs\nmetric-dir = metrics\nmetric-threshold = key=jobs,value=10,alarm=many,rate=1000,reset=3,msg=many jobs\n\
                metric-threshold = key=worker.1.requests,value=1,alarm=many,rate=1000\nalarm-fd = input 17:4 there is input\n";
    ground.write("app.ini", &super::ini(port, "evaluate", more))?;
    fs::create_dir(ground.path("metrics"))?;
    nix::unistd::mkfifo(&ground.path("fifo"), nix::sys::stat::Mode::S_IRWXU)?;
    let vassal = empery_tests::ground::binary("vassal")?;
    let mut command = Command::new("/bin/bash");
    let script = format!("exec 17<>fifo; exec {} app.ini", vassal.display());
    command.args(["-c", &script]).current_dir(ground.directory());
    vassal::surroundings(&mut command);
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    vassal.answers(port)?;
    vassal.master.says("[uwsgi-alarm] added fd 17", SOON)?;
    ensure!(noted(ground, "many", 1)? == ["worker.1.requests"], "{:?}", notes(ground, "many"));
    ensure!(evaluate(port, "uwsgi.metric_set('jobs', 9)")? == "True");
    ensure!(evaluate(port, "uwsgi.metric_inc('jobs')")? == "True");
    ensure!(noted(ground, "many", 2)?[1] == "many jobs", "{:?}", notes(ground, "many"));
    wait::until_ok("the metric to be set back", SOON, || {
        let jobs = evaluate(port, "uwsgi.metric_get('jobs')")?;
        ensure!(jobs == "3", "{jobs}");
        Ok(())
    })?;
    wait::until_ok("the metric to be in its file", SOON, || {
        let page = fs::read_to_string(ground.path("metrics/jobs"))?;
        ensure!(page.starts_with("3\n\0"), "{}", page.trim_end_matches('\0'));
        Ok(())
    })?;
    ensure!(ground.path("metrics/worker.1.core.0.requests").exists());
    fs::write(ground.path("fifo"), "12345678")?;
    ensure!(noted(ground, "input", 1)?[0] == "there is input", "{:?}", notes(ground, "input"));
    vassal.stop()?;
    let mut next = Vassal::from_ini(ground, "app.ini", &super::ini(port, "evaluate", RESTORED))?;
    next.answers(port)?;
    ensure!(evaluate(port, "uwsgi.metric_get('jobs')")? == "3");
    next.stop()
}

fn echo(ground: &Ground) -> Result<()> {
    let more = "alarm-freq = 0\nalarm = echo cmd:cat; echo again BOOM >&2; printf 'no end BOOM'\nalarm-log = echo BOOM\n\
                alarm = last cmd:cat >> last\nalarm-log = last DONE\n";
    let (mut vassal, port) = start(ground, more)?;
    evaluate(port, "uwsgi.log('a BOOM')")?;
    for printed in ["[uwsgi-alarm] a BOOM\n", "[uwsgi-alarm] again BOOM\n", "[uwsgi-alarm] no end BOOM\n"] {
        vassal.master.says(printed, SOON)?;
    }
    // What lines raise is raised in their order.
    evaluate(port, "uwsgi.log('DONE')")?;
    noted(ground, "last", 1)?;
    let log = vassal.master.output();
    let raised: Vec<_> = log.lines().filter(|line| line.contains("[uwsgi-alarm] \"echo\": ")).collect();
    ensure!(raised.len() == 1, "{raised:?}");
    vassal.stop()
}

fn last_words(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    ground.write("broken.py", "raise RuntimeError('no such luck')\n")?;
    let more = "pythonpath = .\nalarm = tell cmd:sleep 0.5; cat >> told\nalarm-log = tell no such luck\n";
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "broken", more))?;
    let status = vassal.master.exited(SOON)?;
    ensure!(status.code() == Some(22), "{status}: {}", vassal.master.output());
    let told = notes(ground, "told");
    ensure!(told.iter().any(|line| line.contains("RuntimeError: no such luck")), "{told:?}");
    Ok(())
}

fn under_emperor(ground: &Ground) -> Result<()> {
    let emperor = Emperor::start(ground)?;
    let port = ground.port()?;
    let raised = ground.path("raised");
    let more = format!("alarm = note cmd:cat >> {}\nalarm-log = note BOOM\nalarm-fd = note 9 x\n", raised.display());
    emperor.drop_file("app.ini", &super::ini(port, "evaluate", &more))?;
    emperor.loyal("app.ini")?;
    evaluate(port, "print('a BOOM', flush=True)")?;
    ensure!(noted(ground, "raised", 1)? == ["a BOOM"], "{:?}", notes(ground, "raised"));
    let log = emperor.says("logs", &["app.ini"])?.success()?;
    ensure!(log.contains("[uwsgi-alarm] descriptor 9 was not inherited"), "{log}");
    emperor.stop()
}
