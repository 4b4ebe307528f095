//! What a master keeps an eye on besides its processes: files whose touch has something done, descriptors that reload,
//! mount points.

use std::{fs, io::Write, process::Command};

use anyhow::{Result, ensure};
use empery_tests::{
    ground::{self, Ground},
    runner::Story,
    vassal::{self, Vassal},
};
use nix::{sys::stat::Mode, unistd::mkfifo};

use super::noting::{App, SOON};

pub(crate) const STORIES: &[Story] = &[
    Story::new("watched/a-touched-file-has-its-command-run-and-its-hooks-done", touched),
    Story::new("watched/b62-a-descriptor-with-something-to-read-reloads", descriptor),
    Story::new("watched/a-mount-point-that-is-lost-ends-the-vassal", mount_point),
];

fn touched(ground: &Ground) -> Result<()> {
    let more = "touch-exec = touched echo ran $OF_THE_APP >> command\nhook-touch = touched appendn:hook done\n\
                hook-touch = touched exec:echo by a shell >> shell\nenv = OF_THE_APP=seen\nprocesses = 2\n";
    let app = App::start(ground, "ids", more)?;
    // A file is told to have changed by its time, which has seconds in some file systems.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    fs::File::open(ground.path("touched"))?.set_modified(later)?;
    ensure!(app.noted("command", 1)? == ["ran seen"], "{:?}", app.notes("command"));
    ensure!(app.noted("hook", 1)? == ["done"], "{:?}", app.notes("hook"));
    ensure!(app.noted("shell", 1)? == ["by a shell"], "{:?}", app.notes("shell"));
    // Coming and going are changes, too; each is told once, though three options name the file.
    fs::remove_file(ground.path("touched"))?;
    app.noted("command", 2)?;
    app.noted("shell", 2)?;
    app.get("/")?;
    for notes in ["command", "hook", "shell"] {
        ensure!(app.notes(notes).len() == 2, "{notes}: {:?}", app.notes(notes));
    }
    app.vassal.stop()
}

fn descriptor(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let fifo = ground.path("fifo");
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR)?;
    ground.write("app.ini", &super::ini(port, "ids", "reload-on-fd = 7:8 memory is short\nreload-on-fd = 8\n"))?;
    let mut command = Command::new("/bin/sh");
    let script = format!("exec {} app.ini 7<>fifo", ground::binary("vassal")?.display());
    command.args(["-c", &script]).current_dir(ground.directory());
    vassal::surroundings(&mut command);
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    let mut before = super::boot_of(&vassal.answers(port)?);
    vassal.master.says("reload-on-fd = 8 watches nothing: this process was not started with it", SOON)?;
    let mut writer = fs::OpenOptions::new().write(true).open(&fifo)?;
    // A second time, too: it was read.
    for _ in 0..2 {
        writer.write_all(&[0; 8])?;
        before = super::boot_changes(port, &before)?;
    }
    vassal.master.says("fd 7 ready: memory is short", SOON)?;
    vassal.stop()
}

fn mount_point(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let place = ground.path("mounted");
    fs::create_dir(&place)?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "ids", "check-mountpoint = mounted\n"))?;
    vassal.answers(port)?;
    // What statfs(2) fails for: a FUSE daemon that is gone is another reason, which needs a kernel module to show.
    fs::remove_dir(&place)?;
    let status = vassal.master.exited(SOON)?;
    let said = vassal.master.output();
    ensure!(status.code() == Some(1), "{status}:\n{said}");
    ensure!(said.contains("mounted cannot be reached (No such file or directory): the vassal stops at once"), "{said}");
    Ok(())
}
