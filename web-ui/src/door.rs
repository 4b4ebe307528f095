//! A door with so many places: whoever comes when all are taken is hung up on. Connections hold descriptors of the process
//! that looks after the fleet, and those must not run out because somebody connects and says nothing.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

/// What a connection is given, by who is at its other end.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    places: Arc<Semaphore>,
    /// How long it may take, all in all; None: as long as it likes.
    lifetime: Option<Duration>,
}

impl Terms {
    /// So many at once.
    pub(crate) fn new(places: usize, lifetime: Option<Duration>) -> Terms {
        Terms { places: Arc::new(Semaphore::new(places)), lifetime }
    }
}

/// See the module.
pub(crate) struct Door<L, F> {
    listener: L,
    /// How long a guest may take nothing of an answer.
    stall_max: Duration,
    terms_for: F,
}

impl<L, F> Door<L, F> {
    /// A door in front of `listener`; `terms_for` tells what whoever comes is given.
    pub(crate) fn new(listener: L, stall_max: Duration, terms_for: F) -> Door<L, F> {
        Door { listener, stall_max, terms_for }
    }
}

impl<L, F> Door<L, F>
where
    L: Listener,
    F: Fn(&L::Io) -> Terms + Send + 'static,
{
    /// The next who gets a place.
    pub(crate) async fn accept(&mut self) -> Guest<L::Io> {
        loop {
            let (io, _) = self.listener.accept().await;
            let Terms { places, lifetime } = (self.terms_for)(&io);
            // All taken: dropping it hangs up.
            let Ok(place) = places.try_acquire_owned() else { continue };
            let until = lifetime.map(|lifetime| Box::pin(tokio::time::sleep_until(Instant::now() + lifetime)));
            return Guest { io, until, stall_max: self.stall_max, stalled: None, _place: place };
        }
    }
}

/// A connection that has a place.
pub(crate) struct Guest<T> {
    io: T,
    until: Option<Pin<Box<Sleep>>>,
    stall_max: Duration,
    /// Until when it must take something, while it takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl<T> Guest<T> {
    /// The connection.
    pub(crate) fn io(&self) -> &T {
        &self.io
    }

    /// An error once its time is up.
    fn poll_time(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        match &mut self.until {
            Some(until) => until.as_mut().poll(context).map(|()| io::ErrorKind::TimedOut.into()),
            None => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guest<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(late) = self.poll_time(context) {
            return Poll::Ready(Err(late));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guest<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(late) = self.poll_time(context) {
            return Poll::Ready(Err(late));
        }
        if let Poll::Ready(written) = Pin::new(&mut self.io).poll_write(context, bytes) {
            self.stalled = None;
            return Poll::Ready(written);
        }
        let stall_max = self.stall_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_max)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
