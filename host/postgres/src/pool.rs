//! Connections that are lent to one step at a time.

use deadpool::Runtime;
use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult, TimeoutType, Timeouts,
};
use stockade_depot::StoreError;

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
        let pool = Pool::builder(connector)
            .max_size(max)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Self { pool, max, server })
    }

    /// A connection for one step.
    pub(crate) async fn lend(&self) -> Result<Lent, StoreError> {
        match self.pool.get().await {
            Ok(object) => Ok(Lent { object: Some(object), is_sound: false }),
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
    }
}

/// A connection that is lent. Unless the step says that it has had every answer, it is closed.
pub(crate) struct Lent {
    object: Option<Object<Connector>>,
    is_sound: bool,
}

impl Lent {
    /// The connection.
    pub(crate) fn get(&self) -> Option<&Connection> {
        self.object.as_deref()
    }

    /// Every answer has come, and no transaction is open: others may have it.
    pub(crate) fn give_back(mut self) {
        self.is_sound = true;
    }

    /// The same after one statement by itself, unless it was given up.
    pub(crate) fn settle<T>(self, answer: &Result<T, Stop>) {
        if !matches!(answer, Err(Stop::Failed(Failure::Lost(_), _))) {
            self.give_back();
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(object) = self.object.take()
            && !self.is_sound
        {
            drop(Object::take(object));
        }
    }
}
