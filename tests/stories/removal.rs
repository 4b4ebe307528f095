//! Many files gone at once (an unmounted directory, an `rm` in the wrong place): nobody is stopped for it until the files
//! are back or somebody says that it was meant (fault C15).

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::{Emperor, SETTLED_WITHIN},
    ground::Ground,
    http, isolation,
    runner::Story,
    wait,
};
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("removal/c15-an-emptied-directory-stops-nobody-until-it-is-confirmed", confirmed).within_s(120),
    Story::new("removal/c15-files-that-come-back-end-the-doubt", back).within_s(120),
    Story::new("removal/c15-a-doubt-outlives-the-emperor-however-few-are-still-missing", doubt_outlives).within_s(120),
    Story::new("removal/c15-a-directory-whose-mount-goes-away-stops-nobody", unmounted).within_s(120),
    Story::new("removal/c15-a-directory-that-is-empty-at-the-start-stops-nobody-who-runs", adopted).within_s(120),
];

const VASSALS: usize = 12;

/// How long a thing that must not happen is waited for: several looks at the directory.
const QUIET: Duration = Duration::from_secs(2);

struct Realm<'g> {
    emperor: Emperor<'g>,
    ports: Vec<u16>,
    /// Where files are taken.
    aside: PathBuf,
}

impl<'g> Realm<'g> {
    fn open(ground: &'g Ground) -> Result<Realm<'g>> {
        Self::open_by(ground, Emperor::drop_file)
    }

    fn open_by(ground: &'g Ground, drop: impl Fn(&Emperor<'g>, &str, &str) -> Result<()>) -> Result<Realm<'g>> {
        let emperor = Emperor::start(ground)?;
        let ports = (0..VASSALS).map(|_| ground.port()).collect::<Result<Vec<_>>>()?;
        for (number, port) in ports.iter().enumerate() {
            drop(&emperor, &name(number), &super::ini(*port, "ids", ""))?;
        }
        let aside = ground.path("aside");
        fs::create_dir_all(&aside)?;
        let realm = Realm { emperor, ports, aside };
        realm.all_are("loyal")?;
        Ok(realm)
    }

    fn all_are(&self, state: &str) -> Result<()> {
        let settled = wait::until_ok(&format!("all to be {state}"), SETTLED_WITHIN * 2, || {
            let fleet = self.emperor.fleet()?;
            let vassals = fleet["vassals"].as_array().context("no vassals")?;
            let so = vassals.iter().filter(|vassal| vassal["state"] == state).count();
            ensure!(so == VASSALS && vassals.len() == VASSALS, "{so} of {}", vassals.len());
            Ok(())
        });
        settled.map_err(|error| error.context(self.emperor.output()))
    }

    fn moved(&self, from: &Path, to: &Path, numbers: std::ops::Range<usize>) -> Result<()> {
        for number in numbers {
            fs::rename(from.join(name(number)), to.join(name(number)))?;
        }
        Ok(())
    }

    fn doubted(&self) -> Result<Value> {
        wait::until_ok("the removal to be doubted", SETTLED_WITHIN, || {
            let fleet = self.emperor.fleet()?;
            ensure!(fleet["removals_doubted"].as_array().is_some_and(|names| names.len() == VASSALS), "{fleet:#}");
            Ok(fleet)
        })
    }

    /// Imports of all apps: another one is another generation.
    fn boots(&self) -> Result<Vec<String>> {
        self.ports.iter().map(|port| Ok(super::boot_of(&http::get(*port, "/")?))).collect()
    }
}

fn name(number: usize) -> String {
    format!("v{number:02}.ini")
}

fn confirmed(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground)?;
    let (masters, boots) = (realm.emperor.masters(), realm.boots()?);
    let early = realm.emperor.says("confirm-removal", &[])?;
    ensure!(early.code == 10, "nothing is to be confirmed: exit code {}, {}", early.code, early.stderr);
    realm.moved(&realm.emperor.vassals, &realm.aside, 0..VASSALS)?;
    let fleet = realm.doubted()?;
    let alarm = fleet["alarms"].to_string();
    ensure!(alarm.contains("12 of 12 vassals") && alarm.contains("emperor confirm-removal"), "{alarm}");
    ensure!(fleet["vassals"][0]["summary"].to_string().contains("Its file is gone"), "{fleet:#}");
    wait::throughout("every vassal serving", QUIET, || realm.boots().is_ok_and(|now| now == boots))?;
    ensure!(realm.emperor.masters() == masters);
    // A vassal whose file is missing and whose master dies is brought back.
    let victim = *masters.first().context("no master")?;
    empery_tests::procfs::signal(victim, nix::sys::signal::Signal::SIGKILL);
    realm.emperor.vassal_until("v00.ini", "to have another master", |vassal| {
        vassal["state"] == "loyal" && vassal["master_pid"].as_i64().is_some_and(|pid| pid != i64::from(victim))
    })?;
    let said = realm.emperor.says("confirm-removal", &[])?.success()?;
    ensure!(said.contains("12 vassals are being stopped"), "{said}");
    wait::until_ok("the fleet to be empty", SETTLED_WITHIN, || {
        let fleet = realm.emperor.fleet()?;
        ensure!(fleet["vassals"].as_array().is_some_and(Vec::is_empty), "{fleet:#}");
        ensure!(fleet["alarms"].as_array().is_some_and(Vec::is_empty), "{fleet:#}");
        Ok(())
    })?;
    ensure!(realm.ports.iter().all(|port| http::get(*port, "/").is_err()));
    realm.emperor.stop()
}

fn back(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground)?;
    let boots = realm.boots()?;
    realm.moved(&realm.emperor.vassals, &realm.aside, 0..VASSALS)?;
    realm.doubted()?;
    realm.moved(&realm.aside, &realm.emperor.vassals, 0..VASSALS - 1)?;
    let fleet = wait::until_ok("all but one to be back", SETTLED_WITHIN, || {
        let fleet = realm.emperor.fleet()?;
        ensure!(fleet["removals_doubted"] == serde_json::json!(["v11.ini"]), "{fleet:#}");
        Ok(fleet)
    })?;
    ensure!(fleet["alarms"].to_string().contains("1 of 12 vassals"), "the alarm stays: {}", fleet["alarms"]);
    realm.moved(&realm.aside, &realm.emperor.vassals, VASSALS - 1..VASSALS)?;
    wait::until_ok("the alarm to go", SETTLED_WITHIN, || {
        let fleet = realm.emperor.fleet()?;
        ensure!(fleet["alarms"].as_array().is_some_and(Vec::is_empty), "{}", fleet["alarms"]);
        Ok(())
    })?;
    realm.all_are("loyal")?;
    ensure!(realm.boots()? == boots, "files that came back as they were are deployed again");
    // One file is a wish.
    realm.emperor.remove_file("v11.ini")?;
    wait::until("the removed vassal to be refused", SETTLED_WITHIN, || {
        realm.ports.last().filter(|port| http::get(**port, "/").is_err())
    })?;
    realm.emperor.stop()
}

fn doubt_outlives(ground: &Ground) -> Result<()> {
    let mut realm = Realm::open(ground)?;
    let boots = realm.boots()?;
    realm.moved(&realm.emperor.vassals, &realm.aside, 0..VASSALS)?;
    realm.doubted()?;
    realm.moved(&realm.aside, &realm.emperor.vassals, 0..VASSALS - 1)?;
    wait::until_ok("all but one to be back", SETTLED_WITHIN, || {
        let fleet = realm.emperor.fleet()?;
        ensure!(fleet["removals_doubted"] == serde_json::json!(["v11.ini"]), "{fleet:#}");
        Ok(())
    })?;
    realm.emperor.kill_keeper()?;
    realm.emperor.up()?;
    // One of twelve alone would be a wish.
    wait::until_ok("the doubt to be known again", SETTLED_WITHIN, || {
        let fleet = realm.emperor.fleet()?;
        ensure!(fleet["removals_doubted"] == serde_json::json!(["v11.ini"]), "{fleet:#}");
        Ok(())
    })?;
    wait::throughout("every vassal serving", QUIET, || realm.boots().is_ok_and(|now| now == boots))?;
    realm.emperor.says("confirm-removal", &[])?.success()?;
    wait::until("the removed vassal to be refused", SETTLED_WITHIN, || {
        realm.ports.last().filter(|port| http::get(**port, "/").is_err())
    })?;
    realm.emperor.stop()
}

fn unmounted(ground: &Ground) -> Result<()> {
    ground.needs_root()?;
    let (disk, vassals) = (ground.path("disk"), ground.path("vassals"));
    fs::create_dir_all(&disk)?;
    fs::create_dir_all(&vassals)?;
    isolation::bind(&disk, &vassals)?;
    // Nothing is renamed across a mount.
    let realm = Realm::open_by(ground, |_, name, text| Ok(fs::write(disk.join(name), text)?))?;
    ensure!(realm.emperor.vassals == vassals && vassals.join(name(0)).exists(), "nothing is mounted");
    let (masters, boots) = (realm.emperor.masters(), realm.boots()?);
    isolation::unmount(&vassals)?;
    realm.doubted()?;
    wait::throughout("every vassal serving", QUIET, || realm.boots().is_ok_and(|now| now == boots))?;
    isolation::mount_bound(&disk, &vassals)?;
    wait::until_ok("the alarm to go", SETTLED_WITHIN, || {
        let fleet = realm.emperor.fleet()?;
        ensure!(fleet["alarms"].as_array().is_some_and(Vec::is_empty), "{}", fleet["alarms"]);
        Ok(())
    })?;
    ensure!(realm.boots()? == boots && realm.emperor.masters() == masters, "what came back is deployed again");
    // What is watched is the directory that is mounted now.
    realm.emperor.remove_file("v11.ini")?;
    wait::until("the removed vassal to be refused", SETTLED_WITHIN, || {
        realm.ports.last().filter(|port| http::get(**port, "/").is_err())
    })?;
    realm.emperor.stop()
}

fn adopted(ground: &Ground) -> Result<()> {
    let mut realm = Realm::open(ground)?;
    let (masters, boots) = (realm.emperor.masters(), realm.boots()?);
    realm.emperor.kill_keeper()?;
    realm.moved(&realm.emperor.vassals, &realm.aside, 0..VASSALS)?;
    realm.emperor.up()?;
    realm.doubted()?;
    wait::throughout("every vassal serving", QUIET, || realm.boots().is_ok_and(|now| now == boots))?;
    ensure!(realm.emperor.masters() == masters);
    realm.moved(&realm.aside, &realm.emperor.vassals, 0..VASSALS)?;
    realm.all_are("loyal")?;
    wait::until_ok("the alarm to go", SETTLED_WITHIN, || {
        let fleet = realm.emperor.fleet()?;
        ensure!(fleet["alarms"].as_array().is_some_and(Vec::is_empty), "{}", fleet["alarms"]);
        Ok(())
    })?;
    ensure!(realm.boots()? == boots && realm.emperor.masters() == masters, "files that came back are deployed again");
    realm.emperor.stop()
}
