//! What raises alarms, one line each.

use crate::{
    alarms::{OnDescriptor, Threshold},
    assemble::{beside::pairs, values::Value},
    problem::Problem,
};

/// `NAME[,NAME…] PATTERN`.
pub(super) fn on_line(value: &mut Value<'_>) -> Option<(Vec<String>, String)> {
    let text = value.required()?;
    let Some((names, pattern)) = text.split_once(' ') else {
        value.bad("`NAME[,NAME] PATTERN`", "write the name of an alarm, a blank and a regular expression");
        return None;
    };
    let names = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Some((names, value.pattern(pattern.to_owned())?))
}

/// `NAME FD[:BYTES] MESSAGE`.
pub(super) fn on_descriptor(value: &mut Value<'_>) -> Option<OnDescriptor> {
    let text = value.required()?;
    let mut words = text.splitn(3, ' ');
    let read = (|| {
        let (alarm, place, message) = (words.next()?, words.next()?, words.next()?);
        let (fd, bytes) = place.split_once(':').unwrap_or((place, "1"));
        let (fd, bytes) = (fd.parse().ok().filter(|fd| *fd >= 0)?, bytes.parse().ok()?);
        let is_told = !(alarm.is_empty() || message.is_empty());
        is_told.then(|| OnDescriptor { alarm: alarm.into(), fd, bytes, message: message.into() })
    })();
    match read {
        Some(watched @ OnDescriptor { bytes: 0..=65_536, .. }) => {
            Some(OnDescriptor { bytes: watched.bytes.max(1), ..watched })
        }
        _ => {
            value.bad(
                "`NAME FD[:BYTES] MESSAGE`",
                "write an alarm, the number of an inherited descriptor and a message; at most 65536 bytes are read at once",
            );
            None
        }
    }
}

/// `key=METRIC,value=N[,alarm=NAME][,rate=S][,reset=N][,msg=TEXT]`.
pub(super) fn threshold(value: &mut Value<'_>) -> Option<Threshold> {
    let text = value.required()?;
    let (mut metric, mut limit) = (None, None);
    let mut rest = Threshold { metric: String::new(), value: 0, reset: None, alarm: None, rate_s: 0, message: None };
    for (key, said) in pairs(&text) {
        let number = crate::value::number(Some(&said)).value;
        match key.as_str() {
            "key" => metric = Some(said).filter(|name| !name.is_empty()),
            "value" => limit = Some(number),
            "reset" => rest.reset = Some(number),
            "alarm" => rest.alarm = Some(said),
            "rate" => rest.rate_s = u32::try_from(number).unwrap_or(0),
            "msg" => rest.message = Some(said),
            _ => {
                let message = format!("`{}` has no key `{key}`; it is ignored, as in uWSGI", value.directive.key);
                let hint = "its keys are key, value, alarm, rate, reset and msg";
                value
                    .problems
                    .push(Problem::warning("bad-value", value.directive.value_at.clone(), message).hint(hint));
            }
        }
    }
    match (metric, limit) {
        (Some(metric), Some(value)) => Some(Threshold { metric, value, ..rest }),
        _ => {
            value
                .bad("`key=METRIC,value=NUMBER`", "write at least these two, and `alarm=NAME` to have an alarm raised");
            None
        }
    }
}
