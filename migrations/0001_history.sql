-- What the emperor remembers. The vassals directory is the truth about which vassals exist: losing this file loses
-- history and holds, never service. Times are unix ms unless the name says otherwise. Retention: docs/state.md.

CREATE TABLE vassals (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  first_seen_unix_ms INTEGER NOT NULL,
  last_seen_unix_ms INTEGER NOT NULL
);

-- Every content of a vassal file that was ever seen, numbered from 1 within the vassal.
CREATE TABLE revisions (
  vassal TEXT NOT NULL,
  revision INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  content BLOB NOT NULL,
  problems TEXT NOT NULL, -- JSON: an array of problems, errors first
  seen_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (vassal, revision)
);

-- Whatever was asked for and takes time. `end` is NULL while it runs.
CREATE TABLE operations (
  id INTEGER PRIMARY KEY,
  vassal TEXT NOT NULL,
  verb TEXT NOT NULL,
  actor TEXT NOT NULL,
  revision INTEGER,
  generation INTEGER,
  phase TEXT NOT NULL,
  phases TEXT NOT NULL, -- JSON: [{"phase": .., "after_ms": ..}]
  end TEXT,             -- JSON: {"result": "succeeded"} or {"result": "failed", "reason": {..}, "still_serving": ..}
  began_unix_ms INTEGER NOT NULL,
  ended_unix_ms INTEGER,
  boot_output TEXT
);
CREATE INDEX operations_of_vassal ON operations (vassal, id);

-- The operations that brought, or tried to bring, something into service, for people who look in with sqlite3.
CREATE VIEW deployments AS
  SELECT id, vassal, verb, actor, revision, generation, phase, phases,
         json_extract(end, '$.result') AS verdict,
         coalesce(json_extract(end, '$.reason.sentence'), json_extract(end, '$.reason.how'),
                  json_extract(end, '$.reason.kind')) AS reason,
         json_extract(end, '$.reason.traceback') AS traceback,
         began_unix_ms, ended_unix_ms, ended_unix_ms - began_unix_ms AS took_ms, boot_output
  FROM operations WHERE verb <> 'stop';

-- What was lost, killed or odd.
CREATE TABLE incidents (
  id INTEGER PRIMARY KEY,
  vassal TEXT, -- NULL: about the emperor itself
  at_unix_ms INTEGER NOT NULL,
  severity TEXT NOT NULL,
  code TEXT NOT NULL,
  text TEXT NOT NULL,
  generation INTEGER,
  worker INTEGER,
  spawn INTEGER
);
CREATE INDEX incidents_of_vassal ON incidents (vassal, id);

-- Vassals an operator stopped: they stay stopped.
CREATE TABLE holds (
  vassal TEXT PRIMARY KEY,
  actor TEXT NOT NULL,
  since_unix_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- One row per vassal and minute in which something was counted. Clustered by vassal: read per vassal, written in one
-- batch a minute.
CREATE TABLE samples (
  vassal_id INTEGER NOT NULL REFERENCES vassals (id),
  minute_unix_s INTEGER NOT NULL,
  requests INTEGER NOT NULL,
  errors_5xx INTEGER NOT NULL,
  exceptions INTEGER NOT NULL,
  tx_bytes INTEGER NOT NULL,
  busy_us INTEGER NOT NULL,      -- time spent inside requests
  busy_threads_peak INTEGER NOT NULL,
  threads INTEGER NOT NULL,
  workers INTEGER NOT NULL,
  rss_bytes INTEGER NOT NULL,
  PRIMARY KEY (vassal_id, minute_unix_s)
) WITHOUT ROWID;
