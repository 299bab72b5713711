//! Statements of due work (D14).

/// Behind the statement that carries the fence. (db, due time or null)
pub(crate) const SET: &str = "UPDATE actor SET next_due = ?2 WHERE db = ?1";

/// Actors that are due, by time and name: one range of `actor_due`, which keeps the name behind the
/// time. (until; time, kind and key to continue after; most)
pub(crate) const DUE: &str = "SELECT kind, key, db, next_due FROM actor \
     WHERE next_due <= ?1 AND (next_due, kind, key) > (?2, ?3, ?4) \
     ORDER BY next_due, kind, key LIMIT ?5";

/// From now on programs that know no due work do not open the database: format 1 becomes 3, and 2
/// becomes 4. Behind the same statement. (db)
pub(crate) const RAISE: &str = "UPDATE head SET format = format + 2 WHERE db = ?1 AND format <= 2";
