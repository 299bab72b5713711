//! Connections that are lent to one step at a time, and to reads also when all of them are in use.
//!
//! Invariant: a read that is given up costs no connection. One that is being made goes to the pool, and one
//! that has the question goes there when it has the answer as well. On a slow way it takes longer to make a
//! connection than callers wait: else there would never be one.

use std::sync::Arc;

use deadpool::Runtime;
use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult, TimeoutType, Timeouts,
};
use stockade_depot::StoreError;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::aside::{Aside, Share};
use crate::connection::{Connection, Connector, NotConnected};
use crate::failure::{Failure, Stop};
use crate::limits;

impl Manager for Connector {
    type Type = Connection;
    type Error = NotConnected;

    async fn create(&self) -> Result<Connection, NotConnected> {
        self.connect().await
    }

    async fn recycle(&self, lent: &mut Connection, _: &Metrics) -> RecycleResult<NotConnected> {
        if lent.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
    }
}

impl NotConnected {
    /// The error that the depot gets.
    pub(crate) fn told(self) -> StoreError {
        match self {
            Self::Hosts(what) => StoreError::Unavailable(format!("connect to {what}")),
            Self::Ending => StoreError::Closed,
        }
    }
}

/// The connections of a store.
pub(crate) struct Connections {
    pool: Pool<Connector>,
    aside: Arc<Aside>,
    max: usize,
    server: String,
}

impl Connections {
    /// At most `max`, none of them made yet.
    ///
    /// # Errors
    /// If there is no runtime.
    pub(crate) fn new(
        connector: Connector,
        max: usize,
        server: String,
    ) -> Result<Self, deadpool::managed::BuildError> {
        let timeouts = Timeouts {
            wait: Some(limits::POOL_WAIT),
            create: Some(connector.deadline()),
            recycle: Some(connector.deadline()),
        };
        let aside = Arc::new(Aside::new(connector.clone()));
        let pool = Pool::builder(connector)
            .max_size(max)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Self { pool, aside, max, server })
    }

    /// Whether one is free, or may be made.
    fn has_room(&self) -> bool {
        let status = self.pool.status();
        status.available > 0 || status.size + status.waiting < self.max
    }

    /// A connection for a read that locks nothing: others may read on it as well.
    pub(crate) async fn lend_to_read(&self) -> Result<Lent, StoreError> {
        if !self.has_room()
            && let Some(share) = self.aside.lend().await
        {
            return Ok(Lent { of: Some(Of::Aside(share?)), end: End::GivenUp });
        }
        let mut lent = self.lend().await?;
        lent.end = End::GivenUp;
        Ok(lent)
    }

    /// A connection for one step.
    pub(crate) async fn lend(&self) -> Result<Lent, StoreError> {
        let got = if self.pool.status().available > 0 {
            self.pool.get().await
        } else {
            let (pool, runtime) = (self.pool.clone(), self.pool.manager().runtime());
            let getting = runtime.spawn(async move { pool.get().await });
            getting.await.unwrap_or(Err(PoolError::Closed))
        };
        match got {
            Ok(object) => Ok(Lent { of: Some(Of::Pool(object)), end: End::Lost }),
            Err(PoolError::Backend(error)) => Err(error.told()),
            Err(PoolError::Closed) => Err(StoreError::Closed),
            Err(PoolError::Timeout(TimeoutType::Wait)) => Err(StoreError::Unavailable(format!(
                "all {} connections to {} were in use for {} s",
                self.max,
                self.server,
                limits::POOL_WAIT.as_secs()
            ))),
            Err(
                PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle)
                | PoolError::NoRuntimeSpecified
                | PoolError::PostCreateHook(_),
            ) => Err(StoreError::Unavailable(format!("connect to {}: no answer", self.server))),
        }
    }

    /// Lends no more, and closes those that are not lent.
    pub(crate) fn close(&self) {
        self.pool.close();
        self.aside.close();
    }
}

/// A connection that is lent. A step must say that it has had every answer: else the connection is closed.
pub(crate) struct Lent {
    of: Option<Of>,
    end: End,
}

/// Where a connection is from.
#[allow(clippy::large_enum_variant, reason = "nearly all are of the large variant, one a step")]
enum Of {
    /// The step has it alone.
    Pool(Object<Connector>),
    /// Other reads use it as well.
    Aside(Share),
}

/// How a step has left its connection, as far as it has said so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With every answer.
    Sound,
    /// In the middle of a read: its caller waits no longer.
    GivenUp,
    /// In the middle of something that counts, or without an answer in all its time.
    Lost,
}

impl Lent {
    /// The connection.
    pub(crate) fn get(&self) -> Option<&Connection> {
        self.of.as_ref().map(|of| match of {
            Of::Pool(object) => &**object,
            Of::Aside(share) => share.connection(),
        })
    }

    /// Every answer has come, and no transaction is open: others may have it.
    pub(crate) fn give_back(mut self) {
        self.end = End::Sound;
    }

    /// It is not to be used again.
    pub(crate) fn lose(mut self) {
        self.end = End::Lost;
    }

    /// Gives it back after one statement by itself, unless that has no answer.
    pub(crate) fn settle<T>(self, answer: &Result<T, Stop>) {
        if matches!(answer, Err(Stop::Failed(Failure::Lost(_), _))) {
            self.lose();
        } else {
            self.give_back();
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        match (self.of.take(), self.end) {
            (Some(Of::Pool(object)), End::GivenUp) => drop(answered(object)),
            (Some(Of::Pool(object)), End::Lost) => drop(Object::take(object)),
            (Some(Of::Aside(share)), End::GivenUp | End::Lost) => share.unanswered(),
            (Some(Of::Aside(share)), End::Sound) => share.answered(),
            (Some(Of::Pool(_)), End::Sound) | (None, _) => {}
        }
    }
}

/// Gives a connection back once it has the answer to what was given up on it.
fn answered(object: Object<Connector>) -> Option<JoinHandle<()>> {
    let runtime = Object::pool(&object)?.manager().runtime().clone();
    Some(runtime.spawn(async move {
        // Answered behind it.
        let answer = timeout(limits::SILENT_MAX, object.simple("")).await;
        if !matches!(answer, Ok(Ok(()))) {
            drop(Object::take(object));
        }
    }))
}
