//! `add-header`, `del-header` and their relatives while they come in.

use empery_rules::headers::{Collect, Headers};

use super::values::Value;

/// Applies one directive if it is one of these.
pub(super) fn take(headers: &mut Headers, value: &mut Value<'_>) -> bool {
    match value.directive.key.as_str() {
        "add-header" => headers.add.extend(added(value)),
        "del-header" | "rem-header" => headers.remove.extend(value.required()),
        "collect-header" | "response-header-collect" | "pull-header" => headers.collect.extend(collected(value)),
        _ => return false,
    }
    true
}

/// `HEADER VARIABLE`.
fn collected(value: &mut Value<'_>) -> Option<Collect> {
    let text = value.required()?;
    let Some((header, variable)) =
        text.split_once(' ').filter(|(header, variable)| !header.is_empty() && !variable.is_empty())
    else {
        value.bad("a header, a blank and a variable", "write for example `collect-header = X-Shop SHOP`");
        return None;
    };
    let is_pulled = value.directive.key == "pull-header";
    Some(Collect { header: header.to_owned(), variable: variable.to_owned(), is_pulled })
}

/// `NAME: VALUE`. How long a body is, and where it ends, only the server can say.
fn added(value: &mut Value<'_>) -> Option<String> {
    let text = value.required()?;
    let is_token = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let name = text.split_once(':').map(|(name, _)| name.trim_end());
    match name {
        Some(name) if ["content-length", "transfer-encoding"].iter().any(|own| name.eq_ignore_ascii_case(own)) => {
            value.bad("a header that does not frame the body", "remove it: the server says how long each body is");
            None
        }
        Some(name) if is_token(name) => Some(text),
        _ => {
            value.bad("`NAME: VALUE`", "write for example `add-header = X-Frame-Options: DENY`");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::assemble::tests::{config, error};

    #[test]
    fn headers_have_names_and_frame_nothing() {
        let headers =
            config("add-header = X-A: b: c\nadd-header = Connection: Keep-Alive\ndel-header = Server\nrem-header=Via");
        assert_eq!(headers.headers.add, ["X-A: b: c", "Connection: Keep-Alive"]);
        assert_eq!(headers.headers.remove, ["Server", "Via"]);
        let collected = config("collect-header = X-A A\npull-header = X-B B").headers.collect;
        assert_eq!((collected[0].variable.as_str(), collected[0].is_pulled), ("A", false));
        assert_eq!((collected[1].header.as_str(), collected[1].is_pulled), ("X-B", true));
        assert!(error("pull-header = X-B").contains("a header, a blank"));
        assert!(error("add-header = nothing").contains("`NAME: VALUE`"));
        assert!(error("add-header = X A: b").contains("`NAME: VALUE`"));
        assert!(error("add-header = content-length: 5").contains("frame"));
    }
}
