//! Texts with `$1`, `${NAME}` and `${cookie[NAME]}` in them, as uWSGI 2.0 reads them (core/routing.c, `uwsgi_routing_translate`).

use empery_rules::routes::{
    Fact,
    template::{Piece, Template},
};

use super::Value;
use crate::problem::Problem;

/// The pieces. What is asked for by a name that nobody knows is a warning; it is nothing, as in uWSGI.
pub(super) fn read(value: &mut Value<'_>, text: &str) -> Template {
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, behind)) = rest.split_once('$') {
        plain.push_str(before);
        let named = behind.strip_prefix('{').and_then(|behind| behind.split_once('}'));
        let (piece, behind) = match (named, behind.chars().next()) {
            (Some((name, behind)), _) => (place(value, name), behind),
            (None, Some(digit @ '0'..='9')) => (Some(Piece::Group(digit as usize - '0' as usize)), &behind[1..]),
            (None, _) => {
                plain.push('$');
                rest = behind;
                continue;
            }
        };
        rest = behind;
        if let Some(piece) = piece {
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Template(pieces)
}

fn place(value: &mut Value<'_>, name: &str) -> Option<Piece> {
    let Some((kind, argument)) = name.strip_suffix(']').and_then(|name| name.split_once('[')) else {
        return Some(Piece::Variable(name.to_owned()));
    };
    let text = argument.to_owned();
    let piece = match (kind, argument) {
        ("cookie", _) => Some(Piece::Cookie(text)),
        ("qs", _) => Some(Piece::Query(text)),
        ("upper", _) => Some(Piece::Upper(text)),
        ("lower", _) => Some(Piece::Lower(text)),
        ("hex", _) => Some(Piece::Hex(text)),
        ("base64", _) => Some(Piece::Base64(text)),
        ("metric", _) => Some(Piece::Metric(text)),
        ("mime", _) => Some(Piece::Mime(text)),
        ("httptime", seconds) => seconds.parse().ok().map(Piece::HttpTime),
        ("uwsgi", "wid") => Some(Piece::Fact(Fact::Worker)),
        ("uwsgi", "pid") => Some(Piece::Fact(Fact::Pid)),
        ("uwsgi", "uuid") => Some(Piece::Fact(Fact::Uuid)),
        ("uwsgi", "status") => Some(Piece::Fact(Fact::Status)),
        ("uwsgi", "rtime") => Some(Piece::Fact(Fact::TookUs)),
        ("uwsgi", "rsize") => Some(Piece::Fact(Fact::BodyBytes)),
        ("uwsgi", "sor") => Some(Piece::Fact(Fact::BeganUs)),
        ("time", "unix") => Some(Piece::Fact(Fact::UnixS)),
        ("time", "micros") => Some(Piece::Fact(Fact::UnixUs)),
        _ => None,
    };
    if piece.is_none() {
        let message = format!("`${{{name}}}` is nothing that a route knows; it is left out");
        let hint = "write `${NAME}` for a variable, or one of cookie, qs, upper, lower, hex, base64, mime, metric, httptime, \
                    uwsgi and time with its argument in brackets";
        value.problems.push(Problem::warning("bad-value", value.directive.value_at.clone(), message).hint(hint));
    }
    piece
}
