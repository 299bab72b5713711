//! Undoes what a call changed in the connection: a call leaves nothing but rows.
//!
//! ```text
//!  beginning (`restore`, `start`)  ──>  serve: what is set and made so far stays
//!  a call, an operator's text      ──>  its end: settings to their values before, its temporary
//!                                       objects dropped, counters to zero
//! ```
//! Invariants:
//! - A call that has touched neither settings nor temporary objects runs no statement for this.
//! - Whether there is a temporary database, and whether it has changed, is asked of SQLite and not
//!   remembered, so that no way of making something in it can be forgotten.
//! - If something cannot be undone, the generation ends: it does not continue with what is left.

use std::collections::HashSet;

use stockade_depot::Reason;

use super::authorizer::{AUTO_VACUUM, Asker};
use super::connection::Core;
use super::error::SqlError;
use super::run::Runner;
use super::statement::Compiled;
use stockade_sqlite::Column;

/// The objects that a component began with in the temporary database.
pub(super) struct Made {
    objects: HashSet<Object>,
    /// SQLite's number for the contents, at the last check.
    version: u32,
}

/// An object of the temporary database: its type and name.
type Object = (String, String);

impl Core {
    /// Completes what the component began with: from here on calls leave nothing.
    ///
    /// # Errors
    /// Those of reading the temporary schema.
    pub(super) fn serve(&mut self) -> Result<(), SqlError> {
        if let Some(version) = self.runner.database.temp_version() {
            let objects: HashSet<Object> = self.runner.temp_objects()?.into_iter().collect();
            self.made = (!objects.is_empty()).then_some(Made { objects, version });
        }
        let names = self.made.iter().flat_map(|made| &made.objects).map(|(_, name)| name.clone());
        self.runner.judge.ledger().serve(names);
        Ok(())
    }

    /// Undoes what a call has set and made. The call has ended: no statement steps and no
    /// transaction is open.
    ///
    /// # Errors
    /// `Revoked`: the changes cannot be undone, and the generation ends.
    pub(super) fn take_back(&mut self) -> Result<(), SqlError> {
        if !self.runner.owner.is_alive() {
            return Ok(());
        }
        let meter = self.runner.meter.clone();
        let taken_back =
            meter.with_grace(|| self.take_settings_back().and_then(|()| self.take_temp_back()));
        self.runner.database.count_from_zero();
        taken_back.map_err(|error| {
            let owner = &self.runner.owner;
            tracing::error!(
                fence = ?owner.session().fence(), %error,
                "what a call left in its connection cannot be taken back: the generation ends"
            );
            owner.handle().close(Reason::Storage);
            owner.alive().err().unwrap_or(error)
        })
    }

    fn take_settings_back(&mut self) -> Result<(), SqlError> {
        let touched = self.runner.judge.ledger().take_touched();
        touched.into_iter().try_for_each(|(name, before)| self.runner.restore(name, before))
    }

    fn take_temp_back(&mut self) -> Result<(), SqlError> {
        if !self.runner.judge.ledger().is_serving() {
            return Ok(());
        }
        let Some(version) = self.runner.database.temp_version() else { return Ok(()) };
        match &mut self.made {
            None => self.runner.empty_temp(),
            Some(made) if made.version == version => Ok(()),
            Some(made) => self.runner.drop_all_but(made),
        }
    }
}

impl Runner {
    /// The one integer of a pragma.
    fn pragma_value(&self, name: &'static str) -> Result<i64, SqlError> {
        let mut compiled = self.own(&format!("PRAGMA {name}"))?;
        let row = self.step(&mut compiled)?;
        let Column::Integer(value) = compiled.raw.column(0) else {
            return Err(SqlError::Other(format!("pragma {name} has no value")));
        };
        if row {
            self.finish(&mut compiled)?;
        }
        Ok(value)
    }

    /// Queries the value of a setting before it is set for the first time.
    pub(super) fn learn(&self, name: &'static str) -> Result<(), SqlError> {
        let value = self.pragma_value(name)?;
        self.judge.ledger().learn(name, value);
        Ok(())
    }

    /// Sets a setting to its value before the call, or to the database's.
    fn restore(&self, name: &'static str, before: Option<i64>) -> Result<(), SqlError> {
        debug_assert!(before.is_some() || name == AUTO_VACUUM);
        let value = before.map_or_else(|| self.pragma_value(name), Ok)?;
        self.run_own(&format!("PRAGMA {name} = {value}"))?;
        match self.pragma_value(name)? {
            now if now == value => Ok(()),
            now => Err(SqlError::Other(format!("pragma {name} is {now} and was {value}"))),
        }
    }

    /// Closes the temporary database with its contents. SQLite does so when its storage is set to
    /// another place, in constant time and without a walk over the contents. 0 is "as compiled",
    /// which is a file like 1: nothing is stored elsewhere in between.
    fn empty_temp(&self) -> Result<(), SqlError> {
        self.run_own("PRAGMA temp.temp_store = 0")?;
        self.run_own("PRAGMA temp_store = 1")?;
        match self.database.temp_version() {
            None => Ok(()),
            Some(_) => Err(SqlError::Other("temporary objects are still there".to_owned())),
        }
    }

    /// Drops every temporary object that is not in `made`.
    fn drop_all_but(&self, made: &mut Made) -> Result<(), SqlError> {
        let added = |object: &Object| !made.objects.contains(object);
        for (kind, name) in self.temp_objects()?.into_iter().filter(added) {
            // Objects that fell with another, or belong to a later one, are gone at the end.
            let name = name.replace('"', "\"\"");
            let _ = self.run_own(&format!("DROP {kind} IF EXISTS temp.\"{name}\""));
        }
        let now: HashSet<Object> = self.temp_objects()?.into_iter().collect();
        made.version = self.database.temp_version().unwrap_or_default();
        if now == made.objects {
            return Ok(());
        }
        Err(SqlError::Other("the temporary objects are not those of the start".to_owned()))
    }

    /// The objects of the temporary database, those that others belong to last, virtual tables
    /// before their shadow tables. Names are guest-controlled.
    fn temp_objects(&self) -> Result<Vec<Object>, SqlError> {
        let mut compiled = self.own(
            "SELECT type, name, type = 'table', sql NOT LIKE 'CREATE VIRTUAL%'
             FROM sqlite_temp_schema",
        )?;
        let mut objects = Vec::new();
        while self.step(&mut compiled)? {
            let text = |index| match compiled.raw.column(index) {
                Column::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                _ => String::new(),
            };
            let last = |index| matches!(compiled.raw.column(index), Column::Integer(1));
            objects.push(((last(2), last(3)), (text(0), text(1))));
        }
        objects.sort();
        Ok(objects.into_iter().map(|(_, object)| object).collect())
    }

    /// Runs a statement of the host to its end, compiled for this one use.
    fn run_own(&self, sql: &str) -> Result<(), SqlError> {
        let mut compiled = self.own(sql)?;
        while self.step(&mut compiled)? {}
        Ok(())
    }

    /// Compiles a statement of the host.
    pub(super) fn own(&self, sql: &str) -> Result<Compiled, SqlError> {
        let front = self.compile(sql, Asker::Host, true);
        // Statements of guests are judged as a guest's when they are compiled again.
        self.judge.prepare(Asker::Guest);
        Ok(front?.compiled.expect("BUG: the host's statements are statements"))
    }
}
