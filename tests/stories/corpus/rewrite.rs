//! What is changed in a file of other people: absolute paths get a root in front of them, TCP ports become free ones, users
//! and groups those of the story.

use std::path::Path;

/// Options whose values are addresses.
const ADDRESSES: [&str; 14] = [
    "socket",
    "uwsgi-socket",
    "http-socket",
    "http11-socket",
    "http",
    "https",
    "https-socket",
    "stats",
    "stats-server",
    "fastcgi-socket",
    "scgi-socket",
    "shared-socket",
    "http-to",
    "emperor-stats",
];
/// Options that name users and groups.
const IDENTITIES: [&str; 5] = ["uid", "gid", "immediate-uid", "immediate-gid", "chown-socket"];
/// Options whose values begin with a path of a URL.
const PREFIXED: [&str; 5] = ["mount", "worker-mount", "static-map", "static-map2", "static-expires"];
/// Directories of the kernel, which are the same everywhere.
const KERNEL: [&str; 3] = ["/proc/", "/sys/", "/dev/"];

/// Why a text is no file yet. `${…}` is uWSGI's own in `route-if` and `log-encoder`: there the name has to say it as well.
pub(super) fn is_a_template(name: &str, text: &str) -> Option<String> {
    let marks = ["{{", "{%", "<%", "${"];
    let is_named = name.ends_with(".in") || ["tmpl", "template", ".j2", ".erb"].iter().any(|part| name.contains(part));
    let found = marks
        .iter()
        .filter(|mark| **mark != "${" || is_named)
        .find(|mark| text.lines().any(|line| !line.trim_start().starts_with(['#', ';']) && line.contains(**mark)))?;
    Some(format!("a template, which `{found}` shows: it becomes a file when somebody fills it in"))
}

/// The text as it is started.
pub(super) fn rewrite(text: &str, root: &Path, first_port: u16) -> String {
    let mut next_port = first_port;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        lines.push(match Line::of(line) {
            None => line.to_owned(),
            Some(parts) => {
                let value = value(parts.key, parts.value, root, &mut next_port);
                format!("{}{value}{}", parts.before, parts.behind)
            }
        });
    }
    lines.join("\n") + "\n"
}

/// A line with a key and a value, in any of the formats.
struct Line<'l> {
    key: &'l str,
    before: &'l str,
    value: &'l str,
    behind: &'l str,
}

impl<'l> Line<'l> {
    fn of(line: &'l str) -> Option<Line<'l>> {
        let trimmed = line.trim_start();
        if trimmed.starts_with(['#', ';', '[']) {
            return None;
        }
        if let Some(tag) = trimmed.strip_prefix('<') {
            let (key, rest) = tag.split_once('>')?;
            let value = rest.split('<').next()?;
            let at = line.len() - rest.len();
            return Some(Line { key, before: &line[..at], value, behind: &line[at + value.len()..] });
        }
        let at = trimmed.find(['=', ':'])?;
        let key = trimmed[..at].trim().trim_matches(['"', '-', ' ']);
        let from = line.len() - trimmed.len() + at + 1;
        let rest = &line[from..];
        let value = rest.trim().trim_end_matches(',').trim_matches('"');
        let start = from + rest.find(value)?;
        Some(Line { key, before: &line[..start], value, behind: &line[start + value.len()..] })
    }
}

fn value(key: &str, value: &str, root: &Path, next_port: &mut u16) -> String {
    if IDENTITIES.contains(&key) {
        let own = if key.ends_with("gid") { nix::unistd::getegid().as_raw() } else { nix::unistd::geteuid().as_raw() };
        return own.to_string();
    }
    if key.starts_with("route") || key.starts_with("log-format") || ["logformat", "log-encoder"].contains(&key) {
        return value.to_owned();
    }
    if ADDRESSES.contains(&key)
        && let Some((host, port)) = value.rsplit_once(':')
        && leading_number(port).is_some()
    {
        *next_port += 1;
        // Other addresses than these are other machines'.
        let host = if matches!(host, "" | "0.0.0.0" | "127.0.0.1" | "localhost" | "[::]") { host } else { "127.0.0.1" };
        let behind = port.trim_start_matches(|digit: char| digit.is_ascii_digit());
        return format!("{host}:{}{behind}", *next_port - 1);
    }
    if PREFIXED.contains(&key)
        && let Some((prefix, rest)) = value.split_once('=')
    {
        return format!("{prefix}={}", paths(rest, root));
    }
    paths(value, root)
}

/// A port as uWSGI reads it, by atoi(3): whatever stands behind its digits.
pub(super) fn leading_number(text: &str) -> Option<u16> {
    let digits = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

/// The root in front of every absolute path.
fn paths(value: &str, root: &Path) -> String {
    let root = root.to_string_lossy();
    let mut text = String::new();
    let mut before = ' ';
    for (at, character) in value.char_indices() {
        let rest = &value[at..];
        let begins =
            matches!(before, ' ' | '=' | ',' | '"' | '\'' | '(' | '|') || (before == ':' && !rest.starts_with("//"));
        let is_path = rest.chars().nth(1).is_some_and(|next| next.is_alphanumeric() || "%$._".contains(next));
        if character == '/' && begins && is_path && !KERNEL.iter().any(|kernel| rest.starts_with(kernel)) {
            text.push_str(&root);
        }
        text.push(character);
        before = character;
    }
    text
}
