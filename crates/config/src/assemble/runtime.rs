//! Limits, options of sockets, and hooks while they come in.

use super::values::Value;
use crate::runtime::{ACTIONS, Hook, Moment, Runtime};

/// Bytes of a megabyte and of a kilobyte as uWSGI has them.
const MEGABYTE: u64 = 1024 * 1024;
const KILOBYTE: u64 = 1024;
/// The highest nice value (setpriority(2)).
const PRIORITY_MAX: u32 = 19;

/// What has been said so far.
#[derive(Default)]
pub(super) struct RuntimeDraft {
    runtime: Runtime,
    execs: Vec<Hook>,
    /// What hooks before the interpreter starts put into the environment.
    variables: Vec<(String, Option<String>)>,
}

impl RuntimeDraft {
    pub(super) fn take(&mut self, value: &mut Value<'_>) -> bool {
        let key = value.directive.key.as_str();
        let limits = &mut self.runtime.limits;
        let sockets = &mut self.runtime.sockets;
        match key {
            "limit-as" => limits.address_space_max_bytes = value.number().unwrap_or(0).saturating_mul(MEGABYTE),
            "limit-nproc" => limits.processes_max = value.number().unwrap_or(0),
            "max-fd" => limits.descriptors_max = value.number().unwrap_or(0),
            "prio" => limits.priority = value.number_up_to(PRIORITY_MAX).unwrap_or(0),
            "cpu-affinity" => limits.cpus_per_worker = value.number_up_to(u32::MAX).unwrap_or(0),
            "thread-stacksize" | "threads-stacksize" | "thread-stack-size" | "threads-stack-size" => {
                limits.thread_stack_bytes = value.number().unwrap_or(0).saturating_mul(KILOBYTE);
            }
            "socket-sndbuf" => sockets.send_buffer_bytes = value.number_up_to(i32::MAX as u32).unwrap_or(0),
            "socket-rcvbuf" => sockets.receive_buffer_bytes = value.number_up_to(i32::MAX as u32).unwrap_or(0),
            "so-keepalive" => sockets.keepalive = value.boolean(),
            "tcp-fast-open" | "tcp-fastopen" => sockets.fast_open = value.number_up_to(i32::MAX as u32).unwrap_or(0),
            _ => {
                if let Some(moment) = key.strip_prefix("hook-").and_then(moment) {
                    let text = value.text();
                    self.take_hook(hook(moment, &text, value));
                } else if let Some(moment) = key.strip_prefix("exec-").and_then(moment) {
                    let argument = value.text();
                    self.execs.push(Hook { moment, action: "exec".to_owned(), argument });
                } else {
                    return false;
                }
            }
        }
        true
    }

    /// `putenv` before the interpreter starts is `env`: the app's environment is made of that.
    fn take_hook(&mut self, hook: Option<Hook>) {
        let Some(hook) = hook else { return };
        let is_the_zygotes = matches!(
            hook.moment,
            Moment::PreApp
                | Moment::PostApp
                | Moment::PostFork
                | Moment::Accepting
                | Moment::AcceptingFirst
                | Moment::AcceptingOnce
                | Moment::AcceptingFirstOnce
                | Moment::AsMule
        );
        if hook.action == "putenv" && !is_the_zygotes {
            let (name, value) =
                hook.argument.split_once('=').map_or((&*hook.argument, None), |(name, value)| (name, Some(value)));
            self.variables.push((name.to_owned(), value.map(str::to_owned)));
        } else {
            self.runtime.hooks.push(hook);
        }
    }

    /// Also the variables of the app's environment.
    pub(super) fn finish(mut self) -> (Runtime, Vec<(String, Option<String>)>) {
        self.runtime.hooks.append(&mut self.execs);
        (self.runtime, self.variables)
    }
}

/// The end of the option's name.
fn moment(name: &str) -> Option<Moment> {
    Some(match name {
        "asap" => Moment::Asap,
        "pre-jail" => Moment::PreJail,
        "in-jail" => Moment::InJail,
        "as-root" => Moment::AsRoot,
        "as-user" => Moment::AsUser,
        "as-user-atexit" => Moment::AsUserAtExit,
        "master-start" => Moment::MasterStart,
        "pre-app" => Moment::PreApp,
        "post-app" => Moment::PostApp,
        "post-fork" => Moment::PostFork,
        "accepting" => Moment::Accepting,
        "accepting1" => Moment::AcceptingFirst,
        "accepting-once" => Moment::AcceptingOnce,
        "accepting1-once" => Moment::AcceptingFirstOnce,
        "as-mule" => Moment::AsMule,
        _ => return None,
    })
}

/// `ACTION:ARGUMENT`; a `!` in front only keeps uWSGI from logging it.
pub(super) fn hook(moment: Moment, text: &str, value: &mut Value<'_>) -> Option<Hook> {
    let Some((action, argument)) = text.split_once(':') else {
        value.bad("`ACTION:ARGUMENT`", "write the action, a colon, and what it is done with");
        return None;
    };
    let action = action.strip_prefix('!').unwrap_or(action);
    if ACTIONS.contains(&action) {
        return Some(Hook { moment, action: action.to_owned(), argument: argument.to_owned() });
    }
    if action == "unix_signal" && is_a_graceful_stop(argument) {
        // What a signal does here anyway.
        return None;
    }
    let instead = match action {
        "mount" | "umount" => {
            "file systems are mounted by the unit (systemd BindPaths=, RequiresMountsFor=) or by fstab"
        }
        "alarm" => "an alarm is raised by what happens, or by the app (`uwsgi.alarm`); run a command with `exec:`",
        "hostname" => "the unit names the machine (systemd ProtectHostname=, PrivateUTS)",
        "call" | "callret" | "callint" | "callintret" | "rpc" | "retryrpc" => {
            "functions of a shared library are not called"
        }
        "unix_signal" => {
            "signals of the master have their meaning; the app sets handlers of its own with `signal.signal`"
        }
        "wait_for_fs" | "wait_for_file" | "wait_for_dir" | "wait_for_socket" | "writefifo" | "spinningfifo" => {
            "order it in the unit that starts the emperor, or wait in the app"
        }
        _ => "see uWSGI's list of hooks",
    };
    value.bad("an action that is done here", instead);
    None
}

/// `unix_signal:15 gracefully_kill_them_all`, which people write so that SIGTERM stops.
fn is_a_graceful_stop(argument: &str) -> bool {
    argument.split_once(' ').is_some_and(|(signal, function)| {
        matches!(signal, "15" | "2" | "3") && matches!(function, "gracefully_kill_them_all" | "kill_them_all")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::tests::{config, error};

    #[test]
    fn limits_have_uwsgi_s_units() {
        let limits =
            config("limit-as = 2\nthread-stacksize = 64\nmax-fd = 100\nprio = 5\ncpu-affinity = 1").runtime.limits;
        assert_eq!((limits.address_space_max_bytes, limits.thread_stack_bytes), (2 * 1024 * 1024, 65_536));
        assert_eq!((limits.descriptors_max, limits.priority, limits.cpus_per_worker), (100, 5, 1));
    }

    #[test]
    fn hooks_of_a_moment_come_before_its_commands_whatever_the_order_of_the_lines() {
        let runtime = config("exec-pre-app = one\nhook-pre-app = !mkdir:/x\nhook-asap = print:a:b").runtime;
        let pre_app: Vec<_> = runtime.hooks_at(Moment::PreApp).map(|hook| (&*hook.action, &*hook.argument)).collect();
        assert_eq!(pre_app, [("mkdir", "/x"), ("exec", "one")]);
        assert_eq!(runtime.hooks_at(Moment::Asap).map(|hook| &*hook.argument).collect::<Vec<_>>(), ["a:b"]);
    }

    #[test]
    fn a_variable_of_a_hook_before_the_interpreter_is_one_of_the_app_s() {
        let config = config("hook-asap = putenv:A=b\nhook-post-fork = putenv:C=d");
        assert_eq!(config.env, [("A".into(), Some("b".into()))]);
        assert_eq!(config.runtime.hooks.len(), 1);
    }

    #[test]
    fn b56_an_action_that_is_not_done_here_is_an_error_and_a_graceful_stop_needs_none() {
        assert!(config("hook-master-start = unix_signal:15 gracefully_kill_them_all").runtime.hooks.is_empty());
        for hook in ["unix_signal:1 reload_me", "mount:proc none /proc", "alarm:x y", "call:f", "nothing"] {
            assert!(error(&format!("hook-as-root = {hook}")).contains("expected"), "{hook}");
        }
    }
}
