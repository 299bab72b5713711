//! Where commands print: results to stdout, everything else to stderr, text or one JSON document.
//!
//! The only place that writes to the terminal. Text that a guest may have written is made printable
//! first: an actor cannot move the cursor or fake a prompt.

use std::borrow::Cow;
use std::io::{self, BufRead, IsTerminal, Write};

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value as Json;

use super::failure::Failure;
use stockade::error::Retry;

/// Bytes of a blob in a cell of a table.
const BLOB_SHOWN_BYTES: usize = 32;

/// How a command prints.
#[derive(Clone, Copy)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether results are JSON.
    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// The result of a command: the document, or what `text` makes of it.
    pub(super) fn result(
        self,
        document: &Json,
        text: impl FnOnce(&Json) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            let pretty = io::stdout().is_terminal();
            let text = if pretty { format!("{document:#}") } else { document.to_string() };
            self.line(&text)
        } else {
            self.line(&printable(text(document).trim_end()))
        }
    }

    /// Prints one line of a result. The line must be printable.
    pub(super) fn line(self, text: &str) -> Result<(), Failure> {
        self.write(format!("{text}\n").as_bytes())
    }

    fn write(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes) {
            // The reader has seen enough: `stockade kinds | head -1`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written
                .and_then(|()| out.flush())
                .map_err(|error| Failure::local(format!("cannot write the result: {error}"))),
        }
    }

    /// Prints data with its own line end; made printable only on a terminal.
    pub(super) fn data(self, text: &str) -> Result<(), Failure> {
        let shown = if io::stdout().is_terminal() { printable(text) } else { Cow::Borrowed(text) };
        self.write(shown.as_bytes())
    }

    /// Prints a line for people, in addition to the result. Not printed with `--json`.
    pub(super) fn note(self, text: &str) {
        if !self.json {
            to_stderr(&printable(text));
        }
    }

    /// Asks on a terminal whether to destroy something: `whose` names the text to type, such as
    /// "its key".
    pub(super) fn confirm(self, what: &str, whose: &str, expected: &str) -> Result<(), Failure> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Err(Failure::usage("destroying asks on a terminal; elsewhere give --yes"));
        }
        let mut err = io::stderr().lock();
        let asked = write!(err, "Destroy {}? Type {whose}: ", printable(what));
        let mut typed = String::new();
        asked
            .and_then(|()| err.flush())
            .and_then(|()| stdin.lock().read_line(&mut typed))
            .map_err(|error| Failure::local(format!("cannot ask: {error}")))?;
        if typed.trim() == expected {
            Ok(())
        } else {
            Err(Failure::usage(format!("not destroyed: that is not {whose}")))
        }
    }

    /// Prints why the command failed.
    pub(super) fn failure(self, failure: &Failure) {
        let body = &failure.body;
        if self.json {
            let text = serde_json::to_string(body).expect("BUG: a body serializes");
            return to_stderr(&text);
        }
        let mut text = format!("error: {}", body.message);
        let is_hosts = body.group != "client";
        if is_hosts {
            text.push_str(&format!("\n  [{}.{}]", body.group, body.code));
        }
        let advice = match body.retry {
            Retry::Retry if is_hosts => "nothing was done; try again",
            Retry::Reroute => "nothing was done; another host has the actor now",
            Retry::UnknownOutcome => "it may have been done: look before you repeat it",
            Retry::Retry | Retry::Fix | Retry::Never => "",
        };
        if !advice.is_empty() {
            text.push_str(if is_hosts { " " } else { "; " });
            text.push_str(advice);
        }
        for (name, said) in [("last words", "last_words"), ("backtrace", "backtrace")] {
            if let Some(said) = body.details[said].as_str().filter(|said| !said.is_empty()) {
                text.push_str(&format!("\n  {name}:\n    {}", said.replace('\n', "\n    ")));
            }
        }
        to_stderr(&printable(&text));
    }

    /// A bar for work of known size, or a spinner; only on a terminal, never with `--json`.
    pub(super) fn progress(self, total: Option<u64>, template: &str) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let style = ProgressStyle::with_template(template).expect("BUG: a valid template");
        bar.set_style(style.progress_chars("=> "));
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        bar
    }
}

fn to_stderr(text: &str) {
    let mut err = io::stderr().lock();
    // There is nowhere else to report a failure.
    drop(err.write_all(text.as_bytes()).and_then(|()| err.write_all(b"\n")));
}

/// A table with a header. Cells must be printable.
pub(super) fn table(header: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header).add_rows(rows);
    table.to_string()
}

/// A JSON value as a cell: texts without quotes, absent values empty.
pub(super) fn cell(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => one_line(text),
        other => one_line(&other.to_string()),
    }
}

/// An SQL value in the gateway's form, as text for people.
pub(super) fn sql_cell(value: &Json) -> String {
    match value {
        Json::Null => "NULL".to_owned(),
        Json::Object(fields) => match fields.iter().next() {
            Some((kind, Json::String(text))) if kind == "blob" => blob_cell(text),
            Some((_, Json::String(text))) => one_line(text),
            _ => cell(value),
        },
        other => cell(other),
    }
}

fn blob_cell(base64_text: &str) -> String {
    use base64::Engine as _;
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(base64_text) else {
        return "?".to_owned();
    };
    let shown = hex::encode(&bytes[..bytes.len().min(BLOB_SHOWN_BYTES)]);
    if bytes.len() > BLOB_SHOWN_BYTES {
        format!("x'{shown}'... ({} bytes)", bytes.len())
    } else {
        format!("x'{shown}'")
    }
}

/// The text with every character escaped that a terminal would act on; line ends and tabs stay.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && c != '\t' && is_hostile(c))
}

fn one_line(text: &str) -> String {
    escaped(text, is_hostile).into_owned()
}

fn escaped(text: &str, hostile: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hostile) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hostile(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// Control characters, and characters that reorder text so that it reads as something else.
fn is_hostile(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Bytes as people read them.
pub(super) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_guest_wrote_cannot_drive_the_terminal() {
        assert_eq!(printable("a\n\tb"), "a\n\tb");
        assert_eq!(printable("\u{1b}[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(printable("\u{202e}abc"), "\\u{202e}abc");
        assert_eq!(cell(&json!("two\nlines")), "two\\nlines");
    }

    #[test]
    fn sql_values_are_told_apart() {
        assert_eq!(sql_cell(&Json::Null), "NULL");
        assert_eq!(sql_cell(&json!({ "blob": "AP8=" })), "x'00ff'");
        assert_eq!(sql_cell(&json!({ "integer": "9007199254740993" })), "9007199254740993");
        assert_eq!(sql_cell(&json!(1.0)), "1.0");
        let long = base64_of(&[7; 40]);
        assert!(sql_cell(&json!({ "blob": long })).ends_with("'... (40 bytes)"));
    }

    fn base64_of(bytes: &[u8]) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }
}
