//! `sni-dir`: certificates that are found by the name that a client asks for, as NAME.crt and NAME.key in a directory, with
//! NAME.ca where clients are asked for a certificate too. They are read when they are first asked for.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use empery_control::gateway::{CertificateDirectory, CertificateFiles};

use crate::{
    certificates::Certificate,
    files::{Facts, Files},
    limits::DIRECTORY_NAMES_MAX,
};

/// Longest host name (RFC 1035, section 2.3.4).
const HOST_MAX_BYTES: usize = 253;

/// See the module.
pub(crate) struct Directory {
    plan: CertificateDirectory,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    next_number: usize,
    good: BTreeMap<String, Arc<Certificate>>,
    /// What the files looked like when they were no good: they are not read again before they change.
    bad: BTreeMap<String, [Option<Facts>; 3]>,
}

impl Directory {
    /// Its certificates are numbered from this on.
    pub(crate) fn new(plan: CertificateDirectory, first_number: usize) -> Self {
        Self { plan, found: Mutex::new(Found { next_number: first_number, ..Found::default() }) }
    }

    /// The certificate of a host; None when there is none, or no good one.
    pub(crate) fn find(&self, host: &str, files: &Files) -> Option<Arc<Certificate>> {
        if !is_host(host) {
            return None;
        }
        let host = host.to_ascii_lowercase();
        let mut found = self.lock();
        if let Some(known) = found.good.get(&host) {
            return Some(Arc::clone(known));
        }
        let path = |ending: &str| self.plan.path.join(format!("{host}.{ending}"));
        let (chain, key, client_ca) = (path("crt"), path("key"), path("ca"));
        let facts = [&chain, &key, &client_ca].map(|path| files.facts(path));
        let [Some(_), Some(_), authorities] = &facts else { return None };
        let wanted = CertificateFiles {
            chain,
            key,
            ciphers: self.plan.ciphers.clone(),
            // As in uWSGI: who has a certificate shows it, and nobody must.
            client_ca: authorities.map(|_| client_ca),
            client_required: false,
        };
        if found.bad.get(&host) == Some(&facts) {
            return None;
        }
        match Certificate::load(found.next_number, &wanted, files) {
            Ok(certificate) => {
                found.next_number += 1;
                found.bad.remove(&host);
                make_room(&mut found.good);
                Some(Arc::clone(found.good.entry(host).or_insert(Arc::new(certificate))))
            }
            Err(sentence) => {
                crate::log::say(&format!("*** sni-dir: {sentence}; clients that ask for {host} get another one ***"));
                make_room(&mut found.bad);
                found.bad.insert(host, facts);
                None
            }
        }
    }

    /// Leaves those whose NAME.ca has come or gone: they ask something else of clients now, and are read anew when they are asked for.
    pub(crate) fn look(&self, files: &Files) {
        let has_authorities = |host: &str| files.facts(&self.plan.path.join(format!("{host}.ca"))).is_some();
        self.lock().good.retain(|host, known| known.mark().asks_clients == has_authorities(host));
    }

    /// Those that were found so far.
    pub(crate) fn known(&self) -> Vec<Arc<Certificate>> {
        self.lock().good.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        // Every change is one call: a panic elsewhere cannot leave it half changed.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that must go is read again when it is asked for.
fn make_room<T>(names: &mut BTreeMap<String, T>) {
    if names.len() >= DIRECTORY_NAMES_MAX {
        names.pop_first();
    }
}

/// Whether it can be a host's name, and so no path that leads elsewhere.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= HOST_MAX_BYTES && text.split('.').all(is_label)
}

/// Where the certificates are, for people.
impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path: &PathBuf = &self.plan.path;
        write!(f, "{}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_a_path_is_no_host() {
        for host in ["a", "a.example", "xn--a.example", "_a.b", "A.B"] {
            assert!(is_host(host), "{host}");
        }
        for text in ["", ".", "..", "../a", "a/b", "a..b", ".a", "a.", "a b", "a\0", "a:443", "\u{e4}.example"] {
            assert!(!is_host(text), "{text:?}");
        }
        assert!(!is_host(&"a".repeat(254)));
    }
}
