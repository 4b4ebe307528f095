//! Which loggers a line goes to: `log-drain` and `log-filter` decide whether it is logged at all, `log-route` to which loggers
//! that have a name, and without a route it goes to all that have none, as in uWSGI 2.0 (core/logging.c, `uwsgi_master_log`).

use empery_config::{
    loggers::{Encoder, Lines},
    vassal::Log as Configured,
};
use regex::bytes::{Regex, RegexBuilder};

use super::{
    encode::encode,
    lines::{Kind, Shape},
    outlet::{Outlet, Put},
};

/// See the module.
pub(super) struct Sorter {
    /// Of what is told of loggers; lines have theirs already.
    shape: Shape,
    drains: Vec<Regex>,
    filters: Vec<Regex>,
    lines: Way,
    /// Of request lines, when they have one of their own.
    requests: Option<Way>,
}

/// What becomes of one kind of lines.
struct Way {
    outlets: Vec<Outlet>,
    routes: Vec<(String, Regex)>,
    encoders: Vec<Encoder>,
}

/// Whose a line is, as far as that decides where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// A request's.
    Request,
    /// Anybody else's.
    Other,
}

impl Sorter {
    /// Opens the loggers of a configuration; those that are open already stay so. None when no line needs to be looked at.
    pub(super) fn open(config: &Configured, before: Option<Sorter>) -> Option<Sorter> {
        if !config.sorts_lines() {
            return None;
        }
        let (mut open, mut open_for_requests) = before.map_or_else(Default::default, |before| {
            (before.lines.outlets, before.requests.map(|way| way.outlets).unwrap_or_default())
        });
        let lines = Way::open(&config.lines, config, &mut open);
        let requests =
            config.separates_requests().then(|| Way::open(&config.requests_lines, config, &mut open_for_requests));
        let shape = if config.json { Shape::Json } else { Shape::Plain };
        Some(Sorter { shape, drains: patterns(&config.drains), filters: patterns(&config.filters), lines, requests })
    }

    /// Writes a line, which has no end of its own, to where it belongs; what belongs to where the log goes without loggers, or is
    /// to be told there, is added to `standard`.
    pub(super) fn put(&mut self, whose: Whose, text: &[u8], standard: &mut Vec<u8>) {
        let Sorter { shape, drains, filters, lines, requests } = self;
        match (whose, requests) {
            (Whose::Request, Some(way)) => way.put(text, &mut lines.outlets, *shape, standard),
            (Whose::Request | Whose::Other, _) => {
                let found_in = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(text));
                if found_in(drains) || !(filters.is_empty() || found_in(filters)) {
                    return;
                }
                lines.put(text, &mut [], *shape, standard);
            }
        }
    }

    /// Whether lines of requests go their own way.
    pub(super) fn separates_requests(&self) -> bool {
        self.requests.is_some()
    }

    /// Every file.
    pub(super) fn each_file(&mut self, mut act: impl FnMut(&mut super::file::LogFile)) {
        let requests = self.requests.iter_mut().flat_map(|way| &mut way.outlets);
        self.lines.outlets.iter_mut().chain(requests).filter_map(Outlet::file).for_each(&mut act);
    }
}

impl Way {
    fn open(lines: &Lines, config: &Configured, open: &mut Vec<Outlet>) -> Way {
        let outlets = lines.loggers.iter().map(|logger| {
            match open.iter().position(|outlet| outlet.logger == *logger && !outlet.is_lost()) {
                Some(place) => {
                    let mut outlet = open.swap_remove(place);
                    outlet.take_care(config);
                    outlet
                }
                None => Outlet::open(logger.clone(), config),
            }
        });
        let outlets = outlets.collect();
        let routes = lines.routes.iter().filter_map(|route| Some((route.logger.clone(), pattern(&route.pattern)?)));
        Way { outlets, routes: routes.collect(), encoders: lines.encoders.clone() }
    }

    /// `named` are the loggers of another way that routes may lead to.
    fn put(&mut self, text: &[u8], named: &mut [Outlet], shape: Shape, standard: &mut Vec<u8>) {
        let Way { outlets, routes, encoders } = self;
        let mut is_routed = false;
        for (name, _) in routes.iter().filter(|(_, pattern)| pattern.is_match(text)) {
            let mut all = outlets.iter_mut().chain(&mut *named);
            if let Some(outlet) = all.find(|outlet| outlet.logger.name.as_ref() == Some(name)) {
                write(outlet, encoders, text, shape, standard);
                is_routed = true;
            }
        }
        if is_routed {
            return;
        }
        let mut unnamed = outlets.iter_mut().filter(|outlet| outlet.logger.name.is_none()).peekable();
        if unnamed.peek().is_none() {
            standard.extend(encode(encoders, None, text));
        }
        for outlet in unnamed {
            write(outlet, encoders, text, shape, standard);
        }
    }
}

fn write(outlet: &mut Outlet, encoders: &[Encoder], text: &[u8], shape: Shape, standard: &mut Vec<u8>) {
    let line = encode(encoders, outlet.logger.name.as_deref(), text);
    let note = match outlet.put(&line, shape) {
        Put::Done | Put::Lost => return,
        Put::ForStandard => return standard.extend(line),
        Put::FirstLost(why) => format!("*** the logger {outlet} takes no lines ({why}); they are lost ***"),
        Put::Again(lost) => format!("*** the logger {outlet} takes lines again; {lost} were lost ***"),
    };
    shape.line(Kind::Vassal, note.as_bytes(), standard);
}

fn patterns(texts: &[String]) -> Vec<Regex> {
    texts.iter().filter_map(|text| pattern(text)).collect()
}

/// The configuration has been checked, so it is a pattern.
pub(super) fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).unicode(false).build().ok()
}

#[cfg(test)]
mod tests;
