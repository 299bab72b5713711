//! `stockade:actor/log`: structured lines of an actor, in the host's log under the target `actor`.
//!
//! Everything in a line is guest-controlled: its length and the number of lines of a call are
//! bounded, and control characters are escaped, so that a line cannot pose as another.
//!
//! Lines of stderr are held until something else is logged, the call ends, or there are too many:
//! if the guest dies, the held lines are its last words and stand in the one record of its crash.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use stockade_depot::{ActorId, Generation};

use super::State;
use super::rate::{Fate, Rate};
use super::wasi::Output;
use crate::bindings::stockade::actor::log::{Error, Host, Level};
use crate::grip::Grip;
use crate::limits::{CRASH_TEXT_BYTES_MAX, Limits};

/// Bytes of a field beside its name and value: quotes, colon, comma. Without them a line of a
/// million empty fields would have no length.
const FIELD_BYTES: usize = 6;
/// Bytes of a line beside its message and fields: time, level, actor.
const LINE_BYTES: usize = 100;

/// The log of one generation, and how many lines are left.
pub(super) struct Lines {
    actor: String,
    generation: Generation,
    grip: Grip,
    lines_max: u64,
    rate: Rate,
    /// The bucket of all actors.
    all: Arc<Rate>,
    line_bytes_max: u64,
    /// Lines of the call in progress.
    written: AtomicU64,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    /// Lines of stderr that are not logged yet, each with its line feed.
    held: Mutex<Vec<u8>>,
}

/// The fields of a line: one value of its record, which a log writer finds by its type. In the
/// order given; a name may come twice. Other subscribers see one JSON object.
#[derive(Debug)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    fn bytes(&self) -> usize {
        let bytes = |(name, value): &(String, String)| name.len() + value.len() + FIELD_BYTES;
        self.0.iter().map(bytes).fold(0, usize::saturating_add)
    }
}

impl Lines {
    pub(super) fn new(
        actor: &ActorId,
        generation: Generation,
        limits: &Limits,
        all: Arc<Rate>,
        grip: Grip,
    ) -> Self {
        Self {
            actor: actor.to_string(),
            generation,
            grip,
            lines_max: limits.log_lines_max,
            rate: Rate::new(limits.log_bytes_per_s),
            all,
            line_bytes_max: limits.log_line_bytes_max,
            written: AtomicU64::new(0),
            stdout: Output::default(),
            stderr: Output::default(),
            held: Mutex::default(),
        }
    }

    pub(super) fn begin_call(&self) {
        self.written.store(0, Ordering::Relaxed);
    }

    /// Writes the held lines, and a line that was not ended.
    pub(super) fn end_call(&self) {
        self.stdout.end(|line| self.output(Level::Info, line));
        self.stderr.end(|line| self.hold(line));
        self.release();
    }

    /// Holds a line of stderr. The oldest are logged once there are too many: what stays is longer
    /// than a line and than the last words that are kept.
    pub(super) fn hold(&self, line: &[u8]) {
        let kept = self.line_bytes_max().saturating_add(CRASH_TEXT_BYTES_MAX);
        let mut held = self.held.lock();
        held.extend_from_slice(line);
        held.push(b'\n');
        if held.len() > kept.saturating_mul(2) {
            let older = held.len() - kept;
            let end = memchr::memrchr(b'\n', &held[..older]).map_or(0, |at| at + 1);
            self.emit_lines(&held[..end]);
            held.drain(..end);
        }
    }

    /// Logs the held lines.
    fn release(&self) {
        self.emit_lines(&std::mem::take(&mut *self.held.lock()));
    }

    fn emit_lines(&self, lines: &[u8]) {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.emit_output(Level::Warn, &line[..line.len() - 1]);
        }
    }

    /// Takes what the guest wrote last to stderr, instead of logging it line by line.
    pub(super) fn last_words(&self) -> String {
        let mut held = std::mem::take(&mut *self.held.lock());
        self.stderr.end(|line| held.extend_from_slice(line));
        String::from_utf8_lossy(&held).into_owned()
    }

    /// Bytes of one line.
    pub(super) fn line_bytes_max(&self) -> usize {
        usize::try_from(self.line_bytes_max).unwrap_or(usize::MAX)
    }

    /// A line of stdout.
    pub(super) fn output(&self, level: Level, line: &[u8]) {
        self.release();
        self.emit_output(level, line);
    }

    /// A line of stdout or stderr. Beyond the call's share it is dropped, and that is logged once.
    fn emit_output(&self, level: Level, line: &[u8]) {
        if self.grip.reason().is_some() {
            return;
        }
        match self.take_line() {
            Ok(()) => self.emit(level, &String::from_utf8_lossy(line), None),
            Err(first) => {
                if first {
                    self.emit(Level::Warn, "further output of this call is dropped", None);
                }
            }
        }
    }

    fn write(&self, level: Level, message: &str, fields: Fields) -> Result<(), Error> {
        let guard = self.grip.enter().map_err(|revoked| Error::Other(revoked.to_string()))?;
        let bytes = message.len().saturating_add(fields.bytes());
        if bytes > self.line_bytes_max() {
            return Err(Error::TooLong(self.line_bytes_max));
        }
        self.take_line().map_err(|_| Error::TooMany(self.lines_max))?;
        self.release();
        self.emit(level, message, Some(&fields).filter(|fields| !fields.0.is_empty()));
        guard.check().map_err(|revoked| Error::Other(revoked.to_string()))
    }

    /// One line of the call's share. `Err(true)` for the first one beyond it.
    fn take_line(&self) -> Result<(), bool> {
        let before = self.written.fetch_add(1, Ordering::Relaxed);
        if before < self.lines_max { Ok(()) } else { Err(before == self.lines_max) }
    }

    /// Writes a line, unless the actor or all actors together exceed their rate.
    fn emit(&self, level: Level, message: &str, fields: Option<&Fields>) {
        let bytes = LINE_BYTES + message.len() + fields.map_or(0, Fields::bytes);
        for (rate, whose) in [(&self.rate, "of this actor"), (&*self.all, "of all actors")] {
            match rate.take(bytes) {
                Fate::Written => {}
                Fate::Dropped(None) => return,
                Fate::Dropped(Some(lines)) => {
                    let (actor, generation) = (&self.actor, self.generation.0);
                    return tracing::warn!(
                        actor,
                        generation,
                        lines,
                        "lines {whose} were dropped: too many bytes a second"
                    );
                }
            }
        }
        self.emit_now(level, message, fields);
    }

    fn emit_now(&self, level: Level, message: &str, fields: Option<&Fields>) {
        let message = without_controls(message);
        let (actor, generation) = (&self.actor, self.generation.0);
        let fields = fields.map(|fields| fields as &(dyn StdError + 'static));
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
        Ok(self.lines.write(level, &message, Fields(fields)))
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = |text: &str| serde_json::Value::from(text);
        f.write_str("{")?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}:{}", json(name), json(value))?;
        }
        f.write_str("}")
    }
}

/// Lets the fields pass through `tracing` without losing their type.
impl StdError for Fields {}

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
        assert_eq!(Fields(fields.into()).to_string(), r#"{"a":"x\"y\n","a":""}"#);
    }

    #[test]
    fn lines_are_bounded_in_length_and_number() {
        let actor = ActorId::new("kind", "key").unwrap();
        let limits = Limits { log_lines_max: 2, log_line_bytes_max: 14, ..Limits::default() };
        let lines = Lines::new(
            &actor,
            Generation(1),
            &limits,
            Arc::new(Rate::new(u64::MAX)),
            Grip::default(),
        );
        let field = |value: &str| Fields(vec![("f".to_owned(), value.to_owned())]);
        let none = || Fields(Vec::new());
        assert!(lines.write(Level::Info, "1234567", field("")).is_ok());
        let long = lines.write(Level::Info, "1234567", field("8"));
        assert!(matches!(long, Err(Error::TooLong(14))));
        let empty = Fields(vec![(String::new(), String::new()); 3]);
        let many = lines.write(Level::Info, "", empty);
        assert!(matches!(many, Err(Error::TooLong(14))));
        assert!(lines.write(Level::Info, "", none()).is_ok());
        assert!(matches!(lines.write(Level::Info, "", none()), Err(Error::TooMany(2))));
        lines.begin_call();
        assert!(lines.write(Level::Info, "", none()).is_ok());
    }

    #[test]
    fn last_words_are_the_newest_and_bounded() {
        let actor = ActorId::new("kind", "key").unwrap();
        let limits = Limits { log_line_bytes_max: 100, ..Limits::default() };
        let lines = Lines::new(
            &actor,
            Generation(1),
            &limits,
            Arc::new(Rate::new(u64::MAX)),
            Grip::default(),
        );
        lines.hold(b"panicked at src/lib.rs:1");
        lines.hold(b"boom");
        lines.stderr.write(b"and so", 100, |line| lines.hold(line));
        assert_eq!(lines.last_words(), "panicked at src/lib.rs:1\nboom\nand so");
        assert_eq!(lines.last_words(), "", "they are told once");
        lines.hold(b"of a call that goes on");
        lines.write(Level::Info, "", Fields(Vec::new())).unwrap();
        assert_eq!(lines.last_words(), "", "it was logged before the line");
        for number in 0..10_000 {
            lines.hold(number.to_string().as_bytes());
        }
        let words = lines.last_words();
        assert!(words.ends_with("9998\n9999\n"), "{words}");
        assert!(words.len() <= 2 * (CRASH_TEXT_BYTES_MAX + 100), "{}", words.len());
    }
}
