//! Whether a condition of `route-if` holds, and what its regular expression has found.

use std::net::IpAddr;

use regex::bytes::Regex;

use super::{
    Comparison, Condition,
    walk::{Groups, Host, groups_of},
};

/// Whether it holds.
pub(super) fn holds(condition: &Condition, pattern: Option<&Regex>, host: &impl Host, groups: &mut Groups) -> bool {
    match condition {
        Condition::Path { path, is } => host.is_path(&path.fill(host, &[]), *is),
        Condition::Empty(text) => text.fill(host, &[]).is_empty(),
        Condition::Compare { left, how, right } => compare(&left.fill(host, &[]), *how, &right.fill(host, &[])),
        Condition::Regexp { text, .. } => {
            let text = text.fill(host, &[]);
            pattern.is_some_and(|pattern| groups_of(pattern, &text, groups))
        }
        Condition::Within { address, network } => {
            within(&address.fill(host, &[]), &network.fill(host, &[])).unwrap_or(false)
        }
    }
}

fn compare(left: &[u8], how: Comparison, right: &[u8]) -> bool {
    let numbers = || (number(left), number(right));
    match how {
        Comparison::Equal => left == right,
        Comparison::StartsWith => left.starts_with(right),
        Comparison::EndsWith => left.ends_with(right),
        Comparison::Contains => right.is_empty() || left.windows(right.len()).any(|window| window == right),
        Comparison::Higher => matches!(numbers(), (left, right) if left > right),
        Comparison::HigherOrEqual => matches!(numbers(), (left, right) if left >= right),
        Comparison::Lower => matches!(numbers(), (left, right) if left < right),
        Comparison::LowerOrEqual => matches!(numbers(), (left, right) if left <= right),
    }
}

/// As strtol(3) reads it: what stands at the beginning, and 0 without digits.
pub(super) fn number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] | digits => (1, digits),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let value = digits.fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    sign * value
}

/// None when one of them is not what it should be, or they are of different kinds.
fn within(address: &[u8], network: &[u8]) -> Option<bool> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let (address, network) = (text(address)?, text(network)?);
    let (network, bits) = network.split_once('/').map_or((network.as_str(), None), |(text, bits)| (text, Some(bits)));
    let number = |address: &str| match address.parse().ok()? {
        IpAddr::V4(address) => Some((u128::from(address.to_bits()), 32)),
        IpAddr::V6(address) => Some((address.to_bits(), 128)),
    };
    let ((address, width), (network, width_of_network)) = (number(&address)?, number(network)?);
    let bits: u32 = bits.map_or(Some(width), |bits| bits.parse().ok())?;
    if width != width_of_network || bits > width {
        return None;
    }
    // Shifting by all there is would be an overflow.
    let differs = (address ^ network).checked_shr(width - bits).unwrap_or(0);
    Some(differs == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_networks() {
        let is = |address: &str, network: &str| within(address.as_bytes(), network.as_bytes());
        assert_eq!(is("10.1.2.3", "10.0.0.0/8"), Some(true));
        assert_eq!(is("11.1.2.3", "10.0.0.0/8"), Some(false));
        assert_eq!(is("11.1.2.3", "0.0.0.0/0"), Some(true));
        assert_eq!((is("10.0.0.1", "10.0.0.1"), is("10.0.0.2", "10.0.0.1")), (Some(true), Some(false)));
        assert_eq!(is("2001:db8::5", "2001:db8::/32"), Some(true));
        assert_eq!(is("2001:db9::5", "2001:db8::/32"), Some(false));
        assert_eq!((is("::1", "::/0"), is("10.0.0.1", "::/0")), (Some(true), None));
        assert_eq!((is("10.0.0.1", "10.0.0.0/33"), is("x", "10.0.0.0/8"), is("10.0.0.1", "")), (None, None, None));
    }

    #[test]
    fn numbers_are_read_as_c_does() {
        assert_eq!([number(b"12x"), number(b" -5"), number(b"+7"), number(b""), number(b"x")], [12, -5, 7, 0, 0]);
        assert_eq!(number(b"99999999999999999999"), i64::MAX);
        assert!(compare(b"10", Comparison::Higher, b"9") && !compare(b"9", Comparison::Higher, b"9"));
        assert!(compare(b"9", Comparison::HigherOrEqual, b"9") && compare(b"9", Comparison::LowerOrEqual, b"9"));
        assert!(compare(b"abc", Comparison::Contains, b"bc") && compare(b"abc", Comparison::Contains, b""));
        assert!(!compare(b"a", Comparison::Contains, b"abc") && compare(b"abc", Comparison::EndsWith, b"c"));
    }
}
