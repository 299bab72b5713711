//! Statements of a shard's move between two primaries: `source` and `target` say where each is sent.
//!
//! ```text
//! shard.state   0 here   1 leaving to the peer   2 gone to the peer   3 coming from the peer
//! head.sealed   2 held by a mover   3 moved to the peer   4 arriving: a copy that is not valid yet
//! ```
//! Rules beside those of all statements:
//! - what changes a head at the source stands behind a lock of the shard's row that says *leaving*, what
//!   changes one at the target behind one that says *coming*, both with the version of this move
//!   ([`SHARD_SHARE`]);
//! - rows of a copy are written only through its arriving head, by the mover whose token that head has.

use stockade_depot::sql_visible;

/// A head as it is stored, and the page count as of its floor.
macro_rules! stored_head {
    () => {
        "SELECT h.generation, h.token, h.owner, h.txid, h.page_count, h.chain, h.sealed, h.origin, \
         h.floor, h.format, h.base_db, h.base_txid, h.time_ms, h.name, \
         (SELECT c.page_count FROM \"commit\" c WHERE c.db = h.db AND c.txid = h.floor) \
         FROM head h WHERE h.db = $1"
    };
}

statements! {
    /// (shard)
    SHARD_ROW = "SELECT n.state, n.peer, n.version FROM shard n WHERE n.number = $1";
    /// The same row, which stays as it is until the transaction ends. (shard)
    SHARD_SHARE =
        "SELECT n.state, n.peer, n.version FROM shard n WHERE n.number = $1 FOR SHARE";
    /// The same row, alone. (shard)
    SHARD_LOCK =
        "SELECT n.state, n.peer, n.version FROM shard n WHERE n.number = $1 FOR UPDATE";

    /// Source: the move begins. (shard, target, version before)
    SHARD_LEAVE = "UPDATE shard SET state = 1, peer = $2, version = version + 1 \
        WHERE number = $1 AND state = 0 AND version = $3";
    /// Target, behind [`SHARD_LOCK`]: the same. (shard, source, version)
    SHARD_COME = "INSERT INTO shard (number, state, peer, version) VALUES ($1, 3, $2, $3) \
        ON CONFLICT (number) DO UPDATE SET state = 3, peer = excluded.peer, \
        version = excluded.version WHERE shard.state = 2 AND shard.version < excluded.version";
    /// Source, behind [`SHARD_LOCK`]: the move is over. (shard, target, version)
    SHARD_GONE = "UPDATE shard SET state = 2 \
        WHERE number = $1 AND state = 1 AND peer = $2 AND version = $3";
    /// Target, behind [`SHARD_LOCK`]: the same. (shard, source, version)
    SHARD_HERE = "UPDATE shard SET state = 0, peer = NULL \
        WHERE number = $1 AND state = 3 AND peer = $2 AND version = $3";

    /// Source: databases that have not moved, in order. (after, last, most)
    STAYING = "SELECT h.db FROM head h WHERE h.db > $1 AND h.db <= $2 AND h.sealed <> 3 \
        ORDER BY h.db LIMIT $3";
    /// Target: copies that are not valid yet, in order. (after, last, most)
    ARRIVING = "SELECT h.db FROM head h WHERE h.db > $1 AND h.db <= $2 AND h.sealed = 4 \
        ORDER BY h.db LIMIT $3";
    /// Databases, in order. (after, last, most)
    DATABASES = "SELECT h.db FROM head h WHERE h.db > $1 AND h.db <= $2 ORDER BY h.db LIMIT $3";

    /// (db)
    STORED_HEAD = stored_head!();
    /// (db)
    STORED_HEAD_LOCK = concat!(stored_head!(), " FOR UPDATE");

    /// Source, behind [`STORED_HEAD_LOCK`]: from now on it is the mover's. (db, generation, token; the
    /// mover's token)
    TAKE = "UPDATE head SET generation = generation + 1, token = $4, sealed = 2 \
        WHERE db = $1 AND generation = $2 AND token = $3 AND sealed < 3 AND format <= 4";
    /// The state that the last seal handed over stays current: its generation is the mover's. Behind
    /// the same lock, if the head was sealed. (db, generation before)
    SNAPSHOT_RAISE =
        "UPDATE snapshot SET generation = generation + 1 WHERE db = $1 AND generation = $2";
    /// Source: a mover gives it back, without an owner. (db, generation, token)
    LET_GO = "UPDATE head SET sealed = 1 \
        WHERE db = $1 AND generation = $2 AND token = $3 AND sealed = 2";
    /// Source, behind [`STORED_HEAD_LOCK`]: the moment of the move. (db, generation, token, txid, chain,
    /// floor)
    MOVED = "UPDATE head SET sealed = 3 WHERE db = $1 AND generation = $2 AND token = $3 \
        AND sealed = 2 AND txid = $4 AND chain = $5 AND floor = $6";

    /// Source: commit rows after one and up to another. (db, after, up to, most)
    COMMITS_OF = "SELECT c.txid, c.generation, c.page_count, c.content, c.chain, c.stage, c.time_ms \
        FROM \"commit\" c WHERE c.db = $1 AND c.txid > $2 AND c.txid <= $3 ORDER BY c.txid LIMIT $4";
    /// Source: visible pages of these commits. (db; after page and txid; after, up to; most)
    PAGES_OF = concat!(
        "SELECT p.pgno, p.txid, p.stage, p.sum, p.bytes FROM page p \
         WHERE p.db = $1 AND (p.pgno, p.txid) > ($2, $3) AND p.txid > $4 AND p.txid <= $5 AND ",
        sql_visible!("p"),
        " ORDER BY p.pgno, p.txid, p.stage LIMIT $6"
    );
    /// (db, most)
    PINS_OF = "SELECT p.txid, p.name FROM pin p WHERE p.db = $1 ORDER BY p.txid, p.name LIMIT $2";
    /// (db)
    ACTOR_OF = "SELECT a.kind, a.key, a.shard, a.component, a.wanted, a.restarts, a.next_due \
        FROM actor a WHERE a.db = $1";
    /// (db)
    SNAPSHOT_OF = "SELECT s.generation, s.txid, s.component, s.state FROM snapshot s WHERE s.db = $1";
    /// What a copy and its original have in common, whatever was trimmed of either: pages above the
    /// floor, the pages as of the floor, commit rows from the floor on, the chain. (db, floor, page count
    /// as of the floor, txid)
    TALLY = concat!(
        "SELECT a.n, a.pgno, a.txid, o.n, o.pgno, o.txid, k.n, \
         (SELECT c.chain FROM \"commit\" c WHERE c.db = $1 AND c.txid = $4) FROM \
         (SELECT count(*) AS n, coalesce(sum(p.pgno), 0)::int8 AS pgno, \
         coalesce(sum(p.txid), 0)::int8 AS txid FROM page p \
         WHERE p.db = $1 AND p.txid > $2 AND p.txid <= $4 AND ",
        sql_visible!("p"),
        ") a CROSS JOIN (SELECT count(*) AS n, coalesce(sum(v.pgno), 0)::int8 AS pgno, \
         coalesce(sum(v.txid), 0)::int8 AS txid FROM (SELECT p.pgno AS pgno, max(p.txid) AS txid \
         FROM page p WHERE p.db = $1 AND p.txid <= $2 AND p.pgno <= $3 AND ",
        sql_visible!("p"),
        " GROUP BY p.pgno) v) o CROSS JOIN (SELECT count(*) AS n FROM \"commit\" c \
         WHERE c.db = $1 AND c.txid >= $2 AND c.txid <= $4) k"
    );

    /// Target: a mover's claim, the head of a copy. (db; generation, token, owner, txid, page count,
    /// chain, origin, floor, format, base and its txid, time, name)
    CLAIM_COPY = "INSERT INTO head (db, generation, token, owner, txid, page_count, chain, sealed, \
        origin, floor, format, base_db, base_txid, time_ms, name) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, 4, $8, $9, $10, $11, $12, $13, $14) \
        ON CONFLICT (db) DO NOTHING";
    /// Target, behind [`STORED_HEAD_LOCK`]: a mover's claim on a copy that an earlier one has left.
    /// (db, generation, token; the mover's token)
    CLAIM_LEFT = "UPDATE head SET token = $4 \
        WHERE db = $1 AND generation = $2 AND token = $3 AND sealed = 4";
    /// Target: commit rows of a copy. (db, token; txids, generations, page counts, contents, chains,
    /// stages, times)
    COMMITS_PUT = "WITH k AS (SELECT h.db FROM head h WHERE h.db = $1 AND h.token = $2 \
        AND h.sealed = 4 FOR UPDATE) \
        INSERT INTO \"commit\" (db, txid, generation, page_count, content, chain, stage, time_ms) \
        SELECT k.db, u.txid, u.generation, u.page_count, u.content, u.chain, u.stage, u.time_ms \
        FROM k CROSS JOIN unnest($3::int8[], $4::int8[], $5::int8[], $6::bytea[], $7::bytea[], \
        $8::bytea[], $9::int8[]) \
        AS u (txid, generation, page_count, content, chain, stage, time_ms) \
        ON CONFLICT (db, txid) DO UPDATE SET generation = excluded.generation, \
        page_count = excluded.page_count, content = excluded.content, chain = excluded.chain, \
        stage = excluded.stage, time_ms = excluded.time_ms";
    /// Target: pages of a copy. (db, token; page numbers, txids, stages, sums, bytes)
    PAGES_PUT = "WITH k AS (SELECT h.db FROM head h WHERE h.db = $1 AND h.token = $2 \
        AND h.sealed = 4 FOR UPDATE) \
        INSERT INTO page (db, pgno, txid, stage, sum, bytes) \
        SELECT k.db, u.pgno, u.txid, u.stage, u.sum, u.bytes FROM k \
        CROSS JOIN unnest($3::int8[], $4::int8[], $5::bytea[], $6::bytea[], $7::bytea[]) \
        AS u (pgno, txid, stage, sum, bytes) \
        ON CONFLICT (db, pgno, txid, stage) DO UPDATE SET sum = excluded.sum, bytes = excluded.bytes";
    /// Target, behind [`STORED_HEAD_LOCK`]: the head that the copy will have. (db, token; generation,
    /// owner, txid, page count, chain, origin, floor, time, format)
    COPY_HEAD = "UPDATE head SET generation = $3, owner = $4, txid = $5, page_count = $6, \
        chain = $7, origin = $8, floor = $9, time_ms = $10, format = $11 \
        WHERE db = $1 AND token = $2 AND sealed = 4";
    /// Target, behind the same lock. (db)
    PINS_CLEAR = "DELETE FROM pin WHERE db = $1";
    /// (db; txids, names)
    PINS_PUT = "INSERT INTO pin (db, txid, name) SELECT $1::bytea, u.txid, u.name \
        FROM unnest($2::int8[], $3::text[]) AS u (txid, name)";
    /// Target, behind the same lock. (db)
    ACTOR_CLEAR = "DELETE FROM actor WHERE db = $1";
    /// No row: another database has the name. (kind, key, db, shard, component, wanted, restarts, next
    /// due)
    ACTOR_PUT = "INSERT INTO actor (kind, key, db, shard, component, wanted, restarts, next_due) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (kind, key) DO NOTHING";
    /// Target, behind the same lock. (db)
    SNAPSHOT_CLEAR = "DELETE FROM snapshot WHERE db = $1";
    /// (db, generation, txid, component, state)
    SNAPSHOT_PUT = "INSERT INTO snapshot (db, generation, txid, component, state) \
        VALUES ($1, $2, $3, $4, $5)";
    /// Target, behind [`STORED_HEAD_LOCK`], once the source has moved it: the copy is the database.
    /// (db, generation, token)
    ARRIVED = "UPDATE head SET sealed = 1 \
        WHERE db = $1 AND generation = $2 AND token = $3 AND sealed = 4";

    /// Some rows of databases that nothing leads to: (dbs, most).
    CLEAR_PAGES = "DELETE FROM page WHERE (db, pgno, txid, stage) IN \
        (SELECT p.db, p.pgno, p.txid, p.stage FROM page p WHERE p.db = ANY ($1::bytea[]) \
        ORDER BY p.db, p.pgno, p.txid, p.stage LIMIT $2)";
    /// (dbs, most)
    CLEAR_COMMITS = "DELETE FROM \"commit\" WHERE (db, txid) IN \
        (SELECT c.db, c.txid FROM \"commit\" c WHERE c.db = ANY ($1::bytea[]) \
        ORDER BY c.db, c.txid LIMIT $2)";
    /// (dbs, most)
    CLEAR_STAGES = "DELETE FROM stage WHERE (db, stage) IN \
        (SELECT g.db, g.stage FROM stage g WHERE g.db = ANY ($1::bytea[]) \
        ORDER BY g.db, g.stage LIMIT $2)";
    /// (dbs, most)
    CLEAR_PINS = "DELETE FROM pin WHERE (db, txid, name) IN \
        (SELECT p.db, p.txid, p.name FROM pin p WHERE p.db = ANY ($1::bytea[]) \
        ORDER BY p.db, p.txid, p.name LIMIT $2)";
    /// (dbs, most)
    CLEAR_SNAPSHOTS = "DELETE FROM snapshot WHERE db IN \
        (SELECT s.db FROM snapshot s WHERE s.db = ANY ($1::bytea[]) ORDER BY s.db LIMIT $2)";
    /// (dbs)
    CLEAR_ACTORS = "DELETE FROM actor WHERE db = ANY ($1::bytea[])";
    /// (dbs)
    CLEAR_HEADS = "DELETE FROM head WHERE db = ANY ($1::bytea[])";
}

/// Tables of databases beside head and actor, in the order in which rows go.
pub(crate) const CLEAR_ROWS: [&str; 5] =
    [CLEAR_PAGES, CLEAR_COMMITS, CLEAR_STAGES, CLEAR_PINS, CLEAR_SNAPSHOTS];
