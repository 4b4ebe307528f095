//! Static files without a server: which file a request means and what answer it gets, on real directories. The text
//! parts have their tests beside them; they run here because an extension module cannot be linked into a test.
#![allow(clippy::unwrap_used)]

#[path = "../src/static_files/mod.rs"]
mod static_files;

use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use empery_control::static_files::{Expires, ExpiresOf, Rest, Sender, StaticFiles as Told, StaticRule};
use static_files::{Answer, Asked, Conditions, Outcome, StaticFiles, Waiting, look::Kernel};

const NOW_UNIX_S: u64 = 1_800_000_000;

/// A directory of a test: `root` is served, `outside` is not.
struct Ground(PathBuf);

impl Ground {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("empery-static-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("root/sub")).unwrap();
        fs::create_dir_all(directory.join("root-secret")).unwrap();
        fs::create_dir_all(directory.join("outside")).unwrap();
        let ground = Self(fs::canonicalize(directory).unwrap());
        ground.write("root/a.css", "0123456789");
        ground.write("root/sub/b.txt", "b");
        ground.write("root-secret/key", "SECRET");
        ground.write("outside/secret", "SECRET");
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn link(&self, target: impl AsRef<Path>, name: &str) {
        symlink(target, self.path(name)).unwrap();
    }

    /// `static-map = /static=root`.
    fn map(&self) -> Told {
        Told { rules: vec![rule("/static", Rest::BehindPrefix, &self.path("root"))], ..Told::default() }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn rule(prefix: &str, rest: Rest, root: &Path) -> StaticRule {
    StaticRule { prefix: prefix.into(), rest, root: Some(root.into()) }
}

fn get(path: &str) -> Asked<'_> {
    Asked {
        method: b"GET",
        path_info: path.as_bytes(),
        uri: path.as_bytes(),
        now_unix_s: NOW_UNIX_S,
        ..Asked::default()
    }
}

#[track_caller]
fn ask(told: &Told, asked: &Asked<'_>) -> Option<Answer> {
    let files = StaticFiles::new(told, |warning| panic!("{warning}")).unwrap();
    answer_of(&files, asked)
}

#[track_caller]
fn answer_of(files: &StaticFiles, asked: &Asked<'_>) -> Option<Answer> {
    match files.answer(asked, Waiting::Allowed) {
        Outcome::Answer(answer) => Some(answer),
        Outcome::ForTheApp => None,
        Outcome::WouldWait => panic!("it may wait"),
    }
}

/// The status and the body, as a client would see them; 0 for what goes to the app.
fn seen(answer: Option<Answer>) -> (u16, String) {
    let Some(answer) = answer else { return (0, String::new()) };
    let mut body = answer.text.as_bytes().to_vec();
    if let Some(file) = &answer.file {
        let open = fs::File::from(file.fd.try_clone().unwrap());
        for part in &file.parts {
            body.extend_from_slice(&part.before);
            let mut bytes = vec![0; part.span.length as usize];
            open.read_exact_at(&mut bytes, part.span.offset).unwrap();
            body.extend_from_slice(&bytes);
        }
        body.extend_from_slice(&file.end);
        assert_eq!(answer.length, Some(body.len() as u64));
    }
    (answer.status.line().0, String::from_utf8(body).unwrap())
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    let text = String::from_utf8(answer.lines.clone()).unwrap();
    let mut values = text.lines().filter_map(|line| line.strip_prefix(&format!("{name}: ")));
    let value = values.next().map(str::to_owned);
    assert_eq!(values.next(), None, "{name} twice");
    value
}

#[test]
fn what_is_there_is_served_and_what_is_not_goes_to_the_app() {
    let ground = Ground::new("plain");
    let told = ground.map();
    for (path, status) in [
        ("/static/a.css", 200),
        ("/static//sub/./b.txt", 200),
        ("/static/sub/../a.css", 200),
        ("/static/none", 0),
        ("/static/a.css/", 0),
        ("/static/sub", 0),
        ("/static", 0),
        ("/staticfoo/a.css", 0),
        ("/static-secret/key", 0),
        ("/a.css", 0),
        ("", 0),
    ] {
        assert_eq!(seen(ask(&told, &get(path))).0, status, "{path}");
    }
    let answer = ask(&told, &get("/static/a.css")).unwrap();
    assert_eq!(header(&answer, "Content-Type").as_deref(), Some("text/css"));
    assert_eq!(answer.length, Some(10));
    for method in [&b"POST"[..], b"PUT", b"OPTIONS", b"get", b""] {
        assert!(ask(&told, &Asked { method, ..get("/static/a.css") }).is_none());
    }
    let head = ask(&told, &Asked { method: b"HEAD", range: Some(b"bytes=0-1"), ..get("/static/a.css") }).unwrap();
    assert_eq!((head.status.line().0, head.length, head.file.is_none()), (200, Some(10), true));
}

/// Each row is asked on the kernel's own ways and on those of an old one: they must agree.
#[test]
fn nothing_outside_is_ever_served_cve_2018_7490() {
    let ground = Ground::new("escape");
    ground.link("../outside/secret", "root/relative");
    ground.link(ground.path("outside/secret"), "root/absolute");
    ground.link(ground.path("outside"), "root/directory");
    ground.link("../root-secret", "root/sibling");
    ground.link("/proc/self/environ", "root/proc");
    ground.link("/proc/self/fd/0", "root/magic");
    ground.link("loop", "root/loop");
    ground.link(ground.path("root/a.css"), "root/within");
    ground.link("sub/../a.css", "root/within-too");
    ground.link("../root/a.css", "root/out-and-in");
    nix::unistd::mkfifo(&ground.path("root/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(ground.path("root/socket")).unwrap();
    ground.link("/dev/null", "root/device");
    ground.write("root/back\\slash", "fine");
    for kernel in [Kernel::running(), Kernel::KeepsWithin, Kernel::Old] {
        let mut files = StaticFiles::new(&ground.map(), |_| {}).unwrap();
        files.looker.kernel = kernel;
        for (path, status) in [
            ("/static/../outside/secret", 403),
            ("/static/sub/../../outside/secret", 403),
            ("/static/../root-secret/key", 403),
            ("/static/../root/a.css", 403),
            ("/static/..", 403),
            ("/static/none/../../..", 403),
            ("/static/..\\..\\outside", 403),
            ("/static/\0", 403),
            ("/static/a.css\0.png", 403),
            ("/static/relative", 403),
            ("/static/absolute", 403),
            ("/static/directory/secret", 403),
            ("/static/sibling/key", 403),
            ("/static/proc", 403),
            ("/static/device", 403),
            ("/static/loop", 0),
            ("/static/fifo", 0),
            ("/static/socket", 0),
            ("/static/%2e%2e/outside/secret", 0),
            ("/static/\u{2025}/outside/secret", 0),
            ("/static/within", 200),
            ("/static/within-too", 200),
            ("/static/out-and-in", 200),
            ("/static/back\\slash", 200),
        ] {
            let answer = answer_of(&files, &get(path));
            let why = answer.as_ref().and_then(|answer| answer.why.clone()).unwrap_or_default();
            assert_eq!(status == 403, why.contains("leads outside"), "{path:?} on {kernel:?}: {why}");
            let (found, body) = seen(answer);
            assert_eq!(found, status, "{path:?} on {kernel:?}");
            assert!(!body.contains("SECRET"));
        }
        let magic = seen(answer_of(&files, &get("/static/magic"))).0;
        assert!(matches!(magic, 0 | 403), "a magic link was answered {magic} on {kernel:?}");
    }
    drop(socket);
}

#[test]
fn any_path_however_made_stays_inside() {
    let ground = Ground::new("seeded");
    ground.link("../outside", "root/out");
    ground.link("..", "root/sub/up");
    let pieces: [&[u8]; 22] = [
        b"/",
        b"//",
        b"..",
        b".",
        b"../",
        b"a.css",
        b"sub",
        b"out",
        b"up",
        b"\\",
        b"..\\",
        b"\0",
        b"%2e%2e",
        b"%2E.",
        b"%2f",
        b"%5c",
        b"%00",
        b"%252e%252e",
        b"%",
        b"secret",
        b"outside",
        b"\xc0\xae",
    ];
    let seed = std::env::var("EMPERY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122_u64);
    let mut state = seed;
    let mut next = move || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let root = ground.path("root");
    let allowed: Vec<u64> =
        ["root/a.css", "root/sub/b.txt"].iter().map(|name| fs::metadata(ground.path(name)).unwrap().ino()).collect();
    let mut told = ground.map();
    told.rules.push(rule("", Rest::Whole, &root));
    let mut served = 0;
    for kernel in [Kernel::running(), Kernel::Old] {
        let mut files = StaticFiles::new(&told, |_| {}).unwrap();
        files.looker.kernel = kernel;
        for _ in 0..20_000 {
            let mut sent = if next() % 2 == 0 { b"/static/".to_vec() } else { b"/".to_vec() };
            for _ in 0..next() % 8 {
                sent.extend_from_slice(pieces[(next() % pieces.len() as u64) as usize]);
                if next() % 2 == 0 {
                    sent.push(b'/');
                }
            }
            let mut path = Vec::new();
            empery_wire::target::percent_decode(&sent, &mut path);
            let asked = Asked { path_info: &path, ..get("") };
            let Some(Answer { file: Some(file), .. }) = answer_of(&files, &asked) else { continue };
            let inode = fs::File::from(file.fd).metadata().unwrap().ino();
            assert!(allowed.contains(&inode), "seed {seed}: {} on {kernel:?}", sent.escape_ascii());
            served += 1;
        }
    }
    assert!(served > 100, "only {served} paths led to a file: the test says little");
}

#[test]
fn a_lookup_that_may_not_wait_answers_from_what_the_kernel_has_at_hand_or_says_that_it_would() {
    let ground = Ground::new("waiting");
    let mut files = StaticFiles::new(&ground.map(), |_| {}).unwrap();
    for kernel in [Kernel::Old, Kernel::KeepsWithin] {
        files.looker.kernel = kernel;
        assert!(matches!(files.answer(&get("/static/a.css"), Waiting::Never), Outcome::WouldWait), "{kernel:?}");
    }
    files.looker.kernel = Kernel::running();
    assert!(answer_of(&files, &get("/static/a.css")).is_some());
    match files.answer(&get("/static/a.css"), Waiting::Never) {
        Outcome::Answer(answer) => assert_eq!(seen(Some(answer)).1, "0123456789"),
        Outcome::WouldWait => assert_ne!(files.looker.kernel, Kernel::Full, "it was looked up a moment ago"),
        Outcome::ForTheApp => panic!("the file is there"),
    }
}

#[test]
fn static_safe_widens_what_symlinks_may_lead_to() {
    let ground = Ground::new("safe");
    ground.link(ground.path("outside/secret"), "root/link");
    ground.link("../root-secret/key", "root/other");
    let told = Told { safe: vec![ground.path("outside")], ..ground.map() };
    assert_eq!(seen(ask(&told, &get("/static/link"))), (200, "SECRET".into()));
    assert_eq!(seen(ask(&told, &get("/static/other"))).0, 403);
    assert_eq!(seen(ask(&told, &get("/static/../outside/secret"))).0, 403, "the path itself may not leave");
}

#[test]
fn rules_are_followed_in_their_order() {
    let ground = Ground::new("rules");
    ground.write("outside/a.css", "outside");
    fs::create_dir_all(ground.path("outside/static")).unwrap();
    ground.write("outside/static/kept", "kept");
    ground.write("outside/index.html", "index");
    ground.write("root/sub/index.htm", "htm");
    ground.write("root/app.py", "code");
    let (root, outside) = (ground.path("root"), ground.path("outside"));
    let told = Told {
        rules: vec![
            rule("", Rest::Whole, &root),
            rule("/static", Rest::BehindPrefix, &outside),
            rule("/static", Rest::Whole, &outside),
            rule("/favicon.ico", Rest::BehindPrefix, &ground.path("root/sub/b.txt")),
            StaticRule { prefix: String::new(), rest: Rest::Whole, root: None },
        ],
        index: vec!["index.html".into(), "index.htm".into()],
        skip_ext: vec![".py".into()],
        ..Told::default()
    };
    for (path, body) in [
        ("/a.css", "0123456789"),
        ("/static/a.css", "outside"),
        ("/static/kept", "kept"),
        ("/static", "index"),
        ("/static/", "index"),
        ("/sub", "htm"),
        ("/sub/", "htm"),
        ("/favicon.ico", "b"),
        ("/favicon.ico/deeper", "b"),
    ] {
        assert_eq!(seen(ask(&told, &get(path))), (200, body.into()), "{path}");
    }
    assert!(ask(&told, &get("/app.py")).is_none());
    assert!(ask(&told, &get("/favicon.icon")).is_none());
    let document_root = outside.to_str().unwrap().as_bytes();
    assert_eq!(seen(ask(&told, &Asked { document_root, ..get("/secret") })), (200, "SECRET".into()));
    assert!(ask(&told, &get("/secret")).is_none());
}

#[test]
fn changes_are_seen_at_once_and_a_replaced_root_too() {
    let ground = Ground::new("changes");
    fs::create_dir_all(ground.path("releases/1")).unwrap();
    fs::create_dir_all(ground.path("releases/2")).unwrap();
    ground.write("releases/1/a", "one");
    ground.write("releases/2/a", "two");
    ground.link("releases/1", "current");
    let told = Told { rules: vec![rule("/s", Rest::BehindPrefix, &ground.path("current"))], ..Told::default() };
    let files = StaticFiles::new(&told, |_| {}).unwrap();
    assert_eq!(seen(answer_of(&files, &get("/s/a"))).1, "one");
    let before = header(&answer_of(&files, &get("/s/a")).unwrap(), "ETag");
    ground.link("releases/2", "next");
    fs::rename(ground.path("next"), ground.path("current")).unwrap();
    assert_eq!(seen(answer_of(&files, &get("/s/a"))).1, "two");
    assert_ne!(header(&answer_of(&files, &get("/s/a")).unwrap(), "ETag"), before);
    fs::remove_file(ground.path("releases/2/a")).unwrap();
    assert!(answer_of(&files, &get("/s/a")).is_none());
    fs::remove_file(ground.path("current")).unwrap();
    assert!(answer_of(&files, &get("/s/a")).is_none());
}

#[test]
fn compressed_siblings_are_taken_by_clients_that_accept_them() {
    let ground = Ground::new("compressed");
    ground.write("root/a.css.gz", "gz");
    ground.write("root/a.css.br", "br");
    ground.write("root/sub/b.txt.gz", "gz");
    ground.write("root/plain.js", "js");
    let form = |told: &Told, path: &str, accept: Option<&'static [u8]>| {
        let answer = ask(told, &Asked { accept_encoding: accept, ..get(path) }).unwrap();
        let (coding, vary) = (header(&answer, "Content-Encoding"), header(&answer, "Vary"));
        let kind = header(&answer, "Content-Type").unwrap();
        assert!(kind == "text/css" || kind == "text/plain" || kind == "text/javascript", "{kind}");
        assert!(coding.is_none() || vary.as_deref() == Some("Accept-Encoding"));
        (seen(Some(answer)).1, coding.unwrap_or_default())
    };
    let pair = |body: &str, coding: &str| (body.to_owned(), coding.to_owned());
    let off = ground.map();
    assert_eq!(form(&off, "/static/a.css", Some(b"br, gzip")), pair("0123456789", ""));
    let all = Told { compressed_all: true, ..ground.map() };
    assert_eq!(form(&all, "/static/a.css", Some(b"gzip, br")), pair("br", "br"));
    assert_eq!(form(&all, "/static/a.css", Some(b"gzip")), pair("gz", "gzip"));
    assert_eq!(form(&all, "/static/a.css", Some(b"gzip;q=0")), pair("0123456789", ""));
    assert_eq!(form(&all, "/static/a.css", None), pair("0123456789", ""));
    assert_eq!(form(&all, "/static/sub/b.txt", Some(b"gzip, br")), pair("gz", "gzip"));
    assert_eq!(form(&all, "/static/plain.js", Some(b"gzip, br")), pair("js", ""));
    let sub = ground.path("root/sub").to_str().unwrap().to_owned();
    for some in [
        Told { compressed_prefixes: vec![sub], ..ground.map() },
        Told { compressed_suffixes: vec![".txt".into()], ..ground.map() },
        Told { compressed_patterns: vec!["root/sub/[a-c]".into()], ..ground.map() },
    ] {
        assert_eq!(form(&some, "/static/sub/b.txt", Some(b"gzip")), pair("gz", "gzip"));
        assert_eq!(form(&some, "/static/a.css", Some(b"gzip")), pair("0123456789", ""));
    }
    let plain = header(&ask(&all, &get("/static/a.css")).unwrap(), "ETag");
    let gzip = ask(&all, &Asked { accept_encoding: Some(b"gzip"), ..get("/static/a.css") }).unwrap();
    assert_ne!(header(&gzip, "ETag"), plain, "other bytes, another tag");
}

#[test]
fn expires_is_said_by_the_first_rule_that_fits() {
    let ground = Ground::new("expires");
    let changed = nix::sys::time::TimeSpec::new(1_000_000_000, 0);
    nix::sys::stat::utimensat(
        nix::fcntl::AT_FDCWD,
        &ground.path("root/a.css"),
        &changed,
        &changed,
        nix::sys::stat::UtimensatFlags::FollowSymlink,
    )
    .unwrap();
    let expires = |of, from_change| {
        let told = Told { expires: vec![Expires { of, from_change, seconds: 10 }], ..ground.map() };
        let answer = ask(&told, &Asked { uri: b"/static/a.css?v=1", ..get("/static/a.css") }).unwrap();
        header(&answer, "Expires").unwrap_or_default()
    };
    let (from_now, from_change) = ("Fri, 15 Jan 2027 08:00:10 GMT", "Sun, 09 Sep 2001 01:46:50 GMT");
    for of in [
        ExpiresOf::File("root/a\\.css$".into()),
        ExpiresOf::PathInfo("^/static/.*css$".into()),
        ExpiresOf::Uri("v=1$".into()),
        ExpiresOf::Type("text/css".into()),
    ] {
        assert_eq!(expires(of.clone(), false), from_now);
        assert_eq!(expires(of, true), from_change);
    }
    assert_eq!(expires(ExpiresOf::PathInfo("\\.js$".into()), false), "");
    ground.write("root/sub/b.txt.gz", "gz");
    let compressed = Told {
        compressed_all: true,
        expires: vec![Expires { of: ExpiresOf::File("\\.txt$".into()), from_change: false, seconds: 10 }],
        ..ground.map()
    };
    let gzip = ask(&compressed, &Asked { accept_encoding: Some(b"gzip"), ..get("/static/sub/b.txt") }).unwrap();
    let said = (header(&gzip, "Content-Encoding"), header(&gzip, "Expires"));
    assert_eq!(said, (Some("gzip".into()), Some(from_now.into())), "the plain name counts");
}

#[test]
fn a_client_with_a_copy_and_one_with_a_part_are_told_what_they_need() {
    let ground = Ground::new("conditions");
    let told = ground.map();
    let whole = ask(&told, &get("/static/a.css")).unwrap();
    let (etag, date) = (header(&whole, "ETag").unwrap(), header(&whole, "Last-Modified").unwrap());
    let with = |conditions, range: Option<&'static [u8]>| {
        ask(&told, &Asked { conditions, range, ..get("/static/a.css") }).unwrap()
    };
    let none = Conditions::default();
    let same = with(Conditions { if_none_match: Some(etag.as_bytes()), ..none }, Some(b"bytes=0-1"));
    assert_eq!((same.status.line().0, same.length, header(&same, "ETag")), (304, None, Some(etag.clone())));
    assert_eq!(with(Conditions { if_modified_since: Some(date.as_bytes()), ..none }, None).status.line().0, 304);
    assert_eq!(seen(Some(with(Conditions { if_match: Some(b"\"x\""), ..none }, None))).0, 412);
    let part = with(none, Some(b"bytes=2-4"));
    assert_eq!(header(&part, "Content-Range").as_deref(), Some("bytes 2-4/10"));
    assert_eq!(seen(Some(part)), (206, "234".into()));
    assert_eq!(
        seen(Some(with(Conditions { if_range: Some(etag.as_bytes()), ..none }, Some(b"bytes=-1")))),
        (206, "9".into())
    );
    assert_eq!(seen(Some(with(Conditions { if_range: Some(b"\"x\""), ..none }, Some(b"bytes=-1")))).0, 200);
    let beyond = with(none, Some(b"bytes=10-"));
    assert_eq!(header(&beyond, "Content-Range").as_deref(), Some("bytes */10"));
    assert_eq!(seen(Some(beyond)).0, 416);
    let several = with(none, Some(b"bytes=0-0,8-"));
    let kind = header(&several, "Content-Type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    let part = |range: &str, body: &str| {
        format!("\r\n--{boundary}\r\nContent-Type: text/css\r\nContent-Range: bytes {range}/10\r\n\r\n{body}")
    };
    let expected = format!("{}{}\r\n--{boundary}--\r\n", part("0-0", "0"), part("8-9", "89"));
    assert_eq!(seen(Some(several)), (206, expected));
}

#[test]
fn the_server_in_front_is_told_the_path_without_what_could_forge_a_header() {
    let ground = Ground::new("accel");
    ground.write("root/a\r\nX-Evil: 1.css", "x");
    for (sender, name) in [(Sender::Nginx, "X-Accel-Redirect"), (Sender::XSendfile, "X-Sendfile")] {
        let told = Told { sender, ..ground.map() };
        let answer = ask(&told, &get("/static/a\r\nX-Evil: 1.css")).unwrap();
        let path = header(&answer, name).unwrap();
        assert!(path.ends_with("/root/a%0D%0AX-Evil%3A%201.css"), "{path}");
        assert_eq!((answer.length, answer.file.is_none()), (Some(0), true));
    }
}

#[test]
fn what_may_not_be_read_is_403_below_a_prefix_and_for_the_app_elsewhere() {
    let ground = Ground::new("forbidden");
    fs::set_permissions(ground.path("root/a.css"), fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads everything, but this thread opens files as nobody from here on (setfsuid(2)).
    let before = nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
    let refused = ask(&ground.map(), &get("/static/a.css")).unwrap();
    assert!(refused.why.as_ref().is_some_and(|why| why.contains("/static/a.css may not be read")), "{refused:?}");
    assert_eq!(seen(Some(refused)).0, 403);
    let everything = Told { rules: vec![rule("", Rest::Whole, &ground.path("root"))], ..Told::default() };
    assert!(ask(&everything, &get("/a.css")).is_none());
    nix::unistd::setfsuid(before);
}

#[test]
fn what_is_not_there_at_the_start_is_told() {
    let ground = Ground::new("mime");
    ground.write("types", "text/x-mine css");
    let told = Told { mime_files: vec![ground.path("types")], ..ground.map() };
    assert_eq!(header(&ask(&told, &get("/static/a.css")).unwrap(), "Content-Type").as_deref(), Some("text/x-mine"));
    let mut told = Told { mime_files: vec![ground.path("none")], ..ground.map() };
    told.rules.push(rule("/later", Rest::BehindPrefix, &ground.path("later")));
    let warnings = std::cell::RefCell::new(Vec::new());
    let files = StaticFiles::new(&told, |warning| warnings.borrow_mut().push(warning)).unwrap();
    assert!(warnings.borrow()[0].contains("/later, from which"), "{warnings:?}");
    assert!(warnings.borrow()[1].contains("is not read"), "{warnings:?}");
    assert_eq!(header(&answer_of(&files, &get("/static/a.css")).unwrap(), "Content-Type").as_deref(), Some("text/css"));
}

#[test]
fn a_file_that_a_route_names_is_served_wherever_it_is_and_its_type_is_known_by_its_name() {
    let ground = Ground::new("routed");
    let files = StaticFiles::new(&Told::default(), |_| {}).unwrap();
    let path = ground.path("outside/secret");
    let path = path.to_str().unwrap();
    let Outcome::Answer(answer) = files.file(&get(path), path.as_bytes(), Waiting::Allowed) else {
        panic!("no answer")
    };
    assert_eq!(seen(Some(answer)), (200, "SECRET".to_owned()));
    assert!(matches!(files.file(&get("/x"), b"/nowhere/at/all", Waiting::Allowed), Outcome::ForTheApp));
    assert_eq!((files.type_of(b"/x/a.css"), files.type_of(b"/x/a")), (Some("text/css"), None));
}
