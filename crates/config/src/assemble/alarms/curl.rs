//! `curl:URL;KEY=VALUE;…`, as plugins/alarm_curl reads it: whatever stands before the first URL, or has no `=`, is the URL.

use crate::{alarms::Curl, assemble::values::Value, problem::Problem};

pub(super) fn read(value: &mut Value<'_>, arguments: &str) -> Option<Curl> {
    let mut curl = Curl::default();
    for part in arguments.split(';').filter(|part| !part.is_empty()) {
        let (key, said) = match part.split_once('=') {
            Some((key, said)) if !curl.url.is_empty() => (key, said.to_owned()),
            _ => ("url", part.to_owned()),
        };
        let number = || u32::try_from(crate::value::number(Some(&said)).value).ok().filter(|number| *number > 0);
        match key {
            "url" => curl.url = said,
            "mail_to" => curl.mail_to = Some(said),
            "mail_from" => curl.mail_from = Some(said),
            "subject" => curl.subject = Some(said),
            "ssl" => curl.tls = true,
            "ssl_insecure" => curl.insecure = true,
            "auth_user" => curl.user = Some(said),
            "auth_pass" => curl.password = Some(said),
            "method" => curl.method = Some(said),
            "timeout" => curl.timeout_s = number(),
            "conn_timeout" => curl.connect_timeout_s = number(),
            _ => {
                let message = format!("`{key}` is no key of a `curl:` alarm and counts for nothing");
                let hint = "correct it or take it out";
                value
                    .problems
                    .push(Problem::warning("bad-value", value.directive.value_at.clone(), message).hint(hint));
            }
        }
    }
    if curl.url.is_empty() {
        value.bad("`curl:URL`", "write where the message goes: `curl:https://hooks.example.com/x`");
        return None;
    }
    Some(curl)
}
