//! Golden files: what others read and rely on (help texts, JSON, metrics) is kept in `tests/golden` and may not change
//! unnoticed. `./dev golden` writes them anew; the difference is reviewed like code.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::ground;

/// Compares with `tests/golden/NAME`, or writes it under `EMPERY_GOLDEN=write`.
///
/// # Errors
/// With the first line that differs.
pub fn matches(name: &str, text: &str) -> Result<()> {
    let path = ground::tree().join("tests/golden").join(name);
    if is_written() {
        fs::create_dir_all(ground::tree().join("tests/golden"))?;
        return fs::write(&path, text).with_context(|| format!("write {}", path.display()));
    }
    let known = fs::read_to_string(&path)
        .with_context(|| format!("{} is not there: `./dev golden` writes it", path.display()))?;
    let (mut old, mut new) = (known.lines(), text.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (was, is) => ensure!(
                was == is,
                "tests/golden/{name}:{number} was {was:?} and is {is:?}; if that is meant, run `./dev golden`"
            ),
        }
    }
    Ok(())
}

/// Whether golden files are to be written instead of compared with (`EMPERY_GOLDEN=write`).
#[must_use]
pub fn is_written() -> bool {
    std::env::var_os("EMPERY_GOLDEN").is_some_and(|value| value == "write")
}

/// The shape of a JSON value: its keys and the kinds of its values, one a line; lists by their first element.
#[must_use]
pub fn shape(value: &Value) -> String {
    let mut lines = Vec::new();
    walk(value, "$", &mut lines);
    lines.join("\n") + "\n"
}

fn walk(value: &Value, path: &str, lines: &mut Vec<String>) {
    match value {
        Value::Null => lines.push(format!("{path}: null")),
        Value::Bool(_) => lines.push(format!("{path}: boolean")),
        Value::Number(_) => lines.push(format!("{path}: number")),
        Value::String(_) => lines.push(format!("{path}: text")),
        Value::Array(items) => match items.first() {
            Some(first) => walk(first, &format!("{path}[]"), lines),
            None => lines.push(format!("{path}: empty list")),
        },
        Value::Object(members) => {
            for (key, member) in members {
                walk(member, &format!("{path}.{key}"), lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_names_every_key_with_the_kind_of_its_value() {
        let value: Value = serde_json::from_str(r#"{"a": [{"b": 1}, {"b": 2}], "c": "x", "d": []}"#).unwrap();
        assert_eq!(shape(&value), "$.a[].b: number\n$.c: text\n$.d: empty list\n");
    }
}
