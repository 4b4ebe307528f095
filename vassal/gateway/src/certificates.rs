//! The certificates of all doors and names, each with the TLS settings that belong to it. They are looked at again and
//! again: a pair that was replaced takes the place of the old one without a reload, and a bad one does not.

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use empery_control::gateway::{CertificateFiles, GatewayName, GatewayPlan};
use regex::bytes::{Regex, RegexBuilder};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use crate::{
    ciphers, der,
    directory::Directory,
    files::{Facts, Files},
};

/// One certificate, as it is now.
pub(crate) struct Certificate {
    number: usize,
    wanted: CertificateFiles,
    current: Mutex<Current>,
}

/// What a connection was begun with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Which certificate it was: two connections of one number were judged by the same settings.
    pub(crate) number: usize,
    /// Whether clients were asked for theirs.
    pub(crate) asks_clients: bool,
}

struct Current {
    config: Arc<ServerConfig>,
    not_after_unix_s: Option<i64>,
    /// What the files looked like when they were read last, whether or not that was good.
    read: Vec<Option<Facts>>,
    /// What they looked like a moment ago: they are read once they have come to rest.
    seen: Vec<Option<Facts>>,
}

/// What came of looking at a certificate again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Nothing is new.
    Same,
    /// A new one serves.
    Replaced,
    /// The new one is bad, for this reason; the old one serves.
    Kept(String),
}

/// All of them.
pub(crate) struct Certificates {
    files: Mutex<Files>,
    /// One for each TLS door, in the order of the plan.
    doors: Vec<Arc<Certificate>>,
    names: Vec<(Name, Arc<Certificate>)>,
    directory: Option<Directory>,
}

/// For which hosts a certificate is.
enum Name {
    Exact(String),
    Pattern(Regex),
}

impl Name {
    fn of(name: &GatewayName) -> Result<Self, String> {
        if !name.is_pattern {
            return Ok(Self::Exact(name.name.clone()));
        }
        // Names are told apart without regard to case (RFC 4343), and are ASCII: the tables of Unicode are not built in.
        let pattern = RegexBuilder::new(&name.name).case_insensitive(true).unicode(false).build();
        pattern.map(Self::Pattern).map_err(|error| format!("`{}` cannot be matched: {error}", name.name))
    }

    fn is_of(&self, host: &str) -> bool {
        match self {
            Name::Exact(name) => name.eq_ignore_ascii_case(host),
            Name::Pattern(pattern) => pattern.is_match(host.as_bytes()),
        }
    }
}

impl Certificates {
    /// Reads every file of the plan.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub(crate) fn load(plan: &GatewayPlan, files: Files) -> Result<Self, String> {
        let mut doors = Vec::new();
        for door in &plan.doors {
            if let Some(wanted) = door.kind.certificate() {
                doors.push(Arc::new(Certificate::load(doors.len(), wanted, &files)?));
            }
        }
        let mut names = Vec::new();
        for name in &plan.names {
            let certificate = Certificate::load(doors.len() + names.len(), &name.files, &files)?;
            names.push((Name::of(name)?, Arc::new(certificate)));
        }
        let numbered = doors.len() + names.len();
        let directory = plan.directory.clone().map(|directory| Directory::new(directory, numbered));
        Ok(Self { files: Mutex::new(files), doors, names, directory })
    }

    /// The certificate of the n-th TLS door.
    pub(crate) fn of_door(&self, number: usize) -> Option<&Arc<Certificate>> {
        self.doors.get(number)
    }

    /// The certificate that was named for a host; uWSGI looks in the same order.
    pub(crate) fn of_name(&self, host: &str) -> Option<Arc<Certificate>> {
        if let Some((_, certificate)) = self.names.iter().find(|(name, _)| name.is_of(host)) {
            return Some(Arc::clone(certificate));
        }
        self.directory.as_ref().and_then(|directory| directory.find(host, &self.files()))
    }

    /// Whether any of them may ask clients for a certificate.
    pub(crate) fn any_asks_clients(&self) -> bool {
        self.directory.is_some() || self.all().any(|certificate| certificate.mark().asks_clients)
    }

    /// Looks at all of them again: what is new, with the chain it is about.
    pub(crate) fn look(&self) -> Vec<(PathBuf, Looked)> {
        let files = self.files();
        if let Some(directory) = &self.directory {
            directory.look(&files);
        }
        let found = self.directory.as_ref().map(Directory::known).unwrap_or_default();
        let looked =
            self.all().chain(&found).map(|certificate| (certificate.wanted.chain.clone(), certificate.look(&files)));
        looked.filter(|(_, looked)| *looked != Looked::Same).collect()
    }

    /// Takes files that were opened again by somebody who may.
    pub(crate) fn take_files(&self, files: impl Iterator<Item = (PathBuf, OwnedFd)>) {
        self.files().take(files);
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.doors.iter().chain(self.names.iter().map(|(_, certificate)| certificate))
    }
}

impl Certificate {
    /// Reads it.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub(crate) fn load(number: usize, wanted: &CertificateFiles, files: &Files) -> Result<Self, String> {
        let read = facts(wanted, files);
        let (config, not_after_unix_s) = build(wanted, files)?;
        if not_after_unix_s.is_some_and(|end| end < now_unix_s()) {
            crate::log::say(&format!("*** WARNING: the certificate {} has expired ***", wanted.chain.display()));
        }
        let current = Current { config, not_after_unix_s, seen: read.clone(), read };
        Ok(Self { number, wanted: wanted.clone(), current: Mutex::new(current) })
    }

    /// What a connection that is begun with it is to be known by.
    pub(crate) fn mark(&self) -> Mark {
        Mark { number: self.number, asks_clients: self.wanted.client_ca.is_some() }
    }

    /// The settings a new connection gets.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.lock().config)
    }

    fn look(&self, files: &Files) -> Looked {
        let now = facts(&self.wanted, files);
        let mut current = self.lock();
        let at_rest = std::mem::replace(&mut current.seen, now.clone()) == now;
        if now == current.read || !at_rest {
            return Looked::Same;
        }
        current.read = now;
        match build(&self.wanted, files) {
            Err(sentence) => Looked::Kept(sentence),
            Ok((_, Some(end))) if end < now_unix_s() && current.not_after_unix_s.is_some_and(|old| old > end) => {
                Looked::Kept(format!("{} has expired", self.wanted.chain.display()))
            }
            Ok((config, not_after_unix_s)) => {
                (current.config, current.not_after_unix_s) = (config, not_after_unix_s);
                Looked::Replaced
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        // Its fields are replaced one by one with complete values: a panic elsewhere cannot leave it half changed.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn facts(wanted: &CertificateFiles, files: &Files) -> Vec<Option<Facts>> {
    [&wanted.chain, &wanted.key].into_iter().chain(&wanted.client_ca).map(|path| files.facts(path)).collect()
}

fn now_unix_s() -> i64 {
    i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX)
}

/// The settings that these files make, and the end of the certificate's validity.
fn build(wanted: &CertificateFiles, files: &Files) -> Result<(Arc<ServerConfig>, Option<i64>), String> {
    let (chain_shown, key_shown) = (wanted.chain.display(), wanted.key.display());
    let chain = certificates(&files.read(&wanted.chain)?)
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| format!("{chain_shown} holds no certificate in PEM"))?;
    let not_after_unix_s = der::facts(&chain[0]).map(|facts| facts.not_after_unix_s);
    let key = PrivateKeyDer::from_pem_slice(&files.read(&wanted.key)?)
        .map_err(|error| format!("{key_shown} holds no private key in PEM that can be used: {error}"))?;
    let mut provider = aws_lc_rs::default_provider();
    if let Some(list) = &wanted.ciphers {
        provider.cipher_suites = ciphers::choose(list, &provider.cipher_suites)?;
    }
    let provider = Arc::new(provider);
    let pair = CertifiedKey::from_der(chain, key, &provider)
        .map_err(|error| format!("{chain_shown} and {key_shown} do not belong together: {error}"))?;
    let verifier = match &wanted.client_ca {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(path) => {
            let roots = authorities(&files.read(path)?, path)?;
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let builder = if wanted.client_required { builder } else { builder.allow_unauthenticated() };
            builder.build().map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    let builder = ServerConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider));
    let mut config = builder
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| format!("TLS cannot be set up for {chain_shown}: {error}"))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A list of ciphers is in the server's order (SSL_OP_CIPHER_SERVER_PREFERENCE, which uWSGI sets).
    config.ignore_client_order = true;
    // Of its own: a session resumed here was begun under these very settings.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| format!("no key for session tickets: {error}"))?;
    Ok((Arc::new(config), not_after_unix_s))
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()
}

fn authorities(pem: &[u8], path: &std::path::Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).unwrap_or_default() {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if roots.is_empty() {
        return Err(format!("{} holds no certificate in PEM", path.display()));
    }
    Ok(roots)
}
