//! The quickstart's three https examples, as they are written there, with `vassal` in the place of `uwsgi`: alone, and as
//! files of an emperor. The user, the group and the files that they name are there; nothing else is changed.

use std::fs;

use anyhow::{Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    isolation, procfs,
    runner::Story,
    tls::{self, Pair},
    vassal::{self, Vassal},
};
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("quickstart/b46-https", https),
    Story::new("quickstart/b46-https-on-a-shared-socket", shared_socket),
    Story::new("quickstart/https-on-a-shared-socket-with-harakiri", shared_socket_with_harakiri),
    Story::new("quickstart/https-under-an-emperor", under_an_emperor),
];

const FIRST: &str = "[uwsgi]
https = :9090,foobar.crt,foobar.key
uid = foo
gid = bar
chdir = path_to_web2py
module = wsgihandler
master = true
processes = 8
";

const SECOND: &str = "[uwsgi]
shared-socket = :443
https = =0,foobar.crt,foobar.key
uid = foo
gid = bar
chdir = path_to_web2py
module = wsgihandler
master = true
processes = 8
";

const THIRD: &str = "[uwsgi]
shared-socket = :443
https = =0,foobar.crt,foobar.key
uid = foo
gid = bar
chdir = path_to_web2py
module = wsgihandler
master = true
processes = 8
harakiri = 30
";

fn https(ground: &Ground) -> Result<()> {
    as_written(ground, FIRST, 9090)
}

fn shared_socket(ground: &Ground) -> Result<()> {
    as_written(ground, SECOND, 443)
}

fn shared_socket_with_harakiri(ground: &Ground) -> Result<()> {
    as_written(ground, THIRD, 443)
}

/// What the example takes for granted: its user, its app, its certificate with a key that only root may read.
fn prepare(ground: &Ground, directory: &str) -> Result<Pair> {
    ground.needs_root()?;
    ground.needs_own_network()?;
    isolation::with_user_and_group(ground, "foo", "bar")?;
    let app = fs::read_to_string(ground::app("show.py"))?;
    ground.write(&format!("{directory}path_to_web2py/wsgihandler.py"), &app)?;
    tls::pair(ground, &format!("{directory}foobar"), "localhost", None, 30)
}

fn as_written(ground: &Ground, text: &str, port: u16) -> Result<()> {
    let pair = prepare(ground, "")?;
    ground.write("web2py.ini", text)?;
    // Binaries and an interpreter that the user foo may reach.
    let mut command = std::process::Command::new(ground.lend_binaries()?.join("vassal"));
    command.arg("web2py.ini").current_dir(ground.directory());
    vassal::surroundings(&mut command);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let vassal = Vassal::adopt(ground, ground.directory(), command)?;
    let shown = tls::answers(&pair.certificate, "localhost", port);
    serves(&shown.map_err(|error| error.context(vassal.master.output()))?, port)?;
    // A zygote, eight workers and the gateway, and nobody of them is root.
    let children = procfs::children(vassal.master.pid());
    ensure!(children.len() == 10, "{children:?}");
    ensure!(children.iter().all(|pid| procfs::uid(*pid) == Some(4_711)), "{children:?}");
    let told = vassal.master.output();
    ensure!(told.contains("foobar.key was opened before privileges were dropped"), "{told}");
    ensure!(!told.contains("foobar.crt was opened before"), "{told}");
    vassal.stop()
}

fn serves(shown: &str, port: u16) -> Result<()> {
    let shown: Value = serde_json::from_str(shown)?;
    let said = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
    ensure!(shown["process"]["uid"] == 4_711 && shown["process"]["gid"] == 4_711, "{shown:#}");
    ensure!(said("wsgi.url_scheme") == "https" && said("HTTPS") == "on", "{shown:#}");
    ensure!(said("SERVER_PORT") == port.to_string() && said("REMOTE_ADDR") == "127.0.0.1", "{shown:#}");
    ensure!(said("REMOTE_PORT").parse::<u16>().is_ok(), "{shown:#}");
    Ok(())
}

fn under_an_emperor(ground: &Ground) -> Result<()> {
    let pair = prepare(ground, "vassals/")?;
    let mut emperor = Emperor::prepare(ground)?.for_every_user()?;
    emperor = emperor.environment("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    emperor.up()?;
    for (name, text, port) in [("first.ini", FIRST, 9090), ("second.ini", SECOND, 443)] {
        emperor.drop_file(name, text)?;
        emperor.loyal(name)?;
        serves(&tls::answers(&pair.certificate, "localhost", port)?, port)?;
    }
    emperor.remove_file("second.ini")?;
    emperor.drop_file("third.ini", THIRD)?;
    emperor.loyal("third.ini")?;
    serves(&tls::answers(&pair.certificate, "localhost", 443)?, 443)?;
    emperor.stop()
}
