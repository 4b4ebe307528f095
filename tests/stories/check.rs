//! What is told before anything runs: `emperor check`, `emperor migrate`, and the shells' completion.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    process::{self, Finished},
    runner::Story,
};
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("check/tells-problems-and-final-values-in-every-format", formats),
    Story::new("check/an-emperor-s-words-for-all-count", for_all),
    Story::new("check/finds-the-app-in-its-interpreter", interpreter),
    Story::new("check/shows-what-a-file-changes-beside-what-runs", changes),
    Story::new("check/migrate-reads-a-set-up-of-uwsgi", migrate),
    Story::new("check/commands-in-a-file-run-for-a-shell-and-never-under-an-emperor", commands),
    Story::new("check/shells-are-told-the-words", completion),
];

fn run(program: &str, arguments: &[&str], directory: &Path) -> Result<Finished> {
    let mut command = Command::new(ground::binary(program)?);
    command.args(arguments).current_dir(directory);
    process::run(command)
}

fn json(finished: &Finished) -> Result<Value> {
    serde_json::from_str(&finished.stdout).with_context(|| format!("{}{}", finished.stdout, finished.stderr))
}

fn formats(ground: &Ground) -> Result<()> {
    let text = "[uwsgi]\nmodule = app\nhttp-socket = 127.0.0.1:8000\nbase = /srv\nchdir = %(base)/%n\nfor = 1 2\nenv = N%(_)=x\nendfor =\nproceses = 4\n";
    ground.write("shop.ini", text)?;
    ground.write("bad.yaml", "uwsgi:\n  module: app\n  http-socket: 127.0.0.1:8001\n  processes: many\n")?;
    let here = ground.directory();
    let shown = run("emperor", &["check", "shop.ini", "--effective"], here)?;
    ensure!(shown.code == 0, "{}", shown.stderr);
    for line in ["shop.ini:5", "chdir = /srv/shop", "env = N2=x", "did you mean `processes`?"] {
        ensure!(shown.stdout.contains(line), "{line} is not in {}", shown.stdout);
    }
    let found = run("emperor", &["check", "shop.ini", "--effective", "--json"], here)?;
    let found = json(&found)?;
    let chdir = found[0]["effective"].as_array().into_iter().flatten().find(|line| line["key"] == "chdir");
    ensure!(
        chdir.is_some_and(|line| line["value"] == "/srv/shop" && line["line"] == 5 && line["column"] == 1),
        "{found:#}"
    );
    let annotated = run("emperor", &["check", "bad.yaml", "--format", "github"], here)?;
    ensure!(annotated.code == 2, "{}", annotated.code);
    ensure!(
        annotated.stdout.starts_with("::error file=bad.yaml,line=4,col=14,title=bad-value::"),
        "{}",
        annotated.stdout
    );
    Ok(())
}

fn for_all(ground: &Ground) -> Result<()> {
    ground.write("shop.ini", "[uwsgi]\nmodule = app\nhttp-socket = 127.0.0.1:8000\nprocesses = %(workers)\n")?;
    let of_all = ground.write("all.ini", "[uwsgi]\nenv = WHO=%n\n")?;
    let emperor = format!("[uwsgi]\nemperor = .\nvassals-set = workers=3\nvassals-include = {}\n", of_all.display());
    ground.write("emperor.ini", &emperor)?;
    let here = ground.directory();
    let alone = run("emperor", &["check", "shop.ini"], here)?;
    ensure!(alone.code == 2 && alone.stdout.contains("processes"), "{}", alone.stdout);
    let of_file = ["check", "shop.ini", "--effective", "--emperor-ini", "emperor.ini"];
    let all = of_all.to_string_lossy();
    let typed = ["check", "shop.ini", "--effective", "--vassal-set", "workers=3", "--vassals-include", &all];
    for arguments in [&of_file[..], &typed] {
        let told = run("emperor", arguments, here)?;
        ensure!(told.code == 0, "{}{}", told.stdout, told.stderr);
        for line in ["processes = 3", "env = WHO=shop"] {
            ensure!(told.stdout.contains(line), "{line} is not in {}", told.stdout);
        }
    }
    let gone = run("emperor", &["check", "shop.ini", "--emperor-ini", "none.ini"], here)?;
    ensure!(gone.code == 1 && gone.stderr.contains("none.ini"), "{}", gone.stderr);
    Ok(())
}

fn interpreter(ground: &Ground) -> Result<()> {
    ground.write("good.ini", &super::ini(8000, "hello", ""))?;
    ground.write("none.ini", &super::ini(8000, "no_such_module", ""))?;
    ground.write("wrong.ini", &super::ini(8000, "hello", "callable = nothing\n"))?;
    let here = ground.directory();
    let good = run("emperor", &["check", "good.ini", "--interpreter", "--json"], here)?;
    let found = json(&good)?;
    ensure!(good.code == 0 && found[0]["interpreter"]["callable"] == true, "{found:#}");
    ensure!(found[0]["interpreter"]["version"].as_str().is_some_and(|version| version.starts_with("3.")), "{found:#}");
    for (file, told) in [("none.ini", "No module named 'no_such_module'"), ("wrong.ini", "nothing")] {
        let failed = run("emperor", &["check", file, "--interpreter"], here)?;
        ensure!(failed.code == 2 && failed.stdout.contains(told), "{file}: {}", failed.stdout);
        ensure!(run("emperor", &["check", file], here)?.code == 0, "without being asked nothing is imported");
    }
    // It has no way to the terminal of whoever asks, nor what steers uWSGI or us.
    let apart = "import os\nassert os.getsid(0) == os.getpid()\nassert not [name for name in os.environ if \
                 name.startswith('UWSGI_')]\ndef application(environ, start_response): ...\n";
    ground.write("apart.py", apart)?;
    ground.write("apart.ini", "[uwsgi]\nmodule = apart\nhttp-socket = 127.0.0.1:8000\n")?;
    let found = run("emperor", &["check", "apart.ini", "--interpreter"], here)?;
    ensure!(found.code == 0 && found.stdout.contains("callable: found"), "{}{}", found.stdout, found.stderr);
    // As a master, which starts beside the file; `chdir2` is entered when the app is there.
    ground.write("beside.py", "def application(environ, start_response): ...\n")?;
    ground.write("elsewhere.ini", "[uwsgi]\nmodule = beside\nhttp-socket = 127.0.0.1:8000\nchdir2 = /\n")?;
    let elsewhere = ground.path("elsewhere.ini").display().to_string();
    let found = run("emperor", &["check", &elsewhere, "--interpreter"], Path::new("/"))?;
    ensure!(found.code == 0 && found.stdout.contains("callable: found"), "{}{}", found.stdout, found.stderr);
    Ok(())
}

fn changes(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "hello", "threads = 2\n"))?;
    emperor.loyal("shop.ini")?;
    let edited = super::ini(port, "hello", "threads = 4\nharakiri = 9\n");
    std::fs::create_dir_all(ground.path("next"))?;
    let next = ground.write("next/shop.ini", &edited)?;
    let (next, state) = (next.display().to_string(), ground.path("state").display().to_string());
    let found = emperor.says("check", &[&next, "--diff", "--state", &state, "--json"])?;
    let found = json(&found)?;
    let changed: Vec<&str> = found[0]["diff"]["changes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|change| change["key"].as_str())
        .collect();
    ensure!(changed == ["harakiri", "threads"], "{found:#}");
    ensure!(found[0]["diff"]["running_revision"] == 1, "{found:#}");
    emperor.stop()
}

fn migrate(ground: &Ground) -> Result<()> {
    ground.write(
        "uwsgi/emperor.ini",
        "[uwsgi]\nemperor = /etc/uwsgi/vassals\nuid = www-data\nvassals-include = %d/all.ini\n",
    )?;
    ground
        .write("uwsgi/vassals/shop.ini", "[uwsgi]\nmodule = shop\nsocket = /run/shop.sock\nuid = root\ngid = root\n")?;
    // What every vassal includes is no vassal; what it says counts for all of them.
    ground.write("uwsgi/all.ini", "[uwsgi]\nsocket = /run/%n.sock\nuid = www-data\n")?;
    ground.write("uwsgi/vassals/needs.ini", "[uwsgi]\nmodule = shop\n")?;
    ground.write("uwsgi/vassals/jail.ini", "[uwsgi]\nmodule = shop\nsocket = /run/jail.sock\nchroot = /jail\n")?;
    ground.write(
        "units/uwsgi.service",
        "[Service]\nExecStart=/usr/bin/env uwsgi \\\n  --ini /etc/uwsgi/emperor.ini\nType=notify\n",
    )?;
    ground.write("nginx/site", "location / { \n uwsgi_pass unix:/run/shop.sock;\n}\nlocation /x {\n proxy_pass http://unix:/run/shop.sock:/;\n}\n")?;
    ground.write("nginx/upstreams", "upstream needs { server unix:///run/needs.sock; }\n")?;
    ground.write("nginx/other", "location / { proxy_pass http://needs; }\n")?;
    let arguments = ["migrate", "uwsgi", "--units", "units", "--nginx", "nginx"];
    let told = run("emperor", &arguments, ground.directory())?;
    ensure!(told.code == 2, "{}{}", told.stdout, told.stderr);
    for text in [
        "emperor.ini (emperor): runs; look at these",
        "jail.ini (vassal): must be changed first",
        "`chroot` does not exist here",
        "uwsgi.service (unit): runs; look at these",
        "KillMode=process",
        "all.ini (included): runs as it is",
        "needs.ini (vassal): runs",
        "`ExecStart=/usr/bin/env /usr/bin/emperor --ini /etc/uwsgi/emperor.ini`",
        "`proxy_pass needs`, by its server `unix:/run/needs.sock`, meets a vassal that speaks the uwsgi protocol",
        "line 5: `proxy_pass unix:/run/shop.sock` meets a vassal that speaks the uwsgi protocol",
        "1 must be changed first",
    ] {
        ensure!(told.stdout.contains(text), "{text} is not in {}", told.stdout);
    }
    let found = run("emperor", &[arguments.as_slice(), &["--json"]].concat(), ground.directory())?;
    ensure!(json(&found)?.as_array().is_some_and(|files| files.len() == 8), "{}", found.stdout);
    Ok(())
}

fn commands(ground: &Ground) -> Result<()> {
    let mark = ground.path("ran");
    let text = format!("[uwsgi]\nini = exec://touch {0}; echo [uwsgi]; echo threads = 3\n", mark.display());
    ground.write("shop.ini", &format!("{text}module = hello\nhttp-socket = 127.0.0.1:0\n"))?;
    let checked = run("emperor", &["check", "shop.ini"], ground.directory())?;
    ensure!(checked.code == 2 && checked.stdout.contains("scheme-refused"), "{}", checked.stdout);
    ensure!(!mark.exists(), "the emperor ran a command");
    // Something that asks for no serving, so that the shell's own reading is seen.
    run("vassal", &["--ini", "shop.ini", "--version"], ground.directory())?.success()?;
    ensure!(mark.exists(), "the vassal of a shell runs it");
    Ok(())
}

fn completion(ground: &Ground) -> Result<()> {
    for (shell, check) in [("bash", "bash -n"), ("zsh", "zsh -n"), ("fish", "fish -n")] {
        let script = run("emperor", &["completion", shell], ground.directory())?.success()?;
        ensure!(script.contains("migrate") && script.contains("http-socket"), "{script}");
        let file = ground.write(&format!("completion.{shell}"), &script)?;
        let mut known = Command::new("sh");
        known.args(["-c", &format!("command -v {shell} >/dev/null || exit 0; {check} {}", file.display())]);
        process::run(known)?.success()?;
    }
    Ok(())
}
