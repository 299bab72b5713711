//! Statements of a store's check of itself. They read rows where they are kept, so that a damaged
//! index hides none of them. Only for SQLite: `NOT INDEXED`, and numbers of rows.

/// Rows of the directory by their key. (kind, key, most)
pub(crate) const ACTORS_BY_NAME: &str = "SELECT kind, key, db FROM actor NOT INDEXED \
     WHERE (kind, key) > (?1, ?2) ORDER BY kind, key LIMIT ?3";

/// The same from the index that has the databases, which has all three columns: where the rows
/// themselves do not read on. (db, most)
pub(crate) const ACTORS_BY_DB: &str =
    "SELECT kind, key, db FROM actor WHERE db > ?1 ORDER BY db LIMIT ?2";

/// (db, most)
pub(crate) const HEADS_BY_DB: &str = "SELECT db FROM head WHERE db > ?1 ORDER BY db LIMIT ?2";

/// Whose a database is. (db)
pub(crate) const ACTOR_OF: &str = "SELECT kind, key FROM actor WHERE db = ?1";

/// (after, most)
pub(crate) const COMPONENT_ROWS: &str = "SELECT digest, wasm, rowid AS place FROM component NOT INDEXED \
     WHERE rowid > ?1 ORDER BY rowid LIMIT ?2";

/// (after, most)
pub(crate) const KIND_ROWS: &str = "SELECT name, component, manifest, version, rowid AS place \
     FROM kind NOT INDEXED WHERE rowid > ?1 ORDER BY rowid LIMIT ?2";

/// (digest)
pub(crate) const HAS_COMPONENT: &str = "SELECT 1 FROM component WHERE digest = ?1";

pub(crate) const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";

/// What was made in a file: sort, name, statement.
pub(crate) const SCHEMA: &str = "SELECT type, name, sql FROM sqlite_schema \
     WHERE type IN ('table', 'index') AND sql IS NOT NULL ORDER BY name";
