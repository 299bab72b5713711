//! How often a store waits for its server, counted on the way there.

use std::sync::Arc;

use stockade_depot::store::{ActorState, PreviousEnd};
use stockade_depot::{ActorId, DepotLimits, Reason, Session, Store};
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
