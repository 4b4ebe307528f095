//! What holds for the requests of one HTTP listener: the `http-…` options of uWSGI's router.

use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRules {
    /// `http-var`: names and values that each request has, whatever it says itself.
    pub vars: Vec<(String, String)>,
    /// `http-server-name-as-http-host`: SERVER_NAME is what the client has asked for.
    pub server_name_is_host: bool,
    /// `http-path-info-no-decode-slashes`: `%2F` stays as it is in PATH_INFO.
    pub keeps_encoded_slashes: bool,
    /// `http-headers-timeout`, in ms: longest time for a head; None is that of every client.
    pub head_timeout_ms: Option<u64>,
}
