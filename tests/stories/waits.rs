//! `wait-for-…`: an app is loaded when what it needs is there, what never comes is named, and nobody else is held up meanwhile.

use std::{fs, os::unix::net::UnixListener, time::Duration};

use anyhow::{Result, ensure};
use empery_tests::{ground::Ground, http, runner::Story, vassal::Vassal, wait};
use nix::sys::signal::Signal;

use super::noting::SOON;

pub(crate) const STORIES: &[Story] = &[
    Story::new("waits/the-app-is-loaded-when-all-of-it-is-there", all_there),
    Story::new("waits/what-never-comes-ends-the-start-and-is-named", in_vain),
    Story::new("waits/a-reload-waits-while-the-old-generation-serves-and-a-stop-does-not-wait", others_go_on),
];

fn all_there(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let more = "wait-for-socket = db.sock\nwait-for-file = migrated\nwait-for-dir = data\nwait-for-mountpoint = /proc\nwait-for-interface = lo\n";
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "ids", more))?;
    let is_imported = |vassal: &Vassal| vassal.master.output().contains("imported in");
    // In uWSGI's order.
    vassal.master.says("interface lo found", SOON)?;
    vassal.master.says("migrated (max 60 seconds)", SOON)?;
    fs::write(ground.path("migrated"), "")?;
    vassal.master.says("data (max 60 seconds)", SOON)?;
    fs::create_dir(ground.path("data"))?;
    vassal.master.says("mount point /proc found", SOON)?;
    vassal.master.says("db.sock (max 60 seconds)", SOON)?;
    ensure!(!is_imported(&vassal), "loaded too early:\n{}", vassal.master.output());
    let _database = UnixListener::bind(ground.path("db.sock"))?;
    vassal.answers(port)?;
    ensure!(is_imported(&vassal), "{}", vassal.master.output());
    vassal.stop()
}

fn in_vain(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let text = super::ini(port, "ids", "wait-for-fs = never-comes\nwait-for-fs-timeout = 1\n");
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    let status = vassal.master.exited(SOON)?;
    let said = vassal.master.output();
    ensure!(status.code() == Some(22), "{status}:\n{said}");
    ensure!(said.contains("never-comes is not there after 1 s, and `wait-for-fs` waits for it"), "{said}");
    ensure!(!said.contains("imported in"), "{said}");
    Ok(())
}

fn others_go_on(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let needed = ground.write("needed", "")?;
    let text = super::ini(port, "ids", "wait-for-file = needed\nboot-deadline = 1\n");
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    let first = super::boot_of(&vassal.answers(port)?);
    fs::remove_file(&needed)?;
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("generation 2 boots", SOON)?;
    // Longer than a boot may take: what it waits for does not count.
    wait::throughout("the old generation to serve", Duration::from_secs(3), || {
        http::get(port, "/").is_ok_and(|answer| super::boot_of(&answer) == first)
    })?;
    fs::write(&needed, "")?;
    super::boot_changes(port, &first)?;
    fs::remove_file(&needed)?;
    vassal.signal(Signal::SIGHUP);
    vassal.master.says("generation 3 boots", SOON)?;
    vassal.stop()
}
