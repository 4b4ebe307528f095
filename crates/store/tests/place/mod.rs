//! A directory of one test with a database in it; gone when the test is.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use sqlx::{Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};

pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) file: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("empery-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Place { file: directory.join("state.db"), directory }
    }

    /// Another program's connection to the same file.
    pub(crate) async fn connection(&self) -> SqliteConnection {
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&self.file)).await.unwrap()
    }

    /// Has another program run a statement.
    pub(crate) async fn sqlite(&self, statement: &'static str) {
        self.connection().await.execute(statement).await.unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
