//! Our own sources as text, and as code: the text with comments, strings and characters blanked.

use std::path::{Path, PathBuf};

/// One `.rs` file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Relative to the workspace, with forward slashes.
    pub(super) path: PathBuf,
    /// What is in it.
    pub(super) text: String,
    /// The same with everything but code blanked; lines stay where they are.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        let code = code_only(&text);
        Self { path, text, code }
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All of our sources. Generated bindings are left out: they are not kept in the tree or are named
/// `bindings.rs`.
pub(super) fn sources() -> Vec<Source> {
    files("rs")
        .into_iter()
        .filter(|path| {
            path.file_name().is_some_and(|name| name != "bindings.rs") || !is_guest(path)
        })
        .map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).unwrap();
            Source::new(path, text)
        })
        .collect()
}

/// Every `Cargo.toml` of the workspace.
pub(super) fn manifests() -> Vec<PathBuf> {
    files("toml")
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml"))
        .collect()
}

/// Names of the folders in `tests/guests`.
pub(super) fn test_guests() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("tests/guests"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Identifiers and numbers of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn is_guest(path: &Path) -> bool {
    path.starts_with("examples") || path.starts_with("tests/guests")
}

/// Every file of the workspace with this extension, build results aside.
pub(super) fn files(extension: &str) -> Vec<PathBuf> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(&root).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Blanks comments, strings and character literals. Keeps line breaks.
fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest, 1),
            'r' | 'b' | 'c' if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => {
                prefixed_string(rest)
            }
            '\'' => character(rest),
            _ => 0,
        };
        if skipped == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[skipped..];
        }
    }
    out
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of a string literal whose opening quote ends at `from`.
fn quoted(text: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, c) in text[from..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return from + at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `b"..."`, `c"..."`, `r"..."`, `br#"..."#` and so on; 0 if it is none.
fn prefixed_string(text: &str) -> usize {
    let letters = text.chars().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    if letters > 2 {
        return 0;
    }
    let raw = text[..letters].contains('r');
    let hashes = text[letters..].chars().take_while(|c| *c == '#').count();
    if !text[letters + hashes..].starts_with('"') || (hashes > 0 && !raw) {
        return 0;
    }
    let opening = letters + hashes + 1;
    if !raw {
        return quoted(text, opening);
    }
    let closing = format!("\"{}", "#".repeat(hashes));
    text[opening..].find(&closing).map_or(text.len(), |at| opening + at + closing.len())
}

/// Length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    let Some((_, first)) = chars.next() else { return 0 };
    if first == '\\' {
        return text[2..].find('\'').map_or(0, |at| {
            // '\'' has its closing quote one later.
            if at == 0 || text[2..].starts_with("''") { 2 + at + 2 } else { 2 + at + 1 }
        });
    }
    match chars.next() {
        Some((at, '\'')) => at + 1,
        _ => 0,
    }
}
