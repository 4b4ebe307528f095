//! Real vassal files of other people, when a directory of them is there: each is started under the configuration as it is
//! written, with a stub for its app and its file system, and answers a request. Rewritten are absolute paths, TCP ports,
//! users and groups only. What does not run must say why.
//!
//! The files are not part of this repository. EMPERY_CORPUS names the directory (with `index.tsv` beside it, whose last
//! column says `python` of those that count); without it a `shared/corpus/files` beside the tree is taken when it is there.

mod rewrite;
mod stub;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use empery_tests::{
    ground::{self, Ground, Skip},
    http::{self, Answer, Ask, Connection, Failure, Target},
    process::{Spawned, run},
    runner::Story,
    uwsgi,
    vassal::{self, surroundings},
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

pub(crate) const STORIES: &[Story] =
    &[Story::new("corpus/every-python-file-starts-and-answers-or-says-why-not", every_file).within_s(900)];

/// Files that cannot run, each for what stands in it: values made by programs of its own machine, an
/// octal number with a letter behind it, subscriptions to a router, Python 2.
const REFUSED: [&str; 5] = ["0120.ini", "0125.ini", "0127.ini", "0139.ini", "0346.ini"];

/// How many vassals are started at once.
const AT_ONCE: usize = 4;
/// Ports of one file.
const PORTS_EACH: u16 = 20;
const FIRST_PORT: u16 = 20_000;
/// A busy machine, and files with 16 workers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(40);

/// What became of a file.
enum End {
    /// It answered.
    Answered,
    /// It was refused, with the reasons.
    Refused(Vec<String>),
    /// It was accepted and did not answer: a defect.
    Silent(String),
}

fn every_file(ground: &Ground) -> Result<()> {
    let beside = ground::tree().join("../../shared/corpus/files");
    let directory = std::env::var_os("EMPERY_CORPUS").map(PathBuf::from).or_else(|| beside.is_dir().then_some(beside));
    let Some(directory) = directory else {
        bail!(Skip("EMPERY_CORPUS names no directory of vassal files".to_owned()));
    };
    let names = python_files(&directory)?;
    let roots = ground.directory();
    let next = AtomicUsize::new(0);
    let ends: Mutex<BTreeMap<String, End>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let number = names.iter().position(|other| other == name).unwrap_or(0);
                    let end =
                        one(roots, &directory, name, number).unwrap_or_else(|error| End::Silent(format!("{error:#}")));
                    if let Ok(mut ends) = ends.lock() {
                        ends.insert(name.clone(), end);
                    }
                }
            });
        }
    });
    let ends = ends.into_inner().context("a file's thread panicked")?;
    report(ground, &ends)
}

/// Those of the index with the role `python`, in order.
fn python_files(directory: &Path) -> Result<Vec<String>> {
    let index = directory.with_file_name("index.tsv");
    let index = fs::read_to_string(&index).with_context(|| format!("read {}", index.display()))?;
    let of_python = |line: &&str| line.rsplit('\t').next() == Some("python");
    let names = index.lines().filter(of_python).filter_map(|line| line.split('\t').next());
    Ok(names.map(str::to_owned).collect())
}

fn report(ground: &Ground, ends: &BTreeMap<String, End>) -> Result<()> {
    let answered = ends.values().filter(|end| matches!(end, End::Answered)).count();
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut silent = Vec::new();
    for (name, end) in ends {
        match end {
            End::Answered => {}
            End::Refused(why) => reasons.entry(why.join("; ")).or_default().push(name),
            End::Silent(why) => silent.push(format!("{name}: {why}")),
        }
    }
    ground.note(&format!("{answered} of {} files answer", ends.len()));
    for (why, names) in &reasons {
        ground.note(&format!("{}: {why}", names.join(" ")));
    }
    ensure!(silent.is_empty(), "accepted, and no answer:\n{}", silent.join("\n"));
    let is_new = |(name, end): (&String, &End)| match end {
        End::Refused(why) if !REFUSED.contains(&name.as_str()) && !why[0].starts_with("a template") => {
            Some(format!("{name}: {}", why.join("; ")))
        }
        _ => None,
    };
    let refused: Vec<String> = ends.iter().filter_map(is_new).collect();
    ensure!(refused.is_empty(), "refused, and not known to be:\n{}", refused.join("\n"));
    Ok(())
}

fn one(roots: &Path, directory: &Path, name: &str, number: usize) -> Result<End> {
    let root = roots.join(format!("c{number}"));
    let here = root.join("v");
    fs::create_dir_all(&here)?;
    let text = String::from_utf8_lossy(&fs::read(directory.join(name))?).into_owned();
    if let Some(why) = rewrite::is_a_template(name, &text) {
        return Ok(End::Refused(vec![why]));
    }
    let first_port = FIRST_PORT + u16::try_from(number)? * PORTS_EACH;
    let text = rewrite::rewrite(&text, &root, first_port);
    fs::write(here.join(name), &text)?;
    stub::included(&text, &here)?;
    let variables = stub::variables(&text, first_port + PORTS_EACH - 1);
    let entry = entry(name, &text, &here)?;
    let checked = check(&here, &entry, &variables)?;
    let mut more: Vec<String> = Vec::new();
    let codes: Vec<&str> = checked.problems.iter().map(|(code, _)| code.as_str()).collect();
    let port = first_port + PORTS_EACH - 2;
    // Such files are given the rest on the command line.
    if codes.contains(&"no-listener") {
        more.extend(["--http-socket".into(), format!("127.0.0.1:{port}")]);
    }
    if codes.contains(&"no-app") {
        more.extend(["--module".into(), "stub_of_the_command_line".into()]);
    }
    let lacks_a_part = checked.problems.iter().all(|(code, _)| code == "no-listener" || code == "no-app");
    let of_its_machine = |(key, value): &(String, String)| {
        value.contains("@(exec://").then(|| format!("`{key} = {value}` is made by a program of its own machine"))
    };
    let made: Vec<String> = checked.effective.iter().flatten().filter_map(of_its_machine).collect();
    if !made.is_empty() {
        return Ok(End::Refused(made));
    }
    // They are options, which an emperor does not give its vassals.
    let has_options = variables.keys().any(|name| name.starts_with("UWSGI_"));
    let settled = lacks_a_part || has_options;
    if !settled {
        return Ok(End::Refused(checked.problems.into_iter().map(|(_, message)| message).collect()));
    }
    let start = |output: &str, options: &[&str]| {
        let mut command = vassal::command(&here, &[])?;
        command.arg(&entry).args(&more).args(options).envs(&variables);
        Spawned::start(name, command, &root.join(output))
    };
    // Neither what stands on the command line nor `UWSGI_…` is known to an emperor.
    let effective = match checked.effective {
        Some(effective) if !has_options => effective,
        _ => shown(start("shown", &["--show-config"])?)?,
    };
    stub::build(&effective, &root, &here)?;
    let mut master = start("output", &[])?;
    let asked = if more.iter().any(|word| word == "--http-socket") {
        vec![(Spoken::Http, Target::from(port))]
    } else {
        addresses(&effective, &here)
    };
    let answered = answers(&mut master, &asked);
    let stopped = master.terminated(vassal::STOPPED_WITHIN);
    let told = || format!("it wrote:\n{}{}", master.output(), stub::logged(&effective, &here));
    let answer = answered.with_context(told)?;
    ensure!(answer.text() == stub::ANSWER, "the answer is {answer:?}; {}", told());
    stopped.with_context(told)?;
    Ok(End::Answered)
}

/// The name of what is started: the file, or one that includes its first section when it has none that is read of itself.
fn entry(name: &str, text: &str, here: &Path) -> Result<String> {
    let mut sections = text.lines().filter_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']'));
    let first = sections.next();
    match first.filter(|first| *first != "uwsgi" && sections.all(|other| other != "uwsgi")) {
        Some(first) if name.ends_with(".ini") => {
            fs::write(here.join("entry.ini"), format!("[uwsgi]\nini = {name}:{first}\n"))?;
            Ok("entry.ini".to_owned())
        }
        _ => Ok(name.to_owned()),
    }
}

/// What `emperor check` says of a file.
struct Checked {
    /// Code and message of each error.
    problems: Vec<(String, String)>,
    effective: Option<Vec<(String, String)>>,
}

fn check(here: &Path, name: &str, variables: &BTreeMap<String, String>) -> Result<Checked> {
    let mut command = Command::new(ground::binary("emperor")?);
    surroundings(&mut command);
    command.args(["check", "--json", "--effective", name]).current_dir(here).envs(variables);
    let finished = run(command)?;
    let report: Value = serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let problems = report[0]["problems"].as_array().into_iter().flatten();
    let errors = problems.filter(|problem| problem["severity"] == "error");
    let effective = report[0]["effective"].as_array();
    Ok(Checked {
        problems: errors.map(|problem| (text(&problem["code"]), text(&problem["message"]))).collect(),
        effective: effective.map(|lines| lines.iter().map(|line| (text(&line["key"]), text(&line["value"]))).collect()),
    })
}

/// The configuration as a vassal itself shows it, and that is all that it is started for.
fn shown(mut master: Spawned) -> Result<Vec<(String, String)>> {
    const END: &str = ";end of configuration";
    master.says(END, ANSWERS_WITHIN)?;
    let output = master.output();
    let lines = output.split_once("[uwsgi]\n").and_then(|(_, rest)| rest.split_once(END));
    // There is no app yet: most have ended by themselves.
    master.signal(Signal::SIGINT);
    master.exited(vassal::STOPPED_WITHIN)?;
    lines.map(|(lines, _)| stub::effective_of(lines)).with_context(|| format!("no configuration in:\n{output}"))
}

#[derive(Clone, Copy)]
enum Spoken {
    Http,
    /// After a header of the PROXY protocol.
    Proxied,
    Uwsgi,
}

/// Where a vassal listens, and what is spoken there.
fn addresses(effective: &[(String, String)], here: &Path) -> Vec<(Spoken, Target)> {
    let last = |key: &str| effective.iter().rfind(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let protocol = last("protocol").or_else(|| last("socket-protocol")).unwrap_or("uwsgi");
    let base = last("chdir").map_or_else(|| here.to_owned(), |chdir| here.join(chdir));
    let mut found = Vec::new();
    let is_on = |key: &str| last(key).is_some_and(|value| value != "false");
    let http = if is_on("enable-proxy-protocol") || is_on("http-enable-proxy-protocol") {
        Spoken::Proxied
    } else {
        Spoken::Http
    };
    for (key, value) in effective {
        let spoken = match key.as_str() {
            "http" | "http-socket" | "http11-socket" => http,
            "socket" if protocol == "http" => Spoken::Http,
            "socket" | "uwsgi-socket" => Spoken::Uwsgi,
            _ => continue,
        };
        let port = value.rsplit_once(':').and_then(|(_, port)| rewrite::leading_number(port));
        let target = match port {
            Some(port) => Target::from(port),
            None => Target::from(&base.join(value)),
        };
        found.push((spoken, target));
    }
    found
}

/// As behind a load balancer that speaks the PROXY protocol.
fn proxied(target: &Target) -> Result<Answer, Failure> {
    let mut connection = Connection::open(target, ANSWERS_WITHIN)?;
    connection.send(b"PROXY TCP4 127.0.0.1 127.0.0.1 4711 80\r\n")?;
    connection.ask(&Ask::get("/"))
}

/// The first answer on any of the addresses, while the vassal lives.
fn answers(master: &mut Spawned, addresses: &[(Spoken, Target)]) -> Result<Answer> {
    ensure!(!addresses.is_empty(), "no address that the story can ask");
    let mut last = None;
    let found = wait::until("a first answer", ANSWERS_WITHIN, || {
        for (spoken, target) in addresses {
            let asked: Result<Answer, Failure> = match spoken {
                Spoken::Http => http::get(target, "/"),
                Spoken::Proxied => proxied(target),
                Spoken::Uwsgi => uwsgi::get(target, "/"),
            };
            match asked {
                Ok(answer) if answer.status == 200 => return Some(Ok(answer)),
                Ok(answer) => last = Some(format!("{answer:?}")),
                Err(failure) => last = Some(format!("{failure:?}")),
            }
        }
        (!master.alive()).then(|| Err(anyhow::anyhow!("the vassal ended")))
    });
    found.with_context(|| format!("last: {last:?}"))?
}
