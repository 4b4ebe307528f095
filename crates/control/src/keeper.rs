//! Between the brain and the keeper, over a `SOCK_SEQPACKET` socketpair that the brain inherits. A closed set:
//! this is the privilege boundary. The keeper checks every word against its own facts and trusts none.

use std::path::PathBuf;

use empery_lifecycle::{
    fleet::{Identity, MasterKey},
    ids::{GenerationId, OperationId, RevisionId, VassalName},
};
use serde::{Deserialize, Serialize};

use crate::boot::{AwaitedListener, Common};

/// The environment variable that tells the brain the number of its end of the socketpair.
pub const KEEPER_FD: &str = "EMPERY_KEEPER_FD";

/// Most regions of shared memory that are kept for one vassal: a message carries no more descriptors (SCM_MAX_FD, unix(7)).
pub const REGIONS_MAX: usize = 64;

/// Most bytes that all of them may have together: what a vassal leaves is not in anybody's sight.
pub const REGIONS_MAX_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// Longest name of one, in bytes: all of them fit into a message.
pub const REGION_NAME_MAX_BYTES: usize = 512;

/// Number of a request, chosen by the brain; the reply carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// Brain to keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// See [`RequestId`].
    pub id: RequestId,
    /// What is asked.
    pub ask: Ask,
}

/// What the brain may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// The entries of the vassals directory that count as vassal files. Answered by one or more [`Answer::Listing`].
    List,
    /// Open a vassal file for reading. Answered by [`Answer::Opened`] with one descriptor.
    Open {
        /// A name of the vassals directory.
        name: VassalName,
    },
    /// Open the file beside a vassal file that says where its on-demand socket is (`emperor-on-demand-extension`). Answered by
    /// [`Answer::Opened`] with one descriptor.
    OpenOnDemand {
        /// A name of the vassals directory.
        name: VassalName,
    },
    /// Bind a listening socket for this vassal and keep it. Answered by [`Answer::Bound`] with one descriptor (a
    /// duplicate). Asking again for a kept key answers with the kept one.
    Bind {
        /// Whose.
        vassal: VassalName,
        /// Who its processes are: a unix path is bound with this identity.
        identity: Identity,
        /// What.
        listener: ListenSpec,
    },
    /// Keep this listening socket (one descriptor), re-learned from a master after the keeper was replaced.
    Keep {
        /// Whose.
        vassal: VassalName,
        /// Its canonical address.
        key: String,
    },
    /// Keep the memory that this master's workers share, one descriptor for each name, instead of what was kept of the vassal
    /// before: the vassal's next master of the same identity gets it.
    KeepRegions {
        /// Whose.
        master: MasterKey,
        /// What each is for, in the master's own words; see [`REGIONS_MAX`].
        names: Vec<String>,
    },
    /// Keep the log pipe of this master (two descriptors: the read end, the write end) if there is none of the vassal,
    /// re-learned from a master after the keeper was replaced: the vassal's next master of the same identity gets it.
    KeepLog {
        /// Whose.
        master: MasterKey,
    },
    /// Watch these kept listening sockets, and say [`FromKeeper::Knocked`] once when a client waits in the queue of one. A
    /// start of a master, `Forget` and another `Watch` of the vassal end it.
    Watch {
        /// Whose.
        vassal: VassalName,
        /// Which.
        keys: Vec<String>,
    },
    /// Close kept listening sockets. An empty list is all of this vassal's, its log pipe too.
    Forget {
        /// Whose.
        vassal: VassalName,
        /// Which.
        keys: Vec<String>,
    },
    /// Close whatever is kept of vassals that have neither a file in the directory nor a living master.
    ForgetAbsent,
    /// Fork and exec a master with every kept listener of the vassal named in `listeners`. One descriptor: the
    /// content of the vassal file. Answered by [`Answer::Started`].
    StartMaster(Box<StartMaster>),
    /// Open certificates and keys of a vassal that only root may read. Answered by [`Answer::TlsOpened`], with one
    /// descriptor for each that was opened.
    OpenTls {
        /// Whose.
        vassal: VassalName,
        /// Which.
        paths: Vec<PathBuf>,
    },
    /// Kill a master that this keeper knows.
    Kill {
        /// Which.
        master: MasterKey,
        /// Whether it was told to leave and has had its time: its workers, who may not have heard of that, are killed too if they
        /// do not end by themselves.
        #[serde(default)]
        was_to_leave: bool,
    },
    /// Which masters are alive, by their locks. Answered by [`Answer::Masters`].
    Masters,
    /// Execute the emperor's binary anew, in place (as SIGUSR2 does), and hand this note to the next brain: an upgrade goes on
    /// there. The next brain comes instead of an answer.
    Restart {
        /// For the next brains, until one says [`Ask::Upgraded`].
        note: String,
    },
    /// The upgrade is over: the note is forgotten.
    Upgraded,
    /// The task that looks after the fleet says every ten seconds that it does. The first comes when the brain has tried both its
    /// doors, the control socket and the dashboard's: they are open by then, or it has said why one is not.
    /// Answered with [`Answer::Done`].
    Pulse,
    /// The fleet is stopped (or never was): leave with this code.
    Leave {
        /// Exit code.
        code: u8,
    },
}

/// How to start a master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartMaster {
    /// Who it is to be.
    pub master: MasterKey,
    /// Who its processes are.
    pub identity: Identity,
    /// User name for initgroups(3), when the config names a user; without it supplementary groups are cleared.
    pub user: Option<String>,
    /// Its supplementary groups, when the config names some (`add-gid`): these instead of the user's own.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Of the content.
    pub revision: RevisionId,
    /// Asked for by.
    pub operation: OperationId,
    /// The first generation's number.
    pub first_generation: GenerationId,
    /// Keys of the kept listeners it gets.
    pub listeners: Vec<String>,
    /// Those that it gets from what an earlier master left.
    #[serde(default)]
    pub awaited_listeners: Vec<AwaitedListener>,
    /// Certificates and keys that its gateway wants; it gets those that are opened for it.
    #[serde(default)]
    pub tls_files: Vec<PathBuf>,
    /// Whether it is to accept nothing.
    #[serde(default)]
    pub frozen: bool,
    /// See [`crate::boot::MasterBoot::on_demand`].
    #[serde(default)]
    pub on_demand: Option<String>,
    /// What the emperor says for all its vassals.
    #[serde(default)]
    pub common: Common,
}

/// A listening socket to be bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenSpec {
    /// The canonical address: the key under which it is kept.
    pub key: String,
    /// Where.
    pub address: ListenAddress,
    /// `listen`: the length of the queue.
    pub backlog: u32,
    /// `chmod-socket`: permission bits of a unix socket, as `0o666`; None leaves it to the umask.
    pub mode: Option<u32>,
    /// `chown-socket`: user and group of a unix socket, resolved; None leaves it with the identity.
    pub owner: Option<(Option<u32>, Option<u32>)>,
    /// `reuse-port`.
    pub reuse_port: bool,
    /// `freebind`.
    #[serde(default)]
    pub freebind: bool,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenAddress {
    /// A TCP address. Port 0 lets the kernel choose.
    Tcp(std::net::SocketAddr),
    /// A path; a stale socket there is removed only when nobody answers on it.
    Unix(PathBuf),
    /// A name in the abstract namespace, without the leading NUL; the empty one lets the kernel choose (unix(7), autobind).
    Abstract(String),
}

/// What a directory entry looks like: everything that tells one content from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Its name.
    pub name: VassalName,
    /// st_dev.
    pub device: u64,
    /// st_ino.
    pub inode: u64,
    /// In bytes.
    pub size: u64,
    /// st_mtime, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// st_ctime, in nanoseconds since 1970: a rewrite within one mtime tick or with mtime put back changes it.
    pub ctime_ns: i64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits and type, st_mode.
    pub mode: u32,
    /// What the file beside it looks like that says where its on-demand socket is: inode, size and st_ctime in nanoseconds.
    #[serde(default)]
    pub on_demand: Option<(u64, u64, i64)>,
}

/// Keeper to brain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromKeeper {
    /// The answer to a request.
    Answer {
        /// Of the request.
        id: RequestId,
        /// What.
        answer: Answer,
    },
    /// A master's process is gone.
    MasterExited {
        /// Which.
        master: MasterKey,
        /// How, in words ("exit code 22", "signal 9 (SIGKILL)", "unknown (it outlived an earlier keeper)").
        how: String,
    },
    /// A client waits in the queue of a watched socket.
    Knocked {
        /// Whose.
        vassal: VassalName,
    },
    /// SIGTERM, SIGINT or SIGQUIT came: stop the fleet, then say [`Ask::Leave`]. Said again for a second signal.
    ShutDown,
    /// SIGHUP came: reload every vassal.
    ReloadAll,
    /// SIGUSR1 came: write a line about every vassal into the log.
    SayStatus,
}

/// What the keeper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// A part of the directory, in the order of names.
    Listing {
        /// The entries.
        files: Vec<FileFacts>,
        /// Whether more parts follow.
        more: bool,
    },
    /// The file, as a descriptor, with its facts by fstat(2).
    Opened {
        /// By fstat.
        facts: FileFacts,
    },
    /// The socket is kept under this key, one descriptor; `bound` is where, with the port the kernel chose.
    Bound {
        /// As asked, with the port filled in.
        bound: ListenAddress,
    },
    /// These files were opened, one descriptor each. The others are to be opened by whoever wants them.
    TlsOpened {
        /// In the order of the descriptors.
        paths: Vec<PathBuf>,
    },
    /// The master runs.
    Started {
        /// Its pid.
        pid: i32,
    },
    /// These masters hold their locks.
    Masters {
        /// A part of them.
        masters: Vec<LivingMaster>,
        /// Whether more parts follow.
        more: bool,
    },
    /// Done, nothing more to say.
    Done,
    /// Not done.
    Failed {
        /// A stable word: `not-found`, `permission`, `address-in-use`, `left-in-use` (perhaps by workers of a master of this
        /// vassal that is gone), `directory-lost`, `policy`, `spawn`, `io`.
        code: String,
        /// One sentence that names the subject.
        sentence: String,
    },
}

/// A master that holds its lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivingMaster {
    /// Which.
    pub master: MasterKey,
    /// Its pid.
    pub pid: i32,
    /// Who it is.
    pub identity: Identity,
}

/// The text of a lock file: who holds it. Believed only while the lock is held and the start time fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockText {
    /// Which master.
    pub master: MasterKey,
    /// Its pid.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat, in clock ticks since boot (proc(5)).
    pub start_time_ticks: u64,
    /// Who it is.
    pub identity: Identity,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{decode, encode};

    #[test]
    fn every_answer_is_read_back_as_it_was_said() {
        let answers = [
            Answer::Listing { files: Vec::new(), more: true },
            Answer::Bound { bound: ListenAddress::Unix("/run/x".into()) },
            Answer::Started { pid: 7 },
            Answer::Masters { masters: Vec::new(), more: false },
            Answer::Done,
            Answer::Failed { code: "io".to_owned(), sentence: "No.".to_owned() },
        ];
        for answer in answers {
            let word = FromKeeper::Answer { id: RequestId(3), answer };
            assert_eq!(decode::<FromKeeper>(&encode(&word).unwrap()).unwrap(), word);
        }
    }
}
