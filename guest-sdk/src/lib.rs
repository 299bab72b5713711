//! What authors of Stockade actors import.
//!
//! An actor is a WebAssembly component with a private SQLite database. This package gives it the
//! database ([`Connection`]), its identity ([`context`]), a log ([`log`]), calls of other actors
//! ([`actors`]), work at a time ([`alarms`]), hooks of its life ([`lifecycle`]) and schemas that grow
//! ([`migrations`]).
//!
//! # A complete actor
//!
//! **1. The package.** A library that becomes a component:
//!
//! ```toml
//! [package]
//! name = "guestbook"
//! edition = "2024"
//!
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! stockade-sdk = { path = "../../guest-sdk" }
//! ```
//!
//! **2. Its methods**, in `world.wit`. Every function of an interface that the actor exports can be
//! called by name, with arguments of these types. The linker adds the imports of this package.
//!
//! ```wit
//! package example:guestbook;
//!
//! interface guestbook {
//!   variant sign-error { empty, failed(string) }
//!   record entry { name: string, text: string }
//!   /// Sign the book. Returns the number of the entry.
//!   sign: func(name: string, text: string) -> result<s64, sign-error>;
//!   /// The newest entries first.
//!   latest: func(limit: u32) -> result<list<entry>, string>;
//! }
//!
//! world actor { export guestbook; }
//! ```
//!
//! **3. The code.** [`world!`] makes a trait from each exported interface; the actor implements it.
//! There is no `self`: one instance is one actor, and what must last is in the database.
//!
//! ```
//! mod bindings {
//!     // In a package of its own: stockade_sdk::world!("world.wit");
//! #   stockade_sdk::world!({ inline: "package example:guestbook; interface guestbook {
//! #     variant sign-error { empty, failed(string) } record entry { name: string, text: string }
//! #     sign: func(name: string, text: string) -> result<s64, sign-error>;
//! #     latest: func(limit: u32) -> result<list<entry>, string>;
//! #   } world actor { export guestbook; }" });
//! }
//!
//! use bindings::exports::example::guestbook::guestbook::{Entry, Guest, SignError};
//! use stockade_sdk::lifecycle::{self, Lifecycle};
//! use stockade_sdk::migrations::Migrations;
//! use stockade_sdk::{Connection, Error};
//!
//! /// The schema, as steps. New versions of the actor add steps at the end.
//! const SCHEMA: Migrations<'_> = Migrations::new(&[
//!     "CREATE TABLE entry (id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL)",
//!     "ALTER TABLE entry ADD COLUMN language TEXT",
//! ]);
//!
//! struct Guestbook;
//!
//! impl Lifecycle for Guestbook {
//!     /// Runs before the first call of each generation.
//!     fn start() -> lifecycle::Result {
//!         stockade_sdk::log::init();
//!         SCHEMA.apply(&mut Connection::open()?)?;
//!         Ok(())
//!     }
//! }
//!
//! impl Guest for Guestbook {
//!     fn sign(name: String, text: String) -> Result<i64, SignError> {
//!         if text.is_empty() {
//!             return Err(SignError::Empty);
//!         }
//!         let connection = Connection::open()?;
//!         let id = connection
//!             .insert("INSERT INTO entry (name, text) VALUES (?, ?)", (&name, &text))?;
//!         log::info!(id, name = name.as_str(); "signed");
//!         Ok(id)
//!     }
//!
//!     fn latest(limit: u32) -> Result<Vec<Entry>, String> {
//!         newest(limit).map_err(|error| error.to_string())
//!     }
//! }
//!
//! fn newest(limit: u32) -> stockade_sdk::Result<Vec<Entry>> {
//!     let connection = Connection::open()?;
//!     let mut select =
//!         connection.prepare("SELECT name, text FROM entry ORDER BY id DESC LIMIT ?")?;
//!     select.query_map([limit], |row| Ok(Entry { name: row.get(0)?, text: row.get(1)? }))?.collect()
//! }
//!
//! /// So that `?` works where methods answer with an error of their own.
//! impl From<Error> for SignError {
//!     fn from(error: Error) -> Self {
//!         SignError::Failed(error.to_string())
//!     }
//! }
//!
//! bindings::export!(Guestbook with_types_in bindings);
//! stockade_sdk::export_lifecycle!(Guestbook);
//! # fn main() {}
//! ```
//!
//! **4. Build, deploy, call.**
//!
//! ```text
//! cargo component build --profile guest
//! stockade deploy guestbook target/wasm32-wasip1/guest/guestbook.wasm
//! stockade call guestbook/lobby sign Ada "It was a pleasure."
//! ```
//!
//! # What to know about the database
//!
//! - A method call is not a transaction. Each statement commits by itself unless a
//!   [`Transaction`] is open; a transaction that is dropped is rolled back, so `?` is safe in it.
//! - A commit is *accepted* when the call returns. No later reply of the actor leaves the host
//!   before the commit is durable, so there is nothing to wait for; [`Connection::flush`] is for
//!   the rare actor that must know.
//! - When a generation has lost its database, every call returns [`Error::Revoked`]: pass it up.
//! - Thousands of rows take one call of the host: [`Statement::execute_many`] in,
//!   [`Statement::query`] out, where text can be read without a copy.
//! - A panic is a trap: the instance is gone, its committed data is not, and the next call starts a
//!   new generation. In an actor nothing in this package panics.
//!
//! # Test an actor
//!
//! `cargo test` builds the package for your machine, where there is no host: [`Connection::open`],
//! the functions of [`context`], [`actors`] and [`messages`], and [`log::write`] panic there. So keep code that needs no host in
//! plain functions, and test the actor in a real host, which is a library as well. That test
//! belongs in a package of its own, because the host brings a wasm compiler.
//!
//! ```toml
//! [dev-dependencies]
//! stockade = { path = "../../host" }
//! tempfile = "3"
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! ```text
//! #[tokio::test(flavor = "multi_thread")]
//! async fn the_first_entry_is_number_one() -> Result<(), Box<dyn std::error::Error>> {
//!     let data = tempfile::tempdir()?;
//!     let host = stockade::Host::start(stockade::HostConfig::new(data.path())).await?;
//!     let wasm = std::fs::read("../target/wasm32-wasip1/guest/guestbook.wasm")?;
//!     host.deploy("guestbook", wasm, host.manifest()).await?;
//!     let lobby = host.actor(&stockade::ActorId::new("guestbook", "lobby")?);
//!     let reply = lobby.call("sign", ("Ada", "Hello")).await?;
//!     assert_eq!(reply.to_json(), serde_json::json!({ "ok": 1 }));
//!     host.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! Two hosts with a directory each share nothing, so tests can run in parallel. The last words of a
//! guest that died are in the error: `error.crash()`.

#[doc(hidden)]
pub mod bindings;
mod clients;
mod errors;
mod outside;
mod sqlite;

pub mod actors;
pub mod alarms;
pub mod context;
pub mod lifecycle;
pub mod log;
pub mod messages;
pub mod migrations;

pub use sqlite::{
    Batch, Blob, Bookmark, Column, ColumnIndex, Connection, ConstraintFailure, ConstraintKind,
    Cursor, Error, FromSql, Limit, MappedRows, Null, OptionalRow, Params, ReadError, Reason,
    Result, Row, RowBatch, RowCause, RowFailure, Rows, Statement, StatementFailure, ToSql,
    ToSqlOutput, Transaction, TransactionMode, Type, Value, ValueRef,
};

#[doc(hidden)]
pub use wit_bindgen;

/// Makes Rust from the actor's own WIT: a trait `Guest` for each interface that its world exports,
/// and the macro `export!`.
///
/// Takes the path of a WIT file or folder, relative to the package's folder, or the options of
/// `wit_bindgen::generate!` in braces. Use the macro in a module of its own.
///
/// ```
/// mod bindings {
///     stockade_sdk::world!({
///         inline: "package example:hello;
///                  interface greeter { greet: func(name: string) -> string; }
///                  world hello { export greeter; }",
///     });
/// }
///
/// struct Hello;
///
/// impl bindings::exports::example::hello::greeter::Guest for Hello {
///     fn greet(name: String) -> String {
///         format!("Hello, {name}!")
///     }
/// }
///
/// bindings::export!(Hello with_types_in bindings);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! world {
    ($path:literal) => {
        $crate::wit_bindgen::generate!({
            runtime_path: "stockade_sdk::wit_bindgen::rt",
            path: $path,
        });
    };
    ({ $($options:tt)* }) => {
        $crate::wit_bindgen::generate!({
            runtime_path: "stockade_sdk::wit_bindgen::rt",
            $($options)*
        });
    };
}
