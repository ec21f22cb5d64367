//! The schema of the ledger and its migrations.

/// The SQLite application ID that marks a file as a ledger: "atrn".
pub(super) const APPLICATION: i32 = 0x6174_726e;

/// The migrations, one for each version: a ledger of version n needs those from
/// index n.
pub(super) const MIGRATIONS: [&str; 5] = [
    "
CREATE TABLE ledger (owner TEXT NOT NULL) STRICT;
CREATE TABLE run (
    id TEXT PRIMARY KEY,
    playbook TEXT NOT NULL,
    name TEXT NOT NULL,
    target TEXT NOT NULL,
    account TEXT NOT NULL,
    about TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER,
    outcome TEXT,
    error TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX run_started ON run (started);
CREATE TABLE step (
    run TEXT NOT NULL REFERENCES run (id),
    number INTEGER NOT NULL,
    key TEXT NOT NULL,
    branch TEXT NOT NULL,
    function TEXT NOT NULL,
    summary TEXT NOT NULL,
    place TEXT NOT NULL,
    state TEXT NOT NULL,
    result TEXT,
    altered INTEGER NOT NULL,
    error TEXT,
    started INTEGER NOT NULL,
    ended INTEGER,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE resource (
    run TEXT NOT NULL REFERENCES run (id),
    row TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT,
    state TEXT NOT NULL,
    step TEXT NOT NULL,
    intended INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    removed_by_playbook INTEGER NOT NULL,
    PRIMARY KEY (run, row)
) STRICT, WITHOUT ROWID;
CREATE INDEX resource_row ON resource (row);
CREATE INDEX resource_up ON resource (run) WHERE state IN ('intended', 'live', 'releasing');
",
    "
CREATE TABLE wait (
    run TEXT NOT NULL REFERENCES run (id),
    branch TEXT NOT NULL,
    function TEXT NOT NULL,
    place TEXT NOT NULL,
    error TEXT,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL
) STRICT;
CREATE INDEX wait_run ON wait (run);
",
    // Every commit updates `written`, so every `-wal` has the owner. In the main
    // file, `open` is 1 while the `-wal` may have more commits.
    "
CREATE TABLE IF NOT EXISTS written (
    owner TEXT NOT NULL,
    commits INTEGER NOT NULL,
    open INTEGER NOT NULL
) STRICT;
INSERT INTO written SELECT owner, 0, 0 FROM ledger WHERE NOT EXISTS (SELECT 1 FROM written);
CREATE TABLE IF NOT EXISTS stopped (
    run TEXT NOT NULL,
    row TEXT NOT NULL,
    PRIMARY KEY (run, row)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO stopped SELECT run, row FROM resource WHERE kind = 'instance' AND 'stop_instance' = (
    SELECT function FROM step WHERE step.run = resource.run AND summary = resource.id
    AND function IN ('stop_instance', 'start_instance') ORDER BY number DESC LIMIT 1
);
",
    "
CREATE TABLE IF NOT EXISTS request (
    run TEXT NOT NULL REFERENCES run (id),
    service TEXT NOT NULL,
    operation TEXT NOT NULL,
    about TEXT NOT NULL,
    function TEXT NOT NULL,
    place TEXT NOT NULL,
    PRIMARY KEY (run, service, operation, about, function, place)
) STRICT, WITHOUT ROWID;
",
    // Runs of a shared ledger: how far this ledger has their journals, and the changes
    // that are not in a journal yet. Numbers are never used again. And the runs that were
    // exported from it.
    "
CREATE TABLE IF NOT EXISTS shared (
    run TEXT PRIMARY KEY,
    place TEXT NOT NULL,
    generation INTEGER NOT NULL,
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unsent (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL,
    change TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS moved (
    run TEXT PRIMARY KEY,
    machine TEXT NOT NULL,
    holder TEXT NOT NULL
) STRICT, WITHOUT ROWID;
",
];
