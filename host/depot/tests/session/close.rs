//! `close` from any thread at any time: idempotent, beside reads, commits in flight, seals and
//! itself. Nothing hangs, the first cause stays, and what was accepted has its verdict.

#![allow(clippy::disallowed_methods, reason = "threads are raced with the time they take")]

use std::sync::Barrier;
use std::time::Duration;

use stockade_depot::{
    Cause, Mark, PageCount, Pgno, PrepareError, ReadError, Reason, Txid, Verdict,
};
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{World, page, put};

const ROUNDS: u64 = 60;
/// Far above what any round takes.
const SOON: Duration = Duration::from_secs(20);

/// Threads close, commit, read and ask at the same time. Each answer must fit what the store has.
#[tokio::test(flavor = "multi_thread")]
async fn close_races_with_everything() {
    let world = World::new();
    let mut last = world.create().await;
    last.durable(put(&last, &[(1, 0)], 1)).await.unwrap();
    for round in 0..ROUNDS {
        let session = world.steal().await;
        let base = session.durable_txid();
        let start = Barrier::new(5);
        let (marks, causes) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                start.wait();
                let mut marks: Vec<Mark> = Vec::new();
                for byte in 1..=20 {
                    match session.prepare(4096, PageCount(1)) {
                        Ok(()) => {}
                        Err(PrepareError::Dead(Cause::Closed(_))) => break,
                        Err(error) => panic!("{error:?}"),
                    }
                    session.publish(vec![(Pgno(1), page(byte))], PageCount(1));
                    marks.push(session.mark());
                }
                marks
            });
            scope.spawn(|| {
                start.wait();
                loop {
                    match session.read(Pgno(1)) {
                        Ok(bytes) => assert!(bytes.iter().all(|byte| *byte == bytes[0])),
                        Err(ReadError::Dead(Cause::Closed(_))) => break,
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
            let closers = [Reason::Slept, Reason::Shutdown, Reason::Operator].map(|reason| {
                let (session, start) = (&session, &start);
                scope.spawn(move || {
                    start.wait();
                    std::thread::sleep(Duration::from_micros(round * 5));
                    session.close(reason);
                    session.close(Reason::Budget);
                    session.cause().unwrap()
                })
            });
            let causes = closers.map(|closer| closer.join().unwrap());
            (writer.join().unwrap(), causes)
        });
        assert!(causes.iter().all(|cause| *cause == causes[0]), "{causes:?}");
        assert_eq!(session.cause(), Some(causes[0].clone()));
        let mut durable = base;
        let mut lost = false;
        for mark in marks {
            let told = tokio::time::timeout(SOON, session.durable(mark)).await;
            match told.expect("a verdict does not come") {
                Ok(txid) => {
                    assert!(!lost, "durable after something that was not");
                    durable = txid;
                }
                Err(cause) => {
                    assert_eq!(cause.verdict(), Verdict::NotCommitted, "{cause:?}");
                    lost = true;
                }
            }
        }
        assert_eq!(world.state().await.head.txid, durable, "round {round}");
        last = session;
    }
    assert!(last.durable_txid() > Txid(1));
}

/// A commit in flight when the close comes runs to its verdict, whatever becomes of its answer.
#[tokio::test(flavor = "multi_thread")]
async fn close_lets_a_commit_in_flight_run_to_its_verdict() {
    for fault in [Fault::Hold, Fault::HoldAnswer, Fault::LostAnswer, Fault::LostRequest] {
        let world = World::new();
        let session = world.create().await;
        let ask = matches!(fault, Fault::LostAnswer | Fault::LostRequest);
        let ask = ask.then(|| world.store.arm(Step::Verdict, 1, Fault::Hold));
        let commit = world.store.arm(Step::Commit, 1, fault);
        let mark = put(&session, &[(1, 1)], 1);
        commit.fired().await;
        session.close(Reason::Slept);
        session.close(Reason::Slept);
        commit.release();
        if let Some(ask) = ask {
            ask.fired().await;
            ask.release();
        }
        assert_eq!(session.durable(mark).await, Ok(Txid(1)), "{fault:?}");
        assert_eq!(world.state().await.head.txid, Txid(1), "{fault:?}");
        assert_eq!(session.cause(), Some(Cause::Closed(Reason::Slept)));
    }
}

/// A seal and closes at the same time: sealed once, or an error that says why not; no call hangs.
#[tokio::test(flavor = "multi_thread")]
async fn close_races_with_the_seal() {
    let world = World::new();
    world.create().await;
    for round in 0..ROUNDS {
        let session = world.steal().await;
        put(&session, &[(1, 1)], 1);
        let closing = tokio::task::spawn_blocking({
            let session = session.clone();
            move || {
                std::thread::sleep(Duration::from_micros(round * 5));
                session.close(Reason::Shutdown);
            }
        });
        // A closed session may be sealed, and a sealed one closed.
        let sealed = tokio::time::timeout(SOON, session.seal(None)).await;
        sealed.expect("the seal does not end").unwrap();
        closing.await.unwrap();
        assert!(world.state().await.head.sealed);
        let cause = session.cause().unwrap();
        assert!(matches!(cause, Cause::Sealed | Cause::Closed(Reason::Shutdown)), "{cause:?}");
    }
}
