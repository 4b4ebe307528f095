//! A zygote whose app has started threads at import runs itself again (execv), this time leaving the import to the
//! workers: threads do not survive a fork, and locks they hold stay locked for ever in the child.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use empery_control::boot::AppBoot;
use empery_sys::memfd;
use pyo3::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    os::{OnExec, on_exec},
    python, zygote,
};

/// What the process tells its next self through a memfd.
#[derive(Serialize, Deserialize)]
struct Told {
    boot: Box<AppBoot>,
    threads_at_import: Vec<String>,
}

/// What the process was told by its former self, if it has one.
pub(crate) fn told(resume: RawFd) -> io::Result<Option<(Box<AppBoot>, Vec<String>)>> {
    if resume < 0 {
        return Ok(None);
    }
    // SAFETY: the former self has made this descriptor for this one, and its number comes once, on the command line.
    let fd = unsafe { OwnedFd::from_raw_fd(resume) };
    let told: Told = serde_json::from_slice(&memfd::read_all(fd.as_fd())?)?;
    Ok(Some((told.boot, told.threads_at_import)))
}

/// Runs the interpreter again with the same command line; returns only when that fails.
pub(crate) fn lazily(
    py: Python<'_>,
    boot: &AppBoot,
    threads_at_import: Vec<String>,
    channel: &OwnedFd,
    command_line: &[u8],
) -> PyResult<()> {
    let next = Told { boot: Box::new(AppBoot { lazy_apps: true, ..boot.clone() }), threads_at_import };
    let bytes = serde_json::to_vec(&next).map_err(io::Error::other)?;
    let fd = memfd::sealed("empery-zygote", &bytes)?;
    let mut words: Vec<CString> = command_line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .filter_map(|word| CString::new(word).ok())
        .collect();
    words.push(CString::new(fd.as_raw_fd().to_string()).map_err(io::Error::other)?);
    let executable: String = py.import("sys")?.getattr("executable")?.extract()?;
    let program = CString::new(executable).map_err(io::Error::other)?;
    for inherited in zygote::inherited(boot, channel).into_iter().chain([fd.as_raw_fd()]) {
        on_exec(inherited, OnExec::Keep)?;
    }
    python::flush(py);
    let Err(error) = nix::unistd::execv(&program, &words);
    Err(io::Error::from(error).into())
}
