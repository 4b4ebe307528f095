//! The command lines and files of uWSGI's quickstart for Python, one story each, with `vassal` in the place of `uwsgi`.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    ground::{self, Ground},
    http, process, procfs, python,
    runner::Story,
    uwsgi,
    vassal::{self, STOPPED_WITHIN, Vassal},
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

pub(crate) const STORIES: &[Story] = &[
    Story::new("quickstart/b8-http-and-wsgi-file", http_and_wsgi_file),
    Story::new("quickstart/b9-processes-and-threads", processes_and_threads),
    Story::new("quickstart/b63-stats-beside-it", stats_beside_it),
    Story::new("quickstart/socket-speaks-uwsgi", socket_speaks_uwsgi),
    Story::new("quickstart/b8-http-socket", http_socket),
    Story::new("quickstart/called-as-uwsgi", called_as_uwsgi),
    Story::new("quickstart/django-on-the-command-line", django_command_line),
    Story::new("quickstart/django-in-an-ini", django_ini),
    Story::new("quickstart/old-django-on-the-command-line", old_django_command_line),
    Story::new("quickstart/old-django-in-an-ini", old_django_ini),
    Story::new("quickstart/enable-threads-on-the-command-line", enable_threads_command_line),
    Story::new("quickstart/b44-enable-threads-in-an-ini", enable_threads_ini),
    Story::new("quickstart/threads-run-without-being-enabled", threads_always_run),
    Story::new("quickstart/b6-virtualenv", virtualenv),
    Story::new("quickstart/b18-py-autoreload", py_autoreload),
    Story::new("quickstart/b18-py-autoreload-without-worker-1", py_autoreload_without_the_first),
    Story::new("quickstart/b10-uid-gid-and-eight-processes", uid_gid_processes),
    Story::new("quickstart/b16-harakiri-ends-a-stuck-request", harakiri),
    Story::new("quickstart/two-sockets-and-workers", two_sockets),
    Story::new("quickstart/a-section-by-name", section_by_name),
    Story::new("quickstart/sections-and-files-that-load-each-other", sections_load_each_other),
    Story::new("quickstart/b1-comments-blanks-and-bare-booleans", comments_and_booleans),
    Story::new("quickstart/b13-reload-by-hup", reload_by_hup),
    Story::new("quickstart/b26-reload-by-command", reload_by_command),
    Story::new("quickstart/b17-reload-by-touch", reload_by_touch),
    Story::new("quickstart/b19-reload-from-the-app", reload_from_the_app),
    Story::new("quickstart/b13-stop-by-control-c", stop_by_control_c),
    Story::new("quickstart/b10-stop-by-command", stop_by_command),
    Story::new("quickstart/stop-from-the-app", stop_from_the_app),
    Story::new("quickstart/b14-term-stops-unless-told-otherwise", term_stops),
];

/// The seed's first file.
fn foobar(ground: &Ground) -> Result<PathBuf> {
    ground.write(
        "foobar.py",
        "def application(env, start_response):\n    start_response('200 OK', [('Content-Type','text/html')])\n    return [b\"Hello World\"]\n",
    )
}

fn hello(ground: &Ground, arguments: &str, port: u16) -> Result<Vassal> {
    foobar(ground)?;
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let mut vassal = Vassal::start(ground, &arguments)?;
    let answer = vassal.answers(port)?;
    ensure!(answer.text() == "Hello World" && answer.header("content-type") == Some("text/html"), "{answer:?}");
    Ok(vassal)
}

fn http_and_wsgi_file(ground: &Ground) -> Result<()> {
    let port = ground.port_like(9090)?;
    hello(ground, &format!("--http :{port} --wsgi-file foobar.py"), port)?.stop()
}

fn processes_and_threads(ground: &Ground) -> Result<()> {
    let port = ground.port_like(9090)?;
    let vassal =
        hello(ground, &format!("--http :{port} --wsgi-file foobar.py --master --processes 4 --threads 2"), port)?;
    // Workers are the master's own children: the zygote forks them twice.
    let children = procfs::children(vassal.master.pid());
    ensure!(children.len() == 5, "expected a zygote and four workers, found {children:?}");
    vassal.stop()
}

fn stats_beside_it(ground: &Ground) -> Result<()> {
    let (port, stats) = (ground.port_like(9090)?, ground.port_like(9191)?);
    let line =
        format!("--http :{port} --wsgi-file foobar.py --master --processes 4 --threads 2 --stats 127.0.0.1:{stats}");
    let vassal = hello(ground, &line, port)?;
    let shown = super::stats::read(stats)?;
    let workers = shown["workers"].as_array().context("no workers")?;
    ensure!(workers.len() == 4, "{} workers", workers.len());
    ensure!(workers.iter().all(|worker| worker["cores"].as_array().is_some_and(|cores| cores.len() == 2)), "{shown:#}");
    vassal.stop()
}

fn socket_speaks_uwsgi(ground: &Ground) -> Result<()> {
    foobar(ground)?;
    let (port, stats) = (ground.port_like(3031)?, ground.port_like(9191)?);
    let line = format!(
        "--socket 127.0.0.1:{port} --wsgi-file foobar.py --master --processes 4 --threads 2 --stats 127.0.0.1:{stats}"
    );
    let vassal = Vassal::start(ground, &line.split_whitespace().collect::<Vec<_>>())?;
    answers_uwsgi(port, "Hello World", &vassal)?;
    vassal.stop()
}

/// Waits for a 200 over the uwsgi protocol whose body contains `text`.
fn answers_uwsgi(port: u16, text: &str, vassal: &Vassal) -> Result<()> {
    let answered = wait::until_ok("an answer over the uwsgi protocol", vassal::BOOTED_WITHIN, || {
        let answer = uwsgi::get(port, "/")?;
        ensure!(answer.status == 200 && answer.text().contains(text), "{} {}", answer.status, answer.text());
        Ok(())
    });
    answered.map_err(|error| error.context(vassal.master.output()))
}

fn http_socket(ground: &Ground) -> Result<()> {
    let (port, stats) = (ground.port_like(3031)?, ground.port_like(9191)?);
    let line = format!(
        "--http-socket 127.0.0.1:{port} --wsgi-file foobar.py --master --processes 4 --threads 2 --stats 127.0.0.1:{stats}"
    );
    hello(ground, &line, port)?.stop()
}

fn called_as_uwsgi(ground: &Ground) -> Result<()> {
    foobar(ground)?;
    let port = ground.port_like(9090)?;
    let address = format!(":{port}");
    let command = vassal::command_as("uwsgi", ground.directory(), &["--http", &address, "--wsgi-file", "foobar.py"])?;
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    vassal.answers(port)?;
    vassal.stop()
}

/// `/home/foobar/myproject`, made by Django's own command.
fn myproject(ground: &Ground) -> Result<PathBuf> {
    let home = ground.path("home/foobar/myproject");
    fs::create_dir_all(&home)?;
    let mut command = std::process::Command::new(python::program("django-admin")?);
    command.args(["startproject", "myproject"]).arg(&home).env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(command)?.success()?;
    Ok(home)
}

/// What a new Django project answers to a host it allows: the page with the rocket.
const NEW_DJANGO: &str = "The install worked successfully";

fn django_command_line(ground: &Ground) -> Result<()> {
    let home = myproject(ground)?;
    let (port, stats) = (ground.port_like(3031)?, ground.port_like(9191)?);
    let line = format!(
        "--socket 127.0.0.1:{port} --chdir {}/ --wsgi-file myproject/wsgi.py --master --processes 4 --threads 2 --stats 127.0.0.1:{stats}",
        home.display()
    );
    let vassal = Vassal::start(ground, &line.split_whitespace().collect::<Vec<_>>())?;
    answers_uwsgi(port, NEW_DJANGO, &vassal)?;
    vassal.stop()
}

fn django_ini(ground: &Ground) -> Result<()> {
    let home = myproject(ground)?;
    let (port, stats) = (ground.port_like(3031)?, ground.port_like(9191)?);
    // With the blank after the address that stands in the quickstart.
    let text = format!(
        "[uwsgi]\nsocket = 127.0.0.1:{port}\nchdir = {}/\nwsgi-file = myproject/wsgi.py\nprocesses = 4\nthreads = 2\nstats = 127.0.0.1:{stats} \n",
        home.display()
    );
    let vassal = Vassal::from_ini(ground, "yourfile.ini", &text)?;
    answers_uwsgi(port, NEW_DJANGO, &vassal)?;
    vassal.stop()
}

/// A project as before Django 1.4: settings beside `manage.py`, found through the directory above.
fn old_project(ground: &Ground) -> Result<PathBuf> {
    ground.write("home/foobar/myproject/__init__.py", "")?;
    ground.write(
        "home/foobar/myproject/urls.py",
        concat!(
            "from django.http import HttpResponse\nfrom django.urls import path\n",
            "urlpatterns = [path('', lambda request: HttpResponse('old but well'))]\n"
        ),
    )?;
    let settings = "SECRET_KEY = 'story'\nALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'myproject.urls'\n";
    ground.write("home/foobar/myproject/settings.py", settings)?;
    Ok(ground.path("home/foobar/myproject"))
}

fn old_django_command_line(ground: &Ground) -> Result<()> {
    let home = old_project(ground)?;
    let (port, stats) = (ground.port_like(3031)?, ground.port_like(9191)?);
    let line = format!(
        "--socket 127.0.0.1:{port} --chdir {}/ --pythonpath .. --env DJANGO_SETTINGS_MODULE=myproject.settings \
         --module django.core.handlers.wsgi:WSGIHandler() --processes 4 --threads 2 --stats 127.0.0.1:{stats}",
        home.display()
    );
    let vassal = Vassal::start(ground, &line.split_whitespace().collect::<Vec<_>>())?;
    answers_uwsgi(port, "old but well", &vassal)?;
    vassal.stop()
}

fn old_django_ini(ground: &Ground) -> Result<()> {
    let home = old_project(ground)?;
    let (port, stats) = (ground.port_like(3031)?, ground.port_like(9191)?);
    let text = format!(
        "[uwsgi]\nsocket = 127.0.0.1:{port}\nchdir = {}/\npythonpath = ..\nenv = DJANGO_SETTINGS_MODULE=myproject.settings\n\
         module = django.core.handlers.wsgi:WSGIHandler()\nprocesses = 4\nthreads = 2\nstats = 127.0.0.1:{stats}\n",
        home.display()
    );
    let vassal = Vassal::from_ini(ground, "old.ini", &text)?;
    answers_uwsgi(port, "old but well", &vassal)?;
    vassal.stop()
}

/// Whether a thread started by the app goes on between requests.
fn background_runs(port: u16, mut vassal: Vassal) -> Result<()> {
    vassal.answers(port)?;
    wait::until("the app's own thread to count", Duration::from_secs(5), || {
        http::get(port, "/").ok()?.text().parse::<u64>().ok().filter(|count| *count > 5)
    })?;
    vassal.stop()
}

fn enable_threads_command_line(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let app = ground::app("background.py");
    let address = format!("127.0.0.1:{port}");
    let app = app.to_string_lossy();
    background_runs(port, Vassal::start(ground, &["--http-socket", &address, "--wsgi-file", &app, "--enable-threads"])?)
}

fn enable_threads_ini(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let text = super::ini(port, "background", "enable-threads = true\n");
    background_runs(port, Vassal::from_ini(ground, "threads.ini", &text)?)
}

fn threads_always_run(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    background_runs(port, Vassal::from_ini(ground, "threads.ini", &super::ini(port, "background", ""))?)
}

fn virtualenv(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let app = ground::example("apps/flask_app");
    let text = format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nvirtualenv = {}\nchdir = {}\nmodule = guestbook:app\n",
        python::environment().display(),
        app.display()
    );
    // Nothing on PATH leads to the environment: the option alone must.
    ground.write("venv.ini", &text)?;
    let mut command = vassal::command(ground.directory(), &["venv.ini"])?;
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    ensure!(vassal.answers(port)?.text().contains("Guest book"));
    vassal.stop()
}

fn py_autoreload(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let app = |word: &str| format!("def application(e, s):\n    s('200 OK', [])\n    return [b'{word}']\n");
    ground.write("edited.py", &app("before"))?;
    let text = format!("[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nmodule = edited\npythonpath = .\npy-autoreload = 2\n");
    let mut vassal = Vassal::from_ini(ground, "auto.ini", &text)?;
    ensure!(vassal.answers(port)?.text() == "before");
    // One that cannot be imported is told, the old one serves on, and its correction is seen.
    ground.write("edited.py", "def application(\n")?;
    vassal.master.says("SyntaxError", Duration::from_secs(30))?;
    ensure!(http::get(port, "/")?.text() == "before");
    ground.write("edited.py", &app("afterwards"))?;
    wait::until("the edited module to answer", Duration::from_secs(30), || {
        (http::get(port, "/").ok()?.text() == "afterwards").then_some(())
    })?;
    vassal.stop()
}

fn py_autoreload_without_the_first(ground: &Ground) -> Result<()> {
    let (port, fifo) = (ground.port()?, ground.path("fifo"));
    let app = |word: &str| {
        format!(
            "import uwsgi\ndef application(e, s):\n    s('200 OK', [])\n\
             \x20   return [f'{word} {{uwsgi.worker_id()}}'.encode()]\n"
        )
    };
    ground.write("edited.py", &app("before"))?;
    let text = format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nmodule = edited\npythonpath = .\npy-autoreload = 1\nmaster = true\n\
         processes = 2\ncheaper = 1\ncheaper-algo = manual\nmaster-fifo = {}\n",
        fifo.display()
    );
    let mut vassal = Vassal::from_ini(ground, "auto.ini", &text)?;
    vassal.answers(port)?;
    let patience = Duration::from_secs(30);
    let answers = |what: &str, expected: &str| {
        wait::until(what, patience, || (http::get(port, "/").ok()?.text() == expected).then_some(()))
    };
    fs::write(&fifo, "+")?;
    answers("worker 2 to answer", "before 2")?;
    // The one that has served for the longest time goes.
    fs::write(&fifo, "-")?;
    wait::until("a zygote and one worker to be left", patience, || {
        (procfs::children(vassal.master.pid()).len() == 2).then_some(())
    })?;
    answers("worker 2 to be left", "before 2")?;
    ground.write("edited.py", &app("afterwards"))?;
    wait::until("the edited module to answer", patience, || {
        http::get(port, "/").ok()?.text().starts_with("afterwards").then_some(())
    })?;
    vassal.stop()
}

/// Runs a file that must be refused, and answers with what was said.
fn refused(ground: &Ground, name: &str, text: &str) -> Result<String> {
    ground.write(name, text)?;
    let finished = process::run(vassal::command(ground.directory(), &[name])?)?;
    ensure!(finished.code == 1, "exit code {}, {}", finished.code, finished.stderr);
    Ok(finished.stderr)
}

fn uid_gid_processes(ground: &Ground) -> Result<()> {
    ground.needs_root()?;
    let port = ground.port()?;
    ground.write("web2py/wsgihandler.py", &fs::read_to_string(ground::app("show.py"))?)?;
    let text = format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nuid = nobody\ngid = nogroup\nchdir = {}\nmodule = wsgihandler\n\
         master = true\nprocesses = 8\npythonpath = .\n",
        ground.path("web2py").display()
    );
    // The environment may lie below a home that `nobody` cannot enter; the system's Python serves as well.
    ground.write("web2py.ini", &text)?;
    let mut command = vassal::command(ground.directory(), &["web2py.ini"])?;
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("EMPERY_WORKER_EXTENSION", ground.lend_binaries()?.join("libempery_worker.so"));
    let mut vassal = Vassal::adopt(ground, ground.directory(), command)?;
    let shown: Value = serde_json::from_slice(&vassal.answers(port)?.body)?;
    let nobody: u32 = python::run("import pwd; print(pwd.getpwnam('nobody').pw_uid)", &[])?.trim().parse()?;
    ensure!(shown["process"]["uid"] == nobody, "{shown:#}");
    ensure!(procfs::children(vassal.master.pid()).len() == 9, "a zygote and eight workers");
    vassal.stop()
}

fn harakiri(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let text = super::ini(port, "slow", "harakiri = 1\nprocesses = 2\n");
    let mut vassal = Vassal::from_ini(ground, "stuck.ini", &text)?;
    vassal.answers(port)?;
    let never = ground.path("never");
    let stuck = http::get(port, &format!("/wait{}", never.display()));
    ensure!(!matches!(&stuck, Ok(answer) if answer.status == 200), "a request that never ends got {stuck:?}");
    vassal.answers(port)?;
    let said = vassal.master.output().to_lowercase();
    ensure!(said.contains("harakiri"), "the log does not say harakiri:\n{said}");
    vassal.stop()
}

fn two_sockets(ground: &Ground) -> Result<()> {
    foobar(ground)?;
    let port = ground.port_like(3031)?;
    let socket = ground.path("uwsgi.sock");
    let text =
        format!("[uwsgi]\nsocket = {}\nsocket = 127.0.0.1:{port}\nmaster = true\nworkers = 3\n", socket.display());
    ground.write("example.ini", &text)?;
    let vassal = Vassal::start(ground, &["example.ini", "--wsgi-file", "foobar.py"])?;
    answers_uwsgi(port, "Hello World", &vassal)?;
    ensure!(uwsgi::get(&socket, "/")?.text() == "Hello World");
    ensure!(procfs::children(vassal.master.pid()).len() == 4, "a zygote and three workers");
    vassal.stop()
}

fn section_by_name(ground: &Ground) -> Result<()> {
    foobar(ground)?;
    let (first, second) = (ground.port()?, ground.port()?);
    let text = format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{first}\nwsgi-file = absent.py\n\n[app1]\nhttp-socket = 127.0.0.1:{second}\nwsgi-file = foobar.py\n"
    );
    ground.write("myconf.ini", &text)?;
    let mut vassal = Vassal::start(ground, &["--ini", "myconf.ini:app1"])?;
    vassal.answers(second)?;
    ensure!(http::get(first, "/").is_err(), "the other section was loaded too");
    vassal.stop()
}

/// The quickstart's trap: `ini = :app2` after `ini = defaults.ini` loads app2 of defaults.ini. The sections there name
/// the plugins of other languages; those are refused by name, and the rest is loaded as uWSGI would.
fn sections_load_each_other(ground: &Ground) -> Result<()> {
    let main = "[uwsgi]\n# This will load the app1 section below\nini = :app1\n# This will load the defaults.ini file\n\
                ini = defaults.ini\n# This will load the app2 section from the defaults.ini file!\nini = :app2\n\n\
                [app1]\nplugin = rack\n\n[app2]\nplugin = php\n";
    ground.write("defaults.ini", "[uwsgi]\nprocesses = 2\n[app2]\nplugin = lua\n")?;
    let said = refused(ground, "main.ini", main)?;
    ensure!(said.contains("rack") && said.contains("lua"), "the plugins that are loaded are not named: {said}");
    ensure!(!said.contains("php"), "app2 of the wrong file was loaded: {said}");

    // The same shape with Python's own plugin runs, and shows which section won.
    foobar(ground)?;
    let port = ground.port()?;
    let main = "[uwsgi]\nini = :app1\nini = defaults.ini\nini = :app2\n[app1]\nplugin = python\n[app2]\nwsgi-file = absent.py\n";
    ground.write("main.ini", main)?;
    let defaults = format!("[uwsgi]\nprocesses = 2\n[app2]\nhttp-socket = 127.0.0.1:{port}\nwsgi-file = foobar.py\n");
    ground.write("defaults.ini", &defaults)?;
    let mut vassal = Vassal::start(ground, &["main.ini"])?;
    vassal.answers(port)?;
    ensure!(procfs::children(vassal.master.pid()).len() == 3, "a zygote and two workers");
    vassal.stop()
}

fn comments_and_booleans(ground: &Ground) -> Result<()> {
    foobar(ground)?;
    let port = ground.port()?;
    let text = format!(
        "; a comment\n# another\n[uwsgi]\n   http-socket   =    127.0.0.1:{port}   \n\twsgi-file=foobar.py\nmaster\n;processes = 9\n"
    );
    ground.write("style.ini", &text)?;
    for arguments in [&["style.ini"][..], &["--ini", "style.ini"]] {
        let mut vassal = Vassal::start(ground, arguments)?;
        vassal.answers(port)?;
        ensure!(procfs::children(vassal.master.pid()).len() == 2, "a zygote and one worker");
        vassal.stop()?;
    }
    Ok(())
}

/// A vassal with `ids` and a pidfile; how its answer began.
fn reloadable(ground: &Ground, more: &str) -> Result<(Vassal, u16, PathBuf, String)> {
    let port = ground.port()?;
    let pidfile = ground.path("project-master.pid");
    let text = super::ini(port, "ids", &format!("master = true\npidfile = {}\n{more}", pidfile.display()));
    let mut vassal = Vassal::from_ini(ground, "project.ini", &text)?;
    let boot = super::boot_of(&vassal.answers(port)?);
    let written: i32 = fs::read_to_string(&pidfile)?.trim().parse()?;
    ensure!(written == vassal.master.pid(), "the pidfile holds {written}, the master is {}", vassal.master.pid());
    Ok((vassal, port, pidfile, boot))
}

fn reloaded(vassal: Vassal, port: u16, before: &str) -> Result<()> {
    let pid = vassal.master.pid();
    super::boot_changes(port, before).map_err(|error| error.context(vassal.master.output()))?;
    ensure!(procfs::alive(pid), "the master changed its pid");
    vassal.stop()
}

fn reload_by_hup(ground: &Ground) -> Result<()> {
    let (vassal, port, _, boot) = reloadable(ground, "")?;
    vassal.signal(Signal::SIGHUP);
    reloaded(vassal, port, &boot)
}

fn reload_by_command(ground: &Ground) -> Result<()> {
    let (vassal, port, pidfile, boot) = reloadable(ground, "")?;
    vassal.command(&["--reload", &pidfile.to_string_lossy()])?.success()?;
    reloaded(vassal, port, &boot)
}

fn reload_by_touch(ground: &Ground) -> Result<()> {
    let touched = ground.write("somefile", "")?;
    let other = ground.path("another");
    let more = format!("touch-reload = {}\ntouch-reload = {}\n", touched.display(), other.display());
    let (vassal, port, _, mut boot) = reloadable(ground, &more)?;
    empery_tests::emperor::touch(&touched)?;
    boot = super::boot_changes(port, &boot)?;
    // One that is made and one that is removed are changed, too.
    fs::write(&other, "")?;
    boot = super::boot_changes(port, &boot)?;
    fs::remove_file(&other)?;
    reloaded(vassal, port, &boot)
}

fn reload_from_the_app(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let text = super::ini(port, "uwsgi_calls", "master = true\nprocesses = 2\n");
    let mut vassal = Vassal::from_ini(ground, "calls.ini", &text)?;
    let before: Value = serde_json::from_slice(&vassal.answers(port)?.body)?;
    ensure!(before["absent"] == "AttributeError" && before["numproc"] == 2 && before["workers"] == 2, "{before:#}");
    ensure!(before["masterpid"].as_i64() == Some(i64::from(vassal.master.pid())), "{before:#}");
    http::get(port, "/reload")?;
    wait::until("another generation", Duration::from_secs(10), || {
        let now: Value = serde_json::from_slice(&http::get(port, "/").ok()?.body).ok()?;
        (now["boot"] != before["boot"]).then_some(())
    })?;
    vassal.stop()
}

fn stop_by_control_c(ground: &Ground) -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let (mut vassal, _, _, _) = reloadable(ground, "vacuum = true\n")?;
        vassal.signal(signal);
        ensure!(vassal.master.exited(STOPPED_WITHIN)?.success(), "{signal}");
    }
    Ok(())
}

fn stop_by_command(ground: &Ground) -> Result<()> {
    let (mut vassal, _, pidfile, _) = reloadable(ground, "vacuum = true\n")?;
    vassal.command(&["--stop", &pidfile.to_string_lossy()])?.success()?;
    ensure!(vassal.master.exited(STOPPED_WITHIN)?.success());
    ensure!(!pidfile.exists(), "vacuum left the pidfile");
    Ok(())
}

fn stop_from_the_app(ground: &Ground) -> Result<()> {
    let port = ground.port()?;
    let mut vassal = Vassal::from_ini(ground, "calls.ini", &super::ini(port, "uwsgi_calls", "master = true\n"))?;
    vassal.answers(port)?;
    http::get(port, "/stop")?;
    ensure!(vassal.master.exited(STOPPED_WITHIN)?.success());
    Ok(())
}

fn term_stops(ground: &Ground) -> Result<()> {
    let (mut vassal, _, _, _) = reloadable(ground, "")?;
    vassal.signal(Signal::SIGTERM);
    ensure!(vassal.master.exited(STOPPED_WITHIN)?.success());

    let (vassal, port, _, boot) = reloadable(ground, "die-on-term = false\n")?;
    vassal.signal(Signal::SIGTERM);
    super::boot_changes(port, &boot)?;
    vassal.signal(Signal::SIGINT);
    let mut vassal = vassal;
    ensure!(vassal.master.exited(STOPPED_WITHIN)?.success());
    Ok(())
}
