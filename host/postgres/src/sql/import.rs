//! Statements of an import (D11). Each that changes a head carries `origin = 1` (importing) as a
//! condition, so no head of another origin is touched by import code, whatever its caller believes.

use stockade_depot::sql_head;

statements! {
    /// (db, generation, token; new token, new owner; name)
    IMPORT_TAKE_OVER = concat!(
        "UPDATE head SET generation = generation + 1, token = $4, owner = $5, sealed = 0 \
         WHERE db = $1 AND generation = $2 AND token = $3 AND origin = 1 AND name = $6 \
         AND sealed < 2 RETURNING ",
        sql_head!("")
    );

    /// Locks the head of an import. (db, generation, token)
    IMPORT_HOLD = concat!(
        "SELECT ",
        sql_head!("h."),
        " FROM head h WHERE h.db = $1 AND h.generation = $2 AND h.token = $3 AND h.sealed = 0 \
         AND h.origin = 1 FOR UPDATE"
    );

    /// Makes the head that of an empty database. (db, generation, token, chain)
    IMPORT_EMPTY = "UPDATE head SET txid = 0, page_count = 0, chain = $4, floor = 0 \
        WHERE db = $1 AND generation = $2 AND token = $3 AND sealed = 0 AND origin = 1";

    /// The last step: imported, without an owner, and without a half-imported past. (db, generation,
    /// token, txid)
    IMPORT_FINISH = concat!(
        "UPDATE head SET origin = 2, sealed = 1, floor = txid WHERE db = $1 AND generation = $2 \
         AND token = $3 AND txid = $4 AND sealed = 0 AND origin = 1 RETURNING ",
        sql_head!("")
    );
}
