//! The same trips over two primaries: each step goes to one of them, and none asks both.

use std::sync::Arc;

use stockade_depot::Store;
use stockade_postgres::{Password, PgAddress, PgConfig, PgStores};
use stockade_testkit::postgres::{Server, USER};
use stockade_testkit::relay::Relay;

use crate::server::SETTINGS;
use crate::{Figure, trips};

pub(crate) async fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let server = Server::start(&SETTINGS);
    let (mut near, mut counted, mut relays) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["a", "b"] {
        let database = server.new_database();
        let relay = Relay::start("127.0.0.1", &format!("127.0.0.1:{}", server.port))?;
        let config = |port: u16| -> anyhow::Result<PgConfig> {
            let address = format!(
                "postgres://{USER}@127.0.0.1:{port}/{database}?sslmode=disable&name={name}"
            );
            Ok(PgConfig::new(PgAddress::parse(&address)?, Password::none()))
        };
        near.push(config(server.port)?);
        counted.push(PgConfig { connections: 1, ..config(relay.address.port())? });
        relays.push(relay);
    }
    let there: Arc<dyn Store> = Arc::new(PgStores::open(&near).await?);
    let store: Arc<dyn Store> = Arc::new(PgStores::open(&counted).await?);
    let flights = || relays.iter().map(Relay::flights).sum::<u64>();
    let figures = trips::measure(&there, &store, &flights, ("pg", "_two_primaries"), quick).await?;
    store.close().await;
    there.close().await;
    Ok(figures)
}
