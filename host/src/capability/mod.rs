//! The capabilities of a guest, one file per WIT interface, and the state behind them.
//!
//! ```text
//!  sqlite   the database: guarded by its own grip, revoked first
//!  alarms, messages   rows of the host in that database, likewise; rows: their errors of SQL
//!  actors   calls of other actors: guarded by the same grip, since each waits for the database
//!  clients  the same, by typed functions of interfaces that a component brings along
//!  context  who am I                     ┐
//!  log      structured lines             ├ guarded by the generation's grip, revoked last
//!  wasi     WASI 0.2, nothing granted    ┘ stdout and stderr are log lines
//!  limiter  linear memory and tables
//! ```
//! Guests own nothing: a handle is a number in the table of this state. Handles are counted, and
//! everything that a guest can make the host keep has a bound.

mod actors;
mod alarms;
mod clients;
mod context;
mod grants;
mod limiter;
mod log;
mod messages;
mod rate;
mod rows;
mod sqlite;
mod wasi;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use stockade_depot::{ActorId, Digest, Generation, Session};
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::bindings::Imports;
use crate::calls::Chain;
use crate::clock::Clock;
use crate::grip::Grip;
use crate::limits::{CALLS_IN_FLIGHT_MAX, CLIENT_HANDLES_MAX, Limits, TrapLimit};
use crate::memory::{GuestMemory, Part};
use crate::messages::Received;
use crate::sqlite::{Connection, Leftovers, Meter, Spares, SqlError};
use actors::Calls;
pub use actors::{Answered, Asking, CallResult, Outgoing, Outside, Way};
pub use clients::link;
pub use context::StartReason;
pub use grants::Grants;
use limiter::Limiter;
pub use log::Fields;
use log::Lines;
pub use rate::Rate;
pub use wasi::exit_code;

/// Handles of WASI (streams, pollables, errors) that a guest may have beside its own.
const WASI_HANDLES_MAX: usize = 1_000;

/// The inputs of a generation's state.
pub struct Birth {
    /// The actor.
    pub actor: ActorId,
    /// The generation.
    pub generation: Generation,
    /// The component.
    pub component: Digest,
    /// The reason of the start.
    pub start_reason: StartReason,
    /// The limits of the kind.
    pub limits: Arc<Limits>,
    /// The open database.
    pub session: Session,
    /// The pool that the database connection comes from.
    pub spares: Arc<Spares>,
    /// The directory of sorts and journals that do not fit in memory.
    pub scratch_dir: PathBuf,
    /// The actor's part of the memory of all guests.
    pub memory: Part,
    /// The rate at which all guests together may log.
    pub log_rate: Arc<Rate>,
    /// Guards `sqlite`.
    pub sql_grip: Grip,
    /// Guards everything else.
    pub grip: Grip,
    /// Budget and bill of the calls.
    pub meter: Meter,
    /// When alarms are due.
    pub clock: Clock,
    /// Whether the component handles alarms.
    pub has_alarm_handler: bool,
    /// Whether the store keeps when they are due.
    pub keeps_due_work: bool,
    /// The way to other actors.
    pub way: Way,
}

/// The state in a generation's wasmtime store.
pub struct State {
    actor: ActorId,
    generation: Generation,
    component: Digest,
    start_reason: StartReason,
    limits: Arc<Limits>,
    sql_grip: Grip,
    grip: Grip,
    meter: Meter,
    sqlite: Option<Connection>,
    calls: Calls,
    /// Handles of clients that the guest has.
    client_handles: usize,
    /// The memory of all guests.
    memory: Arc<GuestMemory>,
    /// Handles of `sqlite` that the guest has.
    handles: u64,
    clock: Clock,
    has_alarm_handler: bool,
    keeps_due_work: bool,
    /// The message that the guest works on.
    received: Option<Received>,
    lines: Arc<Lines>,
    table: ResourceTable,
    wasi: WasiCtx,
    limiter: Limiter,
}

impl State {
    /// Opens the database and links nothing else to the outside.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub fn new(birth: Birth) -> Result<Self, SqlError> {
        let Birth {
            actor,
            generation,
            component,
            start_reason,
            limits,
            session,
            spares,
            scratch_dir,
            memory,
            log_rate,
            sql_grip,
            grip,
            meter,
            clock,
            has_alarm_handler,
            keeps_due_work,
            way,
        } = birth;
        let (of, by) = (sql_grip.clone(), meter.clone());
        let sqlite =
            Connection::open(&spares, session, &scratch_dir, &memory.share, &limits, of, by)?;
        let lines = Arc::new(Lines::new(&actor, generation, &limits, log_rate, grip.clone()));
        let mut table = ResourceTable::new();
        let handles_max = usize::try_from(limits.handles_max).unwrap_or(usize::MAX);
        table.set_max_capacity(
            handles_max.saturating_add(WASI_HANDLES_MAX + CALLS_IN_FLIGHT_MAX + CLIENT_HANDLES_MAX),
        );
        Ok(Self {
            wasi: wasi::nothing_granted(&lines),
            memory: Arc::clone(&memory.all),
            limiter: Limiter::new(&limits, memory),
            calls: Calls::new(way),
            client_handles: 0,
            actor,
            generation,
            component,
            start_reason,
            limits,
            sql_grip,
            grip,
            meter,
            sqlite: Some(sqlite),
            handles: 0,
            clock,
            has_alarm_handler,
            keeps_due_work,
            received: None,
            lines,
            table,
        })
    }

    /// The database; `None` after [`Self::close_sqlite`].
    pub fn sqlite(&mut self) -> Option<&mut Connection> {
        self.sqlite.as_mut()
    }

    /// Frees the database's memory: after `sql_grip` was revoked and released. Handles that the
    /// guest still has answer `revoked`, and dropping them does nothing.
    pub fn close_sqlite(&mut self) {
        if let Some(sqlite) = self.sqlite.take() {
            sqlite.close();
        }
    }

    /// The start hooks of the generation have run: from here on a call leaves nothing in the
    /// connection but rows.
    ///
    /// # Errors
    /// The connection cannot be asked for its own state.
    pub fn serve(&mut self) -> Result<(), SqlError> {
        self.sqlite.as_mut().map_or(Ok(()), Connection::serve)
    }

    /// Begins a call, for which the actors of `chain` wait: its share of log lines is full again. The
    /// caller begins the meter.
    pub fn begin_call(&mut self, chain: Option<&Chain>) {
        self.calls.begin(&self.actor, chain);
        self.lines.begin_call();
        self.limiter.begin_call();
    }

    /// Ends a call, however the guest ended: writes a partial line of output, ends queries in
    /// progress, rolls back a transaction that is still open, and undoes what was set and made in
    /// the connection. Must come before the mark that the reply waits for is taken.
    ///
    /// # Errors
    /// The connection is not as it was before the call: the generation has ended.
    pub fn end_call(&mut self) -> Result<Leftovers, SqlError> {
        self.lines.end_call();
        self.calls.end();
        match &mut self.sqlite {
            Some(sqlite) => sqlite.end_of_call(),
            None => Ok(Leftovers::default()),
        }
    }

    /// Takes what the guest wrote last to stderr in the call that it died in: the lines are not
    /// logged one by one any more. Guest-controlled, at most two lines and a few KiB.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.lines.last_words()
    }

    /// For the store: `store.limiter_async(State::limiter)`.
    pub fn limiter(&mut self) -> &mut dyn wasmtime::ResourceLimiterAsync {
        &mut self.limiter
    }

    /// The growth that the limiter refused in the call in progress, in words: often the cause of a
    /// trap.
    #[must_use]
    pub fn limiter_refusal(&self) -> Option<String> {
        self.limiter.refusal()
    }

    /// Which limit refused a growth in the call in progress.
    #[must_use]
    pub fn refused(&self) -> Option<TrapLimit> {
        self.limiter.refused()
    }

    /// For the store: `store.set_hostcall_fuel(..)`. Bytes that one call of the guest may make the
    /// host copy: a packed argument and a statement, with as much again for typed values, which are
    /// larger in the host than in the guest.
    #[must_use]
    pub fn hostcall_bytes_max(&self) -> usize {
        let Limits { packed_bytes_max, statement_bytes_max, log_line_bytes_max, .. } =
            &*self.limits;
        let bytes = packed_bytes_max
            .saturating_add(*statement_bytes_max)
            .saturating_add(*log_line_bytes_max)
            .saturating_mul(2);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("actor", &self.actor)
            .field("generation", &self.generation)
            .field("handles", &self.handles)
            .finish_non_exhaustive()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Everything that a component may import.
///
/// # Errors
/// Two definitions of one name, which is a mistake of the host.
pub fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Imports::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}
