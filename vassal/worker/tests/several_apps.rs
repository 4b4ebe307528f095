//! Several apps in one worker: which of them answers, and with which SCRIPT_NAME and PATH_INFO. What is expected was observed
//! on uWSGI 2.0.31, but for what `docs/from-uwsgi.md` names.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{path::PathBuf, sync::atomic::Ordering};

use driver::{Generation, Listeners, app_of, assert_answer, get, until, uwsgi};
use empery_control::{
    apps::{App, AppTarget, Apps, Imports, Mount},
    boot::AppBoot,
};

const MAIN: &str = r#"
def named(name):
    def app(environ, start_response):
        if environ.get('QUERY_STRING') == 'raise':
            raise ValueError(name)
        start_response('200 OK', [])
        return [('%s SN=%s PI=%s' % (name, environ['SCRIPT_NAME'], environ['PATH_INFO'])).encode()]
    return app
application = named('main')
one = named('one')
two = named('two')
"#;

fn app(target: &AppTarget, callable: &str) -> App {
    App { target: target.clone(), callable: callable.into() }
}

fn mount(point: &str, target: &AppTarget, callable: &str) -> Mount {
    Mount { point: point.into(), app: app(target, callable) }
}

/// `main`, and `one` and `two` at mount points.
fn three(target: &AppTarget) -> Apps {
    Apps {
        main: Some(app(target, "application")),
        mounts: vec![mount("/one", target, "one"), mount("/two/", target, "two")],
        manage_script_name: true,
        ..Apps::default()
    }
}

#[track_caller]
fn answers(listeners: &Listeners, expected: &[(&str, &str)]) {
    for (path, answer) in expected {
        assert_answer(&get(listeners, path), path, &[&format!("\r\n\r\n{answer}")], &[]);
    }
}

fn serving(name: &str, apps: impl FnOnce(&AppTarget) -> Apps) -> (Generation, Listeners, AppTarget) {
    let listeners = Listeners::new();
    let target = app_of(name, MAIN);
    let apps = apps(&target);
    let generation = Generation::serving(target.clone(), &listeners, |boot: &mut AppBoot| boot.apps = apps);
    (generation, listeners, target)
}

#[test]
fn b45_the_longest_mount_point_gets_the_request_and_the_main_app_the_rest() {
    let (_generation, listeners, _) = serving("longest", |target| {
        let mut apps = three(target);
        apps.mounts.push(mount("/one/deep", target, "two"));
        apps
    });
    answers(
        &listeners,
        &[
            ("/", "main SN= PI=/"),
            ("/one", "one SN=/one PI="),
            ("/one/", "one SN=/one PI=/"),
            ("/onex", "main SN= PI=/onex"),
            ("/%6fne/%C3%A4", "one SN=/one PI=/"),
            ("/one/deep/x", "two SN=/one/deep PI=/x"),
            // uWSGI: SCRIPT_NAME is `/two/`, and for `/two` the memory behind the path is PATH_INFO.
            ("/two", "two SN=/two PI="),
            ("/two//x", "two SN=/two PI=//x"),
        ],
    );
}

#[test]
fn b45_without_manage_script_name_the_script_name_of_the_web_server_chooses() {
    let (_generation, listeners, _) = serving("by-name", |target| Apps { manage_script_name: false, ..three(target) });
    answers(&listeners, &[("/one/x", "main SN= PI=/one/x")]);
    let named = |script_name: &str| {
        let vars = [("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", script_name), ("PATH_INFO", "/x")];
        uwsgi(&listeners, 0, &vars, b"")
    };
    assert_answer(&named("/one"), "a mount point", &["one SN=/one PI=/x"], &[]);
    assert_answer(&named("/other"), "none", &["main SN=/other PI=/x"], &[]);
}

#[test]
fn the_first_that_is_mounted_stands_in_for_a_main_app_unless_it_must_not() {
    let only_mounted = |target: &AppTarget| Apps { main: None, ..three(target) };
    let (_generation, listeners, _) = serving("first", only_mounted);
    answers(&listeners, &[("/", "one SN= PI=/"), ("/two/x", "two SN=/two PI=/x")]);
    let (generation, listeners, _) = serving("nobody", |target| Apps { no_default_app: true, ..only_mounted(target) });
    assert_answer(&get(&listeners, "/"), "nobody", &["HTTP/1.1 500 ", "Internal Server Error"], &[]);
    assert!(generation.log().contains("no python application found"));
    answers(&listeners, &[("/one/x", "one SN=/one PI=/x")]);
}

#[test]
fn ignore_script_name_leaves_all_to_the_main_app() {
    let (_generation, listeners, _) = serving("ignored", |target| Apps { ignore_script_name: true, ..three(target) });
    answers(&listeners, &[("/one/x", "main SN=/one PI=/x")]);
}

#[test]
fn b45_every_app_counts_its_own_requests_and_its_line_has_its_number() {
    let listeners = Listeners::new();
    let target = app_of("counted", MAIN);
    let apps = three(&target);
    let generation = Generation::serving(target, &listeners, |boot: &mut AppBoot| {
        boot.apps = apps;
        boot.log_requests = true;
    });
    for path in ["/", "/one", "/two", "/two/x", "/two/?raise", "/x"] {
        get(&listeners, path);
    }
    let of = |app| generation.scoreboard.app(1, app).unwrap();
    let requests = || [0, 1, 2].map(|app| of(app).requests.load(Ordering::Relaxed));
    until(|| requests() == [2, 1, 3]);
    assert_eq!([0, 1, 2].map(|app| of(app).exceptions.load(Ordering::Relaxed)), [0, 0, 1]);
    until(|| generation.log().contains("GET /x "));
    let log = generation.log();
    for (line, numbers) in
        [("GET /x ", "app: 0|req: 2/6]"), ("GET /one ", "app: 1|req: 1/"), ("GET /two/x ", "app: 2|req: 2/")]
    {
        assert!(log.lines().any(|told| told.contains(line) && told.contains(numbers)), "{line} {numbers}: {log}");
    }
}

#[test]
fn a_module_may_name_its_applications_itself() {
    let listeners = Listeners::new();
    let text = format!("{MAIN}\napplications = {{'/one': one, '/two': 'two'}}\n");
    let AppTarget::File(path) = app_of("listed_module", &text) else { unreachable!("a file") };
    let directory = path.parent().unwrap().to_owned();
    let module = path.file_stem().unwrap().to_string_lossy().replace('-', "_");
    std::fs::rename(&path, directory.join(format!("{module}.py"))).unwrap();
    let target = AppTarget::Module(module);
    let apps = Apps { main: Some(app(&target, "application")), manage_script_name: true, ..Apps::default() };
    let _generation = Generation::serving(target, &listeners, |boot: &mut AppBoot| {
        boot.apps = apps;
        boot.pythonpath = vec![directory];
    });
    answers(&listeners, &[("/two/x", "two SN=/two PI=/x"), ("/x", "main SN= PI=/x")]);
}

#[test]
fn code_of_the_configuration_is_an_app() {
    let code =
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [__name__.encode()]";
    let (_generation, listeners, _) =
        serving("code", |_| Apps { main: Some(app(&AppTarget::Code(code.into()), "application")), ..Apps::default() });
    answers(&listeners, &[("/", "uwsgi_eval_config")]);
}

#[test]
fn what_is_imported_comes_before_the_app_and_a_failure_is_told_and_passed_over() {
    let text = r#"
import sys, renamed, late
def application(environ, start_response):
    start_response('200 OK', [])
    return [('%s %s %s %s' % (renamed.__name__, late.MARK, 'colorsys' in sys.modules, 'wsgi.file_wrapper' in environ)).encode()]
"#;
    let listeners = Listeners::new();
    let AppTarget::File(late) = app_of("late", "MARK = 'from a file'\n") else { unreachable!("a file") };
    let imports = Imports {
        aliases: vec![("renamed".into(), "json".into())],
        shared: vec!["no_such_module_anywhere".into()],
        with_apps: vec!["colorsys".into()],
        late_aliases: vec![("late".into(), late.to_string_lossy().into_owned())],
    };
    let generation = Generation::serving(app_of("imports", text), &listeners, |boot: &mut AppBoot| {
        boot.apps.imports = imports;
        boot.apps.no_file_wrapper = true;
    });
    answers(&listeners, &[("/", "json from a file True False")]);
    assert!(generation.log().contains("no_such_module_anywhere"));
}

#[test]
fn an_alias_that_cannot_be_made_ends_the_start() {
    let listeners = Listeners::new();
    let aliases = vec![("x".into(), "no_such_module_anywhere".into())];
    let generation = Generation::boot(1, app_of("alias", MAIN), &listeners, |boot: &mut AppBoot| {
        boot.apps.imports.aliases = aliases;
    });
    let told = format!("{:?}", generation.loaded);
    assert!(told.contains("pymodule-alias = x=no_such_module_anywhere: ModuleNotFoundError"), "{told}");
}

#[test]
fn an_app_of_paste_is_what_loadapp_gives() {
    let directory = std::env::temp_dir().join(format!("empery-paste-{}", std::process::id()));
    std::fs::create_dir_all(directory.join("paste")).unwrap();
    std::fs::write(directory.join("paste/__init__.py"), "").unwrap();
    let deploy = r#"
def loadapp(uri, name=None):
    def app(environ, start_response):
        start_response('200 OK', [])
        return [('%s %s' % (uri, name)).encode()]
    return app
"#;
    std::fs::write(directory.join("paste/deploy.py"), deploy).unwrap();
    let listeners = Listeners::new();
    let paste = AppTarget::Paste { uri: "config:/x.ini".into(), name: Some("shop".into()), logged: false };
    let apps = Apps { main: Some(app(&paste, "application")), ..Apps::default() };
    let _generation = Generation::serving(paste.clone(), &listeners, |boot: &mut AppBoot| {
        boot.apps = apps;
        boot.pythonpath = vec![PathBuf::from(&directory)];
    });
    answers(&listeners, &[("/", "config:/x.ini shop")]);
}
