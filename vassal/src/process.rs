//! What the configuration says of the app's processes, in the words of a zygote.

use empery_config::{
    runtime::Moment,
    vassal::VassalConfig,
    waits::{Awaited as ConfiguredAwaited, Wait as Configured},
};
use empery_control::process::{AcceptingHook, Awaited, Process, Wait};

use crate::hooks;

/// All of it.
pub(crate) fn told(config: &VassalConfig) -> Process {
    let (limits, sockets) = (&config.runtime.limits, &config.runtime.sockets);
    let at = |moment| config.runtime.hooks_at(moment).map(hooks::told).collect();
    Process {
        address_space_max_bytes: limits.address_space_max_bytes,
        processes_max: limits.processes_max,
        descriptors_max: limits.descriptors_max,
        priority: limits.priority,
        cpus_per_worker: limits.cpus_per_worker,
        thread_stack_bytes: limits.thread_stack_bytes,
        send_buffer_bytes: sockets.send_buffer_bytes,
        receive_buffer_bytes: sockets.receive_buffer_bytes,
        keepalive: sockets.keepalive,
        fast_open: sockets.fast_open,
        body_to_file_bytes: config.request.body_to_file_bytes,
        hook_is_unlimited: config.request.harakiri_spares_hook,
        pre_app: at(Moment::PreApp),
        post_app: at(Moment::PostApp),
        post_fork: at(Moment::PostFork),
        accepting: accepting(config),
        as_mule: at(Moment::AsMule),
        waits: config.waits.iter().map(wait).collect(),
    }
}

fn wait(wait: &Configured) -> Wait {
    Wait {
        awaited: match &wait.awaited {
            ConfiguredAwaited::Interface(name) => Awaited::Interface(name.clone()),
            ConfiguredAwaited::Path(path) => Awaited::Path(path.clone()),
            ConfiguredAwaited::MountPoint(path) => Awaited::MountPoint(path.clone()),
            ConfiguredAwaited::Socket(name) => Awaited::Socket(name.clone()),
        },
        within_s: wait.within.as_secs(),
    }
}

fn accepting(config: &VassalConfig) -> Vec<AcceptingHook> {
    let kinds = [
        (Moment::Accepting, false, false),
        (Moment::AcceptingOnce, false, true),
        (Moment::AcceptingFirst, true, false),
        (Moment::AcceptingFirstOnce, true, true),
    ];
    let of = |(moment, first_worker_only, once)| {
        let hooks = config.runtime.hooks_at(moment);
        hooks.map(move |hook| AcceptingHook { hook: hooks::told(hook), first_worker_only, once })
    };
    kinds.into_iter().flat_map(of).collect()
}
