//! What the published packages export, by name, compared with a list that is kept in the tree: an
//! export is added or removed deliberately. `UPDATE_API=1` writes the list again.

use std::collections::BTreeSet;

use crate::tidy::source::root;

/// The files with exports, and the path under which users find them.
const HOMES: [(&str, &str); 13] = [
    ("guest-sdk/src/lib.rs", "stockade_sdk"),
    ("host/depot/src/lib.rs", "stockade_depot"),
    ("host/postgres/src/lib.rs", "stockade_postgres"),
    ("host/remote/src/lib.rs", "stockade_remote"),
    ("host/server/src/lib.rs", "stockade_server"),
    ("host/src/error/mod.rs", "stockade::error"),
    ("host/src/fault/mod.rs", "stockade::fault"),
    ("host/src/host.rs", "stockade::host"),
    ("host/src/lib.rs", "stockade"),
    ("host/src/limits.rs", "stockade::limits"),
    ("host/sqlite/src/lib.rs", "stockade_sqlite"),
    ("host/sqlite/src/vfs/mod.rs", "stockade_sqlite::vfs"),
    ("host/vfs/src/lib.rs", "stockade_vfs"),
];

/// Names that a file exports at its top level.
fn exports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find("\npub ") {
        rest = &rest[at + "\npub ".len()..];
        let item = rest;
        if let Some(used) = item.strip_prefix("use ") {
            let used = used.split(';').next().unwrap_or_default();
            let names = used.split_once('{').map_or(used, |(_, list)| list);
            let names = names.trim_end_matches('}').split(',').map(|name| {
                let name = name.trim().rsplit(" as ").next().unwrap_or_default();
                name.rsplit("::").next().unwrap_or_default().to_owned()
            });
            found.extend(names.filter(|name| !name.is_empty()));
            continue;
        }
        let words = item.split(|c: char| !c.is_alphanumeric() && c != '_');
        let name = words.filter(|word| !word.is_empty()).find(|word| {
            !["async", "const", "enum", "fn", "mod", "static", "struct", "trait", "type", "unsafe"]
                .contains(word)
        });
        found.extend(name.map(str::to_owned));
    }
    found
}

#[test]
fn exports_change_on_purpose() {
    let mut lines = Vec::new();
    for (file, path) in HOMES {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        lines.extend(exports(&text).into_iter().map(|name| format!("{path}::{name}")));
    }
    lines.sort();
    let (found, kept) = (lines.join("\n") + "\n", root().join("tests/it/api.snapshot"));
    if std::env::var_os("UPDATE_API").is_some() {
        std::fs::write(&kept, &found).unwrap();
    }
    let kept = std::fs::read_to_string(kept).unwrap_or_default();
    let (found, kept): (BTreeSet<_>, BTreeSet<_>) =
        (found.lines().collect(), kept.lines().collect());
    let more: Vec<_> = found.difference(&kept).collect();
    let gone: Vec<_> = kept.difference(&found).collect();
    assert!(
        more.is_empty() && gone.is_empty(),
        "exported and not in tests/it/api.snapshot: {more:?}; in it and not exported: {gone:?}. If \
         that is meant, run with UPDATE_API=1, and say so in the changelog"
    );
}

#[test]
fn exports_are_read_as_rust_writes_them() {
    let text = "\npub use a::{B, c::D as E,\n    F};\npub use g::H;\npub async fn i() {}\npub const J: u8 = 1;\n\
                pub mod k;\nmod l;\n    pub fn m() {}\npub struct N<T>(T);\n";
    let names: Vec<_> = exports(text).into_iter().collect();
    assert_eq!(names, ["B", "E", "F", "H", "J", "N", "i", "k"]);
}
