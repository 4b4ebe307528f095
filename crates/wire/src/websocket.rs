//! Frames of WebSocket (RFC 6455, section 5), as a server receives and sends them. What is wrongly coded ends the
//! connection, so everything but whole and well-formed frames is refused.

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of a message.
    Continuation,
    /// The beginning of a text, or all of it.
    Text,
    /// The same of bytes.
    Binary,
    /// The other end leaves.
    Close,
    /// The other end wants to hear.
    Ping,
    /// It is heard.
    Pong,
}

impl Opcode {
    fn of(number: u8) -> Option<Opcode> {
        Some(match number {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return None,
        })
    }

    fn number(self) -> u8 {
        match self {
            Opcode::Continuation => 0x0,
            Opcode::Text => 0x1,
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Ping => 0x9,
            Opcode::Pong => 0xa,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// What a client has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A whole message.
    Message(Vec<u8>),
    /// To be answered with a pong of the same content.
    Ping(Vec<u8>),
    /// An answer to a ping.
    Pong,
    /// The client leaves; what it says about it.
    Close(Vec<u8>),
}

/// Longest content of a control frame, in bytes.
const CONTROL_MAX_BYTES: usize = 125;

/// What a client sends, put together.
#[derive(Debug)]
pub struct Receiver {
    /// Received; from `start` on not looked at.
    bytes: Vec<u8>,
    start: usize,
    /// The beginning of a message.
    message: Option<Vec<u8>>,
    message_max_bytes: usize,
}

impl Receiver {
    /// Of a new connection. Messages may be so long, in bytes.
    #[must_use]
    pub fn new(message_max_bytes: usize) -> Receiver {
        Receiver { bytes: Vec::new(), start: 0, message: None, message_max_bytes }
    }

    /// Takes what has been received.
    pub fn receive(&mut self, bytes: &[u8]) {
        // Once for all frames that were heard since: many small ones may come at a time.
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// What comes next; None when more must be received first.
    ///
    /// # Errors
    /// What is wrong, in a few words: nothing is to be received any more.
    pub fn hear(&mut self) -> Result<Option<Heard>, &'static str> {
        loop {
            let Some((frame, length)) = self.frame()? else { return Ok(None) };
            self.start += length;
            let Frame { is_last, opcode, content } = frame;
            match opcode {
                Opcode::Ping => return Ok(Some(Heard::Ping(content))),
                Opcode::Pong => return Ok(Some(Heard::Pong)),
                Opcode::Close => return Ok(Some(Heard::Close(content))),
                Opcode::Text | Opcode::Binary if self.message.is_some() => {
                    return Err("a message begins in the middle of another");
                }
                Opcode::Continuation if self.message.is_none() => return Err("a message goes on that has not begun"),
                Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                    let message = self.message.get_or_insert_default();
                    message.extend_from_slice(&content);
                    if is_last {
                        return Ok(self.message.take().map(Heard::Message));
                    }
                }
            }
        }
    }

    /// The frame at the beginning of what was not looked at, and its length there.
    fn frame(&self) -> Result<Option<(Frame, usize)>, &'static str> {
        let bytes = &self.bytes[self.start..];
        let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
        let opcode = Opcode::of(first & 0x0f).ok_or("an unknown kind of frame")?;
        let is_last = first & 0x80 != 0;
        if first & 0x70 != 0 {
            return Err("a bit is set that means nothing here");
        }
        if second & 0x80 == 0 {
            return Err("a client's frame is not masked");
        }
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            length => (u64::from(length), rest),
        };
        let length = usize::try_from(length).map_err(|_| "a frame is too long")?;
        if opcode.is_control() && (length > CONTROL_MAX_BYTES || !is_last) {
            return Err("a control frame is too long or in pieces");
        }
        let so_far = self.message.as_ref().map_or(0, Vec::len);
        if !opcode.is_control() && length > self.message_max_bytes.saturating_sub(so_far) {
            return Err("a message is too long");
        }
        let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let Some(masked) = rest.get(..length) else { return Ok(None) };
        let content = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        Ok(Some((Frame { is_last, opcode, content }, bytes.len() - rest.len() + length)))
    }
}

struct Frame {
    is_last: bool,
    opcode: Opcode,
    content: Vec<u8>,
}

/// A whole frame of the server's, which is not masked.
#[must_use]
pub fn frame(opcode: Opcode, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode.number()];
    match content.len() {
        length @ 0..126 => frame.push(length as u8),
        length => match u16::try_from(length) {
            Ok(length) => {
                frame.push(126);
                frame.extend(length.to_be_bytes());
            }
            Err(_) => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        },
    }
    frame.extend_from_slice(content);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a client sends it.
    fn masked(first: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match content.len() {
            length @ 0..126 => bytes.push(0x80 | length as u8),
            length => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
        }
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        bytes.extend(mask);
        bytes.extend(content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    fn heard(bytes: &[u8]) -> Result<Vec<Heard>, &'static str> {
        let mut receiver = Receiver::new(1000);
        receiver.receive(bytes);
        let mut all = Vec::new();
        while let Some(heard) = receiver.hear()? {
            all.push(heard);
        }
        Ok(all)
    }

    #[test]
    fn the_examples_of_the_rfc_are_understood() {
        // RFC 6455, section 5.7.
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(heard(&hello), Ok(vec![Heard::Message(b"Hello".to_vec())]));
        assert_eq!(frame(Opcode::Text, b"Hello"), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(frame(Opcode::Binary, &[0; 256])[..4], [0x82, 126, 1, 0]);
        assert_eq!(frame(Opcode::Binary, &[0; 65_536])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_message_in_pieces_is_whole_and_a_ping_may_come_between() {
        let bytes = [masked(0x01, b"Hel"), masked(0x89, b"?"), masked(0x80, b"lo"), masked(0x88, b"\x03\xe8")].concat();
        let all =
            vec![Heard::Ping(b"?".to_vec()), Heard::Message(b"Hello".to_vec()), Heard::Close(b"\x03\xe8".to_vec())];
        assert_eq!(heard(&bytes), Ok(all.clone()));
        let mut receiver = Receiver::new(1000);
        let mut one_by_one = Vec::new();
        for byte in bytes {
            receiver.receive(&[byte]);
            one_by_one.extend(receiver.hear().unwrap());
        }
        assert_eq!(one_by_one, all);
    }

    #[test]
    fn many_small_frames_cost_no_more_than_their_bytes() {
        // Moving what is left for each of them would take minutes.
        let number = 400_000;
        let mut receiver = Receiver::new(1000);
        receiver.receive(&masked(0x82, b"").repeat(number));
        receiver.receive(&masked(0x82, b"last")[..3]);
        for _ in 0..number {
            assert_eq!(receiver.hear(), Ok(Some(Heard::Message(Vec::new()))));
        }
        assert_eq!(receiver.hear(), Ok(None));
        receiver.receive(&masked(0x82, b"last")[3..]);
        assert_eq!(receiver.hear(), Ok(Some(Heard::Message(b"last".to_vec()))));
        assert_eq!(receiver.bytes.len(), masked(0x82, b"last").len());
    }

    #[test]
    fn what_is_wrongly_coded_is_refused() {
        for bytes in [
            frame(Opcode::Text, b"not masked"),
            masked(0xc1, b"reserved bit"),
            masked(0x83, b"unknown"),
            masked(0x80, b"goes on"),
            masked(0x09, b"ping in pieces"),
            masked(0x89, &[0; 126]),
            masked(0x82, &[0; 1001]),
            [masked(0x01, b"a"), masked(0x01, b"b")].concat(),
            [masked(0x02, &[0; 600]), masked(0x80, &[0; 401])].concat(),
            vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(heard(&bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(heard(&masked(0x82, &[7; 1000])), Ok(vec![Heard::Message(vec![7; 1000])]));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = heard(&bytes);
        }
    }
}
