//! Statements of retention (D10): the floor, what trimming deletes, pins.
//!
//! None is fenced: each carries its own condition on head and pins in the statement that writes.

/// Whether the commit row `c` may go when it is below the floor: a staged commit's row is what
/// makes its pages visible, so it stays as long as one of them does.
#[doc(hidden)]
#[macro_export]
macro_rules! sql_bare {
    () => {
        "(length(c.stage) = 0 OR NOT EXISTS (SELECT 1 FROM page g WHERE g.db = c.db \
         AND g.stage = c.stage AND length(g.stage) > 0))"
    };
}

/// Head, floor, and the oldest commit row that trimming can still delete. (db)
pub(crate) const HISTORY: &str = concat!(
    "SELECT h.txid, h.floor, (SELECT c.txid FROM \"commit\" c WHERE c.db = h.db AND ",
    sql_bare!(),
    " ORDER BY c.txid LIMIT 1) FROM head h WHERE h.db = ?1"
);

/// The commit that the floor may rise to: among the next `?4` commits the newest one that is old
/// enough, leaves enough commits, and is not above a pin.
macro_rules! candidate {
    () => {
        "(SELECT max(c.txid) FROM (SELECT o.txid FROM \"commit\" o \
         WHERE o.db = ?1 AND o.txid > head.floor ORDER BY o.txid LIMIT ?4) c \
         WHERE c.txid <= ?2 AND c.txid <= head.txid - ?3 \
         AND NOT EXISTS (SELECT 1 FROM pin p WHERE p.db = ?1 AND p.txid < c.txid))"
    };
}

/// The newest commit, and its time. (db)
pub(crate) const NEWEST: &str = "SELECT txid, time_ms FROM head WHERE db = ?1";

/// (db, newest commit that is old enough, commits to keep, commits to look at)
///
/// Only rises; never above the head (whose commits are looked at) or the oldest pin. An import that
/// has not finished has no history to give up.
pub(crate) const RAISE_FLOOR: &str = concat!(
    "UPDATE head SET floor = ",
    candidate!(),
    " WHERE db = ?1 AND origin <> 1 AND floor < ",
    candidate!(),
);

/// The last of the next rows after (pgno, txid). (db, pgno, txid, how many less one)
pub(crate) const TRIM_WINDOW: &str = "SELECT pgno, txid FROM page \
     WHERE db = ?1 AND (pgno, txid) > (?2, ?3) ORDER BY pgno, txid, stage LIMIT 1 OFFSET ?4";

/// Whether no read can reach the row `p` of the head `h` any more.
///
/// Either a *visible* row of the same page supersedes it at or below the floor, or the page lies
/// beyond the page count as of the floor: a state that has it again has a newer row of it (no
/// holes). A staged row of a commit in flight is above the head, so above the floor.
///
/// Safe in the snapshot of any statement: once true, it stays true of the row.
#[doc(hidden)]
#[macro_export]
macro_rules! sql_superseded {
    () => {
        concat!(
            "p.txid <= h.floor AND (p.txid < (SELECT w.txid FROM page w WHERE w.db = p.db \
             AND w.pgno = p.pgno AND w.txid <= h.floor AND ",
            $crate::sql_visible!("w"),
            " ORDER BY w.txid DESC LIMIT 1) \
             OR p.pgno > (SELECT c.page_count FROM \"commit\" c WHERE c.db = p.db \
             AND c.txid = h.floor))"
        )
    };
}

/// Where superseded rows are between two keys: (db; after pgno, txid; to pgno, txid).
pub(crate) const SUPERSEDED: &str = concat!(
    "SELECT p.rowid FROM head h JOIN page p ON p.db = h.db WHERE h.db = ?1 \
     AND (p.pgno, p.txid) > (?2, ?3) AND (p.pgno, p.txid) <= (?4, ?5) AND ",
    sql_superseded!()
);

/// Deletes a row if it is superseded still. (db, where)
///
/// Another row may have come to the place since: it is looked at like any other.
pub(crate) const TRIM_PAGE: &str = concat!(
    "DELETE FROM page WHERE rowid IN (SELECT p.rowid FROM page p JOIN head h ON h.db = p.db \
     WHERE p.rowid = ?2 AND p.db = ?1 AND ",
    sql_superseded!(),
    ")"
);

/// Commit rows below the floor, oldest first. (db, below, most)
pub(crate) const TRIM_COMMITS: &str = concat!(
    "DELETE FROM \"commit\" WHERE db = ?1 AND txid IN \
     (SELECT c.txid FROM \"commit\" c JOIN head h ON h.db = c.db WHERE c.db = ?1 AND c.txid < ?2 \
     AND c.txid < h.floor AND ",
    sql_bare!(),
    " ORDER BY c.txid LIMIT ?3)"
);

/// Locks a head that has the state `?2`, for a pin. (db, txid)
///
/// An actor that is being destroyed takes no pin, nor does an import that may start over.
pub(crate) const PIN_HOLD: &str = "UPDATE head SET sealed = sealed WHERE db = ?1 AND floor <= ?2 \
     AND txid >= ?2 AND origin <> 1 \
     AND NOT EXISTS (SELECT 1 FROM actor a WHERE a.db = ?1 AND a.wanted = 1)";
/// (db, txid, name)
pub(crate) const PIN_INSERT: &str =
    "INSERT INTO pin (db, txid, name) VALUES (?1, ?2, ?3) ON CONFLICT (db, txid, name) DO NOTHING";
/// (db, txid, name)
pub(crate) const PIN_DELETE: &str = "DELETE FROM pin WHERE db = ?1 AND txid = ?2 AND name = ?3";

/// Whether another database needs this one. (db, prefix of the names of forks' pins)
///
/// A fork pins its base before it exists, and in the base's shard; its own head may be in another.
pub(crate) const HAS_FORKS: &str = "SELECT 1 FROM head WHERE db = ?1 AND (EXISTS \
     (SELECT 1 FROM pin p WHERE p.db = ?1 AND substr(p.name, 1, length(?2)) = ?2) \
     OR EXISTS (SELECT 1 FROM head f WHERE f.base_db = ?1))";
