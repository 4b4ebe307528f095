//! `KEY=VALUE,KEY=VALUE` as uWSGI reads it (core/utils.c: `uwsgi_kvlist_parse`): a backslash takes a comma its meaning, and keys
//! that nobody knows say nothing.

use crate::{assemble::values::Value, problem::Problem, value};

pub(super) fn unknown_key(value: &mut Value<'_>, key: &str) {
    let name = &value.directive.key;
    let message = format!("`{name}` has no key `{key}`; it is ignored, as in uWSGI");
    let hint = "a comma inside a command is written `\\,`";
    value.problems.push(Problem::warning("bad-value", value.directive.value_at.clone(), message).hint(hint));
}

pub(super) fn atoi(text: &str) -> i64 {
    value::number(Some(text)).value
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
