//! The configuration after includes, conditions and placeholders, each value with the place it comes from.

use empery_config::vassal::{Effective, VassalConfig};
use serde::Serialize;

use super::say;

/// One option or placeholder.
#[derive(Debug, Serialize)]
pub(super) struct Line<'c> {
    key: &'c str,
    value: Option<&'c str>,
    file: &'c str,
    line: u32,
    column: u32,
}

/// All of them, in order.
pub(super) fn lines(config: &VassalConfig) -> Vec<Line<'_>> {
    config.effective.iter().map(line).collect()
}

fn line(effective: &Effective) -> Line<'_> {
    Line {
        key: &effective.key,
        value: effective.value.as_deref(),
        file: &effective.origin.file,
        line: effective.origin.line,
        column: effective.origin.column,
    }
}

impl Line<'_> {
    /// As a line of INI behind its place.
    pub(super) fn show(&self) {
        let place = format!("{}:{}", self.file, self.line);
        say!("{place:<24} {} = {}", self.key, self.value.unwrap_or("true"));
    }
}
