//! Every statement that is sent to the server, and the schema.
//!
//! The tables are those of the embedded store, and so are the lists of columns and the rules that stand in
//! its `sql_*!` macros. The texts are not: the same question in SQLite's words makes PostgreSQL fetch
//! every version of a page. What CockroachDB and YugabyteDB do not run is kept out by a list of words
//! (`tests`): no locks but rows', no session state, no news by `NOTIFY`.
//!
//! Rules that the text of a statement keeps:
//! - a fenced step carries the fence in the statement that writes, which changes or locks the head
//!   first; what it writes elsewhere is made of the row of the head that was changed;
//! - "absent" is an insert that conflicts;
//! - a read is one statement; none both moves a head and reads pages or a snapshot;
//! - what has moved to another server, or is not there yet (`head.sealed` 3 and 4), is read by nothing
//!   that has no fence, and taken over by none, nor is what is being moved (2);
//! - one statement changes a table once;
//! - what is not there is said by a statement that reads the row of the shard as well; what is made
//!   is made behind a lock of that row (`sql/shards.rs`);
//! - a condition on another table than `head` is never decided by the statement that waits for the
//!   head: under READ COMMITTED that one sees the other table as it was before it waited. Such a
//!   step locks the head first, in a statement of its own (`*_LOCK`, `HOLD*`).

/// Defines statements, and lists them.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*
        /// All of them, by name.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

/// An actor with its head and whose snapshot is kept.
macro_rules! actor {
    () => {
        concat!(
            "SELECT ",
            stockade_depot::sql_actor!(),
            ", ",
            stockade_depot::sql_head!("h."),
            ", s.generation FROM actor a JOIN head h ON h.db = a.db \
             LEFT JOIN snapshot s ON s.db = a.db "
        )
    };
}

pub(crate) mod cluster;
pub(crate) mod directory;
pub(crate) mod due;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod moving;
pub(crate) mod ownership;
pub(crate) mod pages;
pub(crate) mod retention;
pub(crate) mod schema;
pub(crate) mod shards;

#[cfg(test)]
mod tests;
