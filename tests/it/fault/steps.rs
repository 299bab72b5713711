//! A fault that is armed for a database strikes every step that its description names, and no step
//! of another database. Only the store's wrapper, over a store that counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use stockade::Fault;
use stockade::fault::FaultingStore;
use stockade_depot::store::{
    CommitStep, Directory, Due, DueWork, Import, Ownership, Pages, PreviousEnd, SealStep,
    StageStep, Store, TakeoverStep,
};
use stockade_depot::{
    ActorId, DbId, Digest, EmbeddedStore, Fence, Generation, NodeSession, PageCount, Pgno, Shard,
    StageId, StoreError, Token, Txid,
};
use stockade_testkit::faulty_store::{FaultyStore, Step};

const FROZEN: Fault = Fault::Freeze { for_ms: 600_000 };

/// A step of a database that does not exist, so the store refuses it: the step was sent, and that
/// is counted. `Err`: the answer.
type Send = fn(Arc<FaultingStore>, DbId) -> BoxFuture<'static, Result<(), StoreError>>;

/// Every step of one database but the confirmation, which carries many databases.
const SENDS: [(&str, Step, Send); 12] = [
    ("take over", Step::TakeOver, |store, db| {
        sent(async move { store.take_over(takes(db)).await })
    }),
    ("seal", Step::Seal, |store, db| {
        let step = SealStep {
            fence: fence(db),
            base: Txid(0),
            snapshot: None,
            component: CODE,
            heir: None,
        };
        sent(async move { store.seal(step).await })
    }),
    ("read", Step::Read, |store, db| {
        sent(async move { store.read(fence(db), Txid(0), &[Pgno(1)]).await })
    }),
    ("stage", Step::Stage, |store, db| sent(async move { store.stage(stages(db)).await })),
    ("collect stages", Step::CollectStages, |store, db| {
        sent(async move { store.collect_stages(fence(db)).await })
    }),
    ("commit", Step::Commit, |store, db| sent(async move { store.commit(commits(db)).await })),
    ("settle due", Step::SettleDue, |store, db| {
        sent(async move { store.settle_due(fence(db), Txid(0), None).await })
    }),
    ("verdict", Step::Verdict, |store, db| sent(async move { store.verdict(db, Txid(1)).await })),
    ("take over import", Step::Import, |store, db| {
        sent(async move { store.take_over_import(takes(db)).await })
    }),
    ("empty import", Step::Import, |store, db| {
        sent(async move { store.empty_import(fence(db)).await })
    }),
    ("finish import", Step::Import, |store, db| {
        sent(async move { store.finish_import(fence(db), Txid(0)).await })
    }),
    ("destroy", Step::Destroy, |store, db| {
        sent(async move { store.destroy(&actor(), fence(db)).await })
    }),
];

const CODE: Digest = Digest([0; 32]);

fn sent<T>(
    step: impl Future<Output = Result<T, StoreError>> + std::marker::Send + 'static,
) -> BoxFuture<'static, Result<(), StoreError>> {
    Box::pin(async move { step.await.map(drop) })
}

fn db(number: u8) -> DbId {
    DbId::new(Shard(0), [number; 15])
}

fn actor() -> ActorId {
    ActorId::new("counter", "nobody").unwrap()
}

fn fence(db: DbId) -> Fence {
    Fence { db, generation: Generation(1), token: Token([1; 16]) }
}

fn takes(db: DbId) -> TakeoverStep {
    TakeoverStep {
        actor: actor(),
        db,
        replaces: (Generation(1), Token([1; 16])),
        token: Token([2; 16]),
        owner: NodeSession([1; 16]),
        component: CODE,
        previous_end: PreviousEnd::Neutral,
        destroying: false,
    }
}

fn stages(db: DbId) -> StageStep {
    let pages = vec![(Pgno(1), vec![1; 4096].into())];
    StageStep { fence: fence(db), base: Txid(0), stage: StageId([1; 16]), chunk: 1, pages }
}

fn commits(db: DbId) -> CommitStep {
    CommitStep {
        owner: NodeSession([1; 16]),
        fence: fence(db),
        base: Txid(0),
        page_count: PageCount(1),
        pages: vec![(Pgno(1), vec![1; 4096].into())],
        staged: None,
        chain: [0; 32],
        content: [0; 32],
        due: Due::Untouched,
    }
}

fn stores() -> (Arc<FaultingStore>, Arc<FaultyStore>) {
    stockade_vfs::heap::install();
    let counts = FaultyStore::new(Arc::new(EmbeddedStore::in_memory(1).unwrap()));
    (Arc::new(FaultingStore::new(Arc::clone(&counts) as Arc<dyn Store>)), counts)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_frozen_database_waits_until_it_is_cleared() {
    let (store, counts) = stores();
    for (name, step, send) in SENDS {
        assert!(store.arm(db(1), FROZEN));
        let before = counts.calls(step);
        let mut frozen = send(Arc::clone(&store), db(1));
        assert!((&mut frozen).now_or_never().is_none(), "{name} is answered by a frozen store");
        assert_eq!(counts.calls(step), before, "{name} was sent to a frozen store");
        drop(send(Arc::clone(&store), db(2)).await);
        assert_eq!(counts.calls(step), before + 1, "{name} of another database waits");
        assert!((&mut frozen).now_or_never().is_none(), "{name} is answered by a frozen store");
        assert_eq!(store.faults().clear(db(1)).len(), 1);
        drop(frozen.await);
        assert_eq!(counts.calls(step), before + 2, "{name} was not sent afterwards");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_slow_database_is_sent_after_its_delay() {
    let (store, counts) = stores();
    for (name, step, send) in SENDS {
        let slow = Fault::SlowStore { delay_ms: 30, count: Some(1), for_ms: 600_000 };
        assert!(store.arm(db(1), slow));
        let (before, begun) = (counts.calls(step), Instant::now());
        let mut late = send(Arc::clone(&store), db(1));
        assert!((&mut late).now_or_never().is_none(), "{name} is not delayed");
        assert_eq!(counts.calls(step), before, "{name} was sent at once");
        drop(late.await);
        assert!(begun.elapsed() >= Duration::from_millis(30), "{name}: {:?}", begun.elapsed());
        assert_eq!(counts.calls(step), before + 1, "{name} was not sent afterwards");
        assert_eq!(store.faults().of(db(1)), [], "{name}: it had one delay");
    }
}

/// A round of confirmations carries many databases: held ones are left out of the question, the
/// others are answered.
#[tokio::test(flavor = "multi_thread")]
async fn confirmations_are_held_one_by_one() {
    let (store, counts) = stores();
    let slow = Fault::SlowStore { delay_ms: 30, count: Some(1), for_ms: 600_000 };
    for fault in [FROZEN, slow] {
        assert!(store.arm(db(1), fault));
        let asked = counts.calls(Step::Confirm);
        let held =
            |answer: &Result<(), StoreError>| matches!(answer, Err(StoreError::Unavailable(_)));
        let answers = store.confirm(&[fence(db(1)), fence(db(2))]).await.unwrap();
        assert!(held(&answers[0]), "{fault:?}: {answers:?}");
        assert!(!held(&answers[1]), "{fault:?}: {answers:?}");
        let answers = store.confirm(&[fence(db(1))]).await.unwrap();
        assert!(held(&answers[0]), "{fault:?}: {answers:?}");
        assert_eq!(counts.calls(Step::Confirm), asked + 1, "{fault:?}: asked for what is held");
        store.faults().clear(db(1));
        let answers = store.confirm(&[fence(db(1))]).await.unwrap();
        assert!(!held(&answers[0]), "{fault:?}: {answers:?}");
    }
}

/// Reads, verdicts and all other steps continue; a step that needs room is refused, and not sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_refuses_what_takes_room() {
    let (store, counts) = stores();
    assert!(store.arm(db(1), Fault::StoreFull { for_ms: 600_000 }));
    for (name, step, send) in SENDS {
        let before = counts.calls(step);
        let answer = send(Arc::clone(&store), db(1)).await;
        let full = matches!(answer, Err(StoreError::Full(_)));
        let takes_room = matches!(step, Step::Commit | Step::Stage);
        assert_eq!(full, takes_room, "{name}: {answer:?}");
        assert_eq!(counts.calls(step), before + u64::from(!takes_room), "{name}");
        drop(send(Arc::clone(&store), db(2)).await);
        assert!(counts.calls(step) > before, "{name} of another database is refused");
    }
}
