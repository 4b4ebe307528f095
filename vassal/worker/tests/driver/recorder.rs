//! An app that writes down what it gets, and reading it.

use std::path::PathBuf;

use empery_control::{apps::AppTarget, boot::AppBoot};
use serde_json::Value;

use super::{Generation, Listeners, app};

/// Where one worker's app writes.
pub(crate) struct Recorder {
    path: PathBuf,
    pub(crate) listeners: Listeners,
    pub(crate) generation: Generation,
}

impl Recorder {
    /// A worker that serves the recording app.
    pub(crate) fn new(name: &str, change: impl FnOnce(&mut AppBoot)) -> Self {
        Self::of(name, app("recorder.py"), change)
    }

    /// A worker that serves another app which writes down what it sees in the same form.
    pub(crate) fn of(name: &str, target: AppTarget, change: impl FnOnce(&mut AppBoot)) -> Self {
        let path = std::env::temp_dir().join(format!("empery-recorder-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listeners = Listeners::new();
        let argument = path.to_str().unwrap().to_owned();
        let generation = Generation::serving(target, &listeners, |boot| {
            boot.pyargv = vec![argument];
            change(boot);
        });
        Self { path, listeners, generation }
    }

    /// Every request the app has got so far, in order.
    pub(crate) fn seen(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The last of them.
    pub(crate) fn last(&self) -> Value {
        self.seen().pop().unwrap_or(Value::Null)
    }

    /// Forgets what was seen.
    pub(crate) fn forget(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.forget();
    }
}
