//! What the app adds to the line of its request: `uwsgi.set_logvar`, `uwsgi.add_var`. Kept by the thread, which with greenlets serves several requests
//! at once, and told apart by when a request began; requests that set nothing need not forget anything.

use std::{cell::RefCell, sync::atomic::Ordering};

use crate::worker::Worker;

/// Longest name and longest value, in bytes, as in uWSGI; the rest is cut.
const TEXT_MAX_BYTES: usize = 255;

struct Held {
    /// When their request began, on the monotonic clock.
    began_ns: u64,
    values: Vec<(Vec<u8>, Vec<u8>)>,
}

thread_local! {
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

/// Sets a variable of this thread's request, which began at this moment.
pub(crate) fn set(began_ns: u64, name: &[u8], value: &[u8]) {
    let cut = |text: &[u8]| text[..text.len().min(TEXT_MAX_BYTES)].to_vec();
    let (name, value) = (cut(name), cut(value));
    HELD.with_borrow_mut(|all| {
        if !all.iter().any(|held| held.began_ns == began_ns) {
            forget_finished(all);
            all.push(Held { began_ns, values: Vec::new() });
        }
        for held in all.iter_mut().filter(|held| held.began_ns == began_ns) {
            match held.values.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => old.clone_from(&value),
                None => held.values.push((name.clone(), value.clone())),
            }
        }
    });
}

/// Requests that are over need nothing any more; looked for only when there are more than can be in flight.
fn forget_finished(all: &mut Vec<Held>) {
    let Some(worker) = Worker::here().filter(|worker| all.len() >= worker.boot.threads as usize) else { return };
    let began_of = |core: u32| worker.slot(core).state.started_monotonic_ns.load(Ordering::Relaxed);
    let in_flight: Vec<u64> = (0..worker.boot.threads).map(began_of).collect();
    all.retain(|held| in_flight.contains(&held.began_ns));
}

/// The name here of a request's variable that `uwsgi.add_var` has added: one that no variable of the line's own has.
pub(crate) fn name_of_added(name: &[u8]) -> Vec<u8> {
    [b"\0var.", name].concat()
}

/// What it has set by this name.
pub(crate) fn get(began_ns: u64, name: &[u8]) -> Option<Vec<u8>> {
    HELD.with_borrow(|all| {
        let held = all.iter().find(|held| held.began_ns == began_ns)?;
        held.values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    })
}
