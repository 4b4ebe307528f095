//! What single options come to in the configuration.

mod crew;

use std::time::Duration;

use crate::{
    facts::{Facts, NoFiles},
    read::{Entry, Outcome, read},
    vassal::{AppTarget, Engine, MonkeyPatch, Protocol, VassalConfig},
};

pub(super) fn outcome(lines: &str) -> Outcome {
    let content = format!("[uwsgi]\nmodule = app\nsocket = /run/app.sock\n{lines}\n");
    let facts = Facts { working_directory: "/v".into(), cpu_cores: 8, uid: 1000, ..Facts::default() };
    read(&Entry::File { path: "/v/app.ini".into(), content: content.into_bytes() }, &facts, &NoFiles)
}

#[track_caller]
pub(super) fn config(lines: &str) -> VassalConfig {
    let outcome = outcome(lines);
    outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.problems))
}

pub(super) fn error(lines: &str) -> String {
    let outcome = outcome(lines);
    assert!(outcome.config.is_none(), "{lines} should be refused");
    outcome.problems[0].message.clone()
}

#[test]
fn b1_the_last_of_several_scalars_wins_and_lists_grow() {
    let config = config("processes = 2\nprocesses = 5\npythonpath = /a\npp = b");
    assert_eq!(config.processes, 5);
    assert_eq!(config.python.pythonpath, ["/a", "/v/b"].map(std::path::PathBuf::from));
}

#[test]
fn b11_relative_paths_are_taken_from_chdir_but_pidfiles_and_logs_from_the_start() {
    // As uWSGI 2.0.31 does: it changes directory after it wrote its pidfile and before it binds.
    let config = config(
        "chdir = /srv/app\nhttp-socket = rel.sock\nstats = rel.stats\nhome = venv\ntouch-reload = t\npidfile = rel.pid\nlogto = rel.log",
    );
    assert_eq!(config.listeners[1].address.to_string(), "/srv/app/rel.sock");
    assert_eq!(config.stats.unwrap().to_string(), "/srv/app/rel.stats");
    assert_eq!((config.python.home.unwrap(), config.touch_reload), ("/srv/app/venv".into(), vec!["/srv/app/t".into()]));
    assert_eq!((config.pidfiles, config.log.logto.unwrap()), (vec!["/v/rel.pid".into()], "/v/rel.log".into()));
}

#[test]
fn b11_a_relative_chdir_is_taken_from_the_working_directory() {
    assert_eq!(config("chdir = shop").app.chdir.unwrap(), std::path::PathBuf::from("/v/shop"));
}

#[test]
fn b6_the_callable_comes_from_the_module_or_its_own_option() {
    let app = |lines| {
        let app = config(lines).app;
        (app.target.unwrap(), app.callable)
    };
    let module = |name: &str| AppTarget::Module(name.to_owned());
    assert_eq!(app(""), (module("app"), "application".to_owned()));
    assert_eq!(app("module = a.b:create()\ncallable = other"), (module("a.b"), "create()".to_owned()));
    assert_eq!(app("wsgi = a.b\ncallable = other"), (module("a.b"), "other".to_owned()));
}

#[test]
fn the_module_is_the_app_when_a_file_is_named_too() {
    let outcome = outcome("wsgi-file = x.py");
    assert_eq!(outcome.problems[0].code, "two-apps");
    assert_eq!(outcome.config.unwrap().app.target, Some(AppTarget::Module("app".into())));
}

#[test]
fn a_path_for_a_module_is_refused() {
    assert!(error("module = project/wsgi.py").contains("not a module"));
}

#[test]
fn b61_protocol_decides_about_plain_sockets_only() {
    let protocols = |lines| config(lines).listeners.iter().map(|listener| listener.protocol).collect::<Vec<_>>();
    assert_eq!(
        protocols("uwsgi-socket = :1\nhttp = :2\nprotocol = http"),
        [Protocol::Http, Protocol::Uwsgi, Protocol::Http]
    );
    assert_eq!(
        protocols("fastcgi-socket = :1\nscgi-socket = :2\nprotocol = scgi"),
        [Protocol::Scgi, Protocol::FastCgi, Protocol::Scgi]
    );
    assert!(error("protocol = gopher").contains("expected `uwsgi`, `http`, `fastcgi` or `scgi`"));
}

#[test]
fn options_of_sockets_hold_for_all_sockets_wherever_they_stand() {
    let config = config("chmod-socket = 660\nchown-socket = www-data:web\nhttp-socket = :8000\nlisten = 500");
    let [unix, tcp] = config.listeners.as_slice() else { panic!("{:?}", config.listeners) };
    assert_eq!((unix.mode, unix.backlog, tcp.mode, tcp.backlog), (Some(0o660), 500, None, 500));
    assert_eq!((unix.owner.clone(), tcp.owner.clone()), (Some(("www-data".to_owned(), Some("web".to_owned()))), None));
}

#[test]
fn b10_chmod_socket_without_a_value_is_666_and_nonsense_is_refused() {
    assert_eq!(config("chmod-socket").listeners[0].mode, Some(0o666));
    assert!(error("chmod-socket = rw").contains("three octal digits"));
}

#[test]
fn an_address_named_twice_is_bound_once() {
    let outcome = outcome("http-socket = /run/./app.sock");
    assert_eq!((outcome.problems[0].code.as_str(), outcome.config.unwrap().listeners.len()), ("same-address", 1));
}

#[test]
fn sockets_may_live_in_the_abstract_namespace() {
    assert_eq!(config("abstract-socket = true").listeners[0].address.to_string(), "@/run/app.sock");
}

#[test]
fn a_bad_address_says_what_to_write() {
    let outcome = outcome("http-socket = example.org:8000");
    assert!(outcome.problems[0].hint.as_deref().is_some_and(|hint| hint.starts_with("write `127.0.0.1:8000`")));
    assert_eq!((outcome.problems[0].origin.line, outcome.problems[0].origin.column), (4, 15));
}

#[test]
fn processes_and_threads_must_be_numbers_from_1() {
    assert_eq!(config("workers = %k\nthreads = 2").processes, 8);
    assert!(error("processes = 0").contains("from 1 to"));
    assert!(error("processes = $(N)").contains("from 1 to"));
    assert!(error("threads = -1").contains("from 1 to"));
}

#[test]
fn what_runs_requests_is_threads_or_gevent() {
    let engine = |lines: &str| {
        let config = config(lines);
        (config.threads, config.engine)
    };
    assert_eq!(engine("threads = 2"), (2, Engine::Threads));
    assert_eq!(engine("gevent = 100"), (100, Engine::Gevent { patch: MonkeyPatch::Never }));
    assert_eq!(engine("loop = gevent\nasync = 7"), (7, Engine::Gevent { patch: MonkeyPatch::Never }));
    assert_eq!(
        engine("gevent = 5\nthreads = 1\ngevent-monkey-patch = true"),
        (5, Engine::Gevent { patch: MonkeyPatch::InWorker })
    );
    assert_eq!(
        engine("gevent = 5\ngevent-monkey-patch = true\ngevent-early-monkey-patch = true"),
        (5, Engine::Gevent { patch: MonkeyPatch::BeforeApp })
    );
    assert!(error("gevent = 10\nthreads = 4").contains("threads = 4"));
    assert!(error("async = 10").contains("names no engine"));
    assert!(error("loop = asyncio\nasync = 10").contains("`asyncio` is not there"));
    assert!(error("gevent = 0").contains("from 1 to"));
}

#[test]
fn other_numbers_are_read_as_atoi_does_with_a_warning() {
    let outcome = outcome("max-requests = 5000x\nlimit-post = abc");
    assert_eq!(
        outcome.problems.iter().map(|problem| problem.code.as_str()).collect::<Vec<_>>(),
        ["bad-number", "bad-number"]
    );
    let config = outcome.config.unwrap();
    assert_eq!((config.recycle.max_requests, config.request.body_max_bytes), (5000, 0));
}

#[test]
fn a_negative_number_is_refused_in_uwsgis_words() {
    assert_eq!(error("harakiri = -1"), "invalid value for option \"harakiri\": must be > 0");
    assert_eq!(config("max-requests = -1\nlimit-post = -1").request.body_max_bytes, config("").request.body_max_bytes);
}

#[test]
fn b27_the_head_of_a_request_may_have_64_kib_by_default_and_at_most() {
    let head = |lines| config(lines).request.head_max_bytes;
    assert_eq!(
        [head(""), head("buffer-size = 32768"), head("buffer-size = 999999"), head("buffer-size = 0")],
        [65536, 32768, 65536, 65536]
    );
}

#[test]
fn b54_keep_alive_is_on_and_a_number_above_1_is_its_time() {
    let time = |lines| config(lines).request.keepalive_timeout.as_secs();
    assert_eq!(
        [time(""), time("http-keepalive"), time("http-keepalive = 1"), time("http-keepalive = 20")],
        [75, 75, 75, 20]
    );
}

#[test]
fn b25_request_lines_are_written_unless_disabled() {
    let log = |lines| config(lines).log.requests;
    assert_eq!(
        [log(""), log("disable-logging"), log("disable-logging = true"), log("disable-logging = false")],
        [true, false, false, true]
    );
}

#[test]
fn b14_die_on_term_keeps_whether_it_was_said() {
    assert_eq!(
        [config("").die_on_term, config("die-on-term").die_on_term, config("die-on-term = false").die_on_term],
        [None, Some(true), Some(false)]
    );
}

#[test]
fn b58_times_have_their_defaults_and_a_boot_deadline_must_leave_time() {
    let config = config("worker-reload-mercy = 8\nboot-deadline = 5");
    assert_eq!((config.mercy, config.boot_deadline), (Duration::from_secs(8), Duration::from_secs(5)));
    assert!(error("boot-deadline = 0").contains("seconds from 1"));
    let mercy = |lines: &str| self::config(&format!("attach-daemon = celery\n{lines}")).beside.daemons[0].mercy_s;
    assert_eq!((mercy(""), mercy("reload-mercy = 60")), (3, 60));
    let stops = |lines: &str| self::config(lines).stops_within().as_secs();
    assert_eq!(
        (stops(""), stops("mule\nmule-reload-mercy = 7\nattach-daemon = x"), stops("mule-reload-mercy = 7")),
        (60, 70, 60)
    );
}

#[test]
fn env_and_unenv_keep_their_order() {
    let env = config("env = A=1=2\nunenv = B\nenv = C").env;
    assert_eq!(env, [("A".to_owned(), Some("1=2".to_owned())), ("B".to_owned(), None), ("C".to_owned(), None)]);
}

#[test]
fn umask_is_octal() {
    assert_eq!(config("umask = 022").umask, Some(0o22));
    assert!(error("umask = 9").contains("octal"));
}

#[test]
fn names_of_processes_are_switched_on_by_any_of_their_options() {
    let titles = config("procname-prefix-spaced = shop").titles;
    assert_eq!((titles.auto, titles.prefix.as_str()), (true, "shop "));
    assert!(!config("").titles.auto);
}

#[test]
fn python_is_an_interpreter_and_not_a_script() {
    assert_eq!(config("python = python3.12").python.python.as_deref(), Some("python3.12"));
    assert!(error("python = setup.py").contains("interpreter"));
}

#[test]
fn b24_daemonize_is_logto_and_a_log_is_not_sent_over_the_network() {
    assert_eq!(config("daemonize = /var/log/a.log").log.logto.unwrap(), std::path::PathBuf::from("/var/log/a.log"));
    assert!(error("logto = 10.0.0.1:514").contains("the path of a file"));
}

#[test]
fn everything_is_shown_in_order_with_its_final_value() {
    let config = config("base = /srv\nchdir = %(base)/x\nvacuum");
    let text = crate::show::show(&config);
    assert!(
        text.contains("[uwsgi]\nmodule = app\nsocket = /run/app.sock\nbase = /srv\nchdir = /srv/x\nvacuum = \n"),
        "{text}"
    );
}

#[test]
fn trusted_proxies_are_addresses_and_ranges_and_nothing_else() {
    let networks = |text: &str| {
        config(&format!("http-socket = :8000\n{text}")).request.trusted_proxies.map(|networks| {
            networks.iter().map(|network| format!("{}/{}", network.address, network.prefix_bits)).collect::<Vec<_>>()
        })
    };
    assert_eq!(networks(""), None);
    assert_eq!(networks("trusted-proxies ="), Some(vec![]));
    assert_eq!(
        networks("trusted-proxies = 10.0.0.0/8, ::1\ntrusted-proxies = 192.0.2.1"),
        Some(vec!["10.0.0.0/8".to_owned(), "::1/128".to_owned(), "192.0.2.1/32".to_owned()])
    );
    for wrong in ["10.0.0.0/33", "proxy.example", "10.0.0.0/+8", "::/129", "10.0.0.0/"] {
        assert!(error(&format!("trusted-proxies = {wrong}")).contains("addresses and ranges"), "{wrong}");
    }
}

#[test]
fn sockets_are_mapped_by_their_numbers_without_those_of_a_router() {
    let config = config("http = :8000\nhttp-socket = :8001\nmap-socket = 1:2,3\nmap-socket = 0:1\nfreebind = true");
    let workers: Vec<_> =
        config.listeners.iter().map(|listener| (listener.workers.clone(), listener.freebind)).collect();
    assert_eq!(workers, [(vec![1], true), (vec![], true), (vec![2, 3], true)]);
    assert!(error("map-socket = 1:1").contains("names socket 1, and there are 1"));
    assert!(error("map-socket = first").contains("expected `SOCKET:WORKER,WORKER`"));
}

#[test]
fn options_of_the_router_hold_where_uwsgi_has_one() {
    let config = config(
        "http = :8000\nhttp-socket = :8001\nsocket = :8002\nhttp-var = A=b=c\nhttp-server-name-as-http-host = true\n\
         http-path-info-no-decode-slashes = true\nhttp-headers-timeout = 7\nhttps = :8003,c,k",
    );
    let rules: Vec<_> = config
        .listeners
        .iter()
        // The first is that of every test.
        .skip(1)
        .filter(|listener| listener.door.is_workers())
        .map(|listener| {
            let http = &listener.http;
            (http.vars.len(), http.server_name_is_host, http.keeps_encoded_slashes, http.head_timeout_ms)
        })
        .collect();
    let router = (1, true, false, Some(7000));
    assert_eq!(rules, [router, (0, false, true, None), (0, false, false, None), router]);
    assert_eq!(config.listeners[1].http.vars, [("A".to_owned(), "b=c".to_owned())]);
    for wrong in ["A", "=b", "wsgi.input=x"] {
        assert!(error(&format!("http-var = {wrong}")).contains("expected `NAME=value`"), "{wrong}");
    }
}

#[test]
fn error_pages_groups_and_buffers_are_read() {
    let config = config(
        "error-page-404 = a\nerror-page-500 = /b\nerror-page-404 = c\nadd-gid = 7\nadd-gid = adm\n\
         wsgi-accept-buffers = true\nmules = 1\nmule-msg-recv-size = 10\nchdir = /srv",
    );
    let page = |status, path: &str| (status, std::path::PathBuf::from(path));
    assert_eq!(config.error_pages, [page(404, "/srv/a"), page(500, "/b"), page(404, "/srv/c")]);
    assert_eq!(config.add_gids, ["7", "adm"]);
    assert!(config.app.accept_buffers);
    assert_eq!(config.beside.mules.message_max_bytes, 10);
}
