//! A client of the uwsgi protocol: what nginx's `uwsgi_pass` sends, for stories that need no nginx.

use std::time::Duration;

use crate::http::{Answer, Connection, Failure, Target};

/// A GET over the uwsgi protocol (<https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html>): a packet of variables,
/// answered by plain HTTP up to the end of the connection.
///
/// # Errors
/// See [`Failure`].
pub fn get(target: impl Into<Target>, path: &str) -> Result<Answer, Failure> {
    let mut connection = Connection::open(target, Duration::from_secs(10))?;
    connection.send(&packet(&[
        ("QUERY_STRING", path.split_once('?').map_or("", |(_, query)| query)),
        ("REQUEST_METHOD", "GET"),
        ("CONTENT_TYPE", ""),
        ("CONTENT_LENGTH", ""),
        ("REQUEST_URI", path),
        ("PATH_INFO", path.split('?').next().unwrap_or(path)),
        ("DOCUMENT_ROOT", "/"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", "1"),
        ("SERVER_PORT", "80"),
        ("SERVER_NAME", "localhost"),
        ("HTTP_HOST", "localhost"),
    ]))?;
    connection.answer(false)
}

fn packet(vars: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for text in vars.iter().flat_map(|(key, value)| [key, value]) {
        body.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
        body.extend(text.as_bytes());
    }
    let mut packet = vec![0];
    packet.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
    packet.push(0);
    packet.extend(body);
    packet
}
