//! Builds the typed configuration from expanded directives: which options mean what, their defaults and ranges.

mod alarms;
mod apps;
mod beside;
mod crew;
mod draft;
mod engine;
mod headers;
mod inherited;
mod listeners;
mod log_format;
mod loggers;
mod logging;
mod routes;
mod runtime;
mod shared;
mod static_files;
mod tls;
mod values;
mod waits;
mod watched;

use std::path::Path;

use crate::{
    facts::Facts,
    gather::{Directive, Given},
    problem::{Origin, Problem},
    read::Command,
    vassal::{App, Effective, Python, SniDirectory, VassalConfig},
};

use draft::Draft;

/// What directories of environment files say, apart from `env`.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// `early-envdir`: before `env`.
    pub(crate) early: Vec<(String, Option<String>)>,
    /// `envdir`: after `env`.
    pub(crate) directories: Vec<(String, Option<String>)>,
}

/// Builds the configuration and adds what is wrong with it to `problems`; what is missing is missing in `name`. What
/// comes back is used only when nothing is wrong.
pub(crate) fn assemble(
    directives: Vec<Directive>,
    environment: Environment,
    name: &str,
    facts: &Facts,
    command: &Command,
    problems: &mut Vec<Problem>,
) -> VassalConfig {
    let mut draft = Draft::default();
    for directive in directives.iter().filter(|directive| directive.given != Given::Placeholder) {
        draft.take(directive, problems);
    }
    loggers::tell_of_routes_to_nobody(&directives, &draft.log, problems);
    let working_directory = Path::new(&facts.working_directory);
    // uWSGI changes directory before it binds and before Python starts; only pidfiles and logs are opened earlier.
    let base = draft.chdir.as_ref().map_or_else(|| working_directory.to_owned(), |chdir| working_directory.join(chdir));
    let from_base = |path: &String| base.join(path);
    let from_start = |path: &String| working_directory.join(path);
    let app = App {
        chdir: draft.chdir.is_some().then(|| base.clone()),
        chdir2: draft.chdir2.as_ref().map(|path| base.join(path)),
        ..std::mem::take(&mut draft.apps).finish(working_directory, problems)
    };
    let mut listeners = listeners::listeners(&draft, &base, &facts.inherited, problems);
    let on_demand = facts.on_demand.as_ref();
    let held = on_demand.and_then(|address| listeners::on_demand(address, &draft, (&base, name), problems));
    let held = held.filter(|held| listeners.iter().all(|listener| listener.address != held.address));
    listeners.extend(held);
    for listener in &mut listeners {
        tls::resolve(&mut listener.door, working_directory);
    }
    let stats = listeners::stats(&draft, &base, problems);
    let processes = draft.processes.unwrap_or(1);
    let (threads, engine) = draft.engine.finish(problems);
    let (runtime, variables) = draft.runtime.finish();
    let beside = draft.beside.finish(&base, problems);
    let mut shared = draft.regions.finish(&base, problems);
    // `metric-threshold` switches uWSGI's metrics on (UWSGI_OPT_METRICS).
    shared.vassal_metrics |= draft.alarms.wants_metrics();
    let (alarms, raising_lines) = draft.alarms.finish(beside.mules.patches.len(), &shared, problems);
    let (recycle, crew) = draft.crew.finish(processes, problems);
    if !matches!(command, Command::Emperor(_)) {
        complete(&app, listeners.is_empty() && draft.listeners.is_empty(), name, problems);
    }
    VassalConfig {
        python: Python {
            home: draft.home.as_ref().map(from_base),
            python: draft.python,
            pythonpath: draft.pythonpath.iter().map(from_base).collect(),
            no_site: draft.no_site,
            optimize: draft.optimize,
        },
        app,
        listeners,
        sni: tls::in_order_of_looking(draft.sni, working_directory),
        sni_directory: draft
            .sni_directory
            .as_ref()
            .map(|path| SniDirectory { path: from_start(path), ciphers: draft.sni_directory_ciphers }),
        https_export_cert: draft.https_export_cert,
        stats,
        stats_http: draft.stats_http,
        processes,
        threads,
        engine,
        uid: draft.uid,
        gid: draft.gid,
        no_initgroups: draft.no_initgroups,
        add_gids: draft.add_gids,
        umask: draft.umask,
        env: environment.early.into_iter().chain(draft.env).chain(variables).chain(environment.directories).collect(),
        vacuum: draft.vacuum,
        pidfiles: draft.pidfiles.iter().map(from_start).collect(),
        touch_reload: draft.touch_reload.iter().map(from_base).collect(),
        fs_reload: draft.fs_reload.iter().map(from_base).collect(),
        master_fifo: draft.master_fifo.iter().map(from_base).collect(),
        die_on_term: draft.die_on_term,
        mercy: draft.mercy,
        boot_deadline: draft.boot_deadline,
        no_orphans: draft.no_orphans,
        request: draft.request,
        runtime,
        waits: draft.waits.finish(working_directory),
        watched: watched::resolved(draft.watched, &base),
        error_pages: draft.error_pages.into_iter().map(|(status, path)| (status, base.join(path))).collect(),
        recycle,
        crew,
        beside,
        alarms,
        log: crate::vassal::Log {
            logto: draft.logto.as_ref().map(from_start),
            logto2: draft.logto2.as_ref().map(from_base),
            alarms: raising_lines,
            ..logging::resolved(draft.log, working_directory, &base)
        },
        titles: draft.titles,
        py_autoreload_s: draft.py_autoreload_s,
        py_autoreload_ignore: draft.py_autoreload_ignore,
        static_files: draft.static_files.finish(&base),
        routes: draft.routes,
        headers: draft.headers,
        shared,
        effective: directives.into_iter().map(effective).collect(),
    }
}

fn complete(app: &App, no_listener: bool, name: &str, problems: &mut Vec<Problem>) {
    // A text that could not be read, or names another language, has said so; what is missing follows from that.
    let explained = [
        "bad-format",
        "missing-section",
        "exit-asked",
        "scheme-refused",
        "plugin-refused",
        "file-not-read",
        "unknown-argument",
        "missing-argument",
        "option-refused",
    ];
    if problems.iter().any(|problem| {
        explained.contains(&problem.code.as_str()) && problem.severity == crate::problem::Severity::Error
    }) {
        return;
    }
    if !app.is_named() {
        let message = "no app is named; expected `module = pkg.mod:callable` or `wsgi-file = PATH`";
        let hint = "name the WSGI callable, for example `module = project.wsgi:application`";
        problems.push(Problem::error("no-app", whole(name), message).hint(hint));
    }
    if no_listener {
        let message = "nothing to listen on is named; expected `socket`, `http-socket`, `http` or `https`";
        let hint = "for nginx write `socket = /run/NAME.sock`, for HTTP `http-socket = 127.0.0.1:8000`";
        problems.push(Problem::error("no-listener", whole(name), message).hint(hint));
    }
}

fn whole(name: &str) -> Origin {
    Origin { file: name.to_owned(), ..Origin::default() }
}

fn effective(directive: Directive) -> Effective {
    Effective { key: directive.key, value: directive.value, origin: directive.key_at }
}

#[cfg(test)]
mod tests;
