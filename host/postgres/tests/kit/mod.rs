//! What tests of this package share: a server of their own, and a way to it that can be cut.

pub(crate) mod authority;
pub(crate) mod relay;
pub(crate) mod server;

use std::sync::OnceLock;

use stockade_postgres::{Password, PgAddress, PgConfig};

pub(crate) use server::Server;

/// The server that all tests of this process share.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

/// A store in a database, over plain TCP; `more` is added to the address.
pub(crate) fn config(database: &server::Database, more: &str) -> PgConfig {
    at(database.port, database, more)
}

/// A store in a database behind another port.
pub(crate) fn at(port: u16, database: &server::Database, more: &str) -> PgConfig {
    let (user, name) = (&database.user, &database.name);
    let address = format!("postgres://{user}@127.0.0.1:{port}/{name}?sslmode=disable{more}");
    PgConfig::new(PgAddress::parse(&address).unwrap(), Password::none())
}
