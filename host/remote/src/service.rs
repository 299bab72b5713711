//! What a server does with what it is sent: greetings first, then steps.
//!
//! Invariants:
//! - A connection whose greeting was not accepted has no step.
//! - A step that is refused here was certainly not applied, and its answer says so.
//! - The bytes of a message are counted before they are read, and as long as they are held.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use prost::Message;
use stockade_depot::store::{
    CheckAt, CommitStep, CreateStep, DueLook, Keep, SealStep, StageStep, Superseded, TakeoverStep,
    VersionKey,
};
use stockade_depot::store::{NodeBeat, Store};
use stockade_depot::{ActorId, DbId, Digest, Fence, NodeSession, Pgno, Shard, StoreError, Txid};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::body::{self, Broken, cut, join};
use crate::handshake::{
    ELSEWHERE_SINCE, FULL_SINCE, Refusal, RefusalCode, Terms, WAIT_SINCE, shown,
};
use crate::limits::HELD_BYTES_MAX;
use crate::proto::store_server::Store as Protocol;
use crate::proto::{self, Step, welcome};
use crate::steps::{About, about, each_step, lend, name};
use crate::token::StoreToken;
use crate::wire::{Malformed, Wire};

/// Bytes that one permit of the held bytes stands for.
const PERMIT_BYTES: u64 = 1 << 10;

/// Who is on the other end of a connection, and what was agreed with it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: String,
    /// Whether its certificate is one for a store.
    pub(crate) certified: bool,
    version: OnceLock<u32>,
}

impl Peer {
    pub(crate) fn new(address: String, certified: bool) -> Self {
        Self { address, certified, version: OnceLock::new() }
    }

    /// Whether its greeting was accepted.
    pub(crate) fn is_greeted(&self) -> bool {
        self.version.get().is_some()
    }
}

/// A store behind the protocol.
#[derive(Clone)]
pub(crate) struct Service {
    store: Arc<dyn Store>,
    token: Option<StoreToken>,
    terms: Terms,
    held: Arc<Semaphore>,
}

impl Service {
    pub(crate) fn new(store: Arc<dyn Store>, token: Option<StoreToken>, terms: Terms) -> Self {
        let held = Arc::new(Semaphore::new(permits(HELD_BYTES_MAX)));
        Self { store, token, terms, held }
    }

    fn accept(&self, peer: &Peer, hello: proto::Hello) -> Result<proto::Accepted, Refusal> {
        let presented = hello.token.as_deref();
        let known = match (&self.token, presented) {
            (Some(token), Some(presented)) => token.matches(presented) || peer.certified,
            (_, _) => peer.certified,
        };
        if !known {
            let what = match (&self.token, presented) {
                (Some(_), Some(_)) => "the token is another one than the store's",
                (Some(_), None) => "neither a certificate for a store nor a token was shown",
                (None, _) => "the certificate lacks the name of a store; this store takes no token",
            };
            return Err(Refusal::new(RefusalCode::Access, what));
        }
        let theirs = Terms::take(hello.terms).ok_or_else(|| {
            Refusal::new(
                RefusalCode::Malformed,
                "the greeting does not say what the program can do",
            )
        })?;
        let version = self.terms.agree(&theirs)?;
        if *peer.version.get_or_init(|| version) != version {
            let what = "this connection has agreed on another version before";
            return Err(Refusal::new(RefusalCode::Malformed, what));
        }
        tracing::info!(peer = %peer.address, version, program = %shown(&theirs.program), "greeted");
        Ok(proto::Accepted {
            version: Some(version),
            terms: Some(self.terms.put()),
            shards: Some(self.store.shards().into()),
        })
    }

    /// Reads a step, applies it, and encodes its answer.
    async fn serve(
        &self,
        version: u32,
        first: proto::RequestPart,
        rest: Streaming<proto::RequestPart>,
    ) -> Replied {
        let came = Instant::now();
        let read = self.read(version, first, rest, came).await;
        let (step, known, message, wait, held) = match read {
            Ok(read) => read,
            Err(why) => return Replied::error(StoreError::Unavailable(why), None),
        };
        self.answer(version, (step, known, message), (came, wait), held).await
    }

    /// Applies a step that has come whole, and encodes its answer.
    async fn answer(
        &self,
        version: u32,
        (step, known, message): (Step, About, Bytes),
        (came, wait): (Instant, Option<Duration>),
        held: OwnedSemaphorePermit,
    ) -> Replied {
        // An answer may be much longer than its question.
        let held = if known.answers_long() {
            drop(held);
            self.hold(known.bytes_max()).await
        } else {
            Ok(held)
        };
        let held = match held {
            Ok(held) => held,
            Err(why) => return Replied::error(StoreError::Unavailable(why), None),
        };
        if wait.is_some_and(|wait| came.elapsed() >= wait) {
            let what = "the caller waits no longer".to_owned();
            return Replied::error(StoreError::Unavailable(what), Some(held));
        }
        match apply(&self.store, step, message).await {
            Ok(Ok(answer)) => {
                let bytes = u64::try_from(answer.len()).unwrap_or(u64::MAX);
                if bytes > known.bytes_max() {
                    let max = known.bytes_max();
                    let what = format!("an answer of {bytes} bytes is over the limit of {max}");
                    tracing::warn!(step = name(step), bytes, max, "answer over the limit");
                    return Replied::error(known.unanswered(what), Some(held));
                }
                Replied { failed: false, message: answer.into(), held: Some(held) }
            }
            Ok(Err(error)) => Replied::error(known_to(version, error), Some(held)),
            Err(malformed) => {
                tracing::warn!(step = name(step), %malformed, "a step was refused");
                Replied::error(StoreError::Unavailable(malformed.to_string()), Some(held))
            }
        }
    }

    /// Answers a step that a simulation has carried here.
    #[cfg(feature = "simulated")]
    pub(crate) async fn answer_carried(
        &self,
        step: Step,
        message: Bytes,
        wait: Duration,
    ) -> (bool, Bytes) {
        let came = Instant::now();
        let bytes = u64::try_from(message.len()).unwrap_or(u64::MAX);
        let replied = match (about(step), self.hold(bytes).await) {
            (Some(known), Ok(held)) => {
                let version = crate::handshake::NEWEST_VERSION;
                self.answer(version, (step, known, message), (came, Some(wait)), held).await
            }
            (None, _) | (_, Err(_)) => {
                Replied::error(StoreError::Unavailable("no such step".to_owned()), None)
            }
        };
        (replied.failed, replied.message)
    }

    async fn read(
        &self,
        version: u32,
        first: proto::RequestPart,
        rest: Streaming<proto::RequestPart>,
        came: Instant,
    ) -> Result<(Step, About, Bytes, Option<Duration>, OwnedSemaphorePermit), String> {
        let head = first.head.ok_or("a request without its head")?;
        if head.version != Some(version) {
            return Err(format!("a request of another version than {version}"));
        }
        let step = Step::try_from(head.step).unwrap_or(Step::Unspecified);
        let known = about(step).ok_or("a step that this program does not know")?;
        let bytes = head.bytes.ok_or("a request that does not say how long it is")?;
        let length = body::check(bytes, known.bytes_max()).map_err(|broken| broken.to_string())?;
        let held = self.hold(bytes).await?;
        let rest = rest.map_ok(|part| part.data).boxed();
        let whole = timeout_at(came + known.deadline(), join(length, first.data, rest)).await;
        let whole = whole.unwrap_or_else(|_| Err(Broken::Length));
        let message = whole.map_err(|broken| broken.to_string())?;
        let wait = head.wait_ms.filter(|_| version >= WAIT_SINCE).map(Duration::from_millis);
        Ok((step, known, message, wait, held))
    }

    /// Waits until so many bytes may be held.
    async fn hold(&self, bytes: u64) -> Result<OwnedSemaphorePermit, String> {
        let wanted = u32::try_from(permits(bytes)).unwrap_or(u32::MAX);
        let held = Arc::clone(&self.held).acquire_many_owned(wanted).await;
        held.map_err(|_| "the server ends".to_owned())
    }
}

/// The error as a client of `version` knows it.
fn known_to(version: u32, error: StoreError) -> StoreError {
    match error {
        error @ StoreError::Elsewhere { .. } if version < ELSEWHERE_SINCE => {
            StoreError::Unavailable(error.to_string())
        }
        error => error,
    }
}

fn permits(bytes: u64) -> usize {
    usize::try_from(bytes / PERMIT_BYTES + 1).unwrap_or(usize::MAX)
}

/// The answer to a step, and what holds its bytes.
struct Replied {
    failed: bool,
    message: Bytes,
    held: Option<OwnedSemaphorePermit>,
}

impl Replied {
    fn error(error: StoreError, held: Option<OwnedSemaphorePermit>) -> Self {
        let message = Wire::<proto::StoreError>::put(error).encode_to_vec().into();
        Self { failed: true, message, held }
    }

    /// In parts; the bytes are held until the last one is taken.
    fn parts(
        self,
        full: Option<proto::StoreFull>,
    ) -> BoxStream<'static, Result<proto::ReplyPart, Status>> {
        let Self { failed, message, held } = self;
        let bytes = Some(u64::try_from(message.len()).unwrap_or(u64::MAX));
        let mut head = Some(proto::ReplyHead { bytes, failed: Some(failed), full });
        let parts = cut(message).into_iter().map(move |data| {
            let _held = &held;
            Ok(proto::ReplyPart { head: head.take(), data })
        });
        stream::iter(parts).boxed()
    }
}

fn peer<T>(request: &Request<T>) -> Result<Arc<Peer>, Status> {
    let peer = request.extensions().get::<Arc<Peer>>().cloned();
    peer.ok_or_else(|| Status::internal("BUG: a connection without a peer"))
}

#[async_trait]
impl Protocol for Service {
    async fn greet(
        &self,
        request: Request<proto::Hello>,
    ) -> Result<Response<proto::Welcome>, Status> {
        let peer = peer(&request)?;
        let answer = match self.accept(&peer, request.into_inner()) {
            Ok(accepted) => welcome::Answer::Accepted(accepted),
            Err(refusal) => {
                let code = refusal.code;
                tracing::warn!(peer = %peer.address, ?code, %refusal, "a client was refused");
                welcome::Answer::Refusal(refusal.put())
            }
        };
        Ok(Response::new(proto::Welcome { answer: Some(answer) }))
    }

    async fn leave(
        &self,
        request: Request<proto::Refusal>,
    ) -> Result<Response<proto::Done>, Status> {
        let peer = peer(&request)?;
        let refusal = Refusal::take(request.get_ref());
        let code = refusal.code;
        tracing::warn!(peer = %peer.address, ?code, %refusal, "a client refuses this server");
        Ok(Response::new(proto::Done {}))
    }

    type StepStream = BoxStream<'static, Result<proto::ReplyPart, Status>>;

    async fn step(
        &self,
        request: Request<Streaming<proto::RequestPart>>,
    ) -> Result<Response<Self::StepStream>, Status> {
        let peer = peer(&request)?;
        let Some(version) = peer.version.get().copied() else {
            return Err(Status::failed_precondition("no greeting was accepted"));
        };
        let mut parts = request.into_inner();
        let first = parts.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("a request without parts"))?;
        let replied = self.serve(version, first, parts).await;
        let full = self.store.full().filter(|_| version >= FULL_SINCE).map(Wire::put);
        Ok(Response::new(replied.parts(full)))
    }
}

/// A message of a step, as it came.
fn decode<M: Message + Default>(message: Bytes) -> Result<M, Malformed> {
    M::decode(message).map_err(|_| Malformed::Message)
}

/// What a step answers, as it is sent.
fn encode<T: Wire<M>, M: Message>(answer: Result<T, StoreError>) -> Result<Vec<u8>, StoreError> {
    answer.map(|answer| answer.put().encode_to_vec())
}

/// The type of an argument as it is sent.
macro_rules! owned {
    ($kept:ident $(<$of:ident>)?) => { $kept $(<$of>)? };
    (&$lent:tt) => { <$lent as ToOwned>::Owned };
    (?$maybe:tt) => { Option<<$maybe as ToOwned>::Owned> };
}

/// Makes the server's side of the table of steps.
macro_rules! server {
    ($($group:ident {$(
        $asked:ident as $message:ident = $method:ident($(
            $arg:ident: $($kept:ident $(<$of:ident>)?)? $(&$lent:tt)? $(?$maybe:tt)?
        ),*) -> $answer:ty as $reply:ident [$effect:ident $carries:ident]
            $(since($since:expr))? $(after $check:expr)?;
    )*} with {$($own:tt)*})*) => {
        /// Applies a step to the store.
        ///
        /// # Errors
        /// The message is refused; nothing was applied. Errors of the store are in the answer.
        async fn apply(
            store: &Arc<dyn Store>,
            step: Step,
            message: Bytes,
        ) -> Result<Result<Vec<u8>, StoreError>, Malformed> {
            Ok(match step {
                Step::Unspecified => return Err(Malformed::Missing("Step")),
                Step::Confirm => {
                    let proto::Confirm { fences } = decode(message)?;
                    let fences: Vec<Fence> = Wire::take(fences)?;
                    encode::<_, proto::Confirmed>(store.confirm(&fences).await)
                }
                Step::Claim => {
                    let proto::Claim { owner, heirs } = decode(message)?;
                    let owner: NodeSession = Wire::take(owner)?;
                    let heirs: Vec<Fence> = Wire::take(heirs)?;
                    encode::<_, proto::Done>(store.claim(owner, &heirs).await)
                }
                Step::NodeBeat => {
                    let proto::NodeBeatStep { session, beat } = decode(message)?;
                    let (session, beat): (NodeSession, NodeBeat) =
                        (Wire::take(session)?, Wire::take(beat)?);
                    encode::<_, proto::Done>(store.node_beat(session, &beat).await)
                }
                $($(Step::$asked => {
                    let proto::$message { $($arg),* } = decode(message)?;
                    $(let $arg: owned!($($kept $(<$of>)?)? $(&$lent)? $(?$maybe)?) =
                        Wire::take($arg)?;)*
                    let answer = store.$method($(
                        $(lend!($arg: $kept))? $(lend!($arg: &$lent))? $(lend!($arg: ?$maybe))?
                    ),*).await;
                    encode::<_, proto::$reply>(answer)
                })*)*
            })
        }
    };
}

each_step!(server);
