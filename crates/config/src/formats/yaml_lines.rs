//! What a uWSGI that was built without libyaml takes for YAML: lines `key: value` below `uwsgi:`, a `#` anywhere begins a
//! comment, nothing is quoted (core/yaml.c). Files that were written for it need not be YAML: `a: b: c` is a value here.

use super::Pair;
use crate::problem::Origin;

/// The pairs below `section`; None when there are none, or other lines among them.
pub(super) fn read(file: &str, text: &str, section: &str) -> Option<Vec<Pair>> {
    let mut pairs = Vec::new();
    let mut inside: Option<usize> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let content = line.trim();
        if content.is_empty() {
            continue;
        }
        let depth = line.len() - line.trim_start().len();
        match inside {
            Some(outer) if depth <= outer => break,
            Some(_) => pairs.push(pair(file, index, line)?),
            None if content.strip_suffix(':').is_some_and(|name| name.trim_end() == section) => inside = Some(depth),
            None => {}
        }
    }
    (!pairs.is_empty()).then_some(pairs)
}

fn pair(file: &str, index: usize, line: &str) -> Option<Pair> {
    let at = line.find(": ").or_else(|| line.find(":\t"))?;
    let (key, value) = (line[..at].trim(), line[at + 2..].trim());
    if key.starts_with(['-', '[', '{']) || value.is_empty() {
        return None;
    }
    let place = |before: &str, length: &str| {
        let characters = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        Origin {
            file: file.to_owned(),
            line: u32::try_from(index + 1).unwrap_or(u32::MAX),
            column: characters(before).saturating_add(1),
            length: characters(length),
        }
    };
    let indent = &line[..line.len() - line.trim_start().len()];
    let value_from = line.len() - line[at + 2..].trim_start().len();
    Some(Pair {
        key: key.to_owned(),
        value: Some(value.to_owned()),
        key_at: place(indent, key),
        value_at: place(&line[..value_from], value),
    })
}
