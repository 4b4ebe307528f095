//! The ground a story stands on: its directory, its ports, the tree's paths, and how long it may take.

use std::{
    cell::{Cell, RefCell},
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::unistd::geteuid;

use crate::{isolation::Network, process::Spawned};

/// A story that cannot be told on this machine says so with this error: `bail!(Skip(..))`.
#[derive(Debug)]
pub struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// Everything a story is given.
#[derive(Debug)]
pub struct Ground {
    directory: PathBuf,
    network: Network,
    next_port: Cell<u16>,
    logs: RefCell<Vec<PathBuf>>,
}

impl Ground {
    /// A fresh directory for this story. Short, since a unix socket's path has at most 107 bytes; open to every user,
    /// since vassals run as others.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare(network: Network) -> Result<Ground> {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("empery-story-{}", std::process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        // Shared network: stories of different processes keep apart by the pid.
        let first = 20_000 + u16::try_from(std::process::id() % 1_000).unwrap_or(0) * 20;
        Ok(Ground { directory, network, next_port: Cell::new(first), logs: RefCell::default() })
    }

    /// The story's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file in it, with the directories it needs, and answers with its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// A TCP port that nobody listens on.
    ///
    /// # Errors
    /// When a thousand in a row are taken.
    pub fn port(&self) -> Result<u16> {
        for _ in 0..1_000 {
            let port = self.next_port.get();
            self.next_port.set(port + 1);
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(port);
            }
        }
        anyhow::bail!("no free port")
    }

    /// A port that an example names, where the story has a network of its own; another one elsewhere.
    ///
    /// # Errors
    /// When no port is free.
    pub fn port_like(&self, named: u16) -> Result<u16> {
        match self.network {
            Network::Own => Ok(named),
            Network::Shared => self.port(),
        }
    }

    /// A copy of the binaries in the story's directory, for stories whose processes run as users that may not enter the
    /// tree's. Answers with its path.
    ///
    /// # Errors
    /// When they have not been built.
    pub fn lend_binaries(&self) -> Result<PathBuf> {
        let lent = self.path("bin");
        if !lent.exists() {
            fs::create_dir_all(&lent)?;
            for name in ["emperor", "vassal", "vassal-gateway", "libempery_worker.so"] {
                fs::copy(binary(name)?, lent.join(name))?;
            }
        }
        Ok(lent)
    }

    /// Starts a process whose output is kept in the story's directory and shown when the story fails.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, name: &str, command: std::process::Command) -> Result<Spawned> {
        let log = self.path(&format!("{}-{}.log", name, self.logs.borrow().len()));
        self.logs.borrow_mut().push(log.clone());
        Spawned::start(name, command, &log)
    }

    /// A line under the story's name in the runner's output: what was measured, or left out.
    pub fn note(&self, text: &str) {
        println!("{}{text}", crate::runner::NOTE);
    }

    /// Whether the story has a network namespace.
    #[must_use]
    pub fn network(&self) -> Network {
        self.network
    }

    /// Skips the story unless it has a network of its own.
    ///
    /// # Errors
    /// [`Skip`].
    pub fn needs_own_network(&self) -> Result<()> {
        match self.network {
            Network::Own => Ok(()),
            Network::Shared => Err(Skip("network namespaces are not permitted here".to_owned()).into()),
        }
    }

    /// Skips the story unless it runs as root.
    ///
    /// # Errors
    /// [`Skip`].
    pub fn needs_root(&self) -> Result<()> {
        if geteuid().is_root() { Ok(()) } else { Err(Skip("needs root".to_owned()).into()) }
    }

    /// The tail of every log, for a story that failed.
    #[must_use]
    pub fn evidence(&self) -> String {
        const TAIL_LINES: usize = 60;
        let mut text = String::new();
        for log in self.logs.borrow().iter() {
            let content = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
            let lines: Vec<_> = content.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n");
            text.push_str(&format!("--- {} ---\n{tail}\n", log.display()));
        }
        text
    }

    /// Removes the story's directory.
    pub fn clear(&self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The root of the tree.
#[must_use]
pub fn tree() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Where cargo puts things: the directory above the one with the binaries.
#[must_use]
pub fn target() -> PathBuf {
    binaries().parent().map_or_else(|| tree().join("target"), Path::to_owned)
}

/// The directory of the built binaries: `EMPERY_BINARIES`, or the one this runner was built into.
#[must_use]
pub fn binaries() -> PathBuf {
    if let Some(given) = std::env::var_os("EMPERY_BINARIES") {
        return PathBuf::from(given);
    }
    // target/debug/deps/stories-0123456789abcdef
    let runner = std::env::current_exe().unwrap_or_default();
    runner.ancestors().nth(2).map_or_else(|| tree().join("target/debug"), Path::to_owned)
}

/// The binaries to measure: `EMPERY_RELEASE_BINARIES` (`./dev` builds them for the stories that measure CPU time or
/// install packages), or those under test.
#[must_use]
pub fn released_binaries() -> PathBuf {
    std::env::var_os("EMPERY_RELEASE_BINARIES").map_or_else(binaries, PathBuf::from)
}

/// A built binary.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = binaries().join(name);
    anyhow::ensure!(
        path.exists(),
        "{} is not there: run `cargo build --workspace` first, or `./dev e2e`",
        path.display()
    );
    Ok(path)
}

/// A test app's directory.
#[must_use]
pub fn app(name: &str) -> PathBuf {
    tree().join("tests/apps").join(name)
}

/// An example of `deploy/examples`.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    tree().join("deploy/examples").join(name)
}

/// Whether the long versions are wanted (`EMPERY_LONG=1`).
#[must_use]
pub fn long() -> bool {
    std::env::var_os("EMPERY_LONG").is_some()
}

/// How long a long version goes on at most, when `EMPERY_MINUTES` says so.
#[must_use]
pub fn at_most() -> Option<Duration> {
    let minutes = std::env::var("EMPERY_MINUTES").ok()?.parse::<f64>().ok()?;
    Some(Duration::from_secs_f64(60.0 * minutes))
}

/// `short` in CI, `whole` with `EMPERY_LONG=1`.
#[must_use]
pub fn long_or(whole: Duration, short: Duration) -> Duration {
    if long() { whole } else { short }
}
