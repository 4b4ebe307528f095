//! `alarm-fd`: descriptors that this process has inherited, and that raise an alarm whenever there is something to read. What is
//! there is read and thrown away.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd, RawFd},
};

use empery_config::alarms::{Alarms, OnDescriptor};
use empery_sys::{inherited, readable::Readable};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::task::AbortHandle;

use crate::{
    log,
    supervise::input::{Inbox, Input},
};

/// Most reads before others get their turn.
const READS_MAX: usize = 1024;

/// See the module.
#[derive(Default)]
pub(crate) struct Descriptors {
    /// Those that were inherited, by number.
    taken: BTreeMap<RawFd, OwnedFd>,
    /// Those that are watched, and how many bytes are read at once.
    watched: BTreeMap<RawFd, (usize, AbortHandle)>,
    /// What was wanted and is not there: said once.
    missing: Vec<RawFd>,
}

impl Descriptors {
    /// Takes those that a configuration names; at the very start, when nothing else is open under these numbers.
    pub(crate) fn take(alarms: &Alarms) -> Self {
        let mut taken = BTreeMap::new();
        for OnDescriptor { fd, .. } in &alarms.on_descriptor {
            if !taken.contains_key(fd)
                && let Ok(descriptor) = inherited::take(*fd)
            {
                taken.insert(*fd, descriptor);
            }
        }
        Self { taken, watched: BTreeMap::new(), missing: Vec::new() }
    }

    /// Watches those that are wanted, and no others.
    pub(super) fn watch(&mut self, wanted: &[OnDescriptor], inbox: &Inbox) {
        let bytes_of = |fd: RawFd| wanted.iter().find(|watched| watched.fd == fd).map(|watched| watched.bytes);
        for (_, (_, task)) in self.watched.extract_if(.., |fd, (bytes, _)| bytes_of(*fd) != Some(*bytes)) {
            task.abort();
        }
        for OnDescriptor { fd, bytes, .. } in wanted {
            if self.watched.contains_key(fd) || self.missing.contains(fd) {
                continue;
            }
            let Some(descriptor) = self.taken.get(fd) else {
                log::say_quietly(&format!("[uwsgi-alarm] descriptor {fd} was not inherited: nothing is read from it"));
                self.missing.push(*fd);
                continue;
            };
            match watch(*fd, descriptor, *bytes, inbox.clone()) {
                Ok(task) => {
                    log::say_quietly(&format!("[uwsgi-alarm] added fd {fd}"));
                    self.watched.insert(*fd, (*bytes, task));
                }
                Err(error) => {
                    log::say_quietly(&format!("[uwsgi-alarm] descriptor {fd} cannot be watched: {error}"));
                    self.missing.push(*fd);
                }
            }
        }
    }
}

fn watch(fd: RawFd, descriptor: &OwnedFd, bytes: usize, inbox: Inbox) -> std::io::Result<AbortHandle> {
    let mut file = File::from(descriptor.try_clone()?);
    let readable = Readable::watch(descriptor.try_clone()?)?;
    let task = tokio::spawn(async move {
        let mut room = vec![0; bytes];
        while readable.more().await.is_ok() {
            let mut reads = 0;
            // The file is others', too, so that it is not made one that never waits.
            while has_something(&file) {
                match file.read(&mut room) {
                    Ok(1..) => reads += 1,
                    end => {
                        let why = end.err().map_or_else(|| "its end is reached".to_owned(), |error| error.to_string());
                        log::say_quietly(&format!("[uwsgi-alarm] i will stop monitoring fd {fd}: {why}"));
                        return;
                    }
                }
                if reads % READS_MAX == 0 {
                    tokio::task::yield_now().await;
                }
            }
            if reads > 0 {
                inbox.put(Input::DescriptorRaises(fd));
            }
        }
    });
    Ok(task.abort_handle())
}

fn has_something(file: &File) -> bool {
    let mut asked = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|number| number > 0)
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        self.watched.values().for_each(|(_, task)| task.abort());
    }
}
