//! Everything that reaches the supervisor, in one queue: whatever happens to a vassal is handled one thing at a time.

use std::{
    os::fd::{OwnedFd, RawFd},
    path::PathBuf,
};

use empery_control::{
    gateway::FromGateway,
    link::Order,
    posts::FromPost,
    worker::{FromWorker, FromZygote, Introduction},
};
use empery_lifecycle::{
    ids::{GenerationId, OrphanId, WorkerRef},
    posts::PostRef,
};
use empery_sys::channel::Channel;
use tokio::sync::{mpsc, oneshot};

use crate::{log::alarms::Raising, signals::Signal};

/// Something that happened.
pub(crate) enum Input {
    /// A signal came.
    Signal(Signal),
    /// Children may have ended (SIGCHLD).
    ChildrenEnded,
    /// A zygote said something.
    FromZygote(GenerationId, FromZygote),
    /// A mule said something, with descriptors.
    FromPost(PostRef, FromPost, Vec<OwnedFd>),
    /// A mule will say nothing more.
    PostSilent(PostRef),
    /// Something that a uWSGI signal is raised for has changed.
    FileChanged(GenerationId, u8),
    /// A zygote will say nothing more.
    ZygoteSilent(GenerationId),
    /// A worker said something, with descriptors.
    FromWorker(WorkerRef, FromWorker, Vec<OwnedFd>),
    /// A worker was told to drain a moment ago.
    DrainsStill(WorkerRef),
    /// A worker will say nothing more.
    WorkerSilent(WorkerRef),
    /// A worker of an earlier master said something, with descriptors.
    FromOrphan(OrphanId, FromWorker, Vec<OwnedFd>),
    /// A worker of an earlier master will say nothing more.
    OrphanSilent(OrphanId),
    /// The process of a worker of an earlier master, which is no child of this one, has ended.
    OrphanEnded(OrphanId),
    /// The gateway of this number said something.
    FromGateway(u64, FromGateway),
    /// The gateway of this number will say nothing more.
    GatewaySilent(u64),
    /// A file of `touch-reload` changed.
    Touched(PathBuf),
    /// A file system that the vassal cannot do without is not reached any more, and why.
    MountPointLost(PathBuf, String),
    /// A descriptor of `reload-on-fd` has something to read: why there is a reload.
    DescriptorReady(String),
    /// A byte came through `master-fifo`.
    Commanded(char),
    /// Somebody has connected to a vassal at rest.
    ClientWaits,
    /// What an earlier master's daemons have left is gone.
    RemainsEnded,
    /// A line of the log raises alarms.
    LineRaises(Box<Raising>),
    /// This descriptor that raises an alarm has something to read, or is watched no more.
    DescriptorRaises(RawFd),
    /// Somebody connected to the stats socket.
    StatsAsked(oneshot::Sender<String>),
    /// Somebody whose credentials were checked introduced himself on the link.
    Introduced(Box<Introduced>),
    /// The brain of this number ordered something, with descriptors.
    Ordered(u64, Order, Vec<OwnedFd>),
    /// The brain of this number is gone.
    BrainSilent(u64),
}

/// A newcomer on the link.
pub(crate) struct Introduced {
    /// What it said.
    pub(crate) introduction: Introduction,
    /// The descriptors that came with it.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The connection.
    pub(crate) channel: Channel,
    /// Its pid by SO_PEERCRED: what it says itself is not needed.
    pub(crate) pid: i32,
}

/// Where inputs are put.
#[derive(Clone)]
pub(crate) struct Inbox(mpsc::UnboundedSender<Input>);

/// Where they come out.
pub(crate) type Inputs = mpsc::UnboundedReceiver<Input>;

impl Inbox {
    /// A queue.
    pub(crate) fn new() -> (Self, Inputs) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Puts an input at the end of the queue.
    pub(crate) fn put(&self, input: Input) {
        // The supervisor that would have cared has left already.
        let _ = self.0.send(input);
    }
}

/// What was in the queue at one moment: it comes to an end, however fast more is put behind it.
pub(crate) struct Turn {
    left: usize,
}

impl Turn {
    /// What is there now.
    pub(crate) fn begin(inputs: &Inputs) -> Turn {
        Turn { left: inputs.len() }
    }

    /// The next of it.
    pub(crate) fn next(&mut self, inputs: &mut Inputs) -> Option<Input> {
        self.left = self.left.checked_sub(1)?;
        inputs.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_though_more_is_put_for_everything_that_is_taken() {
        let (inbox, mut inputs) = Inbox::new();
        (0..3).for_each(|_| inbox.put(Input::ClientWaits));
        let mut turn = Turn::begin(&inputs);
        let mut taken = 0;
        while turn.next(&mut inputs).is_some() {
            taken += 1;
            inbox.put(Input::ChildrenEnded);
            assert!(taken <= 3, "it goes on for ever");
        }
        assert_eq!((taken, inputs.len()), (3, 3));
    }
}
