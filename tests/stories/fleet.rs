//! Fifty vassals, measured beside the uWSGI emperor in the same run.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http, procfs, python,
    runner::Story,
    wait,
};

pub(crate) const STORIES: &[Story] =
    &[Story::new("fleet/fifty-vassals-beside-the-uwsgi-emperor", fifty).alone().within_s(300)];

const VASSALS: usize = 50;

struct Measured {
    all_answer: Duration,
    idle_cpu_per_minute: Duration,
    pss_per_vassal_kib: u64,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (all, idle) = (self.all_answer.as_secs_f64(), self.idle_cpu_per_minute.as_secs_f64() * 1e3);
        write!(
            f,
            "all {VASSALS} answer after {all:.2} s, idle {idle:.0} ms of CPU a minute, {} KiB of PSS per vassal",
            self.pss_per_vassal_kib
        )
    }
}

fn fifty(ground: &Ground) -> Result<()> {
    let uwsgi = python::program("uwsgi")?;
    // Warm, so that neither pays for reading Python from disk.
    python::run("import sys; sys.path.insert(0, sys.argv[1]); import hello", &[&ground::app("").to_string_lossy()])?;
    let theirs = under_uwsgi(ground, uwsgi)?;
    ground.note(&format!("uWSGI emperor: {theirs}"));
    let ours = under_empery(ground)?;
    ground.note(&format!("Empery:        {ours}"));
    // One boot of each is compared here, and a shared machine makes that differ by a third either way; the long version is strict.
    let allowed_start = theirs.all_answer.mul_f64(if ground::long() { 1.0 } else { 1.5 });
    ensure!(
        ours.all_answer <= allowed_start,
        "all answer after {:?}, under uWSGI after {:?}",
        ours.all_answer,
        theirs.all_answer
    );
    let allowed = theirs.idle_cpu_per_minute / 5;
    ensure!(
        ours.idle_cpu_per_minute <= allowed,
        "idle {:?} of CPU a minute, allowed {allowed:?}",
        ours.idle_cpu_per_minute
    );
    Ok(())
}

/// The files of the fleet, each on a socket of its own.
fn files(ground: &Ground, of: &str) -> Vec<(String, PathBuf, String)> {
    (0..VASSALS)
        .map(|number| {
            let socket = ground.path(&format!("{of}-{number}.sock"));
            let apps = ground::app("");
            let text = format!(
                "[uwsgi]\nhttp-socket = {}\nchdir = {apps}\npythonpath = {apps}\nmodule = hello\nmaster = true\n\
                 processes = 1\ndisable-logging = true\nneed-app = true\n",
                socket.display(),
                apps = apps.display()
            );
            (format!("v{number:02}.ini"), socket, text)
        })
        .collect()
}

fn under_empery(ground: &Ground) -> Result<Measured> {
    let emperor = Emperor::prepare(ground)?.released();
    let files = files(ground, "e");
    for (name, _, text) in &files {
        emperor.drop_file(name, text)?;
    }
    let mut emperor = emperor;
    let began = Instant::now();
    emperor.up()?;
    let measured =
        measure(ground, began, emperor.keeper_pid()?, files.iter().map(|(_, socket, _)| socket.clone()).collect())?;
    emperor.stop()?;
    Ok(measured)
}

fn under_uwsgi(ground: &Ground, program: PathBuf) -> Result<Measured> {
    let directory = ground.path("uwsgi-vassals");
    let files = files(ground, "u");
    for (name, _, text) in &files {
        ground.write(&format!("uwsgi-vassals/{name}"), text)?;
    }
    let mut command = Command::new(program);
    command.arg("--emperor").arg(&directory).args(["--die-on-term", "--master"]).current_dir(ground.directory());
    let began = Instant::now();
    let mut process = ground.start("uwsgi", command)?;
    let measured = measure(ground, began, process.pid(), files.iter().map(|(_, socket, _)| socket.clone()).collect())?;
    process.terminated(Duration::from_secs(30))?;
    Ok(measured)
}

fn measure(ground: &Ground, began: Instant, root: i32, mut silent: Vec<PathBuf>) -> Result<Measured> {
    wait::until("every vassal to answer", Duration::from_secs(90), || {
        silent.retain(|socket| !http::get(socket, "/").is_ok_and(|answer| answer.status == 200));
        silent.is_empty().then_some(())
    })?;
    let all_answer = began.elapsed();

    // Boot work dies down before idleness is measured.
    let family = || -> Vec<i32> { std::iter::once(root).chain(procfs::descendants(root)).collect() };
    let cpu = || -> BTreeMap<i32, Duration> { family().into_iter().map(|pid| (pid, procfs::cpu_time(pid))).collect() };
    let spent = |before: &BTreeMap<i32, Duration>, after: &BTreeMap<i32, Duration>| -> Duration {
        after.iter().map(|(pid, time)| time.saturating_sub(before.get(pid).copied().unwrap_or_default())).sum()
    };
    let mut last = cpu();
    let settled = wait::until("the fleet to become idle", Duration::from_secs(20), || {
        wait::pause(Duration::from_secs(1));
        let now = cpu();
        let busy = spent(&last, &now);
        last = now;
        (busy < Duration::from_millis(100)).then_some(())
    });
    settled?;
    let length = ground::long_or(Duration::from_secs(60), Duration::from_secs(20));
    let before = cpu();
    wait::pause(length);
    let idle = spent(&before, &cpu());
    let pss: u64 = family().into_iter().filter_map(procfs::pss_kib).sum();
    ground.note(&format!("{} processes", family().len()));
    Ok(Measured {
        all_answer,
        idle_cpu_per_minute: idle.mul_f64(60.0 / length.as_secs_f64()),
        pss_per_vassal_kib: pss / VASSALS as u64,
    })
}
