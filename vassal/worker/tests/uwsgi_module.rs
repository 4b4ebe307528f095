//! The `uwsgi` module in a worker: the hook after each request, greenlets that give way, what is said of names that are not
//! there, and what routes do in its place.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{io::Write, sync::atomic::Ordering};

use driver::{Generation, Listeners, app_of, assert_answer, connect, get, read_to_end, until};
use empery_control::{
    boot::{AppBoot, Engine, MonkeyPatch, OptValue},
    signals::SignalWord,
    worker::FromWorker,
};
use empery_rules::{
    line::{LineFormat, Piece},
    routes::{Action, Rule, Step, When, template},
};

const HOOK: &str = "
import os, time, uwsgi

paths = []

def hook():
    uwsgi.set_logvar('after', 'hook of ' + paths[-1])
    if paths[-1] == '/raise':
        raise ValueError('of the hook')
    while paths[-1] == '/hold' and not os.path.exists(__file__ + '.gate'):
        time.sleep(0.001)

uwsgi.after_req_hook = hook

def application(environ, start_response):
    paths.append(environ['PATH_INFO'])
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'whole']
";

fn serving(name: &str, text: &str, change: impl FnOnce(&mut AppBoot)) -> (Generation, Listeners) {
    let listeners = Listeners::new();
    let generation = Generation::serving(app_of(name, text), &listeners, change);
    (generation, listeners)
}

#[test]
fn after_req_hook_is_called_when_the_client_has_its_answer_and_before_the_line_is_written() {
    let target = app_of("hook", HOOK);
    let empery_control::apps::AppTarget::File(file) = &target else { panic!("{target:?}") };
    let gate = format!("{}.gate", file.display());
    let listeners = Listeners::new();
    let generation = Generation::serving(target.clone(), &listeners, |boot| {
        boot.log_requests = true;
        let pieces = vec![Piece::Text("line: ".into()), Piece::LogVariable("after".into())];
        boot.request_log.format = Some(LineFormat { pieces, ftime: None });
    });
    for path in ["/a", "/raise", "/hold"] {
        assert_answer(&get(&listeners, path), path, &["200 OK", "\r\n\r\nwhole"], &["<timeout>"]);
        if path == "/hold" {
            assert!(!generation.log().contains("hook of /hold"), "the line came before the hook ended");
            std::fs::write(&gate, "").unwrap();
        }
        until(|| generation.log().contains(&format!("line: hook of {path}\n")));
    }
    std::fs::remove_file(gate).unwrap();
    assert!(generation.log().contains("ValueError: of the hook"), "{}", generation.log());
    until(|| generation.scoreboard.slot(0).counters.requests.load(Ordering::Relaxed) == 3);
    assert_eq!(generation.scoreboard.slot(0).counters.exceptions.load(Ordering::Relaxed), 1);
}

#[test]
fn with_harakiri_no_arh_the_hook_is_no_part_of_the_request() {
    let text = HOOK.replace("def hook():", "def hook():\n    uwsgi.log('hook: fd %d' % min(uwsgi.connection_fd(), 0))");
    for (is_unlimited, said) in [(false, "hook: fd 0\n"), (true, "hook: fd -1\n")] {
        let (generation, listeners) = serving("no-arh", &text, |boot| boot.process.hook_is_unlimited = is_unlimited);
        get(&listeners, "/");
        until(|| generation.log().contains(said));
    }
}

#[test]
fn a_greenlet_that_suspends_itself_lets_the_others_run() {
    let text = "
import uwsgi

begun = []

def application(environ, start_response):
    begun.append(environ['PATH_INFO'])
    while environ['PATH_INFO'] == '/first' and '/second' not in begun:
        uwsgi.suspend()
        uwsgi.green_schedule()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [environ['PATH_INFO'].encode()]
";
    let (_generation, listeners) = serving("suspend", text, |boot| {
        boot.engine = Engine::Gevent { patch: MonkeyPatch::Never };
        boot.threads = 4;
    });
    let mut first = connect(&listeners);
    first.write_all(b"GET /first HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    assert_answer(&get(&listeners, "/second"), "the second", &["\r\n\r\n/second"], &[]);
    assert_answer(&read_to_end(first), "the first", &["\r\n\r\n/first"], &[]);
}

#[test]
fn threads_that_serve_have_the_names_that_uwsgi_gives_them() {
    let text = "
import threading

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [threading.current_thread().name.encode()]
";
    for (engine, threads, name) in [
        (Engine::Threads, 1, "uWSGIWorker1Core0"),
        (Engine::Threads, 3, "uWSGIWorker1Core"),
        (Engine::Gevent { patch: MonkeyPatch::Never }, 2, "uWSGIWorker1Core0"),
    ] {
        let (_generation, listeners) =
            serving("thread-names", text, |boot| (boot.engine, boot.threads) = (engine, threads));
        assert_answer(&get(&listeners, "/"), name, &[&format!("\r\n\r\n{name}")], &[]);
    }
}

#[test]
fn b20_names_that_need_something_configured_say_what() {
    let text = "
import importlib.util, sys, uwsgi

# Ours, also where a package of that name is installed.
spec = sys.meta_path[-1].find_spec('uwsgidecorators')
own = importlib.util.module_from_spec(spec)
spec.loader.exec_module(own)

# What uWSGI's decorators do not know they do not mind.
own.timer(3, iterations=5, target='worker')(print)
own.rbtimer(3, 5)(print)
own.filemon('/tmp', signum=99)(print)

def application(environ, start_response):
    said = [repr(uwsgi.mode)]
    for name in 'spool send_to_spooler spoolers spooler_jobs spooler_pids set_spooler_frequency'.split():
        try:
            said.append(repr(getattr(uwsgi, name)))
        except AttributeError as error:
            said.append('%s: %s' % (name, str(error).endswith(': say `spooler = DIRECTORY`')))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [', '.join(said).encode()]
";
    let (_generation, listeners) =
        serving("names", text, |boot| boot.opt = vec![("mode".into(), OptValue::One("blue".into()))]);
    let told = "\r\n\r\nb'blue', spool: True, send_to_spooler: True, spoolers: True, spooler_jobs: True, spooler_pids: True, \
                set_spooler_frequency: True";
    assert_answer(&get(&listeners, "/"), "names", &[told], &[]);
}

#[test]
fn routes_raise_signals_and_alarms_and_end_a_request_whose_metric_is_not_there() {
    let text = |text: &str| template::Template(vec![template::Piece::Text(text.into())]);
    let rule = |action| Step::Rule(Box::new(Rule { when: When::Always, action }));
    let (generation, listeners) = serving("routes", HOOK, |boot| {
        boot.routes.request = vec![
            rule(Action::Signal(17)),
            rule(Action::Alarm { name: text("mail"), message: text("too much") }),
            rule(Action::Metric { name: text("nobody"), how: None, by: text("1") }),
        ];
    });
    assert_eq!(get(&listeners, "/"), "");
    let (mut signals, mut alarms) = (Vec::new(), Vec::new());
    while signals.is_empty() || alarms.is_empty() {
        match generation.line().hear::<FromWorker>().unwrap().0 {
            FromWorker::Signals { word: SignalWord::Raised { signal } } => signals.push(signal),
            FromWorker::AlarmRaised { name, message } => alarms.push((name, message)),
            _ => {}
        }
    }
    assert_eq!((signals, alarms), (vec![17], vec![("mail".to_owned(), "too much".to_owned())]));
    until(|| generation.log().contains("the metric `nobody` cannot be changed"));
}
