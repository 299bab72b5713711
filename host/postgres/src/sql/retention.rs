//! Statements of retention (D10): the floor, what trimming deletes, pins.

use stockade_depot::{sql_bare, sql_superseded};

/// The commit that the floor may rise to: among the next `$4` commits the newest one that is old
/// enough, leaves enough commits, and is not above a pin.
macro_rules! candidate {
    () => {
        "(SELECT max(c.txid) FROM (SELECT o.txid FROM \"commit\" o \
         WHERE o.db = $1 AND o.txid > head.floor ORDER BY o.txid LIMIT $4) c \
         WHERE c.txid <= $2 AND c.txid <= head.txid - $3 \
         AND NOT EXISTS (SELECT 1 FROM pin p WHERE p.db = $1 AND p.txid < c.txid))"
    };
}

statements! {
    /// Head, floor, and the oldest commit row that trimming can still delete. (db)
    HISTORY = concat!(
        "SELECT h.txid, h.floor, (SELECT c.txid FROM \"commit\" c WHERE c.db = h.db AND ",
        sql_bare!(),
        " ORDER BY c.txid LIMIT 1) FROM head h WHERE h.db = $1 AND h.sealed < 3"
    );

    /// The newest commit, and its time. (db)
    NEWEST = "SELECT h.txid, h.time_ms FROM head h WHERE h.db = $1 AND h.sealed < 3";

    /// Behind [`HEAD_LOCK`](super::ownership::HEAD_LOCK): a pin that came while it waited counts.
    /// (db, newest commit that is old enough, commits to keep, commits to look at)
    ///
    /// Only rises; never above the head (whose commits are looked at) or the oldest pin. An import
    /// that has not finished has no history to give up.
    RAISE_FLOOR = concat!(
        "UPDATE head SET floor = ",
        candidate!(),
        " WHERE db = $1 AND origin <> 1 AND floor < ",
        candidate!(),
    );

    /// The last of the next rows after (pgno, txid). (db, pgno, txid, how many less one)
    TRIM_WINDOW = "SELECT p.pgno, p.txid FROM page p WHERE p.db = $1 AND (p.pgno, p.txid) > ($2, $3) \
        ORDER BY p.pgno, p.txid, p.stage LIMIT 1 OFFSET $4";

    /// Superseded rows between two keys: (db; after pgno, txid; to pgno, txid).
    SUPERSEDED = concat!(
        "SELECT p.pgno, p.txid FROM head h JOIN page p ON p.db = h.db WHERE h.db = $1 \
         AND h.sealed < 3 AND (p.pgno, p.txid) > ($2, $3) AND (p.pgno, p.txid) <= ($4, $5) AND ",
        sql_superseded!()
    );

    /// Deletes rows that are superseded still. (dbs, page numbers, txids)
    TRIM_PAGES = concat!(
        "DELETE FROM page WHERE (db, pgno, txid, stage) IN (SELECT p.db, p.pgno, p.txid, p.stage \
         FROM unnest($1::bytea[], $2::int8[], $3::int8[]) AS u (db, pgno, txid) \
         JOIN head h ON h.db = u.db AND h.sealed < 3 \
         JOIN page p ON p.db = u.db AND p.pgno = u.pgno AND p.txid = u.txid WHERE ",
        sql_superseded!(),
        ")"
    );

    /// Commit rows below the floor, oldest first. (db, below, most)
    TRIM_COMMITS = concat!(
        "DELETE FROM \"commit\" WHERE db = $1 AND txid IN \
         (SELECT c.txid FROM \"commit\" c JOIN head h ON h.db = c.db AND h.sealed < 3 WHERE c.db = $1 AND c.txid < $2 \
         AND c.txid < h.floor AND ",
        sql_bare!(),
        " ORDER BY c.txid LIMIT $3)"
    );

    /// Whether a database's actor is being destroyed. (db)
    WANTED = "SELECT a.wanted FROM actor a WHERE a.db = $1";

    /// Behind [`HEAD_LOCK`](super::ownership::HEAD_LOCK). (db, txid, name)
    PIN_INSERT = "INSERT INTO pin (db, txid, name) VALUES ($1, $2, $3) \
        ON CONFLICT (db, txid, name) DO NOTHING";

    /// Behind [`HEAD_LOCK`](super::ownership::HEAD_LOCK). (db, txid, name)
    PIN_DELETE = "DELETE FROM pin WHERE db = $1 AND txid = $2 AND name = $3";

    /// Whether another database needs this one. (db, prefix of the names of forks' pins)
    ///
    /// A fork pins its base before it exists.
    HAS_FORKS = "SELECT 1::int8 FROM head h WHERE h.db = $1 AND (EXISTS \
        (SELECT 1 FROM pin p WHERE p.db = $1 AND substr(p.name, 1, length($2::text)) = $2) \
        OR EXISTS (SELECT 1 FROM head f WHERE f.base_db = $1))";
}
