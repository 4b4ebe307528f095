//! What is imported beside the apps: aliases of modules, `shared-import`, `import`. As in uWSGI, an alias that cannot be made
//! ends the start, and an import that fails is told with its traceback and passed over.

use std::path::Path;

use empery_control::apps::Imports;
use pyo3::prelude::*;

use crate::{
    load::{self, LoadFailure},
    python,
};

/// In the zygote, before anything of the apps.
pub(crate) fn early(py: Python<'_>, imports: &Imports) -> Result<(), LoadFailure> {
    aliases(py, &imports.aliases, "pymodule-alias")?;
    all(py, &imports.shared);
    Ok(())
}

/// In whoever loads the apps, before them.
pub(crate) fn with_apps(py: Python<'_>, imports: &Imports) -> Result<(), LoadFailure> {
    all(py, &imports.with_apps);
    aliases(py, &imports.late_aliases, "post-pymodule-alias")
}

fn all(py: Python<'_>, names: &[String]) {
    for name in names {
        if let Err(error) = import(py, name) {
            python::print_exception(py, &error);
        }
    }
}

/// A dotted name, or a file.
fn import<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    if name.contains('/') || name.ends_with(".py") {
        load::run_file(py, &load::module_name(name), Path::new(name))
    } else {
        py.import(name).map(Bound::into_any)
    }
}

fn aliases(py: Python<'_>, aliases: &[(String, String)], option: &str) -> Result<(), LoadFailure> {
    for (name, what) in aliases {
        alias(py, name, what).map_err(|error| LoadFailure::of(py, &format!("{option} = {name}={what}"), &error))?;
    }
    Ok(())
}

fn alias(py: Python<'_>, name: &str, what: &str) -> PyResult<()> {
    if what.contains('/') {
        return load::run_file(py, name, Path::new(what)).map(|_| ());
    }
    let module = py.import(what)?;
    py.import("sys")?.getattr("modules")?.set_item(name, module)
}
