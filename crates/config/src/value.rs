//! How uWSGI reads values: booleans, numbers as atoi(3) does, modes (uwsgi.c:3880-4130).

/// A number as uWSGI takes it, and whether it would surprise who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    /// What atoi(3) makes of the text.
    pub(crate) value: i64,
    /// Whether the text is more than that number, or none at all.
    pub(crate) doubtful: bool,
}

/// Present is true; only `false`, `off`, `no` (any case) and `0` are false, so that an empty value is true. What looks like a
/// comment behind such a word counts for nothing: `false ; keep` is false here, where uWSGI takes the whole for true.
pub(crate) fn boolean(text: Option<&str>) -> bool {
    let text = text.unwrap_or_default();
    !is_one_of(&["false", "off", "no", "0"], before_comment(text).unwrap_or(text))
}

/// The word before what looks like a comment, where the word is one that people write for a boolean.
pub(crate) fn before_comment(text: &str) -> Option<&str> {
    let (word, _) = text.split_once([';', '#'])?;
    let word = word.trim_end();
    is_one_of(&["true", "false", "yes", "no", "on", "off", "1", "0"], word).then_some(word)
}

fn is_one_of(words: &[&str], text: &str) -> bool {
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// atoi(3): blanks, a sign, digits; garbage is 0 and what follows the digits is ignored. No value at all is 1.
pub(crate) fn number(text: Option<&str>) -> Number {
    let Some(text) = text else { return Number { value: 1, doubtful: false } };
    let start = text.trim_start();
    let (negative, digits) = match start.as_bytes() {
        [b'-', ..] => (true, &start[1..]),
        [b'+', ..] => (false, &start[1..]),
        _ => (false, start),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let value =
        digits[..end].bytes().fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    let value = if negative { -value } else { value };
    Number { value, doubtful: end == 0 || !digits[end..].trim().is_empty() }
}

/// `chmod-socket`: empty or `1` is 666, else exactly three octal digits.
pub(crate) fn mode(text: Option<&str>) -> Option<u32> {
    match text {
        None | Some("" | "1") => Some(0o666),
        Some(text) if text.len() == 3 && text.bytes().all(|digit| digit.is_ascii_digit()) => {
            u32::from_str_radix(text, 8).ok()
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boolean_is_false_only_when_it_says_so() {
        for text in ["false", "False", "OFF", "no", "0"] {
            assert!(!boolean(Some(text)), "{text}");
        }
        for text in ["", "true", "1", "maybe", "disabled", "none", "00"] {
            assert!(boolean(Some(text)), "{text}");
        }
        assert!(boolean(None));
    }

    #[test]
    fn a_comment_behind_a_boolean_is_one() {
        for text in ["false ; keep", "no # not yet", "0;", "OFF\t; x"] {
            assert!(!boolean(Some(text)), "{text}");
        }
        for text in ["true ; keep", "1 # on", "; false", "falsehood ; x", "no way # x"] {
            assert!(boolean(Some(text)), "{text}");
        }
        assert_eq!(
            [before_comment("yes # x"), before_comment("x # yes"), before_comment("no")],
            [Some("yes"), None, None]
        );
    }

    #[test]
    fn a_number_is_read_as_atoi_does_and_doubts_are_told() {
        let read = |text| {
            let Number { value, doubtful } = number(Some(text));
            (value, doubtful)
        };
        assert_eq!([read("4"), read(" 4 "), read("-3"), read("+7")], [(4, false), (4, false), (-3, false), (7, false)]);
        assert_eq!([read("4x"), read("four"), read(""), read("$(N)")], [(4, true), (0, true), (0, true), (0, true)]);
        assert_eq!(read("99999999999999999999999").0, i64::MAX);
    }

    #[test]
    fn a_number_option_without_a_value_is_1() {
        assert_eq!(number(None), Number { value: 1, doubtful: false });
    }

    #[test]
    fn a_mode_has_three_octal_digits_or_is_666() {
        assert_eq!([mode(None), mode(Some("")), mode(Some("1"))], [Some(0o666); 3]);
        assert_eq!(mode(Some("660")), Some(0o660));
        assert_eq!([mode(Some("0660")), mode(Some("698")), mode(Some("rw")), mode(Some("+66"))], [None; 4]);
    }
}
