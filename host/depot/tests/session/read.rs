//! Reads: what is served from where, and how a read that waits ends.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use stockade_depot::{
    Cause, Depot, DepotLimits, NodeSession, Parker, Pgno, ReadError, Reason, Session, Store,
    StoreError, TokioParker,
};
use stockade_testkit::faulty_store::{Fault, Step};
use tokio::runtime::Handle;

use crate::world::{World, byte_of, limits, put};

fn read_elsewhere(session: &Session, pgno: u32) -> tokio::task::JoinHandle<Result<u8, ReadError>> {
    let session = session.clone();
    tokio::task::spawn_blocking(move || session.read(Pgno(pgno)).map(|bytes| bytes[0]))
}

/// An actor with `pages` pages, page n full of n, opened by a process that has none cached.
async fn cold(world: &World, pages: u8) -> Session {
    let session = world.create().await;
    let all: Vec<(u32, u8)> = (1..=pages).map(|n| (u32::from(n), n)).collect();
    session.durable(put(&session, &all, u32::from(pages))).await.unwrap();
    world.steal().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_past_the_end_is_told_apart() {
    let world = World::new();
    let session = cold(&world, 2).await;
    assert_eq!(session.read(Pgno(3)), Err(ReadError::PastEnd));
    assert_eq!(session.read(Pgno(0)), Err(ReadError::PastEnd));
    assert_eq!(session.read(Pgno(u32::MAX)), Err(ReadError::PastEnd));
    assert_eq!((byte_of(&session, 1), byte_of(&session, 2)), (1, 2));
    assert_eq!(world.store.calls(Step::Read), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_another_page_does_not_mind_the_commit_in_flight() {
    let world = World::new();
    let session = cold(&world, 3).await;
    // The store has the commit already (HoldAnswer) or not (Hold): neither is a mismatch.
    for (fault, other) in [(Fault::Hold, 2), (Fault::HoldAnswer, 3)] {
        let hold = world.store.arm(Step::Commit, 1, fault);
        put(&session, &[(1, 11)], 3);
        hold.fired().await;
        assert_eq!(byte_of(&session, 1), 11);
        assert_eq!(u32::from(byte_of(&session, other)), other);
        hold.release();
        session.durable(session.mark()).await.unwrap();
        assert_eq!(byte_of(&session, 1), 11);
        assert!(!session.is_dead());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_generation_cannot_read() {
    let world = World::new();
    let old = cold(&world, 2).await;
    world.take_over(&world.here).await.unwrap();
    let error = old.read(Pgno(1)).unwrap_err();
    assert!(matches!(error, ReadError::Dead(Cause::Fenced(_))), "{error:?}");
    assert!(old.is_dead());
}

#[tokio::test(flavor = "multi_thread")]
async fn old_generation_cannot_read_even_from_cache() {
    let world = World::new();
    let old = cold(&world, 2).await;
    assert_eq!(byte_of(&old, 1), 1);
    let reads = world.store.calls(Step::Read);
    assert_eq!(byte_of(&old, 1), 1);
    assert_eq!(world.store.calls(Step::Read), reads, "the page is cached");
    world.take_over(&world.here).await.unwrap();
    // Whatever tells it first: from then on not even the cached page is served.
    assert!(old.read(Pgno(2)).is_err());
    assert!(matches!(old.read(Pgno(1)), Err(ReadError::Dead(Cause::Fenced(_)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_generation_of_the_same_process_hits_nothing_cached() {
    let world = World::new();
    let old = cold(&world, 2).await;
    assert_eq!((byte_of(&old, 1), byte_of(&old, 2)), (1, 2));
    let new = world.steal().await;
    assert!(matches!(old.read(Pgno(1)), Err(ReadError::Dead(Cause::Fenced(_)))));
    assert_eq!(byte_of(&new, 1), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_failure_is_asked_again_and_does_not_kill() {
    let world = World::new();
    let session = cold(&world, 2).await;
    let first = world.store.arm(Step::Read, 1, Fault::Unavailable);
    let second = world.store.arm(Step::Read, 2, Fault::LostAnswer);
    assert_eq!(byte_of(&session, 1), 1);
    drop((first, second));
    let outage = world.store.outage(Step::Read, Fault::Unavailable);
    let begun = Instant::now();
    let error = session.read(Pgno(2)).unwrap_err();
    assert!(matches!(error, ReadError::Unavailable(StoreError::Unavailable(_))), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    drop(outage);
    assert!(!session.is_dead());
    assert_eq!(byte_of(&session, 2), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_read_is_parked_and_answered() {
    let world = World::new();
    let session = cold(&world, 1).await;
    let hold = world.store.arm(Step::Read, 1, Fault::Hold);
    let read = read_elsewhere(&session, 1);
    hold.fired().await;
    hold.release();
    assert_eq!(read.await.unwrap(), Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn close_wakes_parked_reads_and_is_idempotent() {
    let world = World::new();
    let session = cold(&world, 3).await;
    let outage = world.store.outage(Step::Read, Fault::Hold);
    let reads: Vec<_> = (1..=3).map(|pgno| read_elsewhere(&session, pgno)).collect();
    outage.fired().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let closed = Instant::now();
    session.close(Reason::Slept);
    session.close(Reason::Storage);
    for read in reads {
        let error = read.await.unwrap().unwrap_err();
        assert_eq!(error, ReadError::Dead(Cause::Closed(Reason::Slept)));
    }
    assert!(closed.elapsed() < Duration::from_millis(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupt_ends_a_parked_read_and_nothing_else() {
    let world = World::new();
    let session = cold(&world, 1).await;
    session.interrupt();
    let hold = world.store.arm(Step::Read, 1, Fault::Hold);
    let read = read_elsewhere(&session, 1);
    hold.fired().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    session.interrupt();
    assert_eq!(read.await.unwrap(), Err(ReadError::Interrupted));
    assert_eq!(byte_of(&session, 1), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_answers_costs_one_deadline() {
    let world = World::new();
    let session = cold(&world, 1).await;
    let outage = world.store.outage(Step::Read, Fault::Hold);
    let begun = Instant::now();
    assert!(matches!(session.read(Pgno(1)), Err(ReadError::Unavailable(_))));
    assert!(begun.elapsed() < Duration::from_secs(2));
    drop(outage);
    assert!(!session.is_dead());
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_reads_are_bounded() {
    let world = World::with(DepotLimits { parked_reads_max: 2, ..limits() });
    let session = cold(&world, 3).await;
    let first = world.store.arm(Step::Read, 1, Fault::Hold);
    let second = world.store.arm(Step::Read, 2, Fault::Hold);
    let parked = [read_elsewhere(&session, 1), read_elsewhere(&session, 2)];
    first.fired().await;
    second.fired().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let third = world.store.arm(Step::Read, 1, Fault::Hold);
    assert_eq!(read_elsewhere(&session, 3).await.unwrap(), Err(ReadError::Overloaded));
    drop(third);
    first.release();
    second.release();
    for read in parked {
        assert!(read.await.unwrap().is_ok());
    }
    assert_eq!(read_elsewhere(&session, 3).await.unwrap(), Ok(3));
}

/// Closes a session right after each wait: the answer is there, and the session is dead.
struct ClosingParker {
    waits: TokioParker,
    session: OnceLock<Session>,
}

impl Parker for ClosingParker {
    fn park(&self, work: BoxFuture<'_, ()>) {
        self.waits.park(work);
        self.session.get().unwrap().close(Reason::Operator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_after_the_death_is_not_served() {
    let world = World::new();
    drop(cold(&world, 1).await);
    let waits = TokioParker(Handle::current());
    let parker = Arc::new(ClosingParker { waits, session: OnceLock::new() });
    let store = Arc::clone(&world.store) as Arc<dyn Store>;
    let node = NodeSession([3; 16]);
    let depot = Depot::new(store, node, limits(), Arc::clone(&parker) as _, Handle::current());
    let session = world.take_over(&depot).await.unwrap().session;
    parker.session.set(session.clone()).unwrap();
    let first = world.store.arm(Step::Read, 1, Fault::Unavailable);
    let dead = ReadError::Dead(Cause::Closed(Reason::Operator));
    assert_eq!(session.read(Pgno(1)), Err(dead));
    assert_eq!(world.store.calls(Step::Read), 2, "the store did answer");
    drop(first);
}
