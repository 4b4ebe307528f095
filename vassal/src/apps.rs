//! The apps of a configuration in the words of a zygote.

use empery_config::apps as configured;
use empery_control::apps::{App, AppTarget, Apps, Imports, Mount};

/// All of them.
///
/// # Errors
/// There is none.
pub(crate) fn told(apps: &configured::App) -> Result<Apps, String> {
    if !apps.is_named() {
        return Err("the configuration names no app: say \"module\" or \"wsgi-file\"".to_owned());
    }
    let imports = &apps.imports;
    Ok(Apps {
        main: apps.target.as_ref().map(|of| App { target: target(of), callable: apps.callable.clone() }),
        mounts: apps.mounts.iter().map(mount).collect(),
        manage_script_name: apps.manage_script_name,
        ignore_script_name: apps.ignore_script_name,
        no_default_app: apps.no_default_app,
        imports: Imports {
            aliases: imports.aliases.clone(),
            shared: imports.shared.clone(),
            with_apps: imports.with_apps.clone(),
            late_aliases: imports.late_aliases.clone(),
        },
        no_file_wrapper: apps.no_file_wrapper,
        accept_buffers: apps.accept_buffers,
    })
}

fn mount(mount: &configured::Mount) -> Mount {
    let app = App { target: target(&mount.target), callable: mount.callable.clone() };
    Mount { point: mount.point.clone(), app }
}

fn target(target: &configured::AppTarget) -> AppTarget {
    match target {
        configured::AppTarget::Module(module) => AppTarget::Module(module.clone()),
        configured::AppTarget::File(path) => AppTarget::File(path.clone()),
        configured::AppTarget::Code(code) => AppTarget::Code(code.clone()),
        configured::AppTarget::Paste(paste) => {
            AppTarget::Paste { uri: paste.uri.clone(), name: paste.name.clone(), logged: paste.logged }
        }
    }
}
