//! What the stories in `tests/stories` stand on: real processes, real sockets, and a ground that is swept afterwards.
//!
//! A story runs in a process of its own that adopts every orphan, in a network namespace of its own where the machine
//! permits it. It waits for conditions with deadlines ([`wait`]) and never sleeps to wait for a fact. When it is over,
//! no process, zombie or descriptor of it may be left ([`leftovers`]).
//!
//! The harness knows Empery only from outside: its command lines, files, sockets and JSON. It imports none of its rooms.

pub mod behaviours;
pub mod books;
pub mod browser;
pub mod cgroup;
pub mod cves;
pub mod emperor;
pub mod failpoints;
pub mod golden;
pub mod ground;
pub mod http;
pub mod isolation;
pub mod leftovers;
pub mod load;
pub mod matrix;
pub mod nginx;
pub mod process;
pub mod procfs;
pub mod python;
pub mod runner;
pub mod sources;
pub mod tls;
pub mod uwsgi;
pub mod vassal;
pub mod wait;
