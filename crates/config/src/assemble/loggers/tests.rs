//! What loggers, routes and encoders come to.

use crate::{
    assemble::tests::{config, error, outcome},
    loggers::{Datagram, Destination, Encoder, Encoding, Piece, Route},
};

fn to(text: &str) -> Destination {
    config(&format!("logger = {text}")).log.lines.loggers.remove(0).to
}

fn unix(path: &str) -> Datagram {
    Datagram::Unix(path.into())
}

fn udp(address: &str) -> Datagram {
    Datagram::Udp(address.to_owned())
}

#[test]
fn a_file_is_a_path_or_keys_with_values() {
    let file = |path: &str, max_bytes, backup_name: Option<&str>| Destination::File {
        path: path.into(),
        max_bytes,
        backup_name: backup_name.map(Into::into),
    };
    assert_eq!(to("file:/var/log/a.log"), file("/var/log/a.log", None, None));
    assert_eq!(to("file:a.log"), file("/v/a.log", None, None));
    assert_eq!(to("file:logfile=/a.log,maxsize=20971520"), file("/a.log", Some(20_971_520), None));
    assert_eq!(to("file:logfile=/a,maxsize=5,backupname=old"), file("/a", Some(5), Some("/v/old")));
    for wrong in ["file", "file:maxsize=5", "file:logfile=/a,maxsize=big", "file:logfile=/a,size=5"] {
        assert!(error(&format!("logger = {wrong}")).contains(wrong), "{wrong}");
    }
}

#[test]
fn loggers_have_names_when_a_word_stands_before_them() {
    let log = config("logger = cron file:/c.log\nlogger = stdio\nreq-logger = fd:7").log;
    assert_eq!(log.lines.loggers[0].name.as_deref(), Some("cron"));
    assert_eq!((log.lines.loggers[1].name.as_deref(), &log.lines.loggers[1].to), (None, &Destination::Standard));
    assert_eq!(log.requests_lines.loggers[0].to, Destination::Descriptor(7));
}

#[test]
fn datagrams_go_to_paths_and_addresses() {
    let socket = |to: Datagram, prefix: &str| Destination::Socket { to, prefix: prefix.to_owned() };
    assert_eq!(to("socket:/run/l.sock"), socket(unix("/run/l.sock"), ""));
    assert_eq!(to("socket:127.0.0.1:1717,app: "), socket(udp("127.0.0.1:1717"), "app:"));
    assert_eq!(to("socket:l.sock,x"), socket(unix("/v/l.sock"), "x"));
    assert!(error("logger = socket:host:port").contains("HOST:PORT"));
    let remote = |to: Datagram, name: Option<&str>, priority| Destination::Remote {
        to,
        name: name.map(str::to_owned),
        priority,
    };
    assert_eq!(to("rsyslog:10.0.0.1"), remote(udp("10.0.0.1:514"), None, 29));
    assert_eq!(to("rsyslog:logs:5140,shop,134"), remote(udp("logs:5140"), Some("shop"), 134));
    assert_eq!(to("rsyslog:/dev/log,shop"), remote(unix("/dev/log"), Some("shop"), 29));
    let syslog = |name: &str, facility| Destination::Syslog { name: name.to_owned(), facility };
    assert_eq!((to("syslog"), to("syslog:shop")), (syslog("uwsgi", 3), syslog("shop", 3)));
    assert_eq!(to("syslog:shop,local6"), syslog("shop", 22));
    assert_eq!(config("log-syslog = shop").log.lines.loggers[0].to, syslog("shop", 3));
    assert_eq!(config("log-socket = /l").log.lines.loggers[0].to, socket(unix("/l"), ""));
    assert!(error("logger = syslog:shop,nowhere").contains("facility"));
}

#[test]
fn what_there_is_no_logger_for_is_refused() {
    for kind in ["redislog:1", "pipe:cat", "zeromq:tcp://x", "nothing", "/var/log/x"] {
        assert!(error(&format!("logger = {kind}")).contains("`file:`"), "{kind}");
    }
}

#[test]
fn routes_name_a_logger_that_is_there() {
    let log = config("logger = cron file:/c\nlog-route = cron uwsgi-cron|x y\nlog-drain = ^noise\nlog-filter = .").log;
    assert_eq!(log.lines.routes, [Route { logger: "cron".to_owned(), pattern: "uwsgi-cron|x y".to_owned() }]);
    assert_eq!((log.drains, log.filters), (vec!["^noise".to_owned()], vec![".".to_owned()]));
    assert!(error("log-route = cron").contains("regular expression"));
    assert!(error("log-drain = (").contains("regular expression"));
    let nowhere = outcome("log-route = cron x");
    assert!(nowhere.config.is_some());
    assert!(nowhere.problems[0].message.contains("no logger is called `cron`"), "{:?}", nowhere.problems);
}

#[test]
fn encoders_are_cut_into_pieces() {
    let how = |text: &str| config(&format!("log-encoder = {text}")).log.lines.encoders.remove(0);
    let text = |text: &str| Piece::Text(text.to_owned());
    let everywhere = |how| Encoder { only_for: None, how };
    assert_eq!(how("nl"), everywhere(Encoding::NewLine));
    assert_eq!(how("prefix [shop] "), everywhere(Encoding::Prefix("[shop]".to_owned())));
    assert_eq!(how("prefix:cron x"), Encoder { only_for: Some("cron".into()), how: Encoding::Prefix("x".into()) });
    let format = how("format ${strftime:%%Y-%%m}: ${msgnl}");
    let expected = vec![Piece::Strftime("%Y-%m".to_owned()), text(": "), Piece::MessageLine];
    assert_eq!(format, everywhere(Encoding::Format(expected)));
    let json = how(r#"json {"unix":${unix}, "msg":"${msg}"}"#);
    let expected = vec![text("{\"unix\":"), Piece::Unix, text(", \"msg\":\""), Piece::Message, text("\"}")];
    assert_eq!(json, everywhere(Encoding::Json(expected)));
    assert_eq!(how("format $ ${ x").how, Encoding::Format(vec![text("$ ${ x")]));
    assert!(outcome("log-encoder = format ${nope}").problems[0].message.contains("left out"));
    assert!(error("log-encoder = gzip").contains("compressed"));
}
