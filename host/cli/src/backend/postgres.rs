//! The store in PostgreSQL servers: their addresses, the password, and what is found there.
//!
//! Invariant: the password is read here and handed to the store, which shows it in no text.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use stockade::error::Retry;
use stockade_depot::Store;
use stockade_postgres::{
    AddressError, Found, OpenPgError, Password, PgAddress, PgConfig, PgStores, SCHEMA_VERSION,
};

use super::PASSWORD_VARIABLE;
use crate::failure::Failure;
use crate::store::process;

/// Reads the addresses of a store's primaries, and the password, one for all of them, from its file
/// or from the environment.
pub(super) fn read(
    addresses: &[String],
    password_file: Option<&Path>,
) -> Result<Vec<PgConfig>, Failure> {
    let parsed = addresses.iter().map(|address| PgAddress::parse(address));
    let parsed: Vec<_> = parsed.collect::<Result<_, _>>().map_err(|error| refused(&error))?;
    let password = password(password_file)?;
    Ok(parsed.into_iter().map(|address| PgConfig::new(address, password.clone())).collect())
}

/// As the store names itself: hosts, ports and database of each primary.
pub(super) fn name(configs: &[PgConfig]) -> String {
    let names: Vec<String> = configs.iter().map(|config| config.address.to_string()).collect();
    names.join(", ")
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
pub(super) async fn open(configs: &[PgConfig]) -> Result<Arc<dyn Store>, Failure> {
    Ok(Arc::new(PgStores::open(configs).await.map_err(|error| failure(configs, &error))?))
}

/// Opens the store, if there is one.
pub(super) async fn open_made(configs: &[PgConfig]) -> Result<Arc<dyn Store>, Failure> {
    Ok(Arc::new(made(configs).await?))
}

/// The same, as the primaries that it is over.
pub(super) async fn made(configs: &[PgConfig]) -> Result<PgStores, Failure> {
    let found = PgStores::look(configs).await.map_err(|error| failure(configs, &error))?;
    if found.iter().all(|primary| primary.schema.is_none()) {
        let message = format!(
            "{} holds no store: the first `stockade serve --store` makes it",
            name(configs)
        );
        return Err(Failure::no_store(message, Retry::Fix));
    }
    PgStores::open(configs).await.map_err(|error| failure(configs, &error))
}

/// Why the store is not open. Each text names host, port and database, or the primary.
fn failure(configs: &[PgConfig], error: &OpenPgError) -> Failure {
    let (retry, hint) = match error {
        // These name the server themselves.
        OpenPgError::Connect { .. } | OpenPgError::Late { .. } => {
            return Failure::no_store(format!("cannot open the store: {error}"), Retry::Retry);
        }
        OpenPgError::Server(_) => (Retry::Retry, ""),
        OpenPgError::NoRoot { .. } | OpenPgError::Unlisted { .. } => {
            (Retry::Fix, "; give `--store` for it, too")
        }
        OpenPgError::Primaries { .. }
        | OpenPgError::Unnamed { .. }
        | OpenPgError::SameName { .. }
        | OpenPgError::OtherName { .. }
        | OpenPgError::OtherStore { .. }
        | OpenPgError::Lost { .. }
        | OpenPgError::Address(_)
        | OpenPgError::Shards { .. }
        | OpenPgError::Newer { .. }
        | OpenPgError::Row(_)
        | OpenPgError::Damaged
        | OpenPgError::Random(_) => (Retry::Fix, ""),
    };
    Failure::no_store(format!("cannot open the store {}: {error}{hint}", name(configs)), retry)
}

/// Whether `stockade serve` would open the store, and which processes are registered in it.
pub(super) async fn look(configs: &[PgConfig]) -> Result<Json, Failure> {
    let found = PgStores::look(configs).await.map_err(|error| failure(configs, &error))?;
    let named: Vec<(String, Found)> =
        configs.iter().map(|config| config.address.to_string()).zip(found).collect();
    Ok(document(&named))
}

/// What `stockade serve` would do with a primary.
fn verdict(found: &Found) -> &'static str {
    match &found.schema {
        None => "empty",
        Some((version, _)) if *version > SCHEMA_VERSION => "newer",
        Some((version, _)) if *version < SCHEMA_VERSION => "converts",
        Some(_) => "opens",
    }
}

/// One document for the store: the verdict is that of the primary that decides, and an empty primary
/// joins a store that is there.
fn document(primaries: &[(String, Found)]) -> Json {
    let rank = |found: &Found| match verdict(found) {
        "newer" => 3,
        "converts" => 2,
        "opens" => 1,
        _ => 0,
    };
    let (_, decides) =
        primaries.iter().max_by_key(|(_, found)| rank(found)).expect("BUG: a store has a primary");
    let verdict_of = verdict(decides);
    let names: Vec<&str> = primaries.iter().map(|(name, _)| name.as_str()).collect();
    let one = |(name, found): &(String, Found)| {
        json!({
            "store": name,
            "name": found.name,
            "verdict": verdict(found),
            "format": found.schema.as_ref().map(|(version, _)| version),
            "made_by": found.schema.as_ref().map(|(_, program)| program),
        })
    };
    let nodes = primaries.iter().flat_map(|(_, found)| &found.nodes);
    json!({
        "ok": verdict_of != "newer",
        "verdict": verdict_of,
        "store": names.join(", "),
        "reads": SCHEMA_VERSION,
        "format": decides.schema.as_ref().map(|(version, _)| version),
        "made_by": decides.schema.as_ref().map(|(_, program)| program),
        "primaries": primaries.iter().map(one).collect::<Vec<_>>(),
        "processes": nodes.map(process).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(schema: Option<(i32, &str)>) -> Found {
        let schema = schema.map(|(version, program)| (version, program.to_owned()));
        Found { schema, name: None, nodes: Vec::new() }
    }

    fn check(schemas: &[Option<(i32, &str)>], verdict: &str, ok: bool) {
        let named = |(at, schema): (usize, &Option<(i32, &str)>)| {
            (format!("postgres://h:{at}/d"), found(*schema))
        };
        let document = document(&schemas.iter().enumerate().map(named).collect::<Vec<_>>());
        assert_eq!((&document["verdict"], &document["ok"]), (&json!(verdict), &json!(ok)));
        let text = crate::store::text(&document);
        assert!(
            (0..schemas.len()).all(|at| text.contains(&format!("postgres://h:{at}/d"))),
            "{text}"
        );
    }

    #[test]
    fn what_is_found_says_whether_the_store_opens() {
        check(&[None], "empty", true);
        check(&[Some((SCHEMA_VERSION, "0.2.0"))], "opens", true);
        check(&[Some((SCHEMA_VERSION - 1, "0.1.0"))], "converts", true);
        check(&[Some((SCHEMA_VERSION + 1, "9.9.9"))], "newer", false);
    }

    #[test]
    fn the_primary_that_decides_gives_the_verdict() {
        let ours = Some((SCHEMA_VERSION, "0.2.0"));
        check(&[None, None], "empty", true);
        check(&[ours, None], "opens", true);
        check(&[None, ours, Some((SCHEMA_VERSION - 1, "0.1.0"))], "converts", true);
        check(&[ours, Some((SCHEMA_VERSION + 1, "9.9.9"))], "newer", false);
    }
}
