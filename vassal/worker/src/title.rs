//! What `ps` shows of zygotes and workers: uWSGI's titles under `auto-procname`, else something shorter than our command line.

use empery_control::{boot::AppBoot, posts::Post};
use empery_sys::process;

/// Of a zygote.
pub(crate) fn zygote(boot: &AppBoot) {
    set(boot, "uWSGI zygote", &format!("vassal zygote of generation {}", boot.generation));
}

/// Of a worker.
pub(crate) fn worker(boot: &AppBoot, worker: u32) {
    set(boot, &format!("uWSGI worker {worker}"), &format!("vassal worker {worker} of generation {}", boot.generation));
}

/// Of a mule or spooler.
pub(crate) fn post(boot: &AppBoot, post: Post) {
    let name = match post {
        Post::Mule(number) => format!("mule {number}"),
        Post::Spooler(number) => format!("spooler {number}"),
    };
    set(boot, &format!("uWSGI {name}"), &format!("vassal {name} of generation {}", boot.generation));
}

fn set(boot: &AppBoot, as_uwsgi: &str, plain: &str) {
    let titles = &boot.titles;
    let name = titles.all.as_deref().unwrap_or(if titles.auto { as_uwsgi } else { plain });
    process::set_title(&format!("{}{name}{}", titles.prefix, titles.append));
}
