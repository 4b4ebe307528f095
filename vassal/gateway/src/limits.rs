//! Every limit and deadline of the gateway that no option sets. `docs/limits.md` lists them.

use std::time::Duration;

/// A TLS handshake must be over by then, from the first byte of the connection.
pub(crate) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Requests of one HTTP/2 connection at a time.
pub(crate) const STREAMS_MAX: u32 = 128;

/// Requests of one connection that its client may take back before they are answered, beyond those that were answered
/// (RFC 9113, 10.5; CVE-2023-44487).
pub(crate) const TAKEN_BACK_MAX: u32 = 200;

/// So much of a body, in bytes, or all of it, must be here before a worker's connection is taken for its request.
pub(crate) const BODY_BEGUN_BYTES: usize = 16 * 1024;

/// The same for all requests of a connection together: more of them need less each.
pub(crate) const CONNECTION_BEGUN_BYTES: usize = 1024 * 1024;

/// Bodies, of all clients together, that have not begun so. One more, and the one that has waited for longest is refused.
pub(crate) const UNBEGUN_MAX: usize = 4096;

/// Most header lines of a worker's answer.
pub(crate) const ANSWER_HEADERS_MAX: usize = 512;

/// Longest head of a worker's answer, in bytes; also how much of one is received at a time.
pub(crate) const ANSWER_HEAD_MAX_BYTES: usize = 128 * 1024;

/// Connections to the workers at a time; more requests wait for one.
pub(crate) const WORKER_CONNECTIONS_MAX: usize = 4096;

/// Idle connections to the workers that are kept.
pub(crate) const WORKER_CONNECTIONS_IDLE_MAX: usize = 256;

/// A request waits so long for one.
pub(crate) const WORKER_ROOM_WITHIN: Duration = Duration::from_secs(10);

/// After so many seconds a client that had no worker may come again (RFC 9110, 10.2.3).
pub(crate) const RETRY_AFTER_S: u32 = 1;

/// A worker must take a connection's place in its queue by then; while the queue is full it is tried again and again.
pub(crate) const WORKER_WITHIN: Duration = Duration::from_secs(10);

/// The pause between two tries.
pub(crate) const WORKER_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// How much of a body waits in the gateway for a client or a worker that is slow, per stream, in bytes.
pub(crate) const WINDOW_BYTES: u32 = 256 * 1024;

/// The same for all streams of an HTTP/2 connection, in bytes.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// How much of an answer waits in the gateway for its client beside the part that is passed on, which is no longer than this, in
/// bytes, per request.
pub(crate) const SEND_BUFFER_BYTES: usize = 16 * 1024;

/// How much of a request's head is received at a time, in bytes.
pub(crate) const RECEIVE_BYTES: usize = 8192;

/// Most header fields of a request.
pub(crate) const HEADERS_MAX: usize = 128;

/// Most names of `sni-dir` whose certificates are kept in memory.
pub(crate) const DIRECTORY_NAMES_MAX: usize = 1000;

/// How often certificates are looked at for a change.
pub(crate) const CERTIFICATES_EVERY: Duration = Duration::from_secs(1);

/// Longest certificate or key file, in bytes.
pub(crate) const FILE_MAX_BYTES: u64 = 1 << 20;

/// How long nothing is accepted after descriptors ran out.
pub(crate) const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// First and longest pause between two calls of a gateway that looks for its next master.
pub(crate) const CALL_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// See [`CALL_AGAIN_AFTER`].
pub(crate) const CALL_AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);

/// How long the link to a master may be missing: it is taken away with the vassal, and nobody will call back then.
pub(crate) const LINK_MISSING_MAX: Duration = Duration::from_secs(5);
