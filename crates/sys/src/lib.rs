//! Unsafe fence 1: what the kernel offers, as safe functions. Nothing here decides or knows a vassal.
//!
//! | module | what of the kernel |
//! |---|---|
//! | [`seqpacket`], [`channel`] | messages with descriptors, waiting and under tokio |
//! | [`spawn`] | fork and exec with exactly the named descriptors, signals and identity |
//! | [`process`], [`oom`] | pidfds, reaping, start times, memory, titles; kills for want of memory |
//! | [`listen`] | listening sockets and their queues |
//! | [`identity`] | users, groups, and giving up privileges |
//! | [`scoreboard`], [`memfd`] | shared and sealed memory |
//! | [`region`] | memory that processes share, with locks that outlive them |
//! | [`pipe`], [`lock`], [`ticket`] | pipes, locks, and what one process alone can claim |
//! | [`inotify`] | changes of files and directories |
//! | [`awaited`] | whether a path, an interface or a socket is there |
//! | [`inherited`] | descriptors a process was started with |
//! | [`service_manager`] | what systemd is told, and what it passes on |
#![allow(unsafe_code)]

pub mod awaited;
pub mod channel;
pub mod hooks;
pub mod identity;
pub mod inherited;
pub mod inotify;
pub mod limits;
pub mod listen;
pub mod lock;
pub mod memfd;
pub mod oom;
pub mod pipe;
pub mod process;
pub mod readable;
pub mod region;
pub mod scoreboard;
pub mod seqpacket;
pub mod service_manager;
pub mod spawn;
pub mod ticket;
