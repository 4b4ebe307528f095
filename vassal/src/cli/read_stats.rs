//! `--connect-and-read ADDRESS`: everything that is written there goes to stderr, as in uWSGI.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    process::ExitCode,
};

/// See the module.
pub(super) fn run(address: &str) -> ExitCode {
    match copy(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vassal: {address} cannot be read: {error}");
            ExitCode::FAILURE
        }
    }
}

fn copy(address: &str) -> io::Result<()> {
    let mut stream: Box<dyn Read> = match address.strip_prefix(':') {
        Some(port) => Box::new(TcpStream::connect(format!("127.0.0.1:{port}"))?),
        None if address.contains(':') => Box::new(TcpStream::connect(address)?),
        None => Box::new(UnixStream::connect(address)?),
    };
    let mut stderr = io::stderr();
    io::copy(&mut stream, &mut stderr)?;
    stderr.flush()
}
