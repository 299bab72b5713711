//! `stockade:actor/log`: structured lines of an actor, in the host's log under the target `actor`.
//!
//! Everything in a line is guest-controlled: its length and the number of lines of a call are
//! bounded, and control characters are escaped, so that a line cannot pose as another.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use stockade_depot::{ActorId, Generation};

use super::State;
use super::wasi::Output;
use crate::bindings::stockade::actor::log::{Error, Host, Level};
use crate::grip::Grip;
use crate::limits::Limits;

/// What a field takes in a line beside its name and value: quotes, colon, comma. Without it a line
/// of a million empty fields would have no length.
const FIELD_BYTES: usize = 6;

/// Where the lines of one generation go, and how many it has left.
pub(super) struct Lines {
    actor: String,
    generation: Generation,
    grip: Grip,
    lines_max: u64,
    line_bytes_max: u64,
    /// Lines of the call in progress.
    written: AtomicU64,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}

impl Lines {
    pub(super) fn new(
        actor: &ActorId,
        generation: Generation,
        limits: &Limits,
        grip: Grip,
    ) -> Self {
        Self {
            actor: actor.to_string(),
            generation,
            grip,
            lines_max: limits.log_lines_max,
            line_bytes_max: limits.log_line_bytes_max,
            written: AtomicU64::new(0),
            stdout: Output::default(),
            stderr: Output::default(),
        }
    }

    pub(super) fn begin_call(&self) {
        self.written.store(0, Ordering::Relaxed);
    }

    /// Writes what is left of a line that was not ended.
    pub(super) fn end_call(&self) {
        self.stdout.end(|line| self.output(Level::Info, line));
        self.stderr.end(|line| self.output(Level::Warn, line));
    }

    /// Bytes of one line.
    pub(super) fn line_bytes_max(&self) -> usize {
        usize::try_from(self.line_bytes_max).unwrap_or(usize::MAX)
    }

    /// A line of stdout or stderr. Beyond the call's share it is dropped, and that is said once.
    pub(super) fn output(&self, level: Level, line: &[u8]) {
        if self.grip.reason().is_some() {
            return;
        }
        match self.take_line() {
            Ok(()) => self.emit(level, &String::from_utf8_lossy(line), ""),
            Err(first) => {
                if first {
                    self.emit(Level::Warn, "further output of this call is dropped", "");
                }
            }
        }
    }

    fn write(&self, level: Level, message: &str, fields: &[(String, String)]) -> Result<(), Error> {
        let guard = self.grip.enter().map_err(|revoked| Error::Other(revoked.to_string()))?;
        let bytes = fields
            .iter()
            .map(|(name, value)| name.len() + value.len() + FIELD_BYTES)
            .fold(message.len(), usize::saturating_add);
        if bytes > self.line_bytes_max() {
            return Err(Error::TooLong(self.line_bytes_max));
        }
        self.take_line().map_err(|_| Error::TooMany(self.lines_max))?;
        let fields = if fields.is_empty() { String::new() } else { as_json(fields) };
        self.emit(level, message, &fields);
        guard.check().map_err(|revoked| Error::Other(revoked.to_string()))
    }

    /// One line of the call's share. `Err(true)` for the first one beyond it.
    fn take_line(&self) -> Result<(), bool> {
        let before = self.written.fetch_add(1, Ordering::Relaxed);
        if before < self.lines_max { Ok(()) } else { Err(before == self.lines_max) }
    }

    fn emit(&self, level: Level, message: &str, fields: &str) {
        let message = without_controls(message);
        let (actor, generation) = (&self.actor, self.generation.0);
        let fields = (!fields.is_empty()).then_some(fields);
        match level {
            Level::Trace => {
                tracing::trace!(target: "actor", actor, generation, fields, "{message}")
            }
            Level::Debug => {
                tracing::debug!(target: "actor", actor, generation, fields, "{message}")
            }
            Level::Info => tracing::info!(target: "actor", actor, generation, fields, "{message}"),
            Level::Warn => tracing::warn!(target: "actor", actor, generation, fields, "{message}"),
            Level::Error => {
                tracing::error!(target: "actor", actor, generation, fields, "{message}")
            }
        }
    }
}

impl Host for State {
    fn write(
        &mut self,
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.lines.write(level, &message, &fields))
    }
}

/// Fields as one JSON object, in the order given; a name may come twice.
fn as_json(fields: &[(String, String)]) -> String {
    let mut json = String::from("{");
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str(&serde_json::Value::from(name.as_str()).to_string());
        json.push(':');
        json.push_str(&serde_json::Value::from(value.as_str()).to_string());
    }
    json.push('}');
    json
}

/// Control characters (line feeds, terminal sequences) as escapes; tabs stay.
fn without_controls(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control() && c != '\t';
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_control(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_pose_as_another() {
        assert_eq!(without_controls("a\tb"), "a\tb");
        assert_eq!(without_controls("a\nERROR \u{1b}[31m"), "a\\nERROR \\u{1b}[31m");
    }

    #[test]
    fn fields_are_one_json_object() {
        let fields = [("a".to_owned(), "x\"y\n".to_owned()), ("a".to_owned(), String::new())];
        assert_eq!(as_json(&fields), r#"{"a":"x\"y\n","a":""}"#);
    }

    #[test]
    fn lines_are_bounded_in_length_and_number() {
        let actor = ActorId::new("kind", "key").unwrap();
        let limits = Limits { log_lines_max: 2, log_line_bytes_max: 14, ..Limits::default() };
        let lines = Lines::new(&actor, Generation(1), &limits, Grip::default());
        let field = |value: &str| [("f".to_owned(), value.to_owned())];
        assert!(lines.write(Level::Info, "1234567", &field("")).is_ok());
        let long = lines.write(Level::Info, "1234567", &field("8"));
        assert!(matches!(long, Err(Error::TooLong(14))));
        let empty = vec![(String::new(), String::new()); 3];
        let many = lines.write(Level::Info, "", &empty);
        assert!(matches!(many, Err(Error::TooLong(14))));
        assert!(lines.write(Level::Info, "", &[]).is_ok());
        assert!(matches!(lines.write(Level::Info, "", &[]), Err(Error::TooMany(2))));
        lines.begin_call();
        assert!(lines.write(Level::Info, "", &[]).is_ok());
    }
}
