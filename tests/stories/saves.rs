//! Whatever way a file is saved, what the emperor knows is what the directory says within two seconds (faults C8, C10,
//! C11): random patterns of everything that editors, deploy tools and people do, against the real watcher and scanner.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    runner::Story,
    wait,
};

use super::random::Random;

pub(crate) const STORIES: &[Story] =
    &[Story::new("saves/c8-a-hundred-thousand-random-saves-end-as-the-directory-says", at_random)
        .alone()
        .within_s(50_000)];

/// How soon what is known must be what is there.
const WITHIN: Duration = Duration::from_secs(2);

const NAMES: u64 = 40;

/// Saves between two comparisons.
const BATCH: usize = 100;

/// Saves in CI, and with `EMPERY_LONG=1`.
const SHORT: usize = 800;
const WHOLE: usize = 100_000;

/// The directory, and where files come from and go to.
struct Desk {
    vassals: PathBuf,
    aside: PathBuf,
    /// Of the next content: every one is another.
    number: u64,
    random: Random,
}

/// A file that is refused, for a reason that names which content it is: nothing is started for it.
fn text(number: u64) -> String {
    format!("[uwsgi]\nprocesses = content-{number:08}\n")
}

impl Desk {
    fn content(&mut self) -> String {
        self.number += 1;
        text(self.number)
    }

    fn written_aside(&mut self) -> Result<PathBuf> {
        let text = self.content();
        let path = self.aside.join(format!("new-{}", self.number));
        fs::write(&path, text)?;
        Ok(path)
    }

    fn name(&mut self) -> PathBuf {
        self.vassals.join(format!("v{:02}.ini", self.random.below(NAMES)))
    }

    /// One save, of a kind and a file by chance.
    fn save(&mut self) -> Result<()> {
        let file = self.name();
        let kind = self.random.below(12);
        if matches!(kind, 0 | 2 | 3 | 10) && file.is_symlink() {
            // Writing through it would change a file elsewhere, which is no save of this one.
            gone(&file);
        }
        match kind {
            0 => fs::write(&file, self.content())?,
            1 => fs::rename(self.written_aside()?, &file)?,
            2 => in_two_pieces(&file, &self.content(), Duration::from_millis(self.random.below(4)))?,
            3 => {
                // Truncated, left so for a moment, then written.
                fs::File::create(&file)?;
                wait::pause(Duration::from_millis(self.random.below(40)));
                fs::write(&file, self.content())?;
            }
            4 => {
                let aside = self.written_aside()?;
                let past = SystemTime::now() - Duration::from_secs(86_400 + self.random.below(1_000_000));
                fs::File::options().write(true).open(&aside)?.set_modified(past)?;
                fs::rename(aside, &file)?;
            }
            5 => {
                // The link is swapped, not what it leads to.
                let (to, link) = (self.written_aside()?, self.aside.join("link"));
                symlink(to, &link)?;
                fs::rename(link, &file)?;
            }
            6 => {
                gone(&file);
                fs::write(&file, self.content())?;
            }
            7 => gone(&file),
            8 => {
                let other = self.name();
                if file.exists() {
                    fs::rename(&file, other)?;
                }
            }
            9 => {
                // As vim does it: the old one moved aside, the new one written, the backup removed.
                let backup = self.vassals.join("backup.ini~");
                if file.exists() {
                    fs::rename(&file, &backup)?;
                }
                in_two_pieces(&file, &self.content(), Duration::ZERO)?;
                gone(&backup);
            }
            10 => {
                // The same size in the same second, with the times put back.
                let before = fs::metadata(&file).and_then(|facts| facts.modified()).ok();
                fs::write(&file, self.content())?;
                if let Some(before) = before {
                    fs::File::options().write(true).open(&file)?.set_modified(before)?;
                }
            }
            _ => {
                for _ in 0..3 {
                    gone(&file);
                    fs::rename(self.written_aside()?, &file)?;
                }
            }
        }
        Ok(())
    }

    /// Which content each file has.
    fn says(&self) -> Result<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(&self.vassals)? {
            let path = entry?.path();
            let name = path.file_name().context("no name")?.to_string_lossy().into_owned();
            // A link whose target is gone is no file.
            if name.ends_with(".ini") && path.is_file() {
                all.insert(name, token(&fs::read_to_string(&path)?).to_owned());
            }
        }
        Ok(all)
    }
}

fn gone(file: &Path) {
    // It may not have been there.
    let _ = fs::remove_file(file);
}

fn in_two_pieces(file: &Path, text: &str, pause: Duration) -> Result<()> {
    let (first, second) = text.split_at(text.len() / 2);
    fs::write(file, first)?;
    wait::pause(pause);
    fs::File::options().append(true).open(file)?.write_all(second.as_bytes())?;
    Ok(())
}

fn token(text: &str) -> &str {
    text.find("content-").and_then(|at| text.get(at..at + "content-00000000".len())).unwrap_or("none")
}

/// Which content the emperor knows of each vassal.
fn known(emperor: &Emperor<'_>) -> Result<BTreeMap<String, String>> {
    let fleet = emperor.fleet()?;
    let vassals = fleet["vassals"].as_array().context("no vassals")?;
    let row = |vassal: &serde_json::Value| {
        Some((vassal["name"].as_str()?.to_owned(), token(&vassal["problems"].to_string()).to_owned()))
    };
    Ok(vassals.iter().filter_map(row).collect())
}

fn at_random(ground: &Ground) -> Result<()> {
    let mut emperor = Emperor::prepare(ground)?.with(&["--mass-removal-above-percent", "100"]);
    emperor.up()?;
    let aside = ground.path("aside");
    fs::create_dir_all(&aside)?;
    let random = Random::seeded();
    ground.note(&format!("seed {}", random.seed()));
    let mut desk = Desk { vassals: emperor.vassals.clone(), aside, number: 0, random };
    let saves = if ground::long() { WHOLE } else { SHORT };
    let mut longest = Duration::ZERO;
    for batch in 0..saves.div_ceil(BATCH) {
        for _ in 0..BATCH {
            desk.save()?;
            if desk.random.below(8) == 0 {
                wait::pause(Duration::from_millis(desk.random.below(30)));
            }
        }
        let (says, since) = (desk.says()?, Instant::now());
        let same = wait::until_ok("what is known to be what the directory says", WITHIN, || {
            let known = known(&emperor)?;
            ensure!(known == says, "batch {batch}: known {known:#?}, the directory says {says:#?}");
            Ok(())
        });
        same.map_err(|error| error.context(emperor.output()))?;
        longest = longest.max(since.elapsed());
        for entry in fs::read_dir(&desk.aside)?.flatten() {
            // What no link leads to is litter; a link's target that goes makes its vassal go, which is a save, too.
            if batch % 10 == 9 {
                gone(&entry.path());
            }
        }
    }
    ground.note(&format!("{saves} saves, the slowest was known after {} ms", longest.as_millis()));
    emperor.stop()
}
