//! The system calls of the request path, each as thin as it can be: the loop wants to see `EAGAIN` and `EINTR` as they
//! are (a wrapper that retries `EINTR` would make Python's signal handlers wait for the next request).
//! What is not on the request path goes through `empery-sys` or nix.

use std::{
    ffi::CStr,
    io,
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn count(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Whether it would have waited.
pub(crate) fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Receives without waiting, into the free space of `buffer`, at most `most` bytes. 0 is the end.
pub(crate) fn receive(fd: RawFd, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    buffer.reserve(most);
    let received = receive_into(fd, &mut buffer.spare_capacity_mut()[..most])?;
    // SAFETY: recv has written `received` bytes behind the old length, within the capacity.
    unsafe { buffer.set_len(buffer.len() + received) };
    Ok(received)
}

/// Receives without waiting; how many bytes at the beginning of `space` are set. 0 is the end.
pub(crate) fn receive_into(fd: RawFd, space: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    // SAFETY: `space` is writable for its whole length; recv writes at most that many bytes.
    count(unsafe { libc::recv(fd, space.as_mut_ptr().cast(), space.len(), libc::MSG_DONTWAIT) })
}

/// Pieces up to this size together are copied into one, in bytes: the kernel needs longer to look at several.
const JOINED_MAX_BYTES: usize = 2048;

/// Sends pieces in one call without waiting; how many bytes were taken.
pub(crate) fn send(fd: RawFd, pieces: [&[u8]; 3]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if let [only, [], []] | [[], only, []] = pieces {
        // SAFETY: `only` is readable for its whole length.
        return count(unsafe { libc::send(fd, only.as_ptr().cast(), only.len(), flags) });
    }
    let mut joined = [MaybeUninit::uninit(); JOINED_MAX_BYTES];
    if let Some(length) = join(pieces, &mut joined) {
        // SAFETY: `length` bytes of it are set.
        return count(unsafe { libc::send(fd, joined.as_ptr().cast(), length, flags) });
    }
    let mut pieces =
        pieces.map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() });
    // SAFETY: a msghdr of zeros is one without name, control data and pieces.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len() as _;
    // SAFETY: `message` points at pieces that live until after the call and are only read by it.
    count(unsafe { libc::sendmsg(fd, &message, flags) })
}

/// Sends bytes that more will follow soon: they leave together with it (send(2), `MSG_MORE`).
pub(crate) fn send_ahead(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_MORE;
    // SAFETY: `bytes` is readable for its whole length.
    count(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Puts pieces one behind the other; None when there is not enough space.
fn join(pieces: [&[u8]; 3], space: &mut [MaybeUninit<u8>]) -> Option<usize> {
    let mut length = 0_usize;
    for piece in pieces {
        space.get_mut(length..length.checked_add(piece.len())?)?.write_copy_of_slice(piece);
        length += piece.len();
    }
    Some(length)
}

/// Copies from a file to a socket inside the kernel, without waiting for the socket; moves `offset` on.
pub(crate) fn send_file(socket: RawFd, file: RawFd, offset: &mut i64, most: usize) -> io::Result<usize> {
    // SAFETY: `offset` is a valid place for an off_t.
    count(unsafe { libc::sendfile(socket, file, offset, most) })
}

/// What was given to the kernel for this socket and not taken by the peer yet, in bytes (tcp(7), SIOCOUTQ).
pub(crate) fn unsent_bytes(fd: RawFd) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, of the same number as SIOCOUTQ, writes an int.
    let result = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { 0 } else { u64::try_from(bytes).unwrap_or(0) }
}

/// What to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    Read,
    Write,
}

/// Waits for one descriptor, for ever when the time does not fit. False when the time is over.
pub(crate) fn wait(fd: RawFd, ready: Ready, timeout_ms: u64) -> io::Result<bool> {
    let events = match ready {
        Ready::Read => libc::POLLIN,
        Ready::Write => libc::POLLOUT,
    };
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    let timeout = libc::c_int::try_from(timeout_ms).unwrap_or(-1);
    // SAFETY: one valid pollfd.
    Ok(check(unsafe { libc::poll(&mut entry, 1, timeout) })? > 0)
}

/// Whether the other end of a socket is closed. Signal-safe.
pub(crate) fn is_hung_up(fd: RawFd) -> bool {
    let mut entry = libc::pollfd { fd, events: 0, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&mut entry, 1, 0) > 0 && entry.revents & libc::POLLHUP != 0 }
}

/// Has this signal raised in this process whenever something happens on a socket (fcntl(2), O_ASYNC).
pub(crate) fn raise_on_events(fd: RawFd, signal: libc::c_int) -> io::Result<()> {
    /// asm-generic/fcntl.h.
    const F_SETSIG: libc::c_int = 10;
    // SAFETY: numbers only; getpid cannot fail.
    unsafe {
        check(libc::fcntl(fd, libc::F_SETOWN, libc::getpid()))?;
        check(libc::fcntl(fd, F_SETSIG, signal))?;
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_ASYNC))?;
    }
    Ok(())
}

/// Takes that back.
pub(crate) fn raise_no_more(fd: RawFd) -> io::Result<()> {
    // SAFETY: numbers only.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_ASYNC))?;
    }
    Ok(())
}

/// Accepts without waiting; the connection is non-blocking and close-on-exec. The peer is None on a unix socket.
pub(crate) fn accept(listener: RawFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    // SAFETY: zeros are a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `storage` has room for every address family and `length` says how much.
    let fd = check(unsafe { libc::accept4(listener, (&raw mut storage).cast(), &mut length, flags) })?;
    // SAFETY: accept4 has just made it, nobody else owns it.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, socket_address(&storage)))
}

/// Whether a unix socket was connected by this process's user, or root (SO_PEERCRED, unix(7)).
pub(crate) fn is_own_user(fd: BorrowedFd<'_>) -> bool {
    let peer = nix::sys::socket::getsockopt(&fd, nix::sys::socket::sockopt::PeerCredentials);
    peer.is_ok_and(|peer| peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw())
}

/// The address of the peer of a connection that came from another process.
pub(crate) fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    // SAFETY: zeros are a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `storage` has room for every address family and `length` says how much.
    check(unsafe { libc::getpeername(fd, (&raw mut storage).cast(), &mut length) }).ok()?;
    socket_address(&storage)
}

fn socket_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in; the storage is aligned and large enough for it.
            let v4 = unsafe { *(&raw const *storage).cast::<libc::sockaddr_in>() };
            Some(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))),
                u16::from_be(v4.sin_port),
            ))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is a sockaddr_in6; the storage is aligned and large enough for it.
            let v6 = unsafe { *(&raw const *storage).cast::<libc::sockaddr_in6>() };
            Some(SocketAddr::new(Ipv6Addr::from(v6.sin6_addr.s6_addr).to_canonical(), u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

/// Says the end of the stream although a child of the app may hold a copy of the descriptor.
pub(crate) fn shut_down_sending(fd: RawFd) {
    // SAFETY: no memory is passed. A connection the client has reset already needs no end.
    let _ = unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Whoever receives from it sees the end, once what has come is read.
pub(crate) fn shut_down_receiving(fd: RawFd) {
    // SAFETY: no memory is passed. A connection the client has reset has ended already.
    let _ = unsafe { libc::shutdown(fd, libc::SHUT_RD) };
}

/// Makes the coming close a reset, so that the client cannot take a truncated answer for a whole one.
pub(crate) fn reset_on_close(fd: RawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: SO_LINGER takes a `linger` of that size. On a unix socket it does nothing.
    let _ = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        )
    };
}

/// No waiting for more bytes before a small answer is sent; accepted connections inherit it. Fails on unix sockets, which need none.
pub(crate) fn no_delay(fd: RawFd) {
    set_tcp_option(fd, libc::TCP_NODELAY, 1);
}

/// Leaves a connection with the kernel until something has come on it, for about so long; 0 takes each at once (tcp(7),
/// TCP_DEFER_ACCEPT). Fails on unix sockets, where there is no such thing.
pub(crate) fn defer_accept(listener: RawFd, at_most_s: libc::c_int) {
    set_tcp_option(listener, libc::TCP_DEFER_ACCEPT, at_most_s);
}

/// The kernel's buffers of connections, in bytes (socket(7)); 0 leaves one as it is. Accepted connections inherit them.
pub(crate) fn buffers(listener: RawFd, send_bytes: u32, receive_bytes: u32) {
    for (option, bytes) in [(libc::SO_SNDBUF, send_bytes), (libc::SO_RCVBUF, receive_bytes)] {
        if bytes > 0 {
            set_option(listener, libc::SOL_SOCKET, option, bytes.cast_signed());
        }
    }
}

/// Whether the kernel asks idle clients for a sign of life (socket(7), SO_KEEPALIVE). Accepted connections inherit it.
pub(crate) fn keepalive(listener: RawFd, is_on: bool) {
    set_option(listener, libc::SOL_SOCKET, libc::SO_KEEPALIVE, libc::c_int::from(is_on));
}

/// Lets so many clients send with their first packet (tcp(7), TCP_FASTOPEN). Fails on unix sockets.
pub(crate) fn fast_open(listener: RawFd, queue: libc::c_int) {
    set_tcp_option(listener, libc::TCP_FASTOPEN, queue);
}

fn set_tcp_option(fd: RawFd, option: libc::c_int, value: libc::c_int) {
    set_option(fd, libc::IPPROTO_TCP, option, value);
}

fn set_option(fd: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    // SAFETY: an int is readable, and its size is what is said.
    let _ = unsafe {
        libc::setsockopt(fd, level, option, (&raw const value).cast(), size_of_val(&value) as libc::socklen_t)
    };
}

/// Whether the descriptor is closed by exec.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnExec {
    Close,
    Keep,
}

/// Sets that.
pub(crate) fn on_exec(fd: RawFd, on_exec: OnExec) -> io::Result<()> {
    let flags = match on_exec {
        OnExec::Close => libc::FD_CLOEXEC,
        OnExec::Keep => 0,
    };
    // SAFETY: F_SETFD takes an int.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) }).map(|_| ())
}

/// Makes `to` another name of `from`.
pub(crate) fn duplicate_onto(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::dup2(from, to) }).map(|_| ())
}

/// Another descriptor for the same open file, closed by exec.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let copy = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: fcntl has just made it, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// A new event counter, for waking a thread.
pub(crate) fn event_counter() -> io::Result<OwnedFd> {
    new_eventfd(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)
}

/// A new semaphore at nothing: of those who lower it one gets each that was raised.
pub(crate) fn semaphore() -> io::Result<OwnedFd> {
    new_eventfd(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE)
}

fn new_eventfd(flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::eventfd(0, flags) })?;
    // SAFETY: eventfd has just made it, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Raises an event counter.
pub(crate) fn raise(counter: &OwnedFd) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: eight readable bytes. A full counter wakes as well.
    let _ = unsafe { libc::write(counter.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Sets an event counter back to nothing, a semaphore back by one. False when there was nothing.
pub(crate) fn lower(counter: &OwnedFd) -> bool {
    let mut space = [0_u8; 8];
    // SAFETY: eight writable bytes. A counter that is not raised says EAGAIN.
    unsafe { libc::read(counter.as_raw_fd(), space.as_mut_ptr().cast(), space.len()) > 0 }
}

/// Sends a message with one descriptor, without waiting. Allocates nothing, for signal handlers.
pub(crate) fn send_with_descriptor(socket: RawFd, bytes: &[u8], descriptor: RawFd) -> io::Result<()> {
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        descriptor: RawFd,
    }
    // Layout of unix(7): the descriptor follows its header, whose size is a multiple of the alignment.
    let length = size_of::<libc::cmsghdr>() + size_of::<RawFd>();
    // SAFETY: zeros are a valid cmsghdr.
    let mut control = Control { header: unsafe { std::mem::zeroed() }, descriptor };
    control.header.cmsg_len = length as _;
    control.header.cmsg_level = libc::SOL_SOCKET;
    control.header.cmsg_type = libc::SCM_RIGHTS;
    let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a msghdr of zeros is one without name, control data and pieces.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = length as _;
    // SAFETY: `message` points at a piece and control data that live until after the call and are only read by it.
    count(unsafe { libc::sendmsg(socket, &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) }).map(|_| ())
}

/// What Python calls `threading.get_ident()`: on Linux the number of pthread_self(3).
pub(crate) fn thread_ident() -> u64 {
    // SAFETY: pthread_self takes nothing and cannot fail.
    unsafe { libc::pthread_self() as u64 }
}

/// CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME in nanoseconds since 1970.
pub(crate) fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for a timespec; both clocks exist on every Linux.
    let _ = unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Local time as ctime(3) writes it, without the line's end: `Sun Nov 22 12:09:41 2026`.
pub(crate) fn ctime(unix_s: u64) -> String {
    local_time(unix_s, c"%a %b %e %H:%M:%S %Y")
}

/// Local time in a format of strftime(3); as much of it as fits into 256 bytes, or nothing.
pub(crate) fn local_time(unix_s: u64, format: &CStr) -> String {
    let time = unix_s as libc::time_t;
    // SAFETY: zeros are a valid tm.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    let mut text = [0_u8; 256];
    // SAFETY: valid places for both, and a format that ends; strftime writes no more than it is told there is room for.
    let length = unsafe {
        if libc::localtime_r(&time, &mut parts).is_null() {
            return "-".to_owned();
        }
        libc::strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), &parts)
    };
    String::from_utf8_lossy(&text[..length]).into_owned()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, in English whatever the app has set as its locale.
pub(crate) fn http_date(unix_s: u64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = unix_s as libc::time_t;
    // SAFETY: zeros are a valid tm.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: valid places for both.
    unsafe { libc::gmtime_r(&time, &mut parts) };
    let (day, month) = (DAYS[parts.tm_wday.rem_euclid(7) as usize], MONTHS[parts.tm_mon.rem_euclid(12) as usize]);
    format!(
        "{day}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
        parts.tm_mday,
        parts.tm_year + 1900,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec
    )
}

/// Whether a descriptor is a pipe.
pub(crate) fn is_pipe(fd: RawFd) -> bool {
    // SAFETY: zeros are a valid stat, and it is writable.
    let mut facts: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `facts` is a valid place.
    let known = unsafe { libc::fstat(fd, &raw mut facts) };
    known == 0 && facts.st_mode & libc::S_IFMT == libc::S_IFIFO
}

/// Writes to a pipe without waiting, whole or not at all when `bytes` are at most PIPE_BUF. The descriptor itself is shared
/// with the app, whose writes are to wait: so it is asked for with each call (RWF_NOWAIT, pwritev2(2), for pipes since Linux
/// 6.4), or by looking for room first, which another writer may take at that very moment.
pub(crate) fn write_now(fd: RawFd, bytes: &[u8]) -> io::Result<()> {
    let piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: `piece` is readable for its whole length; an offset of -1 is the current place.
    match count(unsafe { libc::pwritev2(fd, &raw const piece, 1, -1, libc::RWF_NOWAIT) }) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL)) => {}
        other => return other.map(drop),
    }
    let mut entry = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid entry, and no wait.
    if unsafe { libc::poll(&raw mut entry, 1, 0) } < 1 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    // SAFETY: `bytes` are readable for their whole length.
    count(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) }).map(drop)
}

/// `2026-11-22T12:09:41Z` (RFC 3339).
pub(crate) fn rfc3339(unix_s: u64) -> String {
    let time = unix_s as libc::time_t;
    // SAFETY: zeros are a valid tm.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: valid places for both.
    unsafe { libc::gmtime_r(&time, &mut parts) };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        parts.tm_year + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec
    )
}

/// One write to stderr: a line at most as long as PIPE_BUF is not mixed with others (pipe(7)). Lost when the log is full or gone.
pub(crate) fn write_stderr(line: &[u8]) {
    // SAFETY: `line` is readable for its whole length.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
}

/// Whether the other end of a connection is there, as far as is known: no error waits, and not its end either.
pub(crate) fn is_connected(fd: RawFd) -> bool {
    let mut byte = 0_u8;
    // SAFETY: one byte of our own is offered, and nothing is taken from the socket.
    let seen = unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
    seen > 0 || (seen < 0 && would_block(&io::Error::last_os_error()))
}

/// Writes all of it, waiting where the other end is slow.
pub(crate) fn write_all(fd: RawFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: as many bytes as the slice has.
        match count(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) }) {
            Ok(written) => bytes = &bytes[written.min(bytes.len())..],
            Err(error) if would_block(&error) => drop(wait(fd, Ready::Write, u64::MAX)?),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads once.
pub(crate) fn read_once(fd: RawFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: as many bytes as the slice has.
    count(unsafe { libc::read(fd, into.as_mut_ptr().cast(), into.len()) })
}

/// Whether this process has more threads than the calling one, whoever has started them (proc(5), `/proc/self/task`). When that
/// cannot be told it may have.
pub(crate) fn has_other_threads() -> bool {
    std::fs::read_dir("/proc/self/task").map_or(true, |threads| threads.count() != 1)
}

/// fork(2), of which neither Python nor the app learns: 0 in the child, in which only the calling thread lives on, with Python's
/// lock.
pub(crate) fn fork_without_hooks(_: pyo3::Python<'_>) -> io::Result<i32> {
    // SAFETY: no memory is passed. The caller has seen that there is no other thread, whose locks would stay locked in the
    // child.
    let pid = unsafe { libc::fork() };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}
