//! `/metrics`: the fleet in Prometheus' text format 0.0.4. Written by hand: a dozen families read from a snapshot need
//! no registry that counts for itself.

use std::fmt::Write;

use empery_control::fleet::{FleetSnapshot, Numbers, VassalSnapshot};

/// What the answer is.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A family with one series per vassal.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Numbers) -> f64,
}

#[expect(clippy::cast_precision_loss, reason = "the format has only doubles; counters stay exact to 2^53")]
const PER_VASSAL: [Family; 10] = [
    Family {
        name: "empery_vassal_requests_total",
        kind: "counter",
        help: "Finished requests.",
        value: |n| n.requests_total as f64,
    },
    Family {
        name: "empery_vassal_requests_per_second",
        kind: "gauge",
        help: "Requests finished in the last second sampled.",
        value: |n| n.requests_per_s,
    },
    Family {
        name: "empery_vassal_errors_5xx_total",
        kind: "counter",
        help: "Answers with a status of 500 and above.",
        value: |n| n.errors_5xx_total as f64,
    },
    Family {
        name: "empery_vassal_exceptions_total",
        kind: "counter",
        help: "Requests that ended in an exception of the app.",
        value: |n| n.exceptions_total as f64,
    },
    Family {
        name: "empery_vassal_sent_bytes_total",
        kind: "counter",
        help: "Bytes sent.",
        value: |n| n.tx_bytes_total as f64,
    },
    Family {
        name: "empery_vassal_request_seconds_mean",
        kind: "gauge",
        help: "Mean time of the requests of the last second sampled; 0 when there were none.",
        value: |n| n.mean_ms / 1_000.0,
    },
    Family {
        name: "empery_vassal_workers",
        kind: "gauge",
        help: "Workers that serve.",
        value: |n| f64::from(n.workers),
    },
    Family {
        name: "empery_vassal_busy_threads",
        kind: "gauge",
        help: "Threads inside a request.",
        value: |n| f64::from(n.busy_threads),
    },
    Family {
        name: "empery_vassal_threads",
        kind: "gauge",
        help: "Threads that can serve.",
        value: |n| f64::from(n.threads),
    },
    Family {
        name: "empery_vassal_resident_bytes",
        kind: "gauge",
        help: "Resident sets of all processes.",
        value: |n| n.rss_bytes as f64,
    },
];

/// The states a vassal can be in, as the snapshot words them.
const STATES: [&str; 9] =
    ["refused", "held", "asleep", "queued", "starting", "loyal", "reloading", "stopping", "cursed"];

/// The whole answer.
pub(crate) fn render(snapshot: &FleetSnapshot) -> String {
    let mut text = String::new();
    family(&mut text, "empery_build_info", "gauge", "Version of the emperor.");
    line(&mut text, "empery_build_info", &[("version", &snapshot.version)], 1.0);
    family(&mut text, "empery_alarms", "gauge", "Things wrong with the emperor itself.");
    line(&mut text, "empery_alarms", &[], f64::from(u32::try_from(snapshot.alarms.len()).unwrap_or(u32::MAX)));
    family(&mut text, "empery_vassals", "gauge", "Vassals by state.");
    for state in STATES {
        let count = snapshot.vassals.iter().filter(|vassal| vassal.state == state).count();
        line(&mut text, "empery_vassals", &[("state", state)], f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
    per_vassal(&mut text, snapshot);
    text
}

fn per_vassal(text: &mut String, snapshot: &FleetSnapshot) {
    family(text, "empery_vassal_up", "gauge", "1 while the vassal serves.");
    for vassal in &snapshot.vassals {
        line(text, "empery_vassal_up", &of(vassal), f64::from(u8::from(vassal.generation.is_some())));
    }
    family(text, "empery_vassal_generation", "gauge", "Number of the generation that serves; 0 when none does.");
    for vassal in &snapshot.vassals {
        #[expect(clippy::cast_precision_loss, reason = "as above")]
        line(text, "empery_vassal_generation", &of(vassal), vassal.generation.unwrap_or(0) as f64);
    }
    for described in PER_VASSAL {
        family(text, described.name, described.kind, described.help);
        for vassal in &snapshot.vassals {
            line(text, described.name, &of(vassal), (described.value)(&vassal.numbers));
        }
    }
}

fn of(vassal: &VassalSnapshot) -> [(&'static str, &str); 1] {
    [("vassal", vassal.name.as_str())]
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    text.push_str(name);
    for (place, (label, value)) in labels.iter().enumerate() {
        text.push(if place == 0 { '{' } else { ',' });
        let _ = write!(text, "{label}=\"{}\"", escaped(value));
    }
    if !labels.is_empty() {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

/// As the format asks for label values: backslash, quote and line feed.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
