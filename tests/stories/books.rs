//! Invariant N1 by two books: clients and app each keep one, and they balance after reloads and after kills of whoever
//! watches over the app. `EMPERY_LONG=1` goes on to a million requests over a thousand reloads, and a thousand kills of each;
//! `EMPERY_MINUTES` ends that earlier.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    books::{Books, Door, Speech},
    emperor::Emperor,
    ground::{self, Ground},
    http::{Ask, Target},
    load::Mode,
    nginx::Nginx,
    procfs,
    runner::Story,
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] = &[
    Story::new("books/n1-reloads-lose-nothing-through-any-door", reloads).alone().within_s(LONGEST_S),
    Story::new("books/n1-p1-kills-of-brain-and-keeper-lose-nothing", kills).alone().within_s(LONGEST_S),
];

const LONGEST_S: u64 = 3 * 3600;

/// A vassal with three sockets, and nginx in front of one of them.
struct Shop<'g> {
    emperor: Emperor<'g>,
    nginx: Nginx,
    books: Books,
}

impl<'g> Shop<'g> {
    fn open(ground: &'g Ground) -> Result<Shop<'g>> {
        let port = ground.port()?;
        let (http, uwsgi) = (ground.path("http.sock"), ground.path("uwsgi.sock"));
        let mut books = Books::open(ground)?;
        let emperor = Emperor::start(ground)?;
        let more = format!(
            "processes = 2\nhttp-socket = {}\nsocket = {}\nchmod-socket = 666\n{}",
            http.display(),
            uwsgi.display(),
            books.line()
        );
        emperor.drop_file("shop.ini", &super::ini(port, "books", &more))?;
        emperor.loyal("shop.ini")?;
        let to = format!("unix:{}", uwsgi.display());
        let nginx = Nginx::from_example(ground, "unix.conf", &[("unix:/run/empery-apps/shop.sock", to)])?;
        for (name, target, speech) in [
            ("kept alive", port.into(), Speech::Http(Mode::KeepAlive)),
            ("closed", port.into(), Speech::Http(Mode::Close)),
            ("behind nginx", Target::from(nginx.port), Speech::Http(Mode::KeepAlive)),
            ("over a unix socket", Target::from(&http), Speech::Http(Mode::KeepAlive)),
        ] {
            books.let_in(&Door { name, target, speech, clients: 2, body_every: 50 });
        }
        books.goes_on(100)?;
        Ok(Shop { emperor, nginx, books })
    }

    fn close(self, ground: &Ground, what: &str) -> Result<()> {
        self.books.goes_on(100)?;
        let account = self.books.close()?;
        ground.note(&format!("{what}: {account}"));
        account.balances()?;
        self.nginx.stop()?;
        self.emperor.stop()
    }
}

/// Until `EMPERY_MINUTES` are over, if there is such a limit.
fn goes_on(began: Instant) -> bool {
    ground::at_most().is_none_or(|limit| began.elapsed() < limit)
}

fn reloads(ground: &Ground) -> Result<()> {
    let (reloads, requests) = if ground::long() { (1_000, 1_000_000) } else { (100, 10_000) };
    let shop = Shop::open(ground)?;
    let (began, mut done) = (Instant::now(), 0_u32);
    while (done < reloads || shop.books.answered() < requests) && goes_on(began) {
        let ended = shop.emperor.json(Ask::post("/api/v1/vassals/shop.ini/reload?wait=60s"))?;
        ensure!(ended["end"]["result"] == "succeeded", "reload {done}: {ended:#}");
        done += 1;
    }
    shop.close(ground, &format!("{done} reloads"))
}

fn kills(ground: &Ground) -> Result<()> {
    let kills = if ground::long() { 1_000 } else { 30 };
    let mut shop = Shop::open(ground)?;
    let master = shop.emperor.vassal("shop.ini")?["master_pid"].as_i64().context("no master")?;
    let (began, mut done) = (Instant::now(), 0);
    while done < kills && goes_on(began) {
        done += 1;
        // In turn: a brain that dies twice in a row is started later and later, but at once by a new keeper.
        let brain = shop.emperor.brain_pid()?;
        procfs::signal(brain, Signal::SIGKILL);
        wait::until("another brain", Duration::from_secs(20), || {
            shop.emperor.brain_pid().ok().filter(|pid| *pid != brain)
        })?;
        shop.emperor.loyal("shop.ini")?;
        shop.emperor.kill_keeper()?;
        shop.books.goes_on(10)?;
        shop.emperor.up()?;
        shop.emperor.loyal("shop.ini")?;
    }
    let vassal = shop.emperor.vassal("shop.ini")?;
    ensure!(vassal["master_pid"].as_i64() == Some(master), "another master: {vassal:#}");
    ensure!(vassal["generation"] == 1, "it was reloaded: {vassal:#}");
    let took = began.elapsed().as_secs_f64();
    shop.close(ground, &format!("{done} kills of the brain and {done} of the keeper in {took:.0} s"))
}
