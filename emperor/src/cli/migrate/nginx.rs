//! nginx's `uwsgi_pass` and `proxy_pass` beside the addresses of the vassals: who would answer, and in which protocol
//! (ngx_http_uwsgi_module, ngx_http_proxy_module).

use std::collections::BTreeMap;

use empery_config::vassal::{Protocol, VassalConfig};

use super::Said;

/// `upstream NAME { server ADDRESS; … }`, of all files: a pass in one may name what stands in another.
#[derive(Default)]
pub(super) struct Upstreams(BTreeMap<String, Vec<String>>);

impl Upstreams {
    /// Adds those of a text.
    pub(super) fn take(&mut self, text: &str) {
        let mut inside = None;
        for Statement { words, end, .. } in statements(text) {
            let words: Vec<&str> = words.split_whitespace().collect();
            match (end, words.as_slice()) {
                ('{', ["upstream", name]) => inside = Some((*name).to_owned()),
                ('}', _) => inside = None,
                (_, ["server", address, ..]) => {
                    if let Some(name) = &inside {
                        self.0.entry(name.clone()).or_default().push(bare(address));
                    }
                }
                _ => {}
            }
        }
    }

    /// The servers behind a name; an address stands for itself.
    fn servers<'u>(&'u self, target: &'u String) -> &'u [String] {
        self.0.get(target).map_or(std::slice::from_ref(target), Vec::as_slice)
    }
}

/// What is to be said of a text of nginx.
pub(super) fn read(text: &str, served: &[VassalConfig], upstreams: &Upstreams) -> Said {
    let mut said = Said { notes: Vec::new(), can_run: true };
    for Statement { words, line, .. } in statements(text) {
        let spoken = [
            ("uwsgi_pass", Protocol::Uwsgi),
            ("proxy_pass", Protocol::Http),
            ("fastcgi_pass", Protocol::FastCgi),
            ("scgi_pass", Protocol::Scgi),
        ];
        for (directive, protocol) in spoken {
            let Some(target) = target(&words, directive) else { continue };
            for server in upstreams.servers(&target) {
                let behind = if *server == target { String::new() } else { format!(", by its server `{server}`,") };
                match answering(server, served) {
                    Some(found) if found == protocol => {}
                    Some(found) => {
                        said.can_run = false;
                        said.notes.push(format!(
                            "line {line}: `{directive} {target}`{behind} meets a vassal that speaks {}: use `{}`",
                            name(found),
                            directive_of(found)
                        ));
                    }
                    // A name may be a host, and a proxied server may be anything.
                    None if directive == "uwsgi_pass" && (server.starts_with("unix:") || server.contains(':')) => {
                        said.notes.push(format!("line {line}: no vassal that runs as it is listens on `{server}`"));
                    }
                    None => {}
                }
            }
        }
    }
    said
}

/// What ends in `;` or opens or closes a block.
struct Statement {
    words: String,
    /// Where its last word is, from 1.
    line: usize,
    end: char,
}

/// Comments begin where a word could; quotes are not looked into, as no address has any.
fn statements(text: &str) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut words = String::new();
    for (index, line) in text.lines().enumerate() {
        let comment = line.match_indices('#').map(|(at, _)| at).find(|at| {
            line[..*at].chars().next_back().is_none_or(|before| before.is_whitespace() || ";{}".contains(before))
        });
        for letter in line[..comment.unwrap_or(line.len())].chars() {
            match letter {
                ';' | '{' | '}' => {
                    let words = std::mem::take(&mut words).trim().to_owned();
                    found.push(Statement { words, line: index + 1, end: letter });
                }
                _ => words.push(letter),
            }
        }
        words.push(' ');
    }
    found
}

/// The address behind a directive, without a scheme and what follows the address.
fn target(line: &str, directive: &str) -> Option<String> {
    let rest = line.strip_prefix(directive)?.strip_prefix([' ', '\t'])?;
    Some(bare(rest.trim()))
}

/// An address without a scheme and what follows it; slashes of a path that stand together are one.
fn bare(address: &str) -> String {
    let rest = ["http://", "https://", "suwsgi://", "uwsgi://"]
        .iter()
        .find_map(|scheme| address.strip_prefix(scheme))
        .unwrap_or(address);
    match rest.strip_prefix("unix:") {
        Some(path) => format!("unix:{}", one_slash(path.split(':').next().unwrap_or(path))),
        None => rest.split('/').next().unwrap_or(rest).to_owned(),
    }
}

fn one_slash(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("{}{}", if path.starts_with('/') { "/" } else { "" }, parts.join("/"))
}

fn answering(target: &str, served: &[VassalConfig]) -> Option<Protocol> {
    let address = target.strip_prefix("unix:").unwrap_or(target);
    let listeners = served.iter().flat_map(|config| &config.listeners);
    let fits = |shown: &str| {
        let port = |text: &str| text.rsplit_once(':').map(|(_, port)| port.to_owned());
        let is_local = |text: &str| {
            ["127.0.0.1:", "localhost:", "0.0.0.0:", "[::1]:", "[::]:"].iter().any(|host| text.starts_with(host))
        };
        one_slash(shown) == address || (is_local(shown) && is_local(address) && port(shown) == port(address))
    };
    listeners
        .filter(|listener| listener.door.is_workers())
        .find(|listener| fits(&listener.address.to_string()))
        .map(|listener| listener.protocol)
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Uwsgi => "the uwsgi protocol",
        Protocol::Http => "HTTP",
        Protocol::FastCgi => "FastCGI",
        Protocol::Scgi => "SCGI",
    }
}

fn directive_of(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Uwsgi => "uwsgi_pass",
        Protocol::Http => "proxy_pass http://",
        Protocol::FastCgi => "fastcgi_pass",
        Protocol::Scgi => "scgi_pass",
    }
}

#[cfg(test)]
mod tests {
    use empery_config::{
        facts::{Facts, NoFiles},
        read::{Entry, read as read_config},
    };

    use super::*;

    fn served(socket: &str) -> Vec<VassalConfig> {
        let content = format!("[uwsgi]\nmodule = app\n{socket}\n").into_bytes();
        let entry = Entry::File { path: "/v/app.ini".into(), content };
        vec![read_config(&entry, &Facts { uid: 1, ..Facts::default() }, &NoFiles).config.unwrap()]
    }

    #[test]
    fn a_pass_is_right_when_a_vassal_speaks_that_protocol_there() {
        let served = served("socket = /run/app.sock\nhttp-socket = 127.0.0.1:8000");
        for line in [
            "uwsgi_pass unix:/run/app.sock;",
            "uwsgi_pass unix:/run/app.sock:/x;",
            "uwsgi_pass unix:///run/app.sock;",
            "location / { uwsgi_pass unix:////run//app.sock; } # here",
            "proxy_pass http://localhost:8000/;",
            "uwsgi_pass backend;",
        ] {
            let said = read(&format!("server {{\n  {line}\n}}\n"), &served, &Upstreams::default());
            assert!(said.can_run && said.notes.is_empty(), "{line}: {:?}", said.notes);
        }
        let wrong = read("uwsgi_pass 127.0.0.1:8000;", &served, &Upstreams::default());
        assert!(!wrong.can_run && wrong.notes[0].contains("proxy_pass"), "{:?}", wrong.notes);
        let nobody = read("# uwsgi_pass unix:/x;\nuwsgi_pass unix:/run/other.sock;", &served, &Upstreams::default());
        assert!(
            nobody.can_run && nobody.notes.len() == 1 && nobody.notes[0].starts_with("line 2"),
            "{:?}",
            nobody.notes
        );
    }

    #[test]
    fn the_servers_of_an_upstream_are_looked_at_wherever_it_stands() {
        let served = served("socket = /run/app.sock\nhttp-socket = 127.0.0.1:8000");
        let mut upstreams = Upstreams::default();
        upstreams.take("upstream good { server unix:///run/app.sock fail_timeout=0; }\nserver { server_name x; }\n");
        upstreams.take("upstream web {\n  # server 127.0.0.1:1;\n  ip_hash;\n  server 127.0.0.1:8000 weight=5;\n  server unix:/run/no.sock;\n}\n");
        let said = |line: &str| read(line, &served, &upstreams);
        for line in ["uwsgi_pass good;", "uwsgi_pass uwsgi://good;", "proxy_pass http://web/;", "uwsgi_pass other;"] {
            assert!(said(line).notes.is_empty(), "{line}: {:?}", said(line).notes);
        }
        let wrong = said("server {\nproxy_pass http://good; }");
        assert!(!wrong.can_run && wrong.notes.len() == 1, "{:?}", wrong.notes);
        assert!(wrong.notes[0].starts_with("line 2") && wrong.notes[0].contains("by its server `unix:/run/app.sock`"));
        let half = said("uwsgi_pass web;");
        assert!(!half.can_run && half.notes.len() == 2 && half.notes[1].contains("/run/no.sock"), "{:?}", half.notes);
    }
}
