//! Every bound of the request path that no option sets, in one place. `docs/limits.md` lists them beside those that
//! options set, and a test holds the two together. Those that an option sets come to the worker in its boot words.

/// Most headers of an HTTP request and most variables of the other protocols. uWSGI's `max-vars` is 64, which real
/// clients behind two proxies reach.
pub const HEADERS_MAX: usize = 128;

/// Headers that the gateway which ends TLS adds to these, at most.
pub const GATEWAY_HEADERS_MAX: usize = 8;

/// Longest sum of what it adds, in bytes: a client's certificate is in it, of which a handshake brings 64 KiB at most.
pub const GATEWAY_HEADERS_MAX_BYTES: usize = 160 * 1024;

/// Most empty lines before an HTTP request that are overlooked (RFC 9112 section 2.2 asks for at least one).
pub const LEADING_EMPTY_LINES_MAX: usize = 2;

/// Longest extension of one chunk, in bytes.
pub const CHUNK_EXTENSION_MAX_BYTES: u32 = 256;

/// Longest sum of all chunk extensions of a body, in bytes.
pub const CHUNK_EXTENSIONS_MAX_BYTES: u32 = 16 * 1024;

/// Longest trailer section of a chunked body with its line ends, in bytes.
pub const TRAILERS_MAX_BYTES: u32 = 8 * 1024;

/// Longest sum of what FastCGI's records add to the parameters of a request, in bytes.
pub const RECORDS_MAX_BYTES: usize = 16 * 1024;

/// Longest GET_VALUES record of FastCGI between the records of a body, in bytes.
pub const GET_VALUES_MAX_BYTES: usize = 1024;

/// Longest part of a PROXY protocol header of version 2 that follows its fixed beginning, in bytes. Load balancers send
/// some hundred; what they can add are names and identifiers.
pub const PROXY_V2_MAX_BYTES: usize = 4096;

/// Most entries of `X-Forwarded-For` or `Forwarded` that are looked at, from the last one on.
pub const FORWARDED_HOPS_MAX: usize = 32;

/// How much of a body is waited for before the app is called, in bytes.
pub const BODY_HELD_MAX_BYTES: usize = 64 * 1024;

/// Slowest pace of a request's body, in bytes per second, on top of what `body_timeout_ms` grants.
pub const BODY_MIN_BYTES_PER_S: u64 = 240;

/// Slowest pace at which a client takes an answer, in bytes per second, on top of what `write_timeout_ms` grants.
pub const ANSWER_MIN_BYTES_PER_S: u64 = 240;

/// How much of the last piece of an answer is taken from a thread whose client does not take it at once, in bytes.
pub const ANSWER_HELD_MAX_BYTES: usize = 1024 * 1024;

/// As much of all answers of a worker together: beyond it threads wait for their clients, in bytes.
pub const ANSWERS_HELD_MAX_BYTES: usize = 256 * 1024 * 1024;

/// A piece of an answer that is known whole is kept for any client when it is no longer than this, whatever is kept for others, in
/// bytes.
pub const ANSWER_SHORT_BYTES: usize = 64 * 1024;

/// How long a client is given to take the last piece of an answer before it is taken from the thread, where code of the app may
/// still run behind it, in ms.
pub const ANSWER_LINGER_MS: u64 = 20;

/// How long a client may go on sending what nobody reads, once its answer is sent, in ms: closing sooner would reset the
/// connection before it has read that answer (RFC 9112 section 9.6).
pub const REST_MAX_MS: u64 = 10_000;

/// Most ranges of a static file that one answer brings; who asks for more gets the whole file. Each costs a part head, and
/// many small ones are how a client makes a server work (RFC 9110 section 17.15, CVE-2011-3192).
pub const RANGES_MAX: usize = 16;
