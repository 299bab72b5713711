//! How a guest's instance died: what callers may know, and what its author needs.
//!
//! Invariant: `cause` is the host's own text. Last words and frames are the guest's; they go to the
//! log, to operators and to embedders, and to callers only where the host runs for development.

use super::Retry;
use crate::limits::{CRASH_TEXT_BYTES_MAX, TrapLimit};

/// Marks the place where a text was cut.
const CUT: &str = "\n[...]\n";

/// How a guest's instance died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The cause, without anything that the guest has written.
    pub cause: String,
    /// The limit that the guest exceeded, if that is the cause.
    pub limit: Option<TrapLimit>,
    /// Whether the same call may succeed: `retry`, or `fix`.
    pub retry: Retry,
    /// What the guest wrote last to stderr in the call or hook that it died in: the message of a
    /// panic, an exception with its stack. Guest-controlled.
    pub last_words: String,
    /// The guest's frames, innermost first. Names are guest-controlled.
    pub backtrace: String,
}

impl Crash {
    /// A crash with a cause and nothing else.
    #[must_use]
    pub fn of(cause: impl Into<String>, retry: Retry) -> Self {
        let (last_words, backtrace) = (String::new(), String::new());
        Self { cause: bounded(&cause.into()), limit: None, retry, last_words, backtrace }
    }

    /// Adds the guest's last words and frames, cut to their bounds.
    #[must_use]
    pub fn told(self, last_words: &str, backtrace: &str) -> Self {
        let (last_words, backtrace) = (bounded(last_words.trim()), bounded(backtrace));
        Self { last_words, backtrace, ..self }
    }
}

/// The text with its middle left out, if it is too long: an exception begins with its message, and
/// a traceback ends with it.
#[must_use]
pub fn bounded(text: &str) -> String {
    if text.len() <= CRASH_TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let kept = CRASH_TEXT_BYTES_MAX - CUT.len();
    let head = text.floor_char_boundary(kept / 2);
    let tail = text.ceil_char_boundary(text.len() - kept / 2);
    [&text[..head], CUT, &text[tail..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        let text = format!("begins{}ends", "ä".repeat(CRASH_TEXT_BYTES_MAX));
        let cut = bounded(&text);
        assert!(cut.len() <= CRASH_TEXT_BYTES_MAX, "{}", cut.len());
        assert!(cut.starts_with("beginsä") && cut.ends_with("äends") && cut.contains(CUT));
        assert_eq!(bounded("short"), "short");
    }
}
