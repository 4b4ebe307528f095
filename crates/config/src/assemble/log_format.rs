//! `log-format`: from the text with its `%(NAME)` to the pieces of a request line, as uWSGI 2.0 cuts it
//! (core/logging.c, `uwsgi_build_log_format`). An opening that has no end is text, which uWSGI would write twice.

use empery_rules::line::{Field, Piece};

use super::values::Value;

/// The pieces.
pub(super) fn pieces(value: &mut Value<'_>) -> Option<Vec<Piece>> {
    let text = value.required()?;
    let mut pieces = Vec::new();
    let (mut rest, mut plain) = (text.as_str(), String::new());
    while let Some(start) = rest.find("%(") {
        let Some(length) = rest[start + 2..].find(')').filter(|length| *length > 0) else {
            plain.push_str(&rest[..start + 2]);
            rest = &rest[start + 2..];
            continue;
        };
        plain.push_str(&rest[..start]);
        let name = &rest[start + 2..start + 2 + length];
        rest = &rest[start + 2 + length + 1..];
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(piece(name));
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Some(pieces)
}

fn piece(name: &str) -> Piece {
    if let Some(field) = Field::named(name) {
        return Piece::Field(field);
    }
    if let Some(variable) = name.strip_prefix("var.") {
        return Piece::Variable(variable.to_owned());
    }
    if let Some(metric) = name.strip_prefix("metric.") {
        return Piece::Metric(metric.to_owned());
    }
    Piece::LogVariable(name.to_owned())
}

#[cfg(test)]
mod tests {
    use empery_rules::line::{Field, Piece};

    use crate::assemble::tests::{config, outcome};

    fn pieces(format: &str) -> Vec<Piece> {
        config(&format!("log-format = {format}")).log.format.unwrap().pieces
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    #[test]
    fn a_format_is_cut_at_its_variables() {
        let apache = r#"%(addr) - %(user) [%(ltime)] "%(method) %(uri)" %(status) %(size)"#;
        let expected = [
            Piece::Field(Field::Addr),
            text(" - "),
            Piece::Field(Field::User),
            text(" ["),
            Piece::Field(Field::Ltime),
            text("] \""),
            Piece::Field(Field::Method),
            text(" "),
            Piece::Field(Field::Uri),
            text("\" "),
            Piece::Field(Field::Status),
            text(" "),
            Piece::Field(Field::Size),
        ];
        assert_eq!(pieces(apache), expected);
        assert_eq!(
            pieces("%(var.HTTP_X_ID)|%(shop)"),
            [Piece::Variable("HTTP_X_ID".to_owned()), text("|"), Piece::LogVariable("shop".to_owned())]
        );
    }

    #[test]
    fn what_is_no_variable_is_text() {
        assert_eq!(pieces("100% (a) %() %(uri"), [text("100% (a) %() %(uri")]);
        assert_eq!(pieces("%(pid)%(wid))"), [Piece::Field(Field::Pid), Piece::Field(Field::Wid), text(")")]);
    }

    #[test]
    fn a_metric_is_named() {
        assert_eq!(pieces("%(metric.worker.0.requests)"), [Piece::Metric("worker.0.requests".to_owned())]);
    }

    #[test]
    fn strftime_is_for_ftime_only_when_it_is_asked_for() {
        let ftime = |lines: &str| config(lines).log.format.unwrap().ftime;
        assert_eq!(ftime("log-format = %(ftime)\nlog-date = %%H"), None);
        assert_eq!(ftime("log-format = %(ftime)\nlog-date = %%H\nlog-format-strftime = true"), Some("%H".to_owned()));
    }

    #[test]
    fn a_date_is_before_the_vassal_s_own_lines_in_ctime_or_as_it_is_said() {
        let prefix = |lines: &str| config(lines).log.prefix;
        assert_eq!((prefix(""), prefix("log-date = true\nlog-date = false")), (None, None));
        for on in ["log-date", "logdate = true", "log-date = 1", "log-date = YES"] {
            assert_eq!(prefix(on).as_deref(), Some("%a %b %e %H:%M:%S %Y - "), "{on}");
        }
        assert_eq!(prefix("log-date = %%H:%%M").as_deref(), Some("%H:%M - "));
        assert_eq!(prefix("log-prefix = shop").as_deref(), Some("shop - "));
        assert_eq!(prefix("log-date = %Y-%m-%d %H:%M:%S").as_deref(), Some("%Y-%m-%d %H:%M:%S - "));
        let told = outcome("log-date = %d/%m").problems;
        assert_eq!((told.len(), told[0].code.as_str()), (1, "unescaped-strftime"));
        assert!(told[0].message.contains("`log-date = %d/%m`"), "{told:?}");
        let mistyped = outcome("logdate = ture");
        assert!(mistyped.problems[0].message.contains("no date"), "{:?}", mistyped.problems);
    }
}
