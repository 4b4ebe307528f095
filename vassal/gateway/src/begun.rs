//! A client's connection of which some bytes were read already: the PROXY protocol header before TLS, and what came with it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use empery_wire::{Parsed, forwarded::Trusted, proxy};
use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadBuf},
    net::TcpStream,
};

use crate::writes::writes_through;

/// See the module.
pub(crate) struct Begun {
    held: BytesMut,
    stream: TcpStream,
}

impl Begun {
    /// Of which nothing was read.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { held: BytesMut::new(), stream }
    }

    /// Reads the PROXY protocol header; who it says the client is, or else this peer.
    ///
    /// # Errors
    /// Why the connection is not served.
    pub(crate) async fn proxied(mut self, peer: SocketAddr, trusted: &Trusted) -> Result<(Self, SocketAddr), String> {
        if trusted.is_said() && !trusted.covers(Some(peer.ip())) {
            return Err("a PROXY protocol header from an address that is not in trusted-proxies".to_owned());
        }
        loop {
            match proxy::parse(&self.held) {
                Parsed::Head { head, consumed } => {
                    self.held.advance(consumed);
                    return Ok((self, head.client.unwrap_or(peer)));
                }
                Parsed::Bad(bad) => return Err(bad.reason.to_owned()),
                Parsed::NeedMore => match self.stream.read_buf(&mut self.held).await {
                    Ok(0) => return Err("it ended inside its PROXY protocol header".to_owned()),
                    Ok(_) => {}
                    Err(error) => return Err(error.to_string()),
                },
            }
        }
    }

    /// Reads past a PROXY protocol header where nobody is asked who the client is: one that is not there is not missed, as
    /// in uWSGI.
    pub(crate) async fn past_any_header(mut self) -> io::Result<Self> {
        loop {
            match proxy::parse(&self.held) {
                Parsed::Head { consumed, .. } => {
                    self.held.advance(consumed);
                    return Ok(self);
                }
                Parsed::Bad(_) => return Ok(self),
                Parsed::NeedMore => {
                    if self.stream.read_buf(&mut self.held).await? == 0 {
                        return Ok(self);
                    }
                }
            }
        }
    }
}

impl AsyncRead for Begun {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, room);
        }
        let length = self.held.len().min(room.remaining());
        room.put_slice(&self.held[..length]);
        self.held.advance(length);
        Poll::Ready(Ok(()))
    }
}

writes_through!(Begun);
