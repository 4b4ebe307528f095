//! `uwsgi.rpc` within one process: functions that the app has registered, called by name with bytes. There are no other
//! nodes to call.

use std::sync::{Mutex, PoisonError};

use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyModule, PyTuple},
};

use super::{
    add_functions,
    text::{Bytes, Text},
};
use crate::python;

struct Function {
    name: Vec<u8>,
    /// How many arguments it takes; 0 is any number.
    arguments: u8,
    function: Py<PyAny>,
}

/// By the order of registration. A zygote's are its workers', too.
static FUNCTIONS: Mutex<Vec<Function>> = Mutex::new(Vec::new());

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(module, register_rpc, rpc, rpc_list, call);
    Ok(())
}

fn unable() -> PyErr {
    PyValueError::new_err("unable to call rpc function")
}

/// Registers a function under a name, over an earlier one. It is called with bytes and answers with bytes. True.
#[pyfunction]
#[pyo3(signature = (name, function, arguments=0, /))]
fn register_rpc(name: Text, function: Py<PyAny>, arguments: u8) -> bool {
    let new = Function { name: name.0, arguments, function };
    let before = {
        let mut functions = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        match functions.iter_mut().find(|there| there.name == new.name) {
            Some(there) => Some(std::mem::replace(there, new)),
            None => {
                functions.push(new);
                None
            }
        }
    };
    // Its end may run code of the app, which asks for functions itself.
    drop(before);
    true
}

/// The names of all functions, bytes.
#[pyfunction]
fn rpc_list(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    let names: Vec<Vec<u8>> = {
        let functions = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        functions.iter().map(|function| function.name.clone()).collect()
    };
    // Making objects may collect garbage, whose end may run code of the app.
    PyTuple::new(py, names.iter().map(|name| PyBytes::new(py, name)))
}

/// Calls a function of this vassal: `rpc("", NAME, ARGUMENTS...)`, all bytes. None when there is none, it takes another
/// number of arguments, raises (the traceback is in the log) or answers with nothing or something else than bytes.
///
/// # Errors
/// `ValueError` for arguments that are not bytes, and for a node, which cannot be called.
#[pyfunction]
#[pyo3(signature = (*arguments))]
fn rpc<'py>(arguments: &Bound<'py, PyTuple>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let node = arguments.get_item(0).map_err(|_| unable())?;
    if !node.is_none() {
        let node: Text = node.extract().map_err(|_| unable())?;
        if !node.0.is_empty() {
            return Err(PyValueError::new_err(
                "RPC to other nodes does not exist here: pass \"\" for this vassal, or call the other one over HTTP",
            ));
        }
    }
    perform(&arguments.get_slice(1, arguments.len()))
}

/// The same without a node: `call(NAME, ARGUMENTS...)`.
#[pyfunction]
#[pyo3(signature = (*arguments))]
fn call<'py>(arguments: &Bound<'py, PyTuple>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    perform(arguments)
}

fn perform<'py>(arguments: &Bound<'py, PyTuple>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = arguments.py();
    for argument in arguments {
        argument.extract::<Bytes>().map_err(|_| unable())?;
    }
    let Bytes(name) = arguments.get_item(0).map_err(|_| unable())?.extract().map_err(|_| unable())?;
    let arguments = arguments.get_slice(1, arguments.len());
    let function = {
        let functions = FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |function: &&Function| {
            function.name == name && (function.arguments == 0 || usize::from(function.arguments) == arguments.len())
        };
        functions.iter().find(fits).map(|found| found.function.clone_ref(py))
    };
    let Some(function) = function else { return Ok(None) };
    match function.bind(py).call1(arguments) {
        Ok(answer) => Ok(answer.cast_into::<PyBytes>().ok().filter(|bytes| !bytes.as_bytes().is_empty())),
        Err(error) => {
            python::print_exception(py, &error);
            Ok(None)
        }
    }
}
