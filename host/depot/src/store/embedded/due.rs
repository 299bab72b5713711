//! The steps of due work, as they run inside a group's transaction, and the look for it.

use rusqlite::{Connection, params};

use super::read::all;
use super::rows;
use super::write::{execute, refusal};
use crate::error::StoreError;
use crate::fence::Fence;
use crate::id::{DbId, Txid};
use crate::store::sql::{self, due as due_sql};
use crate::store::{Due, DueActor, DueLook};

/// Writes what a commit says of its actor's due time. Behind the condition of the step.
pub(super) fn told(conn: &Connection, db: DbId, due: Due) -> Result<(), StoreError> {
    let Some(next_due) = due.change() else { return Ok(()) };
    execute(conn, due_sql::RAISE, [&db.0[..]])?;
    set(conn, db, next_due)
}

fn set(conn: &Connection, db: DbId, next_due: Option<i64>) -> Result<(), StoreError> {
    match execute(conn, due_sql::SET, params![&db.0[..], next_due])? {
        1 => Ok(()),
        _ => Err(StoreError::Corrupt(format!("database {db} belongs to no actor"))),
    }
}

pub(super) fn settle(
    conn: &Connection,
    fence: &Fence,
    at: Txid,
    due: Option<i64>,
) -> Result<(), StoreError> {
    let generation = rows::to_sql(fence.generation.0)?;
    let hold = params![&fence.db.0[..], generation, &fence.token.0[..], rows::to_sql(at.0)?];
    if execute(conn, sql::HOLD_AT, hold)? == 0 {
        return Err(refusal(conn, fence, at, "a due time"));
    }
    set(conn, fence.db, due)
}

/// The next actors of one shard that are due.
pub(super) fn due(conn: &Connection, look: &DueLook) -> Result<Vec<DueActor>, StoreError> {
    // No kind has an empty name.
    let (at, kind, key) = match &look.after {
        Some((at, actor)) => (*at, actor.kind(), actor.key()),
        None => (i64::MIN, "", ""),
    };
    let most = rows::limit(look.rows_max());
    all(conn, due_sql::DUE, params![look.until, at, kind, key, most], |row| rows::due(row, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::open;

    /// A look reads as many rows as it answers: no other row, and none to be sorted.
    #[test]
    fn a_look_is_one_range_of_the_index() {
        let conn = open::memory(sql::SHARD_SCHEMA).unwrap();
        let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {}", due_sql::DUE)).unwrap();
        let plan = plan.query_map(params![9, 0, "k", "a", 1], |row| row.get::<_, String>(3));
        let plan: Vec<String> = plan.unwrap().map(Result::unwrap).collect();
        let [step] = &plan[..] else { panic!("{plan:?}") };
        let range = "((next_due,kind,key)>(?,?,?) AND next_due<?)";
        assert_eq!(*step, format!("SEARCH actor USING INDEX actor_due {range}"));
    }
}
