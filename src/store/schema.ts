/** What `PRAGMA user_version` says of the tables below. */
export const SCHEMA_VERSION = 1;

/** Says that a file is a trace store of ours (`PRAGMA application_id`): the ASCII of "ktfs". */
export const APPLICATION_ID = 0x6b746673;

/**
 * - `sandbox`: `sid` is its ID, `base_ns` its first span's start, `summary` what the viewer has computed of it last
 *   (JSON), good for as many spans as `summary_spans` says.
 * - `span`: `start` is nanoseconds since the Unix epoch, `body` the OTLP `Span` without the values that `large` lists.
 *   A span that comes twice is one row.
 * - `blob`: values over 1 KiB, resources and scopes, once for each sandbox, so that a sandbox goes as a whole.
 */
export const SCHEMA = `
  CREATE TABLE IF NOT EXISTS sandbox (
    id INTEGER PRIMARY KEY,
    sid TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    state TEXT NOT NULL,
    base_ns INTEGER NOT NULL,
    touched_ms INTEGER NOT NULL,
    spans INTEGER NOT NULL DEFAULT 0,
    not_kept INTEGER NOT NULL DEFAULT 0,
    errors INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    summary TEXT,
    summary_spans INTEGER NOT NULL DEFAULT -1
  );
  CREATE INDEX IF NOT EXISTS sandbox_by_age ON sandbox (touched_ms);
  CREATE TABLE IF NOT EXISTS op (
    id INTEGER PRIMARY KEY,
    side TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (side, name)
  );
  CREATE TABLE IF NOT EXISTS span (
    sandbox INTEGER NOT NULL,
    trace BLOB NOT NULL,
    span BLOB NOT NULL,
    parent BLOB NOT NULL,
    op INTEGER NOT NULL,
    start INTEGER NOT NULL,
    dur INTEGER NOT NULL,
    error INTEGER NOT NULL,
    resource BLOB NOT NULL,
    scope BLOB NOT NULL,
    large TEXT,
    body BLOB NOT NULL,
    PRIMARY KEY (sandbox, trace, span)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS blob (
    sandbox INTEGER NOT NULL,
    hash BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (sandbox, hash)
  ) WITHOUT ROWID;
  PRAGMA user_version = ${SCHEMA_VERSION};
  PRAGMA application_id = ${APPLICATION_ID};
`;

/** What a row of `span` takes beside its body, bytes: its key, its parent, two hashes and the tree's own share. */
export const ROW_BYTES = 120;
