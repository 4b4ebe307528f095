//! How curl(1) is told what plugins/alarm_curl and plugins/curl_cron tell libcurl. It reads its options from a file, so that no key or password is
//! seen in the list of processes, and the message from its standard input.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use empery_config::alarms::Curl;
use empery_sys::memfd;

/// `socket-timeout` of uWSGI, in s: how long connecting, and all of it, may take.
const TIMEOUT_S: u32 = 4;

/// How long a request of `cron-curl` may take, in s.
const REQUEST_S: u32 = 60;

/// How every file of options begins.
const QUIETLY: &str = "silent\nshow-error\nfail\noutput = \"/dev/null\"\n";

/// The command that does what these options say, and the file that it must find open under the same number.
///
/// # Errors
/// memfd_create(2).
pub(crate) fn command(options: &str) -> io::Result<(String, OwnedFd)> {
    let file = memfd::sealed("empery-curl", options.as_bytes())?;
    Ok((format!("exec curl --config /proc/self/fd/{}", file.as_raw_fd()), file))
}

/// The options of `cron-curl` (curl(1), `--config`): what is answered is thrown away.
pub(crate) fn request(url: &str) -> String {
    let url = quoted(url);
    format!("{QUIETLY}location\nconnect-timeout = {TIMEOUT_S}\nmax-time = {REQUEST_S}\nurl = \"{url}\"\n")
}

/// The options of an alarm.
pub(crate) fn options(curl: &Curl) -> String {
    let mut text = String::from(QUIETLY);
    let mut say = |name: &str, value: &str| text.push_str(&format!("{name} = \"{}\"\n", quoted(value)));
    say("url", &curl.url);
    say("max-time", &curl.timeout_s.unwrap_or(TIMEOUT_S).to_string());
    say("connect-timeout", &curl.connect_timeout_s.unwrap_or(TIMEOUT_S).to_string());
    if let Some(user) = &curl.user {
        say("user", &format!("{user}:{}", curl.password.as_deref().unwrap_or_default()));
    }
    if is_http(&curl.url) {
        say("request", curl.method.as_deref().unwrap_or("POST"));
        say("header", "Expect:");
        say("data-binary", "@-");
    } else {
        say("upload-file", "-");
        let receivers = curl.mail_to.as_deref().unwrap_or_default().split(',').filter(|receiver| !receiver.is_empty());
        receivers.for_each(|receiver| say("mail-rcpt", receiver));
        curl.mail_from.iter().for_each(|from| say("mail-from", from));
    }
    for (is_wanted, name) in [(curl.tls, "ssl-reqd"), (curl.insecure, "insecure")] {
        if is_wanted {
            text.push_str(&format!("{name}\n"));
        }
    }
    text
}

/// What is sent: the message, behind the head of a mail if there is one.
pub(crate) fn body(curl: &Curl, message: &str) -> String {
    let fields = [("To", &curl.mail_to), ("Subject", &curl.subject)];
    let head: String =
        fields.iter().filter_map(|(name, value)| Some(format!("{name}: {}\r\n", value.as_ref()?))).collect();
    if head.is_empty() { message.to_owned() } else { format!("{head}\r\n{message}") }
}

/// curl(1) takes a URL without a scheme for one of HTTP.
fn is_http(url: &str) -> bool {
    url.split_once("://").is_none_or(|(scheme, _)| scheme.to_ascii_lowercase().starts_with("http"))
}

/// Between the quotes of a file of options.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for letter in text.chars() {
        match letter {
            '\\' | '"' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            _ => quoted.push(letter),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_posted_to_a_url() {
        let curl = Curl {
            url: "https://x.example/\"?k".into(),
            user: Some("me".into()),
            password: Some("pa\\ss".into()),
            insecure: true,
            ..Curl::default()
        };
        let text = options(&curl);
        for line in [
            "url = \"https://x.example/\\\"?k\"",
            "user = \"me:pa\\\\ss\"",
            "request = \"POST\"",
            "data-binary = \"@-\"",
            "max-time = \"4\"",
            "insecure",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(!text.contains("upload-file"));
        assert_eq!(body(&curl, "down"), "down");
    }

    #[test]
    fn a_mail_has_a_head_and_its_receivers() {
        let curl = Curl {
            url: "smtp://mail.example".into(),
            mail_to: Some("a@x,b@x".into()),
            mail_from: Some("me@x".into()),
            subject: Some("Down".into()),
            tls: true,
            ..Curl::default()
        };
        let text = options(&curl);
        assert_eq!(text.matches("mail-rcpt").count(), 2);
        assert!(
            text.contains("upload-file = \"-\"") && text.contains("ssl-reqd\n") && !text.contains("request"),
            "{text}"
        );
        assert_eq!(body(&curl, "x"), "To: a@x,b@x\r\nSubject: Down\r\n\r\nx");
    }
}
