//! What an emperor says for all its vassals: `vassal-set`, `vassals-include` and `vassals-inherit`, in `emperor.ini` or on its
//! command line.

use std::time::Duration;

use anyhow::{Result, ensure};
use empery_tests::{emperor::Emperor, ground::Ground, http, runner::Story, wait};

pub(crate) const STORIES: &[Story] = &[Story::new("common/every-vassal-has-what-the-emperor-says-for-all", for_all)];

const APP: &str = "\
import os, uwsgi
def application(environ, start_response):
    start_response('200 OK', [])
    told = [os.environ.get('WHO'), os.environ.get('LAST'), str(uwsgi.numproc), os.environ.get('REVISION', '1')]
    return [' '.join(map(str, told)).encode()]
";

fn for_all(ground: &Ground) -> Result<()> {
    let ports = [ground.port()?, ground.port()?];
    ground.write("apps/tells.py", APP)?;
    let before = ground.write("before.ini", "[uwsgi]\nenv = WHO=%n(%s)\nset-ph = of-all=yes\nenv = LAST=before\n")?;
    let after = ground.write("after.ini", "[uwsgi]\nenv = LAST=after %N %(of-all)\n")?;
    let mut emperor = Emperor::prepare(ground)?.with(&[
        "--vassal-set",
        "processes=2",
        "--vassals-include-before",
        &before.to_string_lossy(),
        "--vassals-inherit",
        &after.to_string_lossy(),
    ]);
    emperor.up()?;
    let text = |port: u16, more: &str| {
        let apps = ground.path("apps");
        format!("[uwsgi]\nhttp-socket = 127.0.0.1:{port}\npythonpath = {}\nmodule = tells\n{more}", apps.display())
    };
    for (name, port) in ["one", "two"].into_iter().zip(ports) {
        emperor.drop_file(&format!("{name}.ini"), &text(port, ""))?;
        emperor.loyal(&format!("{name}.ini"))?;
        let told = http::get(port, "/")?.text();
        ensure!(told == format!("{name}({name}.ini) after {name} yes 2 1"), "{name} says {told:?}");
    }
    // An edit comes into service by another way than a start.
    emperor.drop_file("one.ini", &text(ports[0], "env = REVISION=2\n"))?;
    wait::until("the edit to come into service", Duration::from_secs(20), || {
        let told = http::get(ports[0], "/").ok()?.text();
        (told == "one(one.ini) after one yes 2 2").then_some(())
    })?;
    emperor.stop()
}
