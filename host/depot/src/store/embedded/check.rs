//! The check of the files themselves, part by part: the engine's own, then what each row says.
//!
//! ```text
//! global.db      integrity_check ─ components by digest ─ kinds ─ processes
//! shard-00.db    integrity_check ─ actors: their heads, found by their names ─ heads: their actors
//! shard-01.db    ...
//! ```
//! Invariants:
//! - Each look has a connection of its own, so that no cached page stands in for the disk's.
//! - Rows are read by their numbers: a damaged index hides none of them, and rows that cannot be
//!   read are left out, not the rest of the table.
//! - A look is bounded in rows. `integrity_check` is not; it gives way to a log that must start
//!   over, so the committer waits for it no longer than for any reader.

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use sha2::{Digest as _, Sha256};

use super::file::DataFile;
use super::rows;
use super::{Files, failure, marks, read, write};
use crate::error::StoreError;
use crate::id::{ActorId, DbId, Shard};
use crate::store::sql::{self as store_sql, check as sql};
use crate::store::{CheckAt, Checked, Finding, limits};

type Read<T> = Result<T, StoreError>;

/// What is looked at in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// What SQLite says of the file.
    Engine,
    Components,
    Kinds,
    Nodes,
    Losses,
    Actors,
    Heads,
}

const GLOBAL: [Part; 5] = [Part::Engine, Part::Components, Part::Kinds, Part::Nodes, Part::Losses];
const SHARD: [Part; 3] = [Part::Engine, Part::Actors, Part::Heads];

/// One look at a file.
struct Look<'a> {
    file: &'a DataFile,
    /// Of a shard.
    shard: Option<Shard>,
    /// Shards in all.
    count: u8,
    after: Vec<String>,
    found: Checked,
}

/// Looks at the part `at` and says where to continue.
pub(super) fn check(files: &Files, at: &CheckAt) -> Checked {
    let parts = parts(files);
    let total = limits::len(parts.len());
    let place = usize::try_from(at.part).unwrap_or(usize::MAX);
    let Some((number, part)) = parts.get(place).copied() else {
        return Checked { total, done: total, ..Checked::default() };
    };
    let (file, shard) = files.numbered(number);
    let name = Files::name(shard);
    let mut look = Look {
        file,
        shard,
        count: files.count,
        after: at.after.clone(),
        found: Checked::default(),
    };
    let rest = look.look(part);
    let mut found = look.found;
    let more = rest.unwrap_or_else(|error| {
        found.findings.push(Finding { what: error.to_string(), ..Finding::default() });
        None
    });
    found.what = format!("{name}: {}", part.words());
    for finding in &mut found.findings {
        finding.file = Some(name.clone());
    }
    (found.done, found.total) = (at.part.into(), total);
    found.next = match more {
        Some(after) => Some(CheckAt { part: at.part, after }),
        None if place + 1 < parts.len() => Some(CheckAt { part: at.part + 1, after: Vec::new() }),
        None => None,
    };
    found
}

fn parts(files: &Files) -> Vec<(usize, Part)> {
    let shards = (1..=files.shards.len()).flat_map(|file| SHARD.map(|part| (file, part)));
    GLOBAL.map(|part| (0, part)).into_iter().chain(shards).collect()
}

impl Part {
    fn words(self) -> &'static str {
        match self {
            Self::Engine => "integrity",
            Self::Components => "components",
            Self::Kinds => "kinds",
            Self::Nodes => "processes",
            Self::Losses => "accepted losses",
            Self::Actors => "actors",
            Self::Heads => "heads",
        }
    }
}

impl Look<'_> {
    /// Looks at a part of the file. Returns the row to continue after, unless the part is done.
    fn look(&mut self, part: Part) -> Read<Option<Vec<String>>> {
        let file = self.file;
        if part == Part::Engine {
            return self.engine().map(|()| None);
        }
        file.read_apart(|conn| {
            // One snapshot: what a row names is looked up as of when the row was read.
            let conn = conn.unchecked_transaction()?;
            match part {
                Part::Engine => Ok(None),
                Part::Components => self.components(&conn),
                Part::Kinds => self.kinds(&conn),
                Part::Nodes => self.nodes(&conn),
                Part::Losses => self.losses(&conn),
                Part::Actors => self.actors(&conn),
                Part::Heads => self.heads(&conn),
            }
        })
    }

    fn finding(&mut self, what: impl Into<String>) {
        self.found.findings.push(Finding { what: what.into(), ..Finding::default() });
    }

    fn engine(&mut self) -> Read<()> {
        let whole = integrity(self.file, None)?;
        if whole.is_empty() {
            return Ok(());
        }
        // Which table it is: found by asking for each, not from the text of the finding.
        let mut any = false;
        let tables = self.file.read_apart(|conn| tables(conn)).unwrap_or_default();
        for table in tables {
            for what in integrity(self.file, Some(&table))? {
                any = true;
                let table = Some(table.clone());
                self.found.findings.push(Finding { table, what, ..Finding::default() });
            }
        }
        if !any {
            whole.into_iter().for_each(|what| self.finding(what));
        }
        Ok(())
    }

    fn components(&mut self, conn: &Connection) -> Read<Option<Vec<String>>> {
        // One: it may be large.
        self.scan(conn, sql::COMPONENT_ROWS, 1, "component", |look, row| {
            let (digest, wasm) = (rows::blob(row, 0)?, rows::blob(row, 1)?);
            if Sha256::digest(wasm)[..] != *digest {
                let digest = hex::encode(digest);
                look.finding(format!("the bytes of component {digest} have another digest"));
            }
            Ok(())
        })
    }

    fn kinds(&mut self, conn: &Connection) -> Read<Option<Vec<String>>> {
        self.scan(conn, sql::KIND_ROWS, limits::LIST_ROWS_MAX, "kind", |look, row| {
            let name: String = row.get(0)?;
            let kind = rows::kind_of(row, &name)?;
            let named =
                write::one(conn, store_sql::KIND, [&name], |row| rows::kind_of(row, &name))?;
            if named.as_ref() != Some(&kind) {
                look.finding(format!("kind {:?} is not found by its name", kind.kind));
            }
            let digest = &kind.component.0[..];
            if write::one(conn, sql::HAS_COMPONENT, [digest], |_| Ok(()))?.is_none() {
                let component = kind.component;
                look.finding(format!("component {component} of kind {:?} is missing", kind.kind));
            }
            look.found.kinds.push(kind);
            Ok(())
        })
    }

    fn nodes(&mut self, conn: &Connection) -> Read<Option<Vec<String>>> {
        read::all(conn, store_sql::NODES, [], |row| rows::node(row)).map(|_| None)
    }

    fn losses(&mut self, conn: &Connection) -> Read<Option<Vec<String>>> {
        if !self.file.is_file() {
            return Ok(None);
        }
        for loss in marks::losses(conn)? {
            let what = format!("at {} ms since 1970: {}", loss.time_ms, loss.what);
            let finding = Finding { file: Some(loss.file), what, ..Finding::default() };
            self.found.accepted.push(finding);
        }
        Ok(None)
    }

    /// By their names, which is where the rows are kept; behind a page that does not read, by their
    /// databases. Of those, what the names have led to before is passed over.
    fn actors(&mut self, conn: &Connection) -> Read<Option<Vec<String>>> {
        let most = rows::limit(limits::CHECK_ROWS_MAX);
        let after = self.after.clone();
        match after.as_slice() {
            [kind, key, db] => {
                let (kind, key) = (kind.clone(), key.clone());
                let db = hex::decode(db).unwrap_or_default();
                let (rows, broke) = listed(conn, sql::ACTORS_BY_DB, params![db, most])?;
                let next = rows.last().map(|row| vec![kind.clone(), key.clone(), row.db_text()]);
                let new = rows.into_iter().filter(|row| row.is_after(&kind, &key));
                self.listed(conn, new);
                self.broke("actors by their databases", broke.as_ref());
                Ok(next.filter(|_| broke.is_none()))
            }
            _ => {
                let (kind, key) = match after.as_slice() {
                    [kind, key] => (kind.as_str(), key.as_str()),
                    _ => ("", ""),
                };
                let (rows, broke) = listed(conn, sql::ACTORS_BY_NAME, params![kind, key, most])?;
                let last = rows.last().map(|row| vec![row.kind.clone(), row.key.clone()]);
                let done = rows.is_empty();
                self.listed(conn, rows);
                self.broke("actors by their names", broke.as_ref());
                let last = last.unwrap_or_else(|| vec![kind.to_owned(), key.to_owned()]);
                if broke.is_some() {
                    return Ok(Some([last, vec![String::new()]].concat()));
                }
                Ok((!done).then_some(last))
            }
        }
    }

    fn listed(&mut self, conn: &Connection, rows: impl IntoIterator<Item = Named>) {
        for Named { kind, key, db } in rows {
            match (ActorId::existing(&kind, &key), <[u8; 16]>::try_from(db.as_slice())) {
                (Ok(actor), Ok(db)) => {
                    let db = DbId(db);
                    if let Err(what) = self.actor(conn, &actor, db) {
                        let actor = Some(actor.clone());
                        self.found.findings.push(Finding { actor, what, ..Finding::default() });
                    }
                    self.found.actors.push((actor, db));
                }
                (Err(error), _) => self.finding(format!("actor {kind:?}/{key:?}: {error}")),
                (_, Err(_)) => self.finding(format!("actor {kind}/{key}: its database has no id")),
            }
        }
    }

    fn broke(&mut self, what: &str, error: Option<&StoreError>) {
        if let Some(error) = error {
            self.finding(format!("{what} do not read on: {error}"));
        }
    }

    /// An actor's row is where its name leads, and names a database that has a head.
    fn actor(&self, conn: &Connection, actor: &ActorId, db: DbId) -> Result<(), String> {
        let shard = self.shard.unwrap_or(Shard(0));
        if actor.shard(self.count.into()) != shard {
            return Err("its name belongs to another shard".to_owned());
        }
        if db.shard() != shard {
            return Err(format!("its database {db} belongs to another shard"));
        }
        match read::actor(conn, actor) {
            Ok(Some(state)) if state.row.db == db => Ok(()),
            Ok(Some(state)) => {
                Err(format!("its name leads to database {} where its row has {db}", state.row.db))
            }
            Ok(None) => Err("its name leads to no actor, or its database has no head".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn heads(&mut self, conn: &Connection) -> Read<Option<Vec<String>>> {
        let after = self.after.first().and_then(|db| hex::decode(db).ok()).unwrap_or_default();
        let most = rows::limit(limits::CHECK_ROWS_MAX);
        let heads =
            read::all(conn, sql::HEADS_BY_DB, params![after, most], |row| rows::db(row, 0))?;
        for db in &heads {
            if let Err(error) = write::head(conn, *db) {
                self.finding(format!("head of database {db}: {error}"));
            }
            if write::one(conn, sql::ACTOR_OF, [&db.0[..]], |_| Ok(()))?.is_none() {
                self.finding(format!("database {db} belongs to no actor"));
            }
        }
        Ok(heads.last().map(|db| vec![hex::encode(db.0)]))
    }

    /// Looks at the next rows of a table, at most `max`. A row that says nonsense is a finding;
    /// rows that cannot be read at all are passed over.
    fn scan(
        &mut self,
        conn: &Connection,
        sql: &str,
        max: usize,
        what: &str,
        mut look: impl FnMut(&mut Self, &Row<'_>) -> Read<()>,
    ) -> Read<Option<Vec<String>>> {
        let after = self.after.first().and_then(|row| row.parse().ok()).unwrap_or(i64::MIN);
        let mut statement = conn.prepare(sql)?;
        let mut found = statement.query(params![after, rows::limit(max)])?;
        let (mut last, mut seen) = (after, 0);
        let on = |row: i64| vec![row.to_string()];
        loop {
            match found.next() {
                Ok(Some(row)) => {
                    (last, seen) = (row.get("place")?, seen + 1);
                    if let Err(error) = look(self, row) {
                        self.finding(format!("{what} in row {last}: {error}"));
                    }
                }
                Ok(None) => return Ok((seen >= max).then(|| on(last))),
                Err(error) => {
                    drop(found);
                    let next = next_readable(&mut statement, last)?;
                    let upto = next.map_or("the end".to_owned(), |next| format!("row {next}"));
                    self.finding(format!("{what} rows after {last} up to {upto}: {error}"));
                    return Ok(next.map(on));
                }
            }
        }
    }
}

/// A row of the directory, as it is.
struct Named {
    kind: String,
    key: String,
    db: Vec<u8>,
}

impl Named {
    fn is_after(&self, kind: &str, key: &str) -> bool {
        (self.kind.as_str(), self.key.as_str()) > (kind, key)
    }

    fn db_text(&self) -> String {
        hex::encode(&self.db)
    }
}

/// Rows of the directory, and what they ended with if that was not their end.
fn listed(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Read<(Vec<Named>, Option<StoreError>)> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                found.push(Named { kind: row.get(0)?, key: row.get(1)?, db: row.get(2)? });
            }
            Ok(None) => return Ok((found, None)),
            Err(error) => return Ok((found, Some(error.into()))),
        }
    }
}

/// The row to continue after when the rows behind `after` cannot be read: found in some 120 looks,
/// each of which walks down the table once. `None`: there is none.
fn next_readable(statement: &mut rusqlite::Statement<'_>, after: i64) -> Read<Option<i64>> {
    let mut reads = |from: i64| -> Read<bool> {
        let row = statement.query_row(params![from, 1], |_| Ok(())).optional();
        match row {
            Ok(row) => Ok(row.is_some()),
            Err(error) if failure::code(&error).is_some() => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    let (mut broken, mut step) = (after, 1_i64);
    let mut good = loop {
        let Some(from) = after.checked_add(step) else { return Ok(None) };
        if reads(from)? {
            break from;
        }
        (broken, step) = (from, step.saturating_mul(2));
        if step == i64::MAX {
            return Ok(None);
        }
    };
    while good - broken > 1 {
        let middle = broken + (good - broken) / 2;
        if reads(middle)? {
            good = middle;
        } else {
            broken = middle;
        }
    }
    Ok(Some(good))
}

/// The tables of a file.
fn tables(conn: &Connection) -> Read<Vec<String>> {
    let tables: Vec<String> = read::all(conn, sql::TABLES, [], |row| Ok(row.get(0)?))?;
    Ok(tables.into_iter().filter(|table| !table.starts_with("sqlite_")).collect())
}

/// What SQLite finds wrong in a file, or in one table of it with its indexes; nothing if it is
/// sound.
fn integrity(file: &DataFile, table: Option<&str>) -> Read<Vec<String>> {
    for _ in 0..limits::CHECK_TRIES_MAX {
        let done = file.read_apart(|conn| {
            if let Some(log) = file.log() {
                conn.progress_handler(limits::CHECK_STEPS, Some(move || log.wants_room()))?;
            }
            Ok(lines(conn, table))
        })?;
        match done {
            Ok(lines) => return Ok(lines),
            Err(Gave::Way) => {}
        }
    }
    Ok(vec![format!(
        "not checked: {} times the write-ahead log needed the room; verify when less is written",
        limits::CHECK_TRIES_MAX
    )])
}

/// It was interrupted.
enum Gave {
    Way,
}

fn lines(conn: &Connection, table: Option<&str>) -> Result<Vec<String>, Gave> {
    let most = limits::CHECK_FINDINGS_MAX;
    let pragma = match table {
        Some(table) => format!("PRAGMA integrity_check(\"{table}\")"),
        None => format!("PRAGMA integrity_check({most})"),
    };
    let mut lines: Vec<String> = Vec::new();
    let read = conn.prepare(&pragma).and_then(|mut statement| {
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if lines.len() < most {
                lines.push(row.get(0)?);
            }
        }
        Ok(())
    });
    match read {
        Err(error) if failure::code(&error) == Some(ErrorCode::OperationInterrupted) => {
            return Err(Gave::Way);
        }
        Err(error) => lines.push(error.to_string()),
        Ok(()) => {}
    }
    if lines == ["ok"] {
        lines.clear();
    }
    Ok(lines)
}
