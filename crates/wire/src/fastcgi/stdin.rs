//! The body of a FastCGI request out of its STDIN records, as they come. It ends with an empty record, and must be as
//! long then as CONTENT_LENGTH says, when it says anything.

use super::record::{HEADER_BYTES, Header, Kind, answer_beside};
use crate::{chunked::Progress, limits::GET_VALUES_MAX_BYTES};

/// Why a body cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRecord(pub &'static str);

/// A body being read.
#[derive(Debug, Clone)]
pub struct Decoder {
    request_id: u16,
    /// Of CONTENT_LENGTH.
    left: Option<u64>,
    state: State,
    answer: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Header {
        bytes: [u8; HEADER_BYTES],
        have: usize,
    },
    Data {
        left: u16,
        padding: u8,
    },
    /// The content of a record beside the request, of which the beginning is kept.
    Beside {
        header: Header,
        content: Vec<u8>,
        left: u16,
    },
    Padding {
        left: u8,
    },
    /// The padding of the last record.
    LastPadding {
        left: u8,
    },
    Done,
    Broken(BadRecord),
}

const NEXT: State = State::Header { bytes: [0; HEADER_BYTES], have: 0 };

impl Decoder {
    /// Of a request, with what CONTENT_LENGTH says.
    #[must_use]
    pub fn new(request_id: u16, length: Option<u64>) -> Self {
        Self { request_id, left: length, state: NEXT, answer: Vec::new() }
    }

    /// Whether the body has ended: what follows is the next request.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Answers to what else was asked between the records of the body, to be sent as they are.
    pub fn take_answer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answer)
    }

    /// Reads until the input is used up, the output is full, or the body has ended.
    ///
    /// # Errors
    /// When the records are malformed, the web server gives up, or the body is not as long as it should be; every later
    /// call says the same.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, BadRecord> {
        let mut done = Progress { read: 0, written: 0 };
        loop {
            let input = &input[done.read..];
            let state = std::mem::replace(&mut self.state, State::Done);
            let before = std::mem::discriminant(&state);
            let (next, read, written) = match self.step(state, input, &mut output[done.written..]) {
                Ok(stepped) => stepped,
                Err(bad) => {
                    self.state = State::Broken(bad);
                    return Err(bad);
                }
            };
            let ended = next == State::Done;
            let stays = std::mem::discriminant(&next) == before;
            self.state = next;
            done.read += read;
            done.written += written;
            if ended || (read == 0 && stays) {
                return Ok(done);
            }
        }
    }

    /// The next state, bytes read and bytes written.
    fn step(&mut self, state: State, input: &[u8], output: &mut [u8]) -> Result<(State, usize, usize), BadRecord> {
        Ok(match state {
            State::Header { mut bytes, have } => {
                let take = input.len().min(HEADER_BYTES - have);
                bytes[have..have + take].copy_from_slice(&input[..take]);
                let have = have + take;
                if bytes[0] != 1 && have > 0 {
                    return Err(BadRecord("a record of another version"));
                }
                if have < HEADER_BYTES {
                    (State::Header { bytes, have }, take, 0)
                } else {
                    (self.begin(Header::of(&bytes))?, take, 0)
                }
            }
            State::Data { left: 0, padding } => (State::Padding { left: padding }, 0, 0),
            State::Data { left, padding } => {
                let take = usize::from(left).min(input.len()).min(output.len());
                output[..take].copy_from_slice(&input[..take]);
                // `take` is at most `left`, a u16.
                (State::Data { left: left - take as u16, padding }, take, take)
            }
            State::Beside { header, content, left: 0 } => {
                answer_beside(header.kind, header.request_id, &content, Some(self.request_id), &mut self.answer)
                    .map_err(|bad| BadRecord(bad.reason))?;
                (State::Padding { left: header.padding_length }, 0, 0)
            }
            State::Beside { header, mut content, left } => {
                let take = usize::from(left).min(input.len());
                if header.kind == Kind::GetValues {
                    content.extend_from_slice(&input[..take]);
                }
                (State::Beside { header, content, left: left - take as u16 }, take, 0)
            }
            State::Padding { left: 0 } => (NEXT, 0, 0),
            State::Padding { left } => {
                let take = usize::from(left).min(input.len());
                (State::Padding { left: left - take as u8 }, take, 0)
            }
            State::LastPadding { left: 0 } => (State::Done, 0, 0),
            State::LastPadding { left } => {
                let take = usize::from(left).min(input.len());
                (State::LastPadding { left: left - take as u8 }, take, 0)
            }
            State::Done => (State::Done, 0, 0),
            State::Broken(bad) => return Err(bad),
        })
    }

    /// A record begins.
    fn begin(&mut self, header: Header) -> Result<State, BadRecord> {
        if header.request_id != self.request_id {
            if header.kind == Kind::GetValues && usize::from(header.content_length) > GET_VALUES_MAX_BYTES {
                return Err(BadRecord("a GET_VALUES that is too long"));
            }
            return Ok(State::Beside { header, content: Vec::new(), left: header.content_length });
        }
        match header.kind {
            Kind::Stdin if header.content_length == 0 => match self.left {
                Some(1..) => Err(BadRecord("the body ends before CONTENT_LENGTH")),
                _ => Ok(State::LastPadding { left: header.padding_length }),
            },
            Kind::Stdin => {
                if let Some(left) = &mut self.left {
                    *left = left
                        .checked_sub(header.content_length.into())
                        .ok_or(BadRecord("the body is longer than CONTENT_LENGTH"))?;
                }
                Ok(State::Data { left: header.content_length, padding: header.padding_length })
            }
            Kind::AbortRequest => Err(BadRecord("the web server gave the request up")),
            _ => Err(BadRecord("a record that does not belong into a body")),
        }
    }
}
