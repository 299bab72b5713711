//! Calls every function of the sqlite interface, in scenarios that assert inside the guest.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "world.wit"],
        world: "tests:sqlite-api/guest",
        generate_all,
    });
}
mod blobs;
mod errors;
// A source file, not a package: it uses the type `Value` of the guest's own generated bindings.
#[path = "../../sqlite_types/src/packed.rs"]
mod packed;
mod statements;
mod transactions;

use bindings::exports::tests::sqlite_api::scenarios::Guest;
use bindings::stockade::actor::sqlite::{self, Connection, Error, Value};

/// A scenario: its name and its function.
type Scenario = (&'static str, fn(&Connection) -> Outcome);
/// The result of a scenario: what differed, if anything.
type Outcome = Result<(), String>;

struct Actor;

impl Guest for Actor {
    fn names() -> Vec<String> {
        scenarios().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn run(name: String) -> Outcome {
        let (_, run) = scenarios()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| format!("no scenario {name}"))?;
        run(&sqlite::open().map_err(|error| format!("open: {error:?}"))?)
    }
}

fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    statements::ALL.iter().chain(transactions::ALL).chain(blobs::ALL).chain(errors::ALL)
}

/// Names the failed action in an error.
trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, String>;
}

impl<T> Doing<T> for Result<T, Error> {
    fn doing(self, what: &str) -> Result<T, String> {
        self.map_err(|error| format!("{what}: {error:?}"))
    }
}

fn ensure(holds: bool, what: impl std::fmt::Display) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_string()) }
}

/// Two values must be the same, compared by their debug texts.
fn same(what: &str, found: impl std::fmt::Debug, expected: impl std::fmt::Debug) -> Outcome {
    let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
    ensure(found == expected, format_args!("{what}: {found}, expected {expected}"))
}

/// The answer must be an error whose text contains `word`.
fn refused<T: std::fmt::Debug>(what: &str, answer: Result<T, Error>, word: &str) -> Outcome {
    match answer {
        Ok(value) => Err(format!("{what} worked: {value:?}, expected {word}")),
        Err(error) => {
            let text = format!("{error:?}");
            ensure(text.contains(word), format_args!("{what}: {text}, expected {word}"))
        }
    }
}

/// The result of a query that returns one integer.
fn integer(db: &Connection, sql: &str) -> Result<i64, String> {
    let set = db.query(sql, &[]).doing(sql)?;
    match set.rows.as_slice() {
        [row] => match row.as_slice() {
            [Value::Integer(integer)] => Ok(*integer),
            other => Err(format!("{sql}: {other:?}")),
        },
        rows => Err(format!("{sql}: {} rows", rows.len())),
    }
}

/// Runs statements without parameters.
fn script(db: &Connection, sql: &str) -> Outcome {
    db.execute_script(sql).doing(sql)
}

bindings::export!(Actor with_types_in bindings);
