//! nginx's `uwsgi_pass` and `proxy_pass` beside the addresses of the vassals: who would answer, and in which protocol
//! (ngx_http_uwsgi_module, ngx_http_proxy_module).

use empery_config::vassal::{Protocol, VassalConfig};

use super::Said;

/// What is to be said of a text of nginx.
pub(super) fn read(text: &str, served: &[VassalConfig]) -> Said {
    let mut said = Said { notes: Vec::new(), can_run: true };
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let spoken = [
            ("uwsgi_pass", Protocol::Uwsgi),
            ("proxy_pass", Protocol::Http),
            ("fastcgi_pass", Protocol::FastCgi),
            ("scgi_pass", Protocol::Scgi),
        ];
        for (directive, protocol) in spoken {
            let Some(target) = target(line, directive) else { continue };
            let number = index + 1;
            match answering(&target, served) {
                Some(found) if found == protocol => {}
                Some(found) => {
                    said.can_run = false;
                    said.notes.push(format!(
                        "line {number}: `{directive} {target}` meets a vassal that speaks {}: use `{}`",
                        name(found),
                        directive_of(found)
                    ));
                }
                // A name may be an upstream block, and a proxied server may be anything.
                None if directive == "uwsgi_pass" && (target.starts_with("unix:") || target.contains(':')) => {
                    said.notes.push(format!("line {number}: no vassal that runs as it is listens on `{target}`"));
                }
                None => {}
            }
        }
    }
    said
}

/// The address behind a directive, without a scheme and what follows the address.
fn target(line: &str, directive: &str) -> Option<String> {
    let rest = line.strip_prefix(directive)?.strip_prefix([' ', '\t'])?;
    let rest = rest.trim().trim_end_matches(';').trim();
    let rest = ["http://", "https://", "suwsgi://", "uwsgi://"]
        .iter()
        .find_map(|scheme| rest.strip_prefix(scheme))
        .unwrap_or(rest);
    let (scheme, address, end) = match rest.strip_prefix("unix:") {
        Some(path) => ("unix:", path, path.find(':')),
        None => ("", rest, rest.find('/')),
    };
    Some(format!("{scheme}{}", end.map_or(address, |at| &address[..at])))
}

fn answering(target: &str, served: &[VassalConfig]) -> Option<Protocol> {
    let address = target.strip_prefix("unix:").unwrap_or(target);
    let listeners = served.iter().flat_map(|config| &config.listeners);
    let fits = |shown: &str| {
        let port = |text: &str| text.rsplit_once(':').map(|(_, port)| port.to_owned());
        let is_local = |text: &str| {
            ["127.0.0.1:", "localhost:", "0.0.0.0:", "[::1]:", "[::]:"].iter().any(|host| text.starts_with(host))
        };
        shown == address || (is_local(shown) && is_local(address) && port(shown) == port(address))
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
            "proxy_pass http://localhost:8000/;",
            "uwsgi_pass backend;",
        ] {
            let said = read(&format!("server {{\n  {line}\n}}\n"), &served);
            assert!(said.can_run && said.notes.is_empty(), "{line}: {:?}", said.notes);
        }
        let wrong = read("uwsgi_pass 127.0.0.1:8000;", &served);
        assert!(!wrong.can_run && wrong.notes[0].contains("proxy_pass"), "{:?}", wrong.notes);
        let nobody = read("# uwsgi_pass unix:/x;\nuwsgi_pass unix:/run/other.sock;", &served);
        assert!(
            nobody.can_run && nobody.notes.len() == 1 && nobody.notes[0].starts_with("line 2"),
            "{:?}",
            nobody.notes
        );
    }
}
