//! Whole configurations: what comes out, and what is told about them.

use super::*;
use crate::{
    facts::{FileError, NoFiles},
    vassal::{AppTarget, Door, HostName, Protocol},
};

fn facts() -> Facts {
    Facts { working_directory: "/etc/vassals".into(), cpu_cores: 8, uid: 1000, ..Facts::default() }
}

fn file(content: &str) -> Outcome {
    let entry = Entry::File { path: "/etc/vassals/app.ini".into(), content: content.as_bytes().to_vec() };
    read(&entry, &facts(), &NoFiles)
}

fn arguments(line: &str) -> Outcome {
    read(&Entry::Arguments(line.split(' ').map(str::to_owned).collect()), &facts(), &NoFiles)
}

fn codes(outcome: &Outcome) -> Vec<&str> {
    outcome.problems.iter().map(|problem| problem.code.as_str()).collect()
}

mod dialect;

const APP: &str = "[uwsgi]\nmodule = app\nhttp-socket = :8000\n";

#[test]
fn a_small_file_gives_a_configuration_without_problems() {
    let outcome = file(APP);
    assert_eq!(outcome.problems, []);
    let config = outcome.config.unwrap();
    assert_eq!((config.processes, config.threads, config.app.callable.as_str()), (1, 1, "application"));
    assert_eq!(
        (config.listeners[0].address.to_string().as_str(), config.listeners[0].protocol),
        ("0.0.0.0:8000", Protocol::Http)
    );
    assert_eq!(config.die_on_term, None);
    assert_eq!(config.request.client_timeout.as_secs(), 30);
}

#[test]
fn b33_an_unknown_key_is_a_warning_with_its_place_line_and_suggestion() {
    let outcome = file(&format!("{APP}procceses = 4\n"));
    assert!(outcome.config.is_some());
    let problem = &outcome.problems[0];
    assert_eq!((problem.code.as_str(), problem.severity), ("unknown-option", Severity::Warning));
    assert_eq!((problem.origin.file.as_str(), problem.origin.line, problem.origin.column), ("app.ini", 4, 1));
    assert_eq!(problem.source.as_deref(), Some("procceses = 4"));
    assert_eq!(problem.hint.as_deref(), Some("did you mean `processes`?"));
}

#[test]
fn a_key_that_a_value_asks_for_is_a_placeholder_and_no_typo() {
    let outcome = file(&format!("{APP}project = /srv/shop\nchdir = %(project)\n"));
    assert_eq!(outcome.problems, []);
    assert_eq!(outcome.config.unwrap().app.chdir, Some("/srv/shop".into()));
}

#[test]
fn b33_strict_refuses_unknown_keys_wherever_it_stands() {
    for text in [format!("{APP}strict = true\nprojct = 1\n"), format!("{APP}projct = 1\nstrict\n")] {
        let outcome = file(&text);
        assert!(outcome.config.is_none());
        assert_eq!(outcome.problems[0].message, "[strict-mode] unknown config directive: projct");
    }
    assert!(file(&format!("{APP}strict = false\nprojct = 1\n")).config.is_some());
}

#[test]
fn strict_allows_placeholders_set_as_such_only() {
    assert!(file(&format!("{APP}strict = true\nset-ph = base=/srv\nchdir = %(base)\n")).config.is_some());
    assert!(file(&format!("{APP}strict = true\nbase = /srv\nchdir = %(base)\n")).config.is_none());
}

#[test]
fn an_option_switched_off_is_no_problem() {
    assert_eq!(file(&format!("{APP}vhost = false\nidle = 0\n")).problems, []);
}

#[test]
fn switching_the_master_off_is_told_to_change_nothing() {
    assert_eq!(codes(&file(&format!("{APP}master = false\n"))), ["always-on"]);
    assert_eq!(codes(&file(&format!("{APP}master = true\n"))), Vec::<&str>::new());
}

fn doors(lines: &str) -> Vec<(String, Door)> {
    let outcome = file(&format!("{APP}{lines}"));
    let config = outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.problems));
    config.listeners.into_iter().map(|listener| (listener.address.to_string(), listener.door)).collect()
}

#[test]
fn https_names_a_certificate_a_key_ciphers_and_client_authorities() {
    let listeners = doors("shared-socket = :443\nhttps = =0,a.crt,/k/a.key,HIGH,!ca.pem\nchdir = /elsewhere\n");
    let (address, Door::Tls(certificate)) = &listeners[1] else { panic!("{listeners:?}") };
    assert_eq!(address, "0.0.0.0:443");
    // As uWSGI: before it changes directory.
    assert!(certificate.chain.ends_with("a.crt") && !certificate.chain.starts_with("/elsewhere"), "{certificate:?}");
    assert_eq!((certificate.key.to_str(), certificate.ciphers.as_deref()), (Some("/k/a.key"), Some("HIGH")));
    let client_ca = certificate.client_ca.as_ref().unwrap();
    assert!(client_ca.required && client_ca.path.ends_with("ca.pem"));
    assert_eq!(listeners[2], ("@".to_owned(), Door::FromGateway), "what the gateway reaches the workers by");
    let keyed = doors("https2 = addr=:444,crt=a.crt,key=a.key,clientca=ca.pem,spdy=1\n");
    let Door::Tls(certificate) = &keyed[1].1 else { panic!("{keyed:?}") };
    assert!(!certificate.client_ca.as_ref().unwrap().required && certificate.ciphers.is_none());
    assert_eq!(doors("http-to-https = :80,8443\n")[1].1, Door::ToHttps(Some(8443)));
}

#[test]
fn a_number_names_a_shared_socket_wherever_an_address_may_stand() {
    for option in ["socket", "http", "http-socket"] {
        assert_eq!(doors(&format!("shared-socket = 127.0.0.1:81\n{option} = =0\n"))[1].0, "127.0.0.1:81");
    }
    assert_eq!(doors("shared-socket = :81\nhttps-socket = =0,a.crt,a.key\n")[1].0, "0.0.0.0:81");
    assert_eq!(codes(&file(&format!("{APP}https = =0,a.crt,a.key\n"))), ["no-shared-socket"]);
    assert_eq!(
        codes(&file(&format!("{APP}shared-socket = :81\nhttp = =1\n"))),
        ["no-shared-socket", "shared-socket-unused"]
    );
}

#[test]
fn a_door_without_a_certificate_or_a_name_is_refused_with_an_example() {
    for line in [
        "https = :443",
        "https = :443,a.crt",
        "https2 = addr=:443,cert=a",
        "sni = a.example",
        "sni = a.crt,a.key",
        "http-to-https = :80,x",
    ] {
        let outcome = file(&format!("{APP}{line}\n"));
        assert_eq!((outcome.config.is_none(), codes(&outcome)), (true, vec!["bad-value"]), "{line}");
    }
    let outcome = file(&format!("{APP}sni = A.example a.crt,a.key\n"));
    assert_eq!(outcome.config.unwrap().sni[0].name, HostName::Exact("a.example".to_owned()));
}

#[test]
fn certificates_are_looked_for_by_name_then_by_expression_then_in_the_directory() {
    let lines = "http-enable-proxy-protocol = true\nhttps = :443,a.crt,a.key\nsni-regexp = ^[a-z]+\\.b$ b.crt,b.key,,!ca.pem\n\
                 sni = c c.crt,c.key\nsni-dir = certificates\nsni-dir-ciphers = HIGH\nsuwsgi-socket = :3032,a.crt,a.key\n";
    let config = file(&format!("{APP}{lines}")).config.unwrap();
    let names: Vec<&HostName> = config.sni.iter().map(|named| &named.name).collect();
    assert_eq!(names, [&HostName::Exact("c".to_owned()), &HostName::Pattern("^[a-z]+\\.b$".to_owned())]);
    assert!(config.sni[1].certificate.client_ca.as_ref().unwrap().required);
    let directory = config.sni_directory.unwrap();
    assert!(directory.path.is_absolute() && directory.ciphers.as_deref() == Some("HIGH"));
    let doors: Vec<_> =
        config.listeners.iter().map(|at| (at.address.to_string(), at.protocol, at.proxy_protocol)).collect();
    let (http, uwsgi) = (Protocol::Http, Protocol::Uwsgi);
    let gateway = [
        ("0.0.0.0:443", http, true),
        ("0.0.0.0:3032", uwsgi, false),
        ("@", http, false),
        ("private:uwsgi", uwsgi, false),
    ];
    assert_eq!(doors[1..], gateway.map(|(address, protocol, proxied)| (address.to_owned(), protocol, proxied)));
    let outcome = file(&format!("{APP}sni-regexp = ( a.crt,a.key\n"));
    assert!(outcome.problems[0].hint.as_ref().is_some_and(|hint| hint.contains("unclosed group")), "{outcome:?}");
}

#[test]
fn what_is_not_spoken_is_refused_with_what_to_do_instead() {
    for option in ["puwsgi-socket", "raw-socket"] {
        assert_eq!(codes(&file(&format!("{APP}{option} = :3031\n"))), ["option-refused"], "{option}");
    }
}

#[test]
fn b61_plugins_of_other_languages_are_refused_by_name() {
    for (plugin, word) in
        [("rack", "Ruby"), ("php", "PHP"), ("psgi", "Perl"), ("asyncio", "asynchronous"), ("python27", "Python 2")]
    {
        let outcome = file(&format!("[uwsgi]\nplugin = {plugin}\nhttp-socket = :8000\n"));
        assert_eq!(codes(&outcome), ["plugin-refused"]);
        assert!(outcome.problems[0].message.contains(word), "{}", outcome.problems[0].message);
    }
    assert_eq!(file(&format!("{APP}plugins = python3,http\nplugin = python311\n")).problems, []);
    let embedded = "router_redirect,router_rewrite,router_static,router_basicauth,syslog,rsyslog,logsocket,rpc,spooler";
    assert_eq!(file(&format!("{APP}plugins = {embedded}\n")).problems, []);
}

#[test]
fn without_an_app_or_an_address_there_is_nothing_to_serve() {
    assert_eq!(codes(&file("[uwsgi]\nmaster = true\n")), ["no-app", "no-listener"]);
}

#[test]
fn a_file_that_is_no_configuration_is_refused_and_its_section_missed() {
    assert_eq!(codes(&file("<html>\n")), ["no-app", "no-listener", "missing-section"]);
    assert_eq!(codes(&file("")), ["no-app", "no-listener", "missing-section"]);
}

#[test]
fn errors_come_before_warnings() {
    let outcome = file(&format!("{APP}unknwon = 1\nprocesses = many\n"));
    assert_eq!(codes(&outcome), ["bad-value", "unknown-option"]);
}

#[test]
fn a_thousand_problems_are_not_all_told() {
    let text = (0..1000).map(|n| format!("key{n} = 1\n")).collect::<String>();
    let outcome = file(&format!("{APP}{text}"));
    assert_eq!(outcome.problems.len(), PROBLEMS_MAX + 1);
    assert_eq!(outcome.problems[PROBLEMS_MAX].message, "and 800 more problems");
}

#[test]
fn the_quickstart_command_lines_are_understood() {
    let outcome =
        arguments("--http :9090 --wsgi-file foobar.py --master --processes 4 --threads 2 --stats 127.0.0.1:9191");
    assert_eq!(outcome.problems, []);
    let config = outcome.config.unwrap();
    assert_eq!(
        (config.processes, config.threads, config.stats.unwrap().to_string().as_str()),
        (4, 2, "127.0.0.1:9191")
    );
    assert_eq!(config.app.target, Some(AppTarget::File("foobar.py".into())));
    let django = "--socket 127.0.0.1:3031 --chdir /home/foobar/myproject/ --pythonpath .. --env DJANGO_SETTINGS_MODULE=myproject.settings \
                  --module django.core.handlers.wsgi:WSGIHandler() --processes 4 --threads 2 --stats 127.0.0.1:9191";
    let config = arguments(&django.split_whitespace().collect::<Vec<_>>().join(" ")).config.unwrap();
    assert_eq!(
        (config.app.callable.as_str(), config.app.target),
        ("WSGIHandler()", Some(AppTarget::Module("django.core.handlers.wsgi".into())))
    );
    assert_eq!(config.env, [("DJANGO_SETTINGS_MODULE".to_owned(), Some("myproject.settings".to_owned()))]);
}

#[test]
fn b63_the_command_line_may_ask_for_something_else_than_serving() {
    let command = |line: &str| arguments(line).command;
    assert_eq!(command("--reload /tmp/x.pid"), Command::Reload("/tmp/x.pid".into()));
    assert_eq!(command("--stop /tmp/x.pid"), Command::Stop("/tmp/x.pid".into()));
    for option in ["pause", "suspend", "resume"] {
        let line = format!("--{option} /tmp/x.pid");
        assert_eq!(command(&line), Command::Suspend("/tmp/x.pid".into()));
    }
    assert_eq!(command("--connect-and-read :9191"), Command::ConnectAndRead(":9191".into()));
    assert_eq!(
        [command("--version"), command("-h"), command("--dump-options")],
        [Command::Version, Command::Help, Command::DumpOptions]
    );
    assert_eq!(arguments("--stop /tmp/x.pid").problems, []);
}

#[test]
fn a_comment_behind_a_boolean_is_one_and_is_told_with_its_line() {
    let outcome =
        file(&format!("{APP}vacuum = false ; keep\nlazy-apps = off # no\ndie-on-term = no ; x\nstrict = 0 ; x\n"));
    let config = outcome.config.clone().unwrap();
    assert_eq!((config.vacuum, config.app.lazy_apps, config.die_on_term), (false, false, Some(false)));
    assert_eq!(codes(&outcome), ["inline-comment"; 4]);
    assert_eq!(outcome.problems[0].source.as_deref(), Some("vacuum = false ; keep"));
    let on = file(&format!("{APP}vacuum = true ; tidy\nlog-4xx = ; nothing\n"));
    assert!(on.config.as_ref().unwrap().vacuum, "{:?}", on.problems);
    assert_eq!(codes(&on), ["inline-comment"]);
}

#[test]
fn an_emperor_needs_no_app() {
    let outcome = arguments("--emperor /etc/vassals --logto /var/log/e.log");
    let emperor = crate::emperor::Emperor { vassals: vec!["/etc/vassals".into()], flags: Vec::new() };
    assert_eq!((outcome.command, outcome.problems.len()), (Command::Emperor(emperor), 1));
    assert_eq!(outcome.config.unwrap().log.logto, Some("/var/log/e.log".into()));
}

#[test]
fn an_emperor_inside_a_vassal_file_is_refused() {
    assert_eq!(codes(&file(&format!("{APP}emperor = /x\n"))), ["option-refused"]);
}

#[test]
fn words_of_the_command_line_are_refused_in_a_file() {
    assert_eq!(codes(&file(&format!("{APP}stop = /tmp/x.pid\n"))), ["command-line-only"]);
    assert!(file(&format!("{APP}show-config = true\n")).config.is_some());
}

#[test]
fn b34_variables_of_the_environment_are_options_of_the_command_line_but_not_of_a_vassal() {
    let mut facts = facts();
    facts.environment = [("UWSGI_HTTP_SOCKET", ":7000"), ("UWSGI_RELOADS", "3"), ("UWSGI_MODULE", "app")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let outcome = read(&Entry::Arguments(vec!["-p2".into()]), &facts, &NoFiles);
    assert_eq!(
        (outcome.problems.len(), outcome.config.unwrap().listeners[0].address.to_string().as_str()),
        (0, "0.0.0.0:7000")
    );
    let entry = Entry::File { path: "/etc/vassals/app.ini".into(), content: APP.as_bytes().to_vec() };
    assert_eq!(read(&entry, &facts, &NoFiles).config.unwrap().listeners.len(), 1);
    for (name, value) in [("UWSGI_CHDIR", "/a"), ("UWSGI_SET", "chdir=/b")] {
        facts.environment.insert(name.to_owned(), value.to_owned());
    }
    let chdir = |order: &[&str]| {
        let environment_order = order.iter().map(|name| (*name).to_owned()).collect();
        let facts = Facts { environment_order, ..facts.clone() };
        read(&Entry::Arguments(vec!["--module=app".into()]), &facts, &NoFiles).config.unwrap().app.chdir
    };
    let http = "UWSGI_HTTP_SOCKET";
    assert_eq!(chdir(&[http, "UWSGI_CHDIR", "UWSGI_SET"]), Some("/b".into()), "in the order of the environment");
    assert_eq!(chdir(&[http, "UWSGI_SET", "UWSGI_CHDIR"]), Some("/a".into()));
}

#[test]
fn an_app_that_would_run_as_root_is_told_so() {
    let root = Facts { uid: 0, ..facts() };
    let line = "--module app --http-socket :8000 --uid www-data".split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(codes(&read(&Entry::Arguments(line[..4].to_vec()), &root, &NoFiles)), ["runs-as-root"]);
    assert_eq!(codes(&read(&Entry::Arguments(line), &root, &NoFiles)), Vec::<&str>::new());
}

#[test]
fn a_file_that_cannot_be_read_is_refused_with_the_reason() {
    struct Locked;
    impl Files for Locked {
        fn read(&self, _path: &str) -> Result<Vec<u8>, FileError> {
            Err(FileError::Other("permission denied".into()))
        }
    }
    let outcome = read(&Entry::Arguments(vec!["app.ini".into()]), &facts(), &Locked);
    assert_eq!((outcome.config, outcome.problems[0].code.as_str()), (None, "file-not-read"));
    assert!(outcome.problems[0].message.contains("permission denied"));
}

#[test]
fn an_option_that_lacks_its_value_is_told_without_what_follows_from_it() {
    let outcome = arguments("--http");
    assert_eq!(codes(&outcome), ["missing-argument"]);
}

#[test]
fn b58_harakiri_has_a_graceful_side() {
    let limits = |lines: &str| file(&format!("{APP}{lines}")).config.unwrap().request;
    let given = limits(
        "harakiri = 9\nharakiri-graceful-timeout = 4\nharakiri-graceful-signal = 10\nharakiri-queue-threshold = 3\nharakiri-verbose = true\n",
    );
    assert_eq!((given.harakiri_s, given.harakiri_graceful_timeout), (9, Some(std::time::Duration::from_secs(4))));
    assert_eq!((given.harakiri_graceful_signal, given.harakiri_queue_threshold, given.harakiri_verbose), (10, 3, true));
    let usual = limits("harakiri = 9\n");
    assert_eq!((usual.harakiri_graceful_timeout, usual.harakiri_graceful_signal), (None, 15));
}

#[test]
fn b40_what_an_emperor_says_for_all_comes_around_the_file_and_speaks_of_the_vassal() {
    struct Common;
    impl Files for Common {
        fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
            match path {
                "/c/common.ini" => Ok(b"[uwsgi]\nenv = A=%n %N\nini = :two\n[two]\nenv = B=%s\n".to_vec()),
                _ => Err(FileError::NotFound),
            }
        }
    }
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let common = crate::facts::Common {
        before: vec![pair("set", "processes=3")],
        after: vec![pair("include", "/c/common.ini"), pair("inherit", "/c/common.ini")],
    };
    let facts = Facts { common, ..facts() };
    let content = format!("{APP}processes = 2\n").into_bytes();
    let outcome = read(&Entry::File { path: "/etc/vassals/shop.ini".into(), content }, &facts, &Common);
    let config = outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.problems));
    assert_eq!(config.processes, 2, "the vassal's own file comes later");
    // What such a file includes speaks of itself.
    let twice = [("A", "shop shop"), ("B", "common.ini"), ("A", "shop shop"), ("B", "common.ini")];
    assert_eq!(config.env, twice.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))));
}

#[test]
fn b44_what_stands_in_every_file_of_production_is_taken_without_a_word() {
    let habits = "master = true\nenable-threads = true\nsingle-interpreter = true\nthunder-lock = true\n\
        py-call-osafterfork = true\nneed-app = true\ndie-on-term = true\nvacuum = true\nstrict = true\n";
    assert_eq!(file(&format!("{APP}{habits}")).problems, []);
}

#[test]
fn b40_an_emperor_s_habits_are_answered_one_by_one() {
    for (line, code) in [
        ("emperor-freq = 5", None),
        ("emperor-throttle = 2000", Some("option-differs")),
        ("emperor-max-throttle = 60000", Some("option-differs")),
        ("emperor-graceful-shutdown", None),
        ("emperor-required-heartbeat = 40", None),
        ("vassal-set = processes=2", None),
        ("vassals-include = common.ini", None),
        ("vassals-inherit = common.ini", None),
        ("vassals-start-hook = echo", None),
        ("vassals-stop-hook = echo", None),
        ("exec-as-vassal = echo", None),
        ("exec-as-emperor = echo", None),
        ("emperor-extra-extension = .conf", None),
        ("emperor-extra-ext = .conf", None),
    ] {
        let outcome = arguments(&format!("--emperor /etc/vassals --{}", line.replace(" = ", " ")));
        assert_eq!(codes(&outcome).first().copied(), code, "{line}: {:?}", outcome.problems);
    }
}

#[test]
fn b60_what_is_beside_plain_serving_is_there_or_refused_by_name() {
    for there in [
        "limit-as = 512",
        "route = ^/old redirect:/new",
        "cache2 = name=c,items=10",
        "queue = 10",
        "sharedarea = 1",
        "gevent = 100",
    ] {
        assert_eq!(file(&format!("{APP}{there}\n")).problems, [], "{there}");
    }
    for refused in [
        "cgroup = /sys/fs/cgroup/x",
        "namespace = /srv/jail",
        "cap = setgid",
        "chroot = /srv/jail",
        "unshare = ipc",
        "legion = shop 225.1.1.1:4242 98 bf-cbc:hello",
        "subscribe-to = 127.0.0.1:4040:shop",
        "fastrouter = 127.0.0.1:3031",
        "async = 10",
    ] {
        let outcome = file(&format!("{APP}{refused}\n"));
        let problem = outcome.problems.iter().find(|problem| problem.severity == crate::problem::Severity::Error);
        let name = refused.split(' ').next().unwrap();
        assert!(problem.is_some_and(|problem| problem.message.contains(name)), "{refused}: {:?}", outcome.problems);
    }
}
