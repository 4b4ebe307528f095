//! `?wait=30s`: how long a client is willing to wait, as people write it.

use std::time::Duration;

use axum::http::StatusCode;

use crate::problem::Problem;

/// Longest wait that is granted; a pipeline that wants more asks again. Below the idle timeouts of common proxies would
/// be shorter than a boot may take.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Reads `500ms`, `30s`, `2m` or a bare number of seconds.
pub(crate) fn parse_wait(text: &str) -> Result<Duration, Problem> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let unit_ms = match unit {
        "ms" => Some(1),
        "s" | "" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let wait = digits
        .parse::<u64>()
        .ok()
        .zip(unit_ms)
        .and_then(|(count, ms)| count.checked_mul(ms))
        .map(Duration::from_millis);
    match wait {
        Some(wait) if wait <= WAIT_MAX => Ok(wait),
        Some(_) | None => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-wait",
            format!(
                "\"{text}\" is no time to wait: give a number with ms, s or m, at most {} s, such as wait=30s",
                WAIT_MAX.as_secs()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_as_people_write_them_and_bounded() {
        assert_eq!(parse_wait("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_wait("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_wait("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_wait("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "s", "-1s", "1h", "99999999999999999999s", "18446744073709551615m", "11m", "1.5s", "3é"] {
            assert!(parse_wait(bad).is_err(), "{bad}");
        }
    }
}
