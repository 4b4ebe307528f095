//! Where lines go, on real files and sockets.

use std::{fs, os::unix::net::UnixDatagram, path::PathBuf};

use empery_config::loggers::{Datagram, Destination, Encoder, Encoding, Logger, Route};

use super::*;

/// A directory of its own.
fn place(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("empery-sorter-{}-{name}", std::process::id()));
    drop(fs::remove_dir_all(&path));
    fs::create_dir_all(&path).unwrap();
    path
}

fn file(name: Option<&str>, path: &std::path::Path) -> Logger {
    let to = Destination::File { path: path.to_owned(), max_bytes: None, backup_name: None };
    Logger { name: name.map(str::to_owned), to }
}

fn socket(path: &std::path::Path) -> Logger {
    let to = Destination::Socket { to: Datagram::Unix(path.to_owned()), prefix: "shop: ".to_owned() };
    Logger { name: None, to }
}

/// What of these lines is left for where the log goes without loggers.
fn put(sorter: &mut Sorter, lines: &[(Whose, &str)]) -> String {
    let mut standard = Vec::new();
    for (whose, line) in lines {
        sorter.put(*whose, line.as_bytes(), &mut standard);
    }
    String::from_utf8(standard).unwrap()
}

use Whose::{Other, Request};

#[test]
fn nothing_is_sorted_when_nothing_is_said() {
    assert!(Sorter::open(&Configured::default(), None).is_none());
}

#[test]
fn a_line_goes_to_the_loggers_of_its_routes_or_to_all_without_a_name() {
    let place = place("routes");
    let [all, errors, cron] = ["all", "errors", "cron"].map(|name| place.join(name));
    let mut config = Configured::default();
    config.lines.loggers = vec![file(None, &all), file(Some("errors"), &errors), file(Some("cron"), &cron)];
    config.lines.routes = [("errors", "ERROR"), ("cron", "^cron"), ("nobody", ".")]
        .map(|(logger, pattern)| Route { logger: logger.to_owned(), pattern: pattern.to_owned() })
        .to_vec();
    config.drains = vec!["noise".to_owned()];
    config.filters = vec!["e".to_owned(), "ERROR".to_owned()];
    let mut sorter = Sorter::open(&config, None).unwrap();
    let left = put(
        &mut sorter,
        &[
            (Other, "one"),
            (Other, "ERROR"),
            (Other, "cron: ERROR"),
            (Request, "GET e"),
            (Other, "noise e"),
            (Other, "x"),
        ],
    );
    assert_eq!(left, "");
    assert_eq!(fs::read_to_string(all).unwrap(), "one\nGET e\n");
    assert_eq!(fs::read_to_string(errors).unwrap(), "ERROR\ncron: ERROR\n");
    assert_eq!(fs::read_to_string(cron).unwrap(), "cron: ERROR\n");
}

#[test]
fn request_lines_with_a_logger_of_their_own_go_nowhere_else_and_are_encoded_by_their_encoders() {
    let place = place("requests");
    let mut config = Configured::default();
    config.requests_lines.loggers = vec![file(None, &place.join("requests"))];
    config.requests_lines.encoders = vec![Encoder { only_for: None, how: Encoding::Prefix("r ".to_owned()) }];
    config.lines.encoders = vec![Encoder { only_for: None, how: Encoding::Prefix("l ".to_owned()) }];
    config.drains = vec!["GET".to_owned()];
    let mut sorter = Sorter::open(&config, None).unwrap();
    assert_eq!(put(&mut sorter, &[(Other, "app"), (Request, "GET /"), (Other, "GET")]), "l app\n");
    assert_eq!(fs::read_to_string(place.join("requests")).unwrap(), "r GET /\n");
}

#[test]
fn whoever_takes_no_lines_loses_them_and_is_told_when_it_takes_them_again() {
    let place = place("down");
    let path = place.join("socket");
    let mut config = Configured::default();
    config.lines.loggers = vec![socket(&path), file(None, &place.join("file"))];
    let mut sorter = Sorter::open(&config, None).unwrap();
    let told = put(&mut sorter, &[(Other, "one"), (Other, "two")]);
    assert!(told.contains("takes no lines (") && told.lines().count() == 1, "{told}");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let told = put(&mut sorter, &[(Other, "three"), (Other, "four")]);
    assert!(told.contains("takes lines again; 2 were lost") && told.lines().count() == 1, "{told}");
    let heard: Vec<String> = (0..3)
        .map(|_| {
            let mut bytes = [0; 256];
            let length = receiver.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        })
        .collect();
    assert_eq!(heard[0], "shop: *** 2 lines were lost: this logger took none ***\n");
    assert_eq!(heard[1..], ["shop: three\n", "shop: four\n"]);
    assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "one\ntwo\nthree\nfour\n");
}

#[test]
fn what_is_told_of_loggers_is_json_where_lines_are() {
    let place = place("json");
    let path = place.join("socket");
    let mut config = Configured { json: true, ..Configured::default() };
    config.lines.loggers = vec![socket(&path)];
    let mut sorter = Sorter::open(&config, None).unwrap();
    let mut told = put(&mut sorter, &[(Other, "{}")]);
    let receiver = UnixDatagram::bind(&path).unwrap();
    told.push_str(&put(&mut sorter, &[(Other, "{}")]));
    let mut bytes = [0; 256];
    let length = receiver.recv(&mut bytes).unwrap();
    told.push_str(String::from_utf8_lossy(&bytes[..length]).strip_prefix("shop: ").unwrap());
    let messages: Vec<String> = told
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].as_str().unwrap().to_owned())
        .collect();
    let [lost, again, note] = &messages[..] else { panic!("{told}") };
    assert!(
        lost.contains("takes no lines") && again.contains("takes lines again") && note.contains("1 lines were lost")
    );
}

#[test]
fn whoever_does_not_read_holds_nothing_up() {
    let place = place("slow");
    let path = place.join("socket");
    let _nobody_reads = UnixDatagram::bind(&path).unwrap();
    let mut config = Configured::default();
    config.lines.loggers = vec![socket(&path)];
    let mut sorter = Sorter::open(&config, None).unwrap();
    let line = "x".repeat(1000);
    let told: String = (0..10_000).map(|_| put(&mut sorter, &[(Other, line.as_str())])).collect();
    assert!(told.contains("takes no lines") && told.lines().count() == 1, "{told}");
}

#[test]
fn a_logger_that_stays_in_the_configuration_stays_open() {
    let place = place("kept");
    let mut config = Configured::default();
    config.lines.loggers = vec![file(None, &place.join("kept")), file(None, &place.join("goes"))];
    let mut sorter = Sorter::open(&config, None).unwrap();
    put(&mut sorter, &[(Other, "before")]);
    fs::rename(place.join("kept"), place.join("moved")).unwrap();
    config.lines.loggers.truncate(1);
    let mut sorter = Sorter::open(&config, Some(sorter)).unwrap();
    put(&mut sorter, &[(Other, "after")]);
    let moved = fs::read_to_string(place.join("moved")).unwrap();
    // Within the second in which it was opened nobody has looked at the name yet; later it would be a new file.
    let named = fs::read_to_string(place.join("kept")).unwrap_or_default();
    assert_eq!(moved + &named, "before\nafter\n");
}

#[test]
fn a_logger_s_file_is_rotated_as_it_says_or_as_the_log_is() {
    let place = place("rotated");
    let own = Destination::File { path: place.join("own"), max_bytes: Some(100), backup_name: Some(place.join("old")) };
    let mut config = Configured { max_bytes: 50, keep: Some(1), ..Configured::default() };
    config.lines.loggers = vec![Logger { name: None, to: own }, file(None, &place.join("as-the-log"))];
    let mut sorter = Sorter::open(&config, None).unwrap();
    for _ in 0..7 {
        put(&mut sorter, &[(Other, "nineteen characters")]);
    }
    let lines = |name: &str| fs::read_to_string(place.join(name)).unwrap().lines().count();
    assert_eq!((lines("old"), lines("own")), (5, 2));
    assert_eq!((lines("as-the-log.1"), lines("as-the-log")), (3, 1));
}
