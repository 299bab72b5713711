//! Statements of history. Each carries the floor, so that what is checked is as old as what is read.

use stockade_depot::{sql_commit, sql_visible};

statements! {
    /// Page count as of a commit, and the head's txid and floor. (db, as of)
    PAGE_COUNT_AT = "SELECT h.txid, c.page_count, h.floor FROM head h \
        LEFT JOIN \"commit\" c ON c.db = h.db AND c.txid = $2 WHERE h.db = $1 AND h.sealed < 3";

    /// The floor, then a commit or nulls. (db, after, most)
    COMMITS = concat!(
        "SELECT h.floor, ",
        sql_commit!(),
        " FROM head h LEFT JOIN \"commit\" c ON c.db = h.db AND c.txid > $2 WHERE h.db = $1 \
         AND h.sealed < 3 ORDER BY c.txid LIMIT $3"
    );

    /// The floor, then visible rows that one commit wrote, or nulls. (db, txid, after, most)
    COMMIT_PAGES = concat!(
        "SELECT h.floor, p.pgno, p.sum, p.bytes FROM head h LEFT JOIN page p \
         ON p.db = h.db AND p.txid = $2 AND p.pgno > $3 AND ",
        sql_visible!("p"),
        " WHERE h.db = $1 AND h.sealed < 3 ORDER BY p.pgno, p.stage LIMIT $4"
    );
}
