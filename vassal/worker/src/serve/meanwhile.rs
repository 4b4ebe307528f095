//! Hearing the master while every thread is inside the app: nobody leads then. The main thread is asked by a signal
//! ([`crate::attend`]), and what the master has said is done from Python's handler, between two instructions of the app.

use empery_control::worker::ToWorker;

use super::{Phase, Serving};
use crate::{hooks, line::Heard, os};

impl Serving {
    /// Does what the master has said, unless somebody leads, who hears it himself. Called with Python's lock, which a
    /// thread that comes to lead may hold as well: nothing here lets go of it before the lead is free again.
    pub(crate) fn hear_meanwhile(&self) {
        // With one thread a native handler gives connections away, of which nobody but that thread knows yet.
        if self.parting.is_some() || self.worker.line.raw().is_none() {
            return;
        }
        let Ok(mut lead) = self.lead.try_lock() else { return };
        let mut has_opened = false;
        loop {
            match self.worker.line.hear::<ToWorker>() {
                // Whoever called does.
                Heard::Word(ToWorker::Attend, _) => {}
                // Not taken: the master offers it to somebody who is free.
                Heard::Word(ToWorker::Adopt(_), _) => {}
                Heard::Word(ToWorker::OpenGate, _) if self.phase() == Phase::Serving => {
                    self.open_gate_unless_frozen(&mut lead);
                    has_opened = true;
                }
                Heard::Word(word, fds) => self.obey(&mut lead, word, fds),
                Heard::Noise(what) => self.misunderstood(&what),
                Heard::Nothing => break,
                Heard::End => {
                    self.master_is_gone(&mut lead);
                    break;
                }
            }
        }
        drop(lead);
        // There may be nothing to drain any more.
        os::raise(&self.wake);
        if has_opened {
            hooks::accepting(self.worker);
        }
    }
}
