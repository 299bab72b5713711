//! The statements of the catalog.

/// Tables, full-text index and the triggers that keep it.
pub const SCHEMA: &str = include_str!("schema.sql");

/// Takes in one record: the fields of [`crate::Record`] in their order.
pub const INSERT: &str = "INSERT INTO package
    (name, version, architecture, section, priority, size, installed_size, maintainer, homepage,
     depends, description)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET
        version = excluded.version, architecture = excluded.architecture,
        section = excluded.section, priority = excluded.priority, size = excluded.size,
        installed_size = excluded.installed_size, maintainer = excluded.maintainer,
        homepage = excluded.homepage, depends = excluded.depends,
        description = excluded.description";

/// The best matches for an FTS5 query. A word in the name counts ten times a word in the
/// description. Ordered by `rank` alone: FTS5 sorts, and only returned rows are joined and
/// excerpted.
pub const SEARCH: &str = "SELECT package.name, version, section,
        snippet(search, 1, '[', ']', '...', 16), -rank
    FROM search JOIN package ON package.id = search.rowid
    WHERE search MATCH ? AND rank MATCH 'bm25(10.0, 1.0)' ORDER BY rank LIMIT ?";

/// One package, by name.
pub const SHOW: &str = "SELECT name, version, architecture, section, priority, size,
        installed_size, maintainer, homepage, depends, description
    FROM package WHERE name = ?";

/// The number of packages.
pub const COUNT: &str = "SELECT count(*) FROM package";
