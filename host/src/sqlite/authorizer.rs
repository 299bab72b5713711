//! What SQL may do: lists of what is allowed, so that what a new SQLite version adds is refused.
//!
//! SQLite asks the authorizer while it compiles a statement, and again when a schema change makes
//! it compile one in the middle of a step. Three facts are known only here and noted for the
//! caller: the rule that refused, whether the statement controls transactions, and whether it
//! makes or alters something.
//!
//! - ATTACH is refused, except the `ATTACH ''` that VACUUM runs while it steps.
//! - Tables, indexes, triggers and views whose names begin with `_stockade` belong to the host.
//!   No SQL of guests or operators reads, writes or refers to them; what they are is no secret, so the
//!   schema and pragmas that report it may name them.
//! - Operators read everything else, and write only if they ask to.
//! - Settings of the connection, and the objects that a component began with in the temporary
//!   database, are looked up in the [`Ledger`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::ffi::SQLITE_ATTACH;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};

use super::ledger::{Ledger, Setting};
use super::meter::Meter;
use super::owner::Owner;

/// Tables of the host begin with this prefix, in any case of letters.
pub(super) const RESERVED: &str = "_stockade";

/// Pragmas that only report; a value names the object to report about. Sorted.
const TELLING: [&str; 20] = [
    "collation_list",
    "compile_options",
    "data_version",
    "database_list",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "page_count",
    "pragma_list",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
    "wal_checkpoint_status",
];

/// Pragmas that may be asked for their value, but not set. Sorted.
const ASKED: [&str; 14] = [
    "cache_size",
    "encoding",
    "journal_mode",
    "journal_size_limit",
    "locking_mode",
    "max_page_count",
    "mmap_size",
    "page_size",
    "query_only",
    "schema_version",
    "secure_delete",
    "synchronous",
    "temp_store",
    "trusted_schema",
];

/// Pragmas of the guest's own concern that set something in the connection: a value that a call or
/// an operator sets is restored (`state.rs`). Each has one integer. Sorted.
const SET: [&str; 8] = [
    "analysis_limit",
    AUTO_VACUUM,
    "automatic_index",
    "defer_foreign_keys",
    "foreign_keys",
    "ignore_check_constraints",
    "recursive_triggers",
    "reverse_unordered_selects",
];

/// The one of those whose value is the database's: the connection keeps what the next VACUUM is to
/// make of the database, and does not report that.
pub(super) const AUTO_VACUUM: &str = "auto_vacuum";

/// Pragmas that write into the database, as a row. Sorted.
const STORED: [&str; 2] = ["application_id", "user_version"];

/// Pragmas that do something. Sorted.
const DOING: [&str; 2] = ["incremental_vacuum", "optimize"];

/// Modules of virtual tables that may be created. Sorted.
const MODULES: [&str; 4] = ["fts5", "fts5vocab", "rtree", "rtree_i32"];

/// Functions that SQL may call. Sorted. Left out on purpose: `load_extension`, `fts3_tokenizer`
/// and `sqlite_log` reach beyond the database; `json_patch` and `jsonb_patch` take quadratic time
/// in C code that cannot be interrupted. The names from `sqlite_add_constraint` on are called by
/// ALTER TABLE alone; SQLite refuses them in other places by itself.
const FUNCTIONS: [&str; 161] = [
    "->",
    "->>",
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "avg",
    "bm25",
    "ceil",
    "ceiling",
    "changes",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosh",
    "count",
    "cume_dist",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "format",
    "fts5",
    "fts5_get_locale",
    "fts5_insttoken",
    "fts5_locale",
    "fts5_source_id",
    "glob",
    "group_concat",
    "hex",
    "highlight",
    "if",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_insert",
    "json_array_length",
    "json_error_position",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
    "jsonb",
    "jsonb_array",
    "jsonb_array_insert",
    "jsonb_extract",
    "jsonb_group_array",
    "jsonb_group_object",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_remove",
    "jsonb_replace",
    "jsonb_set",
    "julianday",
    "lag",
    "last_insert_rowid",
    "last_value",
    "lead",
    "length",
    "like",
    "likelihood",
    "likely",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "match",
    "max",
    "median",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "percentile",
    "percentile_cont",
    "percentile_disc",
    "pi",
    "pow",
    "power",
    "printf",
    "quote",
    "radians",
    "random",
    "randomblob",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtreecheck",
    "rtreedepth",
    "rtreenode",
    "rtrim",
    "sign",
    "sin",
    "sinh",
    "snippet",
    "soundex",
    "sqlite_add_constraint",
    "sqlite_compileoption_get",
    "sqlite_compileoption_used",
    "sqlite_drop_column",
    "sqlite_drop_constraint",
    "sqlite_fail",
    "sqlite_find_constraint",
    "sqlite_rename_column",
    "sqlite_rename_quotefix",
    "sqlite_rename_table",
    "sqlite_rename_test",
    "sqlite_source_id",
    "sqlite_version",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "subtype",
    "sum",
    "tan",
    "tanh",
    "time",
    "timediff",
    "total",
    "total_changes",
    "trim",
    "trunc",
    "typeof",
    "unhex",
    "unicode",
    "unistr",
    "unistr_quote",
    "unixepoch",
    "unlikely",
    "upper",
    "zeroblob",
];

/// Questions of the compiler between two looks at the meter.
const QUESTIONS_PER_LOOK: u32 = 128;

/// On whose behalf SQL is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Asker {
    /// The actor's component.
    #[default]
    Guest,
    /// An operator who reads.
    Reader,
    /// An operator who may write.
    Writer,
    /// The host itself: nothing is refused or noted in the ledger.
    Host,
    /// The host, for its own tables: what a guest may do, and those.
    Keeper,
}

/// What was learned while a statement was compiled.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// The first refusal.
    pub(super) denial: Option<String>,
    /// The statement begins, ends or nests transactions.
    pub(super) controls_transactions: bool,
    /// The statement ends a transaction or a savepoint, and keeps its changes.
    pub(super) commits: bool,
    /// The statement makes or alters something by a text of which the authorizer is not shown every
    /// name: the new one of a table, the table that a foreign key refers to.
    pub(super) makes: bool,
    /// The statement sets a pragma whose value must be known before.
    pub(super) unknown: Option<&'static str>,
}

/// Judges SQL, and remembers what it saw. Cloning shares the memory.
#[derive(Clone)]
pub(super) struct Judge(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    ledger: Mutex<Ledger>,
    meter: Meter,
    owner: Owner,
    /// A statement steps: the moment at which VACUUM may attach its own file.
    stepping: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    asker: Asker,
    notes: Notes,
    /// The statement that steps is a VACUUM: it compiles the schema as it is.
    vacuums: bool,
    /// Number of questions so far.
    asked: u32,
}

impl Judge {
    pub(super) fn new(meter: Meter, owner: Owner) -> Self {
        let (state, ledger, stepping) = Default::default();
        Self(Arc::new(Inner { state, ledger, meter, owner, stepping }))
    }

    /// Registers the authorizer with a connection.
    pub(super) fn install(&self, connection: &mut rusqlite::Connection) -> rusqlite::Result<()> {
        let judge = self.clone();
        connection.authorizer(Some(move |context: AuthContext<'_>| judge.judge(&context)))
    }

    /// Must be called before a statement is compiled.
    pub(super) fn prepare(&self, asker: Asker) {
        *self.0.state.lock() = State { asker, ..State::default() };
    }

    /// What was learned since.
    pub(super) fn take_notes(&self) -> Notes {
        std::mem::take(&mut self.0.state.lock().notes)
    }

    /// The notes on the connection's settings.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock()
    }

    /// A statement begins to step.
    #[inline]
    pub(super) fn step_begins(&self) {
        self.0.stepping.store(true, Ordering::Relaxed);
    }

    /// The step is over.
    #[inline]
    pub(super) fn step_ends(&self) {
        self.0.stepping.store(false, Ordering::Relaxed);
    }

    /// Views that use each other make a short text long to compile, where SQLite asks the progress
    /// handler seldom; it asks the authorizer for every column and every SELECT, while it resolves
    /// names. A refusal without a note reads as interrupted.
    ///
    /// Later stages ask nothing: putting the expressions of subqueries into each other, and making
    /// code. Names that are used twice, each in the next, double there (30 of them took 25 s and
    /// gigabytes); the memory bound ends that instead, at 128 MiB, after about a second.
    /// Seen within memory, without a question: 0.1 s after 4,000 SELECTs, 0.4 s for 100 nested
    /// views of 200 columns.
    fn may_go_on(&self) -> bool {
        self.0.meter.take_turn(|| self.0.owner.is_alive());
        !self.0.meter.past_deadline() && self.0.meter.check().is_ok() && self.0.owner.is_alive()
    }

    fn judge(&self, context: &AuthContext<'_>) -> Authorization {
        let stepping = self.0.stepping.load(Ordering::Relaxed);
        let mut state = self.0.state.lock();
        if !stepping {
            state.vacuums = false;
        }
        if state.asker == Asker::Host {
            state.notes.transaction(&context.action);
            return Authorization::Allow;
        }
        state.asked = state.asked.wrapping_add(1);
        if state.asked.is_multiple_of(QUESTIONS_PER_LOOK) && !self.may_go_on() {
            return Authorization::Deny;
        }
        let ruled =
            state.rule(context, stepping).and_then(|()| state.temp(context, &self.0.ledger));
        match ruled.and_then(|()| state.setting(context, &self.0.ledger)) {
            Ok(()) => Authorization::Allow,
            Err(denial) => {
                state.notes.denial.get_or_insert(denial);
                Authorization::Deny
            }
        }
    }
}

impl State {
    /// `Err` names what is refused. All names are guest-controlled.
    fn rule(&mut self, context: &AuthContext<'_>, stepping: bool) -> Result<(), String> {
        if self.vacuums {
            return Ok(());
        }
        let is_keeper = self.asker == Asker::Keeper;
        let not_reserved = |name: &str| if is_keeper { Ok(()) } else { not_reserved(name) };
        self.notes.makes |= makes(&context.action);
        match &context.action {
            AuthAction::Select | AuthAction::Recursive => Ok(()),
            AuthAction::Reindex { .. } | AuthAction::Analyze { .. } => Ok(()),
            AuthAction::Read { table_name, .. } => not_reserved(table_name),
            AuthAction::Insert { table_name }
            | AuthAction::Delete { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::CreateTable { table_name }
            | AuthAction::CreateTempTable { table_name }
            | AuthAction::DropTable { table_name }
            | AuthAction::DropTempTable { table_name }
            | AuthAction::DropVtable { table_name, .. } => not_reserved(table_name),
            AuthAction::AlterTable { table_name, .. } => not_reserved(table_name),
            AuthAction::CreateView { view_name: name }
            | AuthAction::CreateTempView { view_name: name }
            | AuthAction::DropView { view_name: name }
            | AuthAction::DropTempView { view_name: name } => not_reserved(name),
            AuthAction::CreateIndex { index_name: name, table_name }
            | AuthAction::CreateTempIndex { index_name: name, table_name }
            | AuthAction::DropIndex { index_name: name, table_name }
            | AuthAction::DropTempIndex { index_name: name, table_name }
            | AuthAction::CreateTrigger { trigger_name: name, table_name }
            | AuthAction::CreateTempTrigger { trigger_name: name, table_name }
            | AuthAction::DropTrigger { trigger_name: name, table_name }
            | AuthAction::DropTempTrigger { trigger_name: name, table_name } => {
                not_reserved(name).and_then(|()| not_reserved(table_name))
            }
            AuthAction::CreateVtable { table_name, module_name } => {
                listed(&MODULES, module_name, "module").and_then(|()| not_reserved(table_name))
            }
            AuthAction::Function { function_name } => listed(&FUNCTIONS, function_name, "function"),
            AuthAction::Pragma { pragma_name, pragma_value } => {
                self.pragma(pragma_name, pragma_value.is_some(), is_temp(context))
            }
            action if is_transaction_control(action) => {
                self.notes.transaction(action);
                Ok(())
            }
            AuthAction::Attach { filename } if stepping && filename.is_empty() => {
                self.vacuums = true;
                Ok(())
            }
            AuthAction::Attach { .. } => Err("ATTACH".to_owned()),
            AuthAction::Detach { .. } => Err("DETACH".to_owned()),
            // The file's name is an expression that is not a text.
            AuthAction::Unknown { code: SQLITE_ATTACH, .. } => Err("ATTACH".to_owned()),
            AuthAction::Unknown { code, .. } => Err(format!("action {code} of SQLite")),
            // `AuthAction` may grow: an unknown action is not allowed.
            _ => Err("an action that is not known here".to_owned()),
        }
    }

    /// `temp`: the pragma names the temporary database, of which nothing can be set.
    fn pragma(&self, name: &str, has_value: bool, temp: bool) -> Result<(), String> {
        let lower = name.to_ascii_lowercase();
        let is_in = |list: &[&str]| list.binary_search(&lower.as_str()).is_ok();
        let writes = !temp && self.asker != Asker::Reader;
        let allowed = is_in(&TELLING)
            || (is_in(&ASKED) && !has_value)
            || ((is_in(&SET) || is_in(&STORED)) && (!has_value || writes))
            || (is_in(&DOING) && writes);
        if allowed { Ok(()) } else { Err(format!("pragma {}", shown(name))) }
    }

    /// Notes a setting that is allowed, with its present value.
    fn setting(&mut self, context: &AuthContext<'_>, ledger: &Mutex<Ledger>) -> Result<(), String> {
        let AuthAction::Pragma { pragma_name: name, pragma_value: Some(_) } = context.action else {
            return Ok(());
        };
        let Ok(at) = SET.binary_search(&name.to_ascii_lowercase().as_str()) else {
            return Ok(());
        };
        match ledger.lock().set(SET[at]) {
            Setting::Noted => Ok(()),
            Setting::Unknown => {
                self.notes.unknown = Some(SET[at]);
                Err(format!("pragma {} inside of another statement", SET[at]))
            }
        }
    }

    /// The objects that a component began with in the temporary database stay as long as the
    /// generation.
    fn temp(&self, context: &AuthContext<'_>, ledger: &Mutex<Ledger>) -> Result<(), String> {
        match context.action {
            AuthAction::CreateTempTable { table_name } => ledger.lock().make(table_name),
            AuthAction::DropTempTable { table_name: name }
            | AuthAction::DropTempView { view_name: name }
            | AuthAction::DropTempIndex { index_name: name, .. }
            | AuthAction::DropTempTrigger { trigger_name: name, .. } => ledger.lock().undo(name),
            AuthAction::DropVtable { table_name, .. } if is_temp(context) => {
                ledger.lock().undo(table_name)
            }
            AuthAction::AlterTable { database_name, table_name }
                if is_named_temp(database_name) =>
            {
                ledger.lock().undo(table_name)
            }
            _ => Ok(()),
        }
    }
}

impl Notes {
    fn transaction(&mut self, action: &AuthAction<'_>) {
        let (AuthAction::Transaction { operation } | AuthAction::Savepoint { operation, .. }) =
            action
        else {
            return;
        };
        self.controls_transactions = true;
        // SQLite's word COMMIT has no value of its own here.
        self.commits |=
            !matches!(operation, TransactionOperation::Begin | TransactionOperation::Rollback);
    }
}

/// Whether a statement makes or alters an object of the schema.
fn makes(action: &AuthAction<'_>) -> bool {
    matches!(
        action,
        AuthAction::AlterTable { .. }
            | AuthAction::CreateTable { .. }
            | AuthAction::CreateTempTable { .. }
            | AuthAction::CreateView { .. }
            | AuthAction::CreateTempView { .. }
            | AuthAction::CreateTrigger { .. }
            | AuthAction::CreateTempTrigger { .. }
            | AuthAction::CreateVtable { .. }
    )
}

fn is_temp(context: &AuthContext<'_>) -> bool {
    context.database_name.is_some_and(is_named_temp)
}

fn is_named_temp(database: &str) -> bool {
    database.eq_ignore_ascii_case("temp")
}

fn is_transaction_control(action: &AuthAction<'_>) -> bool {
    matches!(action, AuthAction::Transaction { .. } | AuthAction::Savepoint { .. })
}

/// Whether a guest may do this while no statement steps; `Err` names the action.
pub(super) fn guest_may(context: &AuthContext<'_>) -> Result<(), String> {
    State::default().rule(context, false)
}

/// Whether a name belongs to the host.
pub(super) fn is_reserved(name: &str) -> bool {
    name.as_bytes()
        .get(..RESERVED.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED.as_bytes()))
}

/// Whether a text mentions a name of the host: enough to refuse what makes or alters something, where
/// the authorizer is not shown every name.
pub(super) fn mentions_reserved(text: &str) -> bool {
    text.as_bytes()
        .windows(RESERVED.len())
        .any(|window| window.eq_ignore_ascii_case(RESERVED.as_bytes()))
}

fn not_reserved(name: &str) -> Result<(), String> {
    if is_reserved(name) {
        return Err(format!("{} is reserved for the host", shown(name)));
    }
    Ok(())
}

fn listed(list: &[&str], name: &str, what: &str) -> Result<(), String> {
    match list.binary_search(&name.to_ascii_lowercase().as_str()) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{what} {}", shown(name))),
    }
}

/// A guest's name, short enough for an error.
fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

/// Whether a function is on the list.
#[cfg(test)]
pub(super) fn is_listed_function(name: &str) -> bool {
    FUNCTIONS.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        for list in [&TELLING[..], &ASKED, &SET, &STORED, &DOING, &MODULES, &FUNCTIONS] {
            assert!(list.is_sorted(), "{list:?}");
        }
    }

    #[test]
    fn names_of_the_host_are_known_in_any_case() {
        for (name, reserved) in [
            ("_stockade", true),
            ("_STOCKADE_alarm", true),
            ("_stockad", false),
            ("x_stockade", false),
            ("_stockadé", false),
        ] {
            assert_eq!(is_reserved(name), reserved, "{name}");
        }
        assert!(mentions_reserved("ALTER TABLE a RENAME TO \"_Stockade\""));
    }
}
