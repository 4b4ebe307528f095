//! `error-page-403`, `error-page-404`, `error-page-500`: a client sees the site's own page where the answer is not the app's.

use anyhow::{Result, ensure};
use empery_tests::{ground::Ground, http, runner::Story, vassal::Vassal};

pub(crate) const STORIES: &[Story] = &[
    Story::new("error-pages/are-shown-where-the-answer-is-not-the-app-s", shown),
    Story::new("error-pages/are-shown-where-no-app-is-found", no_app),
];

/// What a path is answered with: status, type, body.
fn answer(port: u16, path: &str) -> Result<(u16, String, String)> {
    let answer = http::get(port, path)?;
    Ok((answer.status, answer.header("content-type").unwrap_or_default().to_owned(), answer.text()))
}

fn shown(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    for (page, text) in [("403.html", "<p>not yours"), ("404.html", "<p>not here"), ("500.html", "<p>sorry")] {
        ground.write(page, text)?;
    }
    ground.write("static/a.css", "css")?;
    // The first is not there, so that the second counts.
    let more = "error-page-500 = gone.html\nerror-page-500 = 500.html\nerror-page-403 = 403.html\n\
                error-page-404 = 404.html\nstatic-map = /static=static\nroute = ^/away static:nothing-there\n";
    let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, "show", more))?;
    vassal.answers(port)?;
    let html = |status, text: &str| (status, "text/html".to_owned(), text.to_owned());
    for (path, expected) in [
        ("/raise", html(500, "<p>sorry")),
        ("/static/../../secret", html(403, "<p>not yours")),
        ("/away", html(404, "<p>not here")),
    ] {
        let came = answer(port, path)?;
        ensure!(came == expected, "{path}: {came:?} instead of {expected:?}");
    }
    vassal.stop()
}

fn no_app(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    ground.write("500.html", "<p>sorry")?;
    let apps = empery_tests::ground::app("");
    let text = format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\npythonpath = {}\nmount = /shop=ids:application\nno-default-app = true\n\
         manage-script-name = true\nerror-page-500 = 500.html\n",
        apps.display()
    );
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    empery_tests::wait::until_ok("the app to answer", super::noting::SOON, || {
        ensure!(http::get(port, "/shop")?.status == 200);
        Ok(())
    })
    .map_err(|error| error.context(vassal.master.output()))?;
    let came = answer(port, "/elsewhere")?;
    ensure!(came == (500, "text/html".to_owned(), "<p>sorry".to_owned()), "{came:?}");
    vassal.master.says("no python application found", super::noting::SOON)?;
    vassal.stop()
}
