//! What systemd is told of a vassal alone: READY=1 once it serves, RELOADING=1 and READY=1 around a reload, STOPPING=1 at
//! a stop (sd_notify(3); `Type=notify` and `Type=notify-reload` in systemd.service(5)). uWSGI says READY=1 at the end of
//! its start (core/uwsgi.c) and nothing later. Under an emperor it is the emperor who speaks.

use empery_lifecycle::{
    generations::{FailureReason, Report},
    ids::GenerationId,
};
use empery_sys::{process::monotonic_ns, service_manager};

use super::{Supervisor, report::sentence};
use crate::{log, station::Station};

/// What was told so far.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    is_ready: bool,
    is_reloading: bool,
}

/// What there is to tell.
enum News<'a> {
    /// A reload begins at this moment of CLOCK_MONOTONIC.
    Reloads { at_us: u64 },
    /// A generation serves.
    Serves(GenerationId),
    /// A generation did not come into service; another serves.
    Failed(GenerationId, &'a FailureReason),
    /// Nothing is accepted any more.
    Stops,
}

impl Announcer {
    /// The words for it; None when they would say nothing new, or something untrue.
    fn tell(&mut self, news: News<'_>) -> Option<String> {
        match news {
            // Who has never been ready has nothing to load again.
            News::Reloads { at_us } => self.is_ready.then(|| {
                self.is_reloading = true;
                format!("RELOADING=1\nMONOTONIC_USEC={at_us}\nSTATUS=reloading")
            }),
            News::Serves(generation) => {
                (self.is_ready, self.is_reloading) = (true, false);
                Some(format!("READY=1\nSTATUS=generation {generation} serves"))
            }
            // The next one is on its way, or the end is.
            News::Failed(_, FailureReason::Superseded | FailureReason::Cancelled) => None,
            News::Failed(generation, reason) => std::mem::take(&mut self.is_reloading).then(|| {
                let sentence = sentence(reason);
                // A line break would begin another word.
                let why = sentence.lines().next().unwrap_or_default();
                format!(
                    "READY=1\nSTATUS=generation {generation} did not come into service: {why}; an earlier one serves"
                )
            }),
            News::Stops => Some("STOPPING=1\nSTATUS=stopping".to_owned()),
        }
    }
}

impl Supervisor {
    /// A reload begins.
    pub(super) fn announce_reload(&mut self) {
        self.announce(News::Reloads { at_us: monotonic_ns() / 1000 });
    }

    /// A stop begins.
    pub(super) fn announce_stop(&mut self) {
        self.announce(News::Stops);
    }

    /// The machine has reported something.
    pub(super) fn announce_report(&mut self, report: &Report) {
        match report {
            Report::Serving { generation, .. } => self.announce(News::Serves(*generation)),
            Report::Failed { generation, reason, still_serving: true, .. } => {
                self.announce(News::Failed(*generation, reason));
            }
            _ => {}
        }
    }

    /// In the new image of a master: the earlier one has said that it reloads.
    pub(super) fn announced_by_predecessor(&mut self) {
        self.announcer = Announcer { is_ready: true, is_reloading: true };
    }

    fn announce(&mut self, news: News<'_>) {
        if let Station::Alone(_) = self.station
            && let Some(words) = self.announcer.tell(news)
            && let Err(error) = service_manager::say(&words)
        {
            log::say(&format!("*** systemd could not be told {}: {error} ***", words.replace('\n', ", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_word(announcer: &mut Announcer, news: News<'_>) -> Option<String> {
        announcer.tell(news)?.lines().next().map(str::to_owned)
    }

    fn failed(sentence: &str) -> FailureReason {
        FailureReason::Setup { sentence: sentence.to_owned() }
    }

    #[test]
    fn a_reload_is_over_when_another_generation_serves_or_did_not_come_into_service() {
        let mut announcer = Announcer::default();
        assert_eq!(first_word(&mut announcer, News::Reloads { at_us: 1 }), None, "it was never ready");
        assert_eq!(first_word(&mut announcer, News::Serves(GenerationId(1))).as_deref(), Some("READY=1"));
        assert_eq!(
            first_word(&mut announcer, News::Failed(GenerationId(2), &failed("a zygote"))),
            None,
            "no reload was announced"
        );
        assert_eq!(first_word(&mut announcer, News::Reloads { at_us: 2 }).as_deref(), Some("RELOADING=1"));
        assert_eq!(
            first_word(&mut announcer, News::Failed(GenerationId(3), &FailureReason::Superseded)),
            None,
            "the next one boots"
        );
        assert_eq!(
            first_word(&mut announcer, News::Failed(GenerationId(4), &failed("no"))).as_deref(),
            Some("READY=1")
        );
        assert_eq!(first_word(&mut announcer, News::Failed(GenerationId(5), &failed("no"))), None, "it has been said");
        assert_eq!(first_word(&mut announcer, News::Stops).as_deref(), Some("STOPPING=1"));
    }

    #[test]
    fn a_sentence_of_the_app_cannot_say_words_of_its_own() {
        let mut announcer = Announcer { is_ready: true, is_reloading: true };
        let words = announcer.tell(News::Failed(GenerationId(2), &failed("line one\nMAINPID=1"))).unwrap();
        assert!(words.contains("line one") && !words.contains("MAINPID"), "{words}");
    }
}
