//! Options about what runs beside the workers, read through the front door.

use super::*;
use crate::{
    beside::{Account, When},
    facts::{Facts, NoFiles},
    read::{Entry, read},
};

/// What a file with these lines comes to, and the messages about it.
fn told(lines: &str) -> (Option<Beside>, String) {
    let content = format!("[uwsgi]\nmodule = app\nhttp-socket = 127.0.0.1:8000\nchdir = /srv/app\n{lines}\n");
    let entry = Entry::File { path: "/v/app.ini".into(), content: content.into_bytes() };
    let outcome = read(&entry, &Facts::default(), &NoFiles);
    let messages = outcome.problems.iter().map(|problem| format!("{}\n", problem.message)).collect();
    (outcome.config.map(|config| config.beside), messages)
}

fn good(lines: &str) -> Beside {
    let (beside, messages) = told(lines);
    assert_eq!(messages, "", "{lines}");
    beside.unwrap()
}

#[test]
fn a_daemon_is_a_command_for_the_shell_and_runs_where_the_vassal_does() {
    let beside = good("attach-daemon = rqworker high, low\nattach-control-daemon = ./watch\n");
    let [first, second] = &beside.daemons[..] else { panic!("{beside:?}") };
    assert_eq!((first.command.as_str(), first.directory.as_path()), ("rqworker high, low", Path::new("/srv/app/")));
    assert_eq!((first.stop_signal, first.reload_signal, first.control, first.stdin), (15, None, false, false));
    assert!(second.control);
    assert!(good("daemons-honour-stdin = true\nattach-daemon = cat\n").daemons[0].stdin);
}

#[test]
fn a_smart_daemon_has_a_pidfile_and_may_say_how_often_it_is_looked_for() {
    let beside =
        good("smart-attach-daemon = run/m.pid memcached -d\nsmart-attach-daemon2 = /run/x.pid,3 x --foreground\n");
    let [first, second] = &beside.daemons[..] else { panic!("{beside:?}") };
    assert_eq!(first.pidfile.as_deref(), Some(Path::new("/srv/app/run/m.pid")));
    assert_eq!((first.looks, first.daemonize, first.command.as_str()), (10, false, "memcached -d"));
    assert_eq!((second.looks, second.daemonize, second.command.as_str()), (3, true, "x --foreground"));
    let (none, messages) = told("smart-attach-daemon = /run/x.pid");
    assert!(none.is_none() && messages.contains("a pidfile, a blank and a command"), "{messages}");
}

#[test]
fn attach_daemon2_has_keys_and_a_backslash_takes_a_comma_its_meaning() {
    let beside = good(
        "attach-daemon2 = cmd=x --list=a\\,b,touch=one;two,stopsignal=2,reloadsignal=1,uid=33,gid=34,chdir=sub,max_throttle=5\n",
    );
    let daemon = &beside.daemons[0];
    assert_eq!(daemon.command, "x --list=a,b");
    assert_eq!(daemon.touch, [PathBuf::from("/srv/app/one"), PathBuf::from("/srv/app/two")]);
    assert_eq!((daemon.stop_signal, daemon.reload_signal), (2, Some(1)));
    assert_eq!((daemon.uid.clone(), daemon.gid.clone()), (Some(Account::Number(33)), Some(Account::Number(34))));
    assert_eq!((daemon.directory.as_path(), daemon.throttle_max_s), (Path::new("/srv/app/sub"), 5));
}

#[test]
fn the_account_of_a_daemon_may_have_a_name_and_root_is_none() {
    let of = |said: &str| good(&format!("attach-daemon2 = cmd=x,uid={said}\n")).daemons[0].uid.clone();
    assert_eq!(of("www-data"), Some(Account::Name("www-data".to_owned())));
    assert_eq!((of("0"), of("")), (None, None));
}

#[test]
fn keys_that_are_no_numbers_are_told_with_what_uwsgi_makes_of_them() {
    let (beside, messages) = told("cron2 = minute=*/5,hour=3 x\nattach-daemon2 = cmd=x,freq=often\n");
    let beside = beside.unwrap();
    assert_eq!((beside.crons[0].when.minute, beside.crons[0].when.hour, beside.daemons[0].looks), (0, 3, 0));
    assert!(messages.contains("`minute=*/5` is 0, as in uWSGI: a number was expected"), "{messages}");
    assert!(messages.contains("`freq=often` is 0"), "{messages}");
    assert!(!messages.contains("hour"), "{messages}");
}

#[test]
fn what_a_daemon_cannot_have_is_refused_with_what_to_do() {
    for (line, word) in [
        ("attach-daemon2 = pidfile=/x", "a key `cmd`"),
        ("attach-daemon2 = cmd=x,ns_pid=1", "no `ns_pid`"),
        ("attach-daemon2 = cmd=x,legion=l", "no `legion`"),
        ("attach-daemon2 = cmd=x,daemonize=1", "a key `pidfile`"),
        ("attach-daemon2 = cmd=x,stopsignal=TERM9000,reloadsignal=99", "the number of a signal"),
    ] {
        let (none, messages) = told(line);
        assert!(none.is_none() && messages.contains(word), "{line}: {messages}");
    }
    let (some, messages) = told("attach-daemon2 = cmd=x,freeq=3");
    assert!(some.is_some() && messages.contains("no key `freeq`"), "{messages}");
}

#[test]
fn a_crontab_line_has_five_numbers_and_a_command() {
    let beside = good("cron = -10 8 -1 -1 -1 python3 -m app.job\nunique-cron = 0  0 1 1 -1   ./manage.py runjobs\n");
    let [first, second] = &beside.crons[..] else { panic!("{beside:?}") };
    assert_eq!(first.when, When { minute: -10, hour: 8, day: -1, month: -1, week: -1 });
    assert_eq!((first.command.as_str(), first.unique), ("python3 -m app.job", false));
    assert_eq!((second.command.as_str(), second.unique), ("./manage.py runjobs", true));
    for line in ["cron = 1 2 3 4 ./x", "cron = * * * * * ./x", "cron = 1 2 3 4 5"] {
        assert!(told(line).0.is_none(), "{line}");
    }
}

#[test]
fn cron2_has_keys_and_its_own_harakiri_wins_even_when_it_is_none() {
    let beside = good(
        "cron-harakiri = 30\ncron2 = minute=-5,unique=1,harakiri=7 curl -L x=y\ncron2 = harakiri=0 a\ncron2 = b c\ncron2 = hour=3 d\n",
    );
    let shown: Vec<_> = beside.crons.iter().map(|cron| (cron.command.as_str(), cron.unique, cron.harakiri_s)).collect();
    assert_eq!(
        shown,
        [("curl -L x=y", true, Some(7)), ("a", false, None), ("b c", false, Some(30)), ("d", false, Some(30))]
    );
    assert_eq!(beside.crons[0].when.minute, -5);
    assert!(told("cron2 = minute=3").0.is_none());
}

#[test]
fn times_that_are_not_what_they_seem_are_told() {
    for (line, word) in [
        ("cron2 = minute=-1440 curl x", "the same as 0"),
        ("cron = 75 -1 -1 -1 -1 x", "never comes"),
        ("cron = 0 0 0 -1 -1 x", "never comes"),
        ("cron = 0 0 -1 -13 -1 x", "never comes"),
    ] {
        let (some, messages) = told(line);
        assert!(some.is_some() && messages.contains(word), "{line}: {messages}");
    }
}

#[test]
fn signals_are_raised_by_files_and_by_time() {
    let beside = good("touch-signal = run/x 17\nfs-signal = /srv/my data 3\ntimer = 1 10\nrbtimer = 2 20\n");
    assert_eq!(beside.signals.touched, [(PathBuf::from("/srv/app/run/x"), 17)]);
    assert_eq!(beside.signals.monitored, [(PathBuf::from("/srv/my data"), 3)]);
    assert_eq!(beside.signals.timers, [(1, 10), (2, 20)]);
    for line in ["touch-signal = x", "touch-signal = x 256", "timer = 1", "timer = 1 0", "signal-timer = x 1"] {
        assert!(told(line).0.is_none(), "{line}");
    }
}

#[test]
fn mules_have_scripts_and_farms_have_mules() {
    let beside = good("mule = py/one.py\nmules = 2\nmule = pkg.mod:run\nfarm = x:1,4\nmule-harakiri = 5\n");
    let script = |text: &str| Some(text.to_owned());
    assert_eq!(beside.mules.patches, [script("py/one.py"), None, None, script("pkg.mod:run")]);
    assert_eq!(beside.mules.farms, [Farm { name: "x".into(), mules: vec![1, 4] }]);
    assert_eq!((beside.mules.harakiri_s, beside.mules.mercy.as_secs()), (5, 60));
    for line in ["farm = x", "farm = x:1", "mules = 1\nfarm = x:2", "mules = 1\nfarm = x:0", "farm = :1"] {
        assert!(told(line).0.is_none(), "{line}");
    }
}

#[test]
fn spoolers_have_directories_and_processes_whatever_the_order_of_the_lines() {
    let beside = good(
        "spooler = tasks\nspooler-external = /srv/other\nspooler-processes = 3\nspooler-quiet = 1\nspooler-frequency = 5\n\
         spooler-harakiri = 600\nspooler-import = pkg.tasks\nspooler-max-tasks = 9\nspooler-chdir = work\nspooler-ordered = true\n",
    );
    let spoolers = &beside.spoolers;
    assert_eq!(spoolers.directories, [("/srv/app/tasks".into(), false), ("/srv/other".into(), true)]);
    assert_eq!((spoolers.processes, spoolers.frequency_s, spoolers.harakiri_s, spoolers.max_tasks), (3, 5, 600, 9));
    assert_eq!((spoolers.quiet, spoolers.chdir.as_deref()), (true, Some(Path::new("/srv/app/work"))));
    assert_eq!(spoolers.imports, ["pkg.tasks"]);
    assert_eq!(good("").spoolers, Spoolers::default());
}

#[test]
fn a_url_is_requested_at_its_minutes_by_curl() {
    let beside =
        good("cron-curl = 0 -1 -1 -1 -1 https://x.example/it's?a=1&b=2\ncurl-cron = 59 3 -1 -1 -1 http://y/\n");
    let [first, second] = &beside.crons[..] else { panic!("{beside:?}") };
    assert_eq!((first.when.minute, second.when.hour), (0, 3));
    assert_eq!((first.is_request, first.command.as_str()), (true, "https://x.example/it's?a=1&b=2"));
    assert!(second.is_request && !good("cron = 0 -1 -1 -1 -1 true\n").crons[0].is_request);
    assert!(told("cron-curl = 0 -1 -1 -1 -1").0.is_none());
}
