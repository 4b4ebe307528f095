//! Mules and spoolers: the machine says which posts are to be held by whom; the zygote forks, and what the processes say is heard.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    time::Duration,
};

use empery_config::vassal::VassalConfig;
use empery_control::{
    posts::{FromPost, ToPost},
    stats,
    worker::ToZygote,
};
use empery_lifecycle::{
    ids::GenerationId,
    moment::Moment,
    posts::{Post, PostRef, Posts, Step},
    signals::Place,
};
use empery_sys::{
    channel::Channel,
    process::{How, is_ending},
    seqpacket,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use super::{Supervisor, input::Input, perform::kill_child};
use crate::{
    clock, log,
    peer::{Heard, Peer},
};

/// All of them.
#[derive(Default)]
pub(crate) struct PostSide {
    machine: Posts,
    all: BTreeMap<PostRef, PostHandle>,
}

/// A mule or spooler.
pub(crate) struct PostHandle {
    /// Once it or the zygote has said so.
    pid: Option<i32>,
    peer: Peer<ToPost>,
    /// Where uWSGI signals are delivered.
    letterbox: Option<OwnedFd>,
    /// What it does must have ended by then.
    busy_by: Option<Moment>,
    /// It said itself that it must have set this back by then.
    limited_by: Option<Moment>,
    is_busy: bool,
    /// It is about to leave: what is raised is for its successor.
    leaves: bool,
    /// How much it has begun.
    begun: u64,
    /// How it ended, once that is known.
    exit: Option<How>,
    /// Its last word was heard.
    silent: bool,
    /// It was to leave, or to be killed, before its pid was known.
    sent_when_known: Option<Signal>,
}

/// What a new image of this master takes over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PostLeft {
    post: PostRef,
    pid: i32,
    pub(crate) fd: RawFd,
    #[serde(default)]
    pub(crate) letterbox: Option<RawFd>,
    /// In how many ms what it does must have ended.
    #[serde(default)]
    busy_within_ms: Option<u64>,
    /// In how many ms it must have set its own limit back.
    #[serde(default)]
    limited_within_ms: Option<u64>,
    #[serde(default)]
    is_busy: bool,
    #[serde(default)]
    begun: u64,
}

impl PostSide {
    pub(super) fn deadline(&self) -> Option<Moment> {
        let limits = self.all.values().flat_map(|handle| [handle.busy_by, handle.limited_by]);
        limits.flatten().chain(self.machine.deadline()).min()
    }

    pub(super) fn are_empty(&self) -> bool {
        self.machine.are_empty()
    }

    /// Those of a generation with a letterbox, as signals find them, and whether they are busy.
    pub(super) fn receivers(&self, id: GenerationId) -> impl Iterator<Item = (Place, bool)> {
        self.listening(id).map(|(post, handle)| (place(post.post), handle.is_busy))
    }

    pub(super) fn letterbox_of(&self, id: GenerationId, of: Place) -> Option<&OwnedFd> {
        self.listening(id).find(|(post, _)| place(post.post) == of)?.1.letterbox.as_ref()
    }

    /// The spoolers' processes as the statistics have them: those of the generation that came last.
    pub(crate) fn spoolers(&self, config: &VassalConfig) -> Vec<stats::Spooler> {
        let spoolers = &config.beside.spoolers;
        let own = spoolers.directories.iter().filter(|(_, external)| !external);
        let processes = own.flat_map(|(path, _)| std::iter::repeat_n(path, spoolers.processes as usize));
        let of = |(number, path): (u32, &PathBuf)| {
            let held = self.all.iter().filter(|(post, _)| post.post == Post::Spooler(number));
            let held = held.max_by_key(|(post, _)| (post.generation, post.spawn));
            stats::Spooler {
                dir: path.display().to_string(),
                pid: held.and_then(|(_, handle)| handle.pid).unwrap_or(0),
                tasks: held.map_or(0, |(_, handle)| handle.begun),
                respawns: held.map_or(0, |(post, _)| post.spawn.into()),
                running: held.map_or(0, |(_, handle)| u8::from(handle.is_busy)),
            }
        };
        (1..).zip(processes).map(of).collect()
    }

    /// Whether nothing that was said to them waits in this process.
    pub(super) fn are_told(&self) -> bool {
        self.all.values().all(|handle| handle.silent || handle.peer.is_told())
    }

    fn listening(&self, id: GenerationId) -> impl Iterator<Item = (&PostRef, &PostHandle)> {
        let listens = move |(post, handle): &(&PostRef, &PostHandle)| {
            post.generation == id && handle.letterbox.is_some() && handle.exit.is_none() && !handle.leaves
        };
        self.all.iter().filter(listens)
    }
}

/// The posts of a configuration.
pub(super) fn posts_of(config: &VassalConfig) -> Vec<Post> {
    let (mules, spoolers) = (&config.beside.mules, &config.beside.spoolers);
    let own = spoolers.directories.iter().filter(|(_, external)| !external);
    let number = own.fold(0, |number: u32, _| number.saturating_add(spoolers.processes));
    let mules = (1..).zip(&mules.patches).map(|(number, _)| Post::Mule(number));
    mules.chain((1..=number).map(Post::Spooler)).collect()
}

/// As signals know it.
pub(super) fn place(post: Post) -> Place {
    match post {
        Post::Mule(number) => Place::Mule(number),
        Post::Spooler(number) => Place::Spooler(number),
    }
}

impl Supervisor {
    /// A generation is in service.
    pub(super) fn posts_follow(&mut self, id: GenerationId, config: &VassalConfig) {
        let mercy = config.beside.mules.mercy;
        let steps = self.posts.machine.follow(id, posts_of(config), mercy, clock::now());
        self.do_for_posts(steps);
    }

    /// The vassal stops.
    pub(super) fn retire_posts(&mut self) {
        self.posts.machine.stop();
    }

    /// Those whose last worker is gone leave, too, unless there is nobody yet who could follow.
    pub(super) fn posts_end(&mut self) {
        if self.machine.serving().is_none() && !self.stop_asked && self.gateways.leaving.is_none() {
            return;
        }
        let (generations, orphans) = (&self.generations, &self.orphans);
        let is_over = |id: GenerationId| {
            generations.get(&id).is_none_or(|generation| generation.workers.is_empty())
                && orphans.values().all(|orphan| orphan.worker.generation != id)
        };
        let steps = self.posts.machine.over(is_over, clock::now());
        self.do_for_posts(steps);
    }

    pub(super) fn hurry_posts(&mut self) {
        let steps = self.posts.machine.hurry();
        self.do_for_posts(steps);
    }

    /// `touch-mules-reload`, `touch-spoolers-reload`.
    pub(super) fn posts_touched(&mut self, path: &Path, config: &VassalConfig) {
        let is_among = |paths: &[PathBuf]| paths.iter().any(|named| named == path);
        let (mules, spoolers) = (is_among(&config.beside.mules.touch), is_among(&config.beside.spoolers.touch));
        if mules || spoolers {
            let whom = if mules { "mules" } else { "spoolers" };
            log::say(&format!("*** {} has been touched: the {whom} are replaced ***", path.display()));
        }
        let which = |post: Post| match post {
            Post::Mule(_) => mules,
            Post::Spooler(_) => spoolers,
        };
        let steps = self.posts.machine.replace(which, clock::now());
        self.do_for_posts(steps);
    }

    pub(super) fn wake_posts(&mut self, now: Moment) {
        let overdue = |(post, handle): (&PostRef, &mut PostHandle)| {
            let [busy, limited] = [&mut handle.busy_by, &mut handle.limited_by].map(|by| by.take_if(|by| *by <= now));
            busy.or(limited).map(|_| *post)
        };
        let overdue: Vec<PostRef> = self.posts.all.iter_mut().filter_map(overdue).collect();
        for post in overdue {
            let name = name(post.post);
            log::say(&format!("*** HARAKIRI ON {} (pid: {}) ***", name.to_uppercase(), self.pid_of_post(post)));
            self.posts.machine.condemned(post);
            self.kill_post(post);
        }
        let steps = self.posts.machine.wake(now);
        self.do_for_posts(steps);
    }

    fn pid_of_post(&self, post: PostRef) -> i32 {
        self.posts.all.get(&post).and_then(|handle| handle.pid).unwrap_or(0)
    }

    fn do_for_posts(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Start(post) => {
                    if let Err(sentence) = self.start_post(post) {
                        log::say(&format!("*** the {} cannot be started: {sentence} ***", name(post.post)));
                        self.post_is_over(post);
                    }
                }
                Step::Tell(post) => self.tell_post(post, ToPost::Leave),
                Step::Finish(post) => self.tell_post(post, ToPost::Finish),
                Step::Kill(post) => {
                    log::say(&format!("*** the {} does not leave in time and is killed ***", name(post.post)));
                    self.kill_post(post);
                }
            }
        }
    }

    fn tell_post(&mut self, post: PostRef, word: ToPost) {
        if let Some(handle) = self.posts.all.get_mut(&post) {
            handle.leaves = true;
            handle.peer.say(word, Vec::new());
            handle.send(Signal::SIGTERM);
        }
    }

    fn kill_post(&mut self, post: PostRef) {
        if let Some(handle) = self.posts.all.get_mut(&post) {
            handle.send(Signal::SIGKILL);
        }
    }

    fn start_post(&mut self, post: PostRef) -> Result<(), String> {
        let zygote = self.zygote(post.generation).ok_or("its zygote is gone")?;
        let no_channel = |error: std::io::Error| format!("no channel could be made for it: {error}");
        let (ours, theirs) = seqpacket::pair().map_err(no_channel)?;
        let channel = Channel::new(ours).map_err(no_channel)?;
        zygote.peer.say(ToZygote::ForkPost { post }, vec![theirs]);
        self.hold_post(post, channel, None);
        Ok(())
    }

    fn hold_post(&mut self, post: PostRef, channel: Channel, pid: Option<i32>) {
        let peer = Peer::attach(channel, self.inbox.clone(), move |heard| match heard {
            Heard::Word(word, descriptors) => Input::FromPost(post, word, descriptors),
            Heard::Silence => Input::PostSilent(post),
        });
        self.posts.all.insert(
            post,
            PostHandle {
                pid,
                peer,
                letterbox: None,
                busy_by: None,
                limited_by: None,
                is_busy: false,
                leaves: false,
                begun: 0,
                exit: None,
                silent: false,
                sent_when_known: None,
            },
        );
    }

    pub(super) fn heard_post(&mut self, post: PostRef, word: FromPost, descriptors: Vec<OwnedFd>) {
        let Some(handle) = self.posts.all.get_mut(&post) else { return };
        match word {
            FromPost::Up { pid, .. } => self.post_has_pid(post, pid),
            FromPost::Begins { within_ms } => {
                handle.is_busy = true;
                handle.begun += 1;
                handle.busy_by = within_ms.map(|within| clock::now().after(Duration::from_millis(within)));
            }
            FromPost::Ended => {
                handle.is_busy = false;
                handle.busy_by = None;
            }
            FromPost::Limited { within_ms } => {
                handle.limited_by = within_ms.map(|within| clock::now().after(Duration::from_millis(within)));
            }
            FromPost::Recycles => {
                handle.leaves = true;
                self.posts.machine.leaves(post, clock::now());
            }
            FromPost::Signals { word } => {
                self.heard_signals(post.generation, Some(place(post.post)), word, descriptors);
            }
            FromPost::ReloadAsked => self.reload(&format!("the {} asked for it", name(post.post))),
            FromPost::StopAsked => self.stop_by_app(),
            FromPost::AlarmRaised { name, message } => self.raise_alarm(&name, &message),
        }
    }

    /// Its letterbox has come.
    pub(super) fn put_letterbox_of_post(&mut self, id: GenerationId, of: Place, letterbox: OwnedFd) {
        let mut its = self.posts.all.iter_mut().filter(|(post, _)| post.generation == id && place(post.post) == of);
        if let Some((_, handle)) = its.next_back() {
            handle.letterbox = Some(letterbox);
        }
    }

    /// The zygote or the process itself said which pid it has.
    pub(super) fn post_has_pid(&mut self, post: PostRef, pid: i32) {
        let ended = self.unclaimed.remove(&pid);
        let Some(handle) = self.posts.all.get_mut(&post).filter(|handle| handle.pid.is_none()) else { return };
        handle.pid = Some(pid);
        log::say(&format!("spawned uWSGI {} (pid: {pid})", name(post.post)));
        if let Some(signal) = handle.sent_when_known.take() {
            handle.send(signal);
        }
        if let Some(how) = ended {
            self.post_ended(pid, how);
        }
    }

    pub(super) fn post_not_forked(&mut self, post: PostRef, sentence: &str) {
        log::say(&format!("*** the {} cannot be forked: {sentence} ***", name(post.post)));
        // Should it be there all the same, it finds its channel closed and leaves.
        self.posts.all.get(&post).iter().for_each(|handle| handle.peer.is_gone());
        self.post_is_over(post);
    }

    /// Whether a pid may still turn out to be one's.
    pub(super) fn are_forking_posts(&self) -> bool {
        self.posts.all.values().any(|handle| handle.pid.is_none())
    }

    /// A child has ended; whether it was one.
    pub(super) fn post_ended(&mut self, pid: i32, how: How) -> bool {
        let is_its = |handle: &PostHandle| handle.pid == Some(pid) && handle.exit.is_none();
        let Some(post) = self.posts.all.iter().find(|(_, handle)| is_its(handle)).map(|(post, _)| *post) else {
            return false;
        };
        if let Some(handle) = self.posts.all.get_mut(&post) {
            handle.exit = Some(how);
            if handle.silent {
                self.post_is_gone(post);
            } else {
                handle.peer.is_gone();
            }
        }
        true
    }

    /// Nothing more comes from it.
    pub(super) fn post_silent(&mut self, post: PostRef) {
        let Some(handle) = self.posts.all.get_mut(&post) else { return };
        handle.silent = true;
        match (handle.exit, handle.pid) {
            (Some(_), _) => self.post_is_gone(post),
            (None, None) => self.post_is_over(post),
            // A script may have closed it, and runs on; usually it is ending this moment.
            (None, Some(pid)) if is_ending(pid) => {}
            (None, Some(pid)) => kill_child(pid),
        }
    }

    fn post_is_gone(&mut self, post: PostRef) {
        let how = self.posts.all.get(&post).and_then(|handle| handle.exit);
        let pid = self.pid_of_post(post);
        if let Some(how) = how {
            log::say(&format!("uWSGI {} (pid: {pid}) ended ({how})", name(post.post)));
        }
        self.post_is_over(post);
    }

    fn post_is_over(&mut self, post: PostRef) {
        self.posts.all.remove(&post);
        let now = clock::now();
        let steps = self.posts.machine.ended(post, now);
        if let Some(wait) = self.posts.machine.waits(post.post, now).filter(|wait| !wait.is_zero()) {
            log::say(&format!("*** the {} is started again in {} ***", name(post.post), super::seconds(wait)));
        }
        self.do_for_posts(steps);
        self.leave_when_alone();
    }

    /// For a new image of this master.
    pub(super) fn leave_posts<'a>(&'a self, left: &mut Vec<std::os::fd::BorrowedFd<'a>>) -> Vec<PostLeft> {
        let now = clock::now();
        let within_ms = |by: Option<Moment>| Some(u64::try_from(by?.since(now).as_millis()).unwrap_or(u64::MAX));
        let mut posts = Vec::new();
        for (post, handle) in &self.posts.all {
            let Some(pid) = handle.pid.filter(|_| !handle.silent) else { continue };
            left.push(handle.peer.channel());
            left.extend(handle.letterbox.as_ref().map(AsFd::as_fd));
            posts.push(PostLeft {
                post: *post,
                pid,
                fd: handle.peer.channel().as_fd().as_raw_fd(),
                letterbox: handle.letterbox.as_ref().map(AsRawFd::as_raw_fd),
                busy_within_ms: within_ms(handle.busy_by),
                limited_within_ms: within_ms(handle.limited_by),
                is_busy: handle.is_busy,
                begun: handle.begun,
            });
        }
        posts
    }

    /// In the new image. Its letterbox stays open, although nothing of its generation is delivered any more: it would take the end
    /// for the master's. Its limits hold on.
    pub(crate) fn carry_post(&mut self, left: PostLeft, channel: Channel, letterbox: Option<OwnedFd>) {
        let now = clock::now();
        let by = |within_ms: Option<u64>| within_ms.map(|within| now.after(Duration::from_millis(within)));
        self.posts.machine.carry(left.post, now);
        self.hold_post(left.post, channel, Some(left.pid));
        if let Some(handle) = self.posts.all.get_mut(&left.post) {
            handle.letterbox = letterbox;
            handle.busy_by = by(left.busy_within_ms);
            handle.limited_by = by(left.limited_within_ms);
            handle.is_busy = left.is_busy;
            handle.begun = left.begun;
        }
    }
}

impl PostHandle {
    fn send(&mut self, signal: Signal) {
        match self.pid {
            Some(pid) if self.exit.is_none() => {
                // It has not been reaped: the pid is its own.
                let _ = kill(Pid::from_raw(pid), signal);
            }
            Some(_) => {}
            None => self.sent_when_known = Some(signal),
        }
    }
}

fn name(post: Post) -> String {
    match post {
        Post::Mule(number) => format!("mule {number}"),
        Post::Spooler(number) => format!("spooler {number}"),
    }
}
