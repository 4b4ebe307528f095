//! SIGKILL of every kind of process, under load: only what a killed worker held may fail, nothing is refused, and
//! within two seconds everything is supervised again. No process runs twice.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http::{self, Ask, Failure},
    load::{Ledger, Load, Mode, Running},
    procfs,
    runner::Story,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("kill/p5-a-worker", worker).alone(),
    Story::new("kill/p4-the-zygote", zygote).alone(),
    Story::new("kill/p3-the-master", master).alone(),
    Story::new("kill/p1-the-brain", brain).alone(),
    Story::new("kill/p1-b38-the-keeper", keeper).alone(),
    Story::new("kill/p1-b38-brain-and-keeper", brain_and_keeper).alone(),
    Story::new("kill/p1-p3-b38-keeper-and-master", keeper_and_master).alone(),
    Story::new("kill/p1-p3-the-log-pipe-outlives-keeper-and-then-master", log_pipe),
    Story::new("kill/p17-the-emperor-can-be-restarted-in-place", restart_in_place).alone(),
    Story::new("kill/p1-a-restarted-emperor-has-adopted-a-large-fleet-within-two-seconds", large).alone().within_s(300),
    Story::new("kill/stop-after-adoption-leaves-nothing", stop_after_adoption),
    Story::new(
        "kill/p1-a-worker-that-dies-while-there-is-no-emperor-is-an-incident-of-the-next",
        death_without_emperor,
    ),
    Story::new("kill/p1-a-stop-that-is-said-twice-does-not-wait-for-a-brain-that-hangs", hung_brain).within_s(60),
];

/// A killed master must be replaced within this.
const REPLACED_WITHIN: Duration = Duration::from_secs(1);

/// Everything must be supervised again within this, counted from the death (of a keeper: from its being started again).
const SUPERVISED_WITHIN: Duration = Duration::from_secs(2);

struct Realm<'g> {
    emperor: Emperor<'g>,
    load: Running,
}

impl<'g> Realm<'g> {
    fn open(ground: &'g Ground, mode: Mode) -> Result<Realm<'g>> {
        let port = ground.port()?;
        let emperor = Emperor::start(ground)?;
        emperor.drop_file("shop.ini", &super::ini(port, "ids", "processes = 2\n"))?;
        emperor.loyal("shop.ini")?;
        let load = Load::on(port, mode).start();
        load.goes_on(50)?;
        Ok(Realm { emperor, load })
    }

    fn master(&self) -> Result<i32> {
        let [master] = self.emperor.masters()[..] else { bail!("not one master") };
        Ok(master)
    }

    fn workers(&self) -> Result<Vec<i32>> {
        let vassal = self.emperor.vassal("shop.ini")?;
        let workers = vassal["workers"].as_array().context("no workers")?;
        Ok(workers.iter().filter_map(|worker| i32::try_from(worker["pid"].as_i64()?).ok()).collect())
    }

    /// Waits until exactly one master, one zygote and two fresh workers serve, then checks that a reload works.
    fn supervised_again(&self, since: Instant, whole: impl Fn(&Value) -> bool) -> Result<()> {
        self.supervised_again_within(SUPERVISED_WITHIN, since, whole)
    }

    fn supervised_again_within(&self, within: Duration, since: Instant, whole: impl Fn(&Value) -> bool) -> Result<()> {
        self.emperor.vassal_until("shop.ini", "to be supervised again", |vassal| {
            let serving = vassal["workers"]
                .as_array()
                .is_some_and(|workers| workers.len() == 2 && workers.iter().all(|worker| worker["phase"] == "serving"));
            vassal["state"] == "loyal" && serving && whole(vassal)
        })?;
        let took = since.elapsed();
        ensure!(took <= within, "supervised again only after {took:?}");
        nothing_twice(&self.emperor)?;
        let reloaded = self.emperor.json(Ask::post("/api/v1/vassals/shop.ini/reload?wait=20s"))?;
        ensure!(reloaded["end"]["result"] == "succeeded", "{reloaded:#}");
        Ok(())
    }

    /// Stops the load and the emperor, and answers with the account.
    fn close(self, ground: &Ground) -> Result<Ledger> {
        self.load.goes_on(50)?;
        let ledger = self.load.stop();
        ground.note(&ledger.to_string());
        ensure!(ledger.refused() == 0, "connections were refused: {ledger}");
        self.emperor.stop()?;
        Ok(ledger)
    }
}

/// One master per vassal, one zygote and the workers it shows; nothing of an earlier life beside them.
fn nothing_twice(emperor: &Emperor<'_>) -> Result<()> {
    let wanted = 1 + 1 + 2;
    let me = i32::try_from(std::process::id())?;
    let counted = wait::until_ok("one process of each kind", Duration::from_secs(5), || {
        let family: Vec<i32> = procfs::descendants(me)
            .into_iter()
            .filter(|pid| procfs::alive(*pid))
            .filter(|pid| {
                let line = procfs::command_line(*pid);
                !line.contains("emperor")
            })
            .collect();
        let shown: Vec<String> = family.iter().map(|pid| format!("{pid} {}", procfs::command_line(*pid))).collect();
        ensure!(family.len() == wanted, "{} processes instead of {wanted}: {shown:#?}", family.len());
        Ok(())
    });
    counted.map_err(|error| error.context(emperor.output()))
}

fn worker(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, Mode::KeepAlive)?;
    let victim = *realm.workers()?.first().context("no worker")?;
    let since = Instant::now();
    procfs::signal(victim, Signal::SIGKILL);
    realm.supervised_again(since, |vassal| !vassal["workers"].to_string().contains(&format!("\"pid\":{victim},")))?;
    let ledger = realm.close(ground)?;
    // Four clients: at most each of them was inside the killed worker, or on one of its connections.
    ensure!(ledger.failures.len() <= 4, "{ledger}");
    Ok(())
}

fn zygote(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, Mode::KeepAlive)?;
    let workers = realm.workers()?;
    let victim =
        procfs::children(realm.master()?).into_iter().find(|pid| !workers.contains(pid)).context("no zygote")?;
    let since = Instant::now();
    procfs::signal(victim, Signal::SIGKILL);
    realm.supervised_again(since, |_| !procfs::alive(victim))?;
    let told = realm.emperor.json(Ask::get("/api/v1/vassals/shop.ini/incidents"))?;
    let end = format!("(pid: {victim}) has ended: signal 9 (SIGKILL)");
    let tells = |incident: &Value| {
        incident["code"] == "zygote-ended" && incident["text"].as_str().is_some_and(|text| text.contains(&end))
    };
    ensure!(told["incidents"].as_array().is_some_and(|all| all.iter().any(tells)), "{told:#}");
    realm.close(ground)?.flawless()
}

fn master(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, Mode::KeepAlive)?;
    let victim = realm.master()?;
    let since = Instant::now();
    procfs::signal(victim, Signal::SIGKILL);
    let replaced =
        || realm.emperor.vassal("shop.ini").ok()?["master_pid"].as_i64().filter(|pid| *pid != i64::from(victim));
    wait::until("another master", REPLACED_WITHIN, replaced)?;
    ground.note(&format!("another master after {}", super::milliseconds(since.elapsed())));
    realm
        .supervised_again(since, |vassal| vassal["master_pid"].as_i64().is_some_and(|pid| pid != i64::from(victim)))?;
    realm.close(ground)?.flawless()
}

fn brain(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, Mode::KeepAlive)?;
    let (victim, master) = (realm.emperor.brain_pid()?, realm.master()?);
    let loyal_since = realm.emperor.vassal("shop.ini")?["loyal_since_unix_ms"].as_u64().context("loyal since when?")?;
    // Long enough to tell since when the vassal serves from when the next brain came.
    let elapsed_ms = || Some(u64::try_from(UNIX_EPOCH.elapsed().ok()?.as_millis()).ok()?.saturating_sub(loyal_since));
    wait::until("it to have served for two seconds", Duration::from_secs(10), || {
        (elapsed_ms()? > 2_000).then_some(())
    })?;
    let since = Instant::now();
    procfs::signal(victim, Signal::SIGKILL);
    wait::until("another brain", SUPERVISED_WITHIN, || realm.emperor.brain_pid().ok().filter(|pid| *pid != victim))?;
    realm.supervised_again(since, |vassal| vassal["master_pid"].as_i64() == Some(i64::from(master)))?;
    // The brain heard of it moments after the master knew.
    let still_since = realm.emperor.vassal("shop.ini")?["loyal_since_unix_ms"].as_u64().context("loyal since when?")?;
    ensure!(loyal_since.abs_diff(still_since) < 1_000, "loyal since {loyal_since}, and then since {still_since}");
    realm.close(ground)?.flawless()
}

fn keeper(ground: &Ground) -> Result<()> {
    let mut realm = Realm::open(ground, Mode::KeepAlive)?;
    let master = realm.master()?;
    realm.emperor.kill_keeper()?;
    realm.load.goes_on(200)?;
    let since = Instant::now();
    realm.emperor.up()?;
    realm.supervised_again(since, |vassal| vassal["master_pid"].as_i64() == Some(i64::from(master)))?;
    realm.close(ground)?.flawless()
}

fn brain_and_keeper(ground: &Ground) -> Result<()> {
    let mut realm = Realm::open(ground, Mode::Close)?;
    let (brain, master) = (realm.emperor.brain_pid()?, realm.master()?);
    procfs::signal(brain, Signal::SIGSTOP);
    realm.emperor.kill_keeper()?;
    procfs::signal(brain, Signal::SIGKILL);
    realm.load.goes_on(200)?;
    let since = Instant::now();
    realm.emperor.up()?;
    realm.supervised_again(since, |vassal| vassal["master_pid"].as_i64() == Some(i64::from(master)))?;
    realm.close(ground)?.flawless()
}

/// Nobody but the workers has the sockets then: the next master gets them there.
fn keeper_and_master(ground: &Ground) -> Result<()> {
    let mut realm = Realm::open(ground, Mode::KeepAlive)?;
    let victim = realm.master()?;
    realm.emperor.kill_keeper()?;
    procfs::signal(victim, Signal::SIGKILL);
    wait::until("the master to be gone", Duration::from_secs(10), || (!procfs::alive(victim)).then_some(()))?;
    realm.load.goes_on(200)?;
    let since = Instant::now();
    realm.emperor.up()?;
    let another = |vassal: &Value, victim| vassal["master_pid"].as_i64().is_some_and(|pid| pid != i64::from(victim));
    // Workers call once a second.
    let within = SUPERVISED_WITHIN + Duration::from_secs(2);
    realm.supervised_again_within(within, since, |vassal| another(vassal, victim))?;
    // The keeper has them again, too: this time a death of the master alone must not matter.
    let victim = realm.master()?;
    procfs::signal(victim, Signal::SIGKILL);
    let since = Instant::now();
    realm.supervised_again(since, |vassal| another(vassal, victim))?;
    realm.close(ground)?.flawless()
}

/// The next keeper has learned of it from the master that dies then.
fn log_pipe(ground: &Ground) -> Result<()> {
    let mut emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(ground.port()?, "hello", ""))?;
    let pipe = |vassal: &Value| -> Result<PathBuf> {
        let pid = vassal["workers"][0]["pid"].as_i64().context("no worker")?;
        Ok(fs::read_link(format!("/proc/{pid}/fd/1"))?)
    };
    let first = emperor.loyal("shop.ini")?;
    let (before, victim) = (pipe(&first)?, first["master_pid"].as_i64().context("no master")?);
    emperor.kill_keeper()?;
    emperor.up()?;
    emperor.loyal("shop.ini")?;
    procfs::signal(i32::try_from(victim)?, Signal::SIGKILL);
    let next = emperor.vassal_until("shop.ini", "to have another master and its worker", |vassal| {
        let workers = vassal["workers"].as_array().is_some_and(|workers| workers.len() == 1);
        vassal["master_pid"].as_i64().is_some_and(|pid| pid != victim)
            && workers
            && vassal["workers"][0]["phase"] == "serving"
    })?;
    let after = pipe(&next)?;
    ensure!(before == after && before.to_string_lossy().starts_with("pipe:"), "{before:?} and then {after:?}");
    emperor.stop()
}

fn restart_in_place(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, Mode::KeepAlive)?;
    let (keeper, brain, master) = (realm.emperor.keeper_pid()?, realm.emperor.brain_pid()?, realm.master()?);
    let since = Instant::now();
    realm.emperor.says("restart", &[])?.success()?;
    wait::until("another brain", Duration::from_secs(5), || {
        realm.emperor.brain_pid().ok().filter(|pid| *pid != brain)
    })?;
    ensure!(procfs::alive(keeper), "the keeper changed its pid");
    realm.supervised_again(since, |vassal| vassal["master_pid"].as_i64() == Some(i64::from(master)))?;
    realm.close(ground)?.flawless()
}

/// From the start of the new emperor until it knows of every vassal that it is loyal, under the master it had.
fn large(ground: &Ground) -> Result<()> {
    const WITHIN: Duration = Duration::from_secs(2);
    let number = if ground::long() { 200 } else { 50 };
    let mut emperor = Emperor::start(ground)?;
    for n in 0..number {
        emperor.drop_file(&format!("v{n:03}.ini"), &super::ini(ground.port()?, "hello", ""))?;
    }
    let loyal = |emperor: &Emperor<'_>| -> Result<usize> {
        let fleet = emperor.fleet()?;
        let vassals = fleet["vassals"].as_array().context("no vassals")?;
        Ok(vassals.iter().filter(|vassal| vassal["state"] == "loyal").count())
    };
    wait::until_ok("all to be loyal", Duration::from_secs(200), || {
        let so = loyal(&emperor)?;
        ensure!(so == number, "{so} of {number}");
        Ok(())
    })?;
    let mut masters = emperor.masters();
    let brain = emperor.brain_pid()?;
    emperor.kill_keeper()?;
    wait::until("the brain to be gone with its keeper", Duration::from_secs(10), || {
        (!procfs::alive(brain)).then_some(())
    })?;
    let since = Instant::now();
    emperor.up()?;
    wait::until_ok("all to be loyal again", Duration::from_secs(20), || {
        let so = loyal(&emperor)?;
        ensure!(so == number, "{so} of {number}");
        Ok(())
    })?;
    let took = since.elapsed();
    let mut adopted = emperor.masters();
    masters.sort_unstable();
    adopted.sort_unstable();
    ensure!(masters == adopted, "masters were replaced instead of adopted");
    ground.note(&format!("{number} vassals adopted {} after the start", super::milliseconds(took)));
    ensure!(took <= WITHIN, "{took:?}");
    emperor.stop()
}

fn stop_after_adoption(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "processes = 2\n"))?;
    emperor.loyal("shop.ini")?;
    emperor.kill_keeper()?;
    ensure!(http::get(port, "/")?.status == 200);
    emperor.up()?;
    emperor.loyal("shop.ini")?;
    emperor.remove_file("shop.ini")?;
    wait::until("the removed vassal to be refused", Duration::from_secs(10), || {
        matches!(http::get(port, "/"), Err(Failure::Refused(_))).then_some(())
    })?;
    emperor.stop()
}

/// Nobody is there to be told of it: the next one is.
fn death_without_emperor(ground: &Ground) -> Result<()> {
    let mut realm = Realm::open(ground, Mode::KeepAlive)?;
    let victim = *realm.workers()?.first().context("no worker")?;
    realm.emperor.kill_keeper()?;
    procfs::signal(victim, Signal::SIGKILL);
    wait::until("the worker to be gone", Duration::from_secs(10), || (!procfs::alive(victim)).then_some(()))?;
    realm.load.goes_on(200)?;
    realm.emperor.up()?;
    let told = wait::until_ok("the incident", Duration::from_secs(20), || {
        let incidents = realm.emperor.ask(Ask::get("/api/v1/vassals/shop.ini/incidents"))?.text();
        ensure!(incidents.matches("\"worker-died\"").count() == 1 && incidents.contains("signal 9"), "{incidents}");
        Ok(())
    });
    told.map_err(|error| error.context(realm.emperor.output()))?;
    realm.close(ground).map(drop)
}

fn hung_brain(ground: &Ground) -> Result<()> {
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(ground.port()?, "hello", ""))?;
    emperor.loyal("shop.ini")?;
    procfs::signal(emperor.brain_pid()?, Signal::SIGSTOP);
    emperor.signal(Signal::SIGTERM)?;
    wait::until("the first word", Duration::from_secs(10), || emperor.output().contains("told to stop").then_some(()))?;
    emperor.stop()
}
