//! Files in memory (memfd_create(2)) that nobody can change once they are sealed: how texts and tables are handed over.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::FileExt,
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

/// Longest content that [`read_all`] takes, in bytes.
pub const READ_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A sealed memfd with this content, close-on-exec. `name` is what /proc shows.
///
/// # Errors
/// memfd_create(2), write(2).
pub fn sealed(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(unsealed(name)?);
    file.write_all(bytes)?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// An empty memfd, close-on-exec, that grows as it is written.
///
/// # Errors
/// memfd_create(2).
pub fn growing(name: &str) -> io::Result<OwnedFd> {
    unsealed(name)
}

/// An empty memfd that can be sealed.
pub(crate) fn unsealed(name: &str) -> io::Result<OwnedFd> {
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?)
}

/// How many bytes a memfd has whose length nobody can change any more; None for every other descriptor.
#[must_use]
pub fn fixed_length(fd: BorrowedFd<'_>) -> Option<u64> {
    let seals = SealFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GET_SEALS).ok()?);
    let is_fixed = seals.contains(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW);
    u64::try_from(nix::sys::stat::fstat(fd).ok().filter(|_| is_fixed)?.st_size).ok()
}

/// The whole content, from its beginning, whatever the file's offset is (other holders share it).
///
/// # Errors
/// pread(2), or a file longer than [`READ_MAX_BYTES`].
pub fn read_all(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let file = File::from(fd.try_clone_to_owned()?);
    let mut content = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        let length = match file.read_at(&mut part, content.len() as u64) {
            Ok(0) => return Ok(content),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        content.extend_from_slice(&part[..length]);
        if content.len() as u64 > READ_MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {READ_MAX_BYTES} bytes")));
        }
    }
}
