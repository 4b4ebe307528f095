//! `KEY=VALUE,KEY=VALUE` as uWSGI reads it (core/utils.c: `uwsgi_kvlist_parse`): a backslash takes a comma its meaning, and keys
//! that nobody knows say nothing.

use crate::{assemble::values::Value, problem::Problem, value};

pub(super) fn unknown_key(value: &mut Value<'_>, key: &str) {
    let name = &value.directive.key;
    let message = format!("`{name}` has no key `{key}`; it is ignored, as in uWSGI");
    let hint = "a comma inside a command is written `\\,`";
    value.problems.push(Problem::warning("bad-value", value.directive.value_at.clone(), message).hint(hint));
}

/// What atoi(3) makes of it, as uWSGI does; where it is no number that is told.
pub(super) fn number(value: &mut Value<'_>, key: &str, said: &str) -> i64 {
    let value::Number { value: number, doubtful } = value::number(Some(said));
    if doubtful {
        let message = format!("`{key}={said}` is {number}, as in uWSGI: a number was expected");
        let problem = Problem::warning("bad-value", value.directive.value_at.clone(), message);
        value.problems.push(problem.hint(format!("write `{key}=NUMBER`")));
    }
    number
}

pub(in crate::assemble) fn pairs(text: &str) -> Vec<(String, String)> {
    let (mut items, mut item, mut escaped) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        match letter {
            ',' if !escaped => items.push(std::mem::take(&mut item)),
            '\\' if !escaped => escaped = true,
            _ => {
                item.push(letter);
                escaped = false;
            }
        }
    }
    items.push(item);
    let pair = |item: &String| item.split_once('=').map(|(key, said)| (key.to_owned(), said.to_owned()));
    items.iter().filter_map(pair).collect()
}
