//! A vassal that runs alone, started for a test in a directory of its own.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const APP: &str =
    "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n";

pub(crate) struct Vassal {
    child: Child,
    pub(crate) directory: PathBuf,
}

impl Vassal {
    /// Starts `vassal app.ini`, with a listener and an app beside the lines of `ini`, through `launcher` when there is one.
    pub(crate) fn start(name: &str, ini: &str, launcher: &[&str]) -> Self {
        Self::start_bare(name, &format!("http-socket = 127.0.0.1:0\nmodule = app\n{ini}"), launcher)
    }

    /// Starts `vassal app.ini` with these lines alone.
    pub(crate) fn start_bare(name: &str, lines: &str, launcher: &[&str]) -> Self {
        let directory = std::env::temp_dir().join(format!("empery-vassal-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("app.py"), APP).unwrap();
        fs::write(directory.join("app.ini"), format!("[uwsgi]\n{lines}")).unwrap();
        let words: Vec<&str> = launcher.iter().copied().chain([env!("CARGO_BIN_EXE_vassal"), "app.ini"]).collect();
        let log = fs::File::create(directory.join("log")).unwrap();
        let child = Command::new(words[0])
            .args(&words[1..])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.join("log")).unwrap()).into_owned()
    }

    pub(crate) fn wait_for(&self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let log = self.log();
            if log.contains(text) {
                return log;
            }
            assert!(Instant::now() < until, "no {text:?} in {log}");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub(crate) fn stop(self) -> (ExitStatus, String) {
        self.signal(Signal::SIGINT);
        self.ended()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, self.log())
    }
}

impl Drop for Vassal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
