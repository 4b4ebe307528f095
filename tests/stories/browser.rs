//! The dashboard as a person uses it, in Debian's chromium.

use anyhow::{Context, Result, ensure};
use empery_tests::{browser::Browser, emperor::Emperor, ground::Ground, http, runner::Story};

pub(crate) const STORIES: &[Story] =
    &[Story::new("browser/a-person-sees-and-steers-the-fleet", person).alone().within_s(180)];

fn person(ground: &Ground) -> Result<()> {
    let (shop, blog) = (ground.port()?, ground.port()?);
    let browser = Browser::open(ground)?;
    let emperor = Emperor::start(ground)?;
    emperor.drop_file("shop.ini", &super::ini(shop, "ids", "processes = 2\n"))?;
    emperor.loyal("shop.ini")?;

    // Without a login there is nothing to see.
    let home = format!("http://127.0.0.1:{}/", emperor.port);
    browser.go(&home)?;
    ensure!(!browser.text()?.contains("shop.ini"), "the fleet is shown to anybody");
    browser.picture("login")?;
    let link = emperor.says("login", &[])?.success()?;
    let link =
        link.split_whitespace().find(|word| word.starts_with("http://")).context("no link in what login printed")?;
    // The link shows a form: a program that fetches it ahead of the person uses nothing up.
    browser.go(link)?;
    browser.click("form[action='/login'] button")?;
    browser.shows("shop.ini")?;
    browser.shows("loyal")?;

    // A dropped file appears by itself.
    emperor.drop_file("blog.ini", &super::ini(blog, "ids", ""))?;
    browser.shows("blog.ini")?;
    browser.picture("fleet")?;

    // The vassal's page: reload, stop, start.
    browser.go(&format!("{home}vassals/shop.ini"))?;
    browser.shows("shop.ini")?;
    let before = super::boot_of(&http::get(shop, "/")?);
    browser.click("form[action$='/reload'] button")?;
    super::boot_changes(shop, &before)?;
    browser.shows("loyal")?;
    browser.picture("vassal")?;
    browser.click(".confirm:has(form[action$='/stop']) summary")?;
    browser.click("form[action$='/stop'] button")?;
    browser.shows("held")?;
    ensure!(http::get(shop, "/").is_err(), "it answers although it was stopped");
    browser.picture("vassal-held")?;
    browser.click("form[action$='/start'] button")?;
    browser.shows("loyal")?;
    http::get(shop, "/")?;

    // A broken deploy shows its traceback; a refused file its line.
    emperor.drop_file("shop.ini", &super::ini(shop, "broken.import_error", ""))?;
    browser.shows("ModuleNotFoundError")?;
    browser.shows("no_such_module_anywhere")?;
    browser.picture("vassal-broken")?;
    emperor.drop_file("blog.ini", &super::ini(blog, "ids", "processes = many\n"))?;
    browser.go(&format!("{home}vassals/blog.ini"))?;
    browser.shows("processes")?;
    browser.shows("many")?;
    browser.picture("vassal-refused")?;
    browser.go(&home)?;
    browser.picture("fleet-troubled")?;
    browser.go(&format!("{home}about"))?;
    browser.picture("about")?;

    browser.close()?;
    emperor.stop()
}
