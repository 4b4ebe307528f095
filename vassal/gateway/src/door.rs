//! A listening socket of the gateway: accepts, ends TLS, and has the connection served.

use std::{
    convert::Infallible,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use empery_control::{
    gateway::{DoorKind, GatewayDoor},
    keeper::ListenAddress,
};
use empery_wire::forwarded::Trusted;
use hyper::{Request, Response, body::Incoming, service::Service};
use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{
    answer::Answer,
    begun::Begun,
    certificates::{Certificates, Mark},
    client::Client,
    connection::{Manners, Pending, serve_http1, serve_http2},
    floor::Floor,
    forward::Exchange,
    limits::{ACCEPT_AGAIN_AFTER, HANDSHAKE_WITHIN},
    redirect::ToHttps,
    relay,
    workers::Workers,
};

/// What every door leads to.
pub(crate) struct House {
    /// The certificates.
    pub(crate) certificates: Arc<Certificates>,
    /// The workers.
    pub(crate) workers: Arc<Workers>,
    /// Who is here.
    pub(crate) floor: Arc<Floor>,
    /// How they are served.
    pub(crate) manners: Manners,
    /// `https-export-cert`.
    pub(crate) export_certificate: bool,
    /// The abstract name of the socket where workers take the uwsgi protocol.
    pub(crate) uwsgi_workers: String,
    /// From whom a PROXY protocol header is taken.
    pub(crate) trusted: Trusted,
}

/// A door.
pub(crate) struct Door {
    listener: TcpListener,
    kind: Kind,
    is_proxied: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Tls(Tls),
    ToHttps(Option<u16>),
}

#[derive(Clone, Copy)]
struct Tls {
    /// How many TLS doors there are before it.
    number: usize,
    inside: Inside,
}

/// What is spoken inside TLS.
#[derive(Clone, Copy)]
enum Inside {
    Http,
    Uwsgi,
}

impl Door {
    /// On this socket; `number` is how many TLS doors there are before it.
    ///
    /// # Errors
    /// When it is no TCP socket.
    pub(crate) fn new(socket: OwnedFd, door: &GatewayDoor, number: usize) -> Result<Self, String> {
        match empery_sys::listen::address(socket.as_fd()) {
            Ok(ListenAddress::Tcp(_)) => {}
            Ok(_) => return Err("`https`, `http-to-https` and `suwsgi-socket` need a TCP address".to_owned()),
            Err(error) => return Err(format!("a listening socket did not come: {error}")),
        }
        let listener = std::net::TcpListener::from(socket);
        let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
        let kind = match door.kind {
            DoorKind::Tls(_) => Kind::Tls(Tls { number, inside: Inside::Http }),
            DoorKind::TlsUwsgi(_) => Kind::Tls(Tls { number, inside: Inside::Uwsgi }),
            DoorKind::ToHttps(port) => Kind::ToHttps(port),
        };
        let listener = listener.map_err(|error| format!("a listening socket cannot be used: {error}"))?;
        Ok(Self { listener, kind, is_proxied: door.proxy_protocol })
    }

    /// Accepts until closing time.
    pub(crate) async fn serve(self, house: Arc<House>) {
        let mut closing = house.floor.closing();
        let mut is_starved = false;
        loop {
            let accepted = tokio::select! {
                biased;
                // The sender is the floor, which the house holds.
                _ = closing.wait_for(|closing| *closing) => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    is_starved = false;
                    let (house, guest) = (Arc::clone(&house), house.floor.enter());
                    match self.kind {
                        Kind::Tls(door) => tokio::spawn(async move {
                            house.tls(stream, peer, door, self.is_proxied).await;
                            drop(guest);
                        }),
                        Kind::ToHttps(port) => tokio::spawn(async move {
                            house.to_https(stream, peer, port, self.is_proxied).await;
                            drop(guest);
                        }),
                    };
                }
                Err(error) if is_about_this_client(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut is_starved, true) {
                        crate::log::say(&format!(
                            "*** the gateway cannot accept: {error}; trying again until it works ***"
                        ));
                    }
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }
}

/// accept(2): the client is gone again.
fn is_about_this_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}

impl House {
    async fn tls(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, door: Tls, is_proxied: bool) {
        // An answer in several writes would wait for the client's acknowledgements; without it it is only slower.
        let _ = stream.set_nodelay(true);
        let begun = async {
            let (stream, peer) = match is_proxied {
                true => Begun::new(stream).proxied(peer, &self.trusted).await.map_err(Some)?,
                false => (Begun::new(stream), peer),
            };
            let (stream, certificate) = self.shake(stream, door.number).await.ok_or(None)?;
            Ok::<_, Option<String>>((stream, certificate, peer))
        };
        let (stream, certificate, peer) = match tokio::time::timeout(HANDSHAKE_WITHIN, begun).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(Some(why))) => return crate::log::say(&format!("invalid connection from {peer}: {why}")),
            Ok(Err(None)) | Err(_) => return,
        };
        if let Inside::Uwsgi = door.inside {
            return relay::serve(stream, self.manners, &self.floor, &self.uwsgi_workers).await;
        }
        let (_, session) = stream.get_ref();
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let client_certificate = session.peer_certificates().and_then(<[_]>::first);
        let client = Client::new(peer, client_certificate, self.export_certificate);
        let door_certificate = self.certificates.of_door(door.number).map_or(certificate, |own| own.mark());
        let strict = self.certificates.any_asks_clients().then(|| Arc::clone(&self.certificates));
        let workers = Arc::clone(&self.workers);
        let exchange = |activity| {
            let waits = self.manners.waits;
            Requests(Arc::new(Exchange { workers, client, activity, waits, strict, certificate, door_certificate }))
        };
        match is_http2 {
            true => serve_http2(stream, self.manners, &self.floor, exchange).await,
            false => serve_http1(stream, peer, self.manners, &self.floor, exchange).await,
        }
    }

    async fn to_https(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, port: Option<u16>, is_proxied: bool) {
        let mut stream = Begun::new(stream);
        if is_proxied {
            match tokio::time::timeout(HANDSHAKE_WITHIN, stream.past_any_header()).await {
                Ok(Ok(begun)) => stream = begun,
                Ok(Err(_)) | Err(_) => return,
            }
        }
        serve_http1(stream, peer, self.manners, &self.floor, |activity| ToHttps { port, activity }).await;
    }

    /// The handshake, with the certificate of the name that the client asks for, or the door's. None when it fails: the
    /// client is told why in an alert.
    async fn shake(&self, stream: Begun, door: usize) -> Option<(TlsStream<Begun>, Mark)> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
        let hello = start.client_hello();
        let named = hello.server_name().and_then(|name| self.certificates.of_name(name));
        let certificate = named.or_else(|| self.certificates.of_door(door).cloned())?;
        Some((start.into_stream(certificate.config()).await.ok()?, certificate.mark()))
    }
}

/// The requests of a connection.
struct Requests(Arc<Exchange>);

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pending;

    fn call(&self, request: Request<Incoming>) -> Pending {
        Box::pin(Arc::clone(&self.0).answer(request))
    }
}
