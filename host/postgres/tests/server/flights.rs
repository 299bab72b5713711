//! How often a store waits for its server, counted on the way there.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use stockade_depot::store::{ActorState, PreviousEnd};
use stockade_depot::{ActorId, DepotLimits, Reason, Session, Shard, Store};
use stockade_postgres::PgStores;
use stockade_testkit::owner::{Owner, actor_id};
use stockade_testkit::relay::Relay;

use crate::kit;
use crate::open;
use crate::sessions::{COMPONENT, assert_reads, depot, put};

/// A store with one connection, over a relay that counts.
async fn counted(database: &kit::server::Database) -> (Arc<dyn Store>, Relay) {
    let relay = Relay::start("127.0.0.1", &format!("127.0.0.1:{}", database.port)).unwrap();
    let mut config = kit::at(relay.address.port(), database, "");
    config.connections = 1;
    (open(&config).await, relay)
}

/// An actor of another process, with pages that count from 1 on.
async fn made(store: &Arc<dyn Store>, key: &str, pages: u32) -> ActorId {
    let actor = ActorId::new("counter", key).unwrap();
    let session = depot(store, 1, DepotLimits::default());
    let session = session.create(&actor, COMPONENT).await.unwrap().session;
    put(&session, &bytes(pages), pages);
    session.durable(session.mark()).await.unwrap();
    session.close(Reason::Operator);
    actor
}

fn bytes(pages: u32) -> Vec<(u32, u8)> {
    (1..=pages).map(|pgno| (pgno, u8::try_from(pgno % 251).unwrap())).collect()
}

fn reads(session: &Session, pages: u32) {
    assert_reads(session, &bytes(pages));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wake_is_two_flights_and_one_where_the_actor_slept() {
    let database = kit::server().database().await;
    let there = open(&kit::config(&database, "")).await;
    let (store, relay) = counted(&database).await;
    let here = depot(&store, 2, DepotLimits::default());
    // The first one has the statements prepared.
    for (key, due) in [("warm", None), ("cold", Some((2, 1)))] {
        let actor = made(&there, key, 8).await;
        let before = relay.flights();
        let state = store.actor(&actor).await.unwrap().unwrap();
        let opened = here.take_over(&state, COMPONENT, PreviousEnd::Neutral).await.unwrap();
        reads(&opened.session, 8);
        let elsewhere = relay.flights() - before;
        let head = opened.session.seal_for_heir().await.unwrap();
        let before = relay.flights();
        let again = here.inherit(ActorState { head, ..state }).await.unwrap().session;
        reads(&again, 8);
        let slept = relay.flights() - before;
        if let Some(due) = due {
            assert_eq!((elsewhere, slept), due);
        }
    }
}

/// Questions grow to 512 pages: 10 MiB are 3 pages, eight questions of 4 to 512 and four more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_scan_waits_for_the_network_once_in_512_pages() {
    let database = kit::server().database().await;
    let there = open(&kit::config(&database, "")).await;
    let (store, relay) = counted(&database).await;
    let here = depot(&store, 2, DepotLimits { preload_pages_max: 0, ..DepotLimits::default() });
    let actor = made(&there, "large", 2560).await;
    let state = store.actor(&actor).await.unwrap().unwrap();
    let opened = here.take_over(&state, COMPONENT, PreviousEnd::Neutral).await.unwrap();
    let before = relay.flights();
    reads(&opened.session, 2560);
    let flights = relay.flights() - before;
    // A question of 512 pages may come in several pieces while the next one is not sent yet.
    assert!(flights <= 3 + 8 + 4 + 1, "{flights}");
}

/// Over several primaries each step is one flight to its own, as over one; that an actor is absent is two.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_step_over_two_primaries_is_one_flight() {
    let databases = [kit::server().schema().await, kit::server().schema().await];
    let relay = Relay::start("127.0.0.1", &format!("127.0.0.1:{}", databases[0].port)).unwrap();
    let mut counted = kit::at(relay.address.port(), &databases[0], "&name=a");
    let mut other = kit::config(&databases[1], "&name=b");
    for config in [&mut counted, &mut other] {
        (config.connections, config.committers, config.shards) = (1, 1, 2);
    }
    let store: Arc<dyn Store> = Arc::new(PgStores::open(&[counted, other]).await.unwrap());
    let keys: Vec<String> = (0..99)
        .map(|number| format!("k{number}"))
        .filter(|key| actor_id(key).shard(2) == Shard(0))
        .collect();
    // The first one has the statements prepared.
    for (is_warm, key) in [(false, &keys[0]), (true, &keys[1])] {
        let flights = async |step: BoxFuture<'_, ()>| {
            let before = relay.flights();
            step.await;
            relay.flights() - before
        };
        let actor = actor_id(key);
        let absent = flights(Box::pin(async {
            assert_eq!(store.actor(&actor).await, Ok(None));
        }))
        .await;
        let mut owner = None;
        let created = flights(Box::pin(async {
            owner = Some(Owner::create(&store, key).await);
        }))
        .await;
        let mut owner = owner.unwrap();
        let committed = flights(Box::pin(owner.commit(&[(1, 1)], 1))).await;
        let read = flights(Box::pin(async {
            owner.read_one(1, 1).await.unwrap();
        }))
        .await;
        let confirmed = flights(Box::pin(async {
            store.confirm(&[owner.fence]).await.unwrap().remove(0).unwrap();
        }))
        .await;
        let taken = flights(Box::pin(async {
            owner.successor().await;
        }))
        .await;
        if is_warm {
            assert_eq!((absent, created, committed, read, confirmed, taken), (2, 1, 1, 1, 1, 1));
        }
    }
}
