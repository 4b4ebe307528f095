//! Which Python runs the app: the virtualenv's own, else the `python` option, else `python3` on PATH. Whether its
//! version is new enough is for the bootstrap to say, which runs inside it.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use empery_config::vassal::Python;
use nix::unistd::{AccessFlags, access};

/// Names of the interpreter inside a virtualenv's `bin`, best first.
const NAMES: [&str; 2] = ["python3", "python"];

/// The interpreter to start, checked to be executable by this process.
///
/// # Errors
/// One sentence that names what is missing and what to do.
pub(crate) fn choose(python: &Python, search_path: Option<&OsStr>) -> Result<PathBuf, String> {
    if let Some(home) = &python.home {
        return in_virtualenv(home);
    }
    match &python.python {
        Some(named) if named.contains('/') => executable(Path::new(named))
            .ok_or_else(|| format!("{named} (option \"python\") is not a program this user can run")),
        Some(named) => on_path(named, search_path)
            .ok_or_else(|| format!("there is no program {named:?} on PATH (option \"python\")")),
        None => on_path("python3", search_path).ok_or_else(|| {
            "there is no python3 on PATH: install one, or name one with \"python\" or \"virtualenv\"".to_owned()
        }),
    }
}

fn in_virtualenv(home: &Path) -> Result<PathBuf, String> {
    if let Some(found) = NAMES.iter().find_map(|name| executable(&home.join("bin").join(name))) {
        return Ok(found);
    }
    let shown = home.display();
    Err(match std::fs::metadata(home) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("the virtualenv {shown} does not exist: create it with \"python3 -m venv {shown}\"")
        }
        Err(error) => format!("the virtualenv {shown} cannot be entered: {error}"),
        Ok(_) => format!("the virtualenv {shown} has no bin/python3 that this user can run"),
    })
}

fn on_path(name: &str, search_path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(search_path?).find_map(|directory| executable(&directory.join(name)))
}

/// The path made absolute (the interpreter finds its virtualenv by it), when it is a file this process may execute.
fn executable(path: &Path) -> Option<PathBuf> {
    (path.is_file() && access(path, AccessFlags::X_OK).is_ok()).then(|| std::path::absolute(path).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_virtualenv_is_one_plain_sentence() {
        let python = Python { home: Some("/nowhere/venv".into()), ..Python::default() };
        assert_eq!(
            choose(&python, None).unwrap_err(),
            "the virtualenv /nowhere/venv does not exist: create it with \"python3 -m venv /nowhere/venv\""
        );
    }

    #[test]
    fn the_python_option_goes_before_path() {
        let python = Python { python: Some("/bin/sh".into()), ..Python::default() };
        assert_eq!(choose(&python, Some(OsStr::new("/usr/bin"))).unwrap(), Path::new("/bin/sh"));
        let python = Python { python: Some("sh".into()), ..Python::default() };
        assert_eq!(choose(&python, Some(OsStr::new("/nowhere:/bin"))).unwrap(), Path::new("/bin/sh"));
        let python = Python { python: Some("no-such-python".into()), ..Python::default() };
        assert!(choose(&python, Some(OsStr::new("/bin"))).unwrap_err().contains("no-such-python"));
    }
}
