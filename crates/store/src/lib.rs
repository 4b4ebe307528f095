//! What the emperor remembers, in SQLite, behind named questions: vassals, revisions, operations, incidents, holds and
//! samples. One task writes ([`Store`]), a small pool reads ([`Reader`]). No SQL leaves this crate, and nothing here
//! decides: without a database the emperor runs on, with a smaller memory. Called by the brain and, to read, by `web-ui`.
//!
//! Retention of every table: `docs/state.md` and [`retention`].

mod damage;
mod error;
mod holds;
mod incidents;
mod integer;
mod journal;
mod marks;
mod open;
mod operations;
mod owed;
mod reader;
pub mod retention;
mod revisions;
mod samples;
mod vassals;
mod writer;

pub use error::StoreError;
pub use holds::Hold;
pub use incidents::Incident;
pub use marks::Mark;
pub use open::{Limits, Opened};
pub use reader::Reader;
pub use revisions::{LatestRevision, Revision, RevisionEntry};
pub use samples::Sample;
pub use writer::{Store, Written};
