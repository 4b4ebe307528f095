//! Where things are when nobody says: the system's directories for root, the user's (XDG base directory specification)
//! for everybody else.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Where the dashboard is served when nobody says.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);

/// The watched directory.
pub(super) fn vassals() -> PathBuf {
    if is_root() { PathBuf::from("/etc/vassals") } else { xdg("XDG_CONFIG_HOME", ".config").join("empery/vassals") }
}

/// The state directory.
pub(super) fn state() -> PathBuf {
    if is_root() { PathBuf::from("/var/lib/empery") } else { xdg("XDG_STATE_HOME", ".local/state").join("empery") }
}

/// The runtime directory.
pub(super) fn runtime() -> PathBuf {
    if is_root() {
        return PathBuf::from("/run/empery");
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| Path::new(directory).is_absolute()) {
        Some(directory) => PathBuf::from(directory).join("empery"),
        None => std::env::temp_dir().join(format!("empery-{}", nix::unistd::geteuid())),
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A relative path in the variable is to be ignored, says the specification.
fn xdg(variable: &str, below_home: &str) -> PathBuf {
    let named = std::env::var_os(variable).map(PathBuf::from).filter(|directory| directory.is_absolute());
    named.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into())).join(below_home))
}
