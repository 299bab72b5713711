//! Plain words: documents and comments use standard English and the terms of the field.
//!
//! Invariants:
//! - Only prose counts: code spans, fenced blocks of documents and code itself may use any word.

use super::documents::{documents_in, read};
use super::source;

/// Words that readers stumble over, each with what to write instead.
const UNUSUAL: [(&str, &str); 28] = [
    ("whoever", "name the subject"),
    ("whomever", "name the object"),
    ("nobody", "no caller, no process, none"),
    ("anybody", "any caller, any process"),
    ("somebody", "another caller, another process"),
    ("everybody", "all callers, everyone"),
    ("told", "gets an error, is reported, is asked to"),
    ("heard", "reaches a caller, is answered"),
    ("hears", "gets, learns"),
    ("at once", "immediately, or: at the same time"),
    ("meanwhile", "in the meantime, until then"),
    ("anew", "again"),
    ("afresh", "again"),
    ("for ever", "without end"),
    ("goes on", "continues"),
    ("go on", "continue"),
    ("went on", "continued"),
    ("gone on", "continued"),
    ("mend", "repair"),
    ("mends", "repairs"),
    ("mended", "repaired"),
    ("lie in wait", "are armed"),
    ("lies in wait", "is armed"),
    ("newcomer", "new connection"),
    ("newcomers", "new connections"),
    ("one's own", "your own"),
    ("thereby", "so"),
    ("lest", "so that .. not"),
];

/// Folders with documents that are checked.
const FOLDERS: [&str; 22] = [
    "",
    "docs",
    "docs/decisions",
    "docs/reference",
    "guest-sdk",
    "guest-sdk/alloc",
    "host",
    "host/cli",
    "host/componentize",
    "host/depot",
    "host/postgres",
    "host/remote",
    "host/server",
    "host/sqlite",
    "host/vfs",
    "tests",
    "tests/bench",
    "examples/catalog",
    "examples/counter",
    "examples/ledger",
    "examples/reminders",
    "examples/bank",
];

/// Documents with tables that repeat texts of code, word for word. A row that begins with code is
/// such a text, and is read where the code is.
const RESTATING: [&str; 3] =
    ["docs/reference/errors.md", "docs/reference/limits.md", "tests/README.md"];

/// Every unusual word of documents, Rust sources and WIT files.
pub(super) fn offences() -> Vec<String> {
    let documents = FOLDERS.into_iter().flat_map(documents_in);
    let mut offences: Vec<String> =
        documents.flat_map(|path| in_document(&path, &read(&path))).collect();
    for path in ["rs", "wit"].into_iter().flat_map(source::files) {
        let path = path.display().to_string();
        offences.extend(in_comments(&path, &read(&path)));
    }
    offences
}

/// Unusual words of a Markdown text.
pub(super) fn in_document(path: &str, text: &str) -> Vec<String> {
    let mut is_code = false;
    let prose = text.lines().map(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        let restates = RESTATING.contains(&path) && line.starts_with("| `");
        if is_fence || is_code || restates { "" } else { line }
    });
    unusual(path, prose)
}

/// Unusual words of the lines that are comments.
pub(super) fn in_comments(path: &str, text: &str) -> Vec<String> {
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    unusual(path, text.lines().map(|line| if is_comment(line) { line } else { "" }))
}

/// A phrase may continue on the next line.
fn unusual<'a>(path: &str, lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines: Vec<String> = lines.map(plain).collect();
    let mut offences = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let next = lines.get(at + 1).and_then(|next| next.split_whitespace().next());
        let with_next = format!(" {line} {} ", next.unwrap_or_default());
        for (word, instead) in UNUSUAL {
            let place = if word.contains(' ') { with_next.clone() } else { format!(" {line} ") };
            if place.contains(&format!(" {word} ")) {
                offences.push(format!("{path}:{}: {word} (better: {instead})", at + 1));
            }
        }
    }
    offences
}

/// The words of a line in lower case, with single spaces between them and without code spans.
fn plain(line: &str) -> String {
    let prose = line.split('`').step_by(2).collect::<Vec<_>>().join(" ").to_lowercase();
    let letters = prose.replace(|c: char| !c.is_alphabetic() && c != '\'', " ");
    letters.split_whitespace().collect::<Vec<_>>().join(" ")
}
