//! A parcel of messages that has arrived: each message runs its method in one transaction with the
//! number that says so.
//!
//! ```text
//!  open     a fresh conversation ─────────────────────────────────────────────┐
//!  deliver  stands? ─┬─ next ──> method, number: one commit ─┬─ the next one ──┤
//!                    ├─ done before ─────────────────────────┘                 ├─> gate ──> said
//!                    └─ unknown, gap, held, failed, time over: no more ────────┤
//!  close    forgotten, if it is still that ───────────────────────────────────┘
//! ```
//! Invariants:
//! - What is said leaves through the gate, behind the commits of the parcel.
//! - After a message that was not run none of the parcel runs.
//! - A parked message that runs again was counted durably before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use stockade_depot::ActorId;
use stockade_depot::gate::Gate;
use tokio::time::Instant;
use wasmtime::component::Val;

use super::answer::Answer;
use super::bill::{Bill, micros};
use super::call::{CallEnd, Running};
use super::framed::{Entry, Framed, is_refusal};
use super::generation::Generation;
use super::results::Results;
use crate::error::crash::bounded;
use crate::error::{Crash, HostError};
use crate::limits::PARCEL_RUN;
use crate::messages::{Asked, Conversation, Message, Parcel, Received, Said, Sender, Stopped};
use crate::sqlite::{Connection, Retried, SqlError, Standing};
use crate::typed::{Arguments, Method};

/// Where it stands what is said to a parcel.
pub type Heard = Arc<Mutex<Option<Said>>>;

/// What became of one message.
enum Became {
    /// It was run now.
    Run,
    /// Its number did not allow it.
    Stood(Standing),
    /// Nothing of it is kept.
    Failed(String),
    /// Its method has ended the instance.
    Died(Arc<Crash>),
}

/// The note of a message, in the transaction of its method.
struct Receipt<'a> {
    pair: (&'a Sender, &'a ActorId),
    conversation: Conversation,
    message: &'a Message,
    waits: bool,
    standing: Option<Standing>,
}

impl Framed for Receipt<'_> {
    fn enter(&mut self, sqlite: &mut Connection, _now: i64) -> Result<Entry, SqlError> {
        let standing = sqlite.stands(self.pair, self.conversation, self.message, self.waits)?;
        self.standing = Some(standing);
        Ok(match standing {
            Standing::Next => Entry::Run,
            Standing::Done | Standing::Unknown | Standing::Gap | Standing::Held => {
                Entry::Skip(Ok(Vec::new()))
            }
        })
    }

    fn leave(
        &mut self,
        sqlite: &mut Connection,
        answer: &[Val],
        _now: i64,
    ) -> Result<(), SqlError> {
        if is_refusal(answer) {
            return Ok(());
        }
        let (from, own) = self.pair;
        sqlite.settle(from, own, self.message.number)
    }
}

/// The end of a parked message, in the transaction of its method.
struct Again<'a>(&'a Retried);

impl Framed for Again<'_> {
    fn enter(&mut self, _: &mut Connection, _: i64) -> Result<Entry, SqlError> {
        Ok(Entry::Run)
    }

    fn leave(&mut self, sqlite: &mut Connection, answer: &[Val], _: i64) -> Result<(), SqlError> {
        if is_refusal(answer) { Ok(()) } else { sqlite.end_parked(self.0).map(drop) }
    }
}

impl Generation {
    /// Begins to work on a parcel. That owns the generation until it has ended, as a call does. What
    /// is said stands in `heard`, and may leave once the gate is passed. `waits`: later messages of a
    /// sender wait for those that are parked.
    pub fn receiving(mut self, parcel: Parcel, waits: bool, heard: Heard, gate: Gate) -> Running {
        Box::pin(async move {
            let end = self.receive(&parcel, waits, &heard, gate).await;
            (self, end)
        })
    }

    /// Begins the first parked message that is to run again, as [`Self::receiving`].
    pub fn retrying(mut self, gate: Gate) -> Running {
        Box::pin(async move {
            let end = self.retry(gate).await;
            (self, end)
        })
    }

    async fn receive(
        &mut self,
        parcel: &Parcel,
        waits: bool,
        heard: &Heard,
        gate: Gate,
    ) -> CallEnd {
        let since = Instant::now();
        let (own, db) = (self.actor.clone(), self.fence().db);
        let said = match &*parcel.asks {
            Asked::Open { question } => {
                let opened = self.own(|sqlite, _| sqlite.open_conversation(&parcel.from, &own));
                opened.map(|(conversation, last)| Said::Opened {
                    question: *question,
                    db,
                    conversation,
                    last,
                })
            }
            Asked::Close { conversation, .. } => self
                .own(|sqlite, _| sqlite.close_conversation(&parcel.from, &own, *conversation))
                .map(|_| Said::Closed),
            Asked::Deliver { conversation, messages, .. } => {
                let work = (&parcel.from, *conversation, waits);
                match self.run_messages(work, messages, since).await {
                    Ok((said, None)) => Ok(said),
                    Ok((said, Some(crash))) => {
                        *heard.lock() = Some(said);
                        return self.died(crash, since, gate);
                    }
                    Err(error) => Err(error),
                }
            }
        };
        let outcome = said.map(|said| drop(heard.lock().replace(said)));
        self.host_ended(outcome, since, gate)
    }

    /// Runs messages until one cannot run. With how the instance died, if it did.
    async fn run_messages(
        &mut self,
        work: (&Sender, Conversation, bool),
        messages: &[Message],
        since: Instant,
    ) -> Result<(Said, Option<Arc<Crash>>), SqlError> {
        let (mut last, mut stopped, mut died) = (None, None, None);
        for message in messages {
            let is_first = last.is_none();
            // Asked before the next budget begins: then the generation is about to end.
            if !is_first && (since.elapsed() >= PARCEL_RUN || self.meter.is_shortened()) {
                stopped = Some(Stopped::Later);
                break;
            }
            stopped = match self.run_message(work, message).await? {
                Became::Run | Became::Stood(Standing::Done | Standing::Next) => None,
                Became::Stood(Standing::Unknown) => Some(Stopped::Unknown),
                Became::Stood(Standing::Gap) => Some(Stopped::Gap),
                Became::Stood(Standing::Held) => Some(Stopped::Held),
                Became::Failed(words) => Some(Stopped::Failed(words)),
                Became::Died(crash) => {
                    let words = crash.cause.clone();
                    died = Some(crash);
                    Some(Stopped::Failed(words))
                }
            };
            if stopped.is_some() || self.session.is_dead() {
                break;
            }
            last = Some(message.number);
        }
        Ok((Said::Delivered { last, stopped }, died))
    }

    async fn run_message(
        &mut self,
        (from, conversation, waits): (&Sender, Conversation, bool),
        message: &Message,
    ) -> Result<Became, SqlError> {
        let own = self.actor.clone();
        let pair = (from, &own);
        let stands = |sqlite: &mut Connection| sqlite.stands(pair, conversation, message, waits);
        if let Some(why) = &message.park {
            let parked = self.own(|sqlite, now| match stands(sqlite)? {
                Standing::Next => Ok(match sqlite.park_message(pair, message, why, now)? {
                    true => Standing::Done,
                    // No room: it waits at its sender, as behind a parked one.
                    false => Standing::Held,
                }),
                standing => Ok(standing),
            });
            return parked.map(Became::Stood);
        }
        let (method, values) = match self.resolved(message) {
            Ok(resolved) => resolved,
            Err(words) => {
                let standing = self.own(|sqlite, _| stands(sqlite))?;
                return Ok(match standing {
                    Standing::Next => Became::Failed(words),
                    standing => Became::Stood(standing),
                });
            }
        };
        let mut receipt = Receipt { pair, conversation, message, waits, standing: None };
        let ran = self.run_framed(from, message, (&method, &values), &mut receipt).await;
        Ok(match (ran, receipt.standing) {
            (Became::Run, Some(standing)) if standing != Standing::Next => Became::Stood(standing),
            (became, _) => became,
        })
    }

    async fn run_framed(
        &mut self,
        from: &Sender,
        message: &Message,
        (method, values): (&Method, &[Val]),
        frame: &mut dyn Framed,
    ) -> Became {
        let Message { number, attempt, .. } = *message;
        self.body.receives(Some(Received { from: from.clone(), number, attempt }));
        let deadline = Instant::now() + Duration::from_millis(self.program.limits.call_time_ms);
        let ran = self.run((method, values), false, deadline, None, Some(frame)).await;
        self.body.receives(None);
        match ran {
            Ok(Ok((values, _))) if is_refusal(&values) => {
                Became::Failed(bounded(&method.to_json(&values).to_string()))
            }
            Ok(Ok(_)) => Became::Run,
            Ok(Err(error)) => Became::Failed(bounded(&error.to_string())),
            Err(crash) => Became::Died(crash),
        }
    }

    /// The method of a message, and its arguments as the method takes them.
    fn resolved(&self, message: &Message) -> Result<(Arc<Method>, Vec<Val>), String> {
        let method = self.program.methods.find(&message.method).map_err(|it| it.to_string())?;
        let arguments = match message.arguments.as_str() {
            "" => Arguments::None,
            text => Arguments::JsonText(Bytes::copy_from_slice(text.as_bytes())),
        };
        let values = method.arguments(&arguments).map_err(|error| error.to_string())?;
        Ok((Arc::clone(method), values))
    }

    async fn retry(&mut self, gate: Gate) -> CallEnd {
        let since = Instant::now();
        let retried = match self.own(|sqlite, now| sqlite.begin_parked(now)) {
            Ok(Some(retried)) => retried,
            Ok(None) => return self.host_ended(Ok(()), since, gate),
            Err(error) => return self.host_ended(Err(error), since, gate),
        };
        if self.session.durable(self.session.mark()).await.is_err() || self.session.is_dead() {
            return CallEnd::Fatal(gate.leave());
        }
        let Retried { from, message } = &retried;
        let became = match self.resolved(message) {
            Ok((method, values)) => {
                let mut again = Again(&retried);
                self.run_framed(from, message, (&method, &values), &mut again).await
            }
            Err(words) => Became::Failed(words),
        };
        match became {
            Became::Run | Became::Stood(_) => self.host_ended(Ok(()), since, gate),
            Became::Failed(words) => {
                let noted = self.own(|sqlite, _| sqlite.note_parked(&retried, &words));
                self.host_ended(noted, since, gate)
            }
            Became::Died(crash) => self.died(crash, since, gate),
        }
    }

    /// The end of a method that has ended its instance: the rows count tries, so the actor's calls are
    /// not held up for it.
    fn died(&self, crash: Arc<Crash>, since: Instant, gate: Gate) -> CallEnd {
        let waiting = gate.leave();
        if self.session.is_dead() {
            return CallEnd::Fatal(waiting);
        }
        let (reason, error) = self.death(&crash);
        let bill = Bill { run_us: micros(since.elapsed()), ..Bill::default() };
        let answer = Answer { outcome: Err(error), waiting, bill };
        CallEnd::Crashed { answer, reason, crash, counts: false }
    }

    /// The end of the host's own work.
    pub(super) fn host_ended(
        &self,
        ended: Result<(), SqlError>,
        since: Instant,
        gate: Gate,
    ) -> CallEnd {
        let waiting = gate.leave();
        if self.session.is_dead() {
            return CallEnd::Fatal(waiting);
        }
        let outcome = ended.map(|()| Results::none()).map_err(HostError::from);
        let bill = Bill { run_us: micros(since.elapsed()), ..Bill::default() };
        CallEnd::Answered(Answer { outcome, waiting, bill })
    }
}
