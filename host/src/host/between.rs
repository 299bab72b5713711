//! Calls that actors make: the way from the guest's capability to the callee, and the one translation
//! of what comes of it.
//!
//! ```text
//!  capability/actors ── Outgoing ──> here: arguments checked ── arrive ──> queue of the callee
//!                                │                               └─ probe: does it wait for itself?
//!                                └─> with peers: `Far`, which finds the process
//! ```

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Instant;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::Value as Json;
use stockade_depot::ActorId;

use super::call::ByActor;
use super::far::{FarCall, FarReply};
use super::info::Reply;
use super::{Host, Inner};
use crate::bindings::stockade::actor::actors as wit;
use crate::calls::{Arrived, CallId, Cycle, Edge, Look, Refusal, probe};
use crate::capability::{Answered, Outgoing, Outside};
use crate::error::{Body, CallError, Code, HostError, Retry};
use crate::limits::CALL_INLINE_BYTES;
use crate::router::request::{self, ForActor};
use crate::typed::{Arguments, Room};

/// The way of guests to other actors. It does not keep the host.
struct Between(Weak<Inner>);

impl Outside for Between {
    fn call(&self, call: Outgoing) -> BoxFuture<'static, Result<Answered, wit::Error>> {
        let host = self.0.upgrade().map(|inner| Host { inner });
        Box::pin(async move {
            match host {
                Some(host) => host.call_between(call).await.map_err(Failed::into_error),
                None => Err(Failed::from(HostError::ShuttingDown).into_error()),
            }
        })
    }
}

/// Why a call of an actor failed.
enum Failed {
    /// As a row of the table.
    Row(Box<Body>),
    /// There is no memory for its arguments.
    NoMemory,
}

impl<E: Into<CallError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Row(Box::new(error.into().body()))
    }
}

impl Host {
    /// Sets the way of guests to other actors.
    pub(super) fn lets_actors_call(&self) {
        let way = Arc::new(Between(Arc::downgrade(&self.inner)));
        // The host was just made: there is none yet.
        let _ = self.shared().outside.set(way);
    }

    async fn call_between(&self, call: Outgoing) -> Result<Answered, Failed> {
        // The callee ends by itself when its time is over; this is for one that does not say so.
        let late = call.late.into();
        let answered = tokio::time::timeout_at(late, self.answered(call)).await;
        answered.unwrap_or_else(|_| Err(Failed::Row(Box::new(unanswered()))))
    }

    async fn answered(&self, call: Outgoing) -> Result<Answered, Failed> {
        let Outgoing { to, method, arguments, chain, making, until, late, allowed, room } = call;
        tracing::debug!(chain = %chain.age(), from = %chain.caller(), %to, method, "an actor calls");
        let by = ByActor { id: making.id(), chain, until, allowed };
        let take = |bytes: usize| room.take(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.has_peers()
            && let Some(far) = self.inner.far.get()
        {
            let call = FarCall {
                to: &to,
                method: &method,
                arguments,
                by: &by,
                late,
                making: &making,
                take: &take,
            };
            let FarReply { text, is_error, generation, txid, used } =
                far.call(call).await.map_err(|body| Failed::Row(Box::new(body)))?;
            let text =
                String::from_utf8(text.into()).map_err(|_| Failed::Row(Box::new(unanswered())))?;
            let (generation, txid) = (generation.0, txid.0);
            return Ok(Answered { reply: wit::Reply { text, is_error, generation, txid }, used });
        }
        let callable = self.callable(to.kind()).await?;
        let bytes = arguments.len();
        let held = Arc::clone(&room);
        let read = move || {
            let mut refused = false;
            let mut take = |bytes: usize| {
                let taken = held.take(u64::try_from(bytes).unwrap_or(u64::MAX));
                refused |= !taken;
                taken
            };
            let arguments =
                if arguments.is_empty() { Arguments::None } else { Arguments::JsonText(arguments) };
            let ready = callable.with(&method, arguments, Room::within(&mut take));
            ready.map_err(|error| if refused { Failed::NoMemory } else { error.into() })
        };
        let ready = aside(bytes, read).await?;
        making.is_here();
        let reply = self.call_ready(&to, ready.by(Some(by))).await?;
        let (is_error, generation, txid) = (reply.is_err(), reply.generation.0, reply.txid.0);
        let used = reply.bill.used();
        let bytes = usize::try_from(reply.large_bytes()).unwrap_or(usize::MAX);
        let text = aside(bytes, move || Ok(text_of(&reply))).await?;
        if !take(text.len()) {
            return Err(Failed::Row(Box::new(no_room(self))));
        }
        Ok(Answered { reply: wit::Reply { text, is_error, generation, txid }, used })
    }

    /// Notes a call of an actor that has arrived.
    ///
    /// # Errors
    /// `Starting`: the same call is here already; the one before it is about to be dropped.
    pub(super) fn arrive(
        &self,
        actor: &ActorId,
        by: ByActor,
    ) -> Result<(Arrived, request::ByActor), HostError> {
        let ByActor { id, chain, until, allowed } = by;
        tracing::debug!(chain = %chain.age(), from = %chain.caller(), to = %actor, "an actor's call");
        let arrived = self.shared().waits.arrive(id, chain.clone(), actor);
        let arrived = arrived.ok_or_else(|| HostError::Starting { actor: actor.clone() })?;
        let stage = arrived.stage();
        Ok((arrived, request::ByActor { runs: ForActor { chain, until, allowed }, stage }))
    }

    /// Waits for what a call comes to, unless it is found to wait for itself, or has not begun at
    /// `until`.
    pub(super) async fn unless_refused<T>(
        &self,
        arrived: &Arrived,
        until: Instant,
        heard: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let probing = async {
            probe(self, arrived).await;
            std::future::pending::<Infallible>().await
        };
        let expiring = async {
            tokio::time::sleep_until(until.into()).await;
            if !arrived.take_back() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            // First the call, so that it is in its queue when the probe looks.
            biased;
            heard = heard => heard,
            cycle = arrived.refused() => Err(HostError::CallCycle { cycle }.into()),
            () = expiring => Err(HostError::DeadlinePassed.into()),
            never = probing => match never {},
        }
    }
}

#[async_trait]
impl Look for Host {
    async fn waits_of(&self, actor: &ActorId, at: Option<&str>) -> Vec<Edge> {
        match (at, self.inner.far.get()) {
            (None, _) => self.shared().waits.of(actor),
            (Some(address), Some(far)) => far.waits_of(actor, address).await.unwrap_or_default(),
            (Some(_), None) => Vec::new(),
        }
    }

    async fn refuse(&self, call: CallId, cycle: &Cycle, at: Option<&str>) -> Refusal {
        match (at, self.inner.far.get()) {
            (None, _) => self.shared().waits.refuse(call, cycle),
            (Some(address), Some(far)) => {
                far.refuse(call, cycle, address).await.unwrap_or(Refusal::Done)
            }
            (Some(_), None) => Refusal::Done,
        }
    }
}

/// Work on so many bytes: many are left to a thread that may be busy for a while.
async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    if bytes <= CALL_INLINE_BYTES {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| HostError::Internal(format!("read or write values: {error}")))?
}

fn text_of(reply: &Reply) -> String {
    reply.to_json().to_string()
}

/// The answer did not come.
fn unanswered() -> Body {
    let words = "the actor was sent the call and has not answered in its time";
    Code::Unanswered.body(words.to_owned(), Json::Object(serde_json::Map::new()))
}

/// There is no memory for an answer: the call has run.
fn no_room(host: &Host) -> Body {
    let (what, max) = host.inner.router.awake().memory().overload();
    Body { retry: Retry::UnknownOutcome, ..HostError::Overloaded { what, max }.body() }
}

// --- errors, to the WIT ---------------------------------------------------------------------------

impl Failed {
    fn into_error(self) -> wit::Error {
        match self {
            Self::NoMemory => wit::Error::LimitExceeded(wit::Limit::Memory),
            Self::Row(body) => error_of(*body),
        }
    }
}

/// A row of the table as the guest's error. A row that a newer process has added is `failed`, with its
/// own advice.
fn error_of(body: Body) -> wit::Error {
    let named = |code: &&Code| code.group() == body.group && code.name() == body.code;
    let Some(code) = Code::ALL.iter().find(named) else {
        return wit::Error::Failed(failure(body));
    };
    match case(*code) {
        Case::Cycle => match cycle_of(&body.details) {
            Some(cycle) => cycle.into(),
            None => wit::Error::Failed(failure(body)),
        },
        // With this advice the callee has run, whatever the row says else.
        _ if body.retry == Retry::UnknownOutcome && body.details["verdict"].is_null() => {
            wit::Error::UnknownOutcome(failure(body))
        }
        Case::Invalid => wit::Error::Invalid(failure(body)),
        Case::NotFound => wit::Error::NotFound(failure(body)),
        Case::Overloaded if body.retry == Retry::Retry => wit::Error::Overloaded(failure(body)),
        Case::TimedOut => wit::Error::TimedOut(failure(body)),
        Case::Overloaded | Case::Failed => wit::Error::Failed(failure(body)),
    }
}

/// The guest's case of a row.
enum Case {
    Invalid,
    NotFound,
    Cycle,
    Overloaded,
    TimedOut,
    Failed,
}

fn case(code: Code) -> Case {
    match code {
        Code::InvalidActor
        | Code::InvalidBody
        | Code::ContentType
        | Code::Malformed
        | Code::PayloadTooLarge
        | Code::Arguments => Case::Invalid,
        Code::KindMissing | Code::ActorMissing | Code::MethodMissing => Case::NotFound,
        Code::CallCycle => Case::Cycle,
        Code::ActorOverloaded | Code::HostOverloaded | Code::CreatedTooFast => Case::Overloaded,
        Code::DeadlinePassed => Case::TimedOut,
        Code::HeadTimeout
        | Code::HeadTooLarge
        | Code::UriTooLong
        | Code::BodyTimeout
        | Code::Unauthorized
        | Code::Forbidden
        | Code::ForeignOrigin
        | Code::WrongListener
        | Code::NoRoute
        | Code::HttpMethod
        | Code::Manifest
        | Code::Component
        | Code::FaultsNotAllowed
        | Code::InvalidFault
        | Code::ActorAsleep
        | Code::KindInUse
        | Code::Trapped
        | Code::BudgetExhausted
        | Code::ReplyTooLarge
        | Code::StartFailed
        | Code::Stopping
        | Code::Destroying
        | Code::Importing
        | Code::Ended
        | Code::CrashLooping
        | Code::QuotaReached
        | Code::Elsewhere
        | Code::Behind
        | Code::Reroute
        | Code::Starting
        | Code::HeadFenceMismatch
        | Code::Superseded
        | Code::CommitLost
        | Code::HistoryGone
        | Code::NoCommit
        | Code::HasForks
        | Code::DatabaseMissing
        | Code::StoreUnavailable
        | Code::StoreElsewhere
        | Code::StoreUnknown
        | Code::StoreRefused
        | Code::StoreCorrupt
        | Code::StoreFull
        | Code::StoreClosed
        | Code::ImportUnreadable
        | Code::ImportNotSqlite
        | Code::ImportDamaged
        | Code::ImportUnsupported
        | Code::ImportTooLarge
        | Code::ImportBusy
        | Code::ImportExists
        | Code::SqlConstraint
        | Code::SqlBusy
        | Code::SqlDenied
        | Code::SqlInterrupted
        | Code::SqlLimitExceeded
        | Code::SqlFull
        | Code::SqlCommitTooLarge
        | Code::SqlRevoked
        | Code::SqlNotOpen
        | Code::SqlStatement
        | Code::SqlUnavailable
        | Code::SqlInvalidArgument
        | Code::SqlRowFailed
        | Code::SqlOther
        | Code::ShuttingDown
        | Code::Draining
        | Code::LeaseLost
        | Code::Alone
        | Code::PeerUnreachable
        | Code::Unanswered
        | Code::Directory
        | Code::Engine
        | Code::Internal => Case::Failed,
    }
}

fn failure(body: Body) -> wit::Failure {
    let verdict = match body.details["verdict"].as_str() {
        Some("committed") => Some(wit::Verdict::Committed),
        Some("not-committed") => Some(wit::Verdict::NotCommitted),
        Some(_) => Some(wit::Verdict::Indeterminate),
        None => None,
    };
    let advice = match body.retry {
        Retry::Retry => wit::Advice::Retry,
        Retry::Reroute => wit::Advice::Reroute,
        Retry::Fix => wit::Advice::Fix,
        Retry::Never => wit::Advice::Never,
        Retry::UnknownOutcome => wit::Advice::UnknownOutcome,
    };
    let code = format!("{}.{}", body.group, body.code);
    let details = if body.details.is_null() { "{}".to_owned() } else { body.details.to_string() };
    wit::Failure { code, message: body.message, advice, verdict, details }
}

fn cycle_of(details: &Json) -> Option<Cycle> {
    let name =
        |actor: &Json| ActorId::existing(actor["kind"].as_str()?, actor["key"].as_str()?).ok();
    let actors: Option<Vec<ActorId>> = details["chain"].as_array()?.iter().map(name).collect();
    Some(Cycle { actors: actors?, crosses: details["crosses"].as_bool()? })
}

#[cfg(test)]
mod tests {
    use stockade_depot::{Reason, Verdict};

    use super::*;

    fn translated(error: HostError, verdict: Option<Verdict>) -> wit::Error {
        Failed::from(CallError::new(error, verdict)).into_error()
    }

    fn ended() -> HostError {
        HostError::Ended { reason: Reason::Slept, cause: "cause".to_owned() }
    }

    #[test]
    fn a_failure_says_what_has_happened() {
        let kind = HostError::KindMissing { kind: "room".to_owned() };
        assert!(matches!(translated(kind, None), wit::Error::NotFound(_)));
        let full = || HostError::Overloaded { what: "queued calls", max: 1 };
        assert!(matches!(translated(full(), None), wit::Error::Overloaded(_)));
        let wit::Error::Failed(failure) = translated(full(), Some(Verdict::Committed)) else {
            panic!("it has run")
        };
        assert_eq!(failure.code, "actor.overloaded");
        assert!(matches!(failure.verdict, Some(wit::Verdict::Committed)));
        assert!(matches!(failure.advice, wit::Advice::UnknownOutcome));
        assert!(matches!(translated(ended(), None), wit::Error::Failed(_)));
        assert!(matches!(translated(HostError::DeadlinePassed, None), wit::Error::TimedOut(_)));
        assert!(matches!(error_of(unanswered()), wit::Error::UnknownOutcome(_)));
    }

    #[test]
    fn a_circle_is_the_same_on_both_sides_of_the_table() {
        let actors = ["a", "b"].map(|key| ActorId::new("kind", key).expect("a name")).to_vec();
        for crosses in [true, false] {
            let cycle = Cycle { actors: actors.clone(), crosses };
            let body = HostError::CallCycle { cycle: cycle.clone() }.body();
            let text = serde_json::to_string(&body).expect("JSON");
            let read: Body = serde_json::from_str(&text).expect("reads");
            assert_eq!(cycle_of(&read.details), Some(cycle));
            let wit::Error::CallCycle(told) = error_of(read) else { panic!("a circle") };
            assert_eq!((told.chain.len(), told.crosses), (2, crosses));
        }
    }

    #[test]
    fn a_row_of_a_newer_process_is_a_failure_with_its_advice() {
        let body = Body { code: "new".to_owned(), ..ended().body() };
        let wit::Error::Failed(failure) = error_of(body) else { panic!("a failure") };
        assert_eq!(
            (failure.code.as_str(), failure.details.as_str()),
            ("actor.new", r#"{"reason":"slept"}"#)
        );
    }
}
