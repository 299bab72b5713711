//! Sessions over a server: the depot's rules and this store together, with lost answers between them.

use std::sync::Arc;

use stockade_depot::store::PreviousEnd;
use stockade_depot::{
    ActorId, Depot, DepotLimits, Digest, NodeSession, PAGE_SIZE, PageBytes, PageCount, Pgno,
    Session, Store, TokioParker, Txid, history,
};
use tokio::runtime::Handle;

use crate::kit;
use crate::kit::relay::{Cut, Relay};
use crate::open;

pub(crate) const COMPONENT: Digest = Digest([7; 32]);

pub(crate) fn depot(store: &Arc<dyn Store>, node: u8, limits: DepotLimits) -> Arc<Depot> {
    let parker = Arc::new(TokioParker(Handle::current()));
    Depot::new(Arc::clone(store), NodeSession([node; 16]), limits, parker, Handle::current())
}

pub(crate) fn put(session: &Session, pages: &[(u32, u8)], page_count: u32) {
    let bytes = u64::try_from(pages.len() * PAGE_SIZE).unwrap();
    session.prepare(bytes, PageCount(page_count)).unwrap();
    let page = |byte| PageBytes::from(vec![byte; PAGE_SIZE]);
    let pages = pages.iter().map(|(pgno, byte)| (Pgno(*pgno), page(*byte))).collect();
    session.publish(pages, PageCount(page_count));
}

#[track_caller]
pub(crate) fn assert_reads(session: &Session, due: &[(u32, u8)]) {
    for (pgno, byte) in due {
        assert_eq!(session.read(Pgno(*pgno)).unwrap(), vec![*byte; PAGE_SIZE], "page {pgno}");
    }
}

/// Small commits, a large one that is staged, and the next owner in another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_actor_goes_from_one_process_to_another() {
    let database = kit::server().database().await;
    let stores = [open(&kit::config(&database, "")).await, open(&kit::config(&database, "")).await];
    let limits = DepotLimits { step_bytes_max: 8 * PAGE_SIZE as u64, ..DepotLimits::default() };
    let here = depot(&stores[0], 1, limits.clone());
    let there = depot(&stores[1], 2, limits);
    let actor = ActorId::new("counter", "a").unwrap();
    let first = here.create(&actor, COMPONENT).await.unwrap().session;
    put(&first, &[(1, 1), (2, 2)], 2);
    first.durable(first.mark()).await.unwrap();
    let many: Vec<(u32, u8)> = (1..=50).zip(100..).collect();
    put(&first, &many, 50);
    assert_eq!(first.durable(first.mark()).await, Ok(Txid(2)));
    assert_reads(&first, &many);
    let state = stores[1].actor(&actor).await.unwrap().unwrap();
    let taken = there.take_over(&state, COMPONENT, PreviousEnd::Neutral).await.unwrap();
    assert_reads(&taken.session, &many);
    put(&taken.session, &[(7, 77)], 50);
    taken.session.durable(taken.session.mark()).await.unwrap();
    assert_reads(&taken.session, &[(6, 105), (7, 77), (8, 107)]);
    // The former owner learns this from its next commit.
    put(&first, &[(1, 9)], 50);
    assert!(first.durable(first.mark()).await.is_err());
    let db = state.row.db;
    let report = history::verify(stores[0].as_ref(), db, &mut |_| {}).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// Every lost answer is settled: no commit is missing, none is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lost_answers_are_settled_by_their_verdicts() {
    let database = kit::server().database().await;
    let relay = Relay::start(database.port).await;
    let store = open(&kit::at(relay.port, &database, "")).await;
    let depot = depot(&store, 1, DepotLimits::default());
    let actor = ActorId::new("counter", "a").unwrap();
    let session = depot.create(&actor, COMPONENT).await.unwrap().session;
    for version in 1..=60_u8 {
        let when = [Cut::Before, Cut::During, Cut::After][usize::from(version) % 3];
        if version % 2 == 0 {
            relay.cut(when);
        }
        put(&session, &[(1, version), (2, version)], 2);
        let txid = session.durable(session.mark()).await;
        assert_eq!(txid, Ok(Txid(version.into())), "{when:?}");
        assert_reads(&session, &[(1, version), (2, version)]);
    }
    let db = session.fence().db;
    let report = history::verify(store.as_ref(), db, &mut |_| {}).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.commits, 60);
}
