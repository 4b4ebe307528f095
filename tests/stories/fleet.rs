//! Fifty vassals, measured beside the uWSGI emperor in the same run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
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

/// How often each is started; the other's turn comes in between. A shared machine delays single starts by a third.
const STARTS: usize = 3;

/// What a fleet costs once it is up.
struct AtRest {
    idle_cpu_per_minute: Duration,
    pss_per_vassal_kib: u64,
}

/// A fleet that was started.
struct Started {
    all_answer: Duration,
    /// Measured at the last start only.
    at_rest: Option<AtRest>,
}

/// Whether a started fleet is measured at rest too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Measured,
    Skipped,
}

fn fifty(ground: &Ground) -> Result<()> {
    let uwsgi = python::program("uwsgi")?;
    // Warm, so that neither pays for reading Python from disk.
    python::run("import sys; sys.path.insert(0, sys.argv[1]); import hello", &[&ground::app("").to_string_lossy()])?;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for turn in 1..=STARTS {
        let rest = if turn == STARTS { Rest::Measured } else { Rest::Skipped };
        theirs.push(under_uwsgi(ground, &uwsgi, turn, rest)?);
        ours.push(under_empery(ground, turn, rest)?);
    }
    let their_rest = noted(ground, "uWSGI emperor", &theirs)?;
    let our_rest = noted(ground, "Empery", &ours)?;
    let best = |starts: &[Started]| starts.iter().map(|start| start.all_answer).min().unwrap_or_default();
    ensure!(
        best(&ours) <= best(&theirs),
        "the quickest start of all {VASSALS}: {:?}, under uWSGI {:?}",
        best(&ours),
        best(&theirs)
    );
    let allowed = their_rest.idle_cpu_per_minute / 5;
    ensure!(
        our_rest.idle_cpu_per_minute <= allowed,
        "idle {:?} of CPU a minute, allowed {allowed:?}",
        our_rest.idle_cpu_per_minute
    );
    Ok(())
}

fn noted<'a>(ground: &Ground, who: &str, starts: &'a [Started]) -> Result<&'a AtRest> {
    let at_rest =
        starts.iter().find_map(|start| start.at_rest.as_ref()).context("the last start is measured at rest")?;
    let seconds: Vec<_> = starts.iter().map(|start| format!("{:.2}", start.all_answer.as_secs_f64())).collect();
    ground.note(&format!(
        "{who}: all {VASSALS} answer after {} s, idle {:.0} ms of CPU a minute, {} KiB of PSS per vassal",
        seconds.join(", "),
        at_rest.idle_cpu_per_minute.as_secs_f64() * 1e3,
        at_rest.pss_per_vassal_kib
    ));
    Ok(at_rest)
}

/// The files of the fleet, each on a socket of its own.
fn files(ground: &Ground, of: &str) -> Vec<File> {
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

fn under_empery(ground: &Ground, turn: usize, rest: Rest) -> Result<Started> {
    let mut emperor = Emperor::prepare(ground)?.released();
    let files = files(ground, &format!("e{turn}"));
    for (name, _, text) in &files {
        emperor.drop_file(name, text)?;
    }
    let began = Instant::now();
    emperor.up()?;
    let started = measure(ground, began, emperor.keeper_pid()?, &files, rest)?;
    emperor.stop()?;
    Ok(started)
}

fn under_uwsgi(ground: &Ground, program: &Path, turn: usize, rest: Rest) -> Result<Started> {
    let directory = format!("uwsgi-vassals-{turn}");
    let files = files(ground, &format!("u{turn}"));
    for (name, _, text) in &files {
        ground.write(&format!("{directory}/{name}"), text)?;
    }
    let mut command = Command::new(program);
    command.arg("--emperor").arg(ground.path(&directory)).args(["--die-on-term", "--master"]);
    command.current_dir(ground.directory());
    let began = Instant::now();
    let mut process = ground.start("uwsgi", command)?;
    let started = measure(ground, began, process.pid(), &files, rest)?;
    process.terminated(Duration::from_secs(30))?;
    Ok(started)
}

type File = (String, PathBuf, String);

fn measure(ground: &Ground, began: Instant, root: i32, files: &[File], rest: Rest) -> Result<Started> {
    let mut silent: Vec<_> = files.iter().map(|(_, socket, _)| socket).collect();
    wait::until("every vassal to answer", Duration::from_secs(90), || {
        silent.retain(|socket| !http::get(socket.as_path(), "/").is_ok_and(|answer| answer.status == 200));
        silent.is_empty().then_some(())
    })?;
    let all_answer = began.elapsed();
    let at_rest = if rest == Rest::Measured { Some(measure_at_rest(ground, root)?) } else { None };
    Ok(Started { all_answer, at_rest })
}

fn measure_at_rest(ground: &Ground, root: i32) -> Result<AtRest> {
    // Boot work dies down before idleness is measured.
    let family = || -> Vec<i32> { std::iter::once(root).chain(procfs::descendants(root)).collect() };
    let cpu = || -> BTreeMap<i32, Duration> { family().into_iter().map(|pid| (pid, procfs::cpu_time(pid))).collect() };
    let spent = |before: &BTreeMap<i32, Duration>, after: &BTreeMap<i32, Duration>| -> Duration {
        after.iter().map(|(pid, time)| time.saturating_sub(before.get(pid).copied().unwrap_or_default())).sum()
    };
    let mut last = cpu();
    wait::until("the fleet to become idle", Duration::from_secs(20), || {
        wait::pause(Duration::from_secs(1));
        let now = cpu();
        let busy = spent(&last, &now);
        last = now;
        (busy < Duration::from_millis(100)).then_some(())
    })?;
    let length = ground::long_or(Duration::from_secs(60), Duration::from_secs(20));
    let before = cpu();
    wait::pause(length);
    let idle = spent(&before, &cpu());
    let pss: u64 = family().into_iter().filter_map(procfs::pss_kib).sum();
    ground.note(&format!("{} processes", family().len()));
    Ok(AtRest {
        idle_cpu_per_minute: idle.mul_f64(60.0 / length.as_secs_f64()),
        pss_per_vassal_kib: pss / VASSALS as u64,
    })
}
