//! Statements and transactions with deadlines, retries, and what is known of their outcome.
//!
//! ```text
//! read           a lost connection: once more on another; then unavailable
//! write          one statement, by itself: lost, late or warned of: unknown
//! transaction    before COMMIT is sent: surely not applied; after it: as a write
//! 40001, 40P01   tried again, in each of them
//! ```

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::{StoreError, StoreFull};
use tokio::time::{sleep, timeout};
use tokio_postgres::Error;

use crate::connection::{Connection, Params};
use crate::failure::{Failure, Sent, Stop};
use crate::limits;
use crate::pool::{Connections, Lent};
use crate::rows::Row;

/// The way to the server.
pub(crate) struct Link {
    connections: Connections,
    /// Hosts, ports and database.
    server: String,
    full: Mutex<Option<StoreFull>>,
    is_full: AtomicBool,
    is_closed: AtomicBool,
}

/// Waits for an answer, no longer than `deadline`.
pub(crate) async fn answer<T>(
    deadline: Duration,
    sent: Sent,
    statement: impl Future<Output = Result<T, Error>>,
) -> Result<T, Stop> {
    match timeout(deadline, statement).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Stop::Failed(Failure::of(&error), sent)),
        Err(_) => {
            let what = format!("no answer in {} s", deadline.as_secs_f32());
            Err(Stop::Failed(Failure::Lost(what), sent))
        }
    }
}

/// How often a step has been tried.
#[derive(Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// Pauses before the next try, or tells why there is none.
    pub(crate) async fn again(&mut self, link: &Link, stop: Stop) -> Result<(), StoreError> {
        match stop {
            Stop::Failed(Failure::Conflict(_), _) if self.0 < limits::CONFLICT_TRIES_MAX => {
                self.pause().await;
                Ok(())
            }
            other => Err(link.told(other)),
        }
    }

    /// Longer each time.
    pub(crate) async fn pause(&mut self) {
        sleep(Duration::from_millis(1 << self.0.min(10))).await;
        self.0 += 1;
    }

    /// Whether it may be tried again.
    pub(crate) fn are_left(&self) -> bool {
        self.0 < limits::CONFLICT_TRIES_MAX
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

    /// All rows of a statement that writes nothing.
    pub(crate) async fn read(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        self.read_within(limits::READ_DEADLINE, sql, params).await
    }

    /// The first row of such a statement.
    pub(crate) async fn read_row(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.read(sql, params).await?.into_iter().next())
    }

    /// The same with another deadline.
    pub(crate) async fn read_within(
        &self,
        deadline: Duration,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let (mut tries, mut is_first) = (Tries::default(), true);
        loop {
            let lent = self.lend().await?;
            let connection = lent.get().ok_or(StoreError::Closed)?;
            match answer(deadline, Sent::Harmless, connection.rows(sql, params)).await {
                Ok(rows) => {
                    lent.give_back();
                    return Ok(rows);
                }
                // A connection that had ended while it was idle.
                Err(Stop::Failed(Failure::Lost(_), _)) if is_first && connection.is_closed() => {
                    is_first = false;
                }
                Err(stop) => tries.again(self, stop).await?,
            }
        }
    }

    /// Rows of one statement that writes, a transaction by itself.
    pub(crate) async fn write(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        self.write_within(limits::WRITE_DEADLINE, sql, params).await
    }

    /// The same with another deadline.
    pub(crate) async fn write_within(
        &self,
        deadline: Duration,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut tries = Tries::default();
        loop {
            let lent = self.lend().await?;
            let connection = lent.get().ok_or(StoreError::Closed)?;
            let answer = write_on(connection, deadline, sql, params).await;
            lent.settle(&answer);
            match answer {
                Ok(rows) => return Ok(rows),
                Err(stop) => tries.again(self, stop).await?,
            }
        }
    }

    /// How many rows one statement has changed, a transaction by itself.
    pub(crate) async fn change(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<u64, StoreError> {
        let mut tries = Tries::default();
        loop {
            let lent = self.lend().await?;
            let connection = lent.get().ok_or(StoreError::Closed)?;
            let answer = change_on(connection, sql, params).await;
            lent.settle(&answer);
            match answer {
                Ok(changed) => return Ok(changed),
                Err(stop) => tries.again(self, stop).await?,
            }
        }
    }

    /// A transaction, which begins with its first statement.
    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        let lent = self.lend().await?;
        Ok(Transaction { lent, has_begun: AtomicBool::new(false) })
    }
}

/// Success that came with a warning is none: the server gave up waiting for its standby.
pub(crate) fn unless_warned<T>(connection: &Connection, before: u64, answer: T) -> Result<T, Stop> {
    if connection.warnings() == before {
        return Ok(answer);
    }
    let what = "the server warned of the commit: its standby may not have it".into();
    Err(Stop::Failed(Failure::Lost(what), Sent::Write))
}

/// One statement that writes, on this connection.
pub(crate) async fn write_on(
    connection: &Connection,
    deadline: Duration,
    sql: &'static str,
    params: Params<'_>,
) -> Result<Vec<Row>, Stop> {
    let statement = answer(deadline, Sent::Harmless, connection.prepared(sql)).await?;
    let before = connection.warnings();
    let rows = answer(deadline, Sent::Write, connection.send(&statement, params)).await?;
    unless_warned(connection, before, rows)
}

async fn change_on(
    connection: &Connection,
    sql: &'static str,
    params: Params<'_>,
) -> Result<u64, Stop> {
    let deadline = limits::WRITE_DEADLINE;
    let statement = answer(deadline, Sent::Harmless, connection.prepared(sql)).await?;
    let before = connection.warnings();
    let sent = connection.send_counted(&statement, params);
    let changed = answer(deadline, Sent::Write, sent).await?;
    unless_warned(connection, before, changed)
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

    /// Commits what was `done`, or takes it back.
    pub(crate) async fn end<T>(self, done: Result<T, Stop>) -> Result<T, Stop> {
        let connection = self.connection()?;
        let ended = match done {
            Ok(value) => {
                let before = connection.warnings();
                let commit = connection.simple("COMMIT");
                answer(limits::WRITE_DEADLINE, Sent::Write, commit).await?;
                unless_warned(connection, before, value)
            }
            Err(Stop::Failed(failure @ Failure::Lost(_), sent)) => {
                return Err(Stop::Failed(failure, sent));
            }
            Err(stop) => {
                let back = connection.simple("ROLLBACK");
                if answer(limits::READ_DEADLINE, Sent::Harmless, back).await.is_err() {
                    return Err(stop);
                }
                Err(stop)
            }
        };
        self.lent.give_back();
        ended
    }
}

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
