//! The whole machine from one build to the next (fault P17): keeper, brain, every vassal's master and extension, each
//! beside the old, under load, with nothing lost; and a vassal that cannot follow serves on.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http::Ask,
    load::{Load, Mode},
    procfs,
    runner::Story,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("upgrade/p17-the-machine-is-upgraded-under-load-and-loses-nothing", upgraded).within_s(180),
    Story::new("upgrade/p17-a-vassal-that-cannot-follow-serves-on-and-is-named", one_fails).within_s(180),
    Story::new("upgrade/p17-an-emperor-that-does-not-run-is-refused", broken),
];

const VASSALS: usize = 3;

/// Puts another build of a binary in place, as a package does: written aside, then renamed. What is behind the end of an
/// ELF file changes nothing but which file it is.
pub(crate) fn install(directory: &Path, name: &str) -> Result<()> {
    let (place, aside) = (directory.join(name), directory.join("aside"));
    fs::copy(empery_tests::ground::binary(name)?, &aside)?;
    fs::File::options().append(true).open(&aside)?.write_all(b"another build")?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o755))?;
    fs::rename(&aside, place)?;
    Ok(())
}

fn install_all(directory: &Path) -> Result<()> {
    ["emperor", "vassal", "vassal-gateway", "libempery_worker.so"].iter().try_for_each(|name| install(directory, name))
}

fn name(number: usize) -> String {
    format!("v{number}.ini")
}

struct Realm<'g> {
    emperor: Emperor<'g>,
    bin: PathBuf,
    ports: Vec<u16>,
}

impl<'g> Realm<'g> {
    fn open(ground: &'g Ground, more: &str) -> Result<Realm<'g>> {
        let bin = ground.lend_binaries()?;
        let mut emperor = Emperor::prepare(ground)?.with(&["--parallel-boots", "1"]).from_binaries(&bin);
        emperor.up()?;
        let ports = (0..VASSALS).map(|_| ground.port()).collect::<Result<Vec<_>>>()?;
        for (number, port) in ports.iter().enumerate() {
            emperor.drop_file(&name(number), &super::ini(*port, "ids", &format!("processes = 2\n{more}")))?;
        }
        for number in 0..VASSALS {
            emperor.loyal(&name(number))?;
        }
        Ok(Realm { emperor, bin, ports })
    }

    /// The files that a process runs which a package has replaced since.
    fn replaced(&self, pid: i32) -> Vec<String> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let bin = self.bin.display().to_string();
        maps.lines().filter(|line| line.contains(&bin) && line.ends_with("(deleted)")).map(str::to_owned).collect()
    }
}

fn upgraded(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, "")?;
    let (keeper, brain) = (realm.emperor.keeper_pid()?, realm.emperor.brain_pid()?);
    let masters = realm.emperor.masters();
    let loads: Vec<_> = realm
        .ports
        .iter()
        .map(|port| Load { clients: 2, think: Duration::from_millis(5), ..Load::on(*port, Mode::KeepAlive) }.start())
        .collect();
    install_all(&realm.bin)?;
    let said = realm.emperor.says("upgrade", &["--wait", "2m"])?;
    ensure!(said.code == 0, "exit code {}: {}{}\n{}", said.code, said.stdout, said.stderr, realm.emperor.output());
    ensure!(said.stdout.contains("3 of 3 vassals upgraded"), "{}", said.stdout);
    for load in &loads {
        load.goes_on(20)?;
    }
    ensure!(procfs::alive(keeper) && realm.emperor.brain_pid()? != brain, "the keeper stays, the brain is another");
    ensure!(realm.emperor.masters() == masters, "masters are replaced in place");
    let upgrade = realm.emperor.json(Ask::get("/api/v1/upgrade"))?;
    ensure!(upgrade["phase"] == "done" && upgrade["vassals"].as_array().is_some_and(|all| all.len() == VASSALS));
    for (number, master) in masters.iter().enumerate() {
        let vassal = realm.emperor.vassal_until(&name(number), "to run nothing old", |vassal| {
            vassal["outdated"] == false && vassal["workers"].as_array().is_some_and(|workers| workers.len() == 2)
        })?;
        let workers = vassal["workers"].as_array().context("no workers")?;
        let workers = workers.iter().filter_map(|worker| i32::try_from(worker["pid"].as_i64()?).ok());
        for pid in workers.chain([*master, keeper, realm.emperor.brain_pid()?]) {
            let old = realm.replaced(pid);
            ensure!(old.is_empty(), "pid {pid} ({}) runs what was replaced: {old:#?}", procfs::command_line(pid));
        }
    }
    for load in loads {
        let ledger = load.stop();
        ground.note(&ledger.to_string());
        ledger.flawless()?;
    }
    ensure!(realm.emperor.says("upgrade", &[])?.success()?.contains("every vassal runs what is installed"));
    realm.emperor.stop()
}

fn one_fails(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, &format!("env = GATE={}\n", ground.path("broken").display()))?;
    // The next import of this one fails: what its file says has changed nothing.
    let app = ground.write(
        "apps/fragile.py",
        "import ids, os\nassert not os.path.exists(os.environ['GATE'])\napplication = ids.application\n",
    )?;
    let port = ground.port()?;
    let apps = app.parent().context("no directory")?.display().to_string();
    let more = format!("pythonpath = {apps}\nenv = GATE={}\n", ground.path("broken").display());
    realm.emperor.drop_file("fragile.ini", &super::ini(port, "fragile", &more))?;
    realm.emperor.loyal("fragile.ini")?;
    let load = Load::on(port, Mode::KeepAlive).start();
    load.goes_on(20)?;
    ground.write("broken", "")?;
    install(&realm.bin, "vassal")?;
    let said = realm.emperor.says("upgrade", &["--wait", "2m"])?;
    ensure!(said.code == 3, "exit code {}: {}{}", said.code, said.stdout, said.stderr);
    ensure!(
        said.stdout.contains("fragile.ini: failed") && said.stdout.contains("3 of 4 vassals upgraded"),
        "{}",
        said.stdout
    );
    load.goes_on(20)?;
    load.stop().flawless()?;
    wait::until("another upgrade to bring it as well", Duration::from_secs(60), || {
        fs::remove_file(ground.path("broken")).ok();
        let again = realm.emperor.says("upgrade", &["--wait", "1m"]).ok()?;
        (again.code == 0).then_some(())
    })?;
    realm.emperor.stop()
}

fn broken(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, "")?;
    let brain = realm.emperor.brain_pid()?;
    let aside = realm.bin.join("aside");
    fs::write(&aside, "#!/bin/sh\nexit 1\n")?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o755))?;
    fs::rename(aside, realm.bin.join("emperor"))?;
    let answer = realm.emperor.ask(Ask::post("/api/v1/upgrade"))?;
    ensure!(answer.status == 409 && answer.text().contains("does not run"), "{}", answer.text());
    ensure!(realm.emperor.brain_pid()? == brain, "the emperor was replaced by what does not run");
    fs::copy(empery_tests::ground::binary("emperor")?, realm.bin.join("aside"))?;
    fs::rename(realm.bin.join("aside"), realm.bin.join("emperor"))?;
    realm.emperor.stop()
}
