//! Statements of the directory: what exists, and how it goes.

/// Actors of those shards that have not gone, up to the condition.
macro_rules! shard_actors {
    () => {
        concat!(
            "SELECT u.*, v.number, v.state, v.version FROM shard v LEFT JOIN (SELECT ",
            stockade_depot::sql_actor!(),
            ", ",
            stockade_depot::sql_head!("h."),
            ", s.generation, a.shard FROM actor a JOIN shard w ON w.number = a.shard \
             AND w.state <> 2 JOIN head h ON h.db = a.db LEFT JOIN snapshot s ON s.db = a.db WHERE "
        )
    };
}

/// From there on.
macro_rules! shard_actors_end {
    () => {
        " ORDER BY a.kind, a.key LIMIT $3) u ON u.shard = v.number"
    };
}

statements! {
    /// Rows of the shards, each with its actors among the next ones, or nulls; what has moved is among
    /// them. (kind, key, most)
    SHARD_ACTORS = concat!(shard_actors!(), "(a.kind, a.key) > ($1, $2)", shard_actors_end!());

    /// (kind, key, most)
    SHARD_ACTORS_OF_KIND =
        concat!(shard_actors!(), "a.kind = $1 AND a.key > $2", shard_actors_end!());

    /// (kind, key, most)
    ACTORS = concat!(
        actor!(),
        "WHERE (a.kind, a.key) > ($1, $2) ORDER BY a.kind, a.key LIMIT $3"
    );

    /// (kind, key, most)
    ACTORS_OF_KIND = concat!(actor!(), "WHERE a.kind = $1 AND a.key > $2 ORDER BY a.key LIMIT $3");

    /// How many actors of a kind in a shard come after a key, at most so many, their pages, the last
    /// one's key, and the shard's state and version. (kind, shard, after, most)
    COUNT = "SELECT count(*), coalesce(sum(n.page_count), 0)::int8, max(n.key), \
        (SELECT v.state FROM shard v WHERE v.number = $2), \
        (SELECT v.version FROM shard v WHERE v.number = $2) FROM \
        (SELECT a.key AS key, h.page_count AS page_count FROM actor a JOIN head h ON h.db = a.db \
        WHERE a.kind = $1 AND a.shard = $2 AND a.key > $3 ORDER BY a.key LIMIT $4) n";

    /// Actors that are being destroyed. (most)
    DESTROYING = concat!(actor!(), "WHERE a.wanted = 1 AND h.sealed < 3 ORDER BY a.kind, a.key LIMIT $1");

    /// (kind, key, db)
    ACTOR_WANTED = "SELECT a.wanted FROM actor a WHERE a.kind = $1 AND a.key = $2 AND a.db = $3";

    /// Some rows of a database, table by table, behind a lock of its head: (db, most).
    DESTROY_PAGES = "DELETE FROM page WHERE db = $1 AND (pgno, txid, stage) IN \
        (SELECT p.pgno, p.txid, p.stage FROM page p WHERE p.db = $1 \
        ORDER BY p.pgno, p.txid, p.stage LIMIT $2)";
    /// (db, most)
    DESTROY_COMMITS = "DELETE FROM \"commit\" WHERE db = $1 AND txid IN \
        (SELECT c.txid FROM \"commit\" c WHERE c.db = $1 ORDER BY c.txid LIMIT $2)";
    /// (db, most)
    DESTROY_STAGES = "DELETE FROM stage WHERE db = $1 AND stage IN \
        (SELECT g.stage FROM stage g WHERE g.db = $1 ORDER BY g.stage LIMIT $2)";
    /// (db, most)
    DESTROY_SNAPSHOT = "DELETE FROM snapshot WHERE db IN \
        (SELECT s.db FROM snapshot s WHERE s.db = $1 LIMIT $2)";
    /// (db, most)
    DESTROY_PINS = "DELETE FROM pin WHERE db = $1 AND (txid, name) IN \
        (SELECT p.txid, p.name FROM pin p WHERE p.db = $1 ORDER BY p.txid, p.name LIMIT $2)";

    /// (db)
    HEAD_DELETE = "DELETE FROM head WHERE db = $1";
    /// (kind, key, db)
    ACTOR_DELETE = "DELETE FROM actor WHERE kind = $1 AND key = $2 AND db = $3";

    /// How many rows there are of a database, the shard's row, and the head's state or null. (db, shard)
    ROWS_OF = "SELECT (SELECT count(*) FROM head WHERE db = $1) \
        + (SELECT count(*) FROM page WHERE db = $1) \
        + (SELECT count(*) FROM \"commit\" WHERE db = $1) \
        + (SELECT count(*) FROM stage WHERE db = $1) \
        + (SELECT count(*) FROM snapshot WHERE db = $1) + (SELECT count(*) FROM pin WHERE db = $1) \
        + (SELECT count(*) FROM actor WHERE db = $1), v.state, v.version, h.sealed FROM shard v \
        LEFT JOIN head h ON h.db = $1 WHERE v.number = $2";
}

/// Tables of a database beside head and actor, in the order in which its rows go.
pub(crate) const DESTROY_ROWS: [&str; 5] =
    [DESTROY_PAGES, DESTROY_COMMITS, DESTROY_STAGES, DESTROY_SNAPSHOT, DESTROY_PINS];
