//! Where the worker extension is: named by the environment, beside this binary, or in the library directory of an
//! installation (`PREFIX/bin/vassal`, `PREFIX/lib/empery/`).
//!
//! An installed extension lies there in one build for every CPython (`empery_worker.abi3.so`) and may lie there also in builds
//! for one version each (`empery_worker.cpython-311-x86_64-linux-gnu.so`). Which of them is loaded is not decided here: the
//! interpreter knows its own suffix, and the bootstrap of `empery-control` asks it.

use std::path::{Path, PathBuf};

use crate::{succession::Image, zygote::EXTENSION};

/// Places of the extension, relative to the directory of this binary: what cargo built, then installations, without suffix.
const PLACES: [&str; 3] = ["libempery_worker.so", "empery_worker", "../lib/empery/empery_worker"];

/// Suffix of the build that every CPython can load; an installation without it is none.
const FOR_EVERY_PYTHON: &str = ".abi3.so";

/// The extension's path: a file, or one without suffix when there may be several builds.
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
    in_place(directory).ok_or_else(|| {
        let looked = PLACES.map(|place| file(&directory.join(place)).display().to_string()).join(", ");
        format!("the worker extension was not found: looked for {looked}; {EXTENSION} may name it")
    })
}

/// Which file the extension is now; None when it cannot be found.
pub(crate) fn image() -> Option<Image> {
    Image::of(&file(&find().ok()?))
}

fn in_place(directory: &Path) -> Option<PathBuf> {
    PLACES.map(|place| directory.join(place)).into_iter().find(|place| file(place).is_file())
}

/// The file whose being there makes a place one.
fn file(place: &Path) -> PathBuf {
    if place.extension().is_some() {
        return place.to_owned();
    }
    let mut path = place.as_os_str().to_owned();
    path.push(FOR_EVERY_PYTHON);
    path.into()
}

/// The path of this binary; when it was replaced, the path of what replaced it (proc(5) marks the old one as deleted).
pub(crate) fn binary() -> std::io::Result<PathBuf> {
    let path = std::fs::read_link("/proc/self/exe")?;
    Ok(match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(replaced) => PathBuf::from(replaced),
        None => path,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_installation_is_named_without_a_suffix_and_only_when_it_serves_every_python() {
        let prefix = std::env::temp_dir().join(format!("empery-extension-{}", std::process::id()));
        let (bin, lib) = (prefix.join("bin"), prefix.join("lib/empery"));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("empery_worker.cpython-311-x86_64-linux-gnu.so"), "").unwrap();
        assert_eq!(in_place(&bin), None);
        fs::write(lib.join("empery_worker.abi3.so"), "").unwrap();
        assert_eq!(in_place(&bin), Some(bin.join("../lib/empery/empery_worker")));
        fs::write(bin.join("libempery_worker.so"), "").unwrap();
        assert_eq!(in_place(&bin), Some(bin.join("libempery_worker.so")));
        fs::remove_dir_all(prefix).unwrap();
    }
}
