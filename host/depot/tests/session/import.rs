//! Import: whatever breaks, a database is whole or cannot be opened.

use std::io;

use async_trait::async_trait;
use stockade_depot::import::{COMMIT_PAGES, ImportError, PageSource};
use stockade_depot::store::PreviousEnd;
use stockade_depot::store::{Directory as _, Versions as _};
use stockade_depot::{
    Cause, OpenError, Origin, PageBytes, PageCount, Pgno, StoreError, Txid, history,
};
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{COMPONENT, World, byte_of, page, put};

/// Three commits, the last one short.
const PAGES: u32 = 2 * OF_COMMIT + 100;
/// Pages of a commit.
const OF_COMMIT: u32 = 1024;

/// Page n is full of `first + n`.
struct Pages {
    first: u8,
    given: u32,
    breaks_after: u32,
}

impl Pages {
    fn new(first: u8) -> Self {
        Self { first, given: 0, breaks_after: u32::MAX }
    }

    fn byte(first: u8, pgno: u32) -> u8 {
        first.wrapping_add(u8::try_from(pgno % 251).unwrap())
    }
}

#[async_trait]
impl PageSource for Pages {
    async fn next(&mut self, count: usize) -> io::Result<Vec<PageBytes>> {
        if self.given >= self.breaks_after {
            return Err(io::Error::other("the disk is gone"));
        }
        let from = self.given + 1;
        self.given += u32::try_from(count).unwrap();
        Ok((from..=self.given).map(|pgno| page(Self::byte(self.first, pgno))).collect())
    }
}

async fn import(world: &World, first: u8) -> Result<Txid, ImportError> {
    let mut source = Pages::new(first);
    import_from(world, &mut source).await
}

async fn import_from(world: &World, source: &mut Pages) -> Result<Txid, ImportError> {
    let count = PageCount(PAGES);
    let here = &world.here;
    let made = here.import(&world.actor, COMPONENT, count, source, &mut |_| {}).await?;
    Ok(made.head.txid)
}

/// The actor is what `first` says, sound, and can be written.
async fn check(world: &World, first: u8) {
    let state = world.state().await;
    assert_eq!(state.head.origin, Origin::Imported);
    let db = state.head.fence.db;
    let session = world.take_over(&world.there).await.unwrap().session;
    for pgno in [1, 2, 1024, 1025, PAGES] {
        assert_eq!(byte_of(&session, pgno), Pages::byte(first, pgno), "page {pgno}");
    }
    session.durable(put(&session, &[(1, 7)], PAGES)).await.unwrap();
    let report = history::verify(world.store.as_ref(), db, &mut |_| {}).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_makes_a_database_that_can_be_opened_and_written() {
    assert_eq!(u32::try_from(COMMIT_PAGES), Ok(OF_COMMIT));
    let world = World::new();
    assert_eq!(import(&world, 1).await.unwrap(), Txid(3));
    check(&world, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_database_is_never_imported_over() {
    let world = World::new();
    let session = world.create().await;
    session.durable(put(&session, &[(1, 5)], 1)).await.unwrap();
    let before = world.state().await;
    assert!(matches!(import(&world, 1).await, Err(ImportError::Exists(_))));
    assert_eq!(world.state().await, before);
    assert_eq!(session.confirm().await, Ok(()));
    // Nor is a finished import.
    let world = World::new();
    import(&world, 1).await.unwrap();
    assert!(matches!(import(&world, 2).await, Err(ImportError::Exists(_))));
    check(&world, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_import_is_opened_by_nobody_and_starts_over() {
    let world = World::new();
    let mut broken = Pages { breaks_after: 2 * OF_COMMIT, ..Pages::new(1) };
    assert!(matches!(import_from(&world, &mut broken).await, Err(ImportError::Io(_))));
    let state = world.state().await;
    assert_eq!((state.head.origin, state.head.txid), (Origin::Importing, Txid(2)));
    let opened = world.there.take_over(&state, COMPONENT, PreviousEnd::Neutral).await;
    assert!(matches!(opened, Err(OpenError::Importing(_))), "{opened:?}");
    assert!(matches!(world.there.create(&world.actor, COMPONENT).await, Err(OpenError::Exists(_))));
    import(&world, 2).await.unwrap();
    check(&world, 2).await;
}

/// Given up in front of, or behind, each of its steps, in the first attempt and in the second.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_cut_off_at_any_step_starts_over() {
    for (step, steps) in [(Step::Create, 1), (Step::Commit, 3), (Step::Import, 1)] {
        for nth in 1..=steps {
            for fault in [Fault::Hold, Fault::HoldAnswer] {
                cut_off(&World::new(), step, nth, fault).await;
            }
        }
    }
    // Taking over, emptying (two steps), taking over again, finishing.
    for nth in 1..=5 {
        for fault in [Fault::Hold, Fault::HoldAnswer] {
            let world = World::new();
            let mut broken = Pages { breaks_after: 2 * OF_COMMIT, ..Pages::new(1) };
            import_from(&world, &mut broken).await.unwrap_err();
            cut_off(&world, Step::Import, nth, fault).await;
        }
    }
}

async fn cut_off(world: &World, step: Step, nth: u64, fault: Fault) {
    let what = format!("{fault:?} at {step:?} {nth}");
    let held = world.store.arm(step, nth, fault);
    tokio::select! {
        _ = import(world, 3) => panic!("{what} did not hold"),
        () = held.fired() => {}
    }
    drop(held);
    match import(world, 4).await {
        Ok(_) => check(world, 4).await,
        // The step that was cut off behind its back was the last one.
        Err(ImportError::Exists(_)) => check(world, 3).await,
        Err(error) => panic!("{what}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_of_an_import_are_settled() {
    for fault in [Fault::LostAnswer, Fault::LostRequest, Fault::Unavailable, Fault::Twice] {
        for (step, nth) in [(Step::Create, 1), (Step::Commit, 2), (Step::Import, 1)] {
            let world = World::new();
            let lost = world.store.arm(step, nth, fault);
            let done = import(&world, 1).await;
            assert!(done.is_ok(), "{fault:?} of {step:?}: {done:?}");
            drop(lost);
            check(&world, 1).await;
        }
        for nth in 1..=5 {
            let world = World::new();
            let mut broken = Pages { breaks_after: 2 * OF_COMMIT, ..Pages::new(1) };
            import_from(&world, &mut broken).await.unwrap_err();
            let lost = world.store.arm(Step::Import, nth, fault);
            let done = import(&world, 2).await;
            assert!(done.is_ok(), "{fault:?} of import step {nth}: {done:?}");
            drop(lost);
            check(&world, 2).await;
        }
    }
}

/// An emptying step that comes late finds another generation.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_emptying_step_takes_nothing_of_the_next_attempt() {
    let world = World::new();
    let mut broken = Pages { breaks_after: 2 * OF_COMMIT, ..Pages::new(1) };
    import_from(&world, &mut broken).await.unwrap_err();
    let late = world.store.arm(Step::Import, 2, Fault::Late);
    let held = world.store.arm(Step::Commit, 3, Fault::HoldAnswer);
    let run = import(&world, 2);
    tokio::pin!(run);
    tokio::select! {
        _ = &mut run => panic!("not held"),
        () = held.fired() => {}
    }
    late.deliver().await;
    held.release();
    run.await.unwrap();
    check(&world, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_imports_the_later_one_wins_and_the_other_is_told() {
    let world = World::new();
    let held = world.store.arm(Step::Commit, 2, Fault::HoldAnswer);
    let first = import(&world, 1);
    tokio::pin!(first);
    tokio::select! {
        _ = &mut first => panic!("not held"),
        () = held.fired() => {}
    }
    import(&world, 2).await.unwrap();
    held.release();
    let told = first.await;
    assert!(matches!(told, Err(ImportError::Lost(Cause::Fenced(_)))), "{told:?}");
    check(&world, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_import_can_be_destroyed() {
    let world = World::new();
    let mut broken = Pages { breaks_after: OF_COMMIT, ..Pages::new(1) };
    import_from(&world, &mut broken).await.unwrap_err();
    let state = world.state().await;
    world.here.destroy(&state).await.unwrap();
    let db = state.head.fence.db;
    assert_eq!(world.store.rows_of(db).await, Ok(0));
    let missing = world.store.read_at(db, Txid(1), Pgno(1), 1).await;
    assert_eq!(missing, Err(StoreError::DatabaseMissing(db)));
}
