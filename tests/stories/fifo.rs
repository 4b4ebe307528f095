//! `master-fifo` and `fs-reload`: commands by a named pipe, and a directory whose changes reload.

use std::{fs, os::unix::fs::FileTypeExt, os::unix::fs::PermissionsExt, time::Duration};

use anyhow::{Result, ensure};
use empery_tests::{ground::Ground, http, runner::Story, vassal::Vassal};

pub(crate) const STORIES: &[Story] = &[
    Story::new("fifo/b57-each-byte-is-a-command", commands),
    Story::new("fifo/b57-an-operator-has-more-and-fewer-workers", more_and_fewer),
    Story::new("fifo/b62-fs-reload-sees-what-lies-in-its-directory", directory),
];

fn commands(ground: &Ground) -> Result<()> {
    let (port, fifo) = (ground.port()?, ground.path("fifo"));
    let more = format!("master = true\nmaster-fifo = {}\npidfile = {}\n", fifo.display(), ground.path("pid").display());
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "ids", &more))?;
    let before = super::boot_of(&vassal.answers(port)?);
    let facts = fs::metadata(&fifo)?;
    ensure!(facts.file_type().is_fifo() && facts.permissions().mode() & 0o777 == 0o600, "{facts:?}");
    // As a shell writes it, with a line break that means nothing.
    fs::write(&fifo, "r\n")?;
    super::boot_changes(port, &before)?;
    fs::remove_file(ground.path("pid"))?;
    fs::write(&fifo, "Ps+E")?;
    vassal.master.says("serves with 1 workers", Duration::from_secs(5))?;
    vassal.master.says("there are as many workers as `cheaper` and `processes` allow", Duration::from_secs(5))?;
    vassal.master.says("`E` of master-fifo is not done here", Duration::from_secs(5))?;
    ensure!(fs::read_to_string(ground.path("pid"))?.trim() == vassal.master.pid().to_string());
    fs::write(&fifo, "q")?;
    ensure!(vassal.master.exited(Duration::from_secs(10))?.success(), "{}", vassal.master.output());
    Ok(())
}

fn more_and_fewer(ground: &Ground) -> Result<()> {
    let (port, fifo) = (ground.port()?, ground.path("fifo"));
    let more =
        format!("master = true\nprocesses = 3\ncheaper = 1\ncheaper-algo = manual\nmaster-fifo = {}\n", fifo.display());
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "ids", &more))?;
    vassal.answers(port)?;
    let soon = Duration::from_secs(15);
    fs::write(&fifo, "+")?;
    vassal.master.says("2 workers are wanted: an operator asked for it", soon)?;
    vassal.master.says("spawned worker 2 ", soon)?;
    fs::write(&fifo, "-")?;
    vassal.master.says("1 workers are wanted: an operator asked for it", soon)?;
    http::get(port, "/")?;
    vassal.stop()
}

fn directory(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let watched = ground.write("watched/file", "one")?;
    let more = format!("master = true\nfs-reload = {}\n", ground.path("watched").display());
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "ids", &more))?;
    let mut before = super::boot_of(&vassal.answers(port)?);
    fs::write(&watched, "two")?;
    super::boot_changes(port, &before)?;
    before = super::boot_of(&http::get(port, "/")?);
    fs::write(ground.path("watched/another"), "")?;
    super::boot_changes(port, &before)?;
    vassal.stop()
}
