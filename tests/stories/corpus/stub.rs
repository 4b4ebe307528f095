//! What a file of other people expects to find: its app, its virtualenv, its directories, the files that it includes, and
//! the variables of its environment.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use empery_tests::python;

/// What every stub answers.
pub(super) const ANSWER: &str = "stub";

/// Options that include others.
const INCLUDES: [&str; 9] = ["ini", "include", "inherit", "yaml", "yml", "json", "js", "xml", "config"];
/// Options whose values are directories.
const DIRECTORIES: [&str; 12] = [
    "chdir",
    "chdir2",
    "pythonpath",
    "pp",
    "python-path",
    "check-static",
    "plugins-dir",
    "plugin-dir",
    "spooler",
    "envdir",
    "early-envdir",
    "static-safe",
];

/// Writes an empty section for every file that is included and not there.
pub(super) fn included(text: &str, here: &Path) -> Result<()> {
    for (key, value) in effective_of(text) {
        let (path, section) = value.rsplit_once(':').unwrap_or((&value, "uwsgi"));
        let path = here.join(path);
        if INCLUDES.contains(&key.as_str()) && !value.is_empty() && !value.starts_with(':') && !path.exists() {
            fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
            fs::write(&path, format!("[{section}]\nset-ph = stub-of={section}\n"))?;
        }
        for asked in value.split("@(").skip(1) {
            let Some(name) = asked.split(')').next().filter(|name| !name.contains("://")) else { continue };
            let path = here.join(name);
            if !path.exists() {
                fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
                fs::write(&path, "64\n")?;
            }
        }
    }
    Ok(())
}

/// A value for every variable that a text asks for.
pub(super) fn variables(text: &str, port: u16) -> BTreeMap<String, String> {
    let names = text.split("$(").skip(1).filter_map(|rest| rest.split(')').next());
    // Nobody who runs the file has one of these: uWSGI would say its version and end.
    let names = names.filter(|name| *name != "UWSGI_VERSION");
    let value = |name: &str| match name {
        _ if name.contains("PORT") => port.to_string(),
        _ if name.contains("HOST") || name.contains("ADDR") => "127.0.0.1".to_owned(),
        _ if ["WORKERS", "PROCESSES", "THREADS", "CONCURRENCY", "NUM"].iter().any(|part| name.contains(part)) => {
            "2".to_owned()
        }
        _ => "stub".to_owned(),
    };
    names.map(|name| (name.to_owned(), value(name))).collect()
}

/// Keys and values as they stand in an INI file, for one that lacks something and so has no effective configuration.
pub(super) fn effective_of(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';', '[']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

/// What stands in the files that a vassal logs to: a reason may be there and nowhere else.
pub(super) fn logged(effective: &[(String, String)], here: &Path) -> String {
    let mut text = String::new();
    for (key, value) in effective {
        let path = match key.as_str() {
            "logto" | "logto2" | "daemonize" | "daemonize2" => value.as_str(),
            "logger" => match value.split_once("file:") {
                Some((_, path)) => path.trim_start_matches("logfile=").split(',').next().unwrap_or_default(),
                None => continue,
            },
            _ => continue,
        };
        if let Ok(lines) = fs::read(here.join(path)) {
            text.push_str(&format!("{path}:\n{}", String::from_utf8_lossy(&lines)));
        }
    }
    text
}

/// Builds what the configuration names.
pub(super) fn build(effective: &[(String, String)], root: &Path, here: &Path) -> Result<()> {
    let last = |key: &str| effective.iter().rfind(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let base = last("chdir").map_or_else(|| here.to_owned(), |chdir| here.join(chdir));
    fs::create_dir_all(&base)?;
    let callable = last("callable").unwrap_or("application");
    for (key, value) in effective {
        around(value, root)?;
        match key.as_str() {
            key if DIRECTORIES.contains(&key) => fs::create_dir_all(base.join(value))?,
            "home" | "virtualenv" | "venv" | "pyhome" => environment(&base.join(value))?,
            "module" | "wsgi" => module(value, callable, &base)?,
            "wsgi-file" | "file" => file(&base.join(value), callable)?,
            "paste" | "ini-paste" | "ini-paste-logged" => paste(&base)?,
            "mount" | "worker-mount" => {
                let what = value.split_once('=').map_or("", |(_, what)| what);
                if what.ends_with(".py") || what.ends_with(".wsgi") {
                    file(&base.join(what), callable)?;
                } else {
                    module(what, callable, &base)?;
                }
            }
            "static-map" | "static-map2" => {
                let directory = value.split_once('=').map_or("", |(_, directory)| directory);
                fs::create_dir_all(base.join(directory))?;
            }
            "import" | "shared-import" if !value.contains('/') => module(value, callable, &base)?,
            "socket" | "http-socket" | "pidfile" | "logto" | "daemonize" if !value.contains(':') => {
                parent(&here.join(value))?;
                parent(&base.join(value))?;
            }
            _ => {}
        }
    }
    module("stub_of_the_command_line", callable, &base)
}

/// The directories above every path below the root that a value names.
fn around(value: &str, root: &Path) -> Result<()> {
    let root = root.to_string_lossy();
    for (at, _) in value.match_indices(&*root) {
        let path = value[at..].split([' ', ',', '"', '\'', ':', ';']).next().unwrap_or_default();
        parent(Path::new(path))?;
    }
    Ok(())
}

fn parent(path: &Path) -> Result<()> {
    let above = path.parent().context("a path has a directory")?;
    fs::create_dir_all(above).with_context(|| format!("make {}", above.display()))
}

/// The test environment in the place of the virtualenv.
fn environment(home: &Path) -> Result<()> {
    // Without a slash at its end, where a link could not be made.
    let home: PathBuf = home.components().collect();
    if home.is_symlink() && !home.exists() {
        // Of another run, whose environment is gone: a file with an environment in its environment has made it in ours.
        fs::remove_file(&home)?;
    }
    if home.exists() {
        // Made already, for something that is to lie in it.
        if !home.join("bin").exists() {
            std::os::unix::fs::symlink(python::environment().join("bin"), home.join("bin"))?;
        }
        return Ok(());
    }
    parent(&home)?;
    Ok(std::os::unix::fs::symlink(python::environment(), home)?)
}

/// A package `paste` whose `deploy.loadapp` gives the stub, whatever it is asked for.
fn paste(base: &Path) -> Result<()> {
    module("paste.deploy", "application", base)?;
    let deploy = base.join("paste/deploy.py");
    let text = fs::read_to_string(&deploy)? + "\ndef loadapp(uri, name=None):\n    return application\n";
    Ok(fs::write(deploy, text)?)
}

/// `a.b.c:callable` as packages and a module.
fn module(value: &str, callable: &str, base: &Path) -> Result<()> {
    let (name, callable) = match value.split_once(':') {
        Some((name, own)) if !own.is_empty() => (name, own),
        Some((name, _)) => (name, callable),
        None => (value, callable),
    };
    let mut directory = base.to_owned();
    let parts: Vec<&str> = name.split('.').collect();
    let (last, packages) = parts.split_last().context("a module has a name")?;
    for package in packages {
        directory = directory.join(package);
        fs::create_dir_all(&directory)?;
        let init = directory.join("__init__.py");
        if !init.exists() {
            fs::write(init, "")?;
        }
    }
    file(&directory.join(format!("{last}.py")), callable)
}

/// A file in which the callable is found, whatever its name: `app`, `a.b`, or a factory `make()`.
fn file(path: &PathBuf, callable: &str) -> Result<()> {
    parent(path)?;
    let names: Vec<&str> = callable.trim_end_matches("()").split('.').collect();
    let (first, rest) = names.split_first().context("a callable has a name")?;
    let mut text = format!(
        "class Stub:\n    def __call__(self, *asked):\n        if not asked:\n            return self\n        \
         asked[1]('200 OK', [('Content-Type', 'text/plain')])\n        return [b'{ANSWER}']\n\n{first} = Stub()\n"
    );
    for depth in 0..rest.len() {
        text.push_str(&format!("{} = Stub()\n", names[..=depth + 1].join(".")));
    }
    // Several options may name the same file.
    let before = fs::read_to_string(path).unwrap_or_default();
    Ok(fs::write(path, before + &text)?)
}
