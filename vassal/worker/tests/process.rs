//! What the processes of an app are like: limits, options of sockets, hooks, bodies that are read beforehand.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{Generation, Listeners, app_of, assert_answer, exchange, get, until, uwsgi};
use empery_control::{
    boot::AppBoot,
    process::{AcceptingHook, Hook},
    worker::FromZygote,
};

fn hook(action: &str, argument: impl Into<String>) -> Hook {
    Hook { action: action.into(), argument: argument.into() }
}

const TELLS: &str = r#"
import os, resource, socket, threading, uwsgi
def application(environ, start_response):
    start_response('200 OK', [])
    listener = socket.socket(fileno=os.dup(uwsgi.sockets[0]))
    told = [
        resource.getrlimit(resource.RLIMIT_AS)[0] >> 20, resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        os.nice(0), len(os.sched_getaffinity(0)), threading.stack_size(),
        listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
    ]
    return [' '.join(map(str, told)).encode()]
"#;

#[test]
fn limits_priorities_and_options_of_sockets_are_those_of_the_configuration() {
    let listeners = Listeners::new();
    let generation = Generation::serving(app_of("limits", TELLS), &listeners, |boot: &mut AppBoot| {
        boot.threads = 2;
        let process = &mut boot.process;
        process.address_space_max_bytes = 4 << 30;
        process.descriptors_max = 200;
        process.priority = 7;
        process.cpus_per_worker = 1;
        process.thread_stack_bytes = 512 * 1024;
        process.keepalive = true;
        process.send_buffer_bytes = 40_000;
    });
    // The kernel doubles what is asked for (socket(7)).
    assert_answer(&get(&listeners, "/"), "limits", &["\r\n\r\n4096 200 7 1 524288 1 80000"], &[]);
    assert_eq!(generation.log(), "");
}

#[test]
fn hooks_come_before_and_after_the_app_and_in_the_worker() {
    let place = std::env::temp_dir().join(format!("empery-worker-hooks-{}", std::process::id()));
    let _ = std::fs::remove_file(&place);
    let path = place.display().to_string();
    let text = format!(
        "import os\nopen('{path}', 'a').write('app ' + os.environ['OF_THE_HOOK'] + '\\n')\n\
         def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n"
    );
    let listeners = Listeners::new();
    let _generation = Generation::serving(app_of("hooks", &text), &listeners, |boot: &mut AppBoot| {
        let process = &mut boot.process;
        process.pre_app = vec![hook("putenv", "OF_THE_HOOK=set"), hook("appendn", format!("{path} before"))];
        process.post_app = vec![hook("exec", format!("echo after >> {path}"))];
        process.post_fork = vec![hook("appendn", format!("{path} forked"))];
        let accepting = |argument: String, first_worker_only, once| AcceptingHook {
            hook: hook("appendn", argument),
            first_worker_only,
            once,
        };
        process.accepting =
            vec![accepting(format!("{path} accepting"), false, false), accepting(format!("{path} first"), true, true)];
    });
    assert_answer(&get(&listeners, "/"), "hooks", &["ok"], &[]);
    until(|| std::fs::read_to_string(&place).unwrap().contains("first"));
    let told = std::fs::read_to_string(&place).unwrap();
    assert_eq!(told, "before\napp set\nafter\nforked\naccepting\nfirst\n");
    std::fs::remove_file(place).unwrap();
}

#[test]
fn a_hook_before_the_app_that_fails_keeps_it_from_being_loaded() {
    let listeners = Listeners::new();
    let generation = Generation::boot(1, app_of("failing-hook", TELLS), &listeners, |boot: &mut AppBoot| {
        boot.process.pre_app = vec![hook("exec", "exit 3")];
    });
    let Some(FromZygote::LoadFailed { sentence, .. }) = &generation.loaded else { panic!("{:?}", generation.loaded) };
    assert_eq!(sentence, "the hook exec:exit 3 failed: it ended with exit status: 3");
}

const READS_TWICE: &str = r#"
def application(environ, start_response):
    start_response('200 OK', [])
    body = environ['wsgi.input']
    first = body.read()
    body.seek(0)
    lines = body.readlines()
    has_file = True
    try:
        body.fileno()
    except OSError:
        has_file = False
    return [('%d %d %s' % (len(first), len(lines), has_file)).encode()]
"#;

#[test]
fn b52_post_buffering_makes_a_body_that_can_be_rewound_and_a_long_one_a_file() {
    let listeners = Listeners::new();
    let _generation = Generation::serving(app_of("twice", READS_TWICE), &listeners, |boot: &mut AppBoot| {
        boot.process.body_to_file_bytes = 100;
    });
    let post = |body: &str| {
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        exchange(&listeners, format!("{head}{body}").as_bytes())
    };
    assert_answer(&post("a\nb\nc"), "a short one", &["\r\n\r\n5 3 False"], &[]);
    assert_answer(&post(&"x\n".repeat(50)), "one of that length", &["\r\n\r\n100 50 True"], &[]);
    assert_answer(&post(&"x".repeat(200_000)), "a long one", &["\r\n\r\n200000 1 True"], &[]);
    let chunked =
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\n";
    assert_answer(&exchange(&listeners, chunked), "a chunked one", &["3 2 False"], &[]);
}

#[test]
fn a_body_that_cannot_be_buffered_is_an_error_and_never_an_empty_one() {
    let text = r#"
import tempfile
tempfile.tempdir = '/nonexistent'
def application(environ, start_response):
    start_response('200 OK', [])
    try:
        return [b'read ' + environ['wsgi.input'].read()]
    except OSError as error:
        return [b'told ' + str(error).encode()]
"#;
    let listeners = Listeners::new();
    let _generation = Generation::serving(app_of("unbuffered", text), &listeners, |boot: &mut AppBoot| {
        boot.process.body_to_file_bytes = 10;
    });
    let post = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 20\r\n\r\n0123456789abcdefghij";
    assert_answer(&exchange(&listeners, post), "no place for a file", &["told FileNotFoundError"], &["read "]);
}

#[test]
fn a_mapped_socket_is_served_by_its_workers_only() {
    let listeners = Listeners::new();
    let text = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n";
    let _generation = Generation::serving(app_of("mapped", text), &listeners, |boot: &mut AppBoot| {
        boot.processes = 2;
        // The first worker, which is the only one that runs here, has the second socket.
        boot.listeners[0].workers = vec![2];
        boot.listeners[1].workers = vec![1];
    });
    assert_answer(
        &uwsgi(&listeners, 0, &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/")], b""),
        "its own",
        &["ok"],
        &[],
    );
    let mut stream = std::net::TcpStream::connect(listeners.address()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(driver::read_to_end(stream), "<timeout>");
}
