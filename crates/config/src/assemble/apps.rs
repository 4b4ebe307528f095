//! Which options name an app, those mounted beside it, and what is imported with them.

use std::path::{Path, PathBuf};

use super::values::Value;
use crate::{
    apps::{App, AppTarget, Imports, Mount, Paste},
    magic::absolute,
    problem::{Origin, Problem},
};

/// What has been said so far; paths as written.
#[derive(Default)]
pub(super) struct AppsDraft {
    module: Option<(String, Origin)>,
    file: Option<(String, Origin)>,
    /// `paste = URI`, or the path of an `ini-paste`.
    paste: Option<PasteSource>,
    paste_name: Option<String>,
    paste_logged: bool,
    eval: Option<String>,
    callable: Option<String>,
    mounts: Vec<(String, Origin)>,
    rest: App,
}

enum PasteSource {
    Uri(String),
    /// Relative to where uWSGI was started, whatever `chdir` says.
    Path(String),
}

impl AppsDraft {
    pub(super) fn take(&mut self, value: &mut Value<'_>) -> bool {
        let at = || value.directive.value_at.clone();
        let rest = &mut self.rest;
        match value.directive.key.as_str() {
            "module" | "wsgi" => self.module = Some((value.text(), at())),
            "wsgi-file" | "file" => {
                self.file = value.required().map(|path| (path, value.directive.value_at.clone()));
            }
            "eval" => self.eval = value.required(),
            "paste" => self.paste = value.required().map(PasteSource::Uri),
            "ini-paste" | "ini-paste-logged" => {
                self.paste_logged |= value.directive.key == "ini-paste-logged";
                self.paste = value.required().map(PasteSource::Path);
            }
            "paste-name" => self.paste_name = value.required(),
            "paste-logger" => self.paste_logged = value.boolean(),
            "callable" => self.callable = value.required(),
            "mount" | "worker-mount" => self.mounts.push((value.text(), at())),
            "manage-script-name" => rest.manage_script_name = value.boolean(),
            "ignore-script-name" => rest.ignore_script_name = value.boolean(),
            "no-default-app" => rest.no_default_app = value.boolean(),
            "wsgi-disable-file-wrapper" => rest.no_file_wrapper = value.boolean(),
            "wsgi-accept-buffer" | "wsgi-accept-buffers" => rest.accept_buffers = value.boolean(),
            "lazy-apps" | "lazy" => rest.lazy_apps = value.boolean(),
            "pyargv" => {
                rest.pyargv = value.text().split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
            }
            _ => return take_import(&mut rest.imports, value),
        }
        true
    }

    /// uWSGI loads `module`, `wsgi-file`, `paste`, `eval` in this order, and the first of them gets the requests that no
    /// mount point gets.
    pub(super) fn finish(self, start: &Path, problems: &mut Vec<Problem>) -> App {
        let callable = self.callable.unwrap_or_else(|| "application".to_owned());
        if let (Some(_), Some((_, at))) = (&self.module, &self.file) {
            let message = "both `module` and `wsgi-file` are named; the module is the app, as in uWSGI";
            problems.push(Problem::warning("two-apps", at.clone(), message).hint("remove one of them"));
        }
        let (paste_name, logged) = (self.paste_name, self.paste_logged);
        let paste = |uri| AppTarget::Paste(Paste { uri, name: paste_name.clone(), logged });
        let mut main_callable = callable.clone();
        let target = match (self.module, self.file, self.paste, self.eval) {
            (Some((text, at)), ..) => {
                let (name, after_colon) = module(&text, &at, problems);
                main_callable = after_colon.unwrap_or(main_callable);
                Some(AppTarget::Module(name))
            }
            (None, Some((path, _)), ..) => Some(AppTarget::File(PathBuf::from(path))),
            (None, None, Some(PasteSource::Uri(uri)), _) => Some(paste(uri)),
            (None, None, Some(PasteSource::Path(path)), _) => {
                Some(paste(format!("config:{}", absolute(&start.to_string_lossy(), &path))))
            }
            (None, None, None, Some(code)) => Some(AppTarget::Code(code)),
            (None, None, None, None) => None,
        };
        let mounts = self.mounts.iter().filter_map(|(text, at)| {
            let (point, what) = match text.split_once('=') {
                Some((point, what)) if !what.is_empty() => (point, what),
                _ => return bad_mount(text, at, problems),
            };
            let (target, callable) = if what.ends_with(".py") || what.ends_with(".wsgi") {
                (AppTarget::File(PathBuf::from(what)), callable.clone())
            } else if what.ends_with(".ini") && what.contains(':') {
                (paste(what.to_owned()), callable.clone())
            } else if what.contains(':') {
                let (name, after_colon) = module(what, at, problems);
                (AppTarget::Module(name), after_colon.unwrap_or_else(|| callable.clone()))
            } else {
                return bad_mount(text, at, problems);
            };
            let point = if point.is_empty() { "/" } else { point };
            Some(Mount { point: point.to_owned(), target, callable })
        });
        let mounts = mounts.collect();
        App { target, callable: main_callable, mounts, ..self.rest }
    }
}

/// The module of `pkg.mod:callable`, and the callable when one is named.
fn module(text: &str, at: &Origin, problems: &mut Vec<Problem>) -> (String, Option<String>) {
    let (name, after_colon) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
    if name.is_empty() || name.contains('/') {
        let message = format!(
            "`{text}` is not a module; expected a dotted name like `project.wsgi` or `project.wsgi:application`"
        );
        let problem = Problem::error("bad-value", at.clone(), message);
        problems.push(problem.hint("a path is named with `wsgi-file = PATH`"));
    }
    (name.to_owned(), after_colon.filter(|name| !name.is_empty()).map(str::to_owned))
}

/// uWSGI says so in its log and mounts nothing (plugins/python: no loader takes it): a file that has run for years goes on.
fn bad_mount(text: &str, at: &Origin, problems: &mut Vec<Problem>) -> Option<Mount> {
    let message = format!(
        "`mount = {text}`: expected `/PREFIX=module:callable` or `/PREFIX=FILE.py`; nothing is mounted for it, as in uWSGI"
    );
    let hint = "name the callable behind a colon, such as `/x=project.wsgi:app`, or remove the line";
    problems.push(Problem::warning("bad-value", at.clone(), message).hint(hint));
    None
}

fn take_import(imports: &mut Imports, value: &mut Value<'_>) -> bool {
    match value.directive.key.as_str() {
        "import" | "pyimport" | "py-import" | "python-import" => imports.with_apps.extend(value.required()),
        "shared-import"
        | "shared-pyimport"
        | "shared-py-import"
        | "shared-python-import"
        | "early-pyimport"
        | "early-python-import" => imports.shared.extend(value.required()),
        "pymodule-alias" => imports.aliases.extend(alias(value)),
        "post-pymodule-alias" => imports.late_aliases.extend(alias(value)),
        _ => return false,
    }
    true
}

fn alias(value: &mut Value<'_>) -> Option<(String, String)> {
    let text = value.text();
    match text.split_once('=') {
        Some((name, what)) if !name.is_empty() && !what.is_empty() => Some((name.to_owned(), what.to_owned())),
        _ => {
            value.bad("`NAME=MODULE` or `NAME=/PATH.py`", "write the name, `=`, and what stands behind it");
            None
        }
    }
}

#[cfg(test)]
mod tests;
