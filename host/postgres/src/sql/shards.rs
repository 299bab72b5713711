//! Statements of shards: where they are, and what is not there.
//!
//! "Absent" counts only as part of one row with the shard's: one snapshot says both.

use stockade_depot::sql_head;

statements! {
    /// All of them. No parameters.
    SHARDS = "SELECT v.number, v.state, v.peer, v.version FROM shard v ORDER BY v.number";

    /// A shard's row, and the state and generation of a head or nulls. (shard, db)
    PLACE = "SELECT v.state, v.peer, v.version, h.sealed, h.generation FROM shard v \
        LEFT JOIN head h ON h.db = $2 WHERE v.number = $1";

    /// An actor with its head and whose snapshot is kept, or nulls, and the shard's row.
    /// (kind, key, shard)
    ACTOR_PLACE = concat!(
        "SELECT ",
        stockade_depot::sql_actor!(),
        ", ",
        sql_head!("h."),
        ", s.generation, v.state, v.peer, v.version FROM shard v \
         LEFT JOIN actor a ON a.kind = $1 AND a.key = $2 LEFT JOIN head h ON h.db = a.db \
         LEFT JOIN snapshot s ON s.db = a.db WHERE v.number = $3"
    );

    /// Makes a copy valid whose original has moved. (db; the original's generation)
    ARRIVE = "UPDATE head SET sealed = 1 WHERE db = $1 AND generation = $2 AND sealed = 4";

    /// A primary of the store, at the root. (name, own id)
    MEMBER_PUT = "INSERT INTO member (name, own) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";

    /// No parameters.
    MEMBERS = "SELECT v.name, v.own FROM member v ORDER BY v.name";
}
