//! Descriptors of connections that a thread of the app's own still uses as its request ends: inside `wsgi.input.read()`, or
//! inside `write()`. Such a thread knows the number and will try it again; closed now, the number would soon be another
//! client's. So it stays taken until the thread has let go of it, and the connection goes on under another.

use std::{
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use pyo3::prelude::*;

use super::{Serving, connection::Connection};

/// Whether whoever used the descriptor has let go of it, and never uses it again.
pub(crate) type LetGo = Box<dyn Fn(Python<'_>) -> bool + Send>;

/// See the module.
#[derive(Default)]
pub(super) struct Lent {
    any: AtomicBool,
    /// As many as there are threads of the app in the middle of it: what they wait for is over at once.
    descriptors: Mutex<Vec<(OwnedFd, LetGo)>>,
}

impl Serving {
    /// Leaves the connection's number to whoever uses it, until all have let go. The connection itself goes on.
    pub(crate) fn lend(&self, connection: &mut Connection, users: Vec<LetGo>) {
        if users.is_empty() {
            return;
        }
        if connection.watched.take().is_some() {
            let _ = self.epoll.remove(connection.raw());
        }
        let lent = connection.change_number().or_else(|_| {
            // There may be a number again when others have left.
            self.evict();
            connection.change_number()
        });
        let Ok(lent) = lent else {
            // One client's bytes would become another's.
            self.worker.log("a thread of the app uses a connection that is over, and there is no descriptor to keep it apart: this worker ends");
            std::process::abort();
        };
        let all: LetGo = Box::new(move |py| users.iter().all(|let_go| let_go(py)));
        self.lent.descriptors.lock().unwrap_or_else(PoisonError::into_inner).push((lent, all));
        self.lent.any.store(true, Ordering::Relaxed);
    }

    /// Closes the descriptors that nobody uses any more.
    pub(crate) fn take_back(&self, py: Python<'_>) {
        if !self.lent.any.load(Ordering::Relaxed) {
            return;
        }
        let lock = || self.lent.descriptors.lock().unwrap_or_else(PoisonError::into_inner);
        // Not under the lock: what is let go of here may be the end of the app's own objects, whose code may wait.
        let mut descriptors = std::mem::take(&mut *lock());
        descriptors.retain(|(_, let_go)| !let_go(py));
        let mut all = lock();
        all.append(&mut descriptors);
        self.lent.any.store(!all.is_empty(), Ordering::Relaxed);
    }
}
