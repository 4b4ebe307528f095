//! When gateways are started, opened, drained and started again. They belong to no generation: a deploy that changes
//! nothing about them leaves them alone.

use std::{os::fd::OwnedFd, path::PathBuf};

use empery_config::vassal::VassalConfig;
use empery_control::{
    gateway::{FromGateway, GatewayPlan, ToGateway},
    link::{FromMaster, Severity},
};
use empery_lifecycle::generations::Event;
use empery_sys::{
    channel::Channel,
    process::{self, How},
    seqpacket,
};

use super::{
    Supervisor,
    gateways::{
        AGAIN_AFTER, Candidate, GatewayHandle, Phase, QUIET_WITHIN, READY_WITHIN, Serial, TLS_FILES_EVERY, Waiting,
    },
    input::Input,
    perform::kill_child,
};
use crate::{
    clock, gateway, log,
    peer::{Heard, Peer},
    station::Station,
};

impl Supervisor {
    /// Begins the deploys that wait, as far as their gateways are ready.
    pub(super) fn begin_deploys(&mut self) {
        while self.gateways.candidate.is_none()
            && let Some(mut waiting) = self.gateways.waiting.pop_front()
        {
            let wanted = waiting.offer.as_ref().ok().and_then(|revision| gateway::plan(&revision.config));
            if let Some(plan) = wanted.filter(|plan| self.gateways.of_plan(plan).is_none()) {
                match self.start_gateway(plan, Phase::OnTrial) {
                    Ok(serial) => {
                        let ready_by = clock::now().after(READY_WITHIN);
                        self.gateways.candidate = Some(Candidate { serial, ready_by });
                        self.gateways.waiting.push_front(waiting);
                        return;
                    }
                    Err(sentence) => waiting.offer = Err(sentence),
                }
            }
            self.begin_deploy(waiting);
        }
    }

    fn start_gateway(&mut self, plan: GatewayPlan, phase: Phase) -> Result<Serial, String> {
        let failed = |error: std::io::Error| format!("the gateway cannot be started: {error}");
        let link_path = self.surroundings.link_path.as_deref();
        let boot = gateway::boot(plan.clone(), &self.listeners, &self.tls_files, link_path)?;
        let files = self.tls_files.copies().map_err(failed)?;
        let (ours, theirs) = seqpacket::pair().map_err(failed)?;
        let child = gateway::start(&theirs, &boot, &self.surroundings.log)?;
        let channel = Channel::new(ours).map_err(failed)?;
        let serial = self.hold_gateway(channel, child.pid, Some(plan), phase);
        if let Some(handle) = self.gateways.all.get(&serial) {
            handle.peer.say(ToGateway::Boot(Box::new(boot)), files);
        }
        Ok(serial)
    }

    /// Takes a gateway into this master's hands.
    pub(super) fn hold_gateway(
        &mut self,
        channel: Channel,
        pid: i32,
        plan: Option<GatewayPlan>,
        phase: Phase,
    ) -> Serial {
        self.gateways.last += 1;
        let serial = self.gateways.last;
        let peer = Peer::attach(channel, self.inbox.clone(), move |heard| match heard {
            Heard::Word(word, _) => Input::FromGateway(serial, word),
            Heard::Silence => Input::GatewaySilent(serial),
        });
        let is_child = plan.is_some();
        let handle = GatewayHandle { pid, peer, plan, phase, since: clock::now(), is_child, exit: None, silent: false };
        self.gateways.all.insert(serial, handle);
        serial
    }

    /// A gateway of an earlier master serves on until one of this master's relieves it.
    pub(super) fn gateway_found(&mut self, channel: Channel, pid: i32) {
        log::say(&format!("*** the gateway (pid: {pid}) of an earlier master serves on until it is relieved ***"));
        let serial = self.hold_gateway(channel, pid, None, Phase::Serving);
        if self.stop_asked || self.machine.serving().is_some() {
            self.drain_gateways(|other| other == serial);
        }
    }

    pub(super) fn heard_gateway(&mut self, serial: Serial, word: FromGateway) {
        match word {
            FromGateway::Ready => self.gateway_ready(serial),
            FromGateway::Refused { sentence } => self.gateway_refused(serial, sentence),
            FromGateway::Notice { code, sentence } => self.notice_of_gateway(&code, sentence),
            FromGateway::Quiet => {
                if let Some(handle) = self.gateways.all.get_mut(&serial) {
                    handle.phase = Phase::Draining { is_quiet: true };
                }
                self.stop_when_quiet();
            }
        }
    }

    fn gateway_ready(&mut self, serial: Serial) {
        let Some(handle) = self.gateways.all.get_mut(&serial) else { return };
        match handle.phase {
            Phase::OnTrial => handle.phase = Phase::Ready,
            Phase::Returning => {
                handle.phase = Phase::Serving;
                handle.peer.say(ToGateway::Open, Vec::new());
                log::say(&format!("respawned gateway (new pid: {})", handle.pid));
            }
            Phase::Ready | Phase::Serving | Phase::Draining { .. } => {}
        }
        if self.is_candidate(serial) {
            self.end_trial(None);
        }
    }

    fn gateway_refused(&mut self, serial: Serial, sentence: String) {
        if self.is_candidate(serial) {
            self.end_trial(Some(sentence));
        } else {
            self.notice_of_gateway("gateway-refused", format!("the gateway cannot be started again: {sentence}"));
        }
    }

    fn is_candidate(&self, serial: Serial) -> bool {
        self.gateways.candidate.as_ref().is_some_and(|candidate| candidate.serial == serial)
    }

    /// The deploy goes on, or fails for the reason that the gateway has.
    fn end_trial(&mut self, refusal: Option<String>) {
        self.gateways.candidate = None;
        if let Some(mut waiting) = self.gateways.waiting.pop_front() {
            if let Some(sentence) = refusal {
                waiting.offer = Err(sentence);
            }
            self.begin_deploy(waiting);
        }
        self.begin_deploys();
    }

    /// A revision serves: the gateway it wants opens, all others drain.
    pub(super) fn gateways_follow(&mut self, config: &VassalConfig) {
        let wanted = gateway::plan(config);
        let chosen = match &wanted {
            None => None,
            Some(plan) => match self.gateways.of_plan(plan) {
                Some(serial) => Some(serial),
                None => self.replace_gateway(plan.clone()),
            },
        };
        if let Some(handle) = chosen.and_then(|serial| self.gateways.all.get_mut(&serial)) {
            match handle.phase {
                Phase::Ready => {
                    handle.phase = Phase::Serving;
                    handle.peer.say(ToGateway::Open, Vec::new());
                    log::say(&format!("spawned gateway (pid: {})", handle.pid));
                }
                Phase::OnTrial => handle.phase = Phase::Returning,
                Phase::Returning | Phase::Serving | Phase::Draining { .. } => {}
            }
        }
        if wanted.is_none() || chosen.is_some() {
            self.drain_gateways(|serial| Some(serial) != chosen);
        }
    }

    /// One in the place of another that died. None when it cannot be started now.
    fn replace_gateway(&mut self, plan: GatewayPlan) -> Option<Serial> {
        self.gateways.again_at = None;
        match self.start_gateway(plan, Phase::Returning) {
            Ok(serial) => Some(serial),
            Err(sentence) => {
                self.notice_of_gateway("gateway-not-started", sentence);
                self.gateways.again_at = Some(clock::now().after(AGAIN_AFTER));
                None
            }
        }
    }

    /// Those that were made ready for a deploy that failed go again.
    pub(super) fn dismiss_ready_gateways(&mut self) {
        for handle in self.gateways.all.values_mut().filter(|handle| handle.phase == Phase::Ready) {
            handle.drain();
        }
    }

    fn drain_gateways(&mut self, which: impl Fn(Serial) -> bool) {
        for (_, handle) in self.gateways.all.iter_mut().filter(|(serial, _)| which(**serial)) {
            handle.drain();
        }
    }

    /// Stops: clients are turned away first, and the workers are told once they have every request there is.
    pub(super) fn stop_behind_gateways(&mut self) {
        self.gateways.waiting.clear();
        self.gateways.candidate = None;
        self.gateways.again_at = None;
        self.drain_gateways(|_| true);
        self.gateways.quiet_by = Some(clock::now().after(QUIET_WITHIN));
        self.stop_when_quiet();
    }

    fn stop_when_quiet(&mut self) {
        if self.gateways.quiet_by.is_some() && self.gateways.are_quiet() {
            self.gateways.quiet_by = None;
            self.tell(Event::Stop);
        }
    }

    /// Nothing of the app is left: the exit code counts once no gateway is.
    pub(super) fn leave_behind_gateways(&mut self, code: u8) {
        self.drain_gateways(|_| true);
        self.gateways.leaving = Some((code, clock::now().after(self.gateways.mercy)));
        self.retire_daemons();
        self.retire_posts();
        self.leave_when_alone();
    }

    pub(super) fn leave_when_alone(&mut self) {
        if let Some((code, _)) = self.gateways.leaving
            && self.gateways.all.is_empty()
            && self.beside.daemons.are_over()
            && self.posts.are_empty()
        {
            self.leaving = Some(code);
        }
    }

    /// SIGKILL to all of them.
    pub(super) fn kill_gateways(&mut self) {
        for handle in self.gateways.all.values().filter(|handle| handle.exit.is_none()) {
            kill_gateway(handle);
        }
    }

    /// A deadline about gateways has come.
    pub(super) fn wake_gateways(&mut self) {
        let now = clock::now();
        if let Some(candidate) = self.gateways.candidate.take_if(|candidate| candidate.ready_by <= now) {
            if let Some(handle) = self.gateways.all.get(&candidate.serial) {
                kill_gateway(handle);
            }
            let seconds = READY_WITHIN.as_secs();
            self.end_trial(Some(format!("the gateway did not read its certificates within {seconds} s")));
        }
        if self.gateways.again_at.take_if(|at| *at <= now).is_some() {
            self.follow_what_serves();
        }
        if self.gateways.files_at.take_if(|at| *at <= now).is_some() {
            let paths = self.tls_files.paths();
            self.tell_brain(FromMaster::TlsFilesAsked { paths }, Vec::new());
            self.ask_for_tls_files_later();
        }
        if self.gateways.quiet_by.take_if(|by| *by <= now).is_some() {
            self.tell(Event::Stop);
        }
        if self.gateways.leaving.is_some_and(|(_, by)| by <= now) {
            self.kill_gateways();
            self.hurry_posts();
            if let Some((code, _)) = self.gateways.leaving.take() {
                self.leaving = Some(code);
            }
        }
    }

    fn follow_what_serves(&mut self) {
        let serving = self.machine.serving().and_then(|(generation, _)| self.generations.get(&generation));
        if let Some(revision) = serving.map(|generation| std::sync::Arc::clone(&generation.revision)) {
            self.gateways_follow(&revision.config);
        }
    }

    /// A child that is a gateway has ended.
    pub(super) fn gateway_exited(&mut self, serial: Serial, how: How) {
        let Some(handle) = self.gateways.all.get_mut(&serial) else { return };
        handle.exit = Some(how);
        if handle.silent {
            self.gateway_ended(serial);
        } else {
            handle.peer.is_gone();
        }
    }

    /// Nothing more comes from a gateway.
    pub(super) fn gateway_silent(&mut self, serial: Serial) {
        let Some(handle) = self.gateways.all.get_mut(&serial) else { return };
        handle.silent = true;
        if handle.is_child && handle.exit.is_none() {
            // Usually it is ending this moment: the kernel closes what it had open before its parent is told.
            kill_gateway(handle);
        } else {
            self.gateway_ended(serial);
        }
    }

    fn gateway_ended(&mut self, serial: Serial) {
        let Some(handle) = self.gateways.all.remove(&serial) else { return };
        let how = handle.exit.map_or_else(|| "it is gone".to_owned(), |how| how.to_string());
        if self.is_candidate(serial) {
            self.end_trial(Some(format!("the gateway ended before it was ready: {how}")));
        } else if matches!(handle.phase, Phase::Serving | Phase::Returning) && !self.stop_asked {
            self.gateway_died(&handle, &how);
        }
        self.stop_when_quiet();
        self.leave_when_alone();
    }

    fn gateway_died(&mut self, handle: &GatewayHandle, how: &str) {
        let lived = clock::now().since(handle.since);
        let text = format!(
            "the gateway (pid: {}) died ({how}): its connections are lost, another takes its place",
            handle.pid
        );
        self.notice(Severity::Incident, "gateway-died", text, None);
        match lived < AGAIN_AFTER {
            true => self.gateways.again_at = Some(clock::now().after(AGAIN_AFTER)),
            false => self.follow_what_serves(),
        }
    }

    fn notice_of_gateway(&mut self, code: &str, sentence: String) {
        self.notice(Severity::Warning, code, sentence, None);
    }

    /// Certificates and keys that the emperor has opened (again).
    pub(super) fn take_tls_files(&mut self, paths: Vec<PathBuf>, files: impl Iterator<Item = OwnedFd>) {
        if paths.is_empty() {
            return;
        }
        self.tls_files.take_all(paths.into_iter().zip(files));
        for handle in self.gateways.all.values().filter(|handle| handle.plan.is_some()) {
            if let Ok(copies) = self.tls_files.copies() {
                handle.peer.say(ToGateway::Files { paths: self.tls_files.paths() }, copies);
            }
        }
        self.ask_for_tls_files_later();
    }

    /// What only root may read is asked for again from time to time: that is how a new certificate is noticed.
    pub(crate) fn ask_for_tls_files_later(&mut self) {
        let needed = !self.tls_files.is_empty() && matches!(self.station, Station::Governed(_));
        self.gateways.files_at = needed.then(|| clock::now().after(TLS_FILES_EVERY));
    }

    /// A deploy waits for its gateway, if it wants one that is not there.
    pub(super) fn queue_deploy(&mut self, waiting: Waiting) {
        self.gateways.waiting.push_back(waiting);
        self.begin_deploys();
    }
}

fn kill_gateway(handle: &GatewayHandle) {
    if handle.is_child {
        kill_child(handle.pid);
    } else if let Ok(pidfd) = process::pidfd_open(handle.pid) {
        // Of another parent: only a pidfd is sure to mean it. It may have ended meanwhile.
        let _ = process::pidfd_kill(&pidfd, nix::sys::signal::Signal::SIGKILL as i32);
    }
}
