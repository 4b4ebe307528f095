//! A changed `vassal` binary takes over in place: the same pid, the same sockets, the same workers. This process
//! writes down what it holds, lets the descriptors survive, and becomes the new binary, which finds the rest as its
//! successor would under an emperor: workers that serve until it has a generation of its own.
//!
//! Signals stay blocked from before the exec until the new image listens for them: none is lost, none kills.

use std::{
    ffi::{CString, OsString},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::{ffi::OsStringExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

use empery_config::facts::Inherited;
use empery_control::{
    boot::MasterBoot, gateway::GatewayPlan, keeper::ListenAddress, link::WorkerPhase, scoreboard::Totals,
    worker::Signals,
};
use empery_lifecycle::ids::{GenerationId, WorkerRef};
use empery_sys::{limits, memfd};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use serde::{Deserialize, Serialize};

use crate::{
    descriptor,
    given_text::Texts,
    regions::RegionLeft,
    supervise::{beside::BesideLeft, harakiri::limits::Limits, posts_side::PostLeft},
};

/// The environment variable with the number of the descriptor that holds the [`Testament`].
pub(crate) const TESTAMENT_FD: &str = "EMPERY_TESTAMENT_FD";

/// What one image of a master leaves to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Testament {
    /// Alone or under an emperor.
    pub(crate) station: StationLeft,
    /// The next generation's number.
    pub(crate) first_generation: GenerationId,
    /// The listening sockets.
    pub(crate) listeners: Vec<ListenerLeft>,
    /// Certificates and keys that were opened with more rights.
    #[serde(default)]
    pub(crate) tls_files: Vec<(PathBuf, RawFd)>,
    /// The gateways that serve.
    #[serde(default)]
    pub(crate) gateways: Vec<GatewayLeft>,
    /// The workers that serve or drain.
    pub(crate) workers: Vec<WorkerLeft>,
    /// The scoreboards these write.
    pub(crate) scoreboards: Vec<(GenerationId, RawFd)>,
    /// What workers share.
    #[serde(default)]
    pub(crate) regions: Vec<RegionLeft>,
    /// How long requests of these may take.
    #[serde(default)]
    pub(crate) limits: Vec<(GenerationId, Limits)>,
    /// Counters of generations that are gone.
    pub(crate) retired: Totals,
    /// The stats socket.
    pub(crate) stats: Option<StatsLeft>,
    /// What workers get as stdout and stderr.
    pub(crate) log: RawFd,
    /// Pidfiles that were written.
    pub(crate) pidfiles: Vec<PathBuf>,
    /// How many deploys there were.
    pub(crate) deploys: u64,
    /// Whether nothing is accepted.
    #[serde(default)]
    pub(crate) frozen: bool,
    /// What runs beside the workers.
    #[serde(default)]
    pub(crate) beside: BesideLeft,
    /// Mules.
    #[serde(default)]
    pub(crate) posts: Vec<PostLeft>,
    /// Descriptors that reload.
    #[serde(default)]
    pub(crate) reload_descriptors: Vec<RawFd>,
}

/// See [`crate::station::Station`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum StationLeft {
    /// Alone.
    Alone {
        /// The command line.
        arguments: Vec<String>,
        /// Sockets that it was started with.
        #[serde(default)]
        inherited: Vec<Inherited>,
        /// Configurations that came through descriptors.
        #[serde(default)]
        texts: Texts,
        /// The last revision.
        revision: u64,
        /// The read end of the log pipe.
        #[serde(default)]
        log_read: Option<RawFd>,
    },
    /// Under an emperor.
    Governed {
        /// What it was started with, with the numbers of its descriptors as they are now.
        boot: Box<MasterBoot>,
        /// The revision ordered last.
        revision: u64,
        /// Its content.
        content: Vec<u8>,
        /// The emperor's operation that the new image carries out.
        #[serde(default)]
        operation: Option<u64>,
    },
}

/// A listening socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListenerLeft {
    /// Its canonical address.
    pub(crate) key: String,
    /// The descriptor.
    pub(crate) fd: RawFd,
    /// See [`crate::listeners::Held::bound`].
    pub(crate) bound: Option<ListenAddress>,
    /// See [`crate::listeners::Held::path`].
    pub(crate) path: Option<(PathBuf, u64, u64)>,
}

/// The stats socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StatsLeft {
    /// Where.
    pub(crate) address: empery_config::address::Address,
    /// Whether a head goes before the JSON.
    pub(crate) http: bool,
    /// The descriptor.
    pub(crate) fd: RawFd,
    /// Device and inode of its path.
    pub(crate) path: Option<(PathBuf, u64, u64)>,
}

/// A worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkerLeft {
    /// Who it is.
    pub(crate) worker: WorkerRef,
    /// Its pid; it stays this process's child, if it is one.
    pub(crate) pid: i32,
    /// Its channel.
    pub(crate) fd: RawFd,
    /// What it does.
    pub(crate) phase: WorkerPhase,
    /// When it was forked, unix s.
    pub(crate) since_unix_s: u64,
    /// The addresses it listens on.
    pub(crate) listeners: Vec<String>,
    /// How it is reached while all its threads are inside the app.
    #[serde(default)]
    pub(crate) signals: Signals,
    /// What its faulthandler writes to.
    #[serde(default)]
    pub(crate) crash: Option<RawFd>,
    /// What stands for it, when it is no child: its master died before.
    #[serde(default)]
    pub(crate) pidfd: Option<RawFd>,
}

/// A gateway.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GatewayLeft {
    /// Its pid; it stays this process's child.
    pub(crate) pid: i32,
    /// Its channel.
    pub(crate) fd: RawFd,
    /// What it does.
    pub(crate) plan: GatewayPlan,
}

/// Which file a binary is: what changes when it is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Image {
    /// The binary this process runs, even when it has been replaced or removed since.
    pub(crate) fn running() -> Option<Self> {
        Self::of(Path::new("/proc/self/exe"))
    }

    /// The file at this path.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let facts = std::fs::metadata(path).ok()?;
        Some(Self { device: facts.dev(), inode: facts.ino(), modified: (facts.mtime(), facts.mtime_nsec()) })
    }
}

/// Becomes `binary` with this testament. Returns only when that failed, and then everything is as before.
pub(crate) fn succeed(binary: &Path, testament: &Testament, left: &[BorrowedFd<'_>]) -> std::io::Error {
    match try_succeed(binary, testament, left) {
        Ok(never) => match never {},
        Err(error) => {
            for descriptor in left {
                // What could be marked a moment ago can be marked again.
                let _ = descriptor::close_on_exec(descriptor);
            }
            // As it was taken before.
            let _ = limits::take_descriptors();
            let _ = hold_signals(SigmaskHow::SIG_UNBLOCK);
            error
        }
    }
}

fn try_succeed(
    binary: &Path,
    testament: &Testament,
    left: &[BorrowedFd<'_>],
) -> std::io::Result<std::convert::Infallible> {
    let text = memfd::sealed("empery-testament", &serde_json::to_vec(testament)?)?;
    hold_signals(SigmaskHow::SIG_BLOCK)?;
    for descriptor in left.iter().copied().chain([text.as_fd()]) {
        descriptor::keep_over_exec(descriptor)?;
    }
    let arguments = std::env::args_os().map(c_string).collect::<Result<Vec<_>, _>>()?;
    let environment = environment(&text).map(c_string).collect::<Result<Vec<_>, _>>()?;
    let program = c_string(binary.as_os_str().to_owned())?;
    limits::give_descriptors_back()?;
    Ok(nix::unistd::execve(&program, &arguments, &environment)?)
}

fn environment(text: &OwnedFd) -> impl Iterator<Item = OsString> {
    let ours = OsString::from(format!("{TESTAMENT_FD}={}", text.as_raw_fd()));
    std::env::vars_os()
        .filter(|(name, _)| name != TESTAMENT_FD)
        .map(|(mut pair, value)| {
            pair.push("=");
            pair.push(value);
            pair
        })
        .chain([ours])
}

fn c_string(text: OsString) -> Result<CString, std::ffi::NulError> {
    CString::new(text.into_vec())
}

/// The signals that mean something to a master.
pub(crate) fn hold_signals(how: SigmaskHow) -> nix::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGTSTP,
        Signal::SIGCHLD,
    ] {
        signals.add(signal);
    }
    sigprocmask(how, Some(&signals), None)
}
