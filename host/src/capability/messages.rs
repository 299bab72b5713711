//! `stockade:actor/messages`: messages to other actors, and the one translation of their errors to the
//! WIT (of those of SQL: `rows`).
//!
//! The rows are in [`crate::sqlite`]; here arguments of the guest are checked. Who delivers them is in
//! `crate::router`.

use serde::de::IgnoredAny;
use stockade_depot::ActorId;

use super::State;
use super::grants::Grants;
use crate::bindings::MessageRefusal;
use crate::bindings::stockade::actor::messages as wit;
use crate::limits::{MESSAGE_BYTES_MAX, METHOD_BYTES_MAX};
use crate::messages::Received;
use crate::sqlite::OutboxFull;

impl State {
    /// The receiver of a message that may be sent. All arguments are guest-controlled.
    fn receiver(
        &self,
        (kind, key): (&str, &str),
        method: &str,
        arguments: &str,
    ) -> Result<ActorId, MessageRefusal> {
        let invalid = MessageRefusal::Invalid;
        let to = ActorId::new(kind, key).map_err(|error| invalid(error.to_string()))?;
        if !(1..=METHOD_BYTES_MAX).contains(&method.len()) || method.contains('\0') {
            return Err(invalid(format!(
                "a method's name has 1 to {METHOD_BYTES_MAX} bytes, and no U+0000"
            )));
        }
        if !self.calls.grants().allow(&to) {
            return Err(MessageRefusal::Denied(Grants::line(&to)));
        }
        if arguments.len() as u64 > MESSAGE_BYTES_MAX {
            return Err(MessageRefusal::TooLarge);
        }
        if !arguments.is_empty() {
            serde_json::from_str::<IgnoredAny>(arguments)
                .map_err(|error| invalid(format!("the arguments are not JSON: {error}")))?;
        }
        Ok(to)
    }

    /// The method that runs next handles this message; `None`: it handles none.
    pub fn receives(&mut self, message: Option<Received>) {
        if let Some(sqlite) = &mut self.sqlite {
            sqlite.handles_message(message.is_some());
        }
        self.received = message;
    }
}

impl wit::Host for State {
    fn send(
        &mut self,
        kind: String,
        key: String,
        method: String,
        arguments: String,
    ) -> Result<u64, MessageRefusal> {
        self.sql()?;
        let to = self.receiver((&kind, &key), &method, &arguments)?;
        self.keeps_due("messages")?;
        let now = self.clock.now_ms();
        let sent = self.sql()?.send_message(&to, &method, &arguments, now)?;
        let number = sent.map_err(|OutboxFull { rows }| MessageRefusal::OutboxFull(rows))?;
        Ok(number.unsigned_abs())
    }

    fn current(&mut self) -> Result<Option<wit::Received>, MessageRefusal> {
        self.sql()?.mark()?;
        Ok(self.received.as_ref().map(|received| wit::Received {
            kind: received.from.kind.clone(),
            key: received.from.key.clone(),
            number: received.number.unsigned_abs(),
            attempt: received.attempt,
        }))
    }

    fn convert_error(&mut self, refusal: MessageRefusal) -> wasmtime::Result<wit::Error> {
        Ok(refusal.into())
    }
}

impl From<MessageRefusal> for wit::Error {
    fn from(refusal: MessageRefusal) -> Self {
        match refusal {
            MessageRefusal::Invalid(words) => Self::InvalidArgument(words),
            MessageRefusal::Denied(line) => Self::Denied(line),
            MessageRefusal::OutboxFull(rows) => Self::OutboxFull(rows),
            MessageRefusal::TooLarge => Self::TooLarge(MESSAGE_BYTES_MAX),
            MessageRefusal::Sql(error) => error.into(),
        }
    }
}
