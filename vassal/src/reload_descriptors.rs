//! `reload-on-fd`: descriptors that this vassal was started with, each of which reloads it when something can be read from it.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use empery_config::watched::ReloadDescriptor;
use empery_sys::{inherited, readable::Readable};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::task::AbortHandle;

use crate::{
    log,
    supervise::input::{Inbox, Input},
};

/// See the module.
#[derive(Default)]
pub(crate) struct ReloadDescriptors {
    held: BTreeMap<i32, OwnedFd>,
    watched: Vec<ReloadDescriptor>,
    tasks: Vec<AbortHandle>,
}

impl ReloadDescriptors {
    /// Takes those of a configuration that were inherited. Called before this process opens anything of its own.
    pub(crate) fn take(named: &[ReloadDescriptor]) -> Self {
        Self::take_numbers(named.iter().map(|descriptor| descriptor.number))
    }

    /// See [`ReloadDescriptors::take`].
    pub(crate) fn take_numbers(numbers: impl Iterator<Item = i32>) -> Self {
        let mut held = BTreeMap::new();
        for number in numbers {
            if !held.contains_key(&number)
                && let Ok(descriptor) = inherited::take(number)
            {
                held.insert(number, descriptor);
            }
        }
        Self { held, watched: Vec::new(), tasks: Vec::new() }
    }

    /// What a new image of this master is left with.
    pub(crate) fn leave<'a>(&'a self, left: &mut Vec<BorrowedFd<'a>>) -> Vec<i32> {
        left.extend(self.held.values().map(AsFd::as_fd));
        self.held.values().map(AsRawFd::as_raw_fd).collect()
    }

    /// Watches these, and no others any more.
    pub(crate) fn follow(&mut self, wanted: &[ReloadDescriptor], inbox: &Inbox) {
        if self.watched == wanted {
            return;
        }
        self.tasks.drain(..).for_each(|task| task.abort());
        self.watched = wanted.to_vec();
        for descriptor in wanted {
            let number = descriptor.number;
            let watch = match self.held.get(&number) {
                Some(held) => held.try_clone().and_then(Readable::watch).map_err(|error| error.to_string()),
                None => Err("this process was not started with it; an emperor passes none on".to_owned()),
            };
            match watch {
                Ok(readable) => {
                    log::say(&format!("added reload monitor for fd {number} (read size: {})", descriptor.bytes));
                    if let Some(held) = self.held.get(&number).and_then(|held| held.try_clone().ok()) {
                        let read = read(readable, held, descriptor.clone(), inbox.clone());
                        self.tasks.push(tokio::spawn(read).abort_handle());
                    }
                }
                Err(error) => log::say(&format!("*** reload-on-fd = {number} watches nothing: {error} ***")),
            }
        }
    }
}

impl Drop for ReloadDescriptors {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn read(readable: Readable, held: OwnedFd, descriptor: ReloadDescriptor, inbox: Inbox) {
    let ReloadDescriptor { number, bytes, message } = descriptor;
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(1)];
    while readable.more().await.is_ok() {
        while has_more(held.as_fd()) {
            match nix::unistd::read(&held, &mut buffer) {
                Ok(0) => return log::say(&format!("*** fd {number} is at its end and reloads no more ***")),
                Ok(_) => {}
                Err(error) => {
                    return log::say(&format!(
                        "*** fd {number} cannot be read and reloads no more: {} ***",
                        error.desc()
                    ));
                }
            }
            inbox.put(Input::DescriptorReady(match &message {
                Some(message) => format!("fd {number} ready: {message}"),
                None => format!("fd {number} ready"),
            }));
        }
    }
}

/// Whether a read does not wait.
fn has_more(descriptor: BorrowedFd<'_>) -> bool {
    let mut entries = [PollFd::new(descriptor, PollFlags::POLLIN)];
    poll(&mut entries, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
