//! Who may: the token file, sessions of browsers, and links that sign in once. Secrets are kept as SHA-256 only and
//! compared in constant time; sessions live in memory and end with the brain.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

/// How long a browser stays signed in after it was last seen.
const SESSION_IDLE: Duration = Duration::from_secs(12 * 60 * 60);

/// Browsers signed in at once; beyond it the one seen longest ago is signed out.
const SESSIONS_MAX: usize = 256;

/// How long a login link can be used.
const LINK_LIFE: Duration = Duration::from_secs(10 * 60);

/// Login links waiting at once; beyond it the oldest is void.
const LINKS_MAX: usize = 64;

/// Wrong secrets answered at full speed, and how often one more is: only failures are slowed, never a right secret.
const FAILURES_BURST: u32 = 10;
const FAILURE_EVERY: Duration = Duration::from_secs(3);

/// Longest token file that is read, in bytes.
const TOKEN_FILE_MAX_BYTES: u64 = 4096;

type Hash = [u8; 32];

/// Why the token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It cannot be read or made.
    #[error("cannot read or make the token file {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("the token file {} may be read by others (mode {mode:04o}); it is not used until `chmod 600` was done and the emperor was restarted; better delete it, so that a new one is made", path.display())]
    TooOpen {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Nothing that could be a token is in it.
    #[error("the token file {} holds no token (at least 32 characters without spaces); delete it and restart the emperor, so that a new one is made", path.display())]
    NoToken {
        /// Which.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    NoRandomness(std::io::Error),
}

/// A link that signs in once.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LoginLink {
    /// Where to go.
    pub url: String,
    /// How long it can be used, in s.
    pub valid_for_s: u64,
}

/// Who may.
#[derive(Debug)]
pub struct Access {
    token: Option<Hash>,
    browsers: Mutex<Browsers>,
}

#[derive(Debug)]
struct Browsers {
    sessions: BTreeMap<Hash, Session>,
    links: Vec<(Hash, Instant)>,
    failures: Failures,
}

#[derive(Debug)]
struct Session {
    form_token: String,
    seen: Instant,
}

/// Failures still free, as of a moment.
#[derive(Debug)]
struct Failures {
    free: u32,
    at: Instant,
}

/// A browser that was just signed in: the value of its cookie.
#[derive(Debug)]
pub(crate) struct SignedIn {
    pub(crate) cookie: String,
}

/// A wrong secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It is wrong.
    Wrong,
    /// It is wrong, and so were many before it.
    TooOften,
}

impl Access {
    /// Reads the token file, or makes it with 256 random bits (mode 0600).
    ///
    /// # Errors
    /// When there is no token to use: [`Access::without_token`] still lets login links work.
    pub fn open(token_file: &Path) -> Result<Access, AccessError> {
        let token = read_or_make_token(token_file)?;
        Ok(Access { token: Some(hash(&token)), ..Access::without_token() })
    }

    /// No token fits; people still come in by [`Access::login_link`].
    #[must_use]
    pub fn without_token() -> Access {
        let failures = Failures { free: FAILURES_BURST, at: Instant::now() };
        Access {
            token: None,
            browsers: Mutex::new(Browsers { sessions: BTreeMap::new(), links: Vec::new(), failures }),
        }
    }

    /// A link that signs one browser in, once.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn login_link(&self, base_url: &str) -> Result<LoginLink, AccessError> {
        let once = random_hex()?;
        let mut browsers = self.browsers();
        let now = Instant::now();
        browsers.links.retain(|(_, until)| *until > now);
        if browsers.links.len() >= LINKS_MAX {
            browsers.links.remove(0);
        }
        browsers.links.push((hash(&once), now + LINK_LIFE));
        Ok(LoginLink { url: format!("{base_url}/login?once={once}"), valid_for_s: LINK_LIFE.as_secs() })
    }

    /// Whether this is the token.
    pub(crate) fn check_token(&self, token: &str) -> Result<(), Denied> {
        match &self.token {
            Some(right) if same(right, &hash(token)) => Ok(()),
            Some(_) | None => Err(self.browsers().failures.count(Instant::now())),
        }
    }

    /// Signs a browser in that showed the token.
    pub(crate) fn sign_in_by_token(&self, token: &str) -> Result<Result<SignedIn, Denied>, AccessError> {
        match self.check_token(token) {
            Ok(()) => self.sign_in().map(Ok),
            Err(denied) => Ok(Err(denied)),
        }
    }

    /// Signs a browser in that came by a link; the link is void from now on.
    pub(crate) fn sign_in_by_link(&self, once: &str) -> Result<Result<SignedIn, Denied>, AccessError> {
        let shown = hash(once);
        {
            let mut browsers = self.browsers();
            let now = Instant::now();
            let Some(place) = browsers.links.iter().position(|(right, until)| *until > now && same(right, &shown))
            else {
                return Ok(Err(browsers.failures.count(now)));
            };
            browsers.links.remove(place);
        }
        self.sign_in().map(Ok)
    }

    /// The form token of this session, when it is one.
    pub(crate) fn form_token(&self, cookie: &str) -> Option<String> {
        let mut browsers = self.browsers();
        let now = Instant::now();
        let session = browsers.sessions.get_mut(&hash(cookie)).filter(|session| now < session.seen + SESSION_IDLE)?;
        session.seen = now;
        Some(session.form_token.clone())
    }

    /// Signs a browser out.
    pub(crate) fn sign_out(&self, cookie: &str) {
        self.browsers().sessions.remove(&hash(cookie));
    }

    fn sign_in(&self) -> Result<SignedIn, AccessError> {
        let (cookie, form_token) = (random_hex()?, random_hex()?);
        let mut browsers = self.browsers();
        let now = Instant::now();
        browsers.sessions.retain(|_, session| now < session.seen + SESSION_IDLE);
        if browsers.sessions.len() >= SESSIONS_MAX {
            let oldest = browsers.sessions.iter().min_by_key(|(_, session)| session.seen).map(|(id, _)| *id);
            browsers.sessions.retain(|id, _| Some(*id) != oldest);
        }
        browsers.sessions.insert(hash(&cookie), Session { form_token, seen: now });
        Ok(SignedIn { cookie })
    }

    fn browsers(&self) -> MutexGuard<'_, Browsers> {
        // Every change inside is complete before anything that could panic.
        self.browsers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    fn count(&mut self, now: Instant) -> Denied {
        let regained = u32::try_from((now - self.at).as_secs() / FAILURE_EVERY.as_secs()).unwrap_or(u32::MAX);
        if regained > 0 {
            self.free = self.free.saturating_add(regained).min(FAILURES_BURST);
            self.at = now;
        }
        match self.free.checked_sub(1) {
            Some(free) => {
                self.free = free;
                Denied::Wrong
            }
            None => Denied::TooOften,
        }
    }
}

impl Denied {
    /// How long to wait before the next try, in s.
    pub(crate) const RETRY_AFTER_S: u64 = FAILURE_EVERY.as_secs();
}

/// In constant time: how many leading bytes fit must not show.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// 256 random bits in hex.
fn random_hex() -> Result<String, AccessError> {
    let mut bytes = [0; 32];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(AccessError::NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn read_or_make_token(path: &Path) -> Result<String, AccessError> {
    let failed = |source| AccessError::File { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let token = random_hex()?;
            file.write_all(format!("{token}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(token)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path).map_err(failed)?;
            let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
            if mode & 0o077 != 0 {
                return Err(AccessError::TooOpen { path: path.to_owned(), mode });
            }
            let mut text = String::new();
            file.take(TOKEN_FILE_MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
            let token = text.trim();
            if token.len() < 32 || token.chars().any(char::is_whitespace) {
                return Err(AccessError::NoToken { path: path.to_owned() });
            }
            Ok(token.to_owned())
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_signs_in_once() {
        let access = Access::without_token();
        let url = access.login_link("http://here").unwrap().url;
        let once = url.split_once("once=").unwrap().1;
        let signed_in = access.sign_in_by_link(once).unwrap().unwrap();
        assert!(access.form_token(&signed_in.cookie).is_some());
        assert_eq!(access.sign_in_by_link(once).unwrap().unwrap_err(), Denied::Wrong);
        access.sign_out(&signed_in.cookie);
        assert!(access.form_token(&signed_in.cookie).is_none());
    }

    #[test]
    fn wrong_tokens_are_slowed_and_the_right_one_never_is() {
        let directory = std::env::temp_dir().join(format!("empery-access-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("token");
        let access = Access::open(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        let token = std::fs::read_to_string(&file).unwrap();
        assert_eq!(token.trim().len(), 64);
        for _ in 0..FAILURES_BURST {
            assert_eq!(access.check_token("guess"), Err(Denied::Wrong));
        }
        assert_eq!(access.check_token("guess"), Err(Denied::TooOften));
        assert_eq!(access.check_token(token.trim()), Ok(()));
        assert_eq!(Access::open(&file).unwrap().check_token(token.trim()), Ok(()), "the same token after a restart");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_token_file_that_others_may_read_is_refused() {
        let file = std::env::temp_dir().join(format!("empery-open-token-{}", std::process::id()));
        let mut made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&file).unwrap();
        made.write_all(&[b'x'; 64]).unwrap();
        let refused = Access::open(&file).unwrap_err();
        assert!(matches!(refused, AccessError::TooOpen { mode: 0o644, .. }), "{refused}");
        std::fs::remove_file(&file).unwrap();
    }
}
