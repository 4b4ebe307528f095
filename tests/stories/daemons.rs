//! Programs beside the app: daemons that are kept running, and commands at certain times. They belong to the vassal and not
//! to a generation, there is one of each and never two, and nothing of them is left when it ends.

use std::{fs, io::Read, net::TcpListener, path::Path};

use anyhow::{Result, bail, ensure};
use empery_tests::{emperor::Emperor, ground::Ground, http::Ask, procfs, runner::Story, vassal::Vassal, wait};
use nix::sys::signal::Signal;

use super::noting::SOON;

pub(crate) const STORIES: &[Story] = &[
    Story::new("daemons/b55-run-beside-the-app-over-reloads-and-end-with-it", runs_and_ends),
    Story::new("daemons/a-dead-or-touched-one-comes-back", comes_back),
    Story::new("daemons/a-changed-line-ends-the-old-one-before-the-new", changed_line),
    Story::new("daemons/one-that-does-not-stop-is-killed-and-a-control-daemon-ends-the-vassal", stubborn_and_control),
    Story::new("daemons/have-their-own-mercy-at-a-stop-and-mules-theirs", own_mercy),
    Story::new("daemons/b55-a-smart-one-is-found-by-its-pidfile-and-outlives-the-vassal", smart),
    Story::new("daemons/p3-a-master-that-dies-leaves-none-and-doubles-none", master_dies),
    Story::new("daemons/p17-a-new-image-of-the-master-keeps-them", new_image),
    Story::new("daemons/b55-a-unique-command-is-not-started-beside-one-that-outlives-its-master", unique_command),
    Story::new("daemons/b55-commands-run-in-their-minute-once-and-not-for-too-long", crons),
];

/// What becomes of a daemon whose pid is written to a file by itself, each time it starts.
struct Pids<'g>(&'g Ground, &'static str);

impl Pids<'_> {
    fn all(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.0.path(self.1)).unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    /// Waits until it was started so many times.
    fn count(&self, number: usize) -> Result<Vec<i32>> {
        wait::until("a daemon to be started", SOON, || Some(self.all()).filter(|pids| pids.len() >= number))
    }

    fn only_last_lives(&self) -> Result<i32> {
        let pids = self.all();
        let living: Vec<i32> = pids.iter().copied().filter(|pid| procfs::alive(*pid)).collect();
        let [one] = living[..] else { bail!("{living:?} live, of {pids:?}") };
        ensure!(pids.last() == Some(&one), "{one} lives, of {pids:?}");
        Ok(one)
    }
}

fn ini(ground: &Ground, port: u16, more: &str) -> Result<String> {
    ground.write(
        "hello.py",
        "def application(env, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n",
    )?;
    Ok(format!("[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nwsgi-file = hello.py\n{more}\n"))
}

fn start(ground: &Ground, more: &str) -> Result<Vassal> {
    let port = ground.port()?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &ini(ground, port, more)?)?;
    vassal.answers(port)?;
    Ok(vassal)
}

/// A daemon that tells its pid and waits.
const SLEEPER: &str = "echo $$ >> pids; echo daemon of $NAME; exec sleep 1000";

fn runs_and_ends(ground: &Ground) -> Result<()> {
    let mut vassal = start(ground, &format!("env = NAME=this vassal\nattach-daemon = {SLEEPER}"))?;
    let pids = Pids(ground, "pids");
    pids.count(1)?;
    vassal.master.says("daemon of this vassal", SOON)?;
    for generation in 2..4 {
        vassal.signal(Signal::SIGHUP);
        vassal.master.says(&format!("generation {generation} serves"), SOON)?;
    }
    ensure!(pids.all().len() == 1, "a reload started it again: {:?}", pids.all());
    let daemon = pids.only_last_lives()?;
    ensure!(procfs::parent(daemon) == Some(vassal.master.pid()), "it is not the master's");
    vassal.stop()?;
    ensure!(!procfs::alive(daemon), "it outlives its vassal");
    Ok(())
}

fn comes_back(ground: &Ground) -> Result<()> {
    ground.write("touched", "")?;
    let more = "attach-daemon2 = cmd=echo $$ >> pids; exec sleep 1000,touch=touched,stopsignal=2";
    let vassal = start(ground, more)?;
    let pids = Pids(ground, "pids");
    let first = pids.count(1)?[0];
    procfs::signal(first, Signal::SIGKILL);
    pids.count(2)?;
    empery_tests::emperor::touch(&ground.path("touched"))?;
    pids.count(3)?;
    pids.only_last_lives()?;
    let output = vassal.master.output();
    ensure!(output.contains("ended (signal 9 (SIGKILL))") && output.contains("ended (signal 2 (SIGINT))"), "{output}");
    ensure!(output.contains("has been touched... reloading daemon"), "{output}");
    vassal.stop()
}

fn changed_line(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    // What a port is to a server: the second one would not start beside the first.
    let one = |word: &str| {
        format!(
            "attach-daemon = mkdir taken || echo doubled; echo $$ >> pids; trap 'rmdir taken; exit' TERM; echo {word}; while sleep 0.05; do :; done"
        )
    };
    let kept = "attach-daemon = echo $$ >> kept; exec sleep 1000\n";
    let mut vassal = Vassal::from_ini(ground, "app.ini", &ini(ground, port, &format!("{kept}{}", one("first")))?)?;
    vassal.answers(port)?;
    let (pids, others) = (Pids(ground, "pids"), Pids(ground, "kept"));
    pids.count(1)?;
    others.count(1)?;
    ground.write("app.ini", &ini(ground, port, &format!("{kept}{}", one("second")))?)?;
    vassal.signal(Signal::SIGHUP);
    pids.count(2)?;
    pids.only_last_lives()?;
    ground.write("app.ini", &ini(ground, port, kept)?)?;
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("generation 3 serves", SOON)?;
    wait::until("the one without a line to end", SOON, || (!ground.path("taken").exists()).then_some(()))?;
    ensure!(pids.all().len() == 2 && others.all().len() == 1, "{:?} {:?}", pids.all(), others.all());
    ensure!(!vassal.master.output().lines().any(|line| line == "doubled"), "{}", vassal.master.output());
    vassal.stop()
}

fn stubborn_and_control(ground: &Ground) -> Result<()> {
    let more = "attach-daemon = trap '' TERM; echo $$ >> pids; while :; do sleep 0.2; done\n\
                attach-control-daemon = echo $$ >> control; exec sleep 1000";
    let mut vassal = start(ground, more)?;
    let stubborn = Pids(ground, "pids").count(1)?[0];
    procfs::signal(Pids(ground, "control").count(1)?[0], Signal::SIGTERM);
    let status = vassal.master.exited(SOON)?;
    ensure!(status.success() && !procfs::alive(stubborn), "{status}, the stubborn one lives on");
    let output = vassal.master.output();
    ensure!(output.contains("a control daemon has ended") && output.contains("did not die in time"), "{output}");
    Ok(())
}

fn own_mercy(ground: &Ground) -> Result<()> {
    let daemon = "trap 'sleep 3; echo daemon >> ended; exit' TERM\necho $$ >> pids\nwhile true; do sleep 0.1; done\n";
    ground.write("slow.sh", daemon)?;
    let app = "import time, uwsgi\n\ndef hook(message):\n    open('begun', 'w').close()\n    time.sleep(3)\n    \
               open('ended', 'a').write('mule\\n')\n\nuwsgi.mule_msg_hook = hook\n\ndef application(env, start_response):\n    \
               uwsgi.mule_msg(b'work')\n    start_response('200 OK', [])\n    return [b'sent']\n";
    ground.write("sends.py", app)?;
    let port = ground.port()?;
    let mercies = "worker-reload-mercy = 1\nreload-mercy = 60\nmule-reload-mercy = 60";
    let text = format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nwsgi-file = sends.py\n{mercies}\nmules = 1\nattach-daemon = exec sh slow.sh\n"
    );
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    Pids(ground, "pids").count(1)?;
    wait::until("the mule to be at work", SOON, || ground.path("begun").exists().then_some(()))?;
    vassal.signal(Signal::SIGTERM);
    vassal.master.exited(std::time::Duration::from_secs(60))?;
    let ended = std::fs::read_to_string(ground.path("ended")).unwrap_or_default();
    let mut ended: Vec<&str> = ended.lines().collect();
    ended.sort_unstable();
    ensure!(ended == ["daemon", "mule"], "{ended:?}:\n{}", vassal.master.output());
    Ok(())
}

fn smart(ground: &Ground) -> Result<()> {
    let more = "smart-attach-daemon2 = two.pid echo $$ >> pids; exec sleep 1000\n\
                smart-attach-daemon = one.pid setsid sh -c 'echo $$ > one.pid; echo $$ >> others; exec sleep 1000' &";
    let named = |name: &str| fs::read_to_string(ground.path(name)).unwrap_or_default().trim().parse::<i32>().ok();
    let (pids, others) = (Pids(ground, "pids"), Pids(ground, "others"));
    let vassal = start(ground, more)?;
    let (second, first) = (pids.count(1)?[0], others.count(1)?[0]);
    ensure!(named("two.pid") == Some(second), "{:?}, not {second}", named("two.pid"));
    let outlives = || -> Result<()> {
        ensure!(procfs::alive(first) && procfs::alive(second), "a smart daemon does not outlive its vassal");
        Ok(())
    };
    // The helper of the harness would want them gone as well.
    let mut master = vassal;
    let status = master.master.terminated(SOON)?;
    ensure!(status.success(), "{status}");
    outlives()?;
    let mut again = start(ground, more)?;
    again.master.says("found valid/active pidfile", SOON)?;
    procfs::signal(second, Signal::SIGKILL);
    let replaced = pids.count(2)?[1];
    wait::until("the pidfile to name the new one", SOON, || (named("two.pid") == Some(replaced)).then_some(()))?;
    ensure!(others.all() == [first], "the other was started twice: {:?}", others.all());
    let status = again.master.terminated(SOON)?;
    ensure!(status.success() && procfs::alive(replaced) && procfs::alive(first), "{status}");
    [first, replaced].into_iter().for_each(|pid| procfs::signal(pid, Signal::SIGKILL));
    Ok(())
}

fn master_dies(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    // Its first process ends when it is told to; the one below it does not, and neither knows where it is.
    let more = format!(
        "attach-daemon = cd {0}; echo $$ >> pids; sh -c 'trap \"\" TERM; echo $$ >> below; while :; do sleep 0.1; done' & wait",
        ground.directory().display()
    );
    emperor.drop_file("shop.ini", &super::ini(port, "ids", &format!("{more}\n")))?;
    emperor.loyal("shop.ini")?;
    let (pids, below) = (Pids(ground, "pids"), Pids(ground, "below"));
    pids.count(1)?;
    below.count(1)?;
    let [master] = emperor.masters()[..] else { bail!("not one master") };
    procfs::signal(master, Signal::SIGKILL);
    pids.count(2)?;
    below.count(2)?;
    pids.only_last_lives()?;
    below.only_last_lives()?;
    let reloaded = emperor.json(Ask::post("/api/v1/vassals/shop.ini/reload?wait=20s"))?;
    ensure!(reloaded["end"]["result"] == "succeeded", "{reloaded:#}");
    let daemon = pids.only_last_lives()?;
    let (last, orphan) = (pids.all().len(), below.only_last_lives()?);
    ensure!(last == 2, "it was started {last} times");
    emperor.stop()?;
    ensure!(!procfs::alive(daemon) && !procfs::alive(orphan), "daemons outlive the emperor");
    Ok(())
}

fn new_image(ground: &Ground) -> Result<()> {
    let bin = ground.lend_binaries()?;
    let port = ground.port()?;
    ground.write("app.ini", &ini(ground, port, &format!("attach-daemon = {SLEEPER}\ncron = 0 0 1 1 -1 true"))?)?;
    let mut command = std::process::Command::new(bin.join("vassal"));
    command.arg("app.ini").current_dir(ground.directory());
    empery_tests::vassal::surroundings(&mut command);
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    vassal.answers(port)?;
    let pids = Pids(ground, "pids");
    pids.count(1)?;
    super::upgrade::install(&bin, "vassal")?;
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("generation 2 serves", SOON)?;
    ensure!(is_replaced(vassal.master.pid(), &bin)?, "the new binary did not take over");
    let daemon = pids.only_last_lives()?;
    ensure!(pids.all().len() == 1, "{:?}", pids.all());
    procfs::signal(daemon, Signal::SIGKILL);
    pids.count(2)?;
    vassal.stop()?;
    ensure!(pids.all().iter().all(|pid| !procfs::alive(*pid)), "a daemon outlives its vassal");
    Ok(())
}

fn is_replaced(pid: i32, bin: &Path) -> Result<bool> {
    Ok(fs::read_link(format!("/proc/{pid}/exe"))? == bin.join("vassal").canonicalize()?)
}

fn unique_command(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let here = ground.directory().display();
    let more = format!(
        "unique-cron = -1 -1 -1 -1 -1 echo $$ >> {here}/unique; sleep 1000 & echo $! >> {here}/behind; exec sleep 1000\n\
         cron = -1 -1 -1 -1 -1 echo $$ >> {here}/runs\n"
    );
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", &more))?;
    emperor.loyal("shop.ini")?;
    let (runs, unique) = (Pids(ground, "runs"), Pids(ground, "unique"));
    let first = unique.count(1)?[0];
    runs.count(1)?;
    // The minute of a new master's start counts: once the command behind this one has run again it has decided about this one.
    let another_master = || {
        let [master] = emperor.masters()[..] else { bail!("not one master") };
        procfs::signal(master, Signal::SIGKILL);
        wait::until("it to be gone", SOON, || (!procfs::alive(master)).then_some(()))?;
        runs.count(runs.all().len() + 1)
    };
    another_master()?;
    ensure!(procfs::alive(first), "the command did not outlive its master");
    ensure!(unique.all() == [first], "it was started beside itself: {:?}", unique.all());
    // What it leaves in the background is no run of it.
    procfs::signal(first, Signal::SIGKILL);
    another_master()?;
    unique.count(2)?;
    let behind = Pids(ground, "behind").count(2)?;
    ensure!(procfs::alive(behind[0]), "what was left in the background is gone");
    procfs::signal(behind[0], Signal::SIGKILL);
    emperor.stop()
}

fn crons(ground: &Ground) -> Result<()> {
    // The minute of the start counts, as in uWSGI: nothing here has to be waited for.
    let asked = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/it's-time?a=1&b", asked.local_addr()?);
    let more = "env = TZ=UTC\nenv = NAME=this vassal\n\
                cron = -1 -1 -1 -1 -1 echo cron of $NAME; pwd > where; echo $$ >> runs\n\
                unique-cron = -1 -1 -1 -1 -1 echo $$ >> unique; exec sleep 1000\n\
                cron2 = minute=-1,harakiri=1 echo $$ >> slow; exec sleep 1000\n\
                cron = -1 -1 -1 13 -1 echo $$ >> never\n";
    let mut vassal = start(ground, &format!("{more}cron-curl = -1 -1 -1 -1 -1 {url}\n"))?;
    let (mut client, _) = asked.accept()?;
    client.set_read_timeout(Some(SOON))?;
    let mut request = [0; 32];
    client.read_exact(&mut request)?;
    ensure!(request.starts_with(b"GET /it's-time?a=1&b HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&request));
    // It waits for its answer, and a list of processes does not show what it has asked for.
    for process in fs::read_dir("/proc")? {
        let shown = fs::read(process?.path().join("cmdline")).unwrap_or_default();
        let shown = String::from_utf8_lossy(&shown);
        ensure!(!shown.contains(&url), "{shown}");
    }
    drop(client);
    vassal.master.says("cron of this vassal", SOON)?;
    vassal.master.says("*** HARAKIRI ON CRON", SOON)?;
    let slow = Pids(ground, "slow").count(1)?[0];
    vassal.master.says(&format!("running with pid {slow} exited after"), SOON)?;
    let unique = Pids(ground, "unique").count(1)?[0];
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("generation 2 serves", SOON)?;
    ensure!(procfs::alive(unique), "a reload ended what runs");
    ensure!(Pids(ground, "runs").all().len() <= 2, "more than once a minute: {:?}", Pids(ground, "runs").all());
    let place = fs::read_to_string(ground.path("where"))?;
    ensure!(Path::new(place.trim()).canonicalize()? == ground.directory().canonicalize()?, "it ran in {place}");
    ensure!(!ground.path("never").exists(), "what has no month ran");
    vassal.stop()?;
    ensure!(!procfs::alive(unique), "a command outlives its vassal");
    Ok(())
}
