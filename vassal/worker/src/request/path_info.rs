//! PATH_INFO for a web server that sends none, before anybody asks for it: routes, static files and the app see the same path.
//! nginx's `fastcgi_params` and `scgi_params` put the whole path into SCRIPT_NAME and DOCUMENT_URI; what is mounted
//! (SCRIPT_NAME, PEP 3333) only the app's configuration knows, so nothing is.

use empery_wire::target::percent_decode;

/// The variables with a path; None when they have one. `decoded` is where a path is kept that is not among them.
pub(super) fn completed<'b>(
    vars: &[(&'b [u8], &'b [u8])],
    decoded: &'b mut Vec<u8>,
) -> Option<Vec<(&'b [u8], &'b [u8])>> {
    let find = |name: &[u8]| vars.iter().rfind(|(key, _)| *key == name).map(|(_, value)| *value);
    if find(b"PATH_INFO").is_some() {
        return None;
    }
    let path = match find(b"DOCUMENT_URI") {
        Some(path) => path,
        None => {
            let uri = find(b"REQUEST_URI").unwrap_or(b"");
            percent_decode(uri.split(|byte| *byte == b'?').next().unwrap_or(b""), decoded);
            match find(b"SCRIPT_NAME") {
                // Something is mounted, and this is its root.
                Some(script) if script != *decoded => b"",
                Some(_) | None => &decoded[..],
            }
        }
    };
    let mut vars = vars.to_vec();
    if !path.is_empty() {
        vars.retain(|(key, _)| *key != b"SCRIPT_NAME");
        vars.push((b"SCRIPT_NAME", b""));
    }
    vars.push((b"PATH_INFO", path));
    Some(vars)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)]) -> Vec<(String, String)> {
        let vars: Vec<_> = vars.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        let mut decoded = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let completed = completed(&vars, &mut decoded).unwrap_or_default();
        completed.iter().map(|(key, value)| (text(key), text(value))).collect()
    }

    #[test]
    fn a_web_server_that_sends_no_path_has_one_made_of_what_it_sends() {
        let script_and_path = |vars: &[(&str, &str)]| {
            let vars = of(vars);
            let find =
                |name: &str| vars.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect();
            (find("SCRIPT_NAME"), find("PATH_INFO"))
        };
        let one = |script: &str, path: &str| -> (Vec<String>, Vec<String>) { (vec![script.into()], vec![path.into()]) };
        let nginx = [("SCRIPT_NAME", "/admin"), ("REQUEST_URI", "/a%64min?q"), ("DOCUMENT_URI", "/admin")];
        assert_eq!(script_and_path(&nginx), one("", "/admin"));
        assert_eq!(script_and_path(&[("REQUEST_URI", "/a%64min?q")]), one("", "/admin"));
        assert_eq!(script_and_path(&[("SCRIPT_NAME", "/a b"), ("REQUEST_URI", "/a%20b?q")]), one("", "/a b"));
        assert_eq!(script_and_path(&[("SCRIPT_NAME", "/shop"), ("REQUEST_URI", "/shop/")]), one("/shop", ""));
    }

    #[test]
    fn a_path_that_is_sent_stays() {
        assert_eq!(of(&[("REQUEST_URI", "/shop/a"), ("SCRIPT_NAME", "/shop"), ("PATH_INFO", "/a")]), []);
        assert_eq!(of(&[("REQUEST_URI", "/shop"), ("SCRIPT_NAME", "/shop"), ("PATH_INFO", "")]), []);
    }
}
