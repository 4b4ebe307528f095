//! Socket addresses as uWSGI writes them: `:8000`, `127.0.0.1:3031`, `[::1]:80`, `/run/x.sock`, `@abstract`.
//!
//! Names are not resolved (uWSGI does not either): an address means the same on every machine and at every start.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::vassal::Protocol;

/// Longest unix socket path uWSGI takes, in bytes (core/socket.c).
const UNIX_PATH_MAX_BYTES: usize = 102;

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
    /// Between a vassal's gateway and its workers, where this is spoken: an abstract name that the kernel chooses (unix(7),
    /// autobind), so that nobody can have it first.
    Private(Protocol),
}

/// Why a text is not an address Empery can listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing was written.
    #[error("the address is empty; expected `:8000`, `127.0.0.1:8000`, `[::1]:8000`, `/run/app.sock` or `@name`")]
    Empty,
    /// `=N` names a socket of `shared-socket`, and `fd://N` one that somebody else bound.
    #[error("`{0}` names a shared or inherited socket, which is not understood here")]
    Shared(String),
    /// A name in place of an IP address.
    #[error("`{0}` is not an IP address, and names are not resolved; expected something like `127.0.0.1:8000`")]
    Host(String),
    /// The part after the last colon.
    #[error("`{0}` is not a port; expected a number from 0 to 65535")]
    Port(String),
    /// Longer than a unix socket address may be.
    #[error("the path is {0} bytes long; a unix socket's path may have at most {UNIX_PATH_MAX_BYTES}")]
    PathTooLong(usize),
    /// A path cannot hold a NUL byte.
    #[error("the address has a NUL byte in it")]
    Nul,
}

impl Address {
    /// Parses `text`; a relative unix path is taken from `base`.
    ///
    /// # Errors
    /// When it is none of the forms above.
    pub fn parse(text: &str, base: &Path) -> Result<Address, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.contains('\0') {
            return Err(AddressError::Nul);
        }
        if text.starts_with('=') || text.starts_with("fd://") {
            return Err(AddressError::Shared(text.to_owned()));
        }
        if let Some(name) = text.strip_prefix('@').or_else(|| text.strip_prefix("\\0")) {
            return match name.len() {
                0 => Err(AddressError::Empty),
                length if length > UNIX_PATH_MAX_BYTES => Err(AddressError::PathTooLong(length)),
                _ => Ok(Address::Abstract(name.to_owned())),
            };
        }
        match text.rsplit_once(':') {
            Some((host, port)) => Ok(Address::Tcp(SocketAddr::new(parse_host(host)?, parse_port(port)?))),
            None => unix(text, base),
        }
    }

    /// Whether it is a unix socket with a path, which `chmod-socket`, `chown-socket` and `vacuum` are about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Address::Unix(path) => Some(path),
            Address::Tcp(_) | Address::Abstract(_) | Address::Private(_) => None,
        }
    }
}

fn unix(text: &str, base: &Path) -> Result<Address, AddressError> {
    // `components` drops `//` and `/./`, so that the same socket has one key; `..` stays, symlinks may cross it.
    let path: PathBuf = base.join(text).components().collect();
    let length = path.as_os_str().len();
    if length > UNIX_PATH_MAX_BYTES { Err(AddressError::PathTooLong(length)) } else { Ok(Address::Unix(path)) }
}

fn parse_host(host: &str) -> Result<IpAddr, AddressError> {
    if host.is_empty() {
        return Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let parsed = match bracketed {
        Some("") => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        // The one name that means the same everywhere (RFC 6761 section 6.3).
        None if host == "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    parsed.ok_or_else(|| AddressError::Host(host.to_owned()))
}

/// uWSGI reads the port with atoi(3): what follows the digits is ignored, an empty port and every port that begins
/// with 0 let the kernel choose (core/socket.c:1034).
fn parse_port(port: &str) -> Result<u16, AddressError> {
    let digits = port.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    if port.is_empty() || digits.starts_with('0') {
        return Ok(0);
    }
    digits.parse().map_err(|_| AddressError::Port(port.to_owned()))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::Abstract(name) => write!(f, "@{name}"),
            // No other address has a text like these.
            Address::Private(Protocol::Http) => write!(f, "@"),
            Address::Private(protocol) => write!(f, "private:{}", protocol.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        match Address::parse(text, Path::new("/srv")) {
            Ok(address) => address.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn b7_a_port_alone_means_all_ipv4_addresses() {
        assert_eq!(canonical(":8000"), "0.0.0.0:8000");
    }

    #[test]
    fn an_empty_port_and_one_that_begins_with_0_let_the_kernel_choose() {
        assert_eq!(canonical("127.0.0.1:"), "127.0.0.1:0");
        assert_eq!(canonical("127.0.0.1:08"), "127.0.0.1:0");
    }

    #[test]
    fn text_after_the_port_is_ignored_as_atoi_does() {
        assert_eq!(canonical("127.0.0.1:9191 --stats-http"), "127.0.0.1:9191");
    }

    #[test]
    fn ipv6_addresses_stand_in_brackets() {
        assert_eq!(canonical("[::1]:80"), "[::1]:80");
        assert_eq!(canonical("[::]:80"), "[::]:80");
        assert!(canonical("::1:80").contains("not an IP address"));
    }

    #[test]
    fn a_text_without_colon_is_a_unix_path_made_absolute_and_canonical() {
        assert_eq!(canonical("x.sock"), "/srv/x.sock");
        assert_eq!(canonical("/run//a/./x.sock"), "/run/a/x.sock");
    }

    #[test]
    fn an_abstract_name_begins_with_an_at_sign_or_backslash_zero() {
        assert_eq!(canonical("@app"), "@app");
        assert_eq!(canonical("\\0app"), "@app");
    }

    #[test]
    fn a_host_name_is_refused_because_names_are_not_resolved() {
        assert!(canonical("example.org:8000").contains("names are not resolved"));
        assert_eq!(canonical("localhost:8000"), "127.0.0.1:8000");
        assert!(canonical("127.0.0.*:8000").contains("names are not resolved"));
    }

    #[test]
    fn a_port_above_65535_or_without_digits_is_refused() {
        assert!(canonical(":70000").contains("not a port"));
        assert!(canonical(":http").contains("not a port"));
    }

    #[test]
    fn a_unix_path_longer_than_102_bytes_is_refused() {
        assert!(canonical(&"x".repeat(120)).contains("at most 102"));
    }

    #[test]
    fn shared_and_inherited_sockets_are_no_addresses_themselves() {
        assert!(canonical("=0").contains("shared or inherited"));
        assert!(canonical("fd://3").contains("shared or inherited"));
    }
}
