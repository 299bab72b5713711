//! A record of the log: always one line.
//!
//! ```text
//!  2026-11-29T12:00:00.000000Z  INFO actor: posted actor=chat/lobby generation=3 nick=ada id=2
//!  {"timestamp":"..","level":"INFO","target":"actor",
//!   "fields":{"message":"posted","actor":"chat/lobby","generation":3,"nick":"ada","id":"2"}}
//! ```
//! Guests write much of a record. So:
//! - control characters, line separators and characters that turn the direction of text are
//!   escaped;
//! - in text form, a value that could be read as something else (spaces, quotes, `=`) is in quotes;
//! - a field keeps its name unless the name is taken, by the host's own fields first: then the
//!   field's number in the record is appended, `name.3`;
//! - a value longer than the longest line of a guest is cut.

use std::collections::HashSet;
use std::error::Error;
use std::fmt::{self, Debug, Write as _};

use serde_json::{Map, Value as Json, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use stockade::internal::Fields;
use stockade::internal::LOG_LINE_BYTES_MAX;

/// The mark where a value was cut.
const CUT: &str = "[...]";

/// The form of records.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Text,
    Json,
}

/// Writes records in one form.
pub(super) struct Records(pub(super) Form);

impl<S, N> FormatEvent<S, N> for Records
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut values = Values::new();
        event.record(&mut values);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let line = match self.0 {
            Form::Json => values.json(&time, metadata.level(), metadata.target()),
            Form::Text => {
                let level = level(metadata.level(), writer.has_ansi_escapes());
                values.text(&time, &level, metadata.target())
            }
        };
        writer.write_str(&line)?;
        writer.write_char('\n')
    }
}

/// The values of one record, by name.
struct Values {
    message: String,
    fields: Vec<(String, Json)>,
    given: HashSet<String>,
    /// Bytes that are left for values.
    room: usize,
}

impl Values {
    fn new() -> Self {
        let room = usize::try_from(LOG_LINE_BYTES_MAX).unwrap_or(usize::MAX);
        let (message, fields) = (String::new(), Vec::new());
        Self { message, fields, given: HashSet::from(["message".to_owned()]), room }
    }

    /// Writes a value of the host or of a guest, as far as there is room.
    fn put(&mut self, name: &str, value: Json) {
        if self.room == 0 {
            return;
        }
        let value = match value {
            Json::String(text) => Json::String(self.cut(text)),
            other => other,
        };
        if name == "message" && self.message.is_empty() {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return;
        }
        let mut name = self.cut(name.to_owned());
        while !self.given.insert(name.clone()) {
            name = format!("{name}.{}", self.fields.len() + 1);
        }
        self.fields.push((name, value));
    }

    fn cut(&mut self, mut text: String) -> String {
        if text.len() > self.room {
            text.truncate(text.floor_char_boundary(self.room));
            text.push_str(CUT);
        }
        self.room = self.room.saturating_sub(text.len());
        text
    }

    fn json(self, time: &str, level: &Level, target: &str) -> String {
        let mut fields = Map::from_iter([("message".to_owned(), Json::String(self.message))]);
        fields.extend(self.fields);
        let record = json!({
            "timestamp": time, "level": level.as_str(), "target": target, "fields": fields
        });
        // JSON itself allows characters that a terminal acts on.
        let mut line = String::new();
        for c in record.to_string().chars() {
            match is_hostile(c) {
                true => write!(line, "\\u{:04x}", u32::from(c)).expect("a String takes everything"),
                false => line.push(c),
            }
        }
        line
    }

    fn text(self, time: &str, level: &str, target: &str) -> String {
        let mut line = format!("{time} {level} {target}:");
        if !self.message.is_empty() {
            line.push(' ');
            let odd = |c| is_hostile(c) || matches!(c, '"' | '=');
            push_text(&mut line, &self.message, self.message.contains(odd));
        }
        let odd = |c: char| is_hostile(c) || c.is_whitespace() || matches!(c, '"' | '=' | '\\');
        for (name, value) in &self.fields {
            line.push(' ');
            push_text(&mut line, name, name.is_empty() || name.contains(odd));
            line.push('=');
            match value {
                Json::String(text) => {
                    push_text(&mut line, text, text.is_empty() || text.contains(odd));
                }
                number => line.push_str(&number.to_string()),
            }
        }
        line
    }
}

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), json!(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        match value.downcast_ref::<Fields>() {
            Some(Fields(fields)) => {
                for (name, value) in fields {
                    self.put(name, json!(value));
                }
            }
            None => self.put(field.name(), json!(value.to_string())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field.name(), json!(format!("{value:?}")));
    }
}

fn push_text(line: &mut String, text: &str, quoted: bool) {
    if !quoted {
        line.push_str(text);
        return;
    }
    line.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            c if is_hostile(c) => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line.push('"');
}

/// Control characters, line separators, and characters that turn the direction of text.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn level(level: &Level, colored: bool) -> String {
    if !colored {
        return format!("{level:>5}");
    }
    let color = match *level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    };
    format!("\u{1b}[{color}m{level:>5}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(message: &str, fields: &[(&str, Json)]) -> Values {
        let mut values = Values::new();
        values.put("message", json!(message));
        for (name, value) in fields {
            values.put(name, value.clone());
        }
        values
    }

    #[track_caller]
    fn check(message: &str, fields: &[(&str, Json)], text: &str, json: &str) {
        let line = values(message, fields).text("T", " INFO", "actor");
        assert_eq!(line, format!("T  INFO actor:{text}"));
        let line = values(message, fields).json("T", &Level::INFO, "actor");
        let head = r#"{"timestamp":"T","level":"INFO","target":"actor","fields":"#;
        assert_eq!(line, format!("{head}{json}}}"));
        for line in [values(message, fields).text("T", " INFO", "actor"), line] {
            assert!(!line.contains(is_hostile), "{line:?}");
        }
    }

    #[test]
    fn fields_are_fields() {
        check(
            "posted",
            &[("actor", json!("chat/lobby")), ("generation", json!(3)), ("nick", json!("ada b"))],
            r#" posted actor=chat/lobby generation=3 nick="ada b""#,
            r#"{"message":"posted","actor":"chat/lobby","generation":3,"nick":"ada b"}"#,
        );
        check("", &[("", json!(""))], r#" ""="""#, r#"{"message":"","":""}"#);
    }

    #[test]
    fn a_guest_can_pose_neither_as_another_nor_as_the_host() {
        check(
            r#"x actor="chat/other""#,
            &[("actor", json!("chat/lobby")), ("actor", json!("chat/other"))],
            r#" "x actor=\"chat/other\"" actor=chat/lobby actor.2=chat/other"#,
            r#"{"message":"x actor=\"chat/other\"","actor":"chat/lobby","actor.2":"chat/other"}"#,
        );
        check(
            "m",
            &[
                ("message", json!(1)),
                ("a b=\"", json!("c\nERROR \u{1b}[31m\u{9b}\u{2028}\u{202e}")),
            ],
            r#" m message.1=1 "a b=\""="c\nERROR \u{1b}[31m\u{9b}\u{2028}\u{202e}""#,
            r#"{"message":"m","message.1":1,"a b=\"":"c\nERROR \u001b[31m\u009b\u2028\u202e"}"#,
        );
        check(
            "m",
            &[("a", json!(1)), ("a.2", json!(2)), ("a", json!(3)), ("a", json!(4))],
            " m a=1 a.2=2 a.3=3 a.4=4",
            r#"{"message":"m","a":1,"a.2":2,"a.3":3,"a.4":4}"#,
        );
    }

    #[test]
    fn a_record_is_bounded() {
        let long = "ä".repeat(usize::try_from(LOG_LINE_BYTES_MAX).expect("small"));
        let fields = [("a", json!(long)), ("b", json!(long))];
        for line in [
            values(&long, &fields).text("T", "INFO", "actor"),
            values(&long, &fields).json("T", &Level::INFO, "actor"),
        ] {
            assert!(line.len() < long.len(), "{}", line.len());
            assert!(line.contains(CUT));
        }
    }
}
