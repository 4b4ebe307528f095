//! Sockets that the process was started with: by systemd (sd_listen_fds(3)), by inetd as its first descriptor, or by
//! somebody who is then named by `fd://N` (uWSGI core/socket.c, core/setup_utils.c).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{
    address::Address,
    facts::Inherited,
    problem::{Origin, Problem},
};

/// What stands before the number of a descriptor.
const FD: &str = "fd://";

/// The address of the socket that `fd://N` names; None when the text is an address, or names none, which is then told.
pub(super) fn numbered(
    text: &str,
    inherited: &[Inherited],
    at: &Origin,
    problems: &mut Vec<Problem>,
) -> Option<Result<Address, ()>> {
    let number = text.strip_prefix(FD)?;
    let found = inherited.iter().find(|socket| number.parse() == Ok(socket.number));
    Some(found.map(|socket| socket.address.clone()).ok_or_else(|| {
        let message = format!("`{text}` names no listening socket that this process was started with");
        let hint =
            "a `vassal` started by hand, by systemd or by circus can have one; under an emperor write the address";
        problems.push(Problem::error("bad-address", at.clone(), message).hint(hint));
    }))
}

/// Which address is meant by one that the file names: systemd binds `ListenStream=80` as `[::]:80`, which takes IPv4, too, and
/// so is `:80` here.
pub(super) fn meant(address: Address, inherited: &[Inherited]) -> Address {
    let is_there = |address: &Address| inherited.iter().any(|socket| socket.address == *address);
    let Address::Tcp(SocketAddr::V4(v4)) = &address else { return address };
    if *v4.ip() != Ipv4Addr::UNSPECIFIED || is_there(&address) {
        return address;
    }
    let dual = Address::Tcp((Ipv6Addr::UNSPECIFIED, v4.port()).into());
    let has_both = inherited.iter().any(|socket| socket.takes_ipv4 && socket.address == dual);
    if has_both { dual } else { address }
}

/// Those that are served though no line names them.
pub(super) fn unnamed(inherited: &[Inherited], skips_zero: bool) -> impl Iterator<Item = &Address> {
    let served = inherited.iter().filter(move |socket| socket.is_served && !(skips_zero && socket.number == 0));
    served.map(|socket| &socket.address)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        facts::{Facts, NoFiles},
        read::{Entry, Outcome, read},
        vassal::Protocol,
    };

    fn socket(number: i32, address: &str, is_served: bool) -> Inherited {
        let address = Address::parse(address, Path::new("/v")).unwrap();
        Inherited { number, address, takes_ipv4: true, is_served }
    }

    fn outcome(lines: &str, inherited: Vec<Inherited>) -> Outcome {
        let facts = Facts { working_directory: "/v".into(), uid: 1000, inherited, ..Facts::default() };
        let content = format!("[uwsgi]\nmodule = app\n{lines}\n").into_bytes();
        read(&Entry::File { path: "/v/app.ini".into(), content }, &facts, &NoFiles)
    }

    fn served(lines: &str, inherited: Vec<Inherited>) -> Vec<(String, Protocol)> {
        let outcome = outcome(lines, inherited);
        let config = outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.problems));
        config.listeners.iter().map(|listener| (listener.address.to_string(), listener.protocol)).collect()
    }

    #[test]
    fn a_socket_that_systemd_passed_serves_the_line_of_its_address_and_is_a_socket_without_one() {
        let passed = || vec![socket(3, "127.0.0.1:80", true), socket(4, "/run/app.sock", true)];
        let both = [("127.0.0.1:80".to_owned(), Protocol::Http), ("/run/app.sock".to_owned(), Protocol::Uwsgi)];
        assert_eq!(served("http-socket = 127.0.0.1:80", passed()), both);
        assert_eq!(served("", passed()), [("127.0.0.1:80".to_owned(), Protocol::Uwsgi), both[1].clone()]);
        assert_eq!(served("protocol = http", passed())[1].1, Protocol::Http);
        assert!(outcome("", vec![socket(5, ":80", false)]).config.is_none(), "nobody passed it and nobody named it");
    }

    #[test]
    fn all_addresses_of_ipv4_are_met_by_a_socket_that_takes_both() {
        let dual = || vec![socket(3, "[::]:80", true)];
        assert_eq!(served("http-socket = :80", dual()), [("[::]:80".to_owned(), Protocol::Http)]);
        let only_ipv6 = vec![Inherited { takes_ipv4: false, ..socket(3, "[::]:80", true) }];
        assert_eq!(served("http-socket = :80", only_ipv6).len(), 2);
    }

    #[test]
    fn a_socket_is_named_by_its_number() {
        let there = || vec![socket(7, "127.0.0.1:80", false)];
        assert_eq!(served("http-socket = fd://7", there()), [("127.0.0.1:80".to_owned(), Protocol::Http)]);
        let refused = outcome("http-socket = fd://8", there());
        assert_eq!((refused.problems[0].code.as_str(), refused.problems[0].origin.line), ("bad-address", 3));
    }

    #[test]
    fn the_first_descriptor_is_served_unless_skip_zero() {
        let zero = || vec![socket(0, "/run/inetd.sock", true)];
        assert_eq!(served("", zero()), [("/run/inetd.sock".to_owned(), Protocol::Uwsgi)]);
        assert_eq!(served("skip-zero = true\nsocket = :3031", zero()), [("0.0.0.0:3031".to_owned(), Protocol::Uwsgi)]);
    }
}
