//! The store in a PostgreSQL server: its address, its password, and what is found there.
//!
//! Invariant: the password is read here and handed to the store, which shows it in no text.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use stockade::error::Retry;
use stockade_depot::Store;
use stockade_postgres::{
    AddressError, Found, OpenPgError, Password, PgAddress, PgConfig, PgStore, SCHEMA_VERSION,
};

use super::PASSWORD_VARIABLE;
use crate::failure::Failure;
use crate::store::process;

/// Reads an address, and the password from its file or from the environment.
pub(super) fn read(address: &str, password_file: Option<&Path>) -> Result<PgConfig, Failure> {
    let address = PgAddress::parse(address).map_err(|error| refused(&error))?;
    Ok(PgConfig::new(address, password(password_file)?))
}

fn refused(error: &AddressError) -> Failure {
    match error {
        AddressError::Password => Failure::usage(format!(
            "--store: the address must not hold a password, which process lists and histories would \
             show: write it into a file for --store-password-file, or set {PASSWORD_VARIABLE}"
        )),
        error => Failure::usage(format!("--store: {error}")),
    }
}

fn password(file: Option<&Path>) -> Result<Password, Failure> {
    let read = match file {
        Some(path) => {
            crate::warn_of_readers(path, "password");
            Password::from_file(path)
        }
        None if std::env::var_os(PASSWORD_VARIABLE).is_some() => {
            Password::from_variable(PASSWORD_VARIABLE)
        }
        None => Ok(Password::none()),
    };
    read.map_err(|error| Failure::local(error.to_string()))
}

/// Opens the store; an empty one is made.
pub(super) async fn open(config: &PgConfig) -> Result<Arc<dyn Store>, Failure> {
    match PgStore::open(config).await {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => Err(failure(config, &error)),
    }
}

/// Opens the store, if there is one.
pub(super) async fn open_made(config: &PgConfig) -> Result<Arc<dyn Store>, Failure> {
    let found = PgStore::look(config).await.map_err(|error| failure(config, &error))?;
    if found.schema.is_none() {
        let message = format!(
            "{} holds no store: the first `stockade serve --store` makes it",
            config.address
        );
        return Err(Failure::no_store(message, Retry::Fix));
    }
    open(config).await
}

/// Why the store is not open. Each text names host, port and database.
fn failure(config: &PgConfig, error: &OpenPgError) -> Failure {
    let retry = match error {
        // These name the server themselves.
        OpenPgError::Connect { .. } | OpenPgError::Late { .. } => {
            return Failure::no_store(format!("cannot open the store: {error}"), Retry::Retry);
        }
        OpenPgError::Server(_) => Retry::Retry,
        OpenPgError::Address(_)
        | OpenPgError::Shards { .. }
        | OpenPgError::Newer { .. }
        | OpenPgError::Row(_)
        | OpenPgError::Damaged
        | OpenPgError::Random(_) => Retry::Fix,
    };
    Failure::no_store(format!("cannot open the store {}: {error}", config.address), retry)
}

/// Whether `stockade serve` would open the store, and which processes are registered in it.
pub(super) async fn look(config: &PgConfig) -> Result<Json, Failure> {
    let found = PgStore::look(config).await.map_err(|error| failure(config, &error))?;
    Ok(document(&config.address.to_string(), &found))
}

fn document(store: &str, found: &Found) -> Json {
    let verdict = match &found.schema {
        None => "empty",
        Some((version, _)) if *version > SCHEMA_VERSION => "newer",
        Some((version, _)) if *version < SCHEMA_VERSION => "converts",
        Some(_) => "opens",
    };
    json!({
        "ok": verdict != "newer",
        "verdict": verdict,
        "store": store,
        "reads": SCHEMA_VERSION,
        "format": found.schema.as_ref().map(|(version, _)| version),
        "made_by": found.schema.as_ref().map(|(_, program)| program),
        "processes": found.nodes.iter().map(process).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: Option<(i32, &str)>, verdict: &str, ok: bool) {
        let schema = schema.map(|(version, program)| (version, program.to_owned()));
        let document = document("postgres://h:1/d", &Found { schema, nodes: Vec::new() });
        assert_eq!((&document["verdict"], &document["ok"]), (&json!(verdict), &json!(ok)));
        let text = crate::store::text(&document);
        assert!(text.contains("postgres://h:1/d"), "{text}");
    }

    #[test]
    fn what_is_found_says_whether_the_store_opens() {
        check(None, "empty", true);
        check(Some((SCHEMA_VERSION, "0.2.0")), "opens", true);
        check(Some((SCHEMA_VERSION - 1, "0.1.0")), "converts", true);
        check(Some((SCHEMA_VERSION + 1, "9.9.9")), "newer", false);
    }
}
