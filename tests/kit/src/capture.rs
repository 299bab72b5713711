//! The log lines of a test process, for tests that check how often and with which fields something
//! is logged.
//!
//! The subscriber is the process's only one, since sessions log from many threads; a test finds its
//! own lines by the name of its actor, which no other test of the binary uses.

use std::fmt::{Debug, Write};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    /// The level.
    pub level: Level,
    /// `message`, then each field as ` name=value`.
    pub text: String,
}

/// All lines since [`capture`] was first called.
#[derive(Clone, Default)]
pub struct Capture {
    lines: Arc<Mutex<Vec<Line>>>,
    acts: Arc<Mutex<Vec<Act>>>,
}

/// What is done when a line has all of some words.
#[derive(Clone)]
struct Act {
    words: Vec<String>,
    act: Arc<dyn Fn() + Send + Sync>,
}

/// Starts to keep log lines, once for the process.
pub fn capture() -> Capture {
    static KEPT: OnceLock<Capture> = OnceLock::new();
    KEPT.get_or_init(|| {
        let capture = Capture::default();
        let set = tracing::subscriber::set_global_default(Keeper(capture.clone()));
        set.expect("the process has no other subscriber");
        capture
    })
    .clone()
}

impl Capture {
    /// Lines that have all of `words`, in order.
    #[must_use]
    pub fn lines(&self, words: &[&str]) -> Vec<Line> {
        let lines = self.lines.lock();
        lines.iter().filter(|line| words.iter().all(|w| line.text.contains(w))).cloned().collect()
    }

    /// Runs `act` for each later line that has all of `words`, on the thread that logs the line and
    /// before that thread continues.
    pub fn when(&self, words: &[&str], act: impl Fn() + Send + Sync + 'static) {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        self.acts.lock().push(Act { words, act: Arc::new(act) });
    }

    /// Lines of `warn` or `error` that have all of `words`.
    #[must_use]
    pub fn loud(&self, words: &[&str]) -> Vec<Line> {
        self.lines(words).into_iter().filter(|line| line.level <= Level::WARN).collect()
    }
}

/// The subscriber: events of Stockade's packages down to debug, no spans.
struct Keeper(Capture);

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let ours = target.starts_with("stockade") || target == "actor";
        ours && *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        let level = *event.metadata().level();
        let text = format!("{}{}", words.message, words.fields);
        let acts = self.0.acts.lock().clone();
        let meant = |act: &Act| act.words.iter().all(|word| text.contains(word));
        let acts: Vec<Act> = acts.into_iter().filter(meant).collect();
        self.0.lines.lock().push(Line { level, text });
        acts.iter().for_each(|act| (act.act)());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.expect("a String takes everything");
    }
}
