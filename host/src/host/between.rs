//! Calls that actors make: the way from the guest's capability to the callee, and the one translation
//! of what comes of it.
//!
//! ```text
//!  capability/actors, clients ── Outgoing ──> here: arguments checked ── arrive ──> queue of the callee
//!                                         │                               └─ probe: does it wait for itself?
//!                                         └─> with peers: `Far`, which finds the process, as JSON
//! ```

use std::convert::Infallible;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value as Json;
use stockade_depot::ActorId;
use stockade_vfs::memory::Share;
use tokio::time::Instant;
use wasmtime::component::Val;

use super::call::{ByActor, Callable, ReadyCall};
use super::far::{Far, FarCall, FarReply};
use super::info::Reply;
use super::outcomes::{Outcome, OutcomeReply};
use super::places::{Attempts, Place, is_moved};
use super::{Host, Inner};
use crate::bindings::stockade::actor::actors as wit;
use crate::calls::{Arrived, CallId, CallKey, Cycle, Edge, Look, Making, Refusal, probe};
use crate::capability::{Answered, Asking, CallResult, Outgoing, Outside};
use crate::error::{Body, CallError, Code, HostError, Retry};
use crate::limits::CALL_INLINE_BYTES;
use crate::messages::{Parcel, Said, Undelivered};
use crate::router::request::{self, ForActor};
use crate::typed::{Arguments, Expected, Room, Signature, Size};

/// The way of guests to other actors. It does not keep the host.
struct Between(Weak<Inner>);

impl Outside for Between {
    fn call(
        &self,
        call: Outgoing,
        method: String,
        arguments: Bytes,
    ) -> BoxFuture<'static, CallResult<wit::Reply>> {
        self.carried(call, move |host, call| host.answered(call, method, arguments))
    }

    fn call_typed(
        &self,
        call: Outgoing,
        signature: Arc<Signature>,
        values: Vec<Val>,
    ) -> BoxFuture<'static, CallResult<Option<Val>>> {
        self.carried(call, move |host, call| host.answered_typed(call, signature, values))
    }

    fn outcome(&self, asking: Asking) -> BoxFuture<'static, Result<wit::Outcome, wit::Error>> {
        let host = self.host();
        Box::pin(async move {
            match host {
                Some(host) => host.ask_between(asking).await.map_err(Failed::into_error),
                None => Err(Failed::from(HostError::ShuttingDown).into_error()),
            }
        })
    }

    fn deliver(
        &self,
        to: ActorId,
        parcel: Parcel,
    ) -> BoxFuture<'static, Result<Said, Undelivered>> {
        let host = self.host();
        Box::pin(async move {
            match host {
                Some(host) => host.deliver(&to, &parcel).await,
                None => Err(Undelivered::NotDone(HostError::ShuttingDown.to_string())),
            }
        })
    }
}

impl Between {
    /// The host, if it has not ended.
    fn host(&self) -> Option<Host> {
        self.0.upgrade().map(|inner| Host { inner })
    }

    /// What a call comes to that `answer` makes, in the time that its caller has.
    fn carried<R, F>(
        &self,
        call: Outgoing,
        answer: impl FnOnce(Host, Outgoing) -> F + Send + 'static,
    ) -> BoxFuture<'static, CallResult<R>>
    where
        R: 'static,
        F: Future<Output = Result<Answered<R>, Failed>> + Send + 'static,
    {
        let host = self.host();
        let named = call.key.clone().map(|key| (call.to.clone(), key));
        Box::pin(async move {
            let Some(host) = host else {
                return Err(Failed::from(HostError::ShuttingDown).into_error());
            };
            // The callee ends by itself when its time is over; this is for one that does not say so.
            let late = call.late;
            let answered = tokio::time::timeout_at(late, answer(host, call)).await;
            let answered = answered.unwrap_or_else(|_| Err(Failed::of(unanswered())));
            answered.map_err(|failed| failed.identified(named).into_error())
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

/// A call on its way.
struct Way {
    to: ActorId,
    late: Instant,
    making: Making,
    room: Arc<Share>,
    key: Option<CallKey>,
}

impl Way {
    fn of(call: Outgoing, method: &str) -> (Self, ByActor) {
        let Outgoing { to, key, chain, making, until, late, allowed, room } = call;
        tracing::debug!(chain = %chain.age(), from = %chain.caller(), %to, method, "an actor calls");
        let by = ByActor { id: making.id(), chain, until, allowed, types: None };
        (Self { to, late, making, room, key }, by)
    }

    /// Takes memory for so many bytes. `false`: there is none.
    fn take(&self, bytes: usize) -> bool {
        take_of(&self.room, bytes)
    }

    /// The answer of whichever process the actor is in.
    async fn far(
        &self,
        far: &dyn Far,
        by: &ByActor,
        method: &str,
        arguments: Bytes,
    ) -> Result<FarReply, Failed> {
        let take = |bytes: usize| self.take(bytes);
        let (to, late, making) = (&self.to, self.late, &self.making);
        let key = self.key.as_ref();
        let call = FarCall { to, method, arguments, key, by, late, making, take: &take };
        far.call(call).await.map_err(Failed::of)
    }

    /// The answer of the actor in this process. `with` finds its method, and reads arguments of so many
    /// bytes.
    async fn here(
        &self,
        host: &Host,
        by: ByActor,
        bytes: usize,
        with: impl FnOnce(Callable, Room<'_>) -> Result<ReadyCall, HostError> + Send + 'static,
    ) -> Result<Reply, Failed> {
        let callable = host.callable(self.to.kind()).await?;
        let (held, key) = (Arc::clone(&self.room), self.key.clone());
        let read = move || {
            let mut refused = false;
            let mut take = |bytes: usize| {
                let taken = take_of(&held, bytes);
                refused |= !taken;
                taken
            };
            let ready = with(callable, Room::within(&mut take));
            let ready = ready.map(|ready| ready.identified(key));
            ready.map_err(|error| if refused { Failed::NoMemory } else { error.into() })
        };
        let ready = aside(bytes, read).await?;
        self.making.is_here();
        Ok(host.call_ready(&self.to, ready.by(Some(by))).await?)
    }
}

/// Takes memory of a call. `false`: there is none.
fn take_of(room: &Share, bytes: usize) -> bool {
    room.take(u64::try_from(bytes).unwrap_or(u64::MAX))
}

impl Failed {
    fn of(body: Body) -> Self {
        Self::Row(Box::new(body))
    }

    /// The failure of a call that has an id, if this one has.
    fn identified(self, named: Option<(ActorId, CallKey)>) -> Self {
        match (self, named) {
            (Self::Row(body), Some((to, key))) => Self::of(body.identified(&to, key.id())),
            (failed, _) => failed,
        }
    }

    /// Whether nothing was done, and another process may do it.
    fn is_moved(&self) -> bool {
        match self {
            Self::NoMemory => false,
            Self::Row(body) => code_of(body).is_some_and(|code| is_moved(code, body.retry)),
        }
    }
}

impl Host {
    /// Sets the way of guests to other actors.
    pub(super) fn lets_actors_call(&self) {
        let way = Arc::new(Between(Arc::downgrade(&self.inner)));
        // The host was just made: there is none yet.
        let _ = self.shared().outside.set(way);
    }

    /// Asks for a guest what became of its call.
    async fn ask_between(&self, asking: Asking) -> Result<wit::Outcome, Failed> {
        let Asking { to, key, settle, late } = asking;
        let asked = async {
            match self.inner.far.get().filter(|_| self.has_peers()) {
                Some(far) => {
                    let told = far.outcome(&to, &key, settle, late).await;
                    told.map_err(Failed::of)
                }
                None => Ok(self.outcome(&to, &key, settle).await?),
            }
        };
        let told = tokio::time::timeout_at(late, asked).await;
        let told = told.unwrap_or_else(|_| Err(Failed::of(unanswered())))?;
        let OutcomeReply { outcome, generation, txid } = told;
        Ok(match outcome {
            Outcome::Committed { answer } => wit::Outcome::Committed(answer.map(|answer| {
                let (text, is_error) = (answer.json.to_string(), answer.is_err);
                wit::Reply { text, is_error, generation: generation.0, txid: txid.0 }
            })),
            Outcome::Partial => wit::Outcome::Partial,
            Outcome::Never => wit::Outcome::Never,
            Outcome::NotSeen => wit::Outcome::NotSeen,
            Outcome::Expired => wit::Outcome::Expired,
        })
    }

    /// The answer to a call by name.
    async fn answered(
        self,
        call: Outgoing,
        method: String,
        arguments: Bytes,
    ) -> Result<Answered<wit::Reply>, Failed> {
        let (way, by) = Way::of(call, &method);
        if let Some(far) = self.far() {
            let FarReply { text, is_error, generation, txid, used } =
                way.far(far, &by, &method, arguments).await?;
            let text = String::from_utf8(text.into()).map_err(|_| Failed::of(unanswered()))?;
            let (generation, txid) = (generation.0, txid.0);
            return Ok(Answered { reply: wit::Reply { text, is_error, generation, txid }, used });
        }
        let bytes = arguments.len();
        let with = move |callable: Callable, room: Room<'_>| {
            let arguments =
                if arguments.is_empty() { Arguments::None } else { Arguments::JsonText(arguments) };
            callable.with(&method, arguments, room)
        };
        let reply = way.here(&self, by, bytes, with).await?;
        let (is_error, generation, txid) = (reply.is_err(), reply.generation.0, reply.txid.0);
        let used = reply.bill.used();
        let bytes = usize::try_from(reply.large_bytes()).unwrap_or(usize::MAX);
        let text = aside(bytes, move || Ok(text_of(&reply))).await?;
        if !way.take(text.len()) {
            return Err(Failed::of(no_room(&self)));
        }
        Ok(Answered { reply: wit::Reply { text, is_error, generation, txid }, used })
    }

    /// The answer to a call by types. Between processes its values travel as JSON, and the digest of the
    /// types with them.
    async fn answered_typed(
        self,
        call: Outgoing,
        signature: Arc<Signature>,
        values: Vec<Val>,
    ) -> Result<Answered<Option<Val>>, Failed> {
        let (way, mut by) = Way::of(call, &signature.method);
        let bytes = usize::try_from(Size::of(&values).memory).unwrap_or(usize::MAX);
        if let Some(far) = self.far() {
            if self.has(&way.to).await {
                let kept = values.clone();
                match self.typed_here(&way, by.clone(), &signature, kept, bytes).await {
                    // Nothing was done: it is looked for.
                    Err(failed) if failed.is_moved() => {}
                    answered => return answered,
                }
            }
            // Here the place that differs can be named; the callee's process compares once more.
            self.callable(way.to.kind()).await?.check(&signature)?;
            let of = Arc::clone(&signature);
            let text = aside(bytes, move || Ok(of.write_arguments(&values))).await?;
            if !way.take(text.len()) {
                return Err(Failed::NoMemory);
            }
            by.types = Some(signature.digest());
            let answered = way.far(far, &by, &signature.method, text.into()).await?;
            let FarReply { text, used, .. } = answered;
            let (bytes, room) = (text.len(), Arc::clone(&way.room));
            let read = move || {
                let mut take = |bytes| take_of(&room, bytes);
                Ok(signature.read_result(&text, Room::within(&mut take)).ok())
            };
            // A callee of these types sends nothing that does not read.
            let reply = aside(bytes, read).await?.ok_or_else(|| Failed::of(no_room(&self)))?;
            return Ok(Answered { reply, used });
        }
        self.typed_here(&way, by, &signature, values, bytes).await
    }

    /// The answer of an actor in this process to a call by types.
    async fn typed_here(
        &self,
        way: &Way,
        by: ByActor,
        signature: &Arc<Signature>,
        values: Vec<Val>,
        bytes: usize,
    ) -> Result<Answered<Option<Val>>, Failed> {
        let signature = Arc::clone(signature);
        let with = move |callable: Callable, room: Room<'_>| {
            let (method, expected) = (signature.method.clone(), Expected::Types(signature));
            callable.with_types(&method, Arguments::Values(values), Some(expected), room)
        };
        let mut reply = way.here(self, by, bytes, with).await?;
        Ok(Answered { used: reply.bill.used(), reply: reply.values.pop() })
    }

    /// Whether calls of the actor go to this process, as far as is known.
    async fn has(&self, actor: &ActorId) -> bool {
        matches!(self.place(actor, &Attempts::default()).await, Ok(Place::Here))
    }

    /// What carries calls to other processes, if there may be any.
    fn far(&self) -> Option<&dyn Far> {
        self.has_peers().then(|| self.inner.far.get()).flatten().map(|far| &**far)
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
        let ByActor { id, chain, until, allowed, types: _ } = by;
        tracing::debug!(chain = %chain.age(), from = %chain.caller(), to = %actor, "an actor's call");
        let arrived = self.shared().waits.arrive(id, chain.clone(), actor);
        let arrived = arrived.ok_or_else(|| HostError::Starting { actor: actor.clone() })?;
        let working = arrived.working();
        Ok((arrived, request::ByActor { runs: ForActor { chain, until, allowed }, working }))
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
            tokio::time::sleep_until(until).await;
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

    async fn is_open(&self, call: CallId, at: Option<&str>) -> bool {
        match (at, self.inner.far.get()) {
            (None, _) => self.shared().waits.is_open(call),
            (Some(address), Some(far)) => far.is_open(call, address).await,
            (Some(_), None) => false,
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
    let Some(code) = code_of(&body) else {
        return wit::Error::Failed(failure(body));
    };
    match case(code) {
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

/// The row of the table. `None`: a newer process has added it.
fn code_of(body: &Body) -> Option<Code> {
    let named = |code: &&Code| code.group() == body.group && code.name() == body.code;
    Code::ALL.iter().find(named).copied()
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
        | Code::Arguments
        | Code::Signature => Case::Invalid,
        Code::KindMissing | Code::ActorMissing | Code::MethodMissing => Case::NotFound,
        Code::CallCycle => Case::Cycle,
        Code::CallIdReused | Code::CallExpired => Case::Invalid,
        Code::CallRecordsFull
        | Code::ActorOverloaded
        | Code::HostOverloaded
        | Code::CreatedTooFast => Case::Overloaded,
        Code::DeadlinePassed => Case::TimedOut,
        Code::CallSettled
        | Code::CallPartial
        | Code::CallAnswerGone
        | Code::HeadTimeout
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
        | Code::HasOutbox
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
