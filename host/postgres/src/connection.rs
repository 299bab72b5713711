//! One connection: its statements, prepared once, and the warnings that came on it.
//!
//! The server reports success with a warning when the wait for its standby was cancelled; the warning
//! comes before the answer. So a statement that needs to know compares the number of warnings before with
//! that after; those of statements on their way beside it count as its own.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Error, NoTls, Statement};

use crate::address::{Security, host_of};
use crate::failure::text;
use crate::limits::CONNECT_DEADLINE;
use crate::rows::Row;
use crate::tls::Tls;

/// A statement's parameters.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Parameters of any types.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &(dyn tokio_postgres::types::ToSql + Sync)),*]
    };
}
pub(crate) use params;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NotConnected {
    /// Each host, with what it said or what became of the way there.
    Hosts(String),
    /// The process is going down.
    Ending,
}

/// How connections are made.
#[derive(Clone)]
pub(crate) struct Connector {
    hosts: Vec<tokio_postgres::Config>,
    /// The host that is asked first.
    first: Arc<AtomicUsize>,
    tls: Option<Tls>,
    has_standby: bool,
    /// The row that the next connection's echoes write. Rows are shared by all processes of a store:
    /// there are at most 65,536 of them.
    echo_row: Arc<AtomicU16>,
    /// Where connections live: callers come from runtimes that may end.
    runtime: Handle,
}

impl Connector {
    /// Connections to the first host that writes, which live on this runtime. `has_standby`: what is
    /// read on them is proved.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub(crate) fn new(
        hosts: Vec<tokio_postgres::Config>,
        security: &Security,
        tls: Tls,
        has_standby: bool,
    ) -> Result<Self, getrandom::Error> {
        let tls = (*security != Security::Disable).then_some(tls);
        // Somewhere: two connections that write one row wait for each other.
        let mut row = [0; 2];
        getrandom::fill(&mut row)?;
        let echo_row = Arc::new(AtomicU16::new(u16::from_be_bytes(row)));
        let runtime = Handle::current();
        Ok(Self { hosts, first: Arc::default(), tls, has_standby, echo_row, runtime })
    }

    /// Where connections live.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// How long it may take to ask every host.
    pub(crate) fn deadline(&self) -> Duration {
        CONNECT_DEADLINE * u32::try_from(self.hosts.len() + 1).unwrap_or(u32::MAX)
    }

    /// Reaches a host that writes, and signs in: the one that was reached last, or the one behind it
    /// if that left a statement without an answer. A host that accepts and says nothing costs no
    /// more time than one that is not there.
    pub(crate) async fn connect(&self) -> Result<Connection, NotConnected> {
        let this = self.clone();
        let connecting = self.runtime.spawn(async move {
            let mut told = Vec::new();
            let (first, count) = (this.first.load(Ordering::Relaxed), this.hosts.len());
            for (at, host) in this.hosts.iter().enumerate().cycle().skip(first).take(count) {
                match timeout(CONNECT_DEADLINE, this.connect_to(at, host)).await {
                    Ok(Ok(connection)) => {
                        this.first.store(at, Ordering::Relaxed);
                        return Ok(connection);
                    }
                    Ok(Err(error)) => told.push(format!("{}: {}", host_of(host), text(&error))),
                    Err(_) => told.push(format!(
                        "{}: no answer in {} s",
                        host_of(host),
                        CONNECT_DEADLINE.as_secs()
                    )),
                }
            }
            Err(NotConnected::Hosts(told.join("; ")))
        });
        connecting.await.unwrap_or(Err(NotConnected::Ending))
    }

    async fn connect_to(
        &self,
        at: usize,
        host: &tokio_postgres::Config,
    ) -> Result<Connection, Error> {
        let warnings = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&warnings);
        let (client, wire) = match &self.tls {
            Some(tls) => {
                let (client, wire) = host.connect(tls.clone()).await?;
                (client, self.runtime.spawn(drive(wire, counted)))
            }
            None => {
                let (client, wire) = host.connect(NoTls).await?;
                (client, self.runtime.spawn(drive(wire, counted)))
            }
        };
        let next = (at + 1) % self.hosts.len();
        Ok(Connection {
            client,
            warnings,
            wire,
            prepared: Mutex::default(),
            echo_row: self.echo_row.fetch_add(1, Ordering::Relaxed).to_be_bytes(),
            has_standby: self.has_standby,
            order: Order { first: Arc::clone(&self.first), at, next, is_done: false.into() },
        })
    }
}

/// The order in which hosts are asked, as a connection changes it.
struct Order {
    first: Arc<AtomicUsize>,
    /// The host of the connection.
    at: usize,
    /// The host behind it.
    next: usize,
    is_done: AtomicBool,
}

/// A connection to the server, which is closed when this is dropped.
pub(crate) struct Connection {
    client: Client,
    warnings: Arc<AtomicU64>,
    wire: JoinHandle<()>,
    prepared: Mutex<HashMap<&'static str, Statement>>,
    echo_row: [u8; 2],
    has_standby: bool,
    order: Order,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.leave();
        // Immediately, also if the server does not answer.
        self.wire.abort();
    }
}

impl Connection {
    /// Has the next connection made to the next host, if this one was given up although it is open: the
    /// server has not answered. Others may have noticed.
    pub(crate) fn leave(&self) {
        let Order { first, at, next, is_done } = &self.order;
        if !self.client.is_closed() && !is_done.load(Ordering::Relaxed) {
            let _ = first.compare_exchange(*at, *next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Closes it when nothing is asked on it any more.
    pub(crate) fn done(self) {
        self.order.is_done.store(true, Ordering::Relaxed);
    }

    /// The row that echoes on this connection write.
    pub(crate) fn echo_row(&self) -> [u8; 2] {
        self.echo_row
    }

    /// Whether the server has a synchronous standby.
    pub(crate) fn has_standby(&self) -> bool {
        self.has_standby
    }

    /// Whether it is known to be gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// How many warnings have come.
    pub(crate) fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::SeqCst)
    }

    /// The statement, prepared.
    pub(crate) async fn prepared(&self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(statement) = self.prepared.lock().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.prepared.lock().insert(sql, statement.clone());
        Ok(statement)
    }

    /// Sends a prepared statement when it is first polled; all its rows.
    pub(crate) async fn send(
        &self,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Error> {
        let rows = self.client.query(statement, params).await?;
        Ok(rows.into_iter().map(Row::from).collect())
    }

    /// Sends a prepared statement when it is first polled; how many rows it changed.
    pub(crate) async fn send_counted(
        &self,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<u64, Error> {
        self.client.execute(statement, params).await
    }

    /// All rows of a statement.
    pub(crate) async fn rows(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Error> {
        let statement = self.prepared(sql).await?;
        self.send(&statement, params).await
    }

    /// How many rows a statement has changed.
    pub(crate) async fn execute(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<u64, Error> {
        let statement = self.prepared(sql).await?;
        self.send_counted(&statement, params).await
    }

    /// A text without parameters: transactions, and the schema.
    pub(crate) async fn simple(&self, sql: &'static str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }
}

/// Carries a connection's bytes until it ends, and counts warnings.
async fn drive<S, T>(mut wire: tokio_postgres::Connection<S, T>, warnings: Arc<AtomicU64>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    // After an error requests would wait without end: the loop ends, and with it the connection.
    while let Some(message) = poll_fn(|cx| wire.poll_message(cx)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) => {
                if notice.parsed_severity() == Some(Severity::Warning) {
                    warnings.fetch_add(1, Ordering::SeqCst);
                    tracing::warn!(code = notice.code().code(), "server: {}", notice.message());
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = text(&error), "connection ended");
                break;
            }
        }
    }
}
