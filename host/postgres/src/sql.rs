//! Every statement that is sent to the server, and the schema.
//!
//! The tables are those of the embedded store. The texts are not: the same question in SQLite's words
//! makes PostgreSQL fetch every version of a page. What CockroachDB and YugabyteDB do not run is kept
//! out by a list of words (`tests`): no locks but rows', no session state, no news by `NOTIFY`.
//!
//! Rules that the text of a statement keeps:
//! - a fenced step carries the fence in the statement that writes, which changes or locks the head
//!   first; what it writes elsewhere is made of the row of the head that was changed;
//! - "absent" is an insert that conflicts;
//! - a read is one statement; none both moves a head and reads pages or a snapshot;
//! - one statement changes a table once;
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

/// The columns of a head, in the order that every statement returns them.
macro_rules! head {
    ($t:literal) => {
        concat!(
            $t,
            "db, ",
            $t,
            "generation, ",
            $t,
            "token, ",
            $t,
            "owner, ",
            $t,
            "txid, ",
            $t,
            "page_count, ",
            $t,
            "chain, ",
            $t,
            "sealed, ",
            $t,
            "origin, ",
            $t,
            "floor, ",
            $t,
            "base_db, ",
            $t,
            "base_txid, ",
            $t,
            "name, ",
            $t,
            "format"
        )
    };
}
/// The columns that tell whether a fence holds, and of which database.
macro_rules! fence {
    () => {
        "h.generation, h.token, h.txid, h.sealed, h.db, h.format"
    };
}
/// An actor with its head and whose snapshot is kept.
macro_rules! actor {
    () => {
        concat!(
            "SELECT a.kind, a.key, a.db, a.component, a.wanted, a.restarts, ",
            head!("h."),
            ", s.generation FROM actor a JOIN head h ON h.db = a.db \
             LEFT JOIN snapshot s ON s.db = a.db "
        )
    };
}
/// The columns of a commit row.
macro_rules! commit {
    () => {
        "c.txid, c.generation, c.page_count, c.content, c.chain, c.time_ms"
    };
}
/// Whether the page row `$p` may be seen.
macro_rules! visible {
    ($p:literal) => {
        concat!(
            "(length(",
            $p,
            ".stage) = 0 OR EXISTS (SELECT 1 FROM \"commit\" s WHERE s.db = ",
            $p,
            ".db AND s.txid = ",
            $p,
            ".txid AND s.stage = ",
            $p,
            ".stage))"
        )
    };
}

pub(crate) mod cluster;
pub(crate) mod directory;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod ownership;
pub(crate) mod pages;
pub(crate) mod retention;
pub(crate) mod schema;

#[cfg(test)]
mod tests;
