//! An `emperor` with directories of its own, asked over its control socket and its command line.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    failpoints::{self, Armory},
    ground::{self, Ground},
    http::{self, Answer, Ask},
    process::{Finished, Spawned, run},
    procfs,
    vassal::surroundings,
    wait,
};

/// How long the emperor may take to listen on its control socket.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// How long a vassal of a story may take to become what the story waits for.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(20);

/// An emperor and where it keeps things.
#[derive(Debug)]
pub struct Emperor<'g> {
    ground: &'g Ground,
    /// The watched directory.
    pub vassals: PathBuf,
    state: PathBuf,
    /// Its runtime directory.
    pub runtime: PathBuf,
    /// The dashboard's port.
    pub port: u16,
    extra: Vec<String>,
    file: Option<String>,
    binary: PathBuf,
    path: Option<String>,
    environment: Vec<(String, String)>,
    keeper: Option<Spawned>,
    /// Masters that outlive a killed keeper are ended with this handle.
    ended: bool,
}

impl<'g> Emperor<'g> {
    /// Directories for an emperor that does not run yet.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn prepare(ground: &'g Ground) -> Result<Emperor<'g>> {
        let emperor = Emperor {
            ground,
            vassals: ground.path("vassals"),
            state: ground.path("state"),
            runtime: ground.path("run"),
            port: ground.port()?,
            extra: Vec::new(),
            file: None,
            binary: ground::binary("emperor")?,
            path: None,
            environment: Vec::new(),
            keeper: None,
            ended: true,
        };
        for directory in [&emperor.vassals, &emperor.state, &emperor.runtime] {
            fs::create_dir_all(directory)?;
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        }
        Ok(emperor)
    }

    /// An emperor that runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(ground: &'g Ground) -> Result<Emperor<'g>> {
        let mut emperor = Emperor::prepare(ground)?;
        emperor.up()?;
        Ok(emperor)
    }

    /// More arguments for `emperor run`.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.extra.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// These arguments in place of those it had.
    #[must_use]
    pub fn with_instead(mut self, arguments: &[&str]) -> Self {
        self.extra.clear();
        self.with(arguments)
    }

    /// Started by an `emperor.ini` that names the directory, in place of `emperor run --vassals DIR`.
    #[must_use]
    pub fn by_file(mut self, file: &Path) -> Self {
        self.file = Some(file.display().to_string());
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// From the binaries that are to be measured.
    #[must_use]
    pub fn released(mut self) -> Self {
        self.binary = ground::released_binaries().join("emperor");
        self
    }

    /// From the binaries in this directory.
    #[must_use]
    pub fn from_binaries(mut self, directory: &Path) -> Self {
        self.binary = directory.join("emperor");
        self
    }

    /// From binaries with failpoints, which are armed there.
    ///
    /// # Errors
    /// [`crate::ground::Skip`], when they have not been built.
    pub fn with_failpoints(mut self, armory: &Armory) -> Result<Self> {
        self.binary = failpoints::binaries()?.join("emperor");
        // A panic is to be short: symbols for a backtrace take a second.
        let quiet = self.environment("RUST_BACKTRACE", "0");
        Ok(quiet.environment(failpoints::DIRECTORY, &armory.0.display().to_string()))
    }

    /// From binaries that every user may run, with the system's Python: for vassals of other users.
    ///
    /// # Errors
    /// When they have not been built.
    pub fn for_every_user(mut self) -> Result<Self> {
        self.binary = self.ground.lend_binaries()?.join("emperor");
        self.path = Some("/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        Ok(self)
    }

    /// Another directory of vassals.
    #[must_use]
    pub fn over(mut self, vassals: &Path) -> Self {
        vassals.clone_into(&mut self.vassals);
        self
    }

    /// Starts it, or starts it again after a kill, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&mut self) -> Result<()> {
        let mut command = self.command(self.file.as_deref().unwrap_or("run"));
        if self.file.is_none() {
            command.arg("--vassals").arg(&self.vassals);
        }
        command.arg("--state").arg(&self.state).arg("--runtime").arg(&self.runtime);
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.port)).args(&self.extra);
        let keeper = self.ground.start("emperor", command)?;
        self.ended = false;
        let up = wait::until_ok("the emperor to answer", UP_WITHIN, || {
            anyhow::ensure!(keeper.alive(), "it exited");
            let ready = self.ask(Ask::get("/readyz"))?;
            anyhow::ensure!(ready.status == 200, "not ready: {}", ready.text());
            Ok(())
        });
        up.map_err(|error| error.context(format!("the emperor wrote:\n{}", keeper.output())))?;
        self.keeper = Some(keeper);
        Ok(())
    }

    /// `emperor VERB`, not started yet.
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.binary);
        surroundings(&mut command);
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.ground.directory()).arg(verb);
        command
    }

    /// Runs `emperor VERB ARGUMENTS` against this emperor.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn says(&self, verb: &str, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.command(verb);
        command.args(arguments).arg("--runtime").arg(&self.runtime);
        run(command)
    }

    /// Starts `emperor VERB ARGUMENTS` against this emperor: one that goes on.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn begins(&self, verb: &str, arguments: &[&str]) -> Result<Spawned> {
        let mut command = self.command(verb);
        command.args(arguments).arg("--runtime").arg(&self.runtime);
        self.ground.start(verb, command)
    }

    /// Keeper's pid.
    ///
    /// # Errors
    /// When it does not run.
    pub fn keeper_pid(&self) -> Result<i32> {
        Ok(self.keeper.as_ref().context("the emperor does not run")?.pid())
    }

    /// Whether the keeper runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.keeper.as_ref().is_some_and(Spawned::alive)
    }

    /// Everything the keeper and the brain wrote.
    #[must_use]
    pub fn output(&self) -> String {
        self.keeper.as_ref().map(Spawned::output).unwrap_or_default()
    }

    /// The control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.runtime.join("emperor.sock")
    }

    /// A request over the control socket, where the caller is known by its uid.
    ///
    /// # Errors
    /// When the emperor cannot be reached.
    pub fn ask(&self, ask: Ask) -> Result<Answer> {
        Ok(http::ask(&self.control_socket(), ask)?)
    }

    /// JSON over the control socket.
    ///
    /// # Errors
    /// When the emperor cannot be reached, or its answer is not JSON of a 2xx.
    pub fn json(&self, ask: Ask) -> Result<Value> {
        let answer = self.ask(ask)?;
        anyhow::ensure!((200..300).contains(&answer.status), "status {}: {}", answer.status, answer.text());
        serde_json::from_slice(&answer.body).with_context(|| answer.text())
    }

    /// The fleet: `GET /api/v1/vassals`.
    ///
    /// # Errors
    /// When the emperor cannot be reached.
    pub fn fleet(&self) -> Result<Value> {
        self.json(Ask::get("/api/v1/vassals"))
    }

    /// One vassal: `GET /api/v1/vassals/NAME`.
    ///
    /// # Errors
    /// When there is no such vassal.
    pub fn vassal(&self, name: &str) -> Result<Value> {
        self.json(Ask::get(&format!("/api/v1/vassals/{name}")))
    }

    /// Waits until a vassal is as `wanted` says.
    ///
    /// # Errors
    /// With how it is, when it does not become so.
    pub fn vassal_until(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let seen = wait::until(&format!("{name}: {what}"), SETTLED_WITHIN, || {
            last = self.vassal(name).unwrap_or(Value::Null);
            wanted(&last).then(|| last.clone())
        });
        seen.map_err(|error| error.context(format!("it is {last:#}\nthe emperor wrote:\n{}", self.output())))
    }

    /// Waits until a vassal is loyal.
    ///
    /// # Errors
    /// With how it is, when it does not become so.
    pub fn loyal(&self, name: &str) -> Result<Value> {
        self.vassal_until(name, "to be loyal", |vassal| vassal["state"] == "loyal")
    }

    /// Waits until the last deployment of a vassal has failed, and answers with what is said of it.
    ///
    /// # Errors
    /// With how it is, when it does not become so.
    pub fn deploy_failed(&self, name: &str) -> Result<Value> {
        self.vassal_until(name, "its deployment to fail", |vassal| {
            vassal["last_deployment"]["end"]["result"] == "failed"
        })
    }

    /// Puts a vassal file in place as a careful deploy does: written aside, then renamed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn drop_file(&self, name: &str, text: &str) -> Result<()> {
        let aside = self.ground.write("aside.tmp", text)?;
        fs::rename(aside, self.vassals.join(name)).with_context(|| format!("drop {name}"))
    }

    /// Removes a vassal file.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_file(&self, name: &str) -> Result<()> {
        fs::remove_file(self.vassals.join(name)).with_context(|| format!("remove {name}"))
    }

    /// `touch`: the file's times are now.
    ///
    /// # Errors
    /// When it cannot be touched.
    pub fn touch(&self, name: &str) -> Result<()> {
        touch(&self.vassals.join(name))
    }

    /// Pids of the masters below keeper, or adopted by the story after a kill.
    #[must_use]
    pub fn masters(&self) -> Vec<i32> {
        let Ok(fleet) = self.fleet() else {
            return Vec::new();
        };
        let vassals = fleet["vassals"].as_array().cloned().unwrap_or_default();
        vassals
            .iter()
            .filter_map(|vassal| vassal["master_pid"].as_i64())
            .filter_map(|pid| i32::try_from(pid).ok())
            .collect()
    }

    /// The brain's pid.
    ///
    /// # Errors
    /// When the emperor cannot be reached.
    pub fn brain_pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.fleet()?["brain_pid"].as_i64().context("no brain_pid")?)?)
    }

    /// Sends the keeper a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, which: Signal) -> Result<()> {
        procfs::signal(self.keeper_pid()?, which);
        Ok(())
    }

    /// SIGKILLs the keeper and waits for its end. The vassals are expected to serve on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_keeper(&mut self) -> Result<()> {
        let Some(mut keeper) = self.keeper.take() else { bail!("the emperor does not run") };
        keeper.killed()?;
        Ok(())
    }

    /// SIGTERM; waits for the keeper's end and checks that it was a good one.
    ///
    /// # Errors
    /// When it does not stop, or not with exit code 0.
    pub fn stop(mut self) -> Result<()> {
        self.ended = true;
        let Some(mut keeper) = self.keeper.take() else {
            return Ok(());
        };
        let family = procfs::descendants(keeper.pid());
        let status = keeper.terminated(Duration::from_secs(20)).map_err(|error| error.context(keeper.output()))?;
        anyhow::ensure!(status.success(), "the emperor stopped with {status}; it wrote:\n{}", keeper.output());
        wait::until("every process of the fleet to be gone with the emperor", Duration::from_secs(5), || {
            family.iter().all(|pid| !procfs::alive(*pid)).then_some(())
        })
    }
}

impl Drop for Emperor<'_> {
    fn drop(&mut self) {
        // A story that failed half-way: the runner's sweep ends what is left; only the evidence matters here.
        if !self.ended && std::thread::panicking() {
            eprintln!("the emperor was still running when the story panicked");
        }
    }
}

/// Sets a file's times to now, as touch(1) does.
///
/// # Errors
/// When it is not there.
pub fn touch(path: &Path) -> Result<()> {
    let file = fs::File::options().write(true).open(path).with_context(|| format!("touch {}", path.display()))?;
    file.set_modified(std::time::SystemTime::now())?;
    Ok(())
}
