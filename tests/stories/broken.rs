//! Broken deploys under load: the old generation serves on, the reason is seen everywhere, the fix is picked up at once.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use empery_tests::{
    emperor::Emperor,
    ground::Ground,
    http::{self, Ask},
    load::{Load, Mode},
    runner::Story,
};
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("broken/a1-syntax-error", syntax_error),
    Story::new("broken/a1-import-error", import_error),
    Story::new("broken/a1-b35-missing-callable", missing_callable),
    Story::new("broken/a4-sys-exit-at-import", exits),
    Story::new("broken/a4-segfault-at-import", crashes),
    Story::new("broken/a2-import-that-hangs", hangs),
    Story::new("broken/missing-virtualenv", missing_virtualenv),
    Story::new("broken/b5-wrong-module", wrong_module),
    Story::new("broken/c18-port-in-use", port_in_use),
    Story::new("broken/c2-ini-garbage", ini_garbage),
    Story::new("broken/b37-first-boot-fails-and-is-tried-again-on-edit", first_boot),
    Story::new("broken/one-vassal-hurts-no-other", no_other_hurt),
];

/// A good version of the app beside the broken one, so that an edit of the vassal file or of the code breaks it.
struct Shop<'g> {
    emperor: Emperor<'g>,
    port: u16,
}

impl<'g> Shop<'g> {
    fn open(ground: &'g Ground) -> Result<Shop<'g>> {
        let port = ground.port()?;
        let emperor = Emperor::start(ground)?;
        let shop = Shop { emperor, port };
        shop.deploy("1", "ids", "")?;
        shop.emperor.loyal("shop.ini")?;
        Ok(shop)
    }

    fn deploy(&self, version: &str, module: &str, more: &str) -> Result<()> {
        self.emperor.drop_file(
            "shop.ini",
            &super::ini(self.port, module, &format!("env = VERSION={version}\nprocesses = 2\n{more}")),
        )
    }

    /// Breaks it by `break_it` under load; `reasons` must be seen everywhere; then mends it.
    fn breaks(self, break_it: impl FnOnce(&Shop<'g>) -> Result<()>, reasons: &[&str]) -> Result<()> {
        let load = Load::on(self.port, Mode::KeepAlive).start();
        load.goes_on(20)?;
        break_it(&self)?;
        let seen = self.emperor.vassal_until("shop.ini", "the reason to be seen", |vassal| {
            let text = vassal.to_string();
            reasons.iter().all(|reason| text.contains(reason))
        })?;
        ensure!(seen["serving_revision"] == 1, "the first revision should serve on: {seen:#}");
        self.seen_everywhere(reasons)?;
        load.goes_on(20)?;

        self.deploy("2", "ids", "")?;
        let took = super::version_becomes(self.port, "2")?;
        ensure!(took < Duration::from_secs(3), "the fix took {took:?}");
        load.goes_on(20)?;
        load.stop().flawless()?;
        let mended = self.emperor.vassal_until("shop.ini", "to be well again", |vassal| {
            vassal["state"] == "loyal" && !super::has_errors(vassal)
        })?;
        ensure!(mended["last_deployment"]["end"]["result"] == "succeeded", "{mended:#}");
        self.emperor.stop()
    }

    /// In `emperor status`, as JSON and for people, and on the dashboard.
    fn seen_everywhere(&self, reasons: &[&str]) -> Result<()> {
        let status: Value = serde_json::from_str(&self.emperor.says("status", &["--json"])?.success()?)?;
        let one = self.emperor.says("status", &["shop.ini"])?;
        let page = self.emperor.ask(Ask::get("/vassals/shop.ini"))?;
        ensure!(page.status == 200, "the vassal's page answers {}: {}", page.status, page.text());
        let page = unescaped(&page.text());
        for reason in reasons {
            ensure!(status.to_string().contains(reason), "status --json does not say {reason:?}: {status:#}");
            ensure!(one.stdout.contains(reason), "status shop.ini does not say {reason:?}: {}", one.stdout);
            ensure!(page.contains(reason), "the page does not say {reason:?}: {page}");
        }
        Ok(())
    }
}

fn unescaped(html: &str) -> String {
    [
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(html.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

fn module(ground: &Ground, name: &str, reasons: &[&str]) -> Result<()> {
    module_with(ground, name, "", reasons)
}

fn module_with(ground: &Ground, name: &str, more: &str, reasons: &[&str]) -> Result<()> {
    Shop::open(ground)?.breaks(|shop| shop.deploy("broken", &format!("broken.{name}"), more), reasons)
}

fn syntax_error(ground: &Ground) -> Result<()> {
    module(ground, "syntax_error", &["SyntaxError", "syntax_error.py"])
}

fn import_error(ground: &Ground) -> Result<()> {
    module(ground, "import_error", &["ModuleNotFoundError", "no_such_module_anywhere"])
}

fn missing_callable(ground: &Ground) -> Result<()> {
    module(ground, "missing_callable", &["broken.missing_callable", "application"])
}

fn exits(ground: &Ground) -> Result<()> {
    module(ground, "exits", &["SystemExit"])
}

fn crashes(ground: &Ground) -> Result<()> {
    module(ground, "crashes", &["SIGSEGV"])
}

fn hangs(ground: &Ground) -> Result<()> {
    module_with(ground, "hangs", "boot-deadline = 3\n", &["3 s"])
}

fn missing_virtualenv(ground: &Ground) -> Result<()> {
    let shop = Shop::open(ground)?;
    shop.breaks(|shop| shop.deploy("broken", "ids", "virtualenv = /nowhere/at/all\n"), &["/nowhere/at/all"])
}

fn wrong_module(ground: &Ground) -> Result<()> {
    Shop::open(ground)?.breaks(|shop| shop.deploy("broken", "not_a_module_of_ours", ""), &["not_a_module_of_ours"])
}

fn port_in_use(ground: &Ground) -> Result<()> {
    let taken = ground.port()?;
    let _holder = std::net::TcpListener::bind(("127.0.0.1", taken))?;
    let address = format!("127.0.0.1:{taken}");
    let more = format!("http-socket = {address}\n");
    Shop::open(ground)?.breaks(|shop| shop.deploy("broken", "ids", &more), &[&address])
}

fn ini_garbage(ground: &Ground) -> Result<()> {
    let garbage = |shop: &Shop<'_>| {
        let text = super::ini(shop.port, "ids", "processes = many\n");
        shop.emperor.drop_file("shop.ini", &text)
    };
    Shop::open(ground)?.breaks(garbage, &["processes", "many"])
}

fn first_boot(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(port, "broken.import_error", ""))?;
    let cursed = emperor.vassal_until("shop.ini", "to be cursed", |vassal| vassal["state"] == "cursed")?;
    ensure!(cursed.to_string().contains("no_such_module_anywhere"), "{cursed:#}");
    emperor.drop_file("shop.ini", &super::ini(port, "ids", "env = VERSION=mended\n"))?;
    let took = super::version_becomes(port, "mended")?;
    ensure!(took < Duration::from_secs(3), "the fix took {took:?}: an edit must not wait for the back-off");
    emperor.loyal("shop.ini")?;
    emperor.stop()
}

fn no_other_hurt(ground: &Ground) -> Result<()> {
    let (good, bad) = (ground.port()?, ground.port()?);
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("good.ini", &super::ini(good, "hello", ""))?;
    emperor.loyal("good.ini")?;
    let load = Load::on(good, Mode::KeepAlive).start();
    let odd: [(&str, Vec<u8>); 4] = [
        ("binary.ini", (0..=255).collect()),
        ("empty.ini", Vec::new()),
        ("huge.ini", [b"[uwsgi]\n".to_vec(), vec![b'a'; 2_000_000]].concat()),
        ("crash.ini", super::ini(bad, "broken.crashes", "").into_bytes()),
    ];
    for (name, bytes) in &odd {
        let aside: PathBuf = ground.path("aside.bin");
        fs::write(&aside, bytes)?;
        fs::rename(aside, emperor.vassals.join(name))?;
    }
    for (name, _) in &odd {
        emperor.vassal_until(name, "to be refused or cursed", |vassal| {
            vassal["state"] == "refused" || vassal["state"] == "cursed"
        })?;
    }
    load.goes_on(100)?;
    load.stop().flawless()?;
    ensure!(http::get(good, "/")?.status == 200);
    emperor.stop()
}
