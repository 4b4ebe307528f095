//! Fault P2: whatever process reaches one of the failpoints of `crates/failpoint/src/points.tsv` is killed, fails, waits
//! or panics there, under load. Afterwards everything holds again (invariants N1 to N7 and N9): nothing was lost, what
//! runs is what the directory says, each once, and nobody has grown a descriptor. CI tells a part that changes with
//! the day; `EMPERY_LONG=1` tells all, `EMPERY_FAILPOINT=NAME` those whose name contains NAME.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use empery_tests::{
    emperor::{Emperor, SETTLED_WITHIN},
    failpoints::{self, Armory, Failpoint},
    ground::{self, Ground},
    http::{self, Ask},
    load::{Load, Mode, Running},
    procfs,
    runner::Story,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("failpoints/p2-killed-at-any-step-all-holds-again", |ground| tell(ground, "kill", 5)).within_s(3 * 3600),
    Story::new("failpoints/p2-failing-at-any-step-all-holds-again", |ground| tell(ground, "error", 5))
        .within_s(3 * 3600),
    Story::new("failpoints/p2-delayed-at-any-step-all-holds-again", |ground| tell(ground, "delay", 25))
        .within_s(3 * 3600),
    Story::new("failpoints/p2-panicking-at-any-step-all-holds-again", |ground| tell(ground, "panic", 10))
        .within_s(3 * 3600),
];

/// After a delay of 5 s, a killed master's 10 s of silence, a boot deadline: twice what all of them take.
const HOLDS_AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// Descriptors of the brain's four readers of the database: file, journal and its index.
const READERS_DESCRIPTORS: usize = 12;

/// Clients of each load.
const CLIENTS: u64 = 4;

/// All failpoints that can be armed with it, or every `parts`-th in CI.
fn tell(ground: &Ground, action: &str, parts: u64) -> Result<()> {
    let wanted = std::env::var("EMPERY_FAILPOINT").ok();
    let can = |point: &Failpoint| point.actions.iter().any(|known| known == action);
    let named = |point: &Failpoint| wanted.as_ref().is_none_or(|wanted| point.name.contains(wanted.as_str()));
    let mut points: Vec<Failpoint> =
        failpoints::all()?.into_iter().filter(|point| can(point) && named(point)).collect();
    let all = points.len();
    if !ground::long() && wanted.is_none() {
        let day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() / 86_400;
        let mut place = day;
        points.retain(|_| {
            place += 1;
            place.is_multiple_of(parts)
        });
    }
    let mut realm = Realm::open(ground)?;
    for point in &points {
        let done = realm.meets(point, if action == "delay" { "delay 5000" } else { action });
        done.with_context(|| format!("{action} at {}", point.name))?;
    }
    let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
    ground.note(&format!("{} of {all}: {}", points.len(), names.join(" ")));
    realm.close(ground)
}

/// An emperor with a vassal that things happen to, one that is left alone, and one that comes and goes.
struct Realm<'g> {
    emperor: Emperor<'g>,
    armory: Armory,
    loads: Vec<Running>,
    shop: u16,
    extra: u16,
    witness_master: i64,
    version: u32,
    /// Descriptors of keeper, brain, and the masters of witness and shop, when nothing is under way.
    descriptors: Vec<usize>,
    /// Requests that a worker may have taken with it.
    excused: u64,
}

impl<'g> Realm<'g> {
    fn open(ground: &'g Ground) -> Result<Realm<'g>> {
        let armory = Armory::open(ground)?;
        let (shop, witness, extra) = (ground.port()?, ground.port()?, ground.port()?);
        let mut emperor = Emperor::prepare(ground)?.with_failpoints(&armory)?;
        emperor.up()?;
        emperor.drop_file("witness.ini", &super::ini(witness, "hello", ""))?;
        let witness_master = emperor.loyal("witness.ini")?["master_pid"].as_i64().context("no master")?;
        let mut realm = Realm {
            emperor,
            armory,
            loads: Vec::new(),
            shop,
            extra,
            witness_master,
            version: 0,
            descriptors: Vec::new(),
            excused: 0,
        };
        realm.edit()?;
        realm.emperor.loyal("shop.ini")?;
        // What is opened once is open after the first reload.
        realm.emperor.says("reload", &["shop.ini"])?.success()?;
        realm.loads = vec![Load::on(shop, Mode::KeepAlive).start(), Load::on(witness, Mode::Close).start()];
        realm.go_on()?;
        realm.each_once()?;
        realm.descriptors = realm.counted()?;
        Ok(realm)
    }

    fn meets(&mut self, point: &Failpoint, action: &str) -> Result<()> {
        if point.way == "remove" || point.way == "freeze-master" {
            self.drop_extra()?;
            self.emperor.loyal("extra.ini")?;
        }
        self.armory.arm(&point.name, action)?;
        self.go(&point.way)?;
        self.armory.met(&point.name)?;
        // A worker takes its requests with it; a master, after a panic's unwinding, idle connections on their way through it.
        if point.name.starts_with("worker.") && !action.starts_with("delay")
            || point.name.starts_with("master.") && action == "panic"
        {
            self.excused += CLIENTS;
        }
        self.holds_again()?;
        if point.name.starts_with("brain.") || point.name.starts_with("store.") || point.way == "kill-brain" {
            // A keeper starts a brain that keeps dying later and later; a new keeper does not know of the last.
            self.emperor.kill_keeper()?;
            self.emperor.up()?;
            self.settles("shop.ini", || Ok(true))?;
        }
        Ok(())
    }

    /// Does what leads to a failpoint. What becomes of it is not looked at: somebody may die on the way.
    fn go(&mut self, way: &str) -> Result<()> {
        match way {
            "reload" => drop(self.emperor.ask(Ask::post("/api/v1/vassals/shop.ini/reload"))?),
            "edit" => self.edit()?,
            "drop" => self.drop_extra()?,
            "remove" => self.emperor.remove_file("extra.ini")?,
            "kill-brain" => procfs::signal(self.emperor.brain_pid()?, Signal::SIGKILL),
            "kill-keeper" => {
                self.emperor.kill_keeper()?;
                // It may meet the failpoint before it is up.
                drop(self.emperor.up());
            }
            "freeze-master" => {
                let master = self.emperor.vassal("extra.ini")?["master_pid"].as_i64().context("no master")?;
                procfs::signal(i32::try_from(master)?, Signal::SIGSTOP);
                drop(self.emperor.ask(Ask::post("/api/v1/vassals/extra.ini/reload"))?);
            }
            other => bail!("no way is called {other:?}"),
        }
        Ok(())
    }

    fn edit(&mut self) -> Result<()> {
        self.version += 1;
        let more = format!("env = VERSION={}\nprocesses = 2\nboot-deadline = 10\n", self.version);
        self.emperor.drop_file("shop.ini", &super::ini(self.shop, "ids", &more))
    }

    fn drop_extra(&self) -> Result<()> {
        self.emperor.drop_file("extra.ini", &super::ini(self.extra, "hello", "boot-deadline = 10\n"))
    }

    /// An emperor that has died is started again, as systemd would do it.
    fn tend(&mut self) -> Result<()> {
        if self.emperor.is_up() { Ok(()) } else { self.emperor.up() }
    }

    /// Whatever died is replaced, what failed is tried again, and then all is as it was.
    fn holds_again(&mut self) -> Result<()> {
        let (shop, extra, version) = (self.shop, self.extra, self.version.to_string());
        self.settles("shop.ini", || Ok(super::version_of(&http::get(shop, "/")?) == version))?;
        self.settles("witness.ini", || Ok(true))?;
        if self.emperor.vassals.join("extra.ini").exists() {
            self.settles("extra.ini", || Ok(http::get(extra, "/")?.status == 200))?;
            self.emperor.remove_file("extra.ini")?;
        }
        wait::until_ok("the removed vassal to be gone", HOLDS_AGAIN_WITHIN, || {
            self.tend()?;
            let row = self.emperor.ask(Ask::get("/api/v1/vassals/extra.ini"))?;
            ensure!(row.status == 404 && http::get(extra, "/").is_err(), "{}", row.text());
            Ok(())
        })?;
        let witness = self.emperor.vassal("witness.ini")?;
        ensure!(witness["master_pid"].as_i64() == Some(self.witness_master), "the other vassal's master: {witness:#}");
        ensure!(witness["generation"] == 1, "the other vassal was reloaded: {witness:#}");
        self.each_once()?;
        self.go_on()?;
        wait::until_ok("descriptors to be no more than before", SETTLED_WITHIN, || {
            let now = self.counted()?;
            // Fewer are possible: a new keeper does not hold the log pipes of masters that it found. The brain opens its
            // readers of the database when they are needed.
            let spare = [0, READERS_DESCRIPTORS, 0, 0];
            let grown =
                now.iter().zip(&self.descriptors).zip(spare).any(|((now, before), spare)| *now > before + spare);
            ensure!(!grown, "keeper, brain, witness, shop: {now:?} instead of {:?}", self.descriptors);
            Ok(())
        })
    }

    /// Waits until a vassal is loyal on what its file says. A failed deployment is tried again by touching the file.
    fn settles(&mut self, name: &str, answers: impl Fn() -> Result<bool>) -> Result<()> {
        let mut tried: Option<Value> = None;
        wait::until_ok(&format!("{name} to be loyal on what its file says"), HOLDS_AGAIN_WITHIN, || {
            self.tend()?;
            let vassal = self.emperor.vassal(name)?;
            let current = vassal["serving_revision"] == vassal["file_revision"];
            let failed = vassal["last_deployment"]["end"]["result"] == "failed" || super::has_errors(&vassal);
            let attempt = Value::from(vec![vassal["last_deployment"]["id"].clone(), vassal["file_revision"].clone()]);
            if failed && tried.as_ref() != Some(&attempt) {
                tried = Some(attempt);
                self.emperor.touch(name)?;
            }
            let quiet = vassal["state"] == "loyal" && current && !failed;
            ensure!(quiet && answers()?, "{vassal:#}");
            Ok(())
        })
    }

    /// Keeper, brain, two masters, two zygotes and three workers; no zombie and nothing of an earlier life.
    fn each_once(&self) -> Result<()> {
        let me = i32::try_from(std::process::id())?;
        wait::until_ok("one process of each kind", HOLDS_AGAIN_WITHIN, || {
            empery_tests::leftovers::reap_orphans();
            let shown: Vec<String> = procfs::descendants(me)
                .into_iter()
                .map(|pid| format!("{pid} {:?} {}", procfs::state(pid), procfs::command_line(pid)))
                .collect();
            ensure!(shown.len() == 9 && shown.iter().all(|line| !line.contains("'Z'")), "{shown:#?}");
            Ok(())
        })
    }

    fn counted(&self) -> Result<Vec<usize>> {
        let master = |name: &str| -> Result<i32> {
            Ok(i32::try_from(self.emperor.vassal(name)?["master_pid"].as_i64().context("no master")?)?)
        };
        let pids = [self.emperor.keeper_pid()?, self.emperor.brain_pid()?, master("witness.ini")?, master("shop.ini")?];
        pids.iter().map(|pid| procfs::descriptors(*pid).context("gone")).collect()
    }

    fn go_on(&self) -> Result<()> {
        self.loads.iter().try_for_each(|load| load.goes_on(20))
    }

    fn close(self, ground: &Ground) -> Result<()> {
        for load in self.loads {
            let ledger = load.stop();
            ground.note(&format!("{ledger}; {} excused", self.excused));
            ensure!(ledger.refused() == 0, "connections were refused: {ledger}");
            ensure!(ledger.failures.len() as u64 <= self.excused, "{ledger}");
        }
        self.emperor.stop()
    }
}
