//! A small HTTP/1.1 client over TCP and unix sockets that tells apart how a request can fail. Written by hand so that a
//! story sees what a strict client would see: who closed, when, and with how many bytes missing.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl From<u16> for Target {
    fn from(port: u16) -> Self {
        Target::Tcp((Ipv4Addr::LOCALHOST, port).into())
    }
}

impl From<&Path> for Target {
    fn from(path: &Path) -> Self {
        Target::Unix(path.to_owned())
    }
}

impl From<&PathBuf> for Target {
    fn from(path: &PathBuf) -> Self {
        Target::Unix(path.clone())
    }
}

impl From<&Target> for Target {
    fn from(target: &Target) -> Self {
        target.clone()
    }
}

/// How a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens.
    Refused(String),
    /// The connection was reset.
    Reset(String),
    /// It was closed before the whole answer came.
    Closed {
        /// Bytes of the answer that had come.
        after_bytes: usize,
    },
    /// No answer in time.
    TimedOut,
    /// The answer is no HTTP.
    Malformed(String),
    /// The answer is not the one expected.
    Unexpected(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(why) => write!(f, "refused: {why}"),
            Failure::Reset(why) => write!(f, "reset: {why}"),
            Failure::Closed { after_bytes } => {
                write!(f, "closed after {after_bytes} bytes of the answer")
            }
            Failure::TimedOut => write!(f, "no answer in time"),
            Failure::Malformed(why) => write!(f, "malformed answer: {why}"),
            Failure::Unexpected(why) => write!(f, "unexpected answer: {why}"),
            Failure::Other(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Failure::Refused(error.to_string()),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Failure::Reset(error.to_string())
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::TimedOut,
            _ => Failure::Other(error.to_string()),
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    /// `GET path`.
    #[must_use]
    pub fn get(path: &str) -> Ask {
        Ask::new("GET", path)
    }

    /// `POST path` with no body yet.
    #[must_use]
    pub fn post(path: &str) -> Ask {
        Ask::new("POST", path)
    }

    /// Any method.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Ask {
        Ask { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Ask {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body, its Content-Length and type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Ask {
        self.body = body.to_vec();
        self.header("Content-Type", content_type)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str("Host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || self.method == "POST" || self.method == "PUT" {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body, unchunked.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the server said that it closes.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// Bytes that came after the last answer's end.
    ahead: Vec<u8>,
}

impl Connection {
    /// Connects; `timeout` then holds for every read and write.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn open(target: impl Into<Target>, timeout: Duration) -> Result<Connection, Failure> {
        let stream = match target.into() {
            Target::Tcp(address) => {
                let stream = TcpStream::connect_timeout(&address, timeout)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                Stream::Tcp(stream)
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                Stream::Unix(stream)
            }
        };
        Ok(Connection { stream, ahead: Vec::new() })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn ask(&mut self, ask: &Ask) -> Result<Answer, Failure> {
        self.send(&ask.bytes())?;
        self.answer(ask.method == "HEAD")
    }

    /// Sends raw bytes.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads everything up to the end of the connection.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn rest(&mut self) -> Result<Vec<u8>, Failure> {
        let mut all = std::mem::take(&mut self.ahead);
        self.stream.read_to_end(&mut all)?;
        Ok(all)
    }

    /// Reads one answer; `bodiless` for the answer to a HEAD.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn answer(&mut self, bodiless: bool) -> Result<Answer, Failure> {
        loop {
            let head = self.until(b"\r\n\r\n")?;
            let (status, headers) = parse_head(&head)?;
            // Interim answers (100 Continue, 103 Early Hints) come before the one that counts.
            if (100..200).contains(&status) {
                continue;
            }
            let mut answer = Answer { status, headers, body: Vec::new() };
            if bodiless || status == 204 || status == 304 {
                return Ok(answer);
            }
            if answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
                answer.body = self.chunks()?;
            } else if let Some(length) = answer.header("content-length") {
                let length = length.parse().map_err(|_| Failure::Malformed(format!("Content-Length: {length}")))?;
                answer.body = self.exactly(length)?;
            } else {
                answer.body = self.rest()?;
            }
            return Ok(answer);
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n")?;
            let text = String::from_utf8_lossy(&line);
            let size = text.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(size, 16).map_err(|_| Failure::Malformed(format!("chunk size {text:?}")))?;
            if size == 0 {
                while self.until(b"\r\n")?.len() > 2 {}
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            self.exactly(2)?;
        }
    }

    /// Bytes up to and with `mark`.
    fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut searched = 0;
        loop {
            let from = searched.min(self.ahead.len());
            let found =
                self.ahead.get(from..).and_then(|bytes| bytes.windows(mark.len()).position(|window| window == mark));
            if let Some(at) = found {
                let end = from + at + mark.len();
                return Ok(self.ahead.drain(..end).collect());
            }
            searched = self.ahead.len().saturating_sub(mark.len() - 1);
            self.more()?;
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        while self.ahead.len() < length {
            self.more()?;
        }
        Ok(self.ahead.drain(..length).collect())
    }

    fn more(&mut self) -> Result<(), Failure> {
        let mut buffer = [0u8; 16 * 1024];
        let length = match self.stream.read(&mut buffer) {
            Ok(0) => {
                return Err(Failure::Closed { after_bytes: self.ahead.len() });
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.ahead.extend_from_slice(&buffer[..length]);
        Ok(())
    }
}

fn parse_head(head: &[u8]) -> Result<(u16, Vec<(String, String)>), Failure> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).filter(|_| first.starts_with("HTTP/1."));
    let status = status.ok_or_else(|| Failure::Malformed(first.to_owned()))?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok((status, headers))
}

/// One request on a connection of its own.
///
/// # Errors
/// See [`Failure`].
pub fn ask(target: impl Into<Target>, ask: Ask) -> Result<Answer, Failure> {
    let ask = ask.header("Connection", "close");
    Connection::open(target, Duration::from_secs(10))?.ask(&ask)
}

/// `GET path` on a connection of its own.
///
/// # Errors
/// See [`Failure`].
pub fn get(target: impl Into<Target>, path: &str) -> Result<Answer, Failure> {
    ask(target, Ask::get(path))
}
