//! Where the store is: in the data directory, or where an address says.
//!
//! ```text
//!  --store SCHEME://..    ──> Backend ──> open ──> the host, or a command without a server
//!  several of them        ──> the same, over the primaries of one store
//!  no --store             ──> the embedded store, in the data directory
//! ```
//! Each scheme is one arm of the functions here, and one file of `backend/`. The packages below the
//! program know none of them.
//!
//! Invariant: no text repeats an address, since it may hold a password. A store is named by what it
//! says of itself: host, port and database.

mod files;
mod postgres;
mod remote;
mod shards;

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::Value as Json;
use stockade::HostConfig;
use stockade_depot::Store;
use stockade_postgres::PgConfig;
use stockade_remote::RemoteConfig;
use tokio::runtime::Runtime;

use super::Context;
use super::config::Addresses;
use super::failure::Failure;
pub(super) use files::StoreFiles;
pub(super) use remote::{Shared, StoreListener};
pub(super) use shards::Primaries;

/// The variable with the address of the store, for `serve`; several are separated by spaces.
const STORE_VARIABLE: &str = "STOCKADE_STORE";
/// The variable with the password of the store's user.
const PASSWORD_VARIABLE: &str = "STOCKADE_STORE_PASSWORD";
/// What is said of an address without a known scheme.
const UNKNOWN: &str = "--store: the address must begin with stockade://, postgres:// or \
    postgresql://; without --store the data directory keeps the store";

/// What is said of several addresses of which one is of another kind.
const SEVERAL: &str = "--store: only the primaries of a PostgreSQL store may be several addresses: \
    each begins with postgres:// or postgresql://";

/// The scheme of an address.
fn scheme(address: &str) -> Option<&str> {
    address.split_once("://").map(|(scheme, _)| scheme)
}

fn is_postgres(address: &str) -> bool {
    matches!(scheme(address), Some("postgres" | "postgresql"))
}

// Options that say which store is meant. Without a doc comment: clap would take it for the text of
// every command that has them.
#[derive(Args)]
pub(super) struct StoreArgs {
    /// The store at this address, instead of one in the data directory:
    /// postgres://USER@HOST:PORT,HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE, or
    /// stockade://HOST:PORT, where another node serves its store. Never with a password. A store over
    /// several PostgreSQL primaries: give the option for each of them, with name=NAME in each address
    #[arg(long, value_name = "ADDRESS")]
    store: Vec<String>,
    #[command(flatten)]
    files: StoreFiles,
}

impl StoreArgs {
    /// Whether the command line names a store.
    pub(super) fn is_named(&self) -> bool {
        !self.store.is_empty()
    }

    /// The store that the command line names; `None`: it names none.
    pub(super) fn named(&self) -> Result<Option<Backend>, Failure> {
        Self::read(&self.store, &self.files, true)
    }

    /// The primaries of the store that the command line names.
    pub(super) fn primaries(&self) -> Result<Primaries, Failure> {
        match self.named()? {
            Some(Backend::Postgres(configs)) => Primaries::open(&configs),
            Some(Backend::Remote(_)) | None => Err(Failure::usage(
                "give --store postgres://.. for each primary of the store: only such a store has \
                 shards that move",
            )),
        }
    }

    /// The files of a server: named on the command line, else in the file with settings.
    pub(super) fn files(&self, configured: StoreFiles) -> StoreFiles {
        self.files.or(configured)
    }

    /// The store of a server: named on the command line, in the environment, or in the file with
    /// settings. Keys may be those of its own listener, if it has one.
    pub(super) fn of_server(
        &self,
        configured: Addresses,
        files: &StoreFiles,
        has_listener: bool,
    ) -> Result<Option<Backend>, Failure> {
        let in_environment = || {
            let all = super::from_environment(STORE_VARIABLE)?;
            Some(all.split_whitespace().map(str::to_owned).collect())
        };
        let named = Some(self.store.clone()).filter(|given| !given.is_empty());
        let named = named.or_else(in_environment).unwrap_or_else(|| configured.into());
        Self::read(&named, files, !has_listener)
    }

    fn read(
        addresses: &[String],
        files: &StoreFiles,
        keys_need_one: bool,
    ) -> Result<Option<Backend>, Failure> {
        if !addresses.is_empty() {
            return Backend::read(addresses, files).map(Some);
        }
        match files.given(keys_need_one) {
            Some(option) => Err(Failure::usage(format!("{option} belongs to --store"))),
            None => Ok(None),
        }
    }
}

/// A store beyond the data directory.
pub(super) enum Backend {
    /// In PostgreSQL servers: the primaries of one store, at least one.
    Postgres(Vec<PgConfig>),
    /// On another node.
    Remote(Box<RemoteConfig>),
}

impl Backend {
    /// Reads addresses, at least one.
    fn read(addresses: &[String], files: &StoreFiles) -> Result<Self, Failure> {
        match addresses {
            [address] => Self::read_one(address, files),
            several if several.iter().all(|address| is_postgres(address)) => {
                postgres::read(several, files.store_password_file.as_deref()).map(Self::Postgres)
            }
            _ => Err(Failure::usage(SEVERAL)),
        }
    }

    fn read_one(address: &str, files: &StoreFiles) -> Result<Self, Failure> {
        if is_postgres(address) {
            let file = files.store_password_file.as_deref();
            return postgres::read(&[address.to_owned()], file).map(Self::Postgres);
        }
        match scheme(address) {
            Some("stockade") => Ok(Self::Remote(Box::new(remote::read(address, files)?))),
            Some(_) | None => Err(Failure::usage(UNKNOWN)),
        }
    }

    /// Opens the store; an empty one is made. What it keeps running lives on the runtime that this
    /// is called on.
    pub(super) async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        match self {
            Self::Postgres(configs) => postgres::open(configs).await,
            Self::Remote(config) => remote::open(config).await,
        }
    }

    /// Opens a store that is there, for a command: nothing is made.
    pub(super) async fn open_made(&self) -> Result<Arc<dyn Store>, Failure> {
        match self {
            Self::Postgres(configs) => postgres::open_made(configs).await,
            Self::Remote(config) => remote::open(config).await,
        }
    }

    /// Whether `stockade serve` would open the store, and which processes serve it. Changes nothing.
    async fn look(&self) -> Result<Json, Failure> {
        match self {
            Self::Postgres(configs) => postgres::look(configs).await,
            Self::Remote(config) => remote::look(config).await,
        }
    }

    /// Reports what [`Backend::look`] has found.
    pub(super) fn check(&self, context: &Context) -> Result<ExitCode, Failure> {
        let document = super::offline::on_a_runtime(self.look())?;
        context.output.result(&document, super::store::text)?;
        Ok(ExitCode::from(u8::from(document["ok"] != true)))
    }

    /// A host's settings with this store, opened on the runtime that serves.
    pub(super) fn handed_to(
        &self,
        host: HostConfig,
        runtime: &Runtime,
    ) -> Result<HostConfig, Failure> {
        let own = host.data_dir().join("store");
        if std::fs::read_dir(&own).is_ok_and(|mut files| files.next().is_some()) {
            let (path, store) = (own.display(), self);
            tracing::warn!(%path, %store, "the store in the data directory is not used");
        }
        let store = runtime.block_on(self.open())?;
        Ok(host.advanced(|settings| settings.with_store(store)))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(configs) => f.write_str(&postgres::name(configs)),
            Self::Remote(config) => fmt::Display::fmt(&config.address, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> String {
        Backend::read(&[address.to_owned()], &StoreFiles::default())
            .map(|_| ())
            .expect_err("refused")
            .body
            .message
            .clone()
    }

    #[test]
    fn an_address_without_a_known_scheme_is_refused_with_those_that_exist() {
        for address in ["", "host:5432", "mysql://u:secret@h/d", "u:secret@h", "secret://h/d"] {
            let why = refused(address);
            assert!(why.contains("stockade://, postgres:// or postgresql://"), "{why}");
            assert!(!why.contains("secret"), "{why}");
        }
        let address = "postgresql://u@h:1,i/d?sslmode=disable".to_owned();
        let read = Backend::read(&[address], &StoreFiles::default()).expect("read");
        assert_eq!(read.to_string(), "postgres://h:1,i:5432/d");
    }

    #[test]
    fn only_primaries_are_several() {
        let read = |addresses: [&str; 2]| {
            let addresses = addresses.map(str::to_owned);
            Backend::read(&addresses, &StoreFiles::default()).map(|read| read.to_string())
        };
        let primaries = read([
            "postgres://u@h/d?sslmode=disable&name=east",
            "postgres://u@i/d?sslmode=disable&name=west",
        ]);
        assert_eq!(primaries.expect("read"), "postgres://h:5432/d, postgres://i:5432/d");
        for other in ["stockade://h:1", "mysql://u:secret@h/d"] {
            let why = read(["postgres://u@h/d?sslmode=disable&name=east", other]);
            let why = why.expect_err("refused").body.message.clone();
            assert!(why.contains("only the primaries") && !why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_with_what_to_do() {
        for address in
            ["postgres://u:secret@h/d?sslmode=disable", "postgres://u@h/d?password=secret"]
        {
            let why = refused(address);
            assert!(!why.contains("secret"), "{why}");
            assert!(why.contains("--store-password-file") && why.contains(PASSWORD_VARIABLE));
        }
    }

    #[test]
    fn a_store_of_another_node_needs_what_opens_it() {
        for (files, word) in [
            (StoreFiles::default(), "--store-ca"),
            (StoreFiles { store_ca: Some("ca".into()), ..StoreFiles::default() }, "--store-token"),
            (
                StoreFiles {
                    store_ca: Some("ca".into()),
                    store_cert: Some("c".into()),
                    ..StoreFiles::default()
                },
                "belong together",
            ),
        ] {
            let why = Backend::read(&["stockade://h:1".to_owned()], &files)
                .map(|_| ())
                .expect_err("refused");
            assert!(why.body.message.contains(word), "{}", why.body.message);
            let why = StoreListener::read("h:1", &files).map(|_| ()).expect_err("refused");
            assert!(why.body.message.contains("--store-c") || word == "belong together");
        }
        let why = refused("stockade://u:secret@h:1");
        assert!(why.contains("--store-token-file") && !why.contains("secret"), "{why}");
    }

    #[test]
    fn files_belong_to_a_store() {
        let file = || Some("p".into());
        for (files, option) in [
            (
                StoreFiles { store_password_file: file(), ..StoreFiles::default() },
                "--store-password-file",
            ),
            (
                StoreFiles { store_token_file: file(), ..StoreFiles::default() },
                "--store-token-file",
            ),
            (StoreFiles { store_ca: file(), ..StoreFiles::default() }, "--store-ca"),
        ] {
            let is_password = files.store_password_file.is_some();
            let alone = StoreArgs { store: Vec::new(), files: files.clone() };
            let why = alone.named().map(|_| ()).expect_err("alone");
            assert!(why.body.message.contains(option), "{}", why.body.message);
            // The listener of a server has keys as well.
            assert_eq!(
                alone.of_server(Addresses::default(), &files, true).is_err(),
                is_password,
                "{option}"
            );
        }
    }
}
