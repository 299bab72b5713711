//! What functions of ours see of their arguments.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::borrow::Cow;

use rusqlite::Connection;
use stockade_sqlite::{Answer, Arguments, Function};

static SEEN: Function = Function { name: c"seen", arity: 1, call: seen };

/// The bytes of the argument before and after each other question about it.
fn seen<'a>(arguments: &Arguments<'a>) -> Answer<'a> {
    let Some(first) = arguments.bytes(0) else { return Answer::Null };
    let before = (arguments.kind(0), first.to_vec());
    let numeric = arguments.numeric_kind(0);
    let number = arguments.real(0);
    let second = arguments.bytes(0).unwrap();
    if (arguments.kind(0), second.to_vec()) != before || first != second {
        return Answer::Wrong("an argument changed");
    }
    let text = format!("{numeric:?} {number} {}", String::from_utf8_lossy(first));
    Answer::Text(Cow::Owned(text.into_bytes()))
}

#[test]
fn no_question_changes_an_argument() {
    let connection = Connection::open_in_memory().unwrap();
    SEEN.register(&connection).unwrap();
    let answers = [
        ("'1e1'", Some("Real 10 1e1")),
        ("'12'", Some("Integer 12 12")),
        ("substr('123456', 2, 3)", Some("Integer 234 234")),
        ("'twelve'", Some("Text 0 twelve")),
        ("2.50", Some("Real 2.5 2.5")),
        ("7", Some("Integer 7 7")),
        ("x'3132'", Some("Blob 12 12")),
        ("substr(x'313233', 2)", Some("Blob 23 23")),
        ("zeroblob(2)", Some("Blob 0 \0\0")),
        ("x''", Some("Blob 0 ")),
        ("''", Some("Text 0 ")),
        ("NULL", None),
    ];
    for (argument, expected) in answers {
        let answer: Option<String> = connection
            .query_row(&format!("SELECT seen({argument})"), [], |row| row.get(0))
            .unwrap();
        assert_eq!(answer.as_deref(), expected, "{argument}");
    }
}
