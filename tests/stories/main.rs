//! The stories: what Empery promises, proved against the built binaries. `./dev e2e NAME` tells those whose name
//! contains NAME. Each module holds the stories of one promise; the harness says how they are told.

mod alarms;
mod alone;
mod apps;
mod behaviours;
mod bodies;
mod books;
mod broken;
mod browser;
mod check;
mod clients;
mod common;
mod corpus;
mod crew;
mod daemons;
mod database;
mod deaths;
mod error_pages;
mod failpoints;
mod fifo;
mod files;
mod fleet;
mod frozen;
mod gateway;
mod gevent;
mod golden;
mod ground_rules;
mod hang;
mod harakiri;
mod holding_on;
mod hooks;
mod hostile;
mod https;
mod identity;
mod kill;
mod log_lines;
mod logs;
mod midway;
mod module;
mod mules;
mod nginx;
mod noting;
mod on_demand;
mod over_tls;
mod packaging;
mod pythons;
mod quickstart;
mod random;
mod realm;
mod recycle;
mod reload;
mod removal;
mod routes;
mod saves;
mod shared;
mod signals;
mod silent;
mod soak;
mod sources;
mod spooler;
mod starved;
mod static_files;
mod stats;
mod storm;
mod strangers;
mod stuck;
mod tls;
mod tour;
mod upgrade;
mod waits;
mod watch;
mod watched;

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, anyhow};
use empery_tests::{
    ground,
    http::{self, Answer},
    runner::{self, Story},
    wait,
};

fn main() -> ExitCode {
    let rooms: &[&[Story]] = &[
        ground_rules::STORIES,
        quickstart::STORIES,
        https::STORIES,
        tour::STORIES,
        tls::STORIES,
        over_tls::STORIES,
        gateway::STORIES,
        alone::STORIES,
        alarms::STORIES,
        realm::STORIES,
        silent::STORIES,
        signals::STORIES,
        sources::STORIES,
        spooler::STORIES,
        stats::STORIES,
        static_files::STORIES,
        gevent::STORIES,
        golden::STORIES,
        mules::STORIES,
        nginx::STORIES,
        pythons::STORIES,
        identity::STORIES,
        packaging::STORIES,
        broken::STORIES,
        browser::STORIES,
        watch::STORIES,
        fifo::STORIES,
        files::STORIES,
        saves::STORIES,
        kill::STORIES,
        hang::STORIES,
        harakiri::STORIES,
        stuck::STORIES,
        deaths::STORIES,
        storm::STORIES,
        strangers::STORIES,
        database::STORIES,
        daemons::STORIES,
        removal::STORIES,
        frozen::STORIES,
        on_demand::STORIES,
        upgrade::STORIES,
        reload::STORIES,
        books::STORIES,
        soak::STORIES,
        apps::STORIES,
        behaviours::STORIES,
        starved::STORIES,
        failpoints::STORIES,
        logs::STORIES,
        log_lines::STORIES,
        routes::STORIES,
        recycle::STORIES,
        midway::STORIES,
        common::STORIES,
        corpus::STORIES,
        crew::STORIES,
        fleet::STORIES,
        check::STORIES,
        clients::STORIES,
        hooks::STORIES,
        holding_on::STORIES,
        waits::STORIES,
        watched::STORIES,
        error_pages::STORIES,
        hostile::STORIES,
        bodies::STORIES,
        shared::STORIES,
        module::STORIES,
    ];
    runner::main(&rooms.concat())
}

/// A vassal file for a module of `tests/apps` on a port, with `more` lines.
fn ini(port: u16, module: &str, more: &str) -> String {
    let apps = ground::app("");
    format!("[uwsgi]\nhttp-socket = 127.0.0.1:{port}\npythonpath = {}\nmodule = {module}\n{more}", apps.display())
}

/// Whether something is wrong with a vassal's file that keeps it from running. Warnings depend on who runs the emperor.
fn has_errors(vassal: &serde_json::Value) -> bool {
    vassal["problems"].as_array().is_some_and(|all| all.iter().any(|problem| problem["severity"] == "error"))
}

/// The second word of an answer of `ids`: which import it came from.
fn boot_of(answer: &Answer) -> String {
    answer.text().split(' ').nth(1).unwrap_or_default().to_owned()
}

/// The first word of an answer of `ids`: what the vassal file says.
fn version_of(answer: &Answer) -> String {
    answer.text().split(' ').next().unwrap_or_default().to_owned()
}

/// Waits until `ids` answers from another import than `before`, and answers with that.
fn boot_changes(port: u16, before: &str) -> Result<String> {
    wait::until_ok("another generation to answer", Duration::from_secs(15), || {
        let boot = boot_of(&http::get(port, "/")?);
        if boot == before || boot.is_empty() {
            return Err(anyhow!("still {boot:?}"));
        }
        Ok(boot)
    })
}

/// Waits until `ids` answers as this version, and answers with how long that took.
fn version_becomes(port: u16, version: &str) -> Result<Duration> {
    let began = std::time::Instant::now();
    wait::until_ok(&format!("version {version} to answer"), Duration::from_secs(20), || {
        let now = version_of(&http::get(port, "/")?);
        if now == version { Ok(()) } else { Err(anyhow!("still {now:?}")) }
    })?;
    Ok(began.elapsed())
}

/// The 95th of a hundred, of measured times.
fn p95(mut times: Vec<Duration>) -> Duration {
    times.sort();
    let place = (times.len() * 95).div_ceil(100).saturating_sub(1);
    times.get(place).copied().unwrap_or_default()
}

/// For notes.
fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}
