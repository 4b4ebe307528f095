//! An app that writes down what ran: each thing a line in a file of the story's directory. What runs beside requests cannot
//! be asked over HTTP.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use empery_tests::{ground::Ground, http, vassal::Vassal, wait};

/// Long enough for everything that takes a moment, on a machine that has much to do.
pub(crate) const SOON: Duration = Duration::from_secs(25);

/// A vassal with such an app.
pub(crate) struct App<'g> {
    ground: &'g Ground,
    pub(crate) vassal: Vassal,
    port: u16,
}

impl<'g> App<'g> {
    /// A module of `tests/apps`, with `more` lines. `watched` and `touched` are files beside it.
    pub(crate) fn start(ground: &'g Ground, module: &str, more: &str) -> Result<App<'g>> {
        let port = ground.port()?;
        ground.write("watched", "")?;
        ground.write("touched", "")?;
        let mut vassal = Vassal::from_ini(ground, "app.ini", &super::ini(port, module, more))?;
        vassal.answers(port)?;
        Ok(App { ground, vassal, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The answer to a request.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let answer = http::get(self.port, path)?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, self.vassal.master.output());
        Ok(answer.text())
    }

    /// What was written down so far.
    pub(crate) fn notes(&self, name: &str) -> Vec<String> {
        notes(self.ground, name)
    }

    /// Waits until so much was written down.
    pub(crate) fn noted(&self, name: &str, number: usize) -> Result<Vec<String>> {
        let noted = wait::until(&format!("{number} notes of {name}"), SOON, || {
            Some(self.notes(name)).filter(|notes| notes.len() >= number)
        });
        noted.map_err(|error| error.context(self.vassal.master.output()))
    }
}

/// The lines of a file.
pub(crate) fn notes(ground: &Ground, name: &str) -> Vec<String> {
    let text = fs::read_to_string(ground.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
