//! The tables.

/// Version of [`TABLES`], in the file's `user_version`.
pub(super) const VERSION: i64 = 6;

/// What brings the tables of version 1 to version 2.
pub(super) const FROM_1: &str = "ALTER TABLE generation ADD COLUMN copy_of INTEGER;";

/// What brings those of version 2 to version 3.
pub(super) const FROM_2: &str = "
ALTER TABLE installation ADD COLUMN directory BLOB;
ALTER TABLE installation ADD COLUMN directory_id TEXT;
";

/// What brings those of version 3 to version 4.
pub(super) const FROM_3: &str = "
ALTER TABLE key ADD COLUMN rotate_asked_at INTEGER;
ALTER TABLE key ADD COLUMN retire_asked_at INTEGER;
ALTER TABLE key ADD COLUMN retire_at INTEGER;
ALTER TABLE key ADD COLUMN accepted_loss TEXT;
ALTER TABLE key ADD COLUMN paused_at INTEGER;
ALTER TABLE key ADD COLUMN paused_until INTEGER;
ALTER TABLE key ADD COLUMN pause_reason TEXT;
ALTER TABLE generation ADD COLUMN stage TEXT NOT NULL DEFAULT 'active';
ALTER TABLE generation ADD COLUMN promoted_at INTEGER;
ALTER TABLE generation ADD COLUMN superseded_at INTEGER;
ALTER TABLE generation ADD COLUMN place TEXT;
ALTER TABLE host ADD COLUMN note TEXT;
ALTER TABLE placement ADD COLUMN changed_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE effect ADD COLUMN host TEXT;
";

/// What brings those of version 4 to version 5.
pub(super) const FROM_4: &str = "
ALTER TABLE key ADD COLUMN retires_in TEXT;
ALTER TABLE installation ADD COLUMN hardware TEXT;
ALTER TABLE installation ADD COLUMN instance TEXT;
ALTER TABLE key ADD COLUMN made_after TEXT;
ALTER TABLE key ADD COLUMN ends_at INTEGER;
";

/// What brings those of version 5 to version 6.
pub(super) const FROM_5: &str = "
ALTER TABLE effect ADD COLUMN instance TEXT;
ALTER TABLE placement ADD COLUMN file TEXT;
ALTER TABLE key ADD COLUMN later_n INTEGER;
ALTER TABLE key ADD COLUMN later_pair TEXT;
";

/// What is new in version 6 of what was new in version 4.
pub(super) const TRUSTED_FROM_5: &str = "ALTER TABLE trusted ADD COLUMN file TEXT;";

/// What is new in version 4 besides.
pub(super) const TRUSTED: &str = "
CREATE TABLE trusted (
    key          TEXT NOT NULL REFERENCES key (name),
    host         TEXT NOT NULL REFERENCES host (address),
    public_key   TEXT NOT NULL,
    purpose      TEXT NOT NULL,
    line         TEXT NOT NULL,
    state        TEXT NOT NULL,
    until        INTEGER,
    verified_at  INTEGER,
    changed_at   INTEGER NOT NULL,
    note         TEXT,
    PRIMARY KEY (key, host, public_key)
) STRICT;

CREATE TABLE revocation (
    host          TEXT NOT NULL,
    selector      TEXT NOT NULL,
    accepts_loss  INTEGER NOT NULL,
    state         TEXT NOT NULL,
    lines         TEXT NOT NULL,
    asked_at      INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL,
    note          TEXT,
    PRIMARY KEY (host, selector)
) STRICT;
";

/// Times are milliseconds since 1970 UTC. Rows are never removed: they are the history.
pub(super) const TABLES: &str = "
CREATE TABLE installation (
    id            TEXT NOT NULL PRIMARY KEY,
    created_at    INTEGER NOT NULL,
    machine_id    TEXT,
    host_name     TEXT,
    uid           INTEGER NOT NULL,
    directory     BLOB,
    directory_id  TEXT,
    hardware      TEXT,
    instance      TEXT
) STRICT;

CREATE TABLE key (
    name             TEXT NOT NULL PRIMARY KEY,
    last_n           INTEGER NOT NULL,
    held_at          INTEGER,
    rotate_asked_at  INTEGER,
    retire_asked_at  INTEGER,
    retire_at        INTEGER,
    retires_in       TEXT,
    accepted_loss    TEXT,
    paused_at        INTEGER,
    paused_until     INTEGER,
    pause_reason     TEXT,
    made_after       TEXT,
    ends_at          INTEGER,
    later_n          INTEGER,
    later_pair       TEXT
) STRICT;

CREATE TABLE generation (
    key                   TEXT NOT NULL REFERENCES key (name),
    n                     INTEGER NOT NULL,
    copy_of               INTEGER,
    made_by               TEXT NOT NULL,
    algorithm             TEXT NOT NULL,
    account               TEXT NOT NULL,
    plugin                TEXT NOT NULL,
    region                TEXT,
    endpoint              TEXT,
    blob                  BLOB,
    pair_name             TEXT NOT NULL,
    provider_id           TEXT,
    provider_fingerprint  TEXT,
    state                 TEXT NOT NULL,
    requested_at          INTEGER NOT NULL,
    repeated_at           INTEGER,
    loaded_at             INTEGER,
    missing_since         INTEGER,
    delete_asked_at       INTEGER,
    note                  TEXT,
    stage                 TEXT NOT NULL DEFAULT 'active',
    promoted_at           INTEGER,
    superseded_at         INTEGER,
    place                 TEXT,
    PRIMARY KEY (key, n)
) STRICT;

CREATE INDEX generation_state ON generation (state);

CREATE TABLE host (
    address          TEXT NOT NULL PRIMARY KEY,
    pinned_host_key  BLOB,
    state            TEXT NOT NULL,
    since            INTEGER NOT NULL,
    note             TEXT
) STRICT;

CREATE TABLE placement (
    key          TEXT NOT NULL,
    n            INTEGER NOT NULL,
    host         TEXT NOT NULL REFERENCES host (address),
    state        TEXT NOT NULL,
    verified_at  INTEGER,
    line         TEXT,
    file_hash    BLOB,
    changed_at   INTEGER NOT NULL DEFAULT 0,
    file         TEXT,
    PRIMARY KEY (key, n, host),
    FOREIGN KEY (key, n) REFERENCES generation (key, n)
) STRICT;

CREATE TABLE effect (
    id          INTEGER NOT NULL PRIMARY KEY,
    kind        TEXT NOT NULL,
    key         TEXT NOT NULL,
    n           INTEGER NOT NULL,
    intent_at   INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    outcome_at  INTEGER,
    outcome     TEXT,
    host        TEXT,
    instance    TEXT,
    FOREIGN KEY (key, n) REFERENCES generation (key, n)
) STRICT;

CREATE INDEX effect_subject ON effect (key, n, kind);
";
