//! Reads, beside the writer, over a small pool of connections that cannot write. The questions themselves stand with
//! their tables.

use sqlx::SqlitePool;

/// Reads from the database. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(crate) pool: SqlitePool,
}

impl Reader {
    pub(crate) fn new(pool: SqlitePool) -> Reader {
        Reader { pool }
    }
}
