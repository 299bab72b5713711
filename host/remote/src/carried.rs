//! A line that a simulation carries: messages of steps, between a client and a server of one process.
//!
//! Deadlines, what is known after them, and the messages of both sides are those of the product. TLS and
//! HTTP/2 are not there, and nothing is greeted: both are tested over sockets. No program is built with
//! this.

#[cfg(not(debug_assertions))]
compile_error!("`simulated` is for test builds: it must not come into a release");

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use stockade_depot::Store;

use crate::handshake::{NEWEST_VERSION, Terms};
use crate::line::{Answer, Line, Unanswered};
use crate::proto::Step;
use crate::service::Service;
use crate::steps::name;

/// A step on its way to the server.
#[derive(Clone, Debug)]
pub struct Request {
    step: Step,
    wait: Duration,
    message: Bytes,
}

impl Request {
    pub(crate) fn new(step: Step, wait: Duration, message: Bytes) -> Self {
        Self { step, wait, message }
    }

    /// What the step is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        name(self.step)
    }

    /// Whether it makes an actor: nothing may send that twice.
    #[must_use]
    pub fn creates(&self) -> bool {
        self.step == Step::Create
    }
}

/// The answer to a step.
#[derive(Clone, Debug)]
pub struct Reply {
    failed: bool,
    message: Bytes,
}

/// What became of a step without an answer.
#[derive(Clone, Debug)]
pub enum NoReply {
    /// The server has certainly not seen it.
    NotSent(String),
    /// The server may have applied it, or will.
    Lost(String),
}

/// The way to a server.
#[async_trait]
pub trait Carrier: Send + Sync + 'static {
    /// Carries a step there and its answer back.
    ///
    /// # Errors
    /// There is no answer.
    async fn carry(&self, request: Request) -> Result<Reply, NoReply>;
}

/// A store behind the protocol, without a listener.
pub struct CarriedServer(Service);

impl std::fmt::Debug for CarriedServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CarriedServer").finish_non_exhaustive()
    }
}

impl CarriedServer {
    /// Serves a store of this process.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(Service::new(store, None, Terms::ours()))
    }

    /// What the server answers to a step that has arrived.
    pub async fn answer(&self, request: Request) -> Reply {
        let Request { step, wait, message } = request;
        let (failed, message) = self.0.answer_carried(step, message, wait).await;
        Reply { failed, message }
    }
}

/// A line over a carrier.
pub(crate) fn line(carrier: &Arc<dyn Carrier>, shards: u16) -> Line {
    let program = env!("CARGO_PKG_VERSION").to_owned();
    Line::carried(Arc::clone(carrier), NEWEST_VERSION, program, shards)
}

/// Sends a step over a carrier.
pub(crate) async fn send(
    carrier: &Arc<dyn Carrier>,
    request: Request,
) -> Result<Answer, Unanswered> {
    match carrier.carry(request).await {
        Ok(Reply { failed, message }) => Ok(Answer { failed, message, full: Some(None) }),
        Err(NoReply::NotSent(why)) => Err(Unanswered::NotSent(why)),
        Err(NoReply::Lost(why)) => Err(Unanswered::Lost(why)),
    }
}
