//! The server, the way to it, and who goes there.

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::store::embedded::Clock;
use stockade_depot::{
    Depot, DepotLimits, Digest, NodeSession, PAGE_SIZE, PageBytes, PageCount, Pgno, Session, Store,
    TokioParker,
};
use stockade_postgres::{Password, PgAddress, PgConfig, PgStores};
use stockade_testkit::owner;
use stockade_testkit::postgres::{Server, USER};
use stockade_testkit::relay::Relay;
use tokio::runtime::Handle;
use tokio_postgres::{Client, NoTls};

pub(crate) const COMPONENT: Digest = Digest([7; 32]);
/// Enough for everything that is written between two checkpoints; else as it comes, and as durable.
pub(crate) const SETTINGS: [&str; 3] =
    ["shared_buffers=256MB", "max_wal_size=4GB", "autovacuum_naptime=10s"];
const ONE_WAY: Duration = Duration::from_millis(1);

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Loopback.
    Direct,
    /// 1 ms in each direction.
    Slow,
}

impl Way {
    /// How the names of figures end that are measured over this way.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Direct => "",
            Self::Slow => "_1ms",
        }
    }

    /// The name of a figure that is measured over this way.
    pub(crate) fn named(self, name: &str) -> String {
        format!("{name}{}", self.suffix())
    }
}

/// A server, with a relay in front of it.
pub(crate) struct Bench {
    pub(crate) way: Way,
    pub(crate) server: Server,
    pub(crate) database: String,
    pub(crate) relay: Relay,
}

impl Bench {
    pub(crate) fn new(way: Way) -> anyhow::Result<Self> {
        let server = Server::start(&SETTINGS);
        let database = server.new_database();
        let relay = Relay::start("127.0.0.1", &format!("127.0.0.1:{}", server.port))?;
        if way == Way::Slow {
            relay.slow(ONE_WAY);
        }
        Ok(Self { way, server, database, relay })
    }

    /// Where everything goes that is measured: past the relay, which costs time of its own, if the
    /// server is near.
    fn port(&self) -> u16 {
        if self.way == Way::Slow { self.relay.address.port() } else { self.server.port }
    }

    /// A client with plain statements.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let address = format!("postgres://{USER}@127.0.0.1:{}/{}", self.port(), self.database);
        let (client, connection) = tokio_postgres::connect(&address, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A store with its usual settings.
    pub(crate) async fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        self.open(self.port(), |_| {}).await
    }

    /// A store with one connection, whose flights the relay counts.
    pub(crate) async fn counted(&self) -> anyhow::Result<Arc<dyn Store>> {
        self.open(self.relay.address.port(), |config| config.connections = 1).await
    }

    /// A store whose clock is this one.
    pub(crate) async fn clocked(&self, clock: Clock) -> anyhow::Result<Arc<dyn Store>> {
        self.open(self.port(), |config| config.clock = clock).await
    }

    async fn open(
        &self,
        port: u16,
        set: impl FnOnce(&mut PgConfig),
    ) -> anyhow::Result<Arc<dyn Store>> {
        let name = &self.database;
        let address = format!("postgres://{USER}@127.0.0.1:{port}/{name}?sslmode=disable");
        let mut config = PgConfig::new(PgAddress::parse(&address)?, Password::none());
        set(&mut config);
        Ok(Arc::new(PgStores::open(std::slice::from_ref(&config)).await?))
    }
}

/// One process's depot over a store.
pub(crate) fn depot(store: &Arc<dyn Store>, node: u8) -> Arc<Depot> {
    let parker = Arc::new(TokioParker(Handle::current()));
    let limits = DepotLimits::default();
    Depot::new(Arc::clone(store), NodeSession([node; 16]), limits, parker, Handle::current())
}

/// Hands a version of these pages to a session. Half of all pages do not compress.
pub(crate) fn put(
    session: &Session,
    pages: impl Iterator<Item = u32>,
    version: u64,
) -> anyhow::Result<()> {
    let pages: Vec<(Pgno, PageBytes)> =
        pages.map(|pgno| (Pgno(pgno), owner::page(pgno, version))).collect();
    let last = pages.last().map_or(0, |(pgno, _)| pgno.0);
    let count = PageCount(session.page_count().0.max(last));
    session.prepare((pages.len() * PAGE_SIZE) as u64, count)?;
    session.publish(pages, count);
    Ok(())
}
