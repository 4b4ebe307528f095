//! Alarms, read through the front door.

use super::*;
use crate::{
    alarms::{Curl, OnDescriptor, Threshold},
    facts::{Facts, NoFiles},
    read::{Entry, read},
    vassal::VassalConfig,
};

/// What a file with these lines comes to, and the messages about it.
fn told(lines: &str) -> (Option<VassalConfig>, String) {
    let content = format!("[uwsgi]\nmodule = app\nhttp-socket = 127.0.0.1:8000\n{lines}\n");
    let entry = Entry::File { path: "/v/app.ini".into(), content: content.into_bytes() };
    let outcome = read(&entry, &Facts::default(), &NoFiles);
    let messages = outcome.problems.iter().map(|problem| format!("{}\n", problem.message)).collect();
    (outcome.config, messages)
}

fn good(lines: &str) -> VassalConfig {
    let (config, messages) = told(lines);
    assert_eq!(messages, "", "{lines}");
    config.unwrap()
}

#[test]
fn an_alarm_has_a_name_and_something_that_is_done() {
    let config = good(
        "alarm = a cmd:mail -s 'app: down' root\nalarm = b signal:17\nmule = true\nalarm = c mule:1\nalarm = d log:OH NO\n\
         alarm-freq = 60\nalarm-msg-size = 100\n",
    );
    let ways: Vec<(&str, &Way)> = config.alarms.all.iter().map(|alarm| (alarm.name.as_str(), &alarm.way)).collect();
    let command = Way::Command("mail -s 'app: down' root".into());
    assert_eq!(
        ways,
        [("a", &command), ("b", &Way::Signal(17)), ("c", &Way::Mule(1)), ("d", &Way::Log("OH NO".into()))]
    );
    assert_eq!((config.alarms.repeats_after_s, config.alarms.message_max_bytes), (60, 100));
    for bad in ["x", "x cmd", "x pigeon:home", "x signal:256", "x curl:"] {
        let (config, messages) = told(&format!("alarm = {bad}"));
        assert!(config.is_none() && messages.contains("expected"), "{bad}: {messages}");
    }
    for bad in ["0", "999999"] {
        assert!(told(&format!("alarm-msg-size = {bad}")).0.is_none(), "{bad}");
    }
}

#[test]
fn curl_has_a_url_and_keys_as_in_its_plugin() {
    let url = "curl:https://x.example/?a=1;auth_user=me;auth_pass=se=cret;timeout=9;ssl_insecure=1;method=PUT";
    let config = good(&format!("alarm = a {url}"));
    let wanted = Curl {
        url: "https://x.example/?a=1".into(),
        user: Some("me".into()),
        password: Some("se=cret".into()),
        timeout_s: Some(9),
        insecure: true,
        method: Some("PUT".into()),
        ..Curl::default()
    };
    assert_eq!(config.alarms.all[0].way, Way::Curl(wanted));
    let (config, messages) = told("alarm = a curl:smtp://m.example;mail_to=x@y,z@y;subject=Down;colour=red");
    let Way::Curl(curl) = config.unwrap().alarms.all.remove(0).way else { panic!("no curl") };
    assert_eq!((curl.mail_to.as_deref(), curl.subject.as_deref()), (Some("x@y,z@y"), Some("Down")));
    assert!(messages.contains("`colour` is no key"), "{messages}");
}

#[test]
fn lines_are_looked_at_in_order_and_patterns_are_checked() {
    let config = good("alarm = a log:\nalarm = b log:\nnot-alarm-log = a harmless\nlog-alarm = a,b ERROR \\d+\n");
    let wanted = [
        OnLine { pattern: "harmless".into(), alarms: Vec::new() },
        OnLine { pattern: "ERROR \\d+".into(), alarms: vec!["a".into(), "b".into()] },
    ];
    assert_eq!(config.log.alarms, wanted);
    assert!(config.log.sorts_lines());
    for (bad, why) in [("a", "`NAME[,NAME] PATTERN`"), ("a (", "a regular expression"), ("c x", "there is none")] {
        let (config, messages) = told(&format!("alarm = a log:\nalarm-log = {bad}"));
        assert!(config.is_none() && messages.contains(why), "{bad}: {messages}");
    }
    // uWSGI looks at none of them without an alarm.
    let (config, messages) = told("alarm-log = a x");
    assert!(config.is_some() && messages.contains("there is none"), "{messages}");
}

#[test]
fn queues_crashes_descriptors_and_metrics_raise_what_they_name() {
    let config = good(
        "alarm = a log:\nmetric = jobs\nalarm-backlog = a\nlq-alarm = a\nsegfault-alarm = a\nalarm-fd = a 7:8 out of memory\n\
         metric-threshold = key=jobs,value=10,alarm=a,rate=60,reset=-1,msg=many\\, many\nalarm-metric = key=core.total_rss,value=5\n",
    );
    let alarms = &config.alarms;
    assert_eq!((alarms.on_backlog.len(), alarms.on_crash.len()), (2, 1));
    let watched = OnDescriptor { alarm: "a".into(), fd: 7, bytes: 8, message: "out of memory".into() };
    assert_eq!(alarms.on_descriptor, [watched]);
    let jobs = Threshold {
        metric: "jobs".into(),
        value: 10,
        reset: Some(-1),
        alarm: Some("a".into()),
        rate_s: 60,
        message: Some("many, many".into()),
    };
    assert_eq!(alarms.on_metric[0], jobs);
    assert_eq!((alarms.on_metric[1].value, &alarms.on_metric[1].alarm), (5, &None));
    assert!(config.shared.vassal_metrics);
    for bad in
        ["alarm-fd = a 7", "alarm-fd = a x y", "metric-threshold = key=jobs", "metric-threshold = key=none,value=1"]
    {
        assert!(told(&format!("alarm = a log:\nmetric = jobs\n{bad}")).0.is_none(), "{bad}");
    }
}

#[test]
fn what_cannot_be_delivered_here_is_said() {
    let (config, messages) = told("alarm = a xmpp:me@x;secret;you@x");
    assert_eq!(config.unwrap().alarms.all[0].way, Way::Nothing("xmpp".into()));
    assert!(messages.contains("`xmpp` alarms are not sent here"), "{messages}");
    let (config, messages) = told("mules = 2\nalarm = a mule:3");
    assert_eq!(config.unwrap().alarms.all[0].way, Way::Mule(0));
    assert!(messages.contains("there is no mule 3 of 2"), "{messages}");
    assert!(told("alarm = a mule:0").1.contains("there is none"));
}
