//! Runs stories: each in a process of its own with a deadline, two at a time, those that measure time alone. Prints a
//! line per story, the evidence of those that failed, and a closing line that counts. A few that fail are told a second time,
//! alone: what passes then is named as unsteady, with the evidence of the first time above.

use std::{
    collections::VecDeque,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    ground::{self, Ground, Skip},
    isolation,
    leftovers::{self, Baseline},
    wait,
};

/// Begins a line of a story's output that the runner repeats under the story's name.
pub const NOTE: &str = "note: ";

/// Exit code of a story's process that skipped, after automake's convention.
const SKIPPED: i32 = 77;

/// The argument under which the runner starts itself for one story.
const ONE: &str = "--one";

/// So many failed stories are told a second time; where more fail it is no matter of a busy machine.
const TOLD_AGAIN_MAX: usize = 3;

/// A story.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// `room/sentence-it-proves`.
    pub name: &'static str,
    /// Beside whom it may run.
    pub company: Company,
    /// When it is given up.
    pub within: Duration,
    /// Tells it.
    pub tell: fn(&Ground) -> Result<()>,
}

/// Beside whom a story may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// Beside others.
    Welcome,
    /// Alone: it measures time or loads the machine.
    Unwelcome,
}

impl Story {
    /// A story that may run beside others and takes less than a minute.
    #[must_use]
    pub const fn new(name: &'static str, tell: fn(&Ground) -> Result<()>) -> Story {
        Story { name, company: Company::Welcome, within: Duration::from_secs(60), tell }
    }

    /// It must run alone.
    #[must_use]
    pub const fn alone(self) -> Story {
        Story { company: Company::Unwelcome, ..self }
    }

    /// It may take so long.
    #[must_use]
    pub const fn within_s(self, seconds: u64) -> Story {
        Story { within: Duration::from_secs(seconds), ..self }
    }
}

/// The runner's main: `stories [--list] [--one NAME] [NAME...]`; other flags, which cargo passes on, change nothing.
#[must_use]
pub fn main(stories: &[Story]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = arguments.as_slice()
        && flag == ONE
    {
        return match stories.iter().find(|story| story.name == name) {
            Some(story) => one(story),
            None => ExitCode::from(2),
        };
    }
    let wanted: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with('-')).collect();
    let chosen: Vec<Story> = stories
        .iter()
        .filter(|story| wanted.is_empty() || wanted.iter().any(|part| story.name.contains(part)))
        .copied()
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for story in chosen {
            println!("{}", story.name);
        }
        return ExitCode::SUCCESS;
    }
    match all(&chosen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stories: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One story, in this process.
fn one(story: &Story) -> ExitCode {
    let told = isolation::enter().and_then(|network| {
        let ground = Ground::prepare(network)?;
        let baseline = Baseline::take();
        let told = (story.tell)(&ground);
        let told = match (told, baseline.check()) {
            (Ok(()), swept) => swept,
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(left)) if error.is::<Skip>() => Err(left),
            (Err(error), Err(left)) => Err(error.context(format!("{left}\nand before that"))),
        };
        if told.as_ref().is_err_and(|error| !error.is::<Skip>()) {
            println!("{}", ground.evidence());
        }
        ground.clear();
        told
    });
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Skip>() => {
            println!("{NOTE}{error}");
            ExitCode::from(77)
        }
        Err(error) => {
            // The causes, not the backtrace: a story fails by what it saw, and the evidence stands above.
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            println!("{}", causes.join("\n  because: "));
            ExitCode::FAILURE
        }
    }
}

struct Telling {
    story: Story,
    process: Child,
    log: PathBuf,
    began: Instant,
}

enum Verdict {
    Passed,
    Failed(String),
    Skipped,
}

fn all(stories: &[Story]) -> Result<bool> {
    isolation::adopt_orphans()?;
    let logs = ground::target().join("stories");
    fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
    let (mut beside, mut alone): (VecDeque<Story>, VecDeque<Story>) =
        stories.iter().partition(|story| story.company == Company::Welcome);
    let mut tellings: Vec<Telling> = Vec::new();
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    let (mut told_again, mut unsteady) = (Vec::new(), Vec::new());
    loop {
        while tellings.len() < 2
            && let Some(story) =
                beside.pop_front().or_else(|| if tellings.is_empty() { alone.pop_front() } else { None })
        {
            let lonely = story.company == Company::Unwelcome;
            tellings.push(begin(story, &logs)?);
            if lonely {
                break;
            }
        }
        if tellings.is_empty() {
            break;
        }
        let (place, verdict) = next_end(&mut tellings)?;
        let telling = tellings.remove(place);
        let took = telling.began.elapsed().as_secs_f64();
        let text = String::from_utf8_lossy(&fs::read(&telling.log).unwrap_or_default()).into_owned();
        match verdict {
            Verdict::Passed => {
                passed += 1;
                println!("ok      {} ({took:.1} s)", telling.story.name);
                if told_again.contains(&telling.story.name) {
                    unsteady.push(telling.story.name);
                }
            }
            Verdict::Skipped => {
                skipped += 1;
                println!("skipped {}", telling.story.name);
            }
            Verdict::Failed(how) => {
                println!("{}", text.trim_end());
                println!("FAILED  {} ({took:.1} s): {how}", telling.story.name);
                if told_again.len() < TOLD_AGAIN_MAX && !told_again.contains(&telling.story.name) {
                    told_again.push(telling.story.name);
                    alone.push_back(telling.story.alone());
                } else {
                    failed.push(telling.story.name);
                }
            }
        }
        for note in text.lines().filter_map(|line| line.strip_prefix(NOTE)) {
            println!("        {note}");
        }
    }
    for name in &unsteady {
        println!("unsteady: {name} failed once and passed when it was told again, alone");
    }
    for name in &failed {
        println!("failed: {name}");
    }
    println!("stories: {passed} passed, {} failed, {skipped} skipped", failed.len());
    Ok(failed.is_empty())
}

fn begin(story: Story, logs: &std::path::Path) -> Result<Telling> {
    let log = logs.join(format!("{}.log", story.name.replace('/', ".")));
    let output = File::create(&log).with_context(|| format!("make {}", log.display()))?;
    let process = Command::new(std::env::current_exe()?)
        .args([ONE, story.name])
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("start the story {}", story.name))?;
    Ok(Telling { story, process, log, began: Instant::now() })
}

/// Waits for the next story to end, or to pass its deadline.
fn next_end(tellings: &mut [Telling]) -> Result<(usize, Verdict)> {
    loop {
        for (place, telling) in tellings.iter_mut().enumerate() {
            if let Some(status) = telling.process.try_wait()? {
                let verdict = match status.code() {
                    Some(0) => Verdict::Passed,
                    Some(SKIPPED) => Verdict::Skipped,
                    Some(_) => Verdict::Failed("see above".to_owned()),
                    None => Verdict::Failed(format!("its process died: {status}")),
                };
                return Ok((place, verdict));
            }
            if telling.began.elapsed() > telling.story.within {
                telling.process.kill()?;
                telling.process.wait()?;
                let _ = fs::remove_dir_all(std::env::temp_dir().join(format!("empery-story-{}", telling.process.id())));
                let within = telling.story.within;
                let spared = pids_except(tellings, place);
                leftovers::sweep(&spared);
                return Ok((
                    place,
                    Verdict::Failed(format!("not over after {within:?}; killed with all it had started")),
                ));
            }
        }
        wait::pause(Duration::from_millis(10));
    }
}

fn pids_except(tellings: &[Telling], place: usize) -> Vec<i32> {
    tellings
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != place)
        .filter_map(|(_, telling)| i32::try_from(telling.process.id()).ok())
        .collect()
}
