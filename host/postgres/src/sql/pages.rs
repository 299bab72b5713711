//! Statements of pages and commits.

use stockade_depot::{sql_commit, sql_head, sql_owner, sql_visible};

/// One commit: what else it sets in the head, and what else is made of the row of the head.
macro_rules! commit {
    ($set:literal, $also:literal) => {
        concat!(
            "WITH h AS (UPDATE head SET txid = txid + 1, page_count = $5, chain = $6, owner = $9, \
             time_ms = CASE WHEN time_ms >= $7 THEN time_ms + 1 ELSE $7 END",
            $set,
            " WHERE db = $1 AND generation = $2 AND token = $3 AND txid = $4 AND sealed = 0 \
             AND page_count >= $8 RETURNING db, generation, txid, page_count, chain, time_ms), \
             c AS (INSERT INTO \"commit\" (db, txid, generation, page_count, content, chain, stage, \
             time_ms) SELECT h.db, h.txid, h.generation, h.page_count, $10::bytea, h.chain, \
             $11::bytea, h.time_ms FROM h), \
             p AS (INSERT INTO page (db, pgno, txid, stage, sum, bytes) \
             SELECT h.db, u.pgno, h.txid, ''::bytea, u.sum, u.bytes FROM h \
             CROSS JOIN unnest($12::int8[], $13::bytea[], $14::bytea[]) AS u (pgno, sum, bytes))",
            $also,
            " SELECT h.time_ms FROM h"
        )
    };
}

/// The same of several databases.
macro_rules! commit_group {
    ($set:literal, $also:literal) => {
        concat!(
            "WITH s AS (SELECT u.db, u.generation, u.token, u.txid, u.page_count, u.chain, \
             u.least, u.owner, u.content FROM unnest($1::bytea[], $2::int8[], $3::bytea[], \
             $4::int8[], $5::int8[], $6::bytea[], $7::int8[], $8::bytea[], $9::bytea[]) \
             AS u (db, generation, token, txid, page_count, chain, least, owner, content)), \
             k AS (SELECT h.db FROM head h JOIN s ON s.db = h.db WHERE h.generation = s.generation \
             AND h.token = s.token AND h.txid = s.txid AND h.sealed = 0 AND h.page_count >= s.least \
             ORDER BY h.db FOR UPDATE OF h), \
             h AS (UPDATE head SET txid = head.txid + 1, page_count = s.page_count, \
             chain = s.chain, owner = s.owner, \
             time_ms = CASE WHEN head.time_ms >= $10 THEN head.time_ms + 1 ELSE $10 END",
            $set,
            " FROM s JOIN k ON k.db = s.db WHERE head.db = s.db AND head.generation = s.generation \
             AND head.token = s.token AND head.txid = s.txid AND head.sealed = 0 \
             AND head.page_count >= s.least RETURNING head.db, head.generation, head.txid, \
             head.page_count, head.chain, head.time_ms, s.content), \
             c AS (INSERT INTO \"commit\" (db, txid, generation, page_count, content, chain, stage, \
             time_ms) SELECT h.db, h.txid, h.generation, h.page_count, h.content, h.chain, \
             ''::bytea, h.time_ms FROM h), \
             p AS (INSERT INTO page (db, pgno, txid, stage, sum, bytes) \
             SELECT h.db, u.pgno, h.txid, ''::bytea, u.sum, u.bytes FROM h \
             JOIN unnest($11::bytea[], $12::int8[], $13::bytea[], $14::bytea[]) \
             AS u (db, pgno, sum, bytes) ON u.db = h.db)",
            $also,
            " SELECT h.db, h.time_ms FROM h"
        )
    };
}

statements! {
    /// Columns: fence, base, then the page, then the floor. (db, pgno, as of, generation, token)
    ///
    /// The fence stands in the join: with another owner in the head the row has no page.
    READ_ONE = concat!(
        "SELECT ",
        sql_owner!(),
        ", h.base_db, h.base_txid, $2::int8, p.txid, p.sum, p.bytes, h.floor \
         FROM head h LEFT JOIN page p ON p.db = h.db AND p.pgno = $2 \
         AND h.generation = $4 AND h.token = $5 AND h.sealed = 0 \
         AND p.txid = (SELECT v.txid FROM page v WHERE v.db = $1 AND v.pgno = $2 \
         AND v.txid <= $3 AND ",
        sql_visible!("v"),
        " ORDER BY v.txid DESC, v.stage DESC LIMIT 1) AND ",
        sql_visible!("p"),
        " WHERE h.db = $1"
    );

    /// The same for several pages. (db, as of, generation, token, page numbers)
    READ_MANY = concat!(
        "SELECT ",
        sql_owner!(),
        ", h.base_db, h.base_txid, w.pgno, p.txid, p.sum, p.bytes, h.floor \
         FROM head h CROSS JOIN unnest($5::int8[]) AS w (pgno) LEFT JOIN LATERAL \
         (SELECT v.txid, v.sum, v.bytes FROM page v WHERE v.db = $1 AND v.pgno = w.pgno \
         AND v.txid <= $2 AND ",
        sql_visible!("v"),
        " ORDER BY v.txid DESC, v.stage DESC LIMIT 1) p \
         ON h.generation = $3 AND h.token = $4 AND h.sealed = 0 WHERE h.db = $1"
    );

    /// The same for the first pages as of the head, for an owner that does not know its txid yet.
    /// (db, generation, token, page numbers)
    READ_FIRST = concat!(
        "SELECT ",
        sql_owner!(),
        ", h.base_db, h.base_txid, w.pgno, p.txid, p.sum, p.bytes, h.floor \
         FROM head h JOIN unnest($4::int8[]) AS w (pgno) ON w.pgno <= h.page_count \
         LEFT JOIN LATERAL (SELECT v.txid, v.sum, v.bytes FROM page v WHERE v.db = $1 \
         AND v.pgno = w.pgno AND v.txid <= h.txid AND ",
        sql_visible!("v"),
        " ORDER BY v.txid DESC, v.stage DESC LIMIT 1) p ON TRUE \
         WHERE h.db = $1 AND h.generation = $2 AND h.token = $3 AND h.sealed = 0"
    );

    /// The same for anyone: what a base, or history, answers never changes. (db, as of, page numbers)
    READ_AT = concat!(
        "SELECT h.base_db, h.base_txid, w.pgno, p.txid, p.sum, p.bytes, h.floor \
         FROM head h CROSS JOIN unnest($3::int8[]) AS w (pgno) LEFT JOIN LATERAL \
         (SELECT v.txid, v.sum, v.bytes FROM page v WHERE v.db = $1 AND v.pgno = w.pgno \
         AND v.txid <= $2 AND ",
        sql_visible!("v"),
        " ORDER BY v.txid DESC, v.stage DESC LIMIT 1) p ON TRUE WHERE h.db = $1 AND h.sealed < 3"
    );

    /// One commit, whole. No row: refused, and nothing is written.
    /// (db, generation, token, txid; page count, chain, now; least old page count that leaves no hole;
    /// owner; content, stage; page numbers, sums, bytes)
    COMMIT = commit!("", "");

    /// The same of a commit that says something of its actor's due time: programs that know no due
    /// work do not open the database from then on (format 1 becomes 3, and 2 becomes 4).
    /// ([`COMMIT`]; due time or null)
    ///
    /// Whatever else writes the directory's row of the actor stands behind a lock of the head, so no
    /// condition on that row is needed, nor would one be decided here.
    COMMIT_DUE = commit!(
        ", format = CASE WHEN format <= 2 THEN format + 2 ELSE format END",
        ", d AS (UPDATE actor SET next_due = $15::int8 FROM h WHERE actor.db = h.db)"
    );

    /// Commits of several databases, each once: those that are not refused, with their times. Heads
    /// are locked in the order of their databases, so that two groups never wait for each other.
    /// (dbs, generations, tokens, txids, page counts, chains, least old page counts, owners, contents;
    /// now; of each page: db, number, sum, bytes)
    COMMIT_GROUP = commit_group!("", "");

    /// The same if some of the commits say something of due times. ([`COMMIT_GROUP`]; of those: db, due
    /// time or null)
    COMMIT_GROUP_DUE = commit_group!(
        ", format = CASE WHEN head.format <= 2 AND s.db = ANY ($15::bytea[]) \
         THEN head.format + 2 ELSE head.format END",
        ", d AS (UPDATE actor SET next_due = u.due FROM h JOIN unnest($15::bytea[], $16::int8[]) \
         AS u (db, due) ON u.db = h.db WHERE actor.db = h.db)"
    );

    /// Rows of a stage. Behind [`HOLD_AT`](super::ownership::HOLD_AT). (db, txid, stage; page numbers,
    /// sums, bytes)
    STAGE_PAGES = "INSERT INTO page (db, pgno, txid, stage, sum, bytes) \
        SELECT $1::bytea, u.pgno, $2::int8, $3::bytea, u.sum, u.bytes \
        FROM unnest($4::int8[], $5::bytea[], $6::bytea[]) AS u (pgno, sum, bytes)";

    /// (db, stage)
    STAGE = "SELECT g.txid, g.generation, g.chunks, g.pages, g.run_from, g.last FROM stage g \
        WHERE g.db = $1 AND g.stage = $2";

    /// (db, stage, txid, generation, chunks, pages, run_from, last)
    STAGE_PUT = "INSERT INTO stage (db, stage, txid, generation, chunks, pages, run_from, last) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (db, stage) DO UPDATE SET \
        chunks = excluded.chunks, pages = excluded.pages, run_from = excluded.run_from, \
        last = excluded.last";

    /// (db, stage)
    STAGE_DELETE = "DELETE FROM stage WHERE db = $1 AND stage = $2";

    /// A stage that an earlier generation left behind. (db, generation)
    STAGE_LEFT = "SELECT g.stage FROM stage g WHERE g.db = $1 AND g.generation < $2 \
        ORDER BY g.stage LIMIT 1";

    /// Some rows of a stage, never a visible one. (db, stage, most)
    STAGE_ROWS_DELETE = concat!(
        "DELETE FROM page WHERE db = $1 AND (pgno, txid, stage) IN \
         (SELECT p.pgno, p.txid, p.stage FROM page p WHERE p.db = $1 AND p.stage = $2 \
         AND length(p.stage) > 0 AND NOT ",
        sql_visible!("p"),
        " ORDER BY p.pgno LIMIT $3)"
    );

    /// Head, then the commit row or nulls. (db, txid)
    VERDICT = concat!(
        "SELECT ",
        sql_head!("h."),
        ", ",
        sql_commit!(),
        " FROM head h LEFT JOIN \"commit\" c ON c.db = h.db AND c.txid = $2 WHERE h.db = $1"
    );
}
