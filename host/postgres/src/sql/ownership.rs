//! Statements of ownership: create, takeover, confirm, seal, claim.

use stockade_depot::{sql_head, sql_owner};

statements! {
    /// (db)
    HEAD = concat!("SELECT ", sql_head!("h."), " FROM head h WHERE h.db = $1");

    /// Locks a head for the conditions of the statements after it. (db)
    HEAD_LOCK = concat!("SELECT ", sql_head!("h."), " FROM head h WHERE h.db = $1 FOR UPDATE");

    /// Locks the head of a generation that holds it. (db, generation, token)
    HOLD = "SELECT h.db FROM head h WHERE h.db = $1 AND h.generation = $2 AND h.token = $3 \
        AND h.sealed = 0 FOR UPDATE";

    /// The same of one that has not moved it. (db, generation, token, txid)
    HOLD_AT = "SELECT h.db FROM head h WHERE h.db = $1 AND h.generation = $2 AND h.token = $3 \
        AND h.txid = $4 AND h.sealed = 0 FOR UPDATE";

    /// (kind, key)
    ACTOR = concat!(actor!(), "WHERE a.kind = $1 AND a.key = $2");

    /// No row: the actor exists, or the shard is not here. (kind, key, db, shard, component; token, owner,
    /// chain, origin, format, now, name; the version of the move that led here, or -1)
    ///
    /// The lock is on the shard's row as it is once no move is at it. Where the actor exists nothing is
    /// locked, so that nothing is waited for.
    CREATE = concat!(
        "WITH w AS (SELECT v.number FROM shard v WHERE v.number = $4 \
         AND (v.state < 2 OR v.state = 3 AND v.version = $13) AND NOT EXISTS \
         (SELECT 1 FROM actor b WHERE b.kind = $1 AND b.key = $2) FOR SHARE), \
         a AS (INSERT INTO actor (kind, key, db, shard, component, wanted, restarts) \
         SELECT $1::text, $2::text, $3::bytea, w.number, $5::bytea, 0, 0 FROM w ON CONFLICT (kind, key) DO NOTHING RETURNING db), \
         h AS (INSERT INTO head (db, generation, token, owner, txid, page_count, chain, sealed, \
         origin, floor, format, time_ms, name) SELECT a.db, 1, $6::bytea, $7::bytea, 0, 0, \
         $8::bytea, 0, $9::int8, 0, $10::int8, $11::int8, $12::bytea FROM a RETURNING ",
        sql_head!(""),
        ") SELECT ",
        sql_head!("h."),
        " FROM h"
    );

    /// Raises the generation, and counts the restart in the directory. No row: refused.
    /// (db, generation, token; new token, new owner; name, kind, key; component, restarts: 0 = to
    /// zero, 1 = one more, 2 = as it is, 3 = to one)
    ///
    /// The directory's row comes and goes with its head, so that it may be asked for here.
    TAKE_OVER = concat!(
        "WITH h AS (UPDATE head SET generation = generation + 1, token = $4, owner = $5, sealed = 0 \
         WHERE db = $1 AND generation = $2 AND token = $3 AND name = $6 AND format <= 4 \
         AND sealed < 2 AND EXISTS (SELECT 1 FROM actor w WHERE w.kind = $7 AND w.key = $8 AND w.db = $1) \
         RETURNING ",
        sql_head!(""),
        "), a AS (UPDATE actor SET component = $9, restarts = CASE $10::int8 WHEN 0 THEN 0 \
         WHEN 1 THEN restarts + 1 WHEN 3 THEN 1 ELSE restarts END WHERE kind = $7 AND key = $8 \
         AND db = (SELECT h.db FROM h) RETURNING restarts) SELECT ",
        sql_head!("h."),
        ", a.restarts FROM h CROSS JOIN a"
    );

    /// What the owner of a head gets after its takeover, in a snapshot of its own: the head, the
    /// handed-over state or nulls, stages of earlier generations, whether the directory names the
    /// database. (db, kind, key)
    TAKEN_OVER = concat!(
        "SELECT ",
        sql_head!("h."),
        ", s.generation, s.txid, s.component, s.state, \
         (SELECT count(*) FROM stage g WHERE g.db = h.db AND g.generation < h.generation), \
         (SELECT count(*) FROM actor a WHERE a.kind = $2 AND a.key = $3 AND a.db = h.db) \
         FROM head h LEFT JOIN snapshot s ON s.db = h.db WHERE h.db = $1"
    );

    /// Gives a head back that was taken in order to move it, and is not moved. (db, generation, token)
    MOVE_GIVEN_UP = "UPDATE head SET sealed = 1 WHERE db = $1 AND generation = $2 AND token = $3 \
        AND sealed = 2";

    /// It is woken no more. (kind, key, db)
    ACTOR_CONDEMN = "UPDATE actor SET wanted = 1, next_due = NULL WHERE kind = $1 AND key = $2 AND db = $3";

    /// Fences of databases. (dbs)
    FENCES = concat!("SELECT ", sql_owner!(), " FROM head h WHERE h.db = ANY ($1::bytea[])");

    /// Seals, and drops the snapshot of an earlier seal. (db, generation, token, txid)
    SEAL = concat!(
        "WITH h AS (UPDATE head SET sealed = 1 WHERE db = $1 AND generation = $2 AND token = $3 \
         AND txid = $4 AND sealed = 0 RETURNING ",
        sql_head!(""),
        "), s AS (DELETE FROM snapshot WHERE db = (SELECT h.db FROM h)) SELECT ",
        sql_head!("h."),
        " FROM h"
    );

    /// Seals and hands a state over. (db, generation, token, txid; component, state)
    SEAL_WITH = concat!(
        "WITH h AS (UPDATE head SET sealed = 1 WHERE db = $1 AND generation = $2 AND token = $3 \
         AND txid = $4 AND sealed = 0 RETURNING ",
        sql_head!(""),
        "), s AS (INSERT INTO snapshot (db, generation, txid, component, state) \
         SELECT h.db, h.generation, h.txid, $5::bytea, $6::bytea FROM h ON CONFLICT (db) \
         DO UPDATE SET generation = excluded.generation, txid = excluded.txid, \
         component = excluded.component, state = excluded.state) SELECT ",
        sql_head!("h."),
        " FROM h"
    );

    /// Seals for an heir, and drops the snapshot of an earlier seal. Not where stages are left: a
    /// takeover reports them, and an heir does not ask. Behind [`HOLD_AT`].
    /// (db, generation, token, txid; the heir's token, `NodeSession::NOBODY`)
    SEAL_FOR_HEIR = concat!(
        "WITH h AS (UPDATE head SET generation = generation + 1, token = $5, owner = $6 \
         WHERE db = $1 AND generation = $2 AND token = $3 AND txid = $4 AND sealed = 0 \
         AND NOT EXISTS (SELECT 1 FROM stage g WHERE g.db = $1) RETURNING ",
        sql_head!(""),
        "), s AS (DELETE FROM snapshot WHERE db = (SELECT h.db FROM h)) SELECT ",
        sql_head!("h."),
        " FROM h"
    );

    /// (owner, `NodeSession::NOBODY`; dbs, generations, tokens)
    CLAIM = "WITH k AS (SELECT h.db FROM head h JOIN unnest($3::bytea[], $4::int8[], $5::bytea[]) \
        AS s (db, generation, token) ON s.db = h.db WHERE h.generation = s.generation \
        AND h.token = s.token AND h.sealed = 0 AND h.owner = $2 ORDER BY h.db FOR UPDATE OF h) \
        UPDATE head SET owner = $1 FROM k WHERE head.db = k.db AND head.owner = $2";
}
