//! The body of an error. The same shape for every error of every listener and command.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use stockade_depot::ActorId;

use super::{Code, HostError, Retry};

/// Longest message that leaves the process, in bytes: a guest can write parts of it.
pub(super) const MESSAGE_BYTES_MAX: usize = 4096;

/// The body of an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// The part of the system that answers: see [`Code`].
    pub group: String,
    /// Stable within its group.
    pub code: String,
    /// For people. May change.
    pub message: String,
    /// What to do now.
    pub retry: Retry,
    /// The facts, by name.
    #[serde(default)]
    pub details: Json,
}

impl HostError {
    /// The body of this error.
    #[must_use]
    pub fn body(&self) -> Body {
        Body { retry: self.retry(), ..self.code().body(bounded(self.to_string()), self.details()) }
    }
}

impl Body {
    /// The same body, of a call that has this id: if its outcome is not known, it says how to ask.
    #[must_use]
    pub fn identified(mut self, actor: &ActorId, id: &str) -> Self {
        let asks =
            self.retry == Retry::UnknownOutcome && self.details["call_id"].as_str() != Some(id);
        if asks && let Some(details) = self.details_mut() {
            details.insert("call_id".to_owned(), id.into());
            let ask = format!("; ask what became of the call: `stockade outcome {actor} {id}`");
            self.message.push_str(&ask);
        }
        self
    }

    /// The facts; an error without facts gets room for some.
    fn details_mut(&mut self) -> Option<&mut serde_json::Map<String, Json>> {
        if self.details.is_null() {
            self.details = json!({});
        }
        self.details.as_object_mut()
    }
}

impl Code {
    /// The body of an error with this code. `Internal` shows neither message nor details.
    #[must_use]
    pub fn body(self, message: String, details: Json) -> Body {
        let hidden = self == Self::Internal;
        Body {
            group: self.group().to_owned(),
            code: self.name().to_owned(),
            message: if hidden { "internal error; see the host's log".to_owned() } else { message },
            retry: self.retry(),
            details: if hidden { json!({}) } else { details },
        }
    }
}

/// Cuts a message at a character, to at most a screen: guests write parts of messages.
fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str(" ...");
    }
    message
}
