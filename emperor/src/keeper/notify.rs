//! What systemd is told (sd_notify(3)): one datagram to the socket that NOTIFY_SOCKET names. Nothing without it.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The variable that names the socket. Not passed on: children must not speak for the emperor.
pub(super) const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Says a state, such as `READY=1`.
pub(super) fn say(state: &str) {
    let Some(socket) = std::env::var_os(NOTIFY_SOCKET) else { return };
    if let Err(error) = say_to(&socket, state) {
        tracing::warn!("systemd could not be told {state}: {error}");
    }
}

fn say_to(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reaches_a_path_and_an_abstract_name() {
        let path = std::env::temp_dir().join(format!("empery-notify-{}", std::process::id()));
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("@empery-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let at_name = UnixDatagram::bind_addr(&abstract_name).unwrap();
        for (receiver, socket) in [(at_path, path.as_os_str()), (at_name, OsStr::new(&name))] {
            say_to(socket, "READY=1").unwrap();
            let mut said = [0; 32];
            let length = receiver.recv(&mut said).unwrap();
            assert_eq!(&said[..length], b"READY=1");
        }
        std::fs::remove_file(path).unwrap();
    }
}
