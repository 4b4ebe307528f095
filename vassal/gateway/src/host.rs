//! The name in a Host header or an authority: without its port, and as handshakes have it. What is no host at all is found
//! elsewhere, [`crate::translate`] and the workers refuse it.

/// Without the port. None where the bracket of an IPv6 address is not closed.
pub(crate) fn without_port(host: &str) -> Option<&str> {
    match host.strip_prefix('[') {
        // It has colons of its own.
        Some(rest) => Some(&host[..rest.find(']')? + 2]),
        None => Some(host.split_once(':').map_or(host, |(name, _port)| name)),
    }
}

/// The name that a handshake for this host asks for: in lower case, without the dot of the root (RFC 6066, section 3), which
/// an app takes for the same host (RFC 3986, section 3.2.2).
pub(crate) fn as_in_a_handshake(host: &str) -> String {
    without_port(host).unwrap_or_default().trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_host_is_one_name() {
        for host in
            ["a.example", "A.Example", "a.example.", "a.example:443", "A.EXAMPLE.:443", "a.example:1:2", "a.example:"]
        {
            assert_eq!(as_in_a_handshake(host), "a.example", "{host}");
        }
        assert_eq!(as_in_a_handshake("[::1]:443"), "[::1]");
        assert_eq!(as_in_a_handshake("[::1"), "");
        assert_eq!(as_in_a_handshake("."), "");
    }
}
