//! Leaving the interpreter. Python waits for threads of the app that are no daemons before it runs the app's exit handlers
//! (`threading._shutdown`), and one that waits for something itself would be waited for until the master's mercy ends.
//! So a worker, a mule or a spooler gives them the time they use, and not the time in which they do nothing.

use pyo3::{prelude::*, types::PyModule};

/// How long the threads may stand still, in s, all of them together.
const STILL_MAX_S: f64 = 3.0;

/// CPU time in that while, in s, that is no standing still: more than looking around now and then takes.
const STILL_CPU_MAX_S: f64 = 0.03;

/// `others(still, cpu)` waits for the threads; answers with the names of those that stood still. `end(code)` does what the
/// interpreter does behind them, and does not come back.
const LEAVE: &std::ffi::CStr = cr#"
import atexit, os, sys, threading, time

def left():
    me = threading.current_thread()
    return [one for one in threading.enumerate() if one is not me and not one.daemon and one.is_alive()]

def wait():
    # What threading._shutdown does first: concurrent.futures tells its threads to end there.
    for call in reversed(getattr(threading, '_threading_atexits', [])):
        call()
    main = threading.main_thread()
    for one in left():
        if one is not main:
            one.join()

def others(still, cpu):
    if not left():
        return []
    waiter = threading.Thread(target=wait, name='empery-leave', daemon=True)
    waiter.start()
    began, used = time.monotonic(), time.process_time()
    while waiter.is_alive():
        waiter.join(still / 10)
        now, using = time.monotonic(), time.process_time()
        if using - used > cpu:
            began, used = now, using
        elif now - began >= still:
            return [one.name for one in left()]
    return []

def end(code):
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    os._exit(code)
"#;

/// Waits for the app's threads as long as they do something. Comes back when there are none, for the interpreter to end
/// as usual; ends the process itself, with this code, when some stand still, and says so.
pub(crate) fn leave(py: Python<'_>, code: i32, say: impl FnOnce(&str)) -> PyResult<()> {
    if !py.import("sys")?.getattr("modules")?.contains("threading")? {
        return Ok(());
    }
    let module = PyModule::from_code(py, LEAVE, c"leave", c"empery_leave")?;
    let still: Vec<String> = module.getattr("others")?.call1((STILL_MAX_S, STILL_CPU_MAX_S))?.extract()?;
    if still.is_empty() {
        return Ok(());
    }
    let (number, first) = (still.len(), still.first().map_or("", String::as_str));
    say(&format!("{number} threads of the app ({first}, ...) are no daemons and stand still: it leaves without them"));
    module.getattr("end")?.call1((code,))?;
    Ok(())
}
