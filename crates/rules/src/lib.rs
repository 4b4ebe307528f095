//! What a configuration says about single requests: words that the configuration makes once and workers follow. Pure, and
//! the place of what both sides must read alike; parsing them from options is the configuration's, carrying them out the
//! worker's.

pub mod headers;
pub mod http;
pub mod line;
pub mod routes;
pub mod status;
