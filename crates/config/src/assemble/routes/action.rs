//! What a route does: `ACTION:ARGUMENT`.

use empery_rules::{
    routes::{
        Action, Arithmetic, BasicAuth, FileAnswer, Known,
        template::{Piece, Template},
    },
    status,
};

use super::{Value, template};

/// Actions that uWSGI has, or has in plugins, with what to do instead.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &[
            "cache",
            "cache-continue",
            "cachevar",
            "cacheset",
            "cachestore",
            "cache-store",
            "cacheinc",
            "cachedec",
            "cachemul",
            "cachediv",
        ],
        "answers are not kept here: do it in the web server in front",
    ),
    (
        &[
            "http",
            "httpdumb",
            "proxyhttp",
            "httpconnect",
            "proxyhttpconnect",
            "uwsgi",
            "proxyuwsgi",
            "fcgi",
            "fcgiauth",
            "scgi",
            "hash",
        ],
        "requests are not passed on to other servers: do it in the web server in front",
    ),
    (
        &[
            "memcached",
            "memcached-continue",
            "memcachedstore",
            "memcached-store",
            "redis",
            "redis-continue",
            "redisstore",
            "redis-store",
        ],
        "answers of other stores are for the app to give",
    ),
    (
        &["ldapauth", "ldapauth-next", "radius", "radius-next", "spnego", "spnego-next", "access"],
        "write `basicauth:REALM,FILE`, or do it in the web server in front",
    ),
    (
        &[
            "flush", "fixcl", "forcecl", "gzip", "chunked", "offload", "template", "tofile", "to-file", "toupper",
            "xslt", "toxslt", "ssi",
        ],
        "bodies of the app are not changed: do it in a WSGI middleware or in the web server in front",
    ),
    (
        &[
            "call",
            "rpc",
            "rpcret",
            "rpcblob",
            "rpcnext",
            "rpcraw",
            "rpcvar",
            "symcall",
            "symcall-next",
            "cgi",
            "cgihelper",
        ],
        "nothing else is called from routes: do it in the app",
    ),
    (
        &["setapp", "setfile", "sethome", "chdir", "setmodifier1", "setmodifier2"],
        "one app is served: choose inside of it",
    ),
    (&["disableheaders"], "an answer without a head is no HTTP: begin it with `clearheaders:200 OK`"),
    (&["gridfs", "xmldir", "expires"], "write `static:PATH`, or do it in the web server in front"),
];

/// Reads it. What nobody knows is an error.
pub(super) fn read(value: &mut Value<'_>, text: &str) -> Option<Action> {
    let Some((kind, argument)) = text.split_once(':') else {
        let hint =
            if text.is_empty() { "write `continue:`" } else { "the colon stays also without an argument: `last:`" };
        value.bad("an action, `NAME:ARGUMENT`", hint);
        return None;
    };
    let filled = |value: &mut Value<'_>| template::read(value, argument);
    let set = |value: &mut Value<'_>, name: &str| {
        Some(Action::Set { name: name.to_owned(), value: template::read(value, argument) })
    };
    match kind {
        "continue" | "last" => Some(Action::Continue),
        "break" if argument.is_empty() => Some(Action::Break),
        "break" => break_with(value, argument),
        "return" | "break-with-status" => returned(value, argument),
        "goto" => Some(Action::Goto(filled(value))),
        "log" => Some(Action::Log(filled(value))),
        "donotlog" => Some(Action::DoNotLog),
        "donotoffload" => Some(Action::Nothing),
        "logvar" => assignment(value, argument).map(|(name, value)| Action::LogVariable { name, value }),
        "addvar" => assignment(value, argument).map(|(name, value)| Action::Add { name, value }),
        "setscriptname" => set(value, "SCRIPT_NAME"),
        "setmethod" => set(value, "REQUEST_METHOD"),
        "seturi" => set(value, "REQUEST_URI"),
        "setremoteaddr" => set(value, "REMOTE_ADDR"),
        "setpathinfo" => set(value, "PATH_INFO"),
        "setdocroot" => set(value, "DOCUMENT_ROOT"),
        "setscheme" => set(value, "UWSGI_SCHEME"),
        "setuser" => Some(Action::SetUser(filled(value))),
        "fixpathinfo" => Some(Action::FixPathInfo),
        "setprocname" => Some(Action::Title(filled(value))),
        "+" => Some(counted(value, argument, Arithmetic::Plus)),
        "-" => Some(counted(value, argument, Arithmetic::Minus)),
        "*" => Some(counted(value, argument, Arithmetic::Times)),
        "/" => Some(counted(value, argument, Arithmetic::Divided)),
        "metricset" => Some(metric(value, argument, None)),
        "metricinc" => Some(metric(value, argument, Some(Arithmetic::Plus))),
        "metricdec" => Some(metric(value, argument, Some(Arithmetic::Minus))),
        "metricmul" => Some(metric(value, argument, Some(Arithmetic::Times))),
        "metricdiv" => Some(metric(value, argument, Some(Arithmetic::Divided))),
        "signal" => signal(value, argument),
        "alarm" => alarm(value, argument),
        "harakiri" => seconds(value, argument),
        "addheader" => header(value, argument),
        "delheader" | "remheader" => Some(Action::RemoveHeader(filled(value))),
        "clearheaders" | "resetheaders" => Some(Action::Begin(filled(value))),
        "send" => Some(Action::Send { text: filled(value), with_line_end: false }),
        "send-crnl" => Some(Action::Send { text: filled(value), with_line_end: true }),
        "redirect" | "redirect-302" => Some(Action::Redirect { to: filled(value), is_permanent: false }),
        "redirect-permanent" | "redirect-301" => Some(Action::Redirect { to: filled(value), is_permanent: true }),
        "rewrite" => Some(Action::Rewrite { to: filled(value), is_last: false }),
        "rewrite-last" => Some(Action::Rewrite { to: filled(value), is_last: true }),
        "static" => Some(Action::Static { path: filled(value), or_next: false }),
        "static-next" => Some(Action::Static { path: filled(value), or_next: true }),
        "file" | "sendfile" | "fastfile" | "file-next" | "sendfile-next" | "fastfile-next" => {
            file(value, argument).map(|file| Action::File(FileAnswer { or_next: kind.ends_with("-next"), ..file }))
        }
        "basicauth" | "basicauth-next" => {
            let auth = basic_auth(value, argument)?;
            Some(Action::BasicAuth(BasicAuth { or_next: kind.ends_with("-next"), ..auth }))
        }
        _ => {
            unknown(value, kind);
            None
        }
    }
}

fn unknown(value: &mut Value<'_>, kind: &str) {
    match REFUSED.iter().find(|(names, _)| names.contains(&kind)) {
        Some((_, hint)) => value.bad(&format!("an action that is there; `{kind}` is not"), hint),
        None => value.bad(
            &format!("an action; `{kind}` is none"),
            "write for example `redirect:/new`, `return:403`, `addheader:X-A: b`, `static:/srv/a.txt`, `donotlog:` or `last:`",
        ),
    }
}

/// `NAME=VALUE`.
fn assignment(value: &mut Value<'_>, argument: &str) -> Option<(String, Template)> {
    let Some((name, text)) = argument.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        value.bad("`NAME=VALUE` behind the colon", "write for example `addvar:REMOTE_USER=guest`");
        return None;
    };
    Some((name.to_owned(), template::read(value, text)))
}

/// `NAME` or `NAME,NUMBER`.
fn counted(value: &mut Value<'_>, argument: &str, how: Arithmetic) -> Action {
    let (name, by) = argument.split_once(',').map_or((argument, None), |(name, by)| (name, Some(by)));
    Action::Count { name: name.to_owned(), how, by: by.map(|by| template::read(value, by)) }
}

/// `NAME` or `NAME,NUMBER`; without one it is 1 (plugins/router_metrics).
fn metric(value: &mut Value<'_>, argument: &str, how: Option<Arithmetic>) -> Action {
    let (name, by) = argument.split_once(',').unwrap_or((argument, "1"));
    Action::Metric { name: template::read(value, name), how, by: template::read(value, by) }
}

fn signal(value: &mut Value<'_>, argument: &str) -> Option<Action> {
    let number = argument.parse().ok();
    if number.is_none() {
        value.bad("the number of a signal, 0 to 255, behind `signal:`", "write for example `signal:17`");
    }
    number.map(Action::Signal)
}

/// `NAME MESSAGE`.
fn alarm(value: &mut Value<'_>, argument: &str) -> Option<Action> {
    let Some((name, message)) = argument.split_once(' ').filter(|(name, _)| !name.is_empty()) else {
        value.bad("`NAME MESSAGE` behind `alarm:`", "write for example `alarm:mail ${REQUEST_URI} is missing`");
        return None;
    };
    Some(Action::Alarm { name: template::read(value, name), message: template::read(value, message) })
}

/// `STATUS PHRASE`; shorter ones are ignored by uWSGI.
fn break_with(value: &mut Value<'_>, argument: &str) -> Option<Action> {
    let (digits, phrase) = argument.split_at_checked(3).unwrap_or((argument, ""));
    let number: Option<u16> = digits.parse().ok().filter(|number| (100..=599).contains(number));
    match number {
        Some(number) if phrase.is_empty() => {
            Some(Action::BreakWith(format!("{number} {}", status::phrase(number).unwrap_or("Unknown"))))
        }
        Some(_) if phrase.starts_with(' ') => Some(Action::BreakWith(argument.to_owned())),
        _ => {
            value.bad(
                "a status line such as `403 Forbidden` behind `break:`, or nothing",
                "write for example `break:403 Forbidden`",
            );
            None
        }
    }
}

fn returned(value: &mut Value<'_>, argument: &str) -> Option<Action> {
    // Behind one of 1xx a client waits for another.
    let number = argument.parse().ok().filter(|number| *number >= 200 && status::phrase(*number).is_some());
    if number.is_none() {
        value.bad("a status of HTTP behind the colon", "write for example `return:403`");
    }
    number.map(Action::Return)
}

fn seconds(value: &mut Value<'_>, argument: &str) -> Option<Action> {
    let number = argument.parse().ok();
    if number.is_none() {
        value.bad("a number of seconds behind `harakiri:`", "write for example `harakiri:60`");
    }
    number.map(Action::Limit)
}

fn header(value: &mut Value<'_>, argument: &str) -> Option<Action> {
    if !argument.contains(':') {
        value.bad("`addheader:NAME: VALUE`", "write for example `addheader:X-Robots-Tag: none`");
        return None;
    }
    Some(Action::AddHeader(template::read(value, argument)))
}

/// `filename=PATH,status=…,content_type=…,mime=1`.
fn file(value: &mut Value<'_>, argument: &str) -> Option<FileAnswer> {
    let hint = "write for example `file:filename=/srv/down.html,status=503 Service Unavailable`";
    let mut path = None;
    let mut answer = FileAnswer {
        path: Template::default(),
        status: Template(vec![Piece::Text("200 OK".to_owned())]),
        content_type: "text/html".to_owned(),
        by_name: false,
        or_next: false,
    };
    for pair in argument.split(',') {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "filename" => path = Some(template::read(value, text)),
            "status" => answer.status = template::read(value, text),
            "content_type" => answer.content_type = text.to_owned(),
            "mime" => answer.by_name = true,
            // The length is always said.
            "nocl" | "no_cl" | "no_content_length" => {}
            _ => {
                value.bad("`filename=`, `status=`, `content_type=` and `mime=1`, apart by commas", hint);
                return None;
            }
        }
    }
    let Some(path) = path else {
        value.bad("`filename=PATH`", hint);
        return None;
    };
    Some(FileAnswer { path, ..answer })
}

/// `REALM,USER:PASSWORD` or `REALM,FILE`.
fn basic_auth(value: &mut Value<'_>, argument: &str) -> Option<BasicAuth> {
    let Some((realm, known)) = argument.split_once(',') else {
        value.bad("`REALM,USER:PASSWORD` or `REALM,FILE`", "write for example `basicauth:Staff,/etc/htpasswd`");
        return None;
    };
    if realm.contains(['"', '\\']) || realm.chars().any(char::is_control) {
        value.bad("a realm without quotes", "write plain words before the comma");
        return None;
    }
    // Nobody comes in without anything behind the comma.
    let is_file = !known.is_empty() && !known.contains(':');
    let known = if is_file { Known::File(known.to_owned()) } else { Known::One(known.to_owned()) };
    Some(BasicAuth { realm: realm.to_owned(), known, or_next: false })
}
