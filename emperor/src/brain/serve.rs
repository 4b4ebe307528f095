//! Opens the two doors of the web: TCP for browsers and pipelines, the control socket for the command line. A door that
//! cannot be opened is an alarm and tried again; the fleet is looked after either way.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use empery_web_ui::{Realm, serve};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::oneshot,
};

use super::inputs::{Inbox, Input};

/// How long after a failure a door is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Tells when a door has been opened, or could not be at first: dropped then.
pub(crate) type Tried = oneshot::Sender<()>;

/// Serves the dashboard and the API on TCP, for ever.
pub(crate) async fn tcp(address: SocketAddr, realm: Realm, inbox: Inbox, tried: Tried) {
    let mut told = false;
    let mut tried = Some(tried);
    loop {
        let served = async {
            let listener = TcpListener::bind(address).await?;
            tracing::info!(%address, "the dashboard is served on http://{address}");
            drop(tried.take());
            serve::tcp(listener, realm.clone()).await;
            io::Result::Ok(())
        };
        let Err(error) = served.await else { return };
        drop(tried.take());
        if !std::mem::replace(&mut told, true) {
            tracing::error!(%address, %error, "the dashboard cannot be served; trying again every {} s", RETRY.as_secs());
            inbox.tell(Input::Alarm(format!(
                "the dashboard and the API could not be served on {address} at first: {error}"
            )));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Serves the command line on the control socket, for ever.
pub(crate) async fn control(path: PathBuf, realm: Realm, allowed_uids: Vec<u32>, inbox: Inbox, tried: Tried) {
    let mut told = false;
    let mut tried = Some(tried);
    loop {
        let served = async {
            let listener = bind(&path)?;
            drop(tried.take());
            serve::control(listener, realm.clone(), allowed_uids.clone()).await;
            io::Result::Ok(())
        };
        let Err(error) = served.await else { return };
        drop(tried.take());
        if !std::mem::replace(&mut told, true) {
            tracing::error!(path = %path.display(), %error, "the command line cannot be served; trying again every {} s", RETRY.as_secs());
            inbox.tell(Input::Alarm(format!(
                "the control socket {} could not be served at first: {error}",
                path.display()
            )));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A socket left by an earlier brain is replaced: the keeper's lock says that there is no other emperor here.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    // Everybody may connect; who may do what is decided by the peer's credentials, with an answer that says so.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}
