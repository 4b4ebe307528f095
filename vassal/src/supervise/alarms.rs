//! Alarms: what raises them, and what is done then. Nobody waits for it: what takes time is a process of its own with a limit,
//! and what is said goes to the log.

mod descriptors;
mod look;
mod output;

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
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
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

pub(crate) use self::descriptors::Descriptors;
use self::output::Output;
use super::{Inputs, Supervisor, beside::send_to_process, deaths::Death, input::Input};
use crate::{
    clock,
    command::{self, Command},
    curl, facts, log,
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
    /// Their commands that run, by pid.
    running: BTreeMap<i32, Run>,
    thresholds: Vec<(Limit, Threshold)>,
    descriptors: Descriptors,
    look_at: Option<Moment>,
    /// `metric-dir`.
    writes_metrics: bool,
    /// Whether `core.overloaded` is asked for.
    counts_overload: bool,
    metric_files: MetricFiles,
}

/// A command that runs.
struct Run {
    /// Of this alarm.
    name: String,
    /// What it prints; None for one that an image of this master without pipes of their own began.
    output: Option<Output>,
}

/// One on its way to a new image of this master.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AlarmLeft {
    name: String,
    pid: i32,
    /// An earlier image may have left none.
    #[serde(default)]
    output: Option<RawFd>,
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
        side.counts_overload = config.shared.vassal_metrics;
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
                match curl::command(&curl::options(&curl)) {
                    Ok((command, options)) => self.run_for_alarm(name, &command, body.as_bytes(), Some(options)),
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
        let begun = readable(message).and_then(|stdin| {
            let (output, print) = Output::new()?;
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
            Ok((command::hold(command, &print).and_then(Held::release)?, output))
        });
        match begun {
            Ok((child, output)) => {
                side.machine.started(u64::from(child.pid.unsigned_abs()), clock::now());
                side.running.insert(child.pid, Run { name: name.to_owned(), output: Some(output) });
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
        let Some(Run { name, output }) = self.alarms.running.remove(&pid) else { return true };
        output.iter().for_each(Output::say_now);
        if how != How::Code(0) {
            log::say_quietly(&format!("[uwsgi-alarm] the command of \"{name}\" (pid {pid}) ended with {how}"));
        }
        true
    }

    pub(super) fn wake_alarms(&mut self, now: Moment) {
        for run in self.alarms.machine.overdue(now) {
            let Ok(pid) = i32::try_from(run) else { continue };
            let name = self.alarms.running.get(&pid).map_or("", |run| &run.name);
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
    pub(super) fn leave_alarms<'a>(&'a self, left: &mut Vec<BorrowedFd<'a>>) -> Vec<AlarmLeft> {
        let all = self.alarms.running.iter().map(|(pid, run)| {
            let output = run.output.as_ref().map(AsFd::as_fd);
            left.extend(output);
            AlarmLeft { name: run.name.clone(), pid: *pid, output: output.map(|end| end.as_raw_fd()) }
        });
        all.collect()
    }

    /// In the new image: these commands are its children.
    ///
    /// # Errors
    /// One sentence, when a descriptor did not survive.
    pub(super) fn carry_alarms(
        &mut self,
        left: Vec<AlarmLeft>,
        take: impl Fn(RawFd, &str) -> Result<OwnedFd, String>,
    ) -> Result<(), String> {
        for AlarmLeft { name, pid, output } in left {
            let output = output.map(|number| take(number, "what an alarm's command prints")).transpose()?;
            let output = output.map(Output::follow).transpose().map_err(|error| error.to_string())?;
            self.alarms.machine.started(u64::from(pid.unsigned_abs()), clock::now());
            self.alarms.running.insert(pid, Run { name, output });
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_without_pipes_has_left_is_understood() {
        let left: AlarmLeft = serde_json::from_str("[\"note\",7]").unwrap();
        assert_eq!((left.name.as_str(), left.pid, left.output), ("note", 7, None));
    }
}
