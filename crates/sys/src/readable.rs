//! Waits until something can be read from a descriptor, without reading it.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor that is watched.
#[derive(Debug)]
pub struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// Watches a descriptor of any kind that epoll(7) takes.
    ///
    /// # Errors
    /// When epoll does not take it, or there is no tokio reactor.
    pub fn watch(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an OwnedFd answers as_raw_fd with one open descriptor for as long as it lives, and gives it to nobody else.
        Ok(Self(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? }))
    }

    /// Waits for it.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn ready(&self) -> io::Result<()> {
        self.0.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// Waits for more than there was the last time. The caller reads everything before it waits again.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn more(&self) -> io::Result<()> {
        self.0.readable().await.map(|mut guard| guard.clear_ready())
    }
}
