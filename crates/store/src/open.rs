//! Opens the database, brings its shape up to date and looks whether it is sound. A damaged file is moved aside and a
//! new one begun: history is lost, the emperor's start is not.

use std::{
    ffi::OsString,
    iter,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use empery_failpoint::point;
use sqlx::{
    Connection, SqliteConnection,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    Reader, Store, StoreError,
    damage::{self, Damage},
    journal::Journal,
    writer,
};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// SQLite's default page, in bytes; the file is made with it.
const PAGE_BYTES: u64 = 4096;

/// Readers at once. Pages and the API read seldom; a slow reader must not hold up another.
const READERS: u32 = 4;

/// How long a reader waits for its turn.
const READER_TURN: Duration = Duration::from_secs(2);

/// Bounds of one database.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The file never grows beyond this (`PRAGMA max_page_count`): a fleet gone wild must not fill the disk its apps write to.
    pub file_max_bytes: u64,
    /// Beyond this much of the journal beside it only what matters is written.
    pub journal_max_bytes: u64,
    /// How long to wait for another program's lock.
    pub lock_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { file_max_bytes: 4 << 30, journal_max_bytes: 64 << 20, lock_wait: Duration::from_secs(5) }
    }
}

/// An open database.
#[derive(Debug)]
pub struct Opened {
    /// Writes.
    pub store: Store,
    /// Reads.
    pub reader: Reader,
    /// What an operator must know: a damaged file was moved aside.
    pub alarm: Option<String>,
}

impl Reader {
    /// Reads a database that a running emperor writes. Nothing is opened before the first question.
    #[must_use]
    pub fn of(path: &Path) -> Reader {
        let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(READER_TURN);
        Reader::new(pool.connect_lazy_with(options(path, Limits::default()).read_only(true)))
    }
}

impl Store {
    /// Opens the file, or makes it (mode 0600: it holds vassal files, and those hold secrets). Must be called within the
    /// tokio runtime that is to write.
    ///
    /// # Errors
    /// When it cannot be opened, is locked, or was written by a newer version. Damage is no error: see [`Opened::alarm`].
    pub async fn open(path: &Path) -> Result<Opened, StoreError> {
        Store::open_within(path, Limits::default()).await
    }

    /// As [`Store::open`], with other limits.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_within(path: &Path, limits: Limits) -> Result<Opened, StoreError> {
        let damage = Damage::of(path);
        let sound = match damage.noted() {
            None => connect(path, limits).await,
            Some(cause) => Err(StoreError::Corrupt { doing: "writing to it earlier", cause: cause.into() }),
        };
        let (connection, alarm) = match sound {
            Ok(connection) => (connection, None),
            Err(StoreError::Corrupt { cause, .. }) => {
                let aside = move_aside(path)?;
                let mut connection = connect(path, limits).await?;
                let taken_over = match take_over(&mut connection, &aside).await {
                    Ok(()) => "operators' stops were taken over, history from before is there",
                    Err(_) => "history and operators' stops from before are there",
                };
                let aside = aside.display();
                let alarm =
                    format!("the database was damaged ({cause}) and is now {aside}; a new one was begun: {taken_over}");
                (connection, Some(alarm))
            }
            Err(other) => return Err(other),
        };
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(READER_TURN)
            .connect_lazy_with(options(path, limits).read_only(true));
        let journal = Journal::new(with_suffix(path, "-wal"), limits.journal_max_bytes);
        Ok(Opened { store: writer::start(connection, journal, damage), reader: Reader::new(pool), alarm })
    }
}

/// The writer's connection, with everything checked that can be checked before the first write.
async fn connect(path: &Path, limits: Limits) -> Result<SqliteConnection, StoreError> {
    let doing = "opening it";
    let failed = |error: std::io::Error| StoreError::Open { path: path.to_owned(), cause: error.to_string().into() };
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
    point!("store.open").map_err(failed)?;
    let of_open = |error: &sqlx::Error| match StoreError::sort(doing, error) {
        StoreError::ReadOnly { cause, .. } | StoreError::Failed { cause, .. } => {
            StoreError::Open { path: path.to_owned(), cause }
        }
        other => other,
    };
    // FULL: a hold or an operation that was answered for survives a power cut. Few writes: samples come once a minute.
    let options = options(path, limits)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("max_page_count", (limits.file_max_bytes / PAGE_BYTES).to_string())
        .pragma("journal_size_limit", limits.journal_max_bytes.to_string());
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(|error| of_open(&error))?;
    check(&mut connection).await?;
    point!("store.migrate")
        .map_err(|error| StoreError::Open { path: path.to_owned(), cause: error.to_string().into() })?;
    match MIGRATIONS.run(&mut connection).await {
        Ok(()) => Ok(connection),
        Err(MigrateError::VersionMissing(migration)) => Err(StoreError::Newer { path: path.to_owned(), migration }),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => Err(of_open(&error)),
        Err(other) => Err(StoreError::Open { path: path.to_owned(), cause: other.to_string().into() }),
    }
}

fn options(path: &Path, limits: Limits) -> SqliteConnectOptions {
    use sqlx::ConnectOptions;
    SqliteConnectOptions::new().filename(path).busy_timeout(limits.lock_wait).disable_statement_logging()
}

/// Every table but `samples`, which may be large; damage there shows when it is written, and is noted then ([`Damage`]).
const CHECKS: [(&str, &str); 6] = [
    ("vassals", "PRAGMA quick_check(vassals)"),
    ("revisions", "PRAGMA quick_check(revisions)"),
    ("operations", "PRAGMA quick_check(operations)"),
    ("incidents", "PRAGMA quick_check(incidents)"),
    ("holds", "PRAGMA quick_check(holds)"),
    ("marks", "PRAGMA quick_check(marks)"),
];

/// What must not be forgotten with the history: who stays stopped, and who is frozen or doubted.
const STANDING: [&str; 2] =
    ["INSERT INTO main.holds SELECT * FROM aside.holds", "INSERT INTO main.marks SELECT * FROM aside.marks"];

async fn check(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let doing = "checking it";
    let there: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| StoreError::sort(doing, &error))?;
    // An earlier version has fewer: the others are made next.
    let questions = CHECKS.iter().filter(|(table, _)| there.iter().any(|name| name == table));
    for question in iter::once("PRAGMA quick_check(sqlite_schema)").chain(questions.map(|(_, question)| *question)) {
        let verdict: String = sqlx::query_scalar(question)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| StoreError::sort(doing, &error))?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt { doing, cause: verdict.into() });
        }
    }
    Ok(())
}

/// What stands, from a database whose damage may lie elsewhere. All of it or nothing.
async fn take_over(connection: &mut SqliteConnection, aside: &Path) -> Result<(), sqlx::Error> {
    sqlx::query("ATTACH DATABASE ?1 AS aside").bind(aside.to_string_lossy()).execute(&mut *connection).await?;
    let taken = async {
        let mut all = connection.begin().await?;
        for statement in STANDING {
            sqlx::query(statement).execute(&mut *all).await?;
        }
        all.commit().await
    };
    let taken = taken.await;
    sqlx::query("DETACH DATABASE aside").execute(connection).await?;
    taken
}

/// Renames the file and what belongs to it, so that `sqlite3` still opens the set under its new name.
fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let aside = with_suffix(path, &format!(".corrupt-{unix_s}"));
    for suffix in ["", "-wal", "-shm", damage::SUFFIX] {
        match std::fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let cause = format!("it is damaged and cannot be moved aside: {error}").into();
                return Err(StoreError::Open { path: path.to_owned(), cause });
            }
        }
    }
    Ok(aside)
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = OsString::from(path);
    text.push(suffix);
    PathBuf::from(text)
}
