//! Calls that have an id: the record at the callee decides whether the method runs, and keeps what it
//! answered. And methods that the manifest marks as `transactional`, with an id or without.
//!
//! ```text
//!                    transactional                        any other method
//!  without an id     a frame without notes                nothing
//!  with one          record, answer, effects: one commit  `begun` is durable ──> method ──> `ok`, `err`
//! ```
//! Invariants:
//! - A method runs only if nothing is recorded of the call's id, and once at most.
//! - A kept answer is given as it was, whatever the method would answer now.
//! - An id that names a time too long ago is refused unless its record is still here.

use std::sync::Arc;

use stockade_depot::gate::Gate;
use wasmtime::component::Val;

use super::call::{ForActor, Running};
use super::framed::{Entry, Framed, is_refusal};
use super::generation::Generation;
use super::identified::{Age, Identified, age, kept_until, name};
use crate::calls::CallKey;
use crate::error::{HostError, NotRun};
use crate::limits::{CALL_ANSWER_BYTES_MAX, CALL_RECORDS_MAX};
use crate::sqlite::{Connection, MayRun, Recorded, RecordedCall, SqlError, Unrecorded};
use crate::typed::{Method, Size};

/// A frame in which the host notes nothing.
struct Plain;

impl Framed for Plain {
    fn enter(&mut self, _: &mut Connection, _: i64) -> Result<Entry, SqlError> {
        Ok(Entry::Run)
    }

    fn leave(&mut self, _: &mut Connection, _: &[Val], _: i64) -> Result<(), SqlError> {
        Ok(())
    }
}

/// A frame that records a call.
struct Recording {
    key: CallKey,
    call: RecordedCall,
    method: Arc<Method>,
    apart: bool,
}

impl Framed for Recording {
    fn is_apart(&self) -> bool {
        self.apart
    }

    fn enter(&mut self, sqlite: &mut Connection, now: i64) -> Result<Entry, SqlError> {
        self.call.until = kept_until(&self.key, now);
        let age = age(&self.key, now);
        if age == Age::Ahead {
            return Ok(self.refused(NotRun::Ahead));
        }
        let unrecorded = match (age, self.apart) {
            (Age::Past, _) => Unrecorded::Look,
            (_, true) => Unrecorded::Begin,
            (_, false) => Unrecorded::Run,
        };
        Ok(match sqlite.begin_call(&self.call, now, unrecorded)? {
            MayRun::Yes if age == Age::Past => self.refused(NotRun::Expired),
            MayRun::Yes => Entry::Run,
            MayRun::Full => {
                let max = CALL_RECORDS_MAX.unsigned_abs();
                Entry::Skip(Err(HostError::CallRecordsFull { max }))
            }
            MayRun::Reused => self.refused(NotRun::Reused),
            MayRun::Recorded(Recorded::Begun) => self.refused(NotRun::Partial),
            MayRun::Recorded(Recorded::Never | Recorded::Absent) => self.refused(NotRun::Settled),
            MayRun::Recorded(Recorded::Done { answer, .. }) => {
                match answer.and_then(|answer| self.method.results_of(&answer)) {
                    Some(values) => Entry::Skip(Ok(values)),
                    None => self.refused(NotRun::AnswerGone),
                }
            }
        })
    }

    fn leave(&mut self, sqlite: &mut Connection, answer: &[Val], _: i64) -> Result<(), SqlError> {
        sqlite.end_call(&self.call, is_refusal(answer), kept(&self.method, answer))
    }
}

impl Recording {
    fn refused(&self, why: NotRun) -> Entry {
        Entry::Skip(Err(HostError::NotRun { id: self.key.id().to_owned(), why }))
    }
}

/// The answer as it is kept; `None`: it is too large.
fn kept(method: &Method, answer: &[Val]) -> Option<String> {
    // A number of 8 bytes may be one digit; what is larger than that is not written first.
    let bytes = usize::try_from(Size::of(answer).data).unwrap_or(usize::MAX);
    if bytes > CALL_ANSWER_BYTES_MAX.saturating_mul(8) {
        return None;
    }
    let text = method.to_json(answer).to_string();
    (text.len() <= CALL_ANSWER_BYTES_MAX).then_some(text)
}

impl Generation {
    /// Begins a call as its id and its method ask for it. `is_heavy`: see [`Self::is_heavy_with`].
    pub fn calling_with(
        self,
        method: Arc<Method>,
        arguments: Vec<Val>,
        gate: Gate,
        by: Option<ForActor>,
        is_heavy: bool,
        identified: Option<Identified>,
    ) -> Running {
        let transactional = self.program.is_transactional(&method);
        let frame: Option<Box<dyn Framed>> = match identified {
            None if transactional => Some(Box::new(Plain)),
            None => None,
            Some(Identified { key, arguments }) => {
                let call = RecordedCall {
                    of: name(&self.actor, &key),
                    method: method.full_name(),
                    arguments,
                    until: 0,
                };
                let method = Arc::clone(&method);
                Some(Box::new(Recording { key, call, method, apart: !transactional }))
            }
        };
        self.calling(method, arguments, gate, by, is_heavy, frame)
    }
}
