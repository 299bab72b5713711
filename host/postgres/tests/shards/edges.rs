//! The bounds of a move, each on both of its sides.

use stockade_depot::{DbId, Shard};
use stockade_postgres::MoveError;
use stockade_postgres::limits::{MOVE_PASSES_MAX, MOVE_PINS_MAX};

use crate::stage::{Primaries, actor, actor_with, key_in, lives};

/// Of `a` in the beginning.
const SHARD: Shard = Shard(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_moves_with_as_many_pins_as_are_compared() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let owner = actor(&node, SHARD, "a", 3).await;
    let db = owner.fence.db;
    let pins = format!(
        "INSERT INTO pin (db, txid, name) \
         SELECT db, 2, 'pin ' || n FROM head, generate_series(1, {MOVE_PINS_MAX} + 1) AS n"
    );
    assert_eq!(primaries.past(0, &pins).await, u64::from(MOVE_PINS_MAX) + 1);
    let refused = node.moves(SHARD, "b").await.unwrap_err();
    assert_eq!(refused, MoveError::Pins { db, max: MOVE_PINS_MAX });
    let owner = lives(&node, &owner).await;
    assert_eq!(primaries.past(0, "DELETE FROM pin WHERE name = 'pin 1'").await, 1);
    assert_eq!(node.moves(SHARD, "b").await.unwrap().databases, 1);
    let moved = primaries.number(1, "SELECT count(*) FROM pin").await;
    assert_eq!(moved, i64::from(MOVE_PINS_MAX));
    lives(&node, &owner).await;
}

/// A database moves, and by that time another one has come in front of it, `n` times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_passes_over_a_shard_as_often_as_it_may() {
    for (more, is_moved) in [(MOVE_PASSES_MAX - 1, true), (MOVE_PASSES_MAX, false)] {
        let primaries = Primaries::new(2).await;
        let node = primaries.open().await;
        let last = DbId::new(SHARD, [0xff; 15]);
        actor_with(&node, &key_in(SHARD, "a", 0), last).await;
        primaries.client(0).await.batch_execute(&come_in_front(more)).await.unwrap();
        let moved = node.moves(SHARD, "b").await;
        if is_moved {
            assert_eq!(moved.unwrap().databases, u64::from(more) + 1);
        } else {
            let busy = MoveError::Busy { shard: SHARD, db: None, tries: MOVE_PASSES_MAX };
            assert_eq!(moved, Err(busy));
            // The next mover takes what is left.
            assert_eq!(node.moves(SHARD, "b").await.unwrap().databases, 1);
        }
        assert_eq!(node.keeper(SHARD).await, "b");
    }
}

/// Makes a database, with a smaller id than any before it, each time that one is given away: `more` in
/// all.
fn come_in_front(more: u32) -> String {
    let shard = SHARD.0;
    format!(
        "CREATE SEQUENCE made; \
         CREATE FUNCTION come() RETURNS trigger AS $$ DECLARE n BIGINT := nextval('made'); BEGIN \
             IF n <= {more} THEN \
                 INSERT INTO head SELECT (jsonb_populate_record(NEW, jsonb_build_object( \
                     'sealed', 1, \
                     'db', '\\x' || lpad(to_hex({shard}), 2, '0') || lpad(to_hex(10000 - n), 30, '0') \
                 ))).*; \
             END IF; \
             RETURN NULL; \
         END $$ LANGUAGE plpgsql; \
         CREATE TRIGGER come AFTER UPDATE ON head FOR EACH ROW \
             WHEN (NEW.sealed = 3 AND OLD.sealed <> 3) EXECUTE FUNCTION come();"
    )
}
