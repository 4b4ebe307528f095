//! A request line in the shape that `log-format` says, as uWSGI 2.0 fills it (core/logging.c, `uwsgi_logit_lf`): what is not
//! known, or empty, is a dash. Control characters are question marks, so that no request can forge a line.

use std::{
    ffi::{CStr, CString},
    io::Write,
};

use empery_rules::line::{Field, LineFormat, Piece};
use empery_sys::process;

use super::{LINE_MAX_BYTES, Told, put};
use crate::{os, request::log_variables, uwsgi_module::metrics};

/// What `%(ltime)` looks like.
const LTIME: &CStr = c"%d/%b/%Y:%H:%M:%S %z";

/// Longest text that a request may put into one place.
const TEXT_MAX_BYTES: usize = 2048;

/// What is made once a second.
#[derive(Default)]
pub(super) struct Times {
    at_unix_s: u64,
    ltime: String,
    ftime: String,
    ftime_format: Option<CString>,
}

impl Times {
    fn look(&mut self, unix_s: u64, format: &LineFormat) {
        if self.at_unix_s == unix_s {
            return;
        }
        self.at_unix_s = unix_s;
        self.ltime = os::local_time(unix_s, LTIME);
        if let Some(text) = &format.ftime {
            let format = self.ftime_format.get_or_insert_with(|| CString::new(text.as_str()).unwrap_or_default());
            self.ftime = os::local_time(unix_s, format);
        } else {
            self.ftime.clone_from(&self.ltime);
        }
    }
}

/// Adds the line, its end included.
pub(super) fn put_line(line: &mut Vec<u8>, format: &LineFormat, times: &mut Times, told: &Told<'_>) {
    times.look(told.began.unix_s(), format);
    for piece in &format.pieces {
        match piece {
            Piece::Text(text) => line.extend_from_slice(text.as_bytes()),
            Piece::Field(field) => put_field(line, *field, times, told),
            Piece::Variable(name) => {
                let name = name.as_bytes();
                match log_variables::get(told.began.monotonic_ns, &log_variables::name_of_added(name)) {
                    Some(added) => put_text(line, &added),
                    None => put_text(line, told.spoken.vars.find(name).as_deref().unwrap_or_default()),
                }
            }
            Piece::Metric(name) => {
                let _ = write!(line, "{}", metrics::value(name));
            }
            Piece::LogVariable(name) => {
                let value = log_variables::get(told.began.monotonic_ns, name.as_bytes());
                put_text(line, value.as_deref().unwrap_or_default());
            }
        }
    }
    line.truncate(LINE_MAX_BYTES - 1);
    line.push(b'\n');
}

fn put_text(line: &mut Vec<u8>, text: &[u8]) {
    put(line, if text.is_empty() { b"-" } else { text }, TEXT_MAX_BYTES);
}

fn put_field(line: &mut Vec<u8>, field: Field, times: &Times, told: &Told<'_>) {
    let (spoken, answered, began) = (told.spoken, told.answered, told.began);
    let variable = |name: &[u8]| spoken.vars.find(name);
    let number: u64 = match field {
        Field::Uri => return put_text(line, spoken.uri),
        Field::Method => return put_text(line, spoken.method),
        Field::User => return put_text(line, spoken.remote_user),
        Field::Addr => return put_text(line, told.address),
        Field::Proto => return put_text(line, spoken.protocol),
        Field::Host => return put_text(line, variable(b"HTTP_HOST").as_deref().unwrap_or_default()),
        Field::Uagent => return put_text(line, variable(b"HTTP_USER_AGENT").as_deref().unwrap_or_default()),
        Field::Referer => return put_text(line, variable(b"HTTP_REFERER").as_deref().unwrap_or_default()),
        Field::Ltime => return line.extend_from_slice(times.ltime.as_bytes()),
        Field::Ftime => return line.extend_from_slice(times.ftime.as_bytes()),
        Field::Ctime => return line.extend_from_slice(os::ctime(began.unix_s()).as_bytes()),
        Field::Secs => {
            let _ = write!(line, "{}.{:06}", told.took_us / 1_000_000, told.took_us % 1_000_000);
            return;
        }
        Field::Cl => variable(b"CONTENT_LENGTH")
            .and_then(|length| std::str::from_utf8(&length).ok()?.trim().parse().ok())
            .unwrap_or(0),
        Field::Status => answered.status.into(),
        Field::Rsize => answered.body_bytes,
        Field::Hsize => answered.head_bytes,
        Field::Size => answered.head_bytes + answered.body_bytes,
        Field::Micros => told.took_us,
        Field::Msecs => told.took_us / 1000,
        Field::Tmsecs => began.unix_us / 1000,
        Field::Tmicros => began.unix_us,
        Field::Time => began.unix_s(),
        Field::Epoch => os::realtime_ns() / 1_000_000_000,
        Field::Pid => u64::from(told.worker.pid.unsigned_abs()),
        Field::Wid => told.worker.reference.worker.0.into(),
        Field::Switches => 1,
        // uWSGI counts keys and values.
        Field::Vars => spoken.vars_number as u64 * 2,
        Field::Core => told.core.into(),
        Field::Vsz => memory(told).vsz_bytes,
        Field::Rss => memory(told).rss_bytes,
        Field::VszM => memory(told).vsz_bytes / (1024 * 1024),
        Field::RssM => memory(told).rss_bytes / (1024 * 1024),
        Field::Pktsize => spoken.head_bytes as u64,
        Field::Modifier1 | Field::Modifier2 => 0,
        Field::Headers => answered.headers_number.into(),
        Field::Werr => answered.write_errors,
        Field::Rerr => answered.read_errors,
        Field::Ioerr => answered.write_errors + answered.read_errors,
    };
    let _ = write!(line, "{number}");
}

fn memory(told: &Told<'_>) -> process::Memory {
    process::memory(told.worker.pid).unwrap_or_default()
}
