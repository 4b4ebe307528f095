//! Vassal files as nobody should write them, and names as nobody should choose them (faults C1 to C19): each is a row with
//! its reason or is passed over, none hurts another vassal, and none is waited for.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::{self, Ground},
    http,
    runner::Story,
    wait,
};
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("files/c1-an-empty-file-and-one-without-a-section-are-refused-rows", empty),
    Story::new("files/c2-garbage-is-refused-and-a-mark-or-carriage-returns-are-not", garbage),
    Story::new("files/c3-files-that-are-too-long-are-refused-and-hold-nobody-up", too_long),
    Story::new("files/c4-cycles-and-exploding-placeholders-end-soon", cycles),
    Story::new("files/c6-what-is-no-regular-file-is-never-waited-for", no_files),
    Story::new("files/c7-links-are-followed-to-regular-files-and-a-swap-is-an-edit", links),
    Story::new("files/c12-b2-a-touch-is-a-reload", touched),
    Story::new("files/c13-thousands-at-once-appear-change-and-go-while-the-api-answers", thousands).within_s(240),
    Story::new("files/c14-an-overflown-queue-of-events-loses-no-edit", overflown).within_s(120),
    Story::new("files/c17-hostile-names-are-rows-or-nothing", names),
    Story::new("files/c18-a-live-socket-of-somebody-else-stays-and-a-stale-one-is-replaced", sockets),
    Story::new("files/c19-a-user-that-does-not-exist-is-a-refused-row", nobody),
];

/// A directory with a vassal that must not notice anything.
struct Realm<'g> {
    emperor: Emperor<'g>,
    witness: u16,
}

impl<'g> Realm<'g> {
    fn open(ground: &'g Ground, arguments: &[&str]) -> Result<Realm<'g>> {
        let mut emperor = Emperor::prepare(ground)?.with(arguments);
        emperor.up()?;
        let witness = ground.port()?;
        emperor.drop_file("witness.ini", &super::ini(witness, "ids", ""))?;
        emperor.loyal("witness.ini")?;
        Ok(Realm { emperor, witness })
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        fs::write(self.emperor.vassals.join(name), content).with_context(|| name.to_owned())
    }

    fn refused(&self, name: &str) -> Result<Value> {
        let refused = self.emperor.vassal_until(name, "to be refused", |vassal| vassal["state"] == "refused")?;
        ensure!(refused["problems"].as_array().is_some_and(|problems| !problems.is_empty()), "{refused:#}");
        Ok(refused)
    }

    /// Nothing was restarted, and the emperor still starts what is good.
    fn close(self, ground: &Ground) -> Result<()> {
        ensure!(self.emperor.vassal("witness.ini")?["generation"] == 1, "the witness was disturbed");
        ensure!(http::get(self.witness, "/")?.status == 200);
        let port = ground.port()?;
        self.emperor.drop_file("after.ini", &super::ini(port, "hello", ""))?;
        self.emperor.loyal("after.ini")?;
        self.emperor.stop()
    }
}

fn empty(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, &[])?;
    for (name, text) in [
        ("empty.ini", ""),
        ("blank.ini", "\n\n"),
        ("other.ini", "[other]\nmodule = hello\n"),
        ("bare.ini", "[uwsgi]\n"),
    ] {
        realm.write(name, text.as_bytes())?;
        let refused = realm.refused(name)?;
        ensure!(refused["last_deployment"].is_null(), "nothing was tried: {refused:#}");
    }
    realm.close(ground)
}

fn garbage(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, &[])?;
    let mut noise = Vec::new();
    let mut state = 1u32;
    for _ in 0..20_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.push((state >> 24) as u8);
    }
    realm.write("noise.ini", &noise)?;
    realm.write("nul.ini", b"[uwsgi]\nmodule = he\0llo\n")?;
    realm.write("latin.ini", b"[uwsgi]\nmodule = caf\xe9\nprocesses = \xff\n")?;
    for name in ["noise.ini", "nul.ini", "latin.ini"] {
        realm.refused(name)?;
    }
    let (one, two) = (ground.port()?, ground.port()?);
    realm.write("marked.ini", format!("\u{feff}{}", super::ini(one, "hello", "")).as_bytes())?;
    realm.write("dos.ini", super::ini(two, "hello", "").replace('\n', "\r\n").as_bytes())?;
    realm.emperor.loyal("dos.ini")?;
    let marked = realm.emperor.vassal_until("marked.ini", "to be judged", |vassal| {
        vassal["state"] == "loyal" || vassal["state"] == "refused"
    })?;
    ensure!(marked["state"] == "loyal" || marked["problems"][0]["line"] == 1, "{marked:#}");
    realm.close(ground)
}

fn too_long(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, &[])?;
    let line = vec![b'x'; 10 << 20];
    let keys: String = (0..100_000).map(|number| format!("key-{number} = 1\n")).collect();
    realm.write("line.ini", &[b"[uwsgi]\n", line.as_slice()].concat())?;
    realm.write("keys.ini", format!("[uwsgi]\n{keys}").as_bytes())?;
    fs::File::create(realm.emperor.vassals.join("sparse.ini"))?.set_len(100 << 20)?;
    for name in ["line.ini", "keys.ini", "sparse.ini"] {
        let refused = realm.refused(name)?;
        ensure!(refused["problems"].to_string().contains("file-too-long"), "{name}: {}", refused["problems"]);
    }
    let began = Instant::now();
    realm.emperor.fleet()?;
    ensure!(began.elapsed() < Duration::from_secs(2), "the API was held up for {:?}", began.elapsed());
    realm.close(ground)
}

fn cycles(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, &[])?;
    let doubling: String = (1..64).map(|level| format!("k{level} = %(k{})%(k{})\n", level - 1, level - 1)).collect();
    realm.write("double.ini", format!("[uwsgi]\nk0 = xxxxxxxxxxxxxxxx\n{doubling}module = %(k63)\n").as_bytes())?;
    realm.write("itself.ini", b"[uwsgi]\na = %(a)\nb = %(c)\nc = %(b)\nmodule = %(b)\n")?;
    realm.write("ring.ini", b"[uwsgi]\nini = %v/ring-b.ini\n")?;
    realm.write("ring-b.ini", b"[uwsgi]\nini = %v/ring.ini\n")?;
    for level in 0..200 {
        fs::write(
            ground.path(&format!("deep-{level}")),
            format!("[uwsgi]\nini = {}\n", ground.path(&format!("deep-{}", level + 1)).display()),
        )?;
    }
    realm.write("deep.ini", format!("[uwsgi]\nini = {}\n", ground.path("deep-0").display()).as_bytes())?;
    for name in ["double.ini", "itself.ini", "ring.ini", "deep.ini"] {
        realm.refused(name)?;
    }
    realm.close(ground)
}

fn no_files(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, &[])?;
    let at = |name: &str| realm.emperor.vassals.join(name);
    nix::unistd::mkfifo(&at("fifo.ini"), nix::sys::stat::Mode::S_IRWXU)?;
    let _socket = UnixListener::bind(at("socket.ini"))?;
    fs::create_dir(at("directory.ini"))?;
    symlink("/dev/zero", at("device.ini"))?;
    fs::write(at("closed.ini"), "[uwsgi]\nmodule = hello\n")?;
    fs::set_permissions(at("closed.ini"), fs::Permissions::from_mode(0o000))?;
    realm.emperor.vassal_until("closed.ini", "to be a row", |vassal| vassal["state"] == "refused")?;
    let fleet = realm.emperor.fleet()?.to_string();
    for name in ["fifo.ini", "socket.ini", "directory.ini", "device.ini"] {
        ensure!(!fleet.contains(name), "{name} is taken for a vassal");
    }
    realm.close(ground)
}

fn links(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, &[])?;
    let at = |name: &str| realm.emperor.vassals.join(name);
    let port = ground.port()?;
    symlink(at("loop.ini"), at("loop.ini"))?;
    symlink(ground.path("nowhere"), at("dangling.ini"))?;
    symlink("/etc/shadow", at("shadow.ini"))?;
    let one = ground.write("one", &super::ini(port, "ids", "env = VERSION=1\n"))?;
    let two = ground.write("two", &super::ini(port, "ids", "env = VERSION=2\n"))?;
    symlink(&one, at("link.ini"))?;
    super::version_becomes(port, "1")?;
    for (to, version) in [(&two, "2"), (&one, "1"), (&two, "2")] {
        symlink(to, ground.path("swap"))?;
        fs::rename(ground.path("swap"), at("link.ini"))?;
        super::version_becomes(port, version)?;
    }
    let fleet = realm.emperor.fleet()?.to_string();
    ensure!(!fleet.contains("loop.ini") && !fleet.contains("dangling.ini"), "{fleet}");
    let shadow = realm.refused("shadow.ini")?;
    ensure!(shadow["last_deployment"].is_null(), "{shadow:#}");
    realm.close(ground)
}

fn touched(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, &[])?;
    let port = ground.port()?;
    realm.emperor.drop_file("shop.ini", &super::ini(port, "ids", ""))?;
    realm.emperor.loyal("shop.ini")?;
    let before = super::boot_of(&http::get(port, "/")?);
    realm.emperor.touch("shop.ini")?;
    super::boot_changes(port, &before)?;
    realm.close(ground)
}

fn thousands(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, &["--mass-removal-above-percent", "100"])?;
    let number = if ground::long() { 10_000 } else { 200 };
    let within = Duration::from_secs(60);
    let count = |what: &str, so: &dyn Fn(&Value) -> bool, wanted: usize| {
        wait::until_ok(what, within, || {
            let began = Instant::now();
            let fleet = realm.emperor.fleet()?;
            ensure!(began.elapsed() < Duration::from_secs(5), "the API took {:?}", began.elapsed());
            let vassals = fleet["vassals"].as_array().context("no vassals")?;
            let seen = vassals.iter().filter(|vassal| vassal["name"] != "witness.ini" && so(vassal)).count();
            ensure!(seen == wanted, "{seen} of {wanted}");
            Ok(())
        })
    };
    // Refused: what is measured is the emperor, not so many interpreters.
    for n in 0..number {
        realm.write(&format!("v{n:05}.ini"), b"[uwsgi]\nprocesses = one\n")?;
    }
    count("all to appear", &|vassal| vassal["state"] == "refused", number)?;
    for n in 0..number {
        realm.write(&format!("v{n:05}.ini"), b"[uwsgi]\nprocesses = two\n")?;
    }
    count("all to be read again", &|vassal| vassal["problems"].to_string().contains("two"), number)?;
    for n in 0..number {
        fs::remove_file(realm.emperor.vassals.join(format!("v{n:05}.ini")))?;
    }
    count("all to go", &|_| true, 0)?;
    realm.close(ground)
}

fn overflown(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, &[])?;
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")?.trim().parse::<u64>()?;
    let port = ground.port()?;
    realm.emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=1\n"))?;
    realm.emperor.loyal("shop.ini")?;
    let brain = realm.emperor.brain_pid()?;
    // While the brain does not read, more happens than the kernel keeps for it; the edit is among what is lost.
    empery_tests::procfs::signal(brain, nix::sys::signal::Signal::SIGSTOP);
    let (one, two) = (realm.emperor.vassals.join("a.tmp"), realm.emperor.vassals.join("b.tmp"));
    fs::write(&one, "")?;
    for _ in 0..queue {
        fs::rename(&one, &two)?;
        fs::rename(&two, &one)?;
    }
    realm.emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=2\n"))?;
    empery_tests::procfs::signal(brain, nix::sys::signal::Signal::SIGCONT);
    super::version_becomes(port, "2")?;
    realm.close(ground)
}

fn names(ground: &Ground) -> Result<()> {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let realm = Realm::open(ground, &[])?;
    let longest = format!("{}.ini", "n".repeat(251));
    let rows = [
        "-rf.ini",
        "<img src=x onerror=alert(1)>.ini",
        "con.ini",
        "Twin.ini",
        "twin.ini",
        "\u{1f40d} snake.ini",
        "a b;$(reboot).ini",
        &longest,
    ];
    for name in rows {
        realm.write(name, b"[uwsgi]\n")?;
    }
    for name in [&b"line\nbreak.ini"[..], b"not-utf8-\xff\xfe.ini", b".hidden.ini"] {
        fs::write(realm.emperor.vassals.join(OsStr::from_bytes(name)), "[uwsgi]\n")?;
    }
    let fleet = wait::until_ok("a row for each", Duration::from_secs(20), || {
        let fleet = realm.emperor.fleet()?;
        let seen: Vec<&str> = fleet["vassals"]
            .as_array()
            .context("no vassals")?
            .iter()
            .filter_map(|vassal| vassal["name"].as_str())
            .collect();
        ensure!(rows.iter().all(|row| seen.contains(row)), "{seen:?}");
        Ok(seen.len())
    })?;
    ensure!(fleet == rows.len() + 1, "{fleet} rows");
    for path in ["/api/v1/vassals/..%2fshop.ini", "/api/v1/vassals/%2e%2e", "/api/v1/vassals/a%0ab.ini/reload"] {
        let answer = realm.emperor.ask(http::Ask::get(path))?;
        ensure!((400..500).contains(&answer.status), "{path}: {}", answer.status);
    }
    let page = realm.emperor.ask(http::Ask::get("/").header("Accept", "text/html"))?.text();
    ensure!(!page.contains("<img src=x"), "a name is not escaped");
    realm.close(ground)
}

fn sockets(ground: &Ground) -> Result<()> {
    let realm = Realm::open(ground, &[])?;
    let ini = |socket: &str| {
        let apps = ground::app("");
        format!("[uwsgi]\nhttp-socket = {socket}\npythonpath = {}\nmodule = hello\n", apps.display())
    };
    let stranger = ground.path("stranger.sock");
    let listener = UnixListener::bind(&stranger)?;
    realm.emperor.drop_file("stranger.ini", &ini(&stranger.to_string_lossy()))?;
    let failed = realm.emperor.deploy_failed("stranger.ini")?;
    ensure!(failed["last_deployment"].to_string().contains("stranger.sock"), "{failed:#}");
    ensure!(
        stranger.exists() && std::os::unix::net::UnixStream::connect(&stranger).is_ok(),
        "a live socket was taken away"
    );
    drop(listener);
    // Nobody answers there any more: a stale one is replaced, at the next try.
    realm.emperor.loyal("stranger.ini")?;
    ensure!(http::get(&stranger, "/")?.status == 200);
    realm.emperor.drop_file("second.ini", &ini(&stranger.to_string_lossy()))?;
    let failed = realm.emperor.deploy_failed("second.ini")?;
    ensure!(
        failed["last_deployment"].to_string().contains("stranger.ini"),
        "it names the vassal that has it: {failed:#}"
    );
    realm.emperor.drop_file("long.ini", &ini(&format!("/tmp/{}", "s".repeat(120))))?;
    realm.refused("long.ini")?;
    realm.close(ground)
}

fn nobody(ground: &Ground) -> Result<()> {
    ground.needs_root()?;
    let realm = Realm::open(ground, &[])?;
    let port = ground.port()?;
    realm.emperor.drop_file("nobody.ini", &super::ini(port, "hello", "uid = no-such-user-here\n"))?;
    let refused = realm.refused("nobody.ini")?;
    ensure!(refused["problems"].to_string().contains("unknown-user"), "{refused:#}");
    realm.close(ground)
}
