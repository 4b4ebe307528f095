//! What is changed about the headers of every answer: `add-header`, `del-header` and their relatives.

use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers {
    /// `add-header`: `NAME: VALUE`, at the end of the head.
    pub add: Vec<String>,
    /// `del-header`, `rem-header`: names of those that are left out.
    pub remove: Vec<String>,
    /// `collect-header`, `pull-header`.
    pub collect: Vec<Collect>,
}

/// A header of the answer that becomes a variable of the request, for its line and for routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collect {
    /// The header's name.
    pub header: String,
    /// The variable's name.
    pub variable: String,
    /// `pull-header`: the client does not get it.
    pub is_pulled: bool,
}

impl Headers {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty() && self.collect.is_empty()
    }
}
