//! Files whose touch has something done, mount points and descriptors while they come in.

use std::path::Path;

use super::{runtime, values::Value};
use crate::{
    runtime::{Hook, Moment},
    watched::{ReloadDescriptor, Watched},
};

/// Standard input, output and error have another use.
const FIRST_INHERITED: i32 = 3;
/// Most bytes that are read at once from a descriptor.
const READ_MAX_BYTES: u32 = 64 * 1024;

/// Applies one directive if it is one of these; paths as written.
pub(super) fn take(watched: &mut Watched, value: &mut Value<'_>) -> bool {
    match value.directive.key.as_str() {
        "touch-exec" => {
            // Without a command uWSGI runs the file itself (core/utils.c: `uwsgi_check_touches`).
            let both = |text: String| match text.split_once(' ') {
                Some((path, command)) => (path.into(), command.to_owned()),
                None => (text.clone().into(), text),
            };
            watched.commands.extend(value.required().map(both));
        }
        "hook-touch" => {
            let text = value.text();
            match text.split_once(' ') {
                Some((path, hook)) if !path.is_empty() => {
                    let hook = runtime::hook(Moment::Touch, hook, value);
                    watched.hooks.extend(hook.map(|hook: Hook| (path.into(), hook)));
                }
                _ => value.bad("`FILE ACTION:ARGUMENT`", "write a path, a blank, and what is done when it changes"),
            }
        }
        "check-mountpoint" | "mountpoint-check" | "check-mount" | "mount-check" => {
            watched.mount_points.extend(value.required().map(Into::into));
        }
        "reload-on-fd" | "brutal-reload-on-fd" => watched.descriptors.extend(descriptor(value)),
        _ => return false,
    }
    true
}

/// Commands run in `base`, and paths begin there.
pub(super) fn resolved(watched: Watched, base: &Path) -> Watched {
    let Watched { commands, hooks, mount_points, descriptors, .. } = watched;
    Watched {
        commands: commands.into_iter().map(|(path, command)| (base.join(path), command)).collect(),
        hooks: hooks.into_iter().map(|(path, hook)| (base.join(path), hook)).collect(),
        mount_points: mount_points.iter().map(|path| base.join(path)).collect(),
        descriptors,
        directory: base.to_owned(),
    }
}

fn descriptor(value: &mut Value<'_>) -> Option<ReloadDescriptor> {
    let text = value.required()?;
    let (numbers, message) =
        text.split_once(' ').map_or((&*text, None), |(numbers, message)| (numbers, Some(message.to_owned())));
    let (number, bytes) = numbers.split_once(':').unwrap_or((numbers, "1"));
    let number = number.parse().ok().filter(|number| *number >= FIRST_INHERITED);
    match (number, bytes.parse().ok().filter(|bytes| (1..=READ_MAX_BYTES).contains(bytes))) {
        (Some(number), Some(bytes)) => Some(ReloadDescriptor { number, bytes, message }),
        _ => {
            value.bad(
                "`FD[:BYTES] [MESSAGE]`, such as `3:8 memory is short`",
                "write the number of a descriptor that this vassal is started with, from 3 on; an eventfd has 8 bytes",
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        assemble::tests::{config, error},
        runtime::{Hook, Moment},
        watched::ReloadDescriptor,
    };

    #[test]
    fn a_touched_file_has_a_command_or_a_hook_and_is_itself_run_without_one() {
        let watched = config("touch-exec = t echo a b\ntouch-exec = script\nhook-touch = /t !unlink:/x y").watched;
        assert_eq!(
            watched.commands,
            [("/v/t".into(), "echo a b".to_owned()), ("/v/script".into(), "script".to_owned())]
        );
        let hook = Hook { moment: Moment::Touch, action: "unlink".into(), argument: "/x y".into() };
        assert_eq!(watched.hooks, [("/t".into(), hook)]);
        for wrong in ["/t", "/t nothing", "/t mount:x"] {
            assert!(error(&format!("hook-touch = {wrong}")).contains("expected"), "{wrong}");
        }
    }

    #[test]
    fn a_descriptor_has_a_number_a_size_and_a_message() {
        let watched = config("reload-on-fd = 3\nbrutal-reload-on-fd = 4:8 out of memory").watched;
        let of = |number, bytes, message: Option<&str>| ReloadDescriptor {
            number,
            bytes,
            message: message.map(str::to_owned),
        };
        assert_eq!(watched.descriptors, [of(3, 1, None), of(4, 8, Some("out of memory"))]);
        for wrong in ["1", "three", "3:0", "-1"] {
            assert!(error(&format!("reload-on-fd = {wrong}")).contains("expected"), "{wrong}");
        }
    }

    #[test]
    fn mount_points_have_four_names() {
        let watched = config("check-mountpoint = /a\nmountpoint-check = b\ncheck-mount = /c\nmount-check = /d").watched;
        assert_eq!(watched.mount_points, ["/a", "/v/b", "/c", "/d"].map(std::path::PathBuf::from));
    }
}
