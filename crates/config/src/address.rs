//! Socket addresses as uWSGI writes them: `:8000`, `127.0.0.1:3031`, `[::1]:80`, `/run/x.sock`, `@abstract`.

use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A parsed address. Its [`Display`](fmt::Display) is canonical: equal addresses have equal texts, and that text is
/// the key under which a listener is kept across revisions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// TCP; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A unix socket's path, made absolute with the working directory.
    Unix(PathBuf),
    /// A name in the abstract namespace.
    Abstract(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::Abstract(name) => write!(f, "@{name}"),
        }
    }
}
