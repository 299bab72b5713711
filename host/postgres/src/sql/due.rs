//! Statements of due work (D14).

statements! {
    /// The server's clock, and the next actors that are due in those of the shards that have not gone,
    /// by time and name, or nulls: one range of an index a shard. The state of a head tells what has
    /// moved before its shard. (shards, until; time, kind and key to continue after; most)
    DUE = "SELECT n.now_ms, u.kind, u.key, u.db, u.next_due, u.sealed FROM \
        (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8 AS now_ms) n LEFT JOIN \
        (SELECT d.kind, d.key, d.db, d.next_due, CASE WHEN v.state = 0 THEN 0 ELSE \
        coalesce((SELECT h.sealed FROM head h WHERE h.db = d.db), 3) END AS sealed \
        FROM shard v CROSS JOIN LATERAL (SELECT a.kind, a.key, a.db, a.next_due FROM actor a \
        WHERE a.shard = v.number AND a.next_due <= $2 AND (a.next_due, a.kind, a.key) > ($3, $4, $5) \
        ORDER BY a.next_due, a.kind, a.key LIMIT $6) d \
        WHERE v.number = ANY ($1::int8[]) AND v.state <> 2 \
        ORDER BY d.next_due, d.kind, d.key LIMIT $6) u ON TRUE ORDER BY u.next_due, u.kind, u.key";

    /// Behind [`HOLD_AT`](super::ownership::HOLD_AT). (db, due time or null)
    DUE_SET = "UPDATE actor SET next_due = $2 WHERE db = $1";
}
