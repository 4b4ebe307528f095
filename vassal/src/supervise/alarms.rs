//! Alarms: what raises them, and what is done then. Nobody waits for it: what takes time is a process of its own with a limit,
//! and what is said goes to the log.

mod curl;
mod descriptors;
mod look;

use std::{
    collections::BTreeMap,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::PathBuf,
    time::Duration,
};

use empery_config::{
    alarms::{Alarms as Configured, Threshold as Limit, Way},
    vassal::VassalConfig,
};
use empery_control::{posts::ALARM_MESSAGE_MAX_BYTES, worker::ToZygote};
use empery_lifecycle::{
    alarms::{Alarms, RUN_MAX, Threshold, Verdict},
    ids::WorkerRef,
    moment::Moment,
};
use empery_sys::{memfd, process::How, spawn::Held};
use nix::sys::signal::Signal;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::descriptors::Descriptors;
use super::{Inputs, Supervisor, beside::send_to_process, deaths::Death, input::Input};
use crate::{
    clock,
    command::{self, Command},
    facts, log,
    log::alarms::Raising,
    stats::metric_files::MetricFiles,
};

/// How long a vassal that ends waits for the commands of its alarms: why it ends may be what they tell.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// All of them.
#[derive(Default)]
pub(crate) struct AlarmSide {
    machine: Alarms,
    config: Configured,
    /// For commands.
    env: Vec<(String, Option<String>)>,
    directory: PathBuf,
    /// Whose commands run.
    running: BTreeMap<i32, String>,
    thresholds: Vec<(Limit, Threshold)>,
    descriptors: Descriptors,
    look_at: Option<Moment>,
    /// `metric-dir`.
    writes_metrics: bool,
    metric_files: MetricFiles,
}

impl AlarmSide {
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.machine.deadline().into_iter().chain(self.look_at).min()
    }
}

impl Supervisor {
    /// Alarms are what this configuration says from now on.
    pub(super) fn alarms_follow(&mut self, config: &VassalConfig) {
        log::alarms::raise_at(self.inbox.clone());
        let side = &mut self.alarms;
        side.config.clone_from(&config.alarms);
        side.machine.set_repeats_after(Duration::from_secs(config.alarms.repeats_after_s.into()));
        side.env.clone_from(&config.env);
        side.directory = config.app.chdir.clone().unwrap_or_else(|| facts::working_directory().into());
        side.writes_metrics = config.shared.metric_directory.is_some();
        side.follow_thresholds(clock::now());
        side.descriptors.watch(&side.config.on_descriptor, &self.inbox);
    }

    /// Descriptors that were inherited, for when a configuration says what they raise.
    pub(crate) fn watch_later(&mut self, descriptors: Descriptors) {
        self.alarms.descriptors = descriptors;
    }

    /// Raises an alarm of the configuration in service.
    pub(super) fn raise_alarm(&mut self, name: &str, message: &str) {
        let side = &mut self.alarms;
        let most = usize::try_from(side.config.message_max_bytes).unwrap_or(usize::MAX).min(ALARM_MESSAGE_MAX_BYTES);
        let message = &message[..message.floor_char_boundary(most)];
        let Some(alarm) = side.config.all.iter().find(|alarm| alarm.name == name).cloned() else {
            log::say_quietly(&format!("[uwsgi-alarm] there is no alarm \"{name}\" for: {}", shown(message)));
            return;
        };
        if !side.machine.raised(name, message, clock::now()) {
            return;
        }
        if let Way::Log(words) = &alarm.way {
            let date = if log::is_dated() { String::new() } else { format!("{} - ", clock::ctime()) };
            let blank = if words.is_empty() { "" } else { " " };
            log::say_quietly(&format!("{date}ALARM: {words}{blank}{}", message.trim_end_matches('\n')));
            return;
        }
        log::say_quietly(&format!("[uwsgi-alarm] \"{name}\": {}", shown(message)));
        match alarm.way {
            Way::Command(command) => self.run_for_alarm(name, &command, message.as_bytes(), None),
            Way::Curl(curl) => {
                let body = curl::body(&curl, message);
                match memfd::sealed("empery-curl", curl::options(&curl).as_bytes()) {
                    Ok(options) => {
                        let command = format!("exec curl --config /proc/self/fd/{}", options.as_raw_fd());
                        self.run_for_alarm(name, &command, body.as_bytes(), Some(options));
                    }
                    Err(error) => {
                        log::say_quietly(&format!("[uwsgi-alarm] curl for \"{name}\" cannot be told: {error}"))
                    }
                }
            }
            Way::Signal(signal) => {
                if let Some((id, _)) = self.machine.serving() {
                    self.raise(id, signal);
                }
            }
            Way::Mule(mule) => {
                let zygote = self.machine.serving().and_then(|(id, _)| self.zygote(id));
                match zygote {
                    Some(zygote) => {
                        zygote.peer.say(ToZygote::PutMessage { mule, message: message.to_owned() }, Vec::new());
                    }
                    None => log::say_quietly(&format!("[uwsgi-alarm] \"{name}\" reaches no mule: none runs now")),
                }
            }
            // It was said, and the configuration's reader has said that there is no more.
            Way::Nothing(_) | Way::Log(_) => {}
        }
    }

    fn run_for_alarm(&mut self, name: &str, text: &str, message: &[u8], file: Option<OwnedFd>) {
        let side = &mut self.alarms;
        match side.machine.wants_command() {
            Verdict::Run { dropped: 0 } => {}
            Verdict::Run { dropped } => {
                log::say_quietly(&format!("[uwsgi-alarm] {dropped} commands were not run: too many ran at once"));
            }
            Verdict::FirstDropped => {
                log::say_quietly(&format!("[uwsgi-alarm] the command of \"{name}\" is not run: too many run already"));
                return;
            }
            Verdict::Dropped => return,
        }
        let held = readable(message).and_then(|stdin| {
            let command = Command {
                text,
                directory: &side.directory,
                env: &side.env,
                stdin: Some(stdin),
                inherit: file.iter().map(AsRawFd::as_raw_fd).collect(),
                identity: None,
                death_signal: None,
                mark: None,
            };
            command::hold(command, &self.surroundings.log).and_then(Held::release)
        });
        match held {
            Ok(child) => {
                side.machine.started(u64::from(child.pid.unsigned_abs()), clock::now());
                side.running.insert(child.pid, name.to_owned());
            }
            Err(error) => {
                log::say_quietly(&format!("[uwsgi-alarm] the command of \"{name}\" cannot be run: {error}"));
            }
        }
    }

    /// A child has ended; whether it was the command of an alarm.
    pub(super) fn alarm_ended(&mut self, pid: i32, how: How) -> bool {
        if !self.alarms.machine.ended(u64::from(pid.unsigned_abs())) {
            return false;
        }
        let name = self.alarms.running.remove(&pid).unwrap_or_default();
        if how != How::Code(0) {
            log::say_quietly(&format!("[uwsgi-alarm] the command of \"{name}\" (pid {pid}) ended with {how}"));
        }
        true
    }

    pub(super) fn wake_alarms(&mut self, now: Moment) {
        for run in self.alarms.machine.overdue(now) {
            let Ok(pid) = i32::try_from(run) else { continue };
            let name = self.alarms.running.get(&pid).cloned().unwrap_or_default();
            log::say_quietly(&format!(
                "[uwsgi-alarm] the command of \"{name}\" (pid {pid}) is killed: it runs for more than {} s",
                RUN_MAX.as_secs()
            ));
            send_to_process(pid, Signal::SIGKILL as i32);
        }
        self.look_for_alarms(now);
    }

    /// A line of the log has said something.
    pub(super) fn line_raises(&mut self, raising: &Raising) {
        if raising.missed > 0 {
            let missed = raising.missed;
            log::say_quietly(&format!("[uwsgi-alarm] {missed} lines raised no alarm: too many came at once"));
        }
        let message = format!("{}\n", raising.line);
        for name in &raising.alarms {
            self.raise_alarm(name, &message);
        }
    }

    /// There is something to read from this.
    pub(super) fn descriptor_raises(&mut self, fd: RawFd) {
        let its = self.alarms.config.on_descriptor.iter().filter(|watched| watched.fd == fd);
        let raised: Vec<_> = its.map(|watched| (watched.alarm.clone(), watched.message.clone())).collect();
        for (alarm, message) in raised {
            self.raise_alarm(&alarm, &message);
        }
    }

    /// A worker has ended by a signal that is its own fault.
    pub(super) fn worker_crashed(&mut self, worker: WorkerRef, pid: Option<i32>, death: &Death) {
        let (number, pid) = (worker.worker.0, pid.unwrap_or(0));
        let message = format!("*** worker {number} (pid: {pid}) crashed: {} ***\n{}", death.how, death.evidence);
        for name in self.alarms.config.on_crash.clone() {
            self.raise_alarm(&name, &message);
        }
    }

    /// The vassal ends: alarms that its last lines raise are raised, and their commands get a moment.
    pub(super) async fn finish_alarms(&mut self, inputs: &mut Inputs) {
        let until = Instant::now() + LAST_WORDS;
        loop {
            while let Ok(input) = inputs.try_recv() {
                if let Input::LineRaises(raising) = input {
                    self.line_raises(&raising);
                }
            }
            self.reap();
            if self.alarms.running.is_empty() {
                return;
            }
            match timeout_at(until, inputs.recv()).await {
                Ok(Some(Input::LineRaises(raising))) => self.line_raises(&raising),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// For a new image of this master.
    pub(super) fn leave_alarms(&self) -> Vec<(String, i32)> {
        self.alarms.running.iter().map(|(pid, name)| (name.clone(), *pid)).collect()
    }

    /// In the new image: these commands are its children.
    pub(crate) fn carry_alarms(&mut self, left: Vec<(String, i32)>) {
        for (name, pid) in left {
            self.alarms.machine.started(u64::from(pid.unsigned_abs()), clock::now());
            self.alarms.running.insert(pid, name);
        }
    }
}

/// A file from which a command reads this.
fn readable(message: &[u8]) -> std::io::Result<OwnedFd> {
    use std::io::Seek;
    let mut file = std::fs::File::from(memfd::sealed("empery-alarm", message)?);
    file.rewind()?;
    Ok(file.into())
}

/// The first line of a message.
fn shown(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}
