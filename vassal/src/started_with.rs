//! The listening sockets that a vassal alone was started with, as uWSGI takes them: passed by systemd (sd_listen_fds(3)), as
//! the first descriptor by inetd, or named by `fd://N`. What no line names and nobody passed is left alone.

use empery_config::{
    address::Address,
    facts::Inherited,
    vassal::{Listener, VassalConfig},
};
use empery_control::keeper::ListenAddress;
use empery_sys::{inherited, service_manager};

use crate::{listeners::Listeners, log};

/// What there is. To be called first of all, while only what this process was started with is open.
pub(crate) fn sockets() -> Vec<Inherited> {
    let passed = service_manager::passed();
    // As in uWSGI the first descriptor is not looked at when systemd has passed others.
    let serves = |number: i32| if passed.is_empty() { number == 0 } else { passed.contains(&number) };
    let found = inherited::listening().unwrap_or_else(|error| {
        log::say(&format!("*** inherited sockets are not found: /proc/self/fd cannot be read: {error} ***"));
        Vec::new()
    });
    let sockets: Vec<Inherited> = found
        .into_iter()
        .map(|socket| Inherited {
            number: socket.number,
            address: address(socket.address),
            takes_ipv4: socket.takes_ipv4,
            is_served: serves(socket.number),
        })
        .collect();
    for number in passed.filter(|number| sockets.iter().all(|socket| socket.number != *number)) {
        log::say(&format!(
            "*** descriptor {number} of LISTEN_FDS is no listening stream socket: nothing is served there ***"
        ));
    }
    sockets
}

/// Takes those that a configuration serves. Answers with these: later readings of it know of no others.
///
/// # Errors
/// One sentence.
pub(crate) fn take(
    found: Vec<Inherited>,
    config: &VassalConfig,
    held: &mut Listeners,
) -> Result<Vec<Inherited>, String> {
    let is_wanted =
        |socket: &Inherited| config.listeners.iter().any(|listener: &Listener| listener.address == socket.address);
    let wanted: Vec<Inherited> = found.into_iter().filter(is_wanted).collect();
    for Inherited { number, address, .. } in &wanted {
        let socket = inherited::take_listening(*number)
            .map_err(|error| format!("the socket {address} (descriptor {number}) cannot be taken: {error}"))?;
        held.take(address.to_string(), socket);
    }
    Ok(wanted)
}

fn address(address: ListenAddress) -> Address {
    match address {
        ListenAddress::Tcp(address) => Address::Tcp(address),
        ListenAddress::Unix(path) => Address::Unix(path),
        ListenAddress::Abstract(name) => Address::Abstract(name),
    }
}
