//! The words that Empery's processes say to each other, and the shape of what they share.
//!
//! Types and their encoding only: no sockets, no files. Sending and receiving is `empery-sys`'s;
//! what a word means is decided by whoever handles it. One module per pair of speakers.
//!
//! | module | who speaks |
//! |---|---|
//! | [`keeper`] | brain and keeper, over a socketpair |
//! | [`link`] | brain (or an orphaned worker) and a vassal's master, over the vassal's unix socket |
//! | [`worker`] | master and its zygotes and workers, over socketpairs |
//! | [`gateway`] | master and its gateway, over a socketpair |
//! | [`bootstrap`] | the first Python statements of a zygote |
//! | [`apps`] | which apps a zygote loads |
//! | [`boot`] | what a master or a zygote is started with |
//! | [`process`] | what a zygote and its workers are like, and what they do around the app |
//! | [`posts`] | master and its mules and spoolers, over socketpairs |
//! | [`scoreboard`] | workers write, master and brain read: shared memory |
//! | [`signals`] | processes of an app and their master, about uWSGI signals |
//! | [`stacks`] | what the threads of a worker do: worker, master, brain and whoever asks |
//! | [`stats`] | the master's `stats` socket: uWSGI's JSON |
//! | [`fleet`] | what the brain publishes to the dashboard, the API and the command line, and what these ask of it |

pub mod apps;
pub mod boot;
pub mod bootstrap;
pub mod fleet;
pub mod framing;
pub mod gateway;
pub mod keeper;
pub mod link;
pub mod places;
pub mod posts;
pub mod process;
pub mod scoreboard;
pub mod shared;
pub mod signals;
pub mod stacks;
pub mod static_files;
pub mod stats;
pub mod worker;

/// The ids in these words, for rooms that know nothing else of the machines.
pub use empery_lifecycle::ids;
