//! The directory is the truth: what is dropped runs, what is removed goes, and the last touch always wins.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, ensure};
use empery_tests::{
    emperor::{Emperor, SETTLED_WITHIN},
    ground::{self, Ground},
    http, python,
    runner::Story,
    wait,
};

use super::random::Random;

pub(crate) const STORIES: &[Story] = &[
    Story::new("watch/b2-a-dropped-file-answers-within-150-ms-and-its-import", dropped).alone().within_s(120),
    Story::new("watch/b2-a-removed-file-is-gone-within-200-ms", removed).alone().within_s(120),
    Story::new("watch/a-rename-does-not-start-the-app-twice", renamed),
    Story::new("watch/c11-a-file-with-an-older-mtime-is-seen", older),
    Story::new("watch/c10-an-editor-of-four-steps-causes-one-reload", editor),
    Story::new("watch/c11-touches-at-random-end-on-the-last-version", random_touches).alone().within_s(600),
    Story::new("watch/c8-deleted-renamed-and-recreated-within-a-millisecond-ends-as-the-directory-says", recreated)
        .within_s(120),
    Story::new("watch/c9-a-file-written-byte-by-byte-is-never-booted-half", byte_by_byte),
    Story::new("watch/c16-a-change-without-an-event-is-seen-within-ten-seconds", without_event),
    Story::new("watch/c10-every-way-to-save-is-one-reload", ways_to_save).within_s(120),
    Story::new("watch/c10-editors-files-and-dotfiles-do-not-count", not_counted),
    Story::new("watch/b43-files-of-every-format-are-vassals", other_formats),
    Story::new("watch/c15-a-directory-that-vanishes-stops-nothing", directory_vanishes),
    Story::new("watch/a-held-vassal-is-edited-but-not-started", held),
];

const ROUNDS: usize = 20;

fn dropped(ground: &Ground) -> Result<()> {
    let emperor = Emperor::start(ground)?;
    let import = import_time()?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let (name, port) = (format!("new-{round}.ini"), ground.port()?);
        let text = super::ini(port, "hello", "");
        let began = Instant::now();
        emperor.drop_file(&name, &text)?;
        wait::until("the dropped vassal to answer", SETTLED_WITHIN, || http::get(port, "/").ok())?;
        times.push(began.elapsed());
        emperor.remove_file(&name)?;
        wait::until("it to be gone", SETTLED_WITHIN, || emperor.vassal(&name).is_err().then_some(()))?;
    }
    let p95 = super::p95(times);
    ground.note(&format!(
        "p95 of {ROUNDS}: {}, of which Python and the import {}",
        super::milliseconds(p95),
        super::milliseconds(import)
    ));
    ensure!(p95 <= Duration::from_millis(150) + import, "p95 {p95:?}, allowed are 150 ms and {import:?}");
    emperor.stop()
}

/// What it costs this machine to start the interpreter and import the app: the median of five.
fn import_time() -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        python::run(
            "import sys; sys.path.insert(0, sys.argv[1]); import hello",
            &[&ground::app("").to_string_lossy()],
        )?;
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times[2])
}

fn removed(ground: &Ground) -> Result<()> {
    let emperor = Emperor::start(ground)?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let (name, port) = (format!("old-{round}.ini"), ground.port()?);
        emperor.drop_file(&name, &super::ini(port, "hello", ""))?;
        let master = emperor.loyal(&name)?["master_pid"].as_i64().unwrap_or_default();
        let master = i32::try_from(master)?;
        let began = Instant::now();
        emperor.remove_file(&name)?;
        wait::until("its master to be gone and its port refused", SETTLED_WITHIN, || {
            (!empery_tests::procfs::alive(master) && http::get(port, "/").is_err()).then_some(())
        })?;
        times.push(began.elapsed());
        wait::until("its row to be gone", SETTLED_WITHIN, || emperor.vassal(&name).is_err().then_some(()))?;
    }
    let p95 = super::p95(times);
    ground.note(&format!("p95 of {ROUNDS}: {}", super::milliseconds(p95)));
    ensure!(p95 <= Duration::from_millis(200), "p95 {p95:?}");
    emperor.stop()
}

/// A vassal file for `counted_import`, and the ledger of its imports.
fn counted(ground: &Ground, port: u16, version: &str) -> String {
    super::ini(
        port,
        "counted_import",
        &format!("env = IMPORTS={}\nenv = VERSION={version}\n", ground.path("imports").display()),
    )
}

fn imports(ground: &Ground) -> usize {
    fs::read_to_string(ground.path("imports")).unwrap_or_default().lines().count()
}

fn renamed(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("before.ini", &counted(ground, port, "1"))?;
    emperor.loyal("before.ini")?;
    fs::rename(emperor.vassals.join("before.ini"), emperor.vassals.join("after.ini"))?;
    emperor.loyal("after.ini")?;
    wait::until("the old name to be gone", SETTLED_WITHIN, || emperor.vassal("before.ini").is_err().then_some(()))?;
    ensure!(http::get(port, "/")?.text() == "1");
    // Once under each name: a vassal's identity is its name. Never twice under one, and never both at once.
    ensure!(imports(ground) == 2, "{} imports", imports(ground));
    let masters = emperor.masters();
    ensure!(masters.len() == 1, "{masters:?}");
    emperor.stop()
}

fn older(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &counted(ground, port, "1"))?;
    emperor.loyal("shop.ini")?;
    // A roll-back by `cp -p` or rsync: another content with a time in the past.
    let aside = ground.write("aside.tmp", &counted(ground, port, "2"))?;
    let past = SystemTime::now() - Duration::from_secs(86_400);
    fs::File::options().write(true).open(&aside)?.set_modified(past)?;
    fs::rename(&aside, emperor.vassals.join("shop.ini"))?;
    super::version_becomes(port, "2")?;
    emperor.stop()
}

fn editor(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    let file = emperor.vassals.join("shop.ini");
    emperor.drop_file("shop.ini", &counted(ground, port, "1"))?;
    emperor.loyal("shop.ini")?;
    // As vim does it: a probe file, the old one moved aside, the new one written in two pieces, the backup removed.
    let text = counted(ground, port, "2");
    let (first, second) = text.split_at(text.len() / 2);
    fs::write(emperor.vassals.join("4913"), "")?;
    fs::remove_file(emperor.vassals.join("4913"))?;
    fs::rename(&file, emperor.vassals.join("shop.ini~"))?;
    fs::write(&file, first)?;
    let mut open = fs::File::options().append(true).open(&file)?;
    std::io::Write::write_all(&mut open, second.as_bytes())?;
    drop(open);
    fs::remove_file(emperor.vassals.join("shop.ini~"))?;
    super::version_becomes(port, "2")?;
    emperor.loyal("shop.ini")?;
    wait::throughout("two imports, one before and one after the edit", Duration::from_secs(1), || {
        imports(ground) == 2
    })?;
    emperor.stop()
}

fn recreated(ground: &Ground) -> Result<()> {
    let rounds = if ground::long() { 10_000 } else { 300 };
    let ports = [ground.port()?, ground.port()?];
    let emperor = Emperor::start(ground)?;
    let (one, two) = (emperor.vassals.join("one.ini"), emperor.vassals.join("two.ini"));
    let mut random = Random::seeded();
    ground.note(&format!("seed {}", random.seed()));
    let text = |place: usize, round: u64| super::ini(ports[place], "ids", &format!("env = VERSION={round}\n"));
    for round in 1..=rounds {
        match random.below(5) {
            // What is not there cannot be removed or renamed: the next step may be another.
            0 => drop(fs::remove_file(&one)),
            1 => drop(fs::rename(&one, &two)),
            2 => drop(fs::remove_file(&two)),
            3 => fs::write(&one, text(0, round))?,
            _ => fs::write(&two, text(1, round))?,
        }
        if random.below(20) == 0 {
            // In the midst of a boot, sometimes.
            wait::pause(Duration::from_millis(random.below(150)));
        } else {
            wait::pause(Duration::from_millis(1));
        }
    }
    // Which port serves is what the text says, not the name: a renamed file keeps its port.
    fs::write(&one, text(0, rounds + 1))?;
    let _ = fs::remove_file(&two);
    super::version_becomes(ports[0], &(rounds + 1).to_string())?;
    emperor.loyal("one.ini")?;
    wait::until("the other to be gone", SETTLED_WITHIN, || {
        (emperor.vassal("two.ini").is_err() && http::get(ports[1], "/").is_err()).then_some(())
    })?;
    ensure!(emperor.masters().len() == 1, "{:?}", emperor.masters());
    emperor.stop()
}

/// Changes a digit through a mapping, and keeps the file open.
const WRITER: &str = "
import mmap, signal, sys
with open(sys.argv[1], 'r+b') as file, mmap.mmap(file.fileno(), 0) as text:
    place = text.find(b'VERSION=1') + len('VERSION=')
    text[place:place + 1] = b'2'
    text.flush()
    signal.pause()
";

fn without_event(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=1\n"))?;
    emperor.loyal("shop.ini")?;
    // Written through a mapping of a file that stays open: there is no event for that (inotify(7)), as there is none on a
    // file system of another machine.
    let mut command = std::process::Command::new(python::program("python")?);
    command.arg("-c").arg(WRITER).arg(emperor.vassals.join("shop.ini"));
    let mut writer = ground.start("writer", command)?;
    let took = super::version_becomes(port, "2")?;
    ground.note(&format!("seen after {}", super::milliseconds(took)));
    writer.killed()?;
    emperor.stop()
}

fn byte_by_byte(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &counted(ground, port, "1"))?;
    emperor.loyal("shop.ini")?;
    // The half of it would be another app: without `env` it could not even be imported.
    let text = counted(ground, port, "2");
    let mut open = fs::File::create(emperor.vassals.join("shop.ini"))?;
    for byte in text.as_bytes() {
        std::io::Write::write_all(&mut open, &[*byte])?;
        wait::pause(Duration::from_millis(10));
        ensure!(imports(ground) == 1, "half of the file was booted: {} imports", imports(ground));
    }
    drop(open);
    super::version_becomes(port, "2")?;
    emperor.loyal("shop.ini")?;
    ensure!(imports(ground) == 2, "{} imports", imports(ground));
    emperor.stop()
}

/// Writes a text as some program does it.
type Save<'a> = &'a dyn Fn(&str) -> Result<()>;

fn ways_to_save(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    let file = emperor.vassals.join("shop.ini");
    emperor.drop_file("shop.ini", &counted(ground, port, "1"))?;
    emperor.loyal("shop.ini")?;
    let beside = |name: &str| emperor.vassals.join(name);
    // Each writes the text as its program does it; all but the last leave a file under another name for a moment.
    let ways: [(&str, Save<'_>); 6] = [
        ("sed -i", &|text| {
            Ok(fs::write(beside("sedA1b2C3"), text).and_then(|()| fs::rename(beside("sedA1b2C3"), &file))?)
        }),
        ("rsync", &|text| {
            let aside = beside(".shop.ini.Abc123");
            Ok(fs::write(&aside, text).and_then(|()| fs::rename(&aside, &file))?)
        }),
        ("emacs", &|text| {
            fs::write(beside("#shop.ini#"), text)?;
            fs::rename(&file, beside("shop.ini~"))?;
            fs::write(&file, text)?;
            Ok(fs::remove_file(beside("#shop.ini#"))?)
        }),
        ("ansible", &|text| {
            let aside = beside(".ansible_tmpAbcshop.ini");
            fs::write(&aside, text)?;
            fs::copy(&file, beside("shop.ini.2026-01-01@00:00:00~"))?;
            Ok(fs::rename(&aside, &file)?)
        }),
        ("git checkout", &|text| Ok(fs::remove_file(&file).and_then(|()| fs::write(&file, text))?)),
        ("nano", &|text| Ok(fs::write(&file, text)?)),
    ];
    for (number, (program, save)) in (2_usize..).zip(ways) {
        save(&counted(ground, port, &number.to_string()))?;
        super::version_becomes(port, &number.to_string())?;
        emperor.loyal("shop.ini")?;
        let known = emperor.fleet()?["vassals"].as_array().map_or(0, Vec::len);
        ensure!(known == 1, "{program}: {known} vassals");
        wait::throughout(&format!("one import for {program}"), Duration::from_millis(500), || {
            imports(ground) == number
        })?;
    }
    emperor.stop()
}

fn random_touches(ground: &Ground) -> Result<()> {
    let length = ground::long_or(Duration::from_secs(300), Duration::from_secs(60));
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=0\n"))?;
    emperor.loyal("shop.ini")?;
    let mut random = Random::seeded();
    ground.note(&format!("seed {}", random.seed()));
    let (began, mut version, mut touches) = (Instant::now(), 0u32, 0u32);
    while began.elapsed() < length {
        // From within one clock tick of the file system to several seconds apart.
        let widest = if random.below(4) == 0 { 3_000 } else { 60 };
        wait::pause(Duration::from_millis(random.below(widest)));
        if random.below(2) == 0 {
            emperor.touch("shop.ini")?;
            touches += 1;
        } else {
            version += 1;
            emperor.drop_file("shop.ini", &super::ini(port, "ids", &format!("env = VERSION={version}\n")))?;
        }
    }
    let took = super::version_becomes(port, &version.to_string())?;
    ground.note(&format!(
        "{version} edits and {touches} touches; the last version answered after {}",
        super::milliseconds(took)
    ));
    emperor.vassal_until("shop.ini", "to be loyal on the last content", |vassal| {
        vassal["state"] == "loyal" && vassal["serving_revision"] == vassal["file_revision"]
    })?;
    ensure!(super::version_of(&http::get(port, "/")?) == version.to_string());
    emperor.stop()
}

fn not_counted(ground: &Ground) -> Result<()> {
    let (port, other) = (ground.port()?, ground.port()?);
    let emperor = Emperor::start(ground)?;
    for name in ["shop.ini~", ".shop.ini", ".shop.ini.swp", "#shop.ini#", "shop.ini.bak", "4913", "README", "shop.conf"]
    {
        fs::write(emperor.vassals.join(name), super::ini(other, "hello", ""))?;
    }
    emperor.drop_file("zz.ini", &super::ini(port, "hello", ""))?;
    emperor.loyal("zz.ini")?;
    let fleet = emperor.fleet()?;
    ensure!(fleet["vassals"].as_array().is_some_and(|vassals| vassals.len() == 1), "{fleet:#}");
    emperor.stop()
}

fn other_formats(ground: &Ground) -> Result<()> {
    let emperor = Emperor::start(ground)?;
    let apps = ground::app("");
    let apps = apps.display();
    let mut ports = Vec::new();
    for name in ["a.xml", "b.yml", "c.json"] {
        let port = ground.port()?;
        let text = match name {
            "a.xml" => format!(
                "<uwsgi>\n<http-socket>127.0.0.1:{port}</http-socket><pythonpath>{apps}</pythonpath><module>hello</module></uwsgi>"
            ),
            "b.yml" => format!("uwsgi:\n  http-socket: 127.0.0.1:{port}\n  pythonpath: {apps}\n  module: hello\n"),
            _ => format!(
                "{{\"uwsgi\": {{\"http-socket\": \"127.0.0.1:{port}\", \"pythonpath\": \"{apps}\", \"module\": \"hello\"}}}}"
            ),
        };
        emperor.drop_file(name, &text)?;
        ports.push(port);
    }
    for (name, port) in ["a.xml", "b.yml", "c.json"].into_iter().zip(ports) {
        emperor.loyal(name)?;
        http::get(port, "/")?;
    }
    // What is none of its format is refused.
    for name in ["d.yaml", "e.js", "f.xml"] {
        emperor.drop_file(name, "\n{]\n")?;
        let refused = emperor.vassal_until(name, "to be refused", |vassal| vassal["state"] == "refused")?;
        ensure!(refused["problems"][0]["code"] == "bad-format", "{refused:#}");
    }
    emperor.stop()
}

fn directory_vanishes(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "hello", ""))?;
    emperor.loyal("shop.ini")?;
    let away = ground.path("away");
    fs::rename(&emperor.vassals, &away)?;
    wait::until_ok("the emperor to say so", SETTLED_WITHIN, || {
        let fleet = emperor.fleet()?;
        ensure!(fleet["alarms"].as_array().is_some_and(|alarms| !alarms.is_empty()), "{fleet:#}");
        Ok(())
    })?;
    wait::throughout("an answer", Duration::from_secs(1), || http::get(port, "/").is_ok())?;
    fs::rename(&away, &emperor.vassals)?;
    wait::until_ok("the alarm to end", SETTLED_WITHIN, || {
        let fleet = emperor.fleet()?;
        ensure!(fleet["alarms"].as_array().is_some_and(Vec::is_empty), "{fleet:#}");
        Ok(())
    })?;
    ensure!(emperor.vassal("shop.ini")?["generation"] == 1, "it was reloaded");
    // The watch follows the directory that is there now.
    emperor.remove_file("shop.ini")?;
    wait::until("the removed vassal to be gone", SETTLED_WITHIN, || http::get(port, "/").is_err().then_some(()))?;
    emperor.stop()
}

fn held(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=1\n"))?;
    emperor.loyal("shop.ini")?;
    emperor.says("stop", &["shop.ini"])?.success()?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=2\n"))?;
    let held = emperor.vassal_until("shop.ini", "the edit to be recorded", |vassal| vassal["file_revision"] == 2)?;
    ensure!(held["state"] == "held" && http::get(port, "/").is_err(), "{held:#}");
    emperor.says("start", &["shop.ini"])?.success()?;
    super::version_becomes(port, "2")?;
    emperor.stop()
}
