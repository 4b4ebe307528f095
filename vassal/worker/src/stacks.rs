//! Collects the stacks of all threads in Python: what `sys._current_frames()` shows, with the names that `threading` has
//! for them. Imports nothing and takes no lock of the app's, which another thread may hold for ever.

use std::{collections::HashMap, fs};

use empery_control::stacks::{FRAMES_MAX, Frame, TEXT_MAX_BYTES, ThreadStack};
use pyo3::{
    prelude::*,
    types::{PyDict, PyString},
};

use crate::{os, serve::green};

/// Longest source file that is read for its lines, in bytes.
const SOURCE_MAX_BYTES: u64 = 1024 * 1024;

/// Longest text of one part of a frame, in characters.
const PART_MAX_CHARS: usize = 200;

/// The lines of source files, each read once.
#[derive(Default)]
struct Sources(HashMap<String, Vec<String>>);

/// What every thread does now.
pub(crate) fn collect(py: Python<'_>) -> PyResult<Vec<ThreadStack>> {
    let current = py.import("sys")?.call_method0("_current_frames")?;
    let current = current.cast::<PyDict>()?;
    let names = names(py);
    let mut sources = Sources::default();
    let greenlets = green::sitting(py);
    let each_bytes = TEXT_MAX_BYTES / (current.len() + greenlets.len()).max(1);
    let running = green::ident(py);
    let mut threads = Vec::new();
    for (ident, frame) in greenlets.into_iter().filter_map(|(ident, frame)| Some((ident, frame?))) {
        threads.push(stack(Some("a greenlet".to_owned()), ident, frame, &mut sources, each_bytes)?);
    }
    for (ident, frame) in current.iter() {
        let mut ident: u64 = ident.extract()?;
        let name = names.get(&ident).cloned();
        if ident == os::thread_ident() {
            // With greenlets this is what the running one does.
            ident = running;
        }
        threads.push(stack(name, ident, frame, &mut sources, each_bytes)?);
    }
    Ok(threads)
}

/// One of them.
fn stack(
    name: Option<String>,
    ident: u64,
    frame: Bound<'_, PyAny>,
    sources: &mut Sources,
    each_bytes: usize,
) -> PyResult<ThreadStack> {
    let (frames, frames_left_out) = frames(frame, sources, each_bytes)?;
    Ok(ThreadStack { name, ident, core: None, request: None, frames, frames_left_out, is_current: false })
}

/// `threading`'s own table: `threading.enumerate()` would wait for its lock.
fn names(py: Python<'_>) -> HashMap<u64, String> {
    let read = || -> PyResult<HashMap<u64, String>> {
        let modules = py.import("sys")?.getattr("modules")?;
        let threading = modules.cast::<PyDict>()?.get_item("threading")?;
        let Some(threading) = threading else { return Ok(HashMap::new()) };
        let active = threading.getattr("_active")?;
        let mut names = HashMap::new();
        for (ident, thread) in active.cast::<PyDict>()?.iter() {
            let name = thread.getattr("name")?;
            names.insert(ident.extract()?, short(&name.cast::<PyString>()?.to_string_lossy()));
        }
        Ok(names)
    };
    // Without names the stacks are still of use.
    read().unwrap_or_default()
}

/// From the innermost frame outwards, as many as are allowed; the outermost first, and how many there are beyond.
fn frames(innermost: Bound<'_, PyAny>, sources: &mut Sources, most_bytes: usize) -> PyResult<(Vec<Frame>, u64)> {
    let (mut found, mut bytes, mut left_out) = (Vec::new(), 0, 0);
    let mut next = Some(innermost);
    while let Some(at) = next {
        if found.len() < FRAMES_MAX && bytes < most_bytes {
            let frame = frame(&at, sources)?;
            bytes += frame.file.len() + frame.function.len() + frame.code.as_ref().map_or(0, String::len) + 80;
            found.push(frame);
        } else {
            left_out += 1;
        }
        let outer = at.getattr("f_back")?;
        next = (!outer.is_none()).then_some(outer);
    }
    found.reverse();
    Ok((found, left_out))
}

fn frame(at: &Bound<'_, PyAny>, sources: &mut Sources) -> PyResult<Frame> {
    let code = at.getattr("f_code")?;
    let text =
        |name: &str| -> PyResult<String> { Ok(code.getattr(name)?.cast::<PyString>()?.to_string_lossy().into_owned()) };
    let (file, function) = (text("co_filename")?, text("co_name")?);
    let line: u32 = at.getattr("f_lineno")?.extract().unwrap_or(0);
    let code = sources.line(&file, line);
    Ok(Frame { file: short(&file), line, function: short(&function), code })
}

impl Sources {
    fn line(&mut self, file: &str, line: u32) -> Option<String> {
        let lines = self.0.entry(file.to_owned()).or_insert_with(|| read(file));
        let index = usize::try_from(line.checked_sub(1)?).ok()?;
        lines.get(index).map(|line| short(line.trim())).filter(|line| !line.is_empty())
    }
}

/// Nothing, when it is no file that can be read at once.
fn read(file: &str) -> Vec<String> {
    let is_short = fs::metadata(file).is_ok_and(|facts| facts.is_file() && facts.len() <= SOURCE_MAX_BYTES);
    let content = if is_short { fs::read(file).unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&content).lines().map(str::to_owned).collect()
}

/// Without what could garble a terminal.
fn short(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(PART_MAX_CHARS).collect()
}
