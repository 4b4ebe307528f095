//! Formats of strftime(3) whose percent signs are not doubled: uWSGI replaces `%d` in `log-date = %Y-%m-%d` by the file's
//! directory and removes `%Y`. What was meant is the format.

use std::ops::Range;

/// Options whose value is such a format.
const OPTIONS: [&[u8]; 2] = [b"log-date", b"logdate"];

/// Where one begins inside the value of `log-encoder`.
const PART: &[u8] = b"${strftime:";

/// Where in a line a format stands that was not escaped. A doubled percent sign shows that whoever wrote it knew.
pub(super) fn unescaped_in(line: &[u8]) -> Option<Range<usize>> {
    value_of_an_option(line).or_else(|| part_of_a_value(line)).filter(|range| {
        let text = &line[range.clone()];
        let has = |wanted: fn(u8) -> bool| text.windows(2).any(|pair| pair[0] == b'%' && wanted(pair[1]));
        has(|next| next.is_ascii_alphabetic()) && !has(|next| next == b'%')
    })
}

/// Behind the key, in whichever format the file is.
fn value_of_an_option(line: &[u8]) -> Option<Range<usize>> {
    let start = line.iter().position(|byte| !b" \t-'\"<".contains(byte))?;
    let key = OPTIONS.iter().find(|key| line[start..].starts_with(key))?;
    let end = start + key.len();
    let next = *line.get(end)?;
    (!next.is_ascii_alphanumeric() && !b"-_".contains(&next)).then_some(end..line.len())
}

fn part_of_a_value(line: &[u8]) -> Option<Range<usize>> {
    let start = line.windows(PART.len()).position(|bytes| bytes == PART)? + PART.len();
    let length = line[start..].iter().position(|byte| *byte == b'}')?;
    Some(start..start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_found_unless_its_percent_signs_are_doubled() {
        let found = |line: &str| unescaped_in(line.as_bytes()).map(|range| line[range].to_owned());
        for (line, format) in [
            ("log-date = %Y-%m-%d", Some(" = %Y-%m-%d")),
            ("  logdate=%H:%M", Some("=%H:%M")),
            ("    \"log-date\": \"%d\",", Some("\": \"%d\",")),
            ("  - log-date: %T", Some(": %T")),
            ("<log-date>%d</log-date>", Some(">%d</log-date>")),
            ("log-encoder = json {\"t\": \"${strftime:%d/%m}\", \"n\": \"%n\"}", Some("%d/%m")),
            ("log-date = %%Y-%%m-%%d", None),
            ("log-date = true", None),
            ("log-date = %(format)", None),
            ("log-date-x = %d", None),
            ("log-prefix = %n", None),
            ("chdir = %d", None),
        ] {
            assert_eq!(found(line).as_deref(), format, "{line}");
        }
    }
}
