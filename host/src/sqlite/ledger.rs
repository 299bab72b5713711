//! State of a connection that is not rows: noted while SQL is compiled, so that a call's changes to
//! it can be undone (`state.rs`).
//!
//! ```text
//!  beginning  `restore`, `start`    what is set and made stays as long as the generation
//!  serving    a call, an operator   a setting is noted, with its value before; what is made in
//!                                   the temporary database is found when the call has ended
//! ```
//! The authorizer cannot query a value: it refuses a setting whose value is not known, the value is
//! queried, and the statement is compiled again.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::authorizer::AUTO_VACUUM;

/// The settings whose values are known, and those that were touched.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Whether what the component began with is complete.
    serving: bool,
    /// Values between calls, as far as they were queried.
    values: BTreeMap<&'static str, i64>,
    /// Settings set since the last [`Ledger::take_touched`].
    touched: BTreeSet<&'static str>,
    /// Names of temporary objects that the component began with, in lower case.
    made: HashSet<String>,
}

/// Whether a setting may be set now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// The setting is noted.
    Noted,
    /// The setting's value must be queried first.
    Unknown,
}

impl Ledger {
    /// Notes a setting that is about to be set.
    pub(super) fn set(&mut self, name: &'static str) -> Setting {
        if name == AUTO_VACUUM {
            self.touched.insert(name);
        } else if !self.serving {
            self.values.remove(name);
        } else if self.values.contains_key(name) {
            self.touched.insert(name);
        } else {
            return Setting::Unknown;
        }
        Setting::Noted
    }

    /// Records the value that a setting has between calls.
    pub(super) fn learn(&mut self, name: &'static str, value: i64) {
        self.values.insert(name, value);
    }

    /// Takes the settings that were touched, with their values before; without a value where the
    /// database keeps it.
    pub(super) fn take_touched(&mut self) -> Vec<(&'static str, Option<i64>)> {
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().map(|name| (name, self.values.get(name).copied())).collect()
    }

    /// Completes what the component began with; `made` are its temporary objects.
    pub(super) fn serve(&mut self, made: impl Iterator<Item = String>) {
        self.serving = true;
        self.made = made.map(|name| name.to_ascii_lowercase()).collect();
    }

    pub(super) fn is_serving(&self) -> bool {
        self.serving
    }

    /// Whether a temporary object may be dropped or altered: not one that the component began with.
    pub(super) fn undo(&self, name: &str) -> Result<(), String> {
        if self.made.contains(&name.to_ascii_lowercase()) {
            let name: String = name.chars().take(80).collect();
            return Err(format!("{name} was made in `start` and stays as long as the generation"));
        }
        Ok(())
    }

    /// Whether a table may be made in the temporary database. SQLite makes `sqlite_sequence` for
    /// AUTOINCREMENT and forbids dropping it; where the component began with nothing, the table
    /// goes with all the rest.
    pub(super) fn make(&self, name: &str) -> Result<(), String> {
        if !self.made.is_empty() && name.eq_ignore_ascii_case("sqlite_sequence") {
            return Err("AUTOINCREMENT in a temporary table after `start`".to_owned());
        }
        Ok(())
    }
}
