//! `logger`, `log-route`, `log-encoder`, `log-filter` and their relatives while they come in, as uWSGI 2.0 reads them
//! (core/logging.c; plugins/logfile, logsocket, syslog, rsyslog).

use std::path::{Path, PathBuf};

use crate::{
    gather::Directive,
    loggers::{Datagram, Destination, Encoder, Encoding, Logger, Piece, Route},
    problem::Problem,
    vassal::Log,
};

use super::values::Value;

/// Facilities by their names (RFC 3164, section 4.1.1), `security` being an old name of `auth`.
const FACILITIES: &[(&str, u8)] = &[
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("security", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The facility of uWSGI's `syslog` without one.
const DAEMON: u8 = 3;

/// Longest datagram of UDP over IPv4, in bytes.
const UDP_MAX_BYTES: u32 = 65_507;

/// Below that there is no room for a line behind the name.
const PACKET_MIN_BYTES: u32 = 128;

/// The priority of its `rsyslog` without one: daemon, notice.
const DAEMON_NOTICE: u8 = 29;

/// Applies one directive if it is one of these.
pub(super) fn take(log: &mut Log, value: &mut Value<'_>) -> bool {
    match value.directive.key.as_str() {
        "logger" | "worker-logger" => log.lines.loggers.extend(required_logger(value)),
        "req-logger" | "logger-req" | "worker-logger-req" => log.requests_lines.loggers.extend(required_logger(value)),
        "log-socket" => {
            let text = value.required().map(|address| format!("socket:{address}"));
            log.lines.loggers.extend(text.and_then(|text| logger(value, &text)));
        }
        "log-syslog" => {
            let text = format!("syslog:{}", value.text());
            log.lines.loggers.extend(logger(value, &text));
        }
        "log-route" => log.lines.routes.extend(route(value)),
        "log-req-route" => log.requests_lines.routes.extend(route(value)),
        "log-encoder" | "worker-log-encoder" => log.lines.encoders.extend(encoder(value)),
        "log-req-encoder" | "worker-log-req-encoder" => log.requests_lines.encoders.extend(encoder(value)),
        "log-filter" => log.filters.extend(value.required().and_then(|pattern| value.pattern(pattern))),
        "log-drain" => log.drains.extend(value.required().and_then(|pattern| value.pattern(pattern))),
        "rsyslog-packet-size" => match value.number_up_to(UDP_MAX_BYTES) {
            Some(bytes @ (0 | PACKET_MIN_BYTES..)) => log.rsyslog_packet_bytes = bytes,
            _ => value.bad("a number of bytes from 128 on", "1024 is the default, and the most that RFC 3164 allows"),
        },
        "rsyslog-split-messages" => log.rsyslog_splits = value.boolean(),
        _ => return false,
    }
    true
}

/// Makes the paths absolute.
pub(super) fn resolve(log: &mut Log, base: &Path) {
    let all = log.lines.loggers.iter_mut().chain(&mut log.requests_lines.loggers);
    for logger in all {
        match &mut logger.to {
            Destination::File { path, backup_name, .. } => {
                *path = base.join(&*path);
                if let Some(name) = backup_name {
                    *name = base.join(&*name);
                }
            }
            Destination::Socket { to: Datagram::Unix(path), .. }
            | Destination::Remote { to: Datagram::Unix(path), .. } => *path = base.join(&*path),
            Destination::Socket { .. }
            | Destination::Remote { .. }
            | Destination::Standard
            | Destination::Descriptor(_)
            | Destination::Syslog { .. } => {}
        }
    }
}

/// A route to a logger that is not there does nothing, as in uWSGI, which does not say so.
pub(super) fn tell_of_routes_to_nobody(directives: &[Directive], log: &Log, problems: &mut Vec<Problem>) {
    for directive in
        directives.iter().filter(|directive| matches!(directive.key.as_str(), "log-route" | "log-req-route"))
    {
        let Some((name, _)) = directive.value.as_deref().and_then(|text| text.split_once(' ')) else { continue };
        let mut all = log.lines.loggers.iter().chain(&log.requests_lines.loggers);
        if !all.any(|logger| logger.name.as_deref() == Some(name)) {
            let message = format!("no logger is called `{name}`, so this route does nothing");
            let hint = format!("write `logger = {name} file:PATH`, or another logger behind the name");
            problems.push(Problem::warning("bad-value", directive.value_at.clone(), message).hint(hint));
        }
    }
}

fn required_logger(value: &mut Value<'_>) -> Option<Logger> {
    let text = value.required()?;
    logger(value, &text)
}

/// `[NAME ]KIND[:ARGUMENT]`.
fn logger(value: &mut Value<'_>, text: &str) -> Option<Logger> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (name, rest) = match text.split_once(' ') {
        Some((name, rest)) if is_name(name) => (Some(name.to_owned()), rest),
        _ => (None, text),
    };
    let (kind, argument) = rest.split_once(':').unwrap_or((rest, ""));
    let to = match kind {
        "stdio" => Destination::Standard,
        "file" => file(value, argument)?,
        "fd" => Destination::Descriptor(descriptor(value, argument)?),
        "socket" => {
            let (address, prefix) = argument.split_once(',').unwrap_or((argument, ""));
            Destination::Socket { to: datagram(value, address, None)?, prefix: prefix.to_owned() }
        }
        "syslog" => syslog(value, argument)?,
        "rsyslog" => remote(value, argument)?,
        "redislog" | "mongodblog" | "zeromq" | "crypto" | "graylog2" | "pipe" | "systemd" | "lumberjack" => {
            let hint = "write to a file, or to syslog or a datagram socket from which a log shipper reads";
            value.bad("`file:`, `stdio`, `fd:`, `socket:`, `syslog` or `rsyslog:`", hint);
            return None;
        }
        _ => {
            let hint = "write for example `logger = file:/var/log/app.log`";
            value.bad("a kind of logger: `file:`, `stdio`, `fd:`, `socket:`, `syslog` or `rsyslog:`", hint);
            return None;
        }
    };
    Some(Logger { name, to })
}

fn file(value: &mut Value<'_>, argument: &str) -> Option<Destination> {
    let hint = "write `file:/var/log/app.log` or `file:logfile=/var/log/app.log,maxsize=1000000`";
    if argument.is_empty() {
        value.bad("the path of a file behind `file:`", hint);
        return None;
    }
    if !argument.contains('=') {
        return Some(Destination::File { path: argument.into(), max_bytes: None, backup_name: None });
    }
    let (mut path, mut max_bytes, mut backup_name) = (None, None, None);
    for pair in argument.split(',') {
        match pair.split_once('=') {
            Some(("logfile", text)) => path = Some(PathBuf::from(text)),
            Some(("backupname", text)) => backup_name = Some(PathBuf::from(text)),
            Some(("maxsize", text)) => match text.parse() {
                Ok(bytes) => max_bytes = Some(bytes).filter(|bytes| *bytes > 0),
                Err(_) => {
                    value.bad("a number of bytes as `maxsize`", hint);
                    return None;
                }
            },
            _ => {
                value.bad("`logfile=`, `maxsize=` and `backupname=`, apart by commas", hint);
                return None;
            }
        }
    }
    if path.is_none() {
        value.bad("`logfile=PATH`", hint);
    }
    Some(Destination::File { path: path?, max_bytes, backup_name })
}

fn descriptor(value: &mut Value<'_>, argument: &str) -> Option<i32> {
    let number = argument.parse().ok().filter(|number| *number >= 0);
    if number.is_none() {
        value.bad("the number of an inherited descriptor behind `fd:`", "write for example `fd:2`");
    }
    number
}

/// A path, or host and port.
fn datagram(value: &mut Value<'_>, address: &str, port: Option<u16>) -> Option<Datagram> {
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    match (address.rsplit_once(':'), port) {
        _ if address.starts_with('/') => Some(Datagram::Unix(address.into())),
        (Some((host, text)), _) if !host.is_empty() && is_port(text) => Some(Datagram::Udp(address.to_owned())),
        (None, Some(port)) if !address.is_empty() => Some(Datagram::Udp(format!("{address}:{port}"))),
        (None, None) if !address.is_empty() => Some(Datagram::Unix(address.into())),
        _ => {
            value.bad("the path of a datagram socket, or HOST:PORT", "write for example `socket:127.0.0.1:1717`");
            None
        }
    }
}

fn syslog(value: &mut Value<'_>, argument: &str) -> Option<Destination> {
    let (name, facility) = argument.split_once(',').map_or((argument, None), |(name, rest)| (name, Some(rest)));
    let number = |wanted: &str| FACILITIES.iter().find(|(known, _)| *known == wanted).map(|(_, number)| *number);
    let facility = match facility {
        None => DAEMON,
        Some(wanted) => match number(wanted) {
            Some(number) => number,
            None => {
                value.bad("a facility of syslog(3) behind the comma", "write for example `syslog:shop,local0`");
                return None;
            }
        },
    };
    let name = if name.is_empty() { "uwsgi" } else { name };
    Some(Destination::Syslog { name: name.to_owned(), facility })
}

fn remote(value: &mut Value<'_>, argument: &str) -> Option<Destination> {
    let mut parts = argument.splitn(3, ',');
    let to = datagram(value, parts.next().unwrap_or_default(), Some(514))?;
    let name = parts.next().map(str::to_owned);
    let priority = match parts.next().map(str::parse) {
        None => DAEMON_NOTICE,
        // The highest facility and severity there are.
        Some(Ok(priority @ 0..=191)) => priority,
        Some(_) => {
            value.bad("a priority from 0 to 191 behind the second comma", "8 times the facility, and the severity");
            return None;
        }
    };
    Some(Destination::Remote { to, name, priority })
}

/// `LOGGER PATTERN`.
fn route(value: &mut Value<'_>) -> Option<Route> {
    let text = value.required()?;
    let Some((logger, pattern)) = text.split_once(' ') else {
        value.bad(
            "the name of a logger, a blank and a regular expression",
            "write for example `log-route = errors ERROR`",
        );
        return None;
    };
    Some(Route { logger: logger.to_owned(), pattern: value.pattern(pattern.to_owned())? })
}

/// `KIND[:LOGGER][ ARGUMENT]`.
fn encoder(value: &mut Value<'_>) -> Option<Encoder> {
    let text = value.required()?;
    let (kind, argument) = text.split_once(' ').unwrap_or((&text, ""));
    let (kind, only_for) = kind.split_once(':').map_or((kind, None), |(kind, name)| (kind, Some(name.to_owned())));
    let how = match kind {
        "prefix" => Encoding::Prefix(argument.to_owned()),
        "suffix" => Encoding::Suffix(argument.to_owned()),
        "nl" => Encoding::NewLine,
        "format" => Encoding::Format(pieces(value, argument)),
        "json" => Encoding::Json(pieces(value, argument)),
        "gzip" | "compress" | "msgpack" => {
            let hint = "full files are compressed with `log-compress = true`, beside `log-keep` and `log-maxsize`";
            value.bad(
                "`format`, `json`, `nl`, `prefix` or `suffix`: a line that is compressed by itself is larger",
                hint,
            );
            return None;
        }
        _ => {
            let hint = "write for example `log-encoder = format ${strftime:%%H:%%M:%%S} ${msgnl}`";
            value.bad("`format`, `json`, `nl`, `prefix` or `suffix`", hint);
            return None;
        }
    };
    Some(Encoder { only_for, how })
}

/// Cut at each `${NAME}`; a name that nobody knows is nothing, as in uWSGI, and told.
fn pieces(value: &mut Value<'_>, text: &str) -> Vec<Piece> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    let plain = |text: &str, pieces: &mut Vec<Piece>| {
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
    };
    while let Some((before, name, behind)) = rest
        .split_once("${")
        .and_then(|(before, rest)| rest.split_once('}').map(|(name, behind)| (before, name, behind)))
    {
        plain(before, &mut pieces);
        rest = behind;
        pieces.push(match name {
            "msg" => Piece::Message,
            "msgnl" => Piece::MessageLine,
            "unix" => Piece::Unix,
            "millis" => Piece::Millis,
            "micros" => Piece::Micros,
            _ => match name.strip_prefix("strftime:") {
                Some(format) => Piece::Strftime(format.to_owned()),
                None => {
                    let message = format!("`${{{name}}}` is nothing that an encoder knows; it is left out");
                    let at = value.directive.value_at.clone();
                    let hint =
                        "write `${msg}`, `${msgnl}`, `${unix}`, `${millis}`, `${micros}` or `${strftime:FORMAT}`";
                    value.problems.push(Problem::warning("bad-value", at, message).hint(hint));
                    continue;
                }
            },
        });
    }
    plain(rest, &mut pieces);
    pieces
}

#[cfg(test)]
mod tests;
