//! The server of the test kit, with connections past the store.

use std::ops::Deref;
use std::path::Path;

use stockade_testkit::postgres;
use tokio_postgres::NoTls;

pub(crate) use postgres::USER;

/// A database of a server.
pub(crate) struct Database {
    pub(crate) port: u16,
    pub(crate) name: String,
    /// Who the store signs in as.
    pub(crate) user: String,
}

impl Database {
    /// A connection past the store.
    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        client(self.port, &self.name).await
    }
}

/// A running server. It ends when this is dropped, and when the process ends.
pub(crate) struct Server(postgres::Server);

impl Deref for Server {
    type Target = postgres::Server;

    fn deref(&self) -> &postgres::Server {
        &self.0
    }
}

impl Server {
    /// A new server with more settings, `name=value` each.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self(postgres::Server::start(settings))
    }

    /// The same, whose data directory is shown to `with` first.
    pub(crate) fn prepare(settings: &[&str], with: impl FnOnce(&Path)) -> Self {
        Self(postgres::Server::prepare(settings, with))
    }

    /// A new, empty database.
    pub(crate) async fn database(&self) -> Database {
        let name = format!("t{}", self.number());
        let client = client(self.port, "postgres").await;
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Database { port: self.port, name, user: USER.to_owned() }
    }

    /// A schema for a store, whose role looks nowhere else: a database would be hundreds of files.
    pub(crate) async fn schema(&self) -> Database {
        let user = format!("s{}", self.number());
        let client = client(self.port, "postgres").await;
        let made = format!(
            "CREATE ROLE {user} LOGIN; ALTER ROLE {user} SET search_path = {user}; \
             CREATE SCHEMA {user} AUTHORIZATION {user}"
        );
        client.batch_execute(&made).await.unwrap();
        Database { port: self.port, name: "postgres".to_owned(), user }
    }
}

/// A connection past the store.
pub(crate) async fn client(port: u16, database: &str) -> tokio_postgres::Client {
    let address = format!("postgres://{USER}@127.0.0.1:{port}/{database}");
    let (client, connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
