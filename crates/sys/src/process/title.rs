//! What `ps` shows of this process: the bytes of its arguments, overwritten in place.

use std::ffi::CString;

use nix::sys::prctl;

/// Shows `title` in /proc/PID/cmdline, cut to the room that the arguments had, and its beginning as the thread's name.
/// Without the rights or the fields for it, nothing changes.
pub fn set_title(title: &str) {
    let clean: String = title.chars().filter(|c| *c != '\0').collect();
    let Ok(name) = CString::new(clean.as_bytes()) else { return };
    let name_set = prctl::set_name(&name);
    debug_assert!(name_set.is_ok(), "prctl(PR_SET_NAME) takes any text");
    if let Some((start, length)) = argument_region() {
        overwrite(start, length, clean.as_bytes());
    }
}

/// Where the kernel put this process's arguments: fields 48 and 49 of /proc/self/stat (proc(5), arg_start and arg_end).
fn argument_region() -> Option<(usize, usize)> {
    const ARG_START: usize = 48;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let start = usize::try_from(super::stat_field(&stat, ARG_START)?).ok()?;
    let end = usize::try_from(super::stat_field(&stat, ARG_START + 1)?).ok()?;
    (start != 0 && end > start).then_some((start, end - start))
}

fn overwrite(start: usize, length: usize, title: &[u8]) {
    let kept = &title[..title.len().min(length - 1)];
    let region = start as *mut u8;
    // SAFETY: the kernel names [start, start + length) as this process's argument area, which lies on its stack, is
    // mapped writable and stays so; nobody holds a Rust reference into it (std copies arguments), and the writes stay
    // within its length. A NUL ends the title; the rest is cleared so that nothing of the old text shows.
    unsafe {
        std::ptr::write_bytes(region, 0, length);
        std::ptr::copy_nonoverlapping(kept.as_ptr(), region, kept.len());
    }
}
