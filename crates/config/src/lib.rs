//! uWSGI's configuration dialect, without I/O: bytes in, a [`VassalConfig`](vassal::VassalConfig) and problems out.
//!
//! Whatever must be asked of the machine (other files, the environment, user names) comes through [`facts::Facts`]
//! and [`facts::Files`]. Nothing here runs a command or opens a file.

pub mod address;
pub mod facts;
pub mod problem;
pub mod read;
pub mod registry;
pub mod vassal;
