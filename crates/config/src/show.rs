//! The configuration after includes and expansion, as INI: what `--show-config` and `emperor check` print.

use std::fmt::Write;

use crate::vassal::VassalConfig;

/// As uWSGI prints it, `= true` for an option that was given without a value.
#[must_use]
pub fn show(config: &VassalConfig) -> String {
    let mut text = String::from(";uWSGI instance configuration\n[uwsgi]\n");
    for effective in &config.effective {
        let value = effective.value.as_deref().unwrap_or("true");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} = {value}", effective.key);
    }
    text.push_str(";end of configuration\n");
    text
}
