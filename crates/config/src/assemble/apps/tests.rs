//! Several apps, code in the file, paste files, and what is imported beside them.

use std::path::PathBuf;

use crate::{
    apps::{App, AppTarget, Mount, Paste},
    assemble::tests::outcome,
    facts::{Facts, NoFiles},
    read::{Entry, read},
};

#[track_caller]
fn app(lines: &str) -> App {
    let content = format!("[uwsgi]\nsocket = /run/app.sock\n{lines}\n");
    let facts = Facts { working_directory: "/v".into(), uid: 1000, ..Facts::default() };
    let outcome = read(&Entry::File { path: "/v/app.ini".into(), content: content.into_bytes() }, &facts, &NoFiles);
    outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.problems)).app
}

fn mount(point: &str, target: AppTarget, callable: &str) -> Mount {
    Mount { point: point.into(), target, callable: callable.into() }
}

#[test]
fn a_mount_names_a_module_a_file_or_a_paste_file() {
    let app = app(
        "callable = wsgi\nmount = /a=pkg.mod:app\nmount = /b=b.py\nworker-mount = =c.wsgi\nmount = /d=config:/d.ini\nmount = /e=mod:",
    );
    assert_eq!(app.target, None);
    let paste = Paste { uri: "config:/d.ini".into(), name: None, logged: false };
    assert_eq!(
        app.mounts,
        [
            mount("/a", AppTarget::Module("pkg.mod".into()), "app"),
            mount("/b", AppTarget::File("b.py".into()), "wsgi"),
            mount("/", AppTarget::File("c.wsgi".into()), "wsgi"),
            mount("/d", AppTarget::Paste(paste), "wsgi"),
            mount("/e", AppTarget::Module("mod".into()), "wsgi"),
        ]
    );
}

#[test]
fn a_mount_that_uwsgi_passes_over_mounts_nothing_and_is_told() {
    for text in ["/x", "/x=", "/x=pkg.mod"] {
        let beside = outcome(&format!("mount = {text}\nmount = /y=pkg.mod:app"));
        assert_eq!(beside.config.map(|config| config.app.mounts.len()), Some(1), "{text}");
        assert!(beside.problems[0].message.contains("expected `/PREFIX=module:callable`"), "{:?}", beside.problems);
        let content = format!("[uwsgi]\nsocket = /run/app.sock\nmount = {text}\n").into_bytes();
        let alone = read(&Entry::File { path: "/v/app.ini".into(), content }, &Facts::default(), &NoFiles);
        assert!(alone.config.is_none() && alone.problems.iter().any(|problem| problem.code == "no-app"), "{text}");
    }
}

#[test]
fn b6_module_file_paste_and_code_take_precedence_in_this_order() {
    let target = |lines: &str| app(lines).target.unwrap();
    let code = "eval = def application(e, s): pass";
    assert_eq!(target(code), AppTarget::Code("def application(e, s): pass".into()));
    let paste = |uri: &str, name: Option<&str>, logged| {
        AppTarget::Paste(Paste { uri: uri.into(), name: name.map(str::to_owned), logged })
    };
    assert_eq!(
        target(&format!("{code}\npaste = config:/a.ini\npaste-name = b")),
        paste("config:/a.ini", Some("b"), false)
    );
    assert_eq!(target(&format!("{code}\npaste = egg:x\nfile = a.py")), AppTarget::File(PathBuf::from("a.py")));
    assert_eq!(target("wsgi-file = a.py\nmodule = m"), AppTarget::Module("m".into()));
}

#[test]
fn what_is_imported_keeps_its_moment_and_its_order() {
    let app = app(
        "module = m\nimport = a\npyimport = /b.py\nshared-import = c\npymodule-alias = x=y\npost-pymodule-alias = z=/z.py",
    );
    assert_eq!((app.imports.with_apps, app.imports.shared), (vec!["a".into(), "/b.py".into()], vec!["c".into()]));
    assert_eq!(app.imports.aliases, [("x".into(), "y".into())]);
    assert_eq!(app.imports.late_aliases, [("z".into(), "/z.py".into())]);
}
