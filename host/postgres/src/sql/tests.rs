//! Every statement keeps to words that PostgreSQL, CockroachDB and YugabyteDB all run.

use std::collections::BTreeMap;

use super::{
    cluster, directory, due, history, import, moving, ownership, pages, retention, schema, shards,
};

/// Words of the language. Missing on purpose: SET and RESET of sessions, LISTEN, NOTIFY, LOCK, TEMP,
/// DECLARE, SAVEPOINT, triggers, user-defined functions, `ctid`, `xmin`, advisory locks, RETURNING of
/// old rows, MERGE.
const WORDS: &str = "add all alter and any as bigint by bytea c case collate column commit conflict \
    create cross delete desc do drop else end excluded exists false for from group if in index insert int8 into \
    is join share key lateral left limit not nothing null of offset on or order primary returning select \
    set table text then true unique update values when where with";
/// Functions, which each of them has.
const FUNCTIONS: &str = "clock_timestamp coalesce count extract length max substr sum unnest";
/// Tables, columns, and names of results.
const NAMES: &str = "actor actor_destroying actor_due actor_shard actor_shard_due base_db base_txid bytes chain chunks \
    component content counter db digest due echo epoch floor format format_max format_min generation head \
    head_base id kind last least manifest name n next_due node now_ms origin owner page page_count page_stage \
    pages pgno pid pin program restarts run_from sealed session shard shards snapshot stage state \
    stockade_schema time_ms token txid u version wanted wasm address awake awake_max bytes_max cpu \
    draining peers a b d f g h k o p r s v w member number own peer root store";
/// Tables that a statement may change.
const TABLES: [&str; 14] = [
    "actor",
    "\"commit\"",
    "component",
    "echo",
    "head",
    "kind",
    "member",
    "node",
    "page",
    "pin",
    "shard",
    "snapshot",
    "stage",
    "stockade_schema",
];

fn all() -> Vec<(&'static str, &'static str)> {
    [
        cluster::ALL,
        directory::ALL,
        due::ALL,
        history::ALL,
        import::ALL,
        moving::ALL,
        ownership::ALL,
        pages::ALL,
        retention::ALL,
        schema::ALL,
        shards::ALL,
    ]
    .concat()
}

/// Words and signs of a statement; a text or a quoted name is one.
fn tokens(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '\'' | '"' => 2 + rest[1..].find(first).expect("it is closed"),
            _ if first.is_alphanumeric() || first == '_' || first == '$' => rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        if !first.is_whitespace() {
            found.push(rest[..len].to_lowercase());
        }
        rest = &rest[len..];
    }
    found
}

/// What offends in a statement.
fn offences(text: &str) -> Vec<String> {
    let known: Vec<&str> =
        [WORDS, FUNCTIONS, NAMES].into_iter().flat_map(str::split_whitespace).collect();
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut changed: BTreeMap<&str, u32> = BTreeMap::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_word = token.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if is_word && !known.contains(&token.as_str()) {
            found.push(format!("word {token}"));
        }
        if token == ";" {
            found.push("more than one statement".into());
        }
        let before = at.checked_sub(1).map_or("", |before| &tokens[before]);
        let next = tokens.get(at + 1).map_or("", String::as_str);
        let changes = match (before, token.as_str()) {
            // DO UPDATE belongs to its INSERT, FOR UPDATE changes nothing.
            (before, "update") if !["do", "for"].contains(&before) => next,
            ("insert", "into") | ("delete", "from") => next,
            _ => continue,
        };
        match TABLES.iter().find(|table| **table == changes) {
            Some(table) => *changed.entry(table).or_default() += 1,
            None => found.push(format!("changes {changes}")),
        }
    }
    let twice = changed.into_iter().filter(|(_, times)| *times > 1);
    found.extend(twice.map(|(table, _)| format!("changes {table} twice")));
    found
}

#[test]
fn every_statement_keeps_to_what_all_engines_run() {
    let all = all();
    assert!(all.len() > 60, "{}", all.len());
    for (name, text) in all {
        assert_eq!(offences(text), [""; 0], "{name}: {text}");
    }
}

#[test]
fn what_only_one_engine_runs_is_found() {
    for (text, due) in [
        ("SELECT pg_advisory_xact_lock(1)", "word pg_advisory_xact_lock"),
        ("LISTEN commits", "word listen"),
        ("SELECT ctid FROM page", "word ctid"),
        ("UPDATE head SET floor = 1; DELETE FROM page", "more than one statement"),
        (
            "WITH a AS (UPDATE head SET floor = 1), b AS (DELETE FROM head) SELECT 1",
            "changes head twice",
        ),
    ] {
        assert!(
            offences(text).iter().any(|offence| offence == due),
            "{text}: {:?}",
            offences(text)
        );
    }
}

/// A fenced step changes or locks the head by a fence.
#[test]
fn every_change_of_a_head_carries_its_fence() {
    for (name, text) in all() {
        let changes = text.contains("UPDATE head SET");
        // The floor has no owner, nor has a copy that becomes valid; their conditions are their own.
        if changes && !["RAISE_FLOOR", "CLAIM", "ARRIVE"].contains(&name) {
            for part in ["generation = ", "token = "] {
                assert!(text.matches(part).count() >= 1, "{name} lacks {part}");
            }
        }
    }
}

/// No text of a statement stands elsewhere.
#[test]
fn statements_have_one_home() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("sql.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for word in ["SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM", "CREATE TABLE"] {
                assert!(!line.contains(&format!("\"{word}")), "{}: {line}", path.display());
            }
        }
    }
}
