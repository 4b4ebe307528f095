//! uWSGI's configuration dialect, without I/O: bytes in, a [`VassalConfig`](vassal::VassalConfig) and problems out.
//!
//! Whatever must be asked of the machine (other files, the environment, user names) comes through [`facts::Facts`]
//! and [`facts::Files`]. Nothing here runs a command or opens a file.
//!
//! The way of a text, each module once: [`formats`] or [`command_line`] cut it into directives (with [`magic`] variables
//! replaced), [`gather`] follows includes, sections, conditions and loops, [`expand`] resolves `$(NAME)` and `%(key)`, [`registry`] says
//! what each option is worth here, [`assemble`] builds the typed result. [`read::read`] is the door.

pub mod address;
pub mod alarms;
pub mod apps;
mod assemble;
pub mod beside;
mod command_line;
pub mod crew;
pub mod emperor;
mod environment_files;
mod expand;
pub mod facts;
mod formats;
mod gather;
pub mod glob;
pub mod loggers;
mod magic;
pub mod problem;
pub mod read;
pub mod reference;
pub mod registry;
pub mod runtime;
pub mod shared;
pub mod show;
mod source;
pub mod static_files;
mod suggest;
mod value;
pub mod vassal;
pub mod waits;
pub mod watched;
