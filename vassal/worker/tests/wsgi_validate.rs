//! `wsgiref.validate` stands between the worker and every app of `tests/apps`, and finds nothing to object to in either.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{Generation, Listeners, app_of, assert_answer, exchange};

/// Asked of every app.
const EVERY_APP: &[&str] = &["/", "/path/%E4%20b?query=1&more"];

/// Routes that keep to PEP 3333 and to what `wsgiref.validate` adds (a Content-Type where there is a body), of apps that
/// have others.
const ROUTES: &[(&str, &[&str])] = &[
    // Its others hang or end the process.
    ("stuck.py", &["/"]),
    (
        "wsgi_cases.py",
        &[
            "/plain",
            "/items",
            "/read?3",
            "/unread",
            "/file",
            "/status?204+No+Content",
            "/status?304+Not+Modified",
            "/environ?HTTP_HOST",
            "/keys",
            "/thread",
            "/pid",
            "/fork",
            "/none",
        ],
    ),
    (
        "wsgi_letter.py",
        &[
            "/closed",
            "/blocks?3",
            "/nothing",
            "/head",
            "/errors",
            "/count?4",
            "/file",
            "/gzip",
            "/pipe",
            "/named",
            "/big-file?70000",
        ],
    ),
];

/// Cannot be imported without a spooler, which only a master has.
const NEEDS_A_MASTER: &str = "spooled.py";

/// What each route is asked with, with one answer for each.
const REQUESTS: &[&str] = &[
    "GET {} HTTP/1.1\r\nHost: h\r\nX-A: b\r\nCookie: c=d\r\n\r\n",
    "POST {} HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    "POST {} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HEAD {} HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET {} HTTP/1.0\r\n\r\n",
];

/// The app of a file behind the validator, which wants a size for every `read`; PEP 3333 asks for none.
fn wrapped(file: &std::path::Path) -> String {
    format!(
        "import os, runpy\n\
         from wsgiref import validate\n\
         strict = validate.InputWrapper.read\n\
         validate.InputWrapper.read = lambda stream, *size: strict(stream, *(size or (-1,)))\n\
         os.environ.setdefault('IMPORTS', os.devnull)\n\
         application = validate.validator(runpy.run_path({file:?})['application'])\n"
    )
}

#[test]
fn the_validator_has_nothing_to_say_about_any_app() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/apps");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "py"));
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        if name == NEEDS_A_MASTER || !std::fs::read_to_string(&file).unwrap().contains("application") {
            continue;
        }
        let own = ROUTES.iter().find(|(app, _)| *app == name).map_or(EVERY_APP, |(_, routes)| routes);
        for threads in [1, 2] {
            let listeners = Listeners::new();
            let target = app_of(&format!("validated-{threads}-{name}"), &wrapped(&file));
            let mut generation = Generation::serving(target, &listeners, |boot| {
                boot.threads = threads;
                // Where an app that writes a ledger puts it.
                boot.pyargv = vec!["/dev/null".into()];
            });
            for route in own {
                for request in REQUESTS {
                    let answer = exchange(
                        &listeners,
                        request.replace("{}", route).replace("Host: h", "Host: h\r\nConnection: close").as_bytes(),
                    );
                    let failed = format!("{name} {request:?} {route}: {answer}\n{}", generation.log());
                    assert_answer(&answer, &failed, &["HTTP/1.1 "], &["HTTP/1.1 500"]);
                }
            }
            generation.drain();
            let log = generation.log();
            // What a destructor of the validator finds, an iterable that was not closed, it can only print.
            assert_answer(
                &log,
                name,
                &[],
                &["AssertionError", "WSGIWarning", "Iterator garbage collected", "Traceback"],
            );
        }
    }
}
