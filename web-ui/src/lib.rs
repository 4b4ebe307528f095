//! Dashboard and REST API of the emperor: everything that speaks HTTP to people and pipelines. It reads what the brain
//! publishes and passes on what is asked; it decides nothing about vassals. Called by the brain, which makes a [`Realm`]
//! and serves it twice: on TCP ([`serve::tcp`]) and on the control socket ([`serve::control`]).

mod access;
mod api;
mod assets;
mod door;
mod duration;
mod guard;
mod logs;
mod metrics;
mod operations;
mod pages;
mod problem;
mod realm;
pub mod serve;

use axum::Router;

pub use access::{Access, AccessError, LoginLink};
pub use operations::OperationBoard;
pub use realm::{Ask, AskError, LogFileOf, Realm, Reply};

/// How much a connection is trusted, by where it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// TCP: a bearer token or a session is asked for, and the `Host` must be one of ours.
    Tcp,
    /// The control socket: the kernel names the peer's user; these may do everything, others nothing.
    Local {
        /// Who.
        allowed_uids: Vec<u32>,
    },
}

/// Everything, ready to be served. Served over [`serve`] in production and called directly by tests.
pub fn router(realm: Realm, trust: Trust) -> Router {
    let open = Router::new().merge(api::open_routes()).merge(pages::open_routes()).merge(assets::routes());
    let closed = Router::new().merge(api::routes()).merge(pages::routes());
    guard::around(open, closed, realm, trust)
}
