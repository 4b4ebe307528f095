//! FastCGI as a web server speaks it.

use std::io::Read;

/// One record.
pub(crate) fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let padding = content.len() % 8;
    let mut bytes = vec![1, kind];
    bytes.extend(id.to_be_bytes());
    bytes.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend([padding as u8, 0]);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len() + padding, 0xee);
    bytes
}

/// BEGIN_REQUEST of a responder and its parameters.
pub(crate) fn head(id: u16, keeps: bool, vars: &[(&str, &str)]) -> Vec<u8> {
    let mut params = Vec::new();
    for (name, value) in vars {
        params.extend([name.len() as u8, value.len() as u8]);
        params.extend([name.as_bytes(), value.as_bytes()].concat());
    }
    [record(1, id, &[0, 1, u8::from(keeps), 0, 0, 0, 0, 0]), record(4, id, &params), record(4, id, b"")].concat()
}

/// A GET, whole.
pub(crate) fn get(id: u16, keeps: bool, path: &str) -> Vec<u8> {
    let vars = [("REQUEST_METHOD", "GET"), ("PATH_INFO", path), ("QUERY_STRING", ""), ("CONTENT_LENGTH", "")];
    [head(id, keeps, &vars), record(5, id, b"")].concat()
}

/// One answer as far as it came: what was in STDOUT, and the protocol status of END_REQUEST.
pub(crate) fn answer(stream: &mut impl Read, id: u16) -> (String, Option<u8>) {
    let mut stdout = Vec::new();
    loop {
        let mut header = [0; 8];
        if stream.read_exact(&mut header).is_err() {
            return (String::from_utf8_lossy(&stdout).into_owned(), None);
        }
        assert_eq!((header[0], u16::from_be_bytes([header[2], header[3]])), (1, id), "{header:?}");
        let mut content = vec![0; usize::from(u16::from_be_bytes([header[4], header[5]])) + usize::from(header[6])];
        stream.read_exact(&mut content).unwrap();
        match header[1] {
            6 => stdout.extend_from_slice(&content),
            3 => return (String::from_utf8_lossy(&stdout).into_owned(), Some(content[4])),
            other => panic!("a record of type {other}"),
        }
    }
}
