//! `import uwsgidecorators` without installing anything: the module's text is here, and the interpreter finds it where no
//! package of that name is installed.

use std::ffi::CString;

use pyo3::{prelude::*, types::PyModule};

/// The module's name.
const NAME: &str = "uwsgidecorators";

const TEXT: &str = include_str!("uwsgidecorators.py");

/// A finder and loader (importlib.abc), asked when all others have found nothing.
#[pyclass]
struct Finder;

#[pymethods]
impl Finder {
    #[pyo3(signature = (name, path=None, target=None))]
    fn find_spec<'py>(
        slf: Bound<'py, Self>,
        name: &str,
        path: Option<Bound<'py, PyAny>>,
        target: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        // What is asked for besides the name does not matter to a module without a file.
        drop((path, target));
        if name != NAME {
            return Ok(None);
        }
        let kind = slf.py().import("importlib.machinery")?.getattr("ModuleSpec")?;
        kind.call1((name, slf)).map(Some)
    }

    fn create_module<'py>(&self, spec: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        // The usual one.
        let _ = spec;
        None
    }

    fn exec_module(&self, module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        let text = CString::new(TEXT)?;
        let builtins = py.import("builtins")?;
        let code = builtins.call_method1("compile", (text.as_bytes(), "<uwsgidecorators>", "exec"))?;
        builtins.call_method1("exec", (code, module.dict())).map(drop)
    }
}

/// Lets the interpreter find it.
pub(crate) fn offer(py: Python<'_>) -> PyResult<()> {
    let finder = Py::new(py, Finder)?;
    py.import("sys")?.getattr("meta_path")?.call_method1("append", (finder,)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_name_of_uwsgi_s_module() {
        for name in [
            "postfork",
            "spool",
            "spoolforever",
            "spoolraw",
            "mulefunc",
            "mule",
            "muleloop",
            "mulemsg",
            "farm",
            "mule_msg_dispatcher",
            "signal",
            "timer",
            "mstimer",
            "rbtimer",
            "cron",
            "filemon",
            "rpc",
            "erlang",
            "lock",
            "thread",
            "harakiri",
            "get_free_signal",
            "manage_spool_request",
            "postfork_chain_hook",
        ] {
            let defined = [
                format!("\ndef {name}("),
                format!("\nclass {name}("),
                format!("\nclass {name}:"),
                format!("\n{name} = "),
            ];
            assert!(defined.iter().any(|text| TEXT.contains(text)), "{name}");
        }
    }
}
