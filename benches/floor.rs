//! The floor of the bench: an epoll server that answers every request with the same bytes, without Python. What a
//! server costs above it is the server's own. It parses nothing beyond the end of the head, on purpose.
//!
//! `floor PORT`

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

const KEEP: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello World\n";
const CLOSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nConnection: close\r\n\r\nHello World\n";

fn main() -> Result<()> {
    let port: u16 = std::env::args().nth(1).context("floor PORT")?.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let listening = token(&listener);
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, listening))?;
    let mut open: HashMap<u64, TcpStream> = HashMap::new();
    let mut ready = [EpollEvent::empty(); 256];
    let mut room = [0; 16 * 1024];
    loop {
        let count = epoll.wait(&mut ready, EpollTimeout::NONE)?;
        for event in ready.iter().take(count) {
            let which = event.data();
            if which == listening {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let name = token(&stream);
                    epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, name))?;
                    open.insert(name, stream);
                }
            } else if open.get_mut(&which).is_some_and(|stream| !answer(stream, &mut room)) {
                open.remove(&which);
            }
        }
    }
}

fn token(socket: &impl AsRawFd) -> u64 {
    u64::try_from(socket.as_raw_fd()).unwrap_or(u64::MAX)
}

/// Whether the connection stays open.
fn answer(stream: &mut TcpStream, room: &mut [u8]) -> bool {
    let length = match stream.read(room) {
        Ok(0) => return false,
        Ok(length) => length,
        Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
    };
    let head = &room[..length];
    if !head.ends_with(b"\r\n\r\n") {
        return true;
    }
    let closes = head.windows(17).any(|window| window.eq_ignore_ascii_case(b"connection: close"));
    stream.write_all(if closes { CLOSE } else { KEEP }).is_ok() && !closes
}
