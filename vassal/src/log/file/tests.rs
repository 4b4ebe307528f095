//! Log files and what is done to them from outside.

use super::*;

fn place(name: &str) -> PathBuf {
    let place = std::env::temp_dir().join(format!("empery-log-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).unwrap();
    place
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

impl LogFile {
    fn say(&mut self, text: &str) {
        self.append(text.as_bytes(), Shape::Plain);
    }

    /// As if a second had passed.
    fn say_later(&mut self, text: &str) {
        self.looked_unix_s = 0;
        self.say(text);
    }
}

#[test]
fn b62_a_full_file_is_renamed_at_the_end_of_a_line() {
    let place = place("rotates");
    let (path, old) = (place.join("current.log"), place.join("previous.log"));
    let care = Care { max_bytes: 8, retired: Retired::Named(old.clone()), ..Care::none() };
    let mut log = LogFile::open(path.clone(), care).unwrap();
    for piece in ["one\ntwo", "\n"] {
        log.say(piece);
    }
    assert_eq!(read(&old), "one\ntwo\n");
    log.filled_unix_s -= 1;
    for piece in ["thr", "ee", "\nfour\n", "five\n"] {
        log.say(piece);
    }
    assert_eq!((read(&old).as_str(), read(&path).as_str()), ("three\nfour\n", "five\n"));
    let _ = std::fs::remove_dir_all(place);
}

#[test]
fn b62_a_burst_that_fills_the_file_again_within_a_second_loses_no_line() {
    let place = place("burst");
    let care = Care { max_bytes: 50, retired: Retired::Stamped, ..Care::none() };
    let mut log = LogFile::open(place.join("current.log"), care).unwrap();
    for number in 0..600 {
        log.say(&format!("line {number}\n"));
    }
    let texts: Vec<String> = std::fs::read_dir(&place).unwrap().map(|entry| read(&entry.unwrap().path())).collect();
    assert!(texts.len() > 1, "it was rotated");
    assert_eq!(texts.iter().map(|text| text.lines().count()).sum::<usize>(), 600);
    let _ = std::fs::remove_dir_all(place);
}

#[test]
fn a_file_of_an_earlier_period_is_rotated_and_an_empty_one_is_not() {
    let place = place("periods");
    let path = place.join("current.log");
    let retired = Retired::Numbered { keep: 2, compress: false };
    let care = Care { rotate_every_s: 3600, retired, ..Care::none() };
    let mut log = LogFile::open(path.clone(), care.clone()).unwrap();
    log.period -= 1;
    log.say("one\n");
    log.period -= 1;
    log.say("two\n");
    assert_eq!((read(&place.join("current.log.1")).as_str(), read(&path).as_str()), ("one\n", "two\n"));
    assert!(!place.join("current.log.2").exists());
    // It is told by the file's own time after a start.
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400);
    File::options().append(true).open(&path).unwrap().set_modified(yesterday).unwrap();
    LogFile::open(path.clone(), care).unwrap().say("three\n");
    assert_eq!(read(&path), "three\n");
    let _ = std::fs::remove_dir_all(place);
}

#[test]
fn r17_a_moved_removed_replaced_or_emptied_file_is_noticed_and_no_line_is_lost() {
    let place = place("moved");
    let (path, moved) = (place.join("current.log"), place.join("moved"));
    let mut log = LogFile::open(path.clone(), Care { max_bytes: 100, ..Care::none() }).unwrap();
    log.say("one\n");
    std::fs::rename(&path, &moved).unwrap();
    log.say("two\n");
    log.say_later("three\n");
    assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("one\ntwo\n", "three\n"));
    std::fs::remove_file(&path).unwrap();
    log.say_later("four\n");
    assert_eq!(read(&path), "four\n");
    // copytruncate.
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    log.say_later("five\n");
    assert_eq!((read(&path).as_str(), log.size_bytes), ("five\n", 5));
    // A link that leads elsewhere.
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&moved, &path).unwrap();
    log.say_later("six\n");
    assert_eq!(read(&moved), "one\ntwo\nsix\n");
    // A directory that is gone for a while.
    let away = place.with_extension("away");
    std::fs::rename(&place, &away).unwrap();
    log.say_later("seven\n");
    std::fs::rename(&away, &place).unwrap();
    log.say_later("eight\n");
    assert_eq!(read(&moved), "one\ntwo\nsix\nseven\neight\n");
    let _ = std::fs::remove_dir_all(place);
}

#[test]
fn r17_a_fifo_that_nobody_reads_holds_nobody_up_and_what_is_lost_is_told() {
    let place = place("fifo");
    let path = place.join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(LogFile::open(path.clone(), Care::none()).is_err(), "nobody reads: it is no log");
    let reader = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path).unwrap();
    let mut log = LogFile::open(path, Care::none()).unwrap();
    let line = format!("{}\n", "x".repeat(999));
    for _ in 0..200 {
        log.say(&line);
    }
    assert_eq!(log.lost_bytes % 1000, 0);
    assert!(log.lost_bytes >= 100_000, "{} bytes", log.lost_bytes);
    let lost_bytes = log.lost_bytes;
    let mut reader = reader;
    let mut told = vec![0; 200_000];
    let _ = io::Read::read(&mut reader, &mut told).unwrap();
    log.say("next\n");
    let length = io::Read::read(&mut reader, &mut told).unwrap();
    let told = String::from_utf8_lossy(&told[..length]).into_owned();
    assert!(told.contains(&format!("*** {lost_bytes} bytes of this log were lost")), "{told}");
    drop(reader);
    log.say("nobody\n");
    let _ = std::fs::remove_dir_all(place);
}

#[test]
fn its_mode_is_what_is_asked_for_and_it_may_begin_empty() {
    let place = place("mode");
    let path = place.join("current.log");
    std::fs::write(&path, "old\n").unwrap();
    let mut log = LogFile::open(path.clone(), Care { mode: Some(0o604), ..Care::none() }).unwrap();
    log.truncate().unwrap();
    log.say("new\n");
    assert_eq!((read(&path).as_str(), std::fs::metadata(&path).unwrap().mode() & 0o777), ("new\n", 0o604));
    let _ = std::fs::remove_dir_all(place);
}

#[test]
fn a_device_is_never_renamed_or_removed() {
    for retired in [Retired::Stamped, Retired::Numbered { keep: 0, compress: false }] {
        let place = place("device");
        let path = place.join("null");
        // Behind a link, so that a mistake costs the link and not the machine's device.
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let care = Care { max_bytes: 8, retired, ..Care::none() };
        let mut log = LogFile::open(path, care).unwrap();
        log.say("more than eight bytes\n");
        log.rotate();
        let names: Vec<_> = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["null"]);
        let _ = std::fs::remove_dir_all(place);
    }
}

#[test]
fn a_file_is_full_at_the_end_of_a_line_in_the_middle_of_what_is_written() {
    let place = place("middle");
    let (path, old) = (place.join("current.log"), place.join("previous.log"));
    let care = Care { max_bytes: 8, retired: Retired::Named(old.clone()), ..Care::none() };
    let mut log = LogFile::open(path.clone(), care).unwrap();
    log.say("one\ntwo three\nfo");
    assert_eq!((read(&old).as_str(), read(&path).as_str()), ("one\ntwo three\n", "fo"));
    log.filled_unix_s -= 1;
    log.say("ur\nfive\nsix");
    assert_eq!((read(&old).as_str(), read(&path).as_str()), ("four\nfive\n", "six"));
    let _ = std::fs::remove_dir_all(place);
}
