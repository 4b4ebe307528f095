//! How a word becomes bytes: one word is one message of a `SOCK_SEQPACKET` unix socket, as JSON, with its
//! descriptors beside it (unix(7), SCM_RIGHTS). The socket keeps message borders, so there is no length field.

use serde::{Serialize, de::DeserializeOwned};

/// Longest message, in bytes; below the default send buffer of Linux (212,992 bytes, of which the kernel
/// takes its own overhead). Lists are sent in parts, texts are capped, files go as descriptors.
pub const MAX_MESSAGE_BYTES: usize = 96 * 1024;

/// Most descriptors with one message (SCM_MAX_FD of Linux is 253).
pub const MAX_MESSAGE_FDS: usize = 200;

/// Why a message was not made or understood.
#[derive(Debug, thiserror::Error)]
pub enum FramingError {
    /// The word does not fit.
    #[error("a control message of {bytes} bytes is longer than the {MAX_MESSAGE_BYTES} allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The bytes are not a word of this pair of speakers, or it cannot be written.
    #[error("a control message was not understood")]
    Json(#[from] serde_json::Error),
}

/// The bytes of a word.
///
/// # Errors
/// When it is longer than [`MAX_MESSAGE_BYTES`].
pub fn encode<T: Serialize>(word: &T) -> Result<Vec<u8>, FramingError> {
    let bytes = serde_json::to_vec(word)?;
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(FramingError::TooLong { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// The word of the bytes.
///
/// # Errors
/// When they are not one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FramingError> {
    Ok(serde_json::from_slice(bytes)?)
}
