//! The functions of `uwsgi` about mules. Present also where a vassal has none, as in uWSGI: what cannot work says so.

use std::time::Duration;

use pyo3::{
    exceptions::{PySystemExit, PyValueError},
    prelude::*,
    types::{PyBytes, PyModule, PyString},
};

use super::{
    PostProcess,
    leaving::{self, Wanted},
    mule::{self, Farms},
    queues::{self, Address},
    wait::wait_for,
};
use crate::{
    os,
    signals::{self, Received},
    uwsgi_module::add_functions,
};

pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        module,
        mule_id,
        mule_msg,
        mule_get_msg,
        mule_msg_recv_size,
        farm_msg,
        farm_get_msg,
        in_farm,
        install_mule_msg_hook,
        i_am_the_spooler
    );
    Ok(())
}

/// From 1 in a mule; 0 elsewhere.
#[pyfunction]
fn mule_id() -> u32 {
    PostProcess::here().map_or(0, PostProcess::mule)
}

/// Whether this process is a spooler: True or None.
#[pyfunction]
fn i_am_the_spooler() -> Option<bool> {
    PostProcess::here().filter(|here| here.mule() == 0).map(|_| true)
}

/// Bytes of str or bytes.
fn bytes(message: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    match message.cast::<PyString>() {
        Ok(text) => Ok(text.to_string_lossy().into_owned().into_bytes()),
        Err(_) => Ok(message.cast::<PyBytes>()?.as_bytes().to_vec()),
    }
}

/// Puts a message into the queue of any mule, of the mule of this number, or of the farm of this name. False when there is
/// no room. A farm's name is bytes in uWSGI on Python 3; str is taken, too.
#[pyfunction]
#[pyo3(signature = (message, mule=None))]
fn mule_msg(message: &Bound<'_, PyAny>, mule: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
    let message = bytes(message)?;
    let Some(queues) = queues::get() else { return Err(PyValueError::new_err("no mule configured")) };
    let put = match mule {
        None => queues.put(Address::Any, &message),
        Some(mule) => match mule.extract::<u32>() {
            Ok(0) => queues.put(Address::Any, &message),
            Ok(number) => queues.put(Address::Mule(number), &message),
            Err(_) => {
                let name = bytes(mule).map_err(|_| PyValueError::new_err("invalid mule"))?;
                queues.put(Address::Farm(&String::from_utf8_lossy(&name)), &message)
            }
        },
    };
    match put {
        None if mule.is_some_and(|mule| mule.extract::<u32>().is_err()) => Err(PyValueError::new_err("unknown farm")),
        None => Err(PyValueError::new_err("invalid mule number")),
        Some(put) => Ok(said(put)),
    }
}

/// Puts a message into the queue of a farm.
#[pyfunction]
fn farm_msg(farm: &str, message: &Bound<'_, PyAny>) -> PyResult<()> {
    let message = bytes(message)?;
    match queues::get().and_then(|queues| queues.put(Address::Farm(farm), &message)) {
        None => Err(PyValueError::new_err(format!("unknown farm: {farm}"))),
        Some(put) => {
            said(put);
            Ok(())
        }
    }
}

fn said(put: std::io::Result<()>) -> bool {
    match put {
        Ok(()) => true,
        Err(error) if os::would_block(&error) => {
            os::write_stderr(b"*** MULE MSG QUEUE IS FULL (you can tune it with mule-msg-size) ***\n");
            false
        }
        Err(error) => {
            os::write_stderr(format!("*** a message for a mule was not sent: {error} ***\n").as_bytes());
            false
        }
    }
}

fn here(what: &str) -> PyResult<(&'static PostProcess, u32)> {
    let here = PostProcess::here().filter(|here| here.mule() > 0);
    here.map(|here| (here, here.mule()))
        .ok_or_else(|| PyValueError::new_err(format!("you can receive {what} messages only in a mule !!!")))
}

/// A script that is to leave does so where it waits: the signal may have come while something was to be finished first.
fn leave_if(leaves: bool) -> PyResult<()> {
    if leaves { Err(PySystemExit::new_err(0)) } else { Ok(()) }
}

/// Waits for a message, at most `timeout` seconds; None when none came, or when the function of a signal was run instead.
#[pyfunction]
#[pyo3(signature = (signals=true, farms=true, buffer_size=65_536, timeout=-1))]
fn mule_get_msg<'py>(
    py: Python<'py>,
    signals: bool,
    farms: bool,
    buffer_size: usize,
    timeout: i64,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let (here, number) = here("mule")?;
    let farms = if farms { Farms::Too } else { Farms::No };
    let timeout = u64::try_from(timeout).ok().map(Duration::from_secs);
    leaving::takes_messages(farms);
    loop {
        let wanted = here.wanted();
        leave_if(wanted == Wanted::Leaves)?;
        if let Some(message) = mule::next_message(number, buffer_size, farms)? {
            return Ok(Some(PyBytes::new(py, &message)));
        }
        if signals && let Received::Signal(signal) = signals::receive() {
            here.work(py, here.boot.mules.harakiri_s, || signals::run_beside(py, signal))?;
            leave_if(here.wanted() == Wanted::Leaves)?;
            return Ok(None);
        }
        leave_if(wanted == Wanted::Finishes)?;
        let letterbox = signals::letterbox().filter(|_| signals).into_iter().chain(here.line());
        let sources: Vec<_> = mule::sources(number, farms).into_iter().chain(letterbox).collect();
        if !wait_for(py, &sources, timeout)? {
            return Ok(None);
        }
    }
}

/// Longest message that the function for messages gets, in bytes.
#[pyfunction]
fn mule_msg_recv_size() -> usize {
    queues::message_max_bytes()
}

/// Waits for a message to a farm of this mule.
#[pyfunction]
fn farm_get_msg(py: Python<'_>) -> PyResult<Option<Bound<'_, PyBytes>>> {
    let (here, number) = here("farm")?;
    let mut sources = mule::sources(number, Farms::Only);
    if sources.is_empty() {
        return Err(PyValueError::new_err(format!("mule {number} is in no farm")));
    }
    sources.extend(here.line());
    leaving::takes_messages(Farms::Only);
    loop {
        let wanted = here.wanted();
        leave_if(wanted == Wanted::Leaves)?;
        if let Some(message) = mule::next_message(number, 65_536, Farms::Only)? {
            return Ok(Some(PyBytes::new(py, &message)));
        }
        leave_if(wanted == Wanted::Finishes)?;
        wait_for(py, &sources, None)?;
    }
}

/// True in a mule of this farm, or of any; else None.
#[pyfunction]
#[pyo3(signature = (name=None))]
fn in_farm(name: Option<&str>) -> Option<bool> {
    let number = PostProcess::here().map_or(0, PostProcess::mule);
    queues::get().filter(|queues| queues.is_in_farm(number, name)).map(|_| true)
}

/// The function is called with each message that comes to a mule without a script of its own.
#[pyfunction]
fn install_mule_msg_hook(py: Python<'_>, function: &Bound<'_, PyAny>) -> PyResult<()> {
    mule::install(py, function)
}
