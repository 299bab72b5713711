//! Two servers that write at the same time: a primary that crashed and came back, and its standby,
//! which was promoted. The primary shows what its standby never got, and not what came after the
//! promotion. The store's address names both, and its connections are to both.
//!
//! ```text
//! before   primary ── stream ──> standby     actors, a kind: on both
//! then     standby promoted; steps at the primary wait for it without end
//!          primary killed and started: it shows these steps      standby: takeovers, a new actor
//! ```
//! What a step answers must be so on the promoted server: the primary acknowledges nothing any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use stockade_depot::store::{CreateStep, Created, NodeBeat, TakenOver, TakeoverStep};
use stockade_depot::{Digest, NodeSession, Store, StoreError, Txid};
use stockade_postgres::{Password, PgAddress, PgConfig, PgStores};
use stockade_testkit::owner::{Owner, actor_id, create_step, page, token};

use crate::kit::relay::Relay;
use crate::kit::server::{Database, USER};
use crate::kit::{Server, config};

/// Steps that the primary has made and its standby never got.
struct Unheard {
    create: CreateStep,
    takeover: TakeoverStep,
    component: (Digest, Vec<u8>),
}

/// Both servers, and the way to the primary.
struct Torn {
    _primary: Server,
    promoted: stockade_testkit::postgres::Server,
    relay: Relay,
    database: Database,
    unheard: Unheard,
    /// On the promoted server alone.
    there: Arc<dyn Store>,
}

/// The names of the actors: who has which part is said in [`Torn::new`].
const REPLACED: &str = "replaced there";
const COMMITTED: &str = "committed here";
const CREATED: &str = "created here";
const ABSENT: &str = "created there";
const TAKEN: &str = "taken over here";
const KIND: &str = "ledger";

impl Torn {
    async fn new() -> Self {
        let primary = Server::start(&["wal_retrieve_retry_interval=100ms"]);
        let database = primary.database().await;
        let here = PgStores::open(&[config(&database, "")]).await.unwrap();
        let here: Arc<dyn Store> = Arc::new(here);
        for name in [REPLACED, COMMITTED, TAKEN] {
            Owner::create(&here, name).await.commit(&[(1, 1)], 1).await;
        }
        here.put_component(digest(b"former"), b"former".to_vec()).await.unwrap();
        here.put_kind(KIND, digest(b"former"), "{}").await.unwrap();
        let promoted = primary.standby("second", None);
        primary.set("synchronous_standby_names", "second");
        primary.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'");
        // Acknowledged by the standby.
        here.node_beat(NodeSession([1; 16]), &NodeBeat::at("here:1")).await.unwrap();
        promoted.promote();
        let unheard = unheard(&primary, &here).await;
        primary.again();
        let at_promoted = PgConfig::new(address(&[promoted.port], &database), Password::none());
        let there: Arc<dyn Store> =
            Arc::new(PgStores::open(std::slice::from_ref(&at_promoted)).await.unwrap());
        there.node_gone(NodeSession([1; 16])).await.unwrap();
        owner(&there, REPLACED).await.successor().await;
        Owner::create(&there, ABSENT).await;
        let relay = Relay::start(primary.port).await;
        Self { _primary: primary, promoted, relay, database, unheard, there }
    }

    /// A store with one connection, which is to the primary; every further one is to the other.
    async fn store(&self, connections: usize) -> Arc<dyn Store> {
        self.relay.shut(false);
        let servers = [self.relay.port, self.promoted.port];
        let mut config = PgConfig::new(address(&servers, &self.database), Password::none());
        assert!(config.has_standby);
        (config.connections, config.committers) = (connections, 1);
        let store: Arc<dyn Store> =
            Arc::new(PgStores::open(std::slice::from_ref(&config)).await.unwrap());
        assert!(is_old(&store).await, "the first connection is to the primary");
        self.relay.shut(true);
        store
    }

    /// A store with a connection to each; the next step gets the one to the primary.
    async fn store_of_both(&self) -> Arc<dyn Store> {
        let store = self.store(2).await;
        let both = tokio::join!(is_old(&store), is_old(&store));
        assert_ne!(both.0, both.1, "each of them has a connection");
        // They are lent in turn.
        while is_old(&store).await {}
        store
    }
}

fn address(ports: &[u16], database: &Database) -> PgAddress {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let (hosts, name) = (hosts.join(","), &database.name);
    let address = format!("postgres://{USER}@{hosts}/{name}?sslmode=disable&standby=yes");
    PgAddress::parse(&address).unwrap()
}

fn digest(wasm: &[u8]) -> Digest {
    Digest(Sha256::digest(wasm).into())
}

/// Whether the next connection is one to the former primary: only there the process is registered.
async fn is_old(store: &Arc<dyn Store>) -> bool {
    !store.nodes().await.unwrap().is_empty()
}

/// The owner that a store shows.
async fn owner(store: &Arc<dyn Store>, name: &str) -> Owner {
    let state = store.actor(&actor_id(name)).await.unwrap().unwrap();
    Owner::of(store, state.row.actor, &state.head)
}

/// Steps that wait for the standby until the server is killed.
async fn unheard(primary: &Server, here: &Arc<dyn Store>) -> Unheard {
    let create = create_step(here.as_ref(), CREATED);
    let takeover = TakeoverStep { token: token(), ..owner(here, TAKEN).await.takeover_step() };
    let commit = owner(here, COMMITTED).await.commit_step(&[(1, 2)], 1);
    let component = (digest(b"latter"), b"latter".to_vec());
    let told = Unheard {
        create: create.clone(),
        takeover: takeover.clone(),
        component: component.clone(),
    };
    let steps = async {
        tokio::join!(
            async { here.create(create).await.map(drop) },
            async { here.take_over(takeover).await.map(drop) },
            here.commit(commit),
            here.put_component(component.0, component.1),
            async { here.remove_kind(KIND).await.map(drop) },
        )
    };
    let killed = async {
        let waiting = "SELECT count(*) = 5 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let begun = Instant::now();
        while primary.sql("postgres", waiting) != "t" {
            assert!(begun.elapsed() < Duration::from_secs(8), "the steps do not wait");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        primary.kill_all();
    };
    let (ends, ()) = tokio::join!(steps, killed);
    for end in [ends.0, ends.1, ends.2, ends.3, ends.4] {
        assert!(matches!(end, Err(StoreError::Unknown(_))), "{end:?}");
    }
    told
}

/// All of it on one pair of servers: each is made in seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_only_a_former_primary_shows_is_no_answer() {
    let torn = Torn::new().await;
    an_owner_that_was_replaced_is_not_confirmed(&torn).await;
    a_commit_that_no_standby_has_is_not_committed(&torn).await;
    a_create_that_no_standby_has_is_made(&torn).await;
    an_actor_is_not_absent(&torn).await;
    steps_that_find_nothing_to_do_do_it(&torn).await;
    an_owner_is_not_refused(&torn).await;
    a_takeover_that_no_standby_has_is_won(&torn).await;
}

/// The look at the head shows it to be ours, and the other server would take any proof.
async fn an_owner_that_was_replaced_is_not_confirmed(torn: &Torn) {
    let store = torn.store_of_both().await;
    let old = owner(&store, REPLACED).await;
    // That was the connection to the primary, and now it is the other's turn.
    assert!(!is_old(&store).await);
    let told = store.confirm(&[old.fence]).await.unwrap();
    assert!(matches!(told[0], Err(StoreError::Fenced(_))), "{told:?}");
    // With the way to the primary open the promoted server is found as well.
    torn.relay.shut(false);
    let store = torn.store(2).await;
    torn.relay.shut(false);
    let begun = Instant::now();
    let told = store.confirm(&[old.fence]).await.unwrap();
    assert!(matches!(told[0], Err(StoreError::Fenced(_))), "{told:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

async fn a_commit_that_no_standby_has_is_not_committed(torn: &Torn) {
    let store = torn.store_of_both().await;
    let db = owner(&torn.there, COMMITTED).await.fence.db;
    let (head, row) = store.verdict(db, Txid(2)).await.unwrap();
    assert_eq!((head.unwrap().txid, row), (Txid(1), None));
}

async fn a_create_that_no_standby_has_is_made(torn: &Torn) {
    let store = torn.store(1).await;
    let again = CreateStep {
        db: create_step(store.as_ref(), CREATED).db,
        token: token(),
        ..torn.unheard.create.clone()
    };
    let made = store.create(again.clone()).await.unwrap();
    assert!(matches!(&made, Created::Made(head) if head.fence.db == again.db), "{made:?}");
    assert_eq!(owner(&torn.there, CREATED).await.fence.db, again.db);
}

async fn an_actor_is_not_absent(torn: &Torn) {
    let store = torn.store(1).await;
    assert!(store.actor(&actor_id(ABSENT)).await.unwrap().is_some());
}

async fn steps_that_find_nothing_to_do_do_it(torn: &Torn) {
    let store = torn.store(1).await;
    let (digest, wasm) = torn.unheard.component.clone();
    store.put_component(digest, wasm.clone()).await.unwrap();
    assert_eq!(torn.there.component(digest).await.unwrap(), Some(wasm));
    let store = torn.store(1).await;
    assert!(store.remove_kind(KIND).await.unwrap(), "it was there");
    assert!(torn.there.kind(KIND).await.unwrap().is_none());
}

/// The primary shows a takeover that was never acknowledged; the owner before it still is the owner.
async fn an_owner_is_not_refused(torn: &Torn) {
    let rightful = owner(&torn.there, TAKEN).await;
    let mut own = Owner { store: torn.store(1).await, ..rightful.clone() };
    assert!(own.read_one(1, 1).await.is_ok_and(|read| read == page(1, 1)));
    // A committer's connection is one to the primary only while the way is open.
    own.store = torn.store(1).await;
    torn.relay.shut(false);
    let first = own.try_commit(&[(1, 2)], 1).await;
    assert!(matches!(first, Err(StoreError::Unavailable(_))), "{first:?}");
    own.try_commit(&[(1, 2)], 1).await.unwrap();
    assert_eq!(owner(&torn.there, TAKEN).await.txid, Txid(2));
    own.store = torn.store(1).await;
    own.store.seal(own.seal_step(None)).await.unwrap();
    assert!(torn.there.actor(&own.actor).await.unwrap().unwrap().head.sealed);
}

async fn a_takeover_that_no_standby_has_is_won(torn: &Torn) {
    let store = torn.store(1).await;
    let taken = store.take_over(torn.unheard.takeover.clone()).await.unwrap();
    assert!(matches!(taken, TakenOver::Owned { .. }), "{taken:?}");
    let now = owner(&torn.there, TAKEN).await;
    assert_eq!(now.fence.token, torn.unheard.takeover.token);
}
