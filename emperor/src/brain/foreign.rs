//! Descriptors that masters hand over. A vassal is a stranger: to close what it gives may take for ever (a socket that lingers,
//! socket(7); a file of a file system that the vassal itself serves). So only what was looked at, and can be closed at once,
//! comes to the owning task; everything else is closed where that holds up nobody but the vassal's own link.

use std::os::fd::{AsFd, OwnedFd};

use empery_control::link::FromMaster;
use empery_sys::{listen, memfd, pipe};

/// Whether a word came with what belongs to it and nothing else. Asks nothing that a file system would answer.
pub(super) fn are_proper(word: &FromMaster, fds: &[OwnedFd]) -> bool {
    let is_memory = |fd: &OwnedFd| memfd::fixed_length(fd.as_fd()).is_some();
    match word {
        FromMaster::Snapshot(snapshot) => {
            let listens = |fd: &OwnedFd| listen::address(fd.as_fd()).is_ok();
            let (sockets, others) = fds.split_at(snapshot.listeners.len().min(fds.len()));
            let (boards, log) = others.split_at(snapshot.generations.len().min(others.len()));
            let is_log = match (snapshot.log, log) {
                (false, []) => true,
                (true, [read, write]) => pipe::are_ends(read.as_fd(), write.as_fd()),
                _ => false,
            };
            is_log
                && (sockets.len(), boards.len()) == (snapshot.listeners.len(), snapshot.generations.len())
                && sockets.iter().all(listens)
                && boards.iter().all(is_memory)
        }
        FromMaster::Scoreboard { .. } => fds.len() == 1 && fds.iter().all(is_memory),
        FromMaster::Regions { names } => fds.len() == names.len() && fds.iter().all(is_memory),
        FromMaster::WrongVersion { .. }
        | FromMaster::Report { .. }
        | FromMaster::Interpreter { .. }
        | FromMaster::Retired { .. }
        | FromMaster::ListenersReleased { .. }
        | FromMaster::TlsFilesAsked { .. }
        | FromMaster::Notice { .. }
        | FromMaster::Pong
        | FromMaster::Stacks { .. }
        | FromMaster::Workers { .. } => fds.is_empty(),
    }
}

/// Drops it where that may take long.
pub(super) async fn close<T: Send + 'static>(it: T) {
    // It has been dropped, or the runtime is ending.
    let _ = tokio::task::spawn_blocking(move || drop(it)).await;
}

/// Something that is closed where that may take long, whenever it is dropped.
#[derive(Debug)]
pub(super) struct ClosedElsewhere<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> ClosedElsewhere<T> {
    pub(super) fn new(it: T) -> Self {
        Self(Some(it))
    }

    pub(super) fn get(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T: Send + 'static> ClosedElsewhere<T> {
    /// Returns when it is closed.
    pub(super) async fn closed(mut self) {
        if let Some(it) = self.0.take() {
            close(it).await;
        }
    }
}

impl<T: Send + 'static> Drop for ClosedElsewhere<T> {
    fn drop(&mut self) {
        if let (Some(it), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(it));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
        time::{Duration, Instant},
    };

    use empery_control::{link::MasterSnapshot, scoreboard::Totals};
    use empery_lifecycle::{
        fleet::{Berth, Identity, MasterKey},
        ids::{GenerationId, MasterSerial, VassalName},
    };
    use empery_sys::scoreboard::Scoreboard;
    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;

    fn board() -> OwnedFd {
        Scoreboard::create(GenerationId(1), 1, 1, 0).unwrap().1
    }

    fn door() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    fn snapshot(listeners: &[&str], generations: &[u64], log: bool) -> FromMaster {
        FromMaster::Snapshot(Box::new(MasterSnapshot {
            master: MasterKey { vassal: VassalName::new("a.ini").unwrap(), berth: Berth::A, serial: MasterSerial(1) },
            pid: 1,
            identity: Identity { uid: 0, gid: 0 },
            version: String::new(),
            serving: None,
            serves_since_unix_ms: None,
            booting: None,
            listeners: listeners.iter().map(ToString::to_string).collect(),
            generations: generations.iter().copied().map(GenerationId).collect(),
            log,
            python: None,
            retired: Totals::default(),
            workers: Vec::new(),
            last_failure: None,
            serving_sha256: None,
            answers_pings: true,
            tells_stacks: true,
            freezes: true,
            frozen: false,
            outdated: false,
        }))
    }

    #[test]
    fn a_word_comes_with_what_belongs_to_it_and_nothing_else() {
        let pipe = || pipe::cloexec_pipe().unwrap().0;
        let without_log = snapshot(&["a", "b"], &[1], false);
        assert!(are_proper(&without_log, &[door(), door(), board()]));
        assert!(!are_proper(&without_log, &[door(), door()]));
        assert!(!are_proper(&without_log, &[door(), board(), door()]));
        assert!(!are_proper(&without_log, &[]));
        let with_log = snapshot(&["a"], &[], true);
        let (read, write) = pipe::cloexec_pipe().unwrap();
        assert!(are_proper(&with_log, &[door(), read, write]));
        assert!(!are_proper(&with_log, &[door(), pipe(), door()]));
        assert!(!are_proper(&with_log, &[door()]));
        let scoreboard = FromMaster::Scoreboard { generation: GenerationId(1) };
        assert!(are_proper(&scoreboard, &[board()]) && !are_proper(&scoreboard, &[pipe()]));
        let regions = FromMaster::Regions { names: vec!["r".to_owned()] };
        assert!(are_proper(&regions, &[board()]) && !are_proper(&regions, &[board(), pipe()]));
        assert!(are_proper(&FromMaster::Pong, &[]) && !are_proper(&FromMaster::Pong, &[pipe()]));
    }

    /// The last descriptor of a connection with unsent bytes whose close(2) takes 10 s, unless the client is dropped.
    pub(in crate::brain) fn lingering() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // Its end is a reset.
        setsockopt(&client, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 65_536]).is_ok() {}
        setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 10 }).unwrap();
        (socket.into(), client)
    }

    #[tokio::test]
    async fn what_takes_long_to_close_is_closed_elsewhere() {
        let (socket, client) = lingering();
        let began = Instant::now();
        drop(ClosedElsewhere::new(socket));
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(client);
    }

    #[test]
    fn a_socket_that_was_kept_is_closed_at_once() {
        let (socket, _client) = lingering();
        let began = Instant::now();
        listen::close(socket);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
