//! What systemd, or whoever else started this process, is told (sd_notify(3)): one datagram to the socket that NOTIFY_SOCKET
//! names. Nothing without it.

use std::{
    ffi::OsStr,
    io,
    ops::Range,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// The variable that names the socket. Not passed on: children must not speak for their parent.
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The variables by which systemd passes descriptors on (sd_listen_fds(3)): to whom, and how many.
const LISTEN_PID: &str = "LISTEN_PID";
const LISTEN_FDS: &str = "LISTEN_FDS";

/// The first descriptor that is passed on (SD_LISTEN_FDS_START).
const FIRST_PASSED: i32 = 3;

/// How long a full socket is waited for: whoever does not read must not stop whoever speaks.
const SAID_WITHIN: Duration = Duration::from_secs(5);

/// Says a state: assignments such as `READY=1`, one a line.
///
/// # Errors
/// sendto(2), when there is a socket and it does not take the message.
pub fn say(state: &str) -> io::Result<()> {
    std::env::var_os(NOTIFY_SOCKET).map_or(Ok(()), |socket| say_to(&socket, state))
}

/// The descriptors that systemd has passed to this process; none when they were meant for another.
#[must_use]
pub fn passed() -> Range<i32> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    passed_to(std::process::id(), number(LISTEN_PID), number(LISTEN_FDS))
}

fn passed_to(own: u32, to: Option<u32>, how_many: Option<u32>) -> Range<i32> {
    let meant = how_many.filter(|_| to == Some(own)).and_then(|how_many| i32::try_from(how_many).ok());
    FIRST_PASSED..FIRST_PASSED.saturating_add(meant.unwrap_or(0))
}

fn say_to(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let speaker = UnixDatagram::unbound()?;
    speaker.set_write_timeout(Some(SAID_WITHIN))?;
    speaker.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_taken_by_the_process_that_they_were_passed_to() {
        assert_eq!(passed_to(7, Some(7), Some(2)), 3..5);
        assert!(passed_to(8, Some(7), Some(2)).is_empty());
        assert!(passed_to(7, None, Some(2)).is_empty());
        assert!(passed_to(7, Some(7), None).is_empty());
    }

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
