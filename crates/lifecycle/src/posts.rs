//! Mules and spoolers: processes of a generation that answer no requests. Each post is held by one process at a time: that
//! of the next generation starts when the last one's has ended, so that neither a port nor a piece of work is taken twice. And
//! it does not leave before the workers of its generation have, which may have something for it to the last.
//! Fed and performed by the vassal's master.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{backoff::Backoff, ids::GenerationId, moment::Moment};

/// First and longest wait before a process that keeps dying is started again; forgotten after it has lived for the longest.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_LONGEST: Duration = Duration::from_secs(30);

/// A place that a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Post {
    /// A mule, from 1.
    Mule(u32),
    /// A spooler, from 1.
    Spooler(u32),
}

/// One process of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PostRef {
    /// The generation it was forked for.
    pub generation: GenerationId,
    /// Which.
    pub post: Post,
    /// How many processes of this master were started for posts before.
    pub spawn: u32,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Have the generation's zygote fork it. An end is to follow, also when that fails.
    Start(PostRef),
    /// Tell it to leave.
    Tell(PostRef),
    /// Tell it to leave as soon as it has done what was sent to it: nobody sends anything any more.
    Finish(PostRef),
    /// SIGKILL.
    Kill(PostRef),
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Posts {
    /// The generation in service and its posts.
    wanted: Option<(GenerationId, Vec<Post>)>,
    /// How long one may take to leave.
    mercy: Duration,
    all: BTreeMap<Post, Place>,
    spawns: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    state: State,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum State {
    /// Nobody; somebody is started then.
    Empty(Moment),
    Held {
        by: PostRef,
        since: Moment,
        leaves: Leaves,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Leaves {
    No,
    KilledAt(Moment),
    Killed,
}

impl Posts {
    /// A process that an earlier image of the same master has left: of an earlier generation, whichever comes.
    pub fn carry(&mut self, by: PostRef, now: Moment) {
        self.spawns = self.spawns.max(by.spawn.saturating_add(1));
        self.all.insert(
            by.post,
            Place { state: State::Held { by, since: now, leaves: Leaves::No }, backoff: Backoff::default() },
        );
    }

    /// A generation is in service, with these posts. Whoever holds them for an earlier one does until that is [over](Self::over).
    pub fn follow(&mut self, generation: GenerationId, posts: Vec<Post>, mercy: Duration, now: Moment) -> Vec<Step> {
        self.mercy = mercy;
        for post in &posts {
            let place =
                self.all.entry(*post).or_insert(Place { state: State::Empty(now), backoff: Backoff::default() });
            if let State::Empty(at) = &mut place.state {
                // What failed before was another generation's.
                *at = now;
                place.backoff.forget();
            }
        }
        self.wanted = Some((generation, posts));
        self.wake(now)
    }

    /// The vassal stops: nobody is started any more.
    pub fn stop(&mut self) {
        self.wanted = None;
        self.forget();
    }

    /// Which generations have no worker any more is known: whoever still holds a post for one that is not in service leaves.
    pub fn over(&mut self, is_over: impl Fn(GenerationId) -> bool, now: Moment) -> Vec<Step> {
        let serving = self.wanted.as_ref().map(|(generation, _)| *generation);
        let told = self.tell(now, |by| Some(by.generation) != serving && is_over(by.generation));
        told.into_iter().map(Step::Finish).collect()
    }

    /// Those that were told to leave get no more time; in a stop nobody does.
    pub fn hurry(&mut self) -> Vec<Step> {
        let stops = self.wanted.is_none();
        let mut steps = Vec::new();
        for place in self.all.values_mut() {
            if let State::Held { by, leaves, .. } = &mut place.state
                && (matches!(leaves, Leaves::KilledAt(_)) || stops && *leaves == Leaves::No)
            {
                *leaves = Leaves::Killed;
                steps.push(Step::Kill(*by));
            }
        }
        steps
    }

    /// `touch-mules-reload`, `touch-spoolers-reload`: these are replaced.
    pub fn replace(&mut self, which: impl Fn(Post) -> bool, now: Moment) -> Vec<Step> {
        self.tell(now, |by| which(by.post)).into_iter().map(Step::Tell).collect()
    }

    /// The master has killed it for another reason.
    pub fn condemned(&mut self, by: PostRef) {
        for place in self.all.values_mut() {
            if let State::Held { by: holder, leaves, .. } = &mut place.state
                && *holder == by
            {
                *leaves = Leaves::Killed;
            }
        }
    }

    /// It leaves by itself, and is replaced.
    pub fn leaves(&mut self, by: PostRef, now: Moment) {
        self.tell(now, |holder| *holder == by);
    }

    /// A process has ended, or could not be started.
    pub fn ended(&mut self, by: PostRef, now: Moment) -> Vec<Step> {
        let Some(place) = self.all.get_mut(&by.post) else { return Vec::new() };
        let State::Held { by: holder, since, leaves } = place.state else { return Vec::new() };
        if holder != by {
            return Vec::new();
        }
        let lived = now.since(since);
        if lived >= AGAIN_LONGEST || leaves != Leaves::No {
            place.backoff.forget();
        }
        let wait = if leaves == Leaves::No { place.backoff.fail(AGAIN_FIRST, AGAIN_LONGEST) } else { Duration::ZERO };
        place.state = State::Empty(now.after(wait));
        self.forget();
        self.wake(now)
    }

    /// The deadline has come.
    pub fn wake(&mut self, now: Moment) -> Vec<Step> {
        let mut steps = Vec::new();
        let Self { wanted, all, spawns, .. } = self;
        for (post, place) in all {
            match &mut place.state {
                State::Empty(at) if *at <= now => {
                    if let Some((generation, _)) = wanted.as_ref().filter(|(_, posts)| posts.contains(post)) {
                        let by = PostRef { generation: *generation, post: *post, spawn: *spawns };
                        *spawns = spawns.wrapping_add(1);
                        place.state = State::Held { by, since: now, leaves: Leaves::No };
                        steps.push(Step::Start(by));
                    }
                }
                State::Held { by, leaves: leaves @ Leaves::KilledAt(_), .. } if leaves.is_due(now) => {
                    *leaves = Leaves::Killed;
                    steps.push(Step::Kill(*by));
                }
                State::Empty(_) | State::Held { .. } => {}
            }
        }
        steps
    }

    /// When something is to be done even if nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let of = |place: &Place| match place.state {
            State::Empty(at) | State::Held { leaves: Leaves::KilledAt(at), .. } => Some(at),
            State::Held { leaves: Leaves::No | Leaves::Killed, .. } => None,
        };
        self.all.values().filter_map(of).min()
    }

    /// How long the next process of that post waits; None when one is there or none is wanted.
    #[must_use]
    pub fn waits(&self, post: Post, now: Moment) -> Option<Duration> {
        match self.all.get(&post)?.state {
            State::Empty(at) => Some(at.since(now)),
            State::Held { .. } => None,
        }
    }

    /// Whether no process holds any post.
    #[must_use]
    pub fn are_empty(&self) -> bool {
        self.all.values().all(|place| matches!(place.state, State::Empty(_)))
    }

    /// Those of these that were not told yet.
    fn tell(&mut self, now: Moment, which: impl Fn(&PostRef) -> bool) -> Vec<PostRef> {
        let killed_at = now.after(self.mercy);
        let mut told = Vec::new();
        for place in self.all.values_mut() {
            if let State::Held { by, leaves: leaves @ Leaves::No, .. } = &mut place.state
                && which(by)
            {
                *leaves = Leaves::KilledAt(killed_at);
                told.push(*by);
            }
        }
        told
    }

    /// Empty posts that nobody wants.
    fn forget(&mut self) {
        let Self { wanted, all, .. } = self;
        let is_wanted = |post: &Post| wanted.as_ref().is_some_and(|(_, posts)| posts.contains(post));
        all.retain(|post, place| matches!(place.state, State::Held { .. }) || is_wanted(post));
    }
}

impl Leaves {
    fn is_due(self, now: Moment) -> bool {
        matches!(self, Leaves::KilledAt(at) if at <= now)
    }
}

#[cfg(test)]
mod tests;
