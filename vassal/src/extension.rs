//! Where the worker extension is: named by the environment, beside this binary, or in the library directory of an
//! installation (`PREFIX/bin/vassal`, `PREFIX/lib/empery/`).

use std::path::{Path, PathBuf};

use crate::zygote::EXTENSION;

/// Places of the extension, relative to the directory of this binary.
const PLACES: [&str; 3] = ["libempery_worker.so", "empery_worker.abi3.so", "../lib/empery/empery_worker.abi3.so"];

/// The extension's path.
///
/// # Errors
/// One sentence that names every place where it was looked for.
pub(crate) fn find() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(EXTENSION) {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(named)
        } else {
            Err(format!("the worker extension {} ({EXTENSION}) is not there", named.display()))
        };
    }
    let binary = binary().map_err(|error| format!("/proc/self/exe cannot be read: {error}"))?;
    let directory = binary.parent().unwrap_or(Path::new("/"));
    let places = PLACES.map(|place| directory.join(place));
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        let looked = places.map(|place| place.display().to_string()).join(", ");
        format!("the worker extension was not found: looked for {looked}; {EXTENSION} may name it")
    })
}

/// The path of this binary; when it was replaced, the path of what replaced it (proc(5) marks the old one as deleted).
pub(crate) fn binary() -> std::io::Result<PathBuf> {
    let path = std::fs::read_link("/proc/self/exe")?;
    Ok(match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(replaced) => PathBuf::from(replaced),
        None => path,
    })
}
