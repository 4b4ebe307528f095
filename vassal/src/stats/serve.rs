//! Serves the statistics: the JSON is written when somebody connects, and the connection is closed. A client that
//! does not read costs one task and one buffer for a second, and there are never many.

use std::{
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use empery_config::{address::Address, vassal::VassalConfig};
use empery_control::keeper::{ListenAddress, ListenSpec};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, oneshot},
    task::AbortHandle,
};

use crate::{
    link::accept::RETRY_AFTER,
    succession::StatsLeft,
    supervise::input::{Inbox, Input},
};

/// How long one client may take.
const CLIENT_DEADLINE: Duration = Duration::from_secs(1);

/// How many clients are served at once; more wait in the socket's queue.
const CLIENTS_MAX: usize = 16;

/// Length of the socket's queue.
const BACKLOG: u32 = 100;

/// What goes before the JSON with `stats-http`, as uWSGI writes it.
const HTTP_HEAD: &str =
    "HTTP/1.0 200 OK\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n\r\n";

/// A bound stats socket that nobody serves yet: it is bound while this process may still have privileges.
pub(crate) struct StatsSocket {
    address: Address,
    http: bool,
    socket: OwnedFd,
    path: Option<(PathBuf, u64, u64)>,
}

impl StatsLeft {
    /// The socket again, in the new image.
    ///
    /// # Errors
    /// When the descriptor did not survive.
    pub(crate) fn take(self) -> std::io::Result<StatsSocket> {
        let socket = empery_sys::inherited::take(self.fd)?;
        Ok(StatsSocket { address: self.address, http: self.http, socket, path: self.path })
    }
}

/// Serves until dropped.
pub(crate) struct StatsServer {
    address: Address,
    http: Arc<AtomicBool>,
    path: Option<(PathBuf, u64, u64)>,
    /// A second descriptor of the socket, for a successor.
    socket: OwnedFd,
    task: AbortHandle,
}

/// Binds what the configuration asks for; a path is this user's and group's, or those of this process.
///
/// # Errors
/// One sentence that names the address.
pub(crate) fn bind(config: &VassalConfig, owner: Option<(u32, u32)>) -> Result<Option<StatsSocket>, String> {
    let Some(address) = &config.stats else { return Ok(None) };
    let spec = ListenSpec {
        key: address.to_string(),
        address: crate::listeners::where_to(address),
        backlog: BACKLOG,
        // uWSGI applies `chmod-socket` here too; what it shows of requests is for whoever may connect to the app.
        mode: config.listeners.iter().find_map(|listener| listener.mode),
        owner: owner.map(|(uid, gid)| (Some(uid), Some(gid))),
        reuse_port: false,
        freebind: false,
    };
    let (socket, bound) = empery_sys::listen::bind(&spec).map_err(|error| format!("stats: {error}"))?;
    let path = match bound {
        ListenAddress::Unix(path) => {
            std::fs::symlink_metadata(&path).ok().map(|facts| (path, facts.dev(), facts.ino()))
        }
        ListenAddress::Tcp(_) | ListenAddress::Abstract(_) => None,
    };
    Ok(Some(StatsSocket { address: address.clone(), http: config.stats_http, socket, path }))
}

impl StatsSocket {
    /// Serves from now on.
    ///
    /// # Errors
    /// When the socket cannot be polled.
    pub(crate) fn serve(self, inbox: Inbox) -> std::io::Result<StatsServer> {
        let spare = self.socket.try_clone()?;
        let http = Arc::new(AtomicBool::new(self.http));
        let shared = Arc::clone(&http);
        let task = match &self.address {
            Address::Tcp(_) => {
                let listener = TcpListener::from_std(std::net::TcpListener::from(self.socket))?;
                tokio::spawn(serve_all(async move || Ok(listener.accept().await?.0), shared, inbox))
            }
            Address::Unix(_) | Address::Abstract(_) | Address::Private(_) => {
                let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(self.socket))?;
                tokio::spawn(serve_all(async move || Ok(listener.accept().await?.0), shared, inbox))
            }
        };
        Ok(StatsServer { address: self.address, http, path: self.path, socket: spare, task: task.abort_handle() })
    }
}

impl StatsServer {
    /// Goes on in the way a configuration asks for, if it asks for the same address. False when it does not.
    pub(crate) fn follow(&self, config: &VassalConfig) -> bool {
        self.http.store(config.stats_http, Ordering::Relaxed);
        config.stats.as_ref() == Some(&self.address)
    }

    /// What a new image of this master is left with.
    pub(crate) fn leave<'a>(&'a self, left: &mut Vec<BorrowedFd<'a>>) -> StatsLeft {
        left.push(self.socket.as_fd());
        StatsLeft {
            address: self.address.clone(),
            http: self.http.load(Ordering::Relaxed),
            fd: self.socket.as_raw_fd(),
            path: self.path.clone(),
        }
    }

    /// `vacuum`: removes the path of a unix socket, unless somebody else has taken it.
    pub(crate) fn vacuum(self) {
        if let Some((path, device, inode)) = &self.path {
            let ours =
                std::fs::symlink_metadata(path).is_ok_and(|facts| (facts.dev(), facts.ino()) == (*device, *inode));
            if ours && std::fs::remove_file(path).is_ok() {
                crate::log::say(&format!("VACUUM: stats socket {} removed.", path.display()));
            }
        }
    }
}

impl Drop for StatsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers whoever connects, a bounded number at once.
async fn serve_all<Stream>(accept: impl AsyncFn() -> std::io::Result<Stream>, http: Arc<AtomicBool>, inbox: Inbox)
where
    Stream: AsyncReadExt + AsyncWriteExt + Unpin + Send + 'static,
{
    let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
    while let Ok(permit) = Arc::clone(&clients).acquire_owned().await {
        match accept().await {
            Ok(stream) => {
                tokio::spawn(answer(stream, http.load(Ordering::Relaxed), inbox.clone(), permit));
            }
            Err(_) => tokio::time::sleep(RETRY_AFTER).await,
        }
    }
}

async fn answer<Stream>(mut stream: Stream, http: bool, inbox: Inbox, _permit: tokio::sync::OwnedSemaphorePermit)
where
    Stream: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let exchange = async {
        if http {
            // The request is not looked at, as in uWSGI: every path is the statistics, and a part of it will do.
            let mut request = [0; 4096];
            let _length = stream.read(&mut request).await?;
        }
        let (asked, answered) = oneshot::channel();
        inbox.put(Input::StatsAsked(asked));
        if let Ok(text) = answered.await {
            if http {
                stream.write_all(HTTP_HEAD.as_bytes()).await?;
            }
            stream.write_all(text.as_bytes()).await?;
        }
        stream.shutdown().await
    };
    // A client that is gone or does not read has no claim on anything.
    let _ = tokio::time::timeout(CLIENT_DEADLINE, exchange).await;
}
