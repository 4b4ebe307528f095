//! The chunked transfer coding (RFC 9112 section 7.1), decoded as it comes. Sizes are hexadecimal digits and nothing
//! else, every line ends in CRLF, extensions and trailers are bounded and dropped. One odd byte ends the decoding for
//! good: whatever follows might be another request in the eyes of a proxy.

use crate::{
    limits::{CHUNK_EXTENSION_MAX_BYTES, CHUNK_EXTENSIONS_MAX_BYTES, TRAILERS_MAX_BYTES},
    target::hex,
};

/// Most digits of a chunk's size: what a u64 holds.
const SIZE_DIGITS_MAX: u32 = 16;

/// Why a body cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadChunk(pub &'static str);

/// What one call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that were used up.
    pub read: usize,
    /// Bytes of the body that were written to the output.
    pub written: usize,
}

/// A body being decoded.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    extensions_bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: u32 },
    Extension { size: u64, bytes: u32 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart { bytes: u32 },
    TrailerName { bytes: u32 },
    Trailer { bytes: u32 },
    TrailerLf { bytes: u32 },
    EndLf,
    Done,
    Broken(BadChunk),
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, extensions_bytes: 0 }
    }
}

impl Decoder {
    /// Whether the last chunk and the trailers have been read: what follows is the next request.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes until the input is used up, the output is full, or the body has ended.
    ///
    /// # Errors
    /// When the coding is broken; every later call says the same.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, BadChunk> {
        let mut written = 0;
        let read = self.advance(input, |part| {
            let take = part.len().min(output.len() - written);
            output[written..written + take].copy_from_slice(&part[..take]);
            written += take;
            take
        })?;
        Ok(Progress { read, written })
    }

    /// The same without an output: how much of the input belongs to the body.
    ///
    /// # Errors
    /// As above.
    pub fn pass(&mut self, input: &[u8]) -> Result<usize, BadChunk> {
        self.advance(input, <[u8]>::len)
    }

    /// Reads on until the input is used up, the body has ended, or `take` takes less than it is offered.
    fn advance(&mut self, input: &[u8], mut take: impl FnMut(&[u8]) -> usize) -> Result<usize, BadChunk> {
        let mut read = 0;
        loop {
            if let State::Data { left } = self.state {
                let offered = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - read);
                let taken = take(&input[read..read + offered]);
                read += taken;
                self.state =
                    if left == taken as u64 { State::DataCr } else { State::Data { left: left - taken as u64 } };
                if let State::Data { .. } = self.state {
                    return Ok(read);
                }
            }
            let Some(byte) = input.get(read).filter(|_| self.state != State::Done) else {
                return match self.state {
                    State::Broken(bad) => Err(bad),
                    _ => Ok(read),
                };
            };
            self.state = self.after(*byte).unwrap_or_else(State::Broken);
            if let State::Broken(bad) = self.state {
                return Err(bad);
            }
            read += 1;
        }
    }

    fn after(&mut self, byte: u8) -> Result<State, BadChunk> {
        Ok(match (self.state, byte) {
            (State::Size { size, digits }, _) if hex(byte).is_some() => {
                if digits == SIZE_DIGITS_MAX {
                    return Err(BadChunk("the size of a chunk does not fit"));
                }
                State::Size { size: size << 4 | u64::from(hex(byte).unwrap_or(0)), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(BadChunk("a chunk without a size")),
            (State::Size { size, .. }, b'\r') => State::SizeLf { size },
            (State::Size { size, .. }, b';') => self.extension(size, 0)?,
            (State::Size { .. }, _) => {
                return Err(BadChunk("the size of a chunk is not a hexadecimal number"));
            }
            (State::Extension { size, .. }, b'\r') => State::SizeLf { size },
            (State::Extension { size, bytes }, _) if is_text(byte) => self.extension(size, bytes)?,
            (State::SizeLf { size: 0 }, b'\n') => State::TrailerStart { bytes: 0 },
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::TrailerStart { .. }, b'\r') => State::EndLf,
            // Line ends count, or short lines would be free.
            (State::Trailer { bytes }, b'\r') => State::TrailerLf { bytes: bytes + 2 },
            (State::TrailerStart { bytes } | State::TrailerName { bytes }, _) if is_token(byte) => {
                State::TrailerName { bytes: one_more(bytes)? }
            }
            (State::TrailerName { bytes }, b':') => State::Trailer { bytes: one_more(bytes)? },
            (State::Trailer { bytes }, _) if is_text(byte) => State::Trailer { bytes: one_more(bytes)? },
            (State::TrailerLf { bytes }, b'\n') => State::TrailerStart { bytes },
            (State::EndLf, b'\n') => State::Done,
            (State::Broken(bad), _) => return Err(bad),
            (State::DataCr | State::DataLf, _) => {
                return Err(BadChunk("a chunk is longer than its size"));
            }
            _ => return Err(BadChunk("a line of the chunked coding is malformed")),
        })
    }

    fn extension(&mut self, size: u64, bytes: u32) -> Result<State, BadChunk> {
        self.extensions_bytes += 1;
        if bytes == CHUNK_EXTENSION_MAX_BYTES || self.extensions_bytes > CHUNK_EXTENSIONS_MAX_BYTES {
            return Err(BadChunk("the extensions of the chunks are too long"));
        }
        Ok(State::Extension { size, bytes: bytes + 1 })
    }
}

/// Another byte of the trailers.
fn one_more(bytes: u32) -> Result<u32, BadChunk> {
    if bytes >= TRAILERS_MAX_BYTES { Err(BadChunk("the trailers are too long")) } else { Ok(bytes + 1) }
}

/// RFC 9110 section 5.6.2: what the name of a trailer is made of.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
