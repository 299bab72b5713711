//! Pragmas that would break what the file layer relies on, or reach beyond this database.
//!
//! SQLite shows us every pragma before it acts. Asking for a value is always allowed, and so is
//! setting the value that is in force; the rest of the list is refused with a sentence. This is the
//! second wall: the host's authorizer decides which pragmas a guest may use at all.

use crate::options::VfsOptions;

/// The settings that a database is opened with and keeps.
pub(crate) struct Settings {
    cache_pages: String,
}

/// A pragma, and the ways to write its value.
type Fixed = (&'static str, &'static [&'static str]);

/// The settings of a connection before it has a database: SQLite reads no database for these.
const BEFORE: [Fixed; 7] = [
    ("page_size", &["4096"]),
    ("locking_mode", &["exclusive"]),
    ("journal_size_limit", &["0"]),
    // 0 is what SQLite is compiled with, which is a file: it differs to the pragma, and that closes
    // the temporary database.
    ("temp_store", &["file", "1", "0"]),
    ("cache_spill", &["on", "1", "true", "yes"]),
    ("mmap_size", &["0"]),
    ("threads", &["0"]),
];

/// The settings of a connection with its database: SQLite reads the schema for these. None writes.
const WITH_DATABASE: [Fixed; 2] = [
    // Not MEMORY: see `main_file.rs`.
    ("journal_mode", &["persist"]),
    ("synchronous", &["normal", "1"]),
];

/// Refused whatever the value: they bound or redirect the whole process, or make no sense here.
const REFUSED: [&str; 10] = [
    "data_store_directory",
    "default_cache_size",
    "hard_heap_limit",
    "lock_proxy_file",
    "soft_heap_limit",
    "temp_store_directory",
    "wal_autocheckpoint",
    "wal_checkpoint",
    "checkpoint_fullfsync",
    "fullfsync",
];

impl Settings {
    pub(crate) fn new(options: &VfsOptions) -> Self {
        Self { cache_pages: options.cache_pages.to_string() }
    }

    /// Statements for a connection without a database.
    pub(crate) fn script_before() -> String {
        script(&BEFORE)
    }

    /// Statements for one that has just got its database.
    pub(crate) fn script(&self) -> String {
        format!("PRAGMA cache_size={};{}", self.cache_pages, script(&WITH_DATABASE))
    }

    /// `Err` with a sentence for the guest if the pragma may not run. `name` and `value` are
    /// guest-controlled.
    pub(crate) fn check(&self, name: &str, value: Option<&str>) -> Result<(), String> {
        let Some(value) = value else { return Ok(()) };
        let same = |pragma: &&str| pragma.eq_ignore_ascii_case(name);
        if REFUSED.iter().any(same) {
            return Err(format!("{}: not allowed here", shown(name)));
        }
        let cache_pages = [self.cache_pages.as_str()];
        let in_force = if name.eq_ignore_ascii_case("cache_size") {
            Some(&cache_pages[..])
        } else {
            let mut fixed = BEFORE.iter().chain(&WITH_DATABASE);
            fixed.find(|(pragma, _)| same(pragma)).map(|(_, values)| *values)
        };
        match in_force {
            Some(values) if !values.iter().any(|v| v.eq_ignore_ascii_case(value.trim())) => {
                Err(format!("{}: fixed to {} here", shown(name), values[0]))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn script(fixed: &[Fixed]) -> String {
    fixed.iter().map(|(name, values)| format!("PRAGMA {name}={};", values[0])).collect()
}

/// A guest's pragma name, in lower case as in the documentation. It matched one of ours.
fn shown(name: &str) -> String {
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn settings() -> Settings {
        Settings::new(&VfsOptions { cache_pages: 8, ..VfsOptions::new("/") })
    }

    #[test]
    fn asking_and_setting_the_value_in_force_are_allowed() {
        for (name, value) in [
            ("journal_mode", None),
            ("JOURNAL_MODE", Some("Persist")),
            ("cache_size", Some("8")),
            ("synchronous", Some("1")),
            ("synchronous", Some("NORMAL")),
            ("wal_checkpoint", None),
            ("user_version", Some("7")),
            ("auto_vacuum", Some("full")),
        ] {
            assert_eq!(settings().check(name, value), Ok(()), "{name} {value:?}");
        }
    }

    #[test]
    fn everything_else_on_the_list_is_refused_with_a_sentence() {
        for (name, value, sentence) in [
            ("journal_mode", "wal", "journal_mode: fixed to persist here"),
            ("Journal_Mode", "OFF", "journal_mode: fixed to persist here"),
            ("cache_size", "9", "cache_size: fixed to 8 here"),
            ("cache_size", "-2000", "cache_size: fixed to 8 here"),
            ("synchronous", "off", "synchronous: fixed to normal here"),
            ("page_size", "8192", "page_size: fixed to 4096 here"),
            ("mmap_size", "1", "mmap_size: fixed to 0 here"),
            ("hard_heap_limit", "1", "hard_heap_limit: not allowed here"),
            ("wal_checkpoint", "full", "wal_checkpoint: not allowed here"),
        ] {
            assert_eq!(settings().check(name, Some(value)), Err(sentence.to_owned()));
        }
    }

    #[test]
    fn the_scripts_pass_their_own_check() {
        let scripts = Settings::script_before() + &settings().script();
        for statement in scripts.split_terminator(';') {
            let (name, value) = statement.strip_prefix("PRAGMA ").unwrap().split_once('=').unwrap();
            assert_eq!(settings().check(name, Some(value)), Ok(()), "{statement}");
        }
    }
}
