//! Scheduled commands: the clock on the wall is shown to the machine, and what is due is started.

use std::{
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};

use empery_config::{
    beside::{Cron as Spec, When},
    vassal::VassalConfig,
};
use empery_control::stats;
use empery_lifecycle::{
    cron::{Job, Local, Minutes, Pattern, Rules, look_again_in},
    moment::Moment,
};
use empery_sys::{process::How, spawn::Held};
use jiff::tz::TimeZone;
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};

use super::pidfile;
use crate::{
    clock,
    command::{self, Command},
    curl, log, remains,
    supervise::Supervisor,
    zygote::Surroundings,
};

/// All of them.
#[derive(Default)]
pub(crate) struct Crons {
    all: Vec<Handle>,
    minutes: Minutes,
    look_at: Option<Moment>,
    /// The app has asked for signals at certain times.
    concerns_signals: bool,
    /// `env` and `unenv` in service.
    env: Vec<(String, Option<String>)>,
}

struct Handle {
    spec: Spec,
    job: Job,
    /// When each of its runs began.
    began: Vec<(i32, Moment)>,
    /// It is told of in the configuration in service.
    wanted: bool,
    /// A run of it may go on that an earlier master has started, which died.
    may_be_left: bool,
}

impl Crons {
    pub(super) fn deadline(&self) -> Option<Moment> {
        let looks = self.look_at.filter(|_| self.concerns_signals || self.all.iter().any(|handle| handle.wanted));
        self.all.iter().filter_map(|handle| handle.job.deadline()).chain(looks).min()
    }

    /// Whether the clock is looked at for signals, too.
    pub(crate) fn concern_signals(&mut self, concerns: bool) {
        self.concerns_signals = concerns;
        self.look_at.get_or_insert_with(clock::now);
    }

    /// As the statistics have them.
    pub(crate) fn stats(&self) -> Vec<stats::Cron> {
        let (now, now_unix_s) = (clock::now(), clock::unix_s());
        let of = |handle: &Handle| {
            let When { minute, hour, day, month, week } = handle.spec.when;
            let (pid, started_at) =
                handle.began.last().map_or((-1, 0), |(pid, began)| (*pid, now_unix_s - now.since(*began).as_secs()));
            let (unique, command) = (u8::from(handle.spec.unique), handle.spec.command.clone());
            stats::Cron { minute, hour, day, month, week, command, unique, legion: String::new(), pid, started_at }
        };
        self.all.iter().map(of).collect()
    }

    pub(super) fn running(&self) -> Vec<(Spec, i32)> {
        let of = |handle: &Handle| handle.began.iter().map(|(pid, _)| (handle.spec.clone(), *pid)).collect::<Vec<_>>();
        self.all.iter().flat_map(of).collect()
    }

    pub(super) fn last_minute(&self) -> Option<i64> {
        self.minutes.last()
    }

    pub(super) fn carry(&mut self, left: Vec<(Spec, i32)>, last_minute: Option<i64>) {
        self.minutes = Minutes::after(last_minute);
        for (spec, pid) in left {
            let place = self.all.iter().position(|handle| handle.spec == spec).unwrap_or_else(|| {
                self.all.push(Handle::new(spec));
                self.all.len() - 1
            });
            self.all[place].begin(pid, clock::now());
        }
    }
}

impl Handle {
    fn new(spec: Spec) -> Handle {
        let may_be_left = spec.unique;
        Handle { job: Job::new(rules(&spec)), spec, began: Vec::new(), wanted: true, may_be_left }
    }

    /// Whether a run goes on that an earlier master has started. It is looked for as long as there may be one: until there is none.
    fn is_left_running(&mut self, berths: Option<&Path>) -> bool {
        let mark = mark_of(&self.spec, berths).filter(|_| self.may_be_left && self.began.is_empty());
        self.may_be_left = mark.is_some_and(|mark| remains::runs(&mark));
        self.may_be_left
    }

    fn begin(&mut self, pid: i32, now: Moment) {
        self.job.started(u64::from(pid.unsigned_abs()), now);
        self.began.push((pid, now));
    }
}

impl Supervisor {
    pub(super) fn crons_follow(&mut self, config: &VassalConfig) {
        let crons = &mut self.beside.crons;
        crons.env.clone_from(&config.env);
        let mut missing = config.beside.crons.clone();
        for handle in &mut crons.all {
            let place = missing.iter().position(|spec| handle.wanted && *spec == handle.spec);
            handle.wanted = place.map(|place| missing.remove(place)).is_some();
        }
        crons.all.extend(missing.into_iter().map(Handle::new));
        crons.all.retain(|handle| handle.wanted || !handle.began.is_empty());
        crons.look_at.get_or_insert_with(clock::now);
    }

    pub(super) fn wake_crons(&mut self, now: Moment) {
        for handle in &mut self.beside.crons.all {
            for run in handle.job.overdue(now) {
                let command = &handle.spec.command;
                log::say(&format!("*** HARAKIRI ON CRON \"{command}\" (pid: {run}): it runs for too long ***"));
                if let Ok(pid) = i32::try_from(run) {
                    pidfile::send(pid, Signal::SIGKILL as i32);
                }
            }
        }
        if self.beside.crons.look_at.is_some_and(|at| at <= now) {
            self.look_at_the_clock(now);
        }
    }

    fn look_at_the_clock(&mut self, now: Moment) {
        let unix_ms = i64::try_from(clock::unix_ms()).unwrap_or(i64::MAX);
        let crons = &mut self.beside.crons;
        crons.look_at = Some(now.after(look_again_in(unix_ms)));
        let minutes = crons.minutes.come(unix_ms / 1000);
        if self.stop_asked || self.leaving.is_some() {
            return;
        }
        let zone = zone(&crons.env);
        let minutes: Vec<Local> = minutes.filter_map(|minute| local(minute, &zone)).collect();
        for index in 0..crons.all.len() {
            let berths = berths(&self.surroundings);
            let handle = &mut self.beside.crons.all[index];
            if handle.wanted && handle.job.is_due(&minutes) && !handle.is_left_running(berths) {
                self.run_cron(index, now);
            }
        }
        if self.beside.crons.concerns_signals {
            self.minutes_came(&minutes);
        }
    }

    fn run_cron(&mut self, index: usize, now: Moment) {
        let Crons { all, env, .. } = &mut self.beside.crons;
        let spec = &all[index].spec;
        let request = spec.is_request.then(|| curl::command(&curl::request(&spec.command))).transpose();
        let mark = mark_of(spec, berths(&self.surroundings));
        let begun = request.and_then(|request| {
            let command = Command {
                text: request.as_ref().map_or(&spec.command, |(text, _)| text),
                directory: &spec.directory,
                env,
                stdin: None,
                inherit: request.iter().map(|(_, options)| options.as_raw_fd()).collect(),
                identity: None,
                // As in uWSGI it finishes what it has begun.
                death_signal: None,
                mark: mark.as_deref(),
            };
            command::hold(command, &self.surroundings.log).and_then(Held::release)
        });
        match begun {
            Ok(child) => {
                log::say(&format!("[uwsgi-cron] running \"{}\" (pid {})", spec.command, child.pid));
                all[index].begin(child.pid, now);
            }
            Err(error) => log::say(&format!("[uwsgi-cron] \"{}\" cannot be run: {error}", spec.command)),
        }
    }

    /// A child has ended; whether it was a run of one.
    pub(super) fn cron_ended(&mut self, pid: i32, how: How) -> bool {
        let now = clock::now();
        for handle in &mut self.beside.crons.all {
            if let Some(place) = handle.began.iter().position(|(run, _)| *run == pid) {
                let (_, began) = handle.began.remove(place);
                handle.job.ended(u64::from(pid.unsigned_abs()));
                let (command, seconds) = (&handle.spec.command, now.since(began).as_secs());
                let how = if how == How::Code(0) { String::new() } else { format!(" with {how}") };
                log::say(&format!(
                    "[uwsgi-cron] command \"{command}\" running with pid {pid} exited after {seconds} second(s){how}"
                ));
                self.beside.crons.all.retain(|handle| handle.wanted || !handle.began.is_empty());
                return true;
            }
        }
        false
    }
}

/// The directory that a vassal's masters have in common, under an emperor: alone there is no later one.
fn berths(surroundings: &Surroundings) -> Option<&Path> {
    surroundings.link_path.as_deref().and_then(Path::parent)
}

/// By what a later master of the vassal knows a run of a unique command.
fn mark_of(spec: &Spec, berths: Option<&Path>) -> Option<PathBuf> {
    let named = serde_json::to_vec(spec).ok().filter(|_| spec.unique)?;
    let hash: String = Sha256::digest(named).iter().map(|byte| format!("{byte:02x}")).collect();
    berths.map(|berths| berths.join("cron").join(hash))
}

/// `TZ` of the vassal, else the machine's (tzset(3)).
fn zone(env: &[(String, Option<String>)]) -> TimeZone {
    let said = env.iter().rev().find(|(name, _)| name == "TZ").and_then(|(_, value)| value.as_deref());
    let Some(said) = said else { return TimeZone::system() };
    let name = said.strip_prefix(':').unwrap_or(said);
    TimeZone::get(name).or_else(|_| TimeZone::posix(name)).unwrap_or(TimeZone::UTC)
}

fn local(unix_minute: i64, zone: &TimeZone) -> Option<Local> {
    let at = jiff::Timestamp::from_second(unix_minute.checked_mul(60)?).ok()?.to_zoned(zone.clone());
    let small = |number: i8| u8::try_from(number).unwrap_or(0);
    Some(Local {
        minute: small(at.minute()),
        hour: small(at.hour()),
        day: small(at.day()),
        month: small(at.month()),
        weekday: small(at.weekday().to_sunday_zero_offset()),
    })
}

fn rules(spec: &Spec) -> Rules {
    let harakiri = spec.harakiri_s.map(|seconds| Duration::from_secs(seconds.into()));
    Rules { pattern: pattern(spec.when), unique: spec.unique, harakiri }
}

fn pattern(when: When) -> Pattern {
    Pattern { minute: when.minute, hour: when.hour, day: when.day, month: when.month, week: when.week }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tz(value: &str) -> TimeZone {
        zone(&[("TZ".into(), Some(value.into()))])
    }

    #[test]
    fn minutes_are_called_what_they_are_where_the_vassal_lives() {
        // 2026-03-29 00:30 UTC, a Sunday: the day on which Berlin goes from 2:00 to 3:00.
        let minute = 1_774_744_200 / 60;
        let at = |zone: &TimeZone, minute| local(minute, zone).unwrap();
        let berlin = tz("CET-1CEST,M3.5.0,M10.5.0/3");
        assert_eq!(at(&tz("UTC0"), minute), Local { minute: 30, hour: 0, day: 29, month: 3, weekday: 0 });
        assert_eq!((at(&berlin, minute).hour, at(&berlin, minute + 29).hour, at(&berlin, minute + 30).hour), (1, 1, 3));
        assert_eq!(at(&tz("UTC+1"), minute), Local { minute: 30, hour: 23, day: 28, month: 3, weekday: 6 });
    }
}
