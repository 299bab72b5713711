//! Every statement of the depot, in portable SQL, and the schema.
//!
//! One schema and one set of statements for all drivers: SQLite runs them as they are. A driver for
//! the PostgreSQL wire replaces `?N` by `$N`, `BLOB` by `BYTEA`, `TEXT` keys by `TEXT COLLATE "C"`
//! and `rowid` by `ctid`, drops `WITHOUT ROWID`, and nothing else; so the statements keep to what
//! both have: row values, `ON CONFLICT`, `RETURNING`, common table expressions. Flags and numbers
//! are `BIGINT`.
//!
//! Rules that the text of a statement keeps:
//! - a fenced step starts with the `UPDATE head` that carries the fence as its condition;
//! - "absent" is an insert that conflicts;
//! - a read is one statement; none both moves a head and reads pages;
//! - a page row is *visible* if it has no stage (an empty one), or if the commit row of its txid
//!   names its stage; one commit writes a page once.

use std::fmt::Write as _;

/// Version of the schema, of what its columns hold, and of the files.
pub(crate) const FORMAT: i32 = 3;
/// The versions before it, which `upgrade` converts: without stages (1), without stamps at the end
/// of pages and without names in heads (2).
pub(crate) const FORMATS_BEFORE: std::ops::RangeInclusive<i32> = 1..=2;

/// Tables of a shard: all rows of an actor.
///
/// Rows are kept in their key, so that the row that is found is the one that was asked for: no
/// index beside the table can point to another. One leaf is then written for a row, and few are
/// when commit rows of one database are trimmed. Two tables have large rows and a key in an index
/// beside them:
/// - `page`, so that rows are appended: a commit of scattered pages then rewrites leaves of a
///   narrow index, not leaves full of other pages. A row's checksum covers its key;
/// - `snapshot`: what is found is compared with what was asked, from the row itself.
///
/// `head.name` is the hash of the kind and key that the database belongs to, `head.format` tells
/// what its chain starts from ([`crate::chain`]), and whether it has had due work.
///
/// `actor.next_due` is when the actor has something to do, in milliseconds since the Unix epoch; null:
/// never, or a destroy has begun.
///
/// `stage` counts what was staged for commits that are not made yet; the commit takes its row away.
/// So whatever still has a row there is invisible. `run_from .. last` are the last pages without a
/// gap: they tell in one look whether a growing commit leaves holes.
pub(crate) const SHARD_SCHEMA: &str = r#"
CREATE TABLE IF NOT EXISTS head (
    db         BLOB   NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    token      BLOB   NOT NULL,
    owner      BLOB   NOT NULL,
    txid       BIGINT NOT NULL,
    page_count BIGINT NOT NULL,
    chain      BLOB   NOT NULL,
    sealed     BIGINT NOT NULL,
    origin     BIGINT NOT NULL,
    floor      BIGINT NOT NULL,
    format     BIGINT NOT NULL,
    base_db    BLOB,
    base_txid  BIGINT,
    time_ms    BIGINT NOT NULL,
    name       BLOB   NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS page (
    db    BLOB   NOT NULL,
    pgno  BIGINT NOT NULL,
    txid  BIGINT NOT NULL,
    stage BLOB   NOT NULL,
    sum   BLOB   NOT NULL,
    bytes BLOB   NOT NULL,
    PRIMARY KEY (db, pgno, txid, stage)
);
CREATE INDEX IF NOT EXISTS page_stage ON page (db, stage, pgno) WHERE length(stage) > 0;
CREATE TABLE IF NOT EXISTS stage (
    db         BLOB   NOT NULL,
    stage      BLOB   NOT NULL,
    txid       BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    chunks     BIGINT NOT NULL,
    pages      BIGINT NOT NULL,
    run_from   BIGINT NOT NULL,
    last       BIGINT NOT NULL,
    PRIMARY KEY (db, stage)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS "commit" (
    db         BLOB   NOT NULL,
    txid       BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    page_count BIGINT NOT NULL,
    content    BLOB   NOT NULL,
    chain      BLOB   NOT NULL,
    stage      BLOB   NOT NULL,
    time_ms    BIGINT NOT NULL,
    PRIMARY KEY (db, txid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshot (
    db         BLOB   NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    txid       BIGINT NOT NULL,
    component  BLOB   NOT NULL,
    state      BLOB   NOT NULL
);
CREATE TABLE IF NOT EXISTS pin (
    db   BLOB   NOT NULL,
    txid BIGINT NOT NULL,
    name TEXT   NOT NULL,
    PRIMARY KEY (db, txid, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS actor (
    kind      TEXT   NOT NULL,
    key       TEXT   NOT NULL,
    db        BLOB   NOT NULL UNIQUE,
    component BLOB   NOT NULL,
    wanted    BIGINT NOT NULL,
    restarts  BIGINT NOT NULL,
    next_due  BIGINT,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS actor_due ON actor (next_due) WHERE next_due IS NOT NULL;
CREATE INDEX IF NOT EXISTS actor_destroying ON actor (kind, key) WHERE wanted = 1;
CREATE INDEX IF NOT EXISTS head_base ON head (base_db) WHERE base_db IS NOT NULL;
"#;

/// Tables that are never part of a fenced step.
///
/// Of a node, what runs there is null if its program does not tell: see [`NODE_COLUMNS`].
pub(crate) const GLOBAL_SCHEMA: &str = r"
CREATE TABLE IF NOT EXISTS node (
    session    BLOB   NOT NULL PRIMARY KEY,
    address    TEXT   NOT NULL,
    counter    BIGINT NOT NULL,
    pid        BIGINT,
    version    TEXT,
    format_min BIGINT,
    format_max BIGINT,
    peers      TEXT,
    draining   BIGINT,
    awake      BIGINT,
    awake_max  BIGINT,
    bytes      BIGINT,
    bytes_max  BIGINT,
    cpu        BIGINT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS component (
    digest BLOB NOT NULL PRIMARY KEY,
    wasm   BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS kind (
    name      TEXT   NOT NULL PRIMARY KEY,
    component BLOB   NOT NULL,
    manifest  TEXT   NOT NULL,
    version   BIGINT NOT NULL
);
";

/// What a store of several files or primaries must agree on: its id and its number of shards.
pub(crate) const META_SCHEMA: &str = r"
CREATE TABLE IF NOT EXISTS meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
";
pub(crate) const META_PUT: &str =
    "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
pub(crate) const META_GET: &str = "SELECT value FROM meta WHERE name = ?1";

/// Whose file it is and how far it has come (`own`, one row: its mark, in a column that was called
/// `stamp` first and stays so on disk), and how far the others have come as far as this file knows
/// (`seen`). Of embedded stores only.
pub(crate) const OWN_SCHEMA: &str = r"
CREATE TABLE IF NOT EXISTS own (
    stamp BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS seen (
    file  BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL
) WITHOUT ROWID;
";
pub(crate) const OWN_PUT: &str = "INSERT INTO own (stamp) VALUES (?1)";
pub(crate) const OWN_CLEAR: &str = "DELETE FROM own";
pub(crate) const OWN_SET: &str = "UPDATE own SET stamp = ?1";
pub(crate) const OWN_GET: &str = "SELECT stamp FROM own";
pub(crate) const SEEN_ALL: &str = "SELECT file, epoch FROM seen";
pub(crate) const SEEN_RAISE: &str = "INSERT INTO seen (file, epoch) VALUES (?1, ?2) \
     ON CONFLICT (file) DO UPDATE SET epoch = excluded.epoch WHERE excluded.epoch > seen.epoch";
pub(crate) const SEEN_LOWER: &str = "UPDATE seen SET epoch = ?2 WHERE file = ?1 AND epoch > ?2";

/// What an operator has accepted to lose. In `global.db` of embedded stores only.
pub(crate) const LOSS_SCHEMA: &str = r"
CREATE TABLE IF NOT EXISTS loss (
    time_ms BIGINT NOT NULL,
    file    TEXT   NOT NULL,
    what    TEXT   NOT NULL
);
";
pub(crate) const LOSS_PUT: &str = "INSERT INTO loss (time_ms, file, what) VALUES (?1, ?2, ?3)";
pub(crate) const LOSSES: &str =
    "SELECT time_ms, file, what FROM loss ORDER BY time_ms DESC, file, what LIMIT ?1";

/// Of SQLite: whether a table has a column. (table, column)
pub(crate) const COLUMN_EXISTS: &str = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";
/// Of SQLite: whether a table is there.
pub(crate) const TABLE_EXISTS: &str =
    "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";

/// The columns of a head behind `$t`, in the order that [`crate::store::rows::head`] reads them.
#[doc(hidden)]
#[macro_export]
macro_rules! sql_head {
    ($t:literal) => {
        concat!(
            $t,
            "db, ",
            $t,
            "generation, ",
            $t,
            "token, ",
            $t,
            "owner, ",
            $t,
            "txid, ",
            $t,
            "page_count, ",
            $t,
            "chain, ",
            $t,
            "sealed, ",
            $t,
            "origin, ",
            $t,
            "floor, ",
            $t,
            "base_db, ",
            $t,
            "base_txid, ",
            $t,
            "name, ",
            $t,
            "format"
        )
    };
}
/// The columns that tell whether a fence holds, and of which database, for
/// [`crate::store::rows::owner`].
#[doc(hidden)]
#[macro_export]
macro_rules! sql_owner {
    () => {
        "h.generation, h.token, h.txid, h.sealed, h.db, h.format"
    };
}
/// The columns of a directory row, which come before those of its head, for
/// [`crate::store::rows::actor`].
#[doc(hidden)]
#[macro_export]
macro_rules! sql_actor {
    () => {
        "a.kind, a.key, a.db, a.component, a.wanted, a.restarts"
    };
}
/// The columns of a commit row, for [`crate::store::rows::commit`].
#[doc(hidden)]
#[macro_export]
macro_rules! sql_commit {
    () => {
        "c.db, c.txid, c.generation, c.page_count, c.content, c.chain, c.time_ms"
    };
}
/// After the columns of an actor and its head: whose snapshot is kept, and the tables of all three.
///
/// The snapshot is found by its key and read by its place, so that its columns are those of the
/// row.
macro_rules! snapshot {
    () => {
        ", s.generation, s.db FROM actor a JOIN head h ON h.db = a.db \
         LEFT JOIN snapshot k ON k.db = a.db LEFT JOIN snapshot s ON s.rowid = k.rowid "
    };
}
/// Whether the page row `$p` may be seen.
#[doc(hidden)]
#[macro_export]
macro_rules! sql_visible {
    ($p:literal) => {
        concat!(
            "(length(",
            $p,
            ".stage) = 0 OR EXISTS (SELECT 1 FROM \"commit\" s WHERE s.db = ",
            $p,
            ".db AND s.txid = ",
            $p,
            ".txid AND s.stage = ",
            $p,
            ".stage))"
        )
    };
}

pub(crate) mod check;
pub(crate) mod due;
pub(crate) mod import;
pub(crate) mod retention;

// --- ownership -----------------------------------------------------------------------------------

pub(crate) const HEAD: &str = concat!("SELECT ", sql_head!(""), " FROM head WHERE db = ?1");

/// (kind, key, db, component)
pub(crate) const ACTOR_INSERT: &str = "INSERT INTO actor (kind, key, db, component, wanted, \
     restarts) VALUES (?1, ?2, ?3, ?4, 0, 0) ON CONFLICT (kind, key) DO NOTHING";

/// (db, token, owner, chain, origin, format, now, name)
pub(crate) const HEAD_INSERT: &str = "INSERT INTO head (db, generation, token, owner, txid, \
     page_count, chain, sealed, origin, floor, format, time_ms, name) \
     VALUES (?1, 1, ?2, ?3, 0, 0, ?4, 0, ?5, 0, ?6, ?7, ?8) ON CONFLICT (db) DO NOTHING";

/// (kind, key)
pub(crate) const ACTOR: &str = concat!(
    "SELECT ",
    sql_actor!(),
    ", ",
    sql_head!("h."),
    snapshot!(),
    "WHERE a.kind = ?1 AND a.key = ?2"
);

/// (db, generation, token; new token, new owner)
pub(crate) const TAKE_OVER: &str = concat!(
    "UPDATE head SET generation = generation + 1, token = ?4, owner = ?5, sealed = 0 \
     WHERE db = ?1 AND generation = ?2 AND token = ?3 RETURNING ",
    sql_head!("")
);

/// (kind, key, db; component, restarts: 0 = to zero, 1 = one more, 2 = as it is, 3 = to one;
/// destroying)
pub(crate) const ACTOR_TAKEN_OVER: &str = "UPDATE actor SET component = ?4, \
     restarts = CASE ?5 WHEN 0 THEN 0 WHEN 1 THEN restarts + 1 WHEN 3 THEN 1 ELSE restarts END, \
     wanted = CASE WHEN ?6 = 1 THEN 1 ELSE wanted END, \
     next_due = CASE WHEN ?6 = 1 THEN NULL ELSE next_due END \
     WHERE kind = ?1 AND key = ?2 AND db = ?3 RETURNING restarts";

/// (db, generation, token, txid)
pub(crate) const SEAL: &str = concat!(
    "UPDATE head SET sealed = 1 \
     WHERE db = ?1 AND generation = ?2 AND token = ?3 AND txid = ?4 AND sealed = 0 RETURNING ",
    sql_head!("")
);

/// Not where stages are left: a takeover reports them, and an heir begins without a takeover.
/// (db, generation, token, txid; the heir's token, `NOBODY`)
pub(crate) const SEAL_FOR_HEIR: &str = concat!(
    "UPDATE head SET generation = generation + 1, token = ?5, owner = ?6 \
     WHERE db = ?1 AND generation = ?2 AND token = ?3 AND txid = ?4 AND sealed = 0 \
     AND NOT EXISTS (SELECT 1 FROM stage s WHERE s.db = ?1) RETURNING ",
    sql_head!("")
);

/// (db, generation, token, owner; `NOBODY`)
pub(crate) const CLAIM: &str = "UPDATE head SET owner = ?4 \
     WHERE db = ?1 AND generation = ?2 AND token = ?3 AND sealed = 0 AND owner = ?5";

pub(crate) const SNAPSHOT: &str = "SELECT s.db, s.generation, s.txid, s.component, s.state \
     FROM snapshot k JOIN snapshot s ON s.rowid = k.rowid WHERE k.db = ?1";
pub(crate) const SNAPSHOT_DROP: &str = "DELETE FROM snapshot WHERE db = ?1 RETURNING db";
/// (db, generation, txid, component, state)
pub(crate) const SNAPSHOT_INSERT: &str = "INSERT INTO snapshot (db, generation, txid, component, \
     state) VALUES (?1, ?2, ?3, ?4, ?5)";

// --- pages and commits ---------------------------------------------------------------------------

/// Columns: fence, base, then the page, then the floor. (db, pgno, as of, generation, token)
///
/// The fence stands in the join: with another owner in the head the row has no page.
pub(crate) const READ_ONE: &str = concat!(
    "SELECT ",
    sql_owner!(),
    ", h.base_db, h.base_txid, ?2, p.txid, p.sum, p.bytes, h.floor \
     FROM head h LEFT JOIN page p ON p.db = h.db AND p.pgno = ?2 \
     AND h.generation = ?4 AND h.token = ?5 AND h.sealed = 0 \
     AND (p.txid, p.stage) = (SELECT v.txid, v.stage FROM page v WHERE v.db = h.db \
     AND v.pgno = ?2 AND v.txid <= ?3 AND ",
    sql_visible!("v"),
    " ORDER BY v.txid DESC, v.stage DESC LIMIT 1) WHERE h.db = ?1"
);

/// The same for the page numbers `?5...`: (db, as of, generation, token, page numbers). A page
/// number of 0 fills up a list and finds nothing.
pub(crate) fn read_many(pages: usize) -> String {
    with_list(
        "want (pgno)",
        "BIGINT",
        5,
        pages,
        concat!(
            "SELECT ",
            sql_owner!(),
            ", h.base_db, h.base_txid, w.pgno, p.txid, p.sum, p.bytes, h.floor \
             FROM head h CROSS JOIN want w LEFT JOIN page p ON p.db = h.db AND p.pgno = w.pgno \
             AND h.generation = ?3 AND h.token = ?4 AND h.sealed = 0 \
             AND (p.txid, p.stage) = (SELECT v.txid, v.stage FROM page v WHERE v.db = h.db \
             AND v.pgno = w.pgno AND v.txid <= ?2 AND ",
            sql_visible!("v"),
            " ORDER BY v.txid DESC, v.stage DESC LIMIT 1) WHERE h.db = ?1"
        ),
    )
}

/// Newest visible version of one page of any database, and where to ask next. (db, pgno, as of)
///
/// For the pages that a fenced read left to the base: what a base answers never changes, so the
/// fence of the statement before it covers these too.
pub(crate) const READ_BASE: &str = concat!(
    "SELECT h.base_db, h.base_txid, p.txid, p.sum, p.bytes, h.floor \
     FROM head h LEFT JOIN page p ON p.db = h.db AND p.pgno = ?2 \
     AND (p.txid, p.stage) = (SELECT v.txid, v.stage FROM page v WHERE v.db = h.db \
     AND v.pgno = ?2 AND v.txid <= ?3 AND ",
    sql_visible!("v"),
    " ORDER BY v.txid DESC, v.stage DESC LIMIT 1) WHERE h.db = ?1"
);

/// (db, generation, token, txid; page count, chain, now; least old page count that leaves no hole;
/// owner)
pub(crate) const COMMIT: &str = "UPDATE head SET txid = txid + 1, page_count = ?5, chain = ?6, \
     owner = ?9, \
     time_ms = CASE WHEN time_ms >= ?7 THEN time_ms + 1 ELSE ?7 END \
     WHERE db = ?1 AND generation = ?2 AND token = ?3 AND txid = ?4 AND sealed = 0 \
     AND page_count >= ?8 RETURNING time_ms, db, txid";

/// (db, txid, generation, page count, content, chain, stage, time)
pub(crate) const COMMIT_INSERT: &str = "INSERT INTO \"commit\" (db, txid, generation, page_count, \
     content, chain, stage, time_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// (db, pgno, txid, stage, sum, bytes)
pub(crate) const PAGE_INSERT: &str =
    "INSERT INTO page (db, pgno, txid, stage, sum, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Locks the head of a generation that holds it and has not moved it.
/// (db, generation, token, txid)
pub(crate) const HOLD_AT: &str = "UPDATE head SET sealed = sealed \
     WHERE db = ?1 AND generation = ?2 AND token = ?3 AND txid = ?4 AND sealed = 0";

/// (db, stage)
pub(crate) const STAGE: &str = "SELECT txid, generation, chunks, pages, run_from, last, db, stage \
     FROM stage WHERE db = ?1 AND stage = ?2";

/// (db, stage, txid, generation, chunks, pages, run_from, last)
pub(crate) const STAGE_PUT: &str = "INSERT INTO stage (db, stage, txid, generation, chunks, pages, \
     run_from, last) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (db, stage) DO UPDATE SET \
     chunks = excluded.chunks, pages = excluded.pages, run_from = excluded.run_from, \
     last = excluded.last";

/// (db, stage)
pub(crate) const STAGE_DELETE: &str = "DELETE FROM stage WHERE db = ?1 AND stage = ?2";

/// A stage that an earlier generation left behind. (db, generation)
pub(crate) const STAGE_LEFT: &str =
    "SELECT stage FROM stage WHERE db = ?1 AND generation < ?2 ORDER BY stage LIMIT 1";

/// Some rows of a stage, never a visible one. (db, stage, most)
pub(crate) const STAGE_ROWS_DELETE: &str = concat!(
    "DELETE FROM page WHERE db = ?1 AND (pgno, txid, stage) IN \
     (SELECT p.pgno, p.txid, p.stage FROM page p WHERE p.db = ?1 AND p.stage = ?2 \
     AND length(p.stage) > 0 AND NOT ",
    sql_visible!("p"),
    " ORDER BY p.pgno LIMIT ?3)"
);

/// Head, then the commit row or nulls. (db, txid)
pub(crate) const VERDICT: &str = concat!(
    "SELECT ",
    sql_head!("h."),
    ", ",
    sql_commit!(),
    " FROM head h LEFT JOIN \"commit\" c ON c.db = h.db AND c.txid = ?2 WHERE h.db = ?1"
);

/// Fences of the databases `?1...`. A null fills up a list and finds nothing.
pub(crate) fn fences(databases: usize) -> String {
    with_list(
        "want (db)",
        "BLOB",
        1,
        databases,
        concat!("SELECT ", sql_owner!(), " FROM want w JOIN head h ON h.db = w.db"),
    )
}

// --- history -------------------------------------------------------------------------------------

// Each carries the floor, so that what is checked is as old as what is read.

/// Page count as of a commit, and the head's txid and floor. (db, as of)
pub(crate) const PAGE_COUNT_AT: &str = "SELECT h.txid, c.page_count, h.floor, \
     c.db, c.txid FROM head h LEFT JOIN \"commit\" c ON c.db = h.db AND c.txid = ?2 WHERE h.db = ?1";

/// As [`read_many`], without a fence: (db, as of, page numbers from `?3`).
pub(crate) fn read_at(pages: usize) -> String {
    with_list(
        "want (pgno)",
        "BIGINT",
        3,
        pages,
        concat!(
            "SELECT h.base_db, h.base_txid, w.pgno, p.txid, p.sum, p.bytes, h.floor \
             FROM head h CROSS JOIN want w LEFT JOIN page p ON p.db = h.db AND p.pgno = w.pgno \
             AND (p.txid, p.stage) = (SELECT v.txid, v.stage FROM page v WHERE v.db = h.db \
             AND v.pgno = w.pgno AND v.txid <= ?2 AND ",
            sql_visible!("v"),
            " ORDER BY v.txid DESC, v.stage DESC LIMIT 1) WHERE h.db = ?1"
        ),
    )
}

/// The floor, then a commit or nulls. (db, after, most)
pub(crate) const COMMITS: &str = concat!(
    "SELECT h.floor, ",
    sql_commit!(),
    " FROM head h LEFT JOIN \"commit\" c ON c.db = h.db AND c.txid > ?2 WHERE h.db = ?1 \
     ORDER BY c.txid LIMIT ?3"
);

/// The floor, then visible rows that one commit wrote, or nulls. (db, txid, after, most)
pub(crate) const COMMIT_PAGES: &str = concat!(
    "SELECT h.floor, p.pgno, p.stage, p.sum, p.bytes FROM head h LEFT JOIN page p \
     ON p.db = h.db AND p.txid = ?2 AND p.pgno > ?3 AND ",
    sql_visible!("p"),
    " WHERE h.db = ?1 ORDER BY p.pgno, p.stage LIMIT ?4"
);

// --- directory -----------------------------------------------------------------------------------

/// (kind, key, most)
pub(crate) const ACTORS: &str = concat!(
    "SELECT ",
    sql_actor!(),
    ", ",
    sql_head!("h."),
    snapshot!(),
    "WHERE (a.kind, a.key) > (?1, ?2) \
     ORDER BY a.kind, a.key LIMIT ?3"
);

/// (kind, key, most)
pub(crate) const ACTORS_OF_KIND: &str = concat!(
    "SELECT ",
    sql_actor!(),
    ", ",
    sql_head!("h."),
    snapshot!(),
    "WHERE a.kind = ?1 AND a.key > ?2 \
     ORDER BY a.key LIMIT ?3"
);

/// How many actors of a kind come after a key, at most so many, their pages, and the last one's
/// key.
/// (kind, after, most)
pub(crate) const COUNT: &str = "SELECT count(*), coalesce(sum(page_count), 0), max(key) FROM \
     (SELECT a.key AS key, h.page_count AS page_count FROM actor a JOIN head h ON h.db = a.db \
     WHERE a.kind = ?1 AND a.key > ?2 ORDER BY a.key LIMIT ?3) counted";

/// Actors that are being destroyed. (most)
pub(crate) const DESTROYING: &str = concat!(
    "SELECT ",
    sql_actor!(),
    ", ",
    sql_head!("h."),
    snapshot!(),
    "WHERE a.wanted = 1 ORDER BY a.kind, a.key LIMIT ?1"
);

/// Locks the head of a generation that holds it. (db, generation, token)
pub(crate) const HOLD: &str = "UPDATE head SET sealed = sealed \
     WHERE db = ?1 AND generation = ?2 AND token = ?3 AND sealed = 0";

/// (kind, key, db)
pub(crate) const ACTOR_WANTED: &str =
    "SELECT wanted FROM actor WHERE kind = ?1 AND key = ?2 AND db = ?3";

/// Deletes some rows of a database, table by table: (db, most). Head and actor are not among them.
pub(crate) const DESTROY_ROWS: [&str; 5] = [
    "DELETE FROM page WHERE db = ?1 AND (pgno, txid, stage) IN \
     (SELECT pgno, txid, stage FROM page WHERE db = ?1 ORDER BY pgno, txid, stage LIMIT ?2)",
    "DELETE FROM \"commit\" WHERE db = ?1 AND txid IN \
     (SELECT txid FROM \"commit\" WHERE db = ?1 ORDER BY txid LIMIT ?2)",
    "DELETE FROM stage WHERE db = ?1 AND stage IN \
     (SELECT stage FROM stage WHERE db = ?1 ORDER BY stage LIMIT ?2)",
    "DELETE FROM snapshot WHERE db IN (SELECT db FROM snapshot WHERE db = ?1 LIMIT ?2)",
    "DELETE FROM pin WHERE db = ?1 AND (txid, name) IN \
     (SELECT txid, name FROM pin WHERE db = ?1 ORDER BY txid, name LIMIT ?2)",
];
pub(crate) const HEAD_DELETE: &str = "DELETE FROM head WHERE db = ?1";
/// (kind, key, db)
pub(crate) const ACTOR_DELETE: &str = "DELETE FROM actor WHERE kind = ?1 AND key = ?2 AND db = ?3";

pub(crate) const ROWS_OF: &str = "SELECT (SELECT count(*) FROM head WHERE db = ?1) \
     + (SELECT count(*) FROM page WHERE db = ?1) + (SELECT count(*) FROM \"commit\" WHERE db = ?1) \
     + (SELECT count(*) FROM stage WHERE db = ?1) \
     + (SELECT count(*) FROM snapshot WHERE db = ?1) + (SELECT count(*) FROM pin WHERE db = ?1) \
     + (SELECT count(*) FROM actor WHERE db = ?1)";

// --- global --------------------------------------------------------------------------------------

pub(crate) const COMPONENT_INSERT: &str =
    "INSERT INTO component (digest, wasm) VALUES (?1, ?2) ON CONFLICT (digest) DO NOTHING";
pub(crate) const COMPONENT: &str = "SELECT wasm FROM component WHERE digest = ?1";
/// (name, component, manifest)
pub(crate) const KIND_PUT: &str = "INSERT INTO kind (name, component, manifest, version) \
     VALUES (?1, ?2, ?3, 1) ON CONFLICT (name) DO UPDATE SET component = excluded.component, \
     manifest = excluded.manifest, version = kind.version + 1 \
     RETURNING name, component, manifest, version";
/// A kind is found by its name and read by its place, so that its columns are those of the row.
pub(crate) const KIND: &str = "SELECT r.name, r.component, r.manifest, r.version \
     FROM kind k JOIN kind r ON r.rowid = k.rowid WHERE k.name = ?1";
/// Each with the name that it was found by. (after, most)
pub(crate) const KINDS: &str = "SELECT r.name, r.component, r.manifest, r.version, k.name \
     FROM kind k JOIN kind r ON r.rowid = k.rowid WHERE k.name > ?1 ORDER BY k.name LIMIT ?2";
pub(crate) const KIND_DELETE: &str = "DELETE FROM kind WHERE name = ?1";
/// (session, address, pid, version, oldest and newest format, peers, draining, awake, awake_max,
/// bytes, bytes_max, cpu)
pub(crate) const NODE_BEAT: &str = "INSERT INTO node (session, address, counter, pid, version, \
     format_min, format_max, peers, draining, awake, awake_max, bytes, bytes_max, cpu) \
     VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
     ON CONFLICT (session) DO UPDATE SET address = excluded.address, counter = node.counter + 1, \
     peers = excluded.peers, draining = excluded.draining, awake = excluded.awake, \
     awake_max = excluded.awake_max, bytes = excluded.bytes, bytes_max = excluded.bytes_max, \
     cpu = excluded.cpu";
pub(crate) const NODES: &str = "SELECT session, address, counter, pid, version, format_min, \
     format_max, peers, draining, awake, awake_max, bytes, bytes_max, cpu FROM node \
     ORDER BY session";

/// [`NODES`] of a store in which some of the [`NODE_COLUMNS`] may be missing: those are null.
pub(crate) fn nodes_with(has: impl Fn(&str) -> bool) -> String {
    let mut sql = String::from("SELECT session, address, counter");
    for (column, _) in NODE_COLUMNS {
        let _ = write!(sql, ", {}", if has(column) { column } else { "NULL" });
    }
    sql.push_str(" FROM node ORDER BY session");
    sql
}

/// Columns that the first programs of this format do not know, and the statements that make them.
/// Those programs insert and select by name, so they continue beside the columns, and can start
/// again.
pub(crate) const NODE_COLUMNS: [(&str, &str); 11] = [
    ("pid", "ALTER TABLE node ADD COLUMN pid BIGINT"),
    ("version", "ALTER TABLE node ADD COLUMN version TEXT"),
    ("format_min", "ALTER TABLE node ADD COLUMN format_min BIGINT"),
    ("format_max", "ALTER TABLE node ADD COLUMN format_max BIGINT"),
    ("peers", "ALTER TABLE node ADD COLUMN peers TEXT"),
    ("draining", "ALTER TABLE node ADD COLUMN draining BIGINT"),
    ("awake", "ALTER TABLE node ADD COLUMN awake BIGINT"),
    ("awake_max", "ALTER TABLE node ADD COLUMN awake_max BIGINT"),
    ("bytes", "ALTER TABLE node ADD COLUMN bytes BIGINT"),
    ("bytes_max", "ALTER TABLE node ADD COLUMN bytes_max BIGINT"),
    ("cpu", "ALTER TABLE node ADD COLUMN cpu BIGINT"),
];
pub(crate) const NODE_GONE: &str = "DELETE FROM node WHERE session = ?1";

/// `WITH name AS (VALUES (?first), ...) select`. The first cell tells the type of its column.
fn with_list(name: &str, kind: &str, first: usize, len: usize, select: &str) -> String {
    let mut sql = format!("WITH {name} AS (VALUES (CAST(?{first} AS {kind}))");
    for n in first + 1..first + len {
        let _ = write!(sql, ", (?{n})");
    }
    sql.push_str(") ");
    sql.push_str(select);
    sql
}
