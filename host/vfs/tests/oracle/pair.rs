//! Both databases side by side.

use std::path::PathBuf;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::Value;
use rusqlite::{Batch, Connection, ErrorCode};
use stockade_depot::{DepotLimits, Session};
use stockade_vfs::{Fault, OpenDatabase, VfsOptions};
use tempfile::TempDir;

use crate::rig::Rig;

/// Rows of each statement of a script, up to the first error.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Vec<Value>>,
    pub(crate) error: Option<(i32, String)>,
}

/// A plain SQLite file and ours.
pub(crate) struct Pair {
    pub(crate) rig: Rig,
    pub(crate) session: Session,
    ours: Option<OpenDatabase>,
    plain: Option<Connection>,
    plain_path: PathBuf,
    directory: TempDir,
}

impl Pair {
    pub(crate) fn new(limits: DepotLimits, adjust: impl FnOnce(&mut VfsOptions)) -> Self {
        let rig = Rig::new(limits, adjust);
        let session = rig.create();
        let directory = tempfile::tempdir().unwrap();
        let plain_path = directory.path().join("plain.db");
        let mut pair = Self { rig, session, ours: None, plain: None, plain_path, directory };
        pair.open();
        pair
    }

    pub(crate) fn ours(&self) -> &OpenDatabase {
        self.ours.as_ref().unwrap()
    }

    pub(crate) fn plain(&self) -> &Connection {
        self.plain.as_ref().unwrap()
    }

    fn open(&mut self) {
        self.ours = Some(self.rig.open(self.session.clone()));
        let plain = Connection::open(&self.plain_path).unwrap();
        plain
            .execute_batch(&format!(
                "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=PERSIST;
                 PRAGMA synchronous=OFF; PRAGMA cache_size={}",
                self.rig.options.cache_pages
            ))
            .unwrap();
        self.plain = Some(plain);
    }

    /// Closes both, whatever they are in the middle of, and opens them again: ours as the next
    /// generation, from what is in the store.
    pub(crate) fn reopen(&mut self) {
        self.ours = None;
        self.plain = None;
        self.rig.settle(&self.session);
        let pages = self.rig.pages(&self.session);
        self.session = self.rig.take_over();
        assert!(pages == self.rig.pages(&self.session), "the next generation sees other pages");
        self.open();
    }

    /// Runs a script on both; outcomes must be the same.
    pub(crate) fn run(&self, sql: &str) -> Outcome {
        let ours = run_on(self.ours(), sql);
        let plain = run(self.plain(), sql);
        assert_eq!(ours, plain, "ours and plain differ after: {sql}");
        assert_eq!(self.ours().handle().take_fault(), None, "a fault in: {sql}");
        ours
    }

    /// Runs one statement on both, unless ours meets a fault: then plain skips it, and rolls back
    /// if ours did.
    pub(crate) fn run_faulty(&self, sql: &str) -> Option<Fault> {
        let _stale = self.ours().handle().take_fault();
        let ours = run_on(self.ours(), sql);
        if ours.error.is_none() {
            assert_eq!(ours, run(self.plain(), sql), "ours and plain differ after: {sql}");
            return None;
        }
        let fault = self.ours().handle().take_fault();
        match &fault {
            None => assert_eq!(ours, run(self.plain(), sql), "ours and plain differ after: {sql}"),
            // SQLite rolls back when the RELEASE that commits is refused, and then is in a
            // transaction all the same, an empty one.
            Some(_) if sql.starts_with("RELEASE") => {
                self.plain().execute_batch("ROLLBACK; BEGIN").unwrap();
            }
            Some(_)
                if self.ours().connection().is_autocommit() && !self.plain().is_autocommit() =>
            {
                self.plain().execute_batch("ROLLBACK").unwrap();
            }
            Some(_) => {}
        }
        fault
    }

    /// Compares everything that SQL can see, and both integrity checks.
    pub(crate) fn compare(&self) {
        for sql in [
            "PRAGMA page_count",
            "PRAGMA freelist_count",
            "PRAGMA auto_vacuum",
            "PRAGMA encoding",
            "PRAGMA user_version",
            "PRAGMA schema_version",
            "PRAGMA integrity_check",
            "PRAGMA foreign_key_check",
        ] {
            self.run(sql);
        }
        let ok = run_on(self.ours(), "PRAGMA integrity_check").rows;
        assert_eq!(ok, [[Value::Text("ok".into())]], "integrity");
        self.run("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema");
        let tables = self.run("SELECT name FROM sqlite_schema WHERE type = 'table'").rows;
        for table in tables {
            let Value::Text(name) = &table[0] else { panic!("a name is text") };
            self.run(&format!("SELECT * FROM \"{name}\""));
        }
    }

    /// The pages themselves are the same. True if nothing was rolled back after a spill: what was
    /// on free pages then may differ.
    pub(crate) fn compare_bytes(&self) {
        let file = std::fs::read(&self.plain_path).unwrap();
        let ours: Vec<u8> = self.rig.pages(&self.session).concat();
        assert_eq!(ours.len(), file.len(), "size");
        let differ =
            (ours.chunks(4096).zip(file.chunks(4096))).position(|(ours, plain)| ours != plain);
        assert_eq!(differ.map(|index| index + 1), None, "first page that differs");
    }

    /// A directory that goes with this.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

/// Runs a script on an open database of ours; stops at the first error.
pub(crate) fn run_on(database: &OpenDatabase, sql: &str) -> Outcome {
    database.within(|| run(database.connection(), sql))
}

/// Runs a script; stops at the first error.
pub(crate) fn run(connection: &Connection, sql: &str) -> Outcome {
    let mut rows = Vec::new();
    let error = collect(connection, sql, &mut rows).err();
    let error = error.map(|error| match error {
        rusqlite::Error::SqliteFailure(failure, text) => {
            (failure.extended_code, text.unwrap_or_default())
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => (error.extended_code, msg),
        other => panic!("{other} in {sql}"),
    });
    Outcome { rows, error }
}

fn collect(
    connection: &Connection,
    sql: &str,
    out: &mut Vec<Vec<Value>>,
) -> Result<(), rusqlite::Error> {
    let mut batch = Batch::new(connection, sql);
    while let Some(mut statement) = batch.next()? {
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            out.push((0..columns).map(|column| row.get(column)).collect::<Result<_, _>>()?);
        }
    }
    Ok(())
}

/// The primary code of an outcome's error.
pub(crate) fn code(outcome: &Outcome) -> Option<ErrorCode> {
    outcome.error.as_ref().map(|(code, _)| rusqlite::ffi::Error::new(*code).code)
}
