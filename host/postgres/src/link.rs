//! Statements and transactions with deadlines, retries, and what is known of their outcome.
//!
//! ```text
//! read           a lost connection: once more on another; then unavailable. Reads share a connection
//!                while all are in use
//! write          one statement, by itself: lost, late or warned of: unknown
//! transaction    before COMMIT is sent: surely not applied; after it: as a write
//! look           what was read and is answered from: see `echo`
//! 40001, 40P01   tried again, in each of them
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::{StoreError, StoreFull};
use tokio::time::sleep;

use crate::connection::{Connection, Params};
use crate::echo::{Asked, Wrote, change_on, look_on, prove_on, write_or_look_on};
use crate::exchange::{answer, unless_warned, write_on};
use crate::failure::{Failure, Sent, Stop};
use crate::limits;
use crate::pool::{Connections, Lent};
use crate::rows::Row;

/// Runs `$work`, which returns `Result<_, Stop>`, on one connection, as often as its failures allow.
macro_rules! on_one {
    ($link:expr, $connection:ident => $work:expr) => {{
        let mut tries = crate::link::Tries::default();
        loop {
            let lent = $link.lend().await?;
            let $connection = lent.get().ok_or(stockade_depot::StoreError::Closed)?;
            let answer = $work.await;
            lent.settle(&answer);
            match answer {
                Ok(value) => break Ok::<_, stockade_depot::StoreError>(value),
                Err(stop) => tries.again(&$link, stop).await?,
            }
        }
    }};
}
pub(crate) use on_one;

/// Runs `$work`, which returns `Result<_, Stop>`, in a transaction `$tx`, as often as it is rolled back
/// because of another.
macro_rules! in_transaction {
    ($link:expr, $tx:ident => $work:expr) => {{
        let mut tries = crate::link::Tries::default();
        loop {
            let $tx = $link.begin().await?;
            let done = $work.await;
            match $tx.end(done).await {
                Ok(value) => break Ok::<_, stockade_depot::StoreError>(value),
                Err(stop) => tries.again(&$link, stop).await?,
            }
        }
    }};
}
pub(crate) use in_transaction;

/// The way to the server.
pub(crate) struct Link {
    connections: Connections,
    /// Hosts, ports and database.
    server: String,
    full: Mutex<Option<StoreFull>>,
    is_full: AtomicBool,
    is_closed: AtomicBool,
}

/// How often a step has been tried.
#[derive(Default)]
pub(crate) struct Tries {
    conflicts: u32,
    looks: u32,
}

impl Tries {
    /// Pauses before the next try, or tells why there is none.
    pub(crate) async fn again(&mut self, link: &Link, stop: Stop) -> Result<(), StoreError> {
        match stop {
            Stop::Failed(Failure::Conflict(_), _) if self.are_left() => {
                self.pause().await;
                Ok(())
            }
            Stop::Failed(Failure::Lost(_), Sent::Look) if self.looks + 1 < limits::LOOKS_MAX => {
                self.looks += 1;
                Ok(())
            }
            other => Err(link.told(other)),
        }
    }

    /// Longer each time.
    pub(crate) async fn pause(&mut self) {
        sleep(Duration::from_millis(1 << self.conflicts.min(10))).await;
        self.conflicts += 1;
    }

    /// Whether it may be tried again.
    pub(crate) fn are_left(&self) -> bool {
        self.conflicts < limits::CONFLICT_TRIES_MAX
    }
}

impl Link {
    /// A way over `connections`.
    pub(crate) fn new(connections: Connections, server: String) -> Self {
        let (full, is_full) = (Mutex::default(), AtomicBool::new(false));
        Self { connections, server, full, is_full, is_closed: AtomicBool::new(false) }
    }

    /// Hosts, ports and database.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The error that the depot gets for a step's end.
    pub(crate) fn told(&self, stop: Stop) -> StoreError {
        let error = match stop {
            Stop::Told(error) => error,
            Stop::Failed(failure, sent) => failure.told(sent, &self.server),
        };
        if let StoreError::Full(full) = &error {
            *self.full.lock() = Some(full.clone());
            self.is_full.store(true, Ordering::SeqCst);
        }
        error
    }

    /// A guest's write was taken.
    pub(crate) fn has_room(&self) {
        if self.is_full.swap(false, Ordering::SeqCst) {
            *self.full.lock() = None;
        }
    }

    /// Why guests' writes were refused last, if none was taken since.
    pub(crate) fn full(&self) -> Option<StoreFull> {
        if self.is_full.load(Ordering::SeqCst) { self.full.lock().clone() } else { None }
    }

    /// Refuses everything from now on.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.connections.close();
    }

    /// Refuses a closed store.
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.is_closed.load(Ordering::SeqCst) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// A connection for one step.
    pub(crate) async fn lend(&self) -> Result<Lent, StoreError> {
        self.check_open()?;
        self.connections.lend().await
    }

    /// All rows of a statement that writes nothing and locks nothing.
    pub(crate) async fn read(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let lend = || async {
            self.check_open()?;
            self.connections.lend_to_read().await
        };
        self.read_on(lend, limits::READ_DEADLINE, sql, params).await
    }

    /// The first row of such a statement.
    pub(crate) async fn read_row(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.read(sql, params).await?.into_iter().next())
    }

    /// The rows of a read that takes longer, on a connection that it has alone.
    pub(crate) async fn read_within(
        &self,
        deadline: Duration,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        self.read_on(|| self.lend(), deadline, sql, params).await
    }

    async fn read_on<F>(
        &self,
        lend: impl Fn() -> F,
        deadline: Duration,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError>
    where
        F: Future<Output = Result<Lent, StoreError>>,
    {
        let (mut tries, mut is_first) = (Tries::default(), true);
        loop {
            let lent = lend().await?;
            let connection = lent.get().ok_or(StoreError::Closed)?;
            match answer(deadline, Sent::Harmless, connection.rows(sql, params)).await {
                Ok(rows) => {
                    lent.give_back();
                    return Ok(rows);
                }
                // A connection that had ended while it was idle.
                Err(Stop::Failed(Failure::Lost(_), _)) if is_first && connection.is_closed() => {
                    is_first = false;
                    lent.lose();
                }
                Err(stop) => {
                    lent.lose();
                    tries.again(self, stop).await?;
                }
            }
        }
    }

    /// The first row of one statement that always writes one, a transaction by itself.
    pub(crate) async fn write_row(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Option<Row>, StoreError> {
        let deadline = limits::WRITE_DEADLINE;
        let rows = on_one!(self, connection => write_on(connection, deadline, sql, params))?;
        Ok(rows.into_iter().next())
    }

    /// How many rows one statement has changed, a transaction by itself. That it found none counts.
    pub(crate) async fn change(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<u64, StoreError> {
        self.change_within(limits::WRITE_DEADLINE, sql, params).await
    }

    /// The same with another deadline.
    pub(crate) async fn change_within(
        &self,
        deadline: Duration,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<u64, StoreError> {
        on_one!(self, connection => change_on(connection, deadline, (sql, params)))
    }

    /// Rows that count: see [`crate::echo`].
    pub(crate) async fn look(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        on_one!(self, connection => look_on(connection, (sql, params)))
    }

    /// The first row of such a look.
    pub(crate) async fn look_row(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.look(sql, params).await?.into_iter().next())
    }

    /// One statement that writes, a transaction by itself, or the look that tells why it changed
    /// nothing.
    pub(crate) async fn write_or_look(
        &self,
        write: Asked<'_>,
        look: Asked<'_>,
    ) -> Result<Wrote, StoreError> {
        on_one!(self, connection => write_or_look_on(connection, write, look))
    }

    /// A transaction, which begins with its first statement.
    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        let lent = self.lend().await?;
        Ok(Transaction { lent, has_begun: AtomicBool::new(false) })
    }
}

/// A transaction. Dropped without [`Transaction::end`], its connection is closed, and nothing of it is
/// kept.
pub(crate) struct Transaction {
    lent: Lent,
    has_begun: AtomicBool,
}

impl Transaction {
    fn connection(&self) -> Result<&Connection, Stop> {
        self.lent.get().ok_or(Stop::Told(StoreError::Closed))
    }

    /// Rows of a statement. The first one must only lock or look: it is sent along with BEGIN.
    pub(crate) async fn rows(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Stop> {
        let connection = self.connection()?;
        let work = async {
            if self.has_begun.swap(true, Ordering::SeqCst) {
                return connection.rows(sql, params).await;
            }
            let statement = connection.prepared(sql).await?;
            let (begun, rows) = tokio::join!(
                biased;
                connection.simple("BEGIN"),
                connection.send(&statement, params)
            );
            begun.and(rows)
        };
        answer(limits::WRITE_DEADLINE, Sent::Harmless, work).await
    }

    /// The first row of a statement.
    pub(crate) async fn row(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Option<Row>, Stop> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// How many rows a statement has changed. Never the first one of a transaction.
    pub(crate) async fn change(&self, sql: &'static str, params: Params<'_>) -> Result<u64, Stop> {
        let work = self.connection()?.execute(sql, params);
        answer(limits::WRITE_DEADLINE, Sent::Harmless, work).await
    }

    /// Commits what was `done`, which proves what was read as well: a transaction locks a row first.
    /// Or takes it back; a refusal counts then.
    pub(crate) async fn end<T>(self, done: Result<T, Stop>) -> Result<T, Stop> {
        let connection = self.connection()?;
        let ended = match done {
            Ok(value) => {
                let before = connection.warnings();
                let commit = connection.simple("COMMIT");
                answer(limits::WRITE_DEADLINE, Sent::Write, commit).await?;
                unless_warned(connection, before, Sent::Write, value)
            }
            Err(Stop::Failed(failure @ Failure::Lost(_), sent)) => {
                return Err(Stop::Failed(failure, sent));
            }
            Err(stop) => {
                let back = connection.simple("ROLLBACK");
                if answer(limits::READ_DEADLINE, Sent::Harmless, back).await.is_err() {
                    return Err(stop);
                }
                if matches!(stop, Stop::Told(_)) {
                    prove_on(connection).await?;
                }
                Err(stop)
            }
        };
        self.lent.give_back();
        ended
    }
}
