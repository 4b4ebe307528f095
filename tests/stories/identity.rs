//! Who runs as whom: keeper root, brain its own user, masters and workers the vassal's.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http, procfs, python,
    runner::Story,
    vassal::Vassal,
};
use nix::sys::signal::Signal;
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("identity/keeper-brain-master-and-workers-each-run-as-they-should", each_as_it_should),
    Story::new("identity/b10-a-vassal-serves-on-port-80", port_80),
    Story::new("identity/b10-sockets-of-a-vassal-that-root-starts-alone-are-its-user-s", sockets),
    Story::new("identity/a-root-owned-0600-file-is-read", root_owned),
    Story::new("identity/another-uid-is-an-edit-like-any-other", uid_changes),
    Story::new("identity/p1-p3-workers-of-the-user-before-are-relieved-by-the-next", relieved),
    Story::new("identity/c19-p3-workers-of-an-owner-before-leave-when-another-owns-the-file", sent_away),
    Story::new("identity/groups-are-the-user-s-own-or-none-or-those-that-are-named", groups),
    Story::new("identity/c19-b41-a-tyrant-runs-each-vassal-as-the-owner-of-its-file-and-root-s-not-at-all", tyrant),
    Story::new("identity/c19-a-tyrant-s-vassal-has-no-more-rights-than-its-owner", no_more_rights),
    Story::new("identity/a-uid-without-gid-takes-the-user-s-own-group", uid_alone),
    Story::new("identity/the-user-in-an-emperor-s-file-is-who-its-vassals-are", of_the_emperor),
    Story::new("identity/a-log-that-the-vassal-s-user-may-not-open-is-told-and-read-where-it-is", log_elsewhere),
];

fn id_of(user: &str) -> Result<u32> {
    let text = python::run("import pwd, sys; print(pwd.getpwnam(sys.argv[1]).pw_uid)", &[user])?;
    Ok(text.trim().parse()?)
}

/// A vassal file for `show`, copied where everybody may read it.
fn ini(ground: &Ground, port: u16, more: &str) -> Result<String> {
    for module in ["show.py", "ids.py"] {
        ground.write(&format!("apps/{module}"), &fs::read_to_string(ground::app(module))?)?;
    }
    Ok(format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nchdir = {}\npythonpath = .\nmodule = show\nmaster = true\n{more}",
        ground.path("apps").display()
    ))
}

fn emperor<'g>(ground: &'g Ground) -> Result<Emperor<'g>> {
    ground.needs_root()?;
    let mut emperor = Emperor::prepare(ground)?.for_every_user()?.with(&["--user", "daemon"]);
    emperor.up()?;
    Ok(emperor)
}

fn each_as_it_should(ground: &Ground) -> Result<()> {
    let emperor = emperor(ground)?;
    let port = ground.port()?;
    emperor.drop_file("shop.ini", &ini(ground, port, "uid = www-data\ngid = www-data\nprocesses = 2\n")?)?;
    let vassal = emperor.loyal("shop.ini")?;
    let master = i32::try_from(vassal["master_pid"].as_i64().context("no master")?)?;
    let uid = |pid: i32| procfs::uid(pid).context("its uid");
    let brain = emperor.brain_pid()?;
    let (keeper, brains) = (uid(emperor.keeper_pid()?)?, uid(brain)?);
    let (daemon, www) = (id_of("daemon")?, id_of("www-data")?);
    let below: Vec<u32> = procfs::children(master).into_iter().filter_map(procfs::uid).collect();
    ground
        .note(&format!("uids: keeper {keeper}, brain {brains}, master {}, zygote and workers {below:?}", uid(master)?));
    ensure!(keeper == 0 && brains == daemon && uid(master)? == www);
    let status = |pid: i32, line: &str| -> Result<bool> {
        Ok(fs::read_to_string(format!("/proc/{pid}/status"))?.lines().any(|told| told == line))
    };
    ensure!(status(brain, "NoNewPrivs:\t1")?, "a set-user-id program would give the brain back what it gave up");
    ensure!(status(master, "NoNewPrivs:\t0")?, "sendmail and sudo of an app would fail");
    ensure!(below.len() == 3 && below.iter().all(|uid| *uid == www));
    let shown: Value = serde_json::from_slice(&http::get(port, "/")?.body)?;
    ensure!(shown["process"]["uid"] == www && shown["process"]["gid"] == www, "{shown:#}");
    ensure!(!shown["process"]["groups"].to_string().contains("[0"), "root's groups were kept: {shown:#}");
    emperor.stop()
}

/// As in uWSGI, which binds them when it has become that user: a web server that runs as he may connect.
fn sockets(ground: &Ground) -> Result<()> {
    ground.needs_root()?;
    let (port, www) = (ground.port()?, id_of("www-data")?);
    let more = "uid = www-data\ngid = www-data\nstats = s.sock\nsocket = a.sock\n";
    for (chown, owner) in [("", (www, www)), ("chown-socket = daemon\n", (id_of("daemon")?, www))] {
        let mut vassal = Vassal::from_ini(ground, "app.ini", &ini(ground, port, &format!("{more}{chown}"))?)?;
        vassal.answers(port)?;
        let owner_of = |name: &str| -> Result<(u32, u32)> {
            let facts = fs::metadata(ground.path("apps").join(name)).or_else(|_| fs::metadata(ground.path(name)))?;
            Ok((facts.uid(), facts.gid()))
        };
        ensure!(owner_of("a.sock")? == owner, "{:?}", owner_of("a.sock")?);
        ensure!(owner_of("s.sock")? == (www, www), "{:?}", owner_of("s.sock")?);
        vassal.stop()?;
    }
    Ok(())
}

fn port_80(ground: &Ground) -> Result<()> {
    ground.needs_own_network()?;
    let emperor = emperor(ground)?;
    emperor.drop_file("shop.ini", &ini(ground, 80, "uid = www-data\ngid = www-data\n")?)?;
    emperor.loyal("shop.ini")?;
    let shown: Value = serde_json::from_slice(&http::get(80, "/")?.body)?;
    ensure!(shown["process"]["uid"] == id_of("www-data")?, "{shown:#}");
    emperor.stop()
}

fn root_owned(ground: &Ground) -> Result<()> {
    let emperor = emperor(ground)?;
    let port = ground.port()?;
    let aside =
        ground.write("aside.tmp", &ini(ground, port, "uid = www-data\ngid = www-data\nenv = SECRET=of-the-app\n")?)?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))?;
    fs::rename(aside, emperor.vassals.join("shop.ini"))?;
    emperor.loyal("shop.ini")?;
    ensure!(http::get(port, "/")?.status == 200);
    emperor.stop()
}

fn uid_changes(ground: &Ground) -> Result<()> {
    let emperor = emperor(ground)?;
    let port = ground.port()?;
    emperor.drop_file("shop.ini", &ini(ground, port, "uid = www-data\ngid = www-data\n")?)?;
    emperor.loyal("shop.ini")?;
    emperor.drop_file("shop.ini", &ini(ground, port, "uid = nobody\ngid = nogroup\n")?)?;
    let nobody = id_of("nobody")?;
    empery_tests::wait::until_ok("the other user to serve", empery_tests::emperor::SETTLED_WITHIN, || {
        let shown: Value = serde_json::from_slice(&http::get(port, "/")?.body)?;
        ensure!(shown["process"]["uid"] == nobody, "{}", shown["process"]);
        Ok(())
    })?;
    emperor.loyal("shop.ini")?;
    ensure!(emperor.masters().len() == 1);
    emperor.stop()
}

/// They call on the link of a master that is another user's, and would serve for ever what the file said before.
fn relieved(ground: &Ground) -> Result<()> {
    let mut emperor = emperor(ground)?;
    let port = ground.port()?;
    emperor.drop_file("shop.ini", &ini(ground, port, "uid = www-data\ngid = www-data\n")?)?;
    let vassal = emperor.loyal("shop.ini")?;
    let pid = |value: &Value| Ok::<_, anyhow::Error>(i32::try_from(value.as_i64().context("no pid")?)?);
    let (master, worker) = (pid(&vassal["master_pid"])?, pid(&vassal["workers"][0]["pid"])?);
    emperor.kill_keeper()?;
    procfs::signal(master, Signal::SIGKILL);
    emperor.drop_file("shop.ini", &ini(ground, port, "uid = nobody\ngid = nogroup\n")?)?;
    emperor.up()?;
    emperor.loyal("shop.ini")?;
    serves_as(port, id_of("nobody")?)?;
    let gone = || (!procfs::alive(worker)).then_some(());
    empery_tests::wait::until("the worker before to be gone", empery_tests::emperor::SETTLED_WITHIN, gone)?;
    ensure!(!emperor.output().contains("failed after"), "{}", emperor.output());
    emperor.stop()
}

/// A tyrant's next master believes nothing that they say, and they leave all the same.
fn sent_away(ground: &Ground) -> Result<()> {
    let emperor = tyrant_emperor(ground, &[])?;
    let (port, www, nobody) = (ground.port()?, id_of("www-data")?, id_of("nobody")?);
    put(&emperor, ground, (www, www), &ini(ground, port, "")?)?;
    let vassal = emperor.loyal("shop.ini")?;
    let pid = |value: &Value| Ok::<_, anyhow::Error>(i32::try_from(value.as_i64().context("no pid")?)?);
    let (master, worker) = (pid(&vassal["master_pid"])?, pid(&vassal["workers"][0]["pid"])?);
    // The new owner's master gets the sockets from the keeper, who lives: only the workers are the old owner's.
    let brain = emperor.brain_pid()?;
    procfs::signal(brain, Signal::SIGSTOP);
    procfs::signal(master, Signal::SIGKILL);
    chown(emperor.vassals.join("shop.ini"), Some(nobody), Some(nobody))?;
    procfs::signal(brain, Signal::SIGKILL);
    serves_as(port, nobody)?;
    let gone = || (!procfs::alive(worker)).then_some(());
    empery_tests::wait::until("the old owner's worker to be gone", empery_tests::emperor::SETTLED_WITHIN, gone)?;
    ensure!(emperor.loyal("shop.ini")?["failures"].as_u64().is_none_or(|failures| failures == 0));
    emperor.stop()
}

fn uid_alone(ground: &Ground) -> Result<()> {
    let emperor = emperor(ground)?;
    let port = ground.port()?;
    emperor.drop_file("shop.ini", &ini(ground, port, "uid = www-data\n")?)?;
    emperor.loyal("shop.ini")?;
    let shown: Value = serde_json::from_slice(&http::get(port, "/")?.body)?;
    let www = id_of("www-data")?;
    ensure!(shown["process"]["uid"] == www && shown["process"]["gid"] == www, "{shown:#}");
    emperor.stop()
}

fn of_the_emperor(ground: &Ground) -> Result<()> {
    ground.needs_root()?;
    ground.write("who.ini", "[uwsgi]\nuid = www-data\ngid = www-data\n")?;
    let text =
        "[uwsgi]\ninclude = %d/who.ini\nplace = vassals\nemperor = %d/%(place)\nmaster = true\ndie-on-term = true\n";
    let file = ground.write("emperor.ini", text)?;
    let mut emperor = Emperor::prepare(ground)?.for_every_user()?.by_file(&file).with(&["--user", "daemon"]);
    emperor.up()?;
    for (name, more, user) in [("none.ini", "", "www-data"), ("own.ini", "uid = nobody\ngid = nogroup\n", "nobody")] {
        let port = ground.port()?;
        emperor.drop_file(name, &ini(ground, port, more)?)?;
        emperor.loyal(name)?;
        serves_as(port, id_of(user)?)?;
        let vassal = emperor.vassal(name)?;
        ensure!(!vassal.to_string().contains("runs-as-root"), "{vassal:#}");
    }
    emperor.stop()
}

fn log_elsewhere(ground: &Ground) -> Result<()> {
    let emperor = emperor(ground)?;
    let port = ground.port()?;
    let log = ground.path("of-root");
    fs::create_dir(&log)?;
    let log = log.join("shop.log");
    let more = format!("uid = www-data\ngid = www-data\nlogto = {}\nexec-asap = echo printed\n", log.display());
    emperor.drop_file("shop.ini", &ini(ground, port, &more)?)?;
    emperor.loyal("shop.ini")?;
    empery_tests::wait::until_ok("the log to be told of", empery_tests::emperor::SETTLED_WITHIN, || {
        let incidents = emperor.ask(http::Ask::get("/api/v1/vassals/shop.ini/incidents"))?.text();
        ensure!(
            incidents.contains("\"log-elsewhere\"") && incidents.contains("shop.log cannot be opened"),
            "{incidents}"
        );
        let shown = emperor.says("logs", &["shop.ini"])?.success()?;
        ensure!(shown.contains("generation 1 serves") && shown.contains("\nprinted\n"), "{shown}");
        Ok(())
    })?;
    ensure!(!log.exists(), "it was opened as root");
    emperor.stop()
}

/// Under an emperor and alone: `no-initgroups` and `add-gid` are asked for by two more vassals each.
fn groups(ground: &Ground) -> Result<()> {
    let emperor = emperor(ground)?;
    // A user with a group beside its own. Names are the machine's; without such a user there is nothing to tell apart.
    let user = python::run(
        "import grp, pwd; print(next((m for g in grp.getgrall() for m in g.gr_mem if m != 'root' and \
         pwd.getpwnam(m).pw_gid != g.gr_gid), 'www-data'))",
        &[],
    )?;
    let user = user.trim();
    let own: Vec<u32> = serde_json::from_str(&python::run(
        "import os, pwd, sys; u = pwd.getpwnam(sys.argv[1]); print(sorted(os.getgrouplist(u.pw_name, u.pw_gid)))",
        &[user],
    )?)?;
    let daemon = id_of("daemon")?;
    let cases = [
        ("plain.ini", "", own.clone()),
        ("none.ini", "no-initgroups = true\n", vec![]),
        ("named.ini", "add-gid = daemon\nadd-gid = 4242\n", vec![daemon, 4242]),
    ];
    for (name, more, expected) in &cases {
        let port = ground.port()?;
        emperor.drop_file(name, &ini(ground, port, &format!("uid = {user}\n{more}"))?)?;
        emperor.loyal(name)?;
        ensure!(groups_of(port)? == *expected, "{name}: {:?} instead of {expected:?}", groups_of(port)?);
        emperor.remove_file(name)?;
    }
    emperor.stop()?;
    for (name, more, expected) in &cases {
        let port = ground.port()?;
        let mut vassal = Vassal::from_ini(ground, name, &ini(ground, port, &format!("uid = {user}\n{more}"))?)?;
        vassal.answers(port)?;
        ensure!(groups_of(port)? == *expected, "alone, {name}: {:?} instead of {expected:?}", groups_of(port)?);
        vassal.stop()?;
    }
    Ok(())
}

fn groups_of(port: u16) -> Result<Vec<u32>> {
    let shown: Value = serde_json::from_slice(&http::get(port, "/")?.body)?;
    let groups = shown["process"]["groups"].as_array().context("no groups")?;
    let mut groups: Vec<u32> = groups.iter().filter_map(|gid| u32::try_from(gid.as_u64()?).ok()).collect();
    groups.sort_unstable();
    Ok(groups)
}

fn tyrant_emperor<'g>(ground: &'g Ground, more: &[&str]) -> Result<Emperor<'g>> {
    ground.needs_root()?;
    let mut emperor =
        Emperor::prepare(ground)?.for_every_user()?.with(&["--user", "daemon", "--emperor-tyrant"]).with(more);
    emperor.up()?;
    Ok(emperor)
}

/// A file of this user's and his group's, as he would have put it there.
fn put(emperor: &Emperor<'_>, ground: &Ground, owner: (u32, u32), text: &str) -> Result<()> {
    let aside = ground.write("aside.tmp", text)?;
    chown(&aside, Some(owner.0), Some(owner.1))?;
    fs::rename(aside, emperor.vassals.join("shop.ini"))?;
    Ok(())
}

fn serves_as(port: u16, uid: u32) -> Result<Value> {
    empery_tests::wait::until_ok("the owner to serve", empery_tests::emperor::SETTLED_WITHIN, || {
        let shown: Value = serde_json::from_slice(&http::get(port, "/")?.body)?;
        ensure!(shown["process"]["uid"] == uid, "{}", shown["process"]);
        Ok(shown)
    })
}

fn tyrant(ground: &Ground) -> Result<()> {
    let emperor = tyrant_emperor(ground, &[])?;
    let port = ground.port()?;
    let (www, nobody) = (id_of("www-data")?, id_of("nobody")?);
    let text = ini(ground, port, "uid = root\ngid = root\nadd-gid = root\n")?;
    put(&emperor, ground, (www, www), &text)?;
    emperor.loyal("shop.ini")?;
    let shown = serves_as(port, www)?;
    ensure!(shown["process"]["gid"] == www && shown["process"]["groups"] == serde_json::json!([]), "{shown:#}");
    let vassal = emperor.vassal("shop.ini")?;
    ensure!(vassal.to_string().contains("counts for nothing: the app runs as the owner of its file"), "{vassal:#}");
    // Another owner is an edit: the next generation is his.
    chown(emperor.vassals.join("shop.ini"), Some(nobody), Some(nobody))?;
    serves_as(port, nobody)?;
    emperor.loyal("shop.ini")?;
    ensure!(emperor.masters().len() == 1, "two owners serve");
    // Root's is refused.
    emperor.drop_file("root.ini", &ini(ground, ground.port()?, "uid = www-data\n")?)?;
    let refused = emperor.vassal_until("root.ini", "refused", |vassal| vassal["state"] == "refused")?;
    ensure!(refused.to_string().contains("but none as root"), "{refused:#}");
    ensure!(emperor.masters().len() == 1, "root's file runs");
    emperor.stop()
}

fn no_more_rights(ground: &Ground) -> Result<()> {
    ground.needs_own_network()?;
    let emperor = tyrant_emperor(ground, &["--emperor-tyrant-nofollow", "--emperor-tyrant-initgroups"])?;
    let www = id_of("www-data")?;
    // Port 80 is root's to give.
    put(&emperor, ground, (www, www), &ini(ground, 80, "")?)?;
    let failed = emperor.deploy_failed("shop.ini")?;
    ensure!(failed.to_string().contains("Permission denied"), "{failed:#}");
    // A link of his leads to a file that only root may read, and root does not read it for him.
    let secret = ground.write("secret.ini", &ini(ground, ground.port()?, "env = SECRET=of-root\n")?)?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    let link = emperor.vassals.join("link.ini");
    symlink(&secret, &link)?;
    lchown(&link, Some(www), Some(www))?;
    let refused = emperor.vassal_until("link.ini", "refused", |vassal| vassal["state"] == "refused")?;
    ensure!(refused.to_string().contains("cannot be opened"), "{refused:#}");
    // One that he may read runs as he.
    let port = ground.port()?;
    let open = ground.write("open.ini", &ini(ground, port, "")?)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644))?;
    let other = emperor.vassals.join("other.ini");
    symlink(&open, &other)?;
    lchown(&other, Some(www), Some(www))?;
    emperor.loyal("other.ini")?;
    let shown = serves_as(port, www)?;
    ensure!(shown["process"]["groups"] == serde_json::json!([www]), "not his groups: {shown:#}");
    // What he has the emperor read beside his file, he must be able to read: this one is the brain's own.
    let (nobody, daemon) = (id_of("nobody")?, id_of("daemon")?);
    let brains = ground.write("brains.txt", "of-the-brain")?;
    fs::set_permissions(&brains, fs::Permissions::from_mode(0o600))?;
    chown(&brains, Some(daemon), Some(daemon))?;
    let reads = format!("procname-prefix = @({})\n", brains.display());
    put(&emperor, ground, (www, www), &ini(ground, ground.port()?, &reads)?)?;
    let refused = emperor.vassal_until("shop.ini", "refused", |vassal| vassal["state"] == "refused")?;
    ensure!(refused.to_string().contains("not readable by the owner of the vassal's file"), "{refused:#}");
    // Nor may he have the group of the brain, or have another's file run by a second name; and nobody else writes his.
    let text = ini(ground, ground.port()?, "")?;
    for (name, owner, mode, why) in [
        ("group.ini", (www, daemon), 0o644, "does not belong"),
        ("open.ini", (www, www), 0o666, "others than its owner may write it"),
        ("hard.ini", (nobody, nobody), 0o644, "2 names"),
    ] {
        let aside = ground.write(&format!("{name}.aside"), &text)?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(mode))?;
        chown(&aside, Some(owner.0), Some(owner.1))?;
        match name {
            "hard.ini" => fs::hard_link(&aside, emperor.vassals.join(name))?,
            _ => fs::rename(&aside, emperor.vassals.join(name))?,
        }
        let refused = emperor.vassal_until(name, "refused", |vassal| vassal["state"] == "refused")?;
        ensure!(refused.to_string().contains(why), "{refused:#}");
    }
    emperor.stop()
}
