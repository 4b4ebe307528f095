//! Emperors that watch more than one directory, or a pattern of paths; and what an emperor does around its vassals.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http::{self, Ask},
    runner::Story,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("sources/b40-a-pattern-and-a-directory-are-watched-together", pattern),
    Story::new("sources/b40-hooks-of-an-emperor-run-around-each-vassal", hooks),
    Story::new("sources/b32-a-command-of-a-value-is-run-by-the-vassal-s-master", command_of_value),
    Story::new("sources/b34-a-variable-for-vassals-is-an-option-of-each", variable),
];

const SOON: Duration = Duration::from_secs(20);

/// Writes an emperor's file that watches `sites/*/app.ini` and `more`, from where the story stands.
fn emperor_file(ground: &Ground, more: &str) -> Result<std::path::PathBuf> {
    ground.write("emperor.ini", &format!("[uwsgi]\nemperor = sites/*/app.ini\nemperor = more\n{more}"))
}

/// By the list: a name with a slash is no part of a path.
fn loyal(emperor: &Emperor, name: &str) -> Result<()> {
    wait::until("the vassal to be loyal", SOON, || {
        let fleet = emperor.fleet().ok()?;
        let vassal = fleet["vassals"].as_array()?.iter().find(|vassal| vassal["name"] == name)?;
        (vassal["state"] == "loyal").then_some(())
    })
}

fn command_of_value(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    let value = "env = VERSION=@(exec://test -e told && echo again || echo first; touch told)\n";
    emperor.drop_file("shop.ini", &super::ini(port, "ids", value))?;
    emperor.loyal("shop.ini")?;
    let answer = http::get(port, "/")?;
    ensure!(super::version_of(&answer) == "first", "{}: the emperor has run it, too", answer.text());
    emperor.says("reload", &["shop.ini"])?.success()?;
    super::boot_changes(port, &super::boot_of(&answer))?;
    ensure!(super::version_of(&http::get(port, "/")?) == "again", "{}", http::get(port, "/")?.text());
    emperor.stop()
}

fn pattern(ground: &Ground) -> Result<()> {
    let (one, two, three) = (ground.port()?, ground.port()?, ground.port()?);
    for directory in ["sites/one", "sites/two", "more"] {
        fs::create_dir_all(ground.path(directory))?;
    }
    // Relative paths of what a pattern finds begin where the emperor was started, as in uWSGI.
    ground.write("sites/one/app.ini", &super::ini(one, "ids", "socket = one.sock\n"))?;
    ground.write("sites/one/other.ini", "[uwsgi]\n")?;
    ground.write("more/app.ini", &super::ini(two, "ids", "socket = more.sock\n"))?;
    let mut emperor = Emperor::prepare(ground)?.by_file(&emperor_file(ground, "")?);
    emperor.up()?;
    let name = |path: &str| path.replace('/', "%2F");
    loyal(&emperor, "sites/one/app.ini")?;
    loyal(&emperor, "more/app.ini")?;
    ensure!(emperor.fleet()?["vassals"].as_array().map(Vec::len) == Some(2), "{}", emperor.fleet()?);
    let before = super::boot_of(&http::get(one, "/")?);
    http::get(two, "/")?;
    ensure!(ground.path("one.sock").exists() && ground.path("more/more.sock").exists(), "sockets are elsewhere");
    // A new directory is seen, and its vassal has all of the API, the command line and the dashboard.
    ground.write("sites/two/app.ini", &super::ini(three, "ids", ""))?;
    loyal(&emperor, "sites/two/app.ini")?;
    emperor.says("reload", &["sites/one/app.ini"])?.success()?;
    super::boot_changes(one, &before)?;
    let shown = emperor.json(Ask::get(&format!("/api/v1/vassals/{}", name("sites/two/app.ini"))))?;
    ensure!(shown["state"] == "loyal", "{shown}");
    let page = emperor.ask(Ask::get(&format!("/vassals/{}", name("sites/two/app.ini"))))?;
    ensure!(page.status == 200 || page.status == 303, "{}", page.status);
    fs::remove_file(ground.path("sites/two/app.ini"))?;
    wait::until("the vassal to be gone", SOON, || http::get(three, "/").is_err().then_some(()))?;
    // The same again finds what lives.
    emperor.kill_keeper()?;
    emperor.up()?;
    loyal(&emperor, "sites/one/app.ini")?;
    ensure!(emperor.output().contains("found its master alive"), "{}", emperor.output());
    emperor.stop()
}

fn hooks(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    fs::create_dir_all(ground.path("more"))?;
    fs::create_dir_all(ground.path("sites"))?;
    let notes = |name: &str| ground.path(name).display().to_string();
    let more = format!(
        "vassals-start-hook = echo started >> {}; cat >/dev/null; echo\nvassals-stop-hook = echo stopped $UWSGI_VASSALS_DIR >> {}; echo\n\
         exec-as-emperor = echo $UWSGI_VASSAL_CONFIG $UWSGI_VASSAL_UID >> {}\n\
         exec-as-vassal = echo as vassal >> {}\nemperor-extra-extension = .conf\n",
        notes("start"),
        notes("stop"),
        notes("exec"),
        notes("vassal"),
    );
    let mut emperor = Emperor::prepare(ground)?.by_file(&emperor_file(ground, &more)?);
    emperor.up()?;
    ground.write("more/shop.conf", &super::ini(port, "ids", ""))?;
    let written = |name: &str, text: &str| {
        wait::until("the command to have run", SOON, || {
            fs::read_to_string(ground.path(name)).ok().filter(|found| found.contains(text)).map(drop)
        })
    };
    written("start", "started")?;
    written("exec", &format!("{} ", ground.path("more/shop.conf").display()))?;
    written("vassal", "as vassal")?;
    wait::until_ok("the vassal to answer", SOON, || Ok(http::get(port, "/").map(drop)?))?;
    fs::remove_file(ground.path("more/shop.conf"))?;
    written("stop", &format!("stopped {}", ground.path("more").display()))?;
    emperor.stop()
}

fn variable(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut emperor = Emperor::prepare(ground)?.environment("UWSGI_VASSAL_PROCESSES", "2");
    emperor.up()?;
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = KIND=$(UWSGI_PROCESSES)\n"))?;
    let shop = emperor.loyal("shop.ini")?;
    ensure!(shop["workers"].as_array().map(Vec::len) == Some(2), "{shop}");
    emperor.stop()
}
