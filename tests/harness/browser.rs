//! Debian's chromium, steered over the WebDriver protocol (W3C WebDriver, section numbers in the methods) that its
//! chromedriver speaks in plain HTTP.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    ground::{self, Ground, Skip},
    http::{Ask, Connection},
    process::Spawned,
    wait,
};

/// The key under which WebDriver wraps an element's id (section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How long a page may take to show something.
const SHOWN_WITHIN: Duration = Duration::from_secs(15);

/// One window.
#[derive(Debug)]
pub struct Browser {
    driver: Spawned,
    port: u16,
    session: String,
}

impl Browser {
    /// Starts chromedriver and opens a window of 1280 by 900.
    ///
    /// # Errors
    /// [`Skip`], when chromium is not installed.
    pub fn open(ground: &Ground) -> Result<Browser> {
        for needed in ["/usr/bin/chromedriver", "/usr/bin/chromium"] {
            if !Path::new(needed).exists() {
                bail!(Skip(format!("{needed} is not installed (`./dev setup` does it)")));
            }
        }
        let port = ground.port()?;
        let home = ground.path("browser");
        fs::create_dir_all(&home)?;
        let mut command = Command::new("/usr/bin/chromedriver");
        command.arg(format!("--port={port}")).env("HOME", &home).env("TMPDIR", &home);
        let driver = ground.start("chromedriver", command)?;
        let mut browser = Browser { driver, port, session: String::new() };
        wait::until_ok("chromedriver to be ready", SHOWN_WITHIN, || {
            let status = browser.call("GET", "/status", None)?;
            anyhow::ensure!(status["ready"] == true, "{status}");
            Ok(())
        })?;
        let profile = home.join("profile");
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": {
            "binary": "/usr/bin/chromium",
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900",
                "--no-first-run", "--disable-background-networking", format!("--user-data-dir={}", profile.display())],
        }}}});
        let session = browser.call("POST", "/session", Some(&wanted))?;
        browser.session = format!("/session/{}", session["sessionId"].as_str().context("no session id")?);
        Ok(browser)
    }

    /// Section 10.1: opens an address.
    ///
    /// # Errors
    /// When the browser cannot.
    pub fn go(&self, url: &str) -> Result<()> {
        self.post("/url", &json!({ "url": url })).map(drop)
    }

    /// Section 10.2: the address it is at.
    ///
    /// # Errors
    /// When the browser is gone.
    pub fn address(&self) -> Result<String> {
        Ok(self.get("/url")?.as_str().unwrap_or_default().to_owned())
    }

    /// The text of the page as a person sees it.
    ///
    /// # Errors
    /// When the browser is gone.
    pub fn text(&self) -> Result<String> {
        let text = self.script("return document.body ? document.body.innerText : ''")?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the page shows `text`.
    ///
    /// # Errors
    /// With what it shows, when it does not.
    pub fn shows(&self, text: &str) -> Result<()> {
        let shown = wait::until(&format!("the page to show {text:?}"), SHOWN_WITHIN, || {
            self.text().is_ok_and(|shown| shown.to_lowercase().contains(&text.to_lowercase())).then_some(())
        });
        shown.map_err(|error| {
            error.context(format!("{} shows:\n{}", self.address().unwrap_or_default(), self.text().unwrap_or_default()))
        })
    }

    /// Waits until `script` returns true.
    ///
    /// # Errors
    /// With what the page shows, when it does not.
    pub fn until(&self, what: &str, script: &str) -> Result<()> {
        let seen =
            wait::until(what, SHOWN_WITHIN, || self.script(script).is_ok_and(|value| value == true).then_some(()));
        seen.map_err(|error| error.context(self.text().unwrap_or_default()))
    }

    /// Sections 12.3 and 12.5.1: clicks the first element of a CSS selector, once it is there.
    ///
    /// # Errors
    /// When it does not appear.
    pub fn click(&self, selector: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.post(&format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Section 12.5.3: types into the first element of a CSS selector.
    ///
    /// # Errors
    /// When it does not appear.
    pub fn write(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.post(&format!("/element/{element}/value"), &json!({ "text": text })).map(drop)
    }

    fn element(&self, selector: &str) -> Result<String> {
        wait::until_ok(&format!("an element {selector:?}"), SHOWN_WITHIN, || {
            let found = self.post("/element", &json!({ "using": "css selector", "value": selector }))?;
            Ok(found[ELEMENT].as_str().context("no element id")?.to_owned())
        })
    }

    /// Section 13.2.1: runs JavaScript.
    ///
    /// # Errors
    /// When it throws.
    pub fn script(&self, script: &str) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Section 17.1: a picture, into `target/screenshots/NAME.png`.
    ///
    /// # Errors
    /// When it cannot be taken or written.
    pub fn picture(&self, name: &str) -> Result<()> {
        let encoded = self.get("/screenshot")?;
        let png = base64(encoded.as_str().context("no picture")?)?;
        let directory = ground::target().join("screenshots");
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("{name}.png")), png)?;
        Ok(())
    }

    /// Closes the window and stops chromedriver.
    ///
    /// # Errors
    /// When they do not go.
    pub fn close(mut self) -> Result<()> {
        self.call("DELETE", &self.session, None)?;
        self.driver.terminated(Duration::from_secs(10)).map(drop)
    }

    fn get(&self, path: &str) -> Result<Value> {
        self.call("GET", &format!("{}{path}", self.session), None)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call("POST", &format!("{}{path}", self.session), Some(body))
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut ask =
            Ask::new(method, path).header("Connection", "close").header("Host", &format!("127.0.0.1:{}", self.port));
        if let Some(body) = body {
            ask = ask.body("application/json; charset=utf-8", body.to_string().as_bytes());
        }
        let answer = Connection::open(self.port, Duration::from_secs(60))?.ask(&ask)?;
        let mut answered: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
        if answer.status != 200 {
            bail!("WebDriver {method} {path}: {}", answered["value"]["message"]);
        }
        Ok(answered["value"].take())
    }
}

/// RFC 4648, section 4.
fn base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0u32, 0u32);
    for letter in text.bytes().filter(|letter| *letter != b'=' && !letter.is_ascii_whitespace()) {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("no base64: {letter}"),
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff)?);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc_is_decoded() {
        for (encoded, plain) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64(encoded).unwrap(), plain.as_bytes());
        }
    }
}
