//! The body of an error. The same shape for every error of every listener and command.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

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
