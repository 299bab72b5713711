//! Large commits: what is staged is invisible until the commit that names it, and garbage if there is
//! none.

use std::sync::Arc;

use crate::owner::{NODE, Owner, page, token};
use stockade_depot::store::{Collected, CommitStep, Due, StageStep, Staged, limits};
use stockade_depot::{
    Generation, PageBytes, PageCount, Pgno, StageId, Store, StoreError, Txid, chain,
};

/// Chunks of one stage: their pages, each with the value it gets.
type Chunks = &'static [&'static [(u32, u64)]];

/// An id that no other call returns.
fn fresh() -> StageId {
    StageId(token().0)
}

fn pages_of(pages: &[(u32, u64)]) -> Vec<(Pgno, PageBytes)> {
    pages.iter().map(|(pgno, version)| (Pgno(*pgno), page(*pgno, *version))).collect()
}

/// A commit of `chunks`, the last of which goes with the commit itself.
pub fn large(owner: &Owner, chunks: &[&[(u32, u64)]], count: u32) -> (Vec<StageStep>, CommitStep) {
    let (fence, base, stage) = (owner.fence, owner.txid, fresh());
    let (rest, staged) = chunks.split_last().unwrap();
    let steps: Vec<StageStep> = (1..)
        .zip(staged)
        .map(|(chunk, pages)| StageStep { fence, base, stage, chunk, pages: pages_of(pages) })
        .collect();
    let all = pages_of(&chunks.concat());
    let page_count = PageCount(count);
    let content = chain::content(fence.db, fence.generation, base.next(), page_count, &all);
    let chain = chain::next(&owner.chain, &content);
    let pages = staged.iter().map(|pages| pages.len() as u64).sum();
    let staged = Some(Staged { stage, pages });
    let pages = pages_of(rest);
    let due = Due::Untouched;
    (steps, CommitStep { fence, owner: NODE, base, page_count, pages, staged, chain, content, due })
}

async fn stage_all(store: &Arc<dyn Store>, steps: &[StageStep]) {
    for step in steps {
        store.stage(step.clone()).await.unwrap();
    }
}

#[track_caller]
fn assert_corrupt(answer: Result<(), StoreError>) {
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
}

pub async fn a_staged_commit_is_one_commit(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1), (3, 1)], 3).await;
    for rest in [&[(6, 2), (7, 2)][..], &[]] {
        let first = [(1, owner.txid.0 + 1), (2, owner.txid.0 + 1)];
        let middle = [(4, owner.txid.0 + 1), (5, owner.txid.0 + 1)];
        let count = if rest.is_empty() { 7 } else { 7.max(owner.page_count.0) };
        let (steps, commit) = large(&owner, &[&first, &middle, rest], count);
        stage_all(&store, &steps).await;
        owner.send(commit.clone()).await.unwrap();
        assert!(matches!(store.commit(commit.clone()).await, Err(StoreError::Fenced(_))));
        let (head, row) = store.verdict(owner.fence.db, owner.txid).await.unwrap();
        assert_eq!(
            (head.unwrap().page_count, row.unwrap().content),
            (owner.page_count, commit.content)
        );
        let db = owner.fence.db;
        let written = store.commit_pages(db, owner.txid, Pgno(0), 99).await.unwrap();
        let written: Vec<u32> = written.iter().map(|page| page.pgno.0).collect();
        let due: Vec<u32> =
            first.iter().chain(&middle).chain(rest).map(|(pgno, _)| *pgno).collect();
        assert_eq!(written, due);
    }
    let due = [(1, 3), (2, 3), (3, 1), (4, 3), (5, 3), (6, 2), (7, 2)];
    let export = owner.export(None).await;
    for (at, (pgno, version)) in due.into_iter().enumerate() {
        assert_eq!(owner.read_one(3, pgno).await.unwrap(), page(pgno, version));
        assert_eq!(export[at * 4096..(at + 1) * 4096], page(pgno, version));
    }
    assert_eq!(owner.read_one(1, 1).await.unwrap(), page(1, 1));
    let report = owner.verify().await;
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.pages, 3 + 6 + 4 + 7);
    // Pages, commits, head, actor: what counts the stages is gone.
    assert_eq!(store.rows_of(owner.fence.db).await, Ok(3 + 6 + 4 + 3 + 2));
}

pub async fn staged_rows_are_invisible(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    let (export, rows) = (owner.export(None).await, owner.head().await);
    let (steps, _) = large(&owner, &[&[(1, 9)], &[(2, 9)], &[(3, 9)]], 3);
    stage_all(&store, &steps).await;
    for at in [1, 2] {
        let read = owner.store.read(owner.fence, Txid(at), &[Pgno(1), Pgno(2)]).await;
        match read {
            Ok(read) => assert!(read.pages.iter().all(|it| it.bytes == page(it.pgno.0, 1))),
            Err(error) => assert!(at == 2 && matches!(error, StoreError::Fenced(_)), "{error:?}"),
        }
    }
    assert_eq!((owner.export(None).await, owner.head().await), (export, rows));
    assert_eq!(store.commit_pages(owner.fence.db, Txid(2), Pgno(0), 9).await, Ok(vec![]));
    // An ordinary commit with the very txid that the rows carry does not bring them up.
    owner.commit(&[(2, 2)], 2).await;
    assert_eq!(owner.read_one(2, 1).await.unwrap(), page(1, 1));
    assert_eq!(owner.read_one(2, 2).await.unwrap(), page(2, 2));
    // Nor does another staged one.
    let (steps, commit) = large(&owner, &[&[(2, 3)], &[(3, 3)]], 3);
    stage_all(&store, &steps).await;
    owner.send(commit).await.unwrap();
    assert_eq!(owner.read_one(3, 1).await.unwrap(), page(1, 1));
    assert!(owner.verify().await.is_sound());
}

pub async fn every_stale_fence_is_refused(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let (abandoned, _) = large(&owner, &[&[(1, 5)], &[(2, 5)]], 2);
    stage_all(&store, &abandoned).await;
    owner = owner.successor().await;
    owner.commit(&[(1, 2)], 1).await;
    let before = owner.everything().await;
    let mut stale: Vec<Owner> = Vec::new();
    for generation in [0, 1, 3] {
        stale.push(owner.clone());
        stale.last_mut().unwrap().fence.generation = Generation(generation);
    }
    stale.push(owner.clone());
    stale.last_mut().unwrap().fence.token = token();
    for txid in [1, 3] {
        stale.push(owner.clone());
        stale.last_mut().unwrap().txid = Txid(txid);
    }
    for stale in &stale {
        let (steps, commit) = large(stale, &[&[(1, 7)], &[(2, 7)]], 2);
        let refused = |answer| assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
        refused(store.stage(steps[0].clone()).await);
        refused(store.commit(commit).await);
        assert_eq!(owner.everything().await, before);
    }
    let mut thief = owner.clone();
    thief.fence.token = token();
    let answer = store.collect_stages(thief.fence).await;
    assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
    store.seal(owner.seal_step(None)).await.unwrap();
    let (steps, commit) = large(&owner, &[&[(1, 7)], &[(2, 7)]], 2);
    assert!(matches!(store.stage(steps[0].clone()).await, Err(StoreError::Fenced(_))));
    assert!(matches!(store.commit(commit).await, Err(StoreError::Fenced(_))));
    assert!(matches!(store.collect_stages(owner.fence).await, Err(StoreError::Fenced(_))));
}

pub async fn a_chunk_that_comes_twice_is_written_once(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let (steps, commit) = large(&owner, &[&[(1, 1), (2, 1)], &[(3, 1)], &[(4, 1)], &[(5, 1)]], 5);
    assert_corrupt(store.stage(steps[1].clone()).await);
    stage_all(&store, &steps[..2]).await;
    let rows = store.rows_of(owner.fence.db).await;
    stage_all(&store, &steps[..2]).await;
    assert_eq!(store.rows_of(owner.fence.db).await, rows);
    let mut backwards = steps[2].clone();
    backwards.pages = pages_of(&[(3, 1)]);
    let mut empty = steps[2].clone();
    empty.pages.clear();
    let mut unsorted = steps[2].clone();
    unsorted.pages = pages_of(&[(5, 1), (4, 1)]);
    for bad in [backwards, empty, unsorted] {
        assert_corrupt(store.stage(bad).await);
    }
    assert_eq!(store.rows_of(owner.fence.db).await, rows);
    stage_all(&store, &steps[2..]).await;
    stage_all(&store, &steps[..1]).await;
    owner.send(commit).await.unwrap();
    assert!(owner.verify().await.is_sound());
}

pub async fn a_late_chunk_of_a_stage_that_was_given_up_is_harmless(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    let chunks: [&[(u32, u64)]; 4] = [&[(1, 9)], &[(2, 9)], &[(3, 9)], &[(4, 9)]];
    let (steps, commit) = large(&owner, &chunks, 4);
    stage_all(&store, &steps[..1]).await;
    // Given up, the same generation stages something else for the same txid; then the rest comes.
    let (other, second) = large(&owner, &[&[(2, 5)], &[(3, 5)]], 3);
    stage_all(&store, &other).await;
    stage_all(&store, &steps[1..2]).await;
    owner.send(second).await.unwrap();
    assert!(matches!(store.stage(steps[2].clone()).await, Err(StoreError::Fenced(_))));
    assert!(matches!(store.commit(commit).await, Err(StoreError::Fenced(_))));
    for (pgno, version) in [(1, 1), (2, 5), (3, 5)] {
        assert_eq!(owner.read_one(2, pgno).await.unwrap(), page(pgno, version));
    }
    assert!(owner.verify().await.is_sound());
    // A new owner is not hindered, and what it is asked to collect does not come back.
    owner = owner.successor().await;
    while store.collect_stages(owner.fence).await.unwrap().more {}
    assert!(matches!(store.stage(steps[0].clone()).await, Err(StoreError::Fenced(_))));
    assert_eq!(store.rows_of(owner.fence.db).await, Ok(2 + 2 + 2 + 2));
    assert!(owner.verify().await.is_sound());
}

pub async fn a_staged_commit_that_leaves_holes_changes_nothing(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    let holes: [(Chunks, u32); 7] = [
        (&[&[(1, 2)], &[(4, 2)]], 4),
        (&[&[(3, 2)], &[(5, 2)]], 5),
        (&[&[(3, 2), (5, 2)], &[]], 5),
        (&[&[(3, 2)], &[(4, 2)]], 5),
        (&[&[(3, 2)], &[]], 4),
        (&[&[(3, 2), (4, 2)], &[(6, 2)], &[(7, 2)]], 7),
        (&[&[(1, 2)], &[]], 3),
    ];
    for (chunks, count) in holes {
        let (steps, commit) = large(&owner, chunks, count);
        stage_all(&store, &steps).await;
        let before = owner.everything().await;
        assert_corrupt(store.commit(commit).await);
        assert_eq!(owner.everything().await, before, "{chunks:?}");
    }
    let whole: [(Chunks, u32); 4] = [
        (&[&[(1, 3)], &[(3, 3)], &[(4, 3)]], 4),
        (&[&[(1, 4), (5, 4)], &[(6, 4), (7, 4)]], 7),
        (&[&[(8, 5)], &[]], 8),
        (&[&[(1, 6)], &[(3, 6)]], 3),
    ];
    for (chunks, count) in whole {
        let (steps, commit) = large(&owner, chunks, count);
        stage_all(&store, &steps).await;
        owner.send(commit).await.unwrap();
    }
    assert!(owner.verify().await.is_sound());
}

pub async fn a_commit_names_what_was_staged(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    let (lost, of_predecessor) = large(&owner, &[&[(1, 2)], &[(2, 2)]], 2);
    stage_all(&store, &lost).await;
    owner = owner.successor().await;
    let mut other = of_predecessor;
    other.fence = owner.fence;
    assert_corrupt(store.commit(other).await);
    let (steps, commit) = large(&owner, &[&[(1, 3)], &[(2, 3)], &[(3, 3)]], 3);
    assert_corrupt(store.commit(commit.clone()).await);
    stage_all(&store, &steps[..1]).await;
    assert_corrupt(store.commit(commit.clone()).await);
    stage_all(&store, &steps).await;
    for change in [
        |commit: &mut CommitStep| commit.staged.as_mut().unwrap().pages = 1,
        |commit: &mut CommitStep| commit.staged.as_mut().unwrap().pages = 3,
        |commit: &mut CommitStep| commit.staged.as_mut().unwrap().stage = fresh(),
        |commit: &mut CommitStep| commit.pages = pages_of(&[(2, 3), (3, 3)]),
    ] {
        let mut wrong = commit.clone();
        change(&mut wrong);
        let before = owner.everything().await;
        assert_corrupt(store.commit(wrong).await);
        assert_eq!(owner.everything().await, before);
    }
    owner.send(commit).await.unwrap();
    assert!(owner.verify().await.is_sound());
}

pub async fn leftovers_are_collected_in_bounded_steps(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let pages: Vec<(u32, u64)> = (1..=2560).map(|pgno| (pgno, 2)).collect();
    let (steps, commit) = large(&owner, &[&pages, &[]], 2560);
    stage_all(&store, &steps).await;
    owner.send(commit).await.unwrap();
    let kept = owner.everything().await;
    for _ in 0..2 {
        let (lost, _) = large(&owner, &[&pages, &[(9999, 9)]], 9999);
        stage_all(&store, &lost).await;
        owner = owner.successor().await;
    }
    let mut steps = 0;
    loop {
        let Collected { rows, more } = store.collect_stages(owner.fence).await.unwrap();
        assert!(rows <= u64::from(limits::COLLECT_ROWS_MAX), "{rows}");
        steps += 1;
        if !more {
            break;
        }
    }
    assert!(steps >= 3, "5120 rows in {steps} steps");
    assert_eq!(store.collect_stages(owner.fence).await, Ok(Collected::default()));
    let now = owner.everything().await;
    assert_eq!((now.1, now.2, now.3), (kept.1, kept.2, kept.3));
    assert!(owner.verify().await.is_sound());
}

pub async fn what_may_still_be_committed_is_not_collected(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let (lost, _) = large(&owner, &[&[(1, 8)], &[]], 1);
    stage_all(&store, &lost).await;
    owner = owner.successor().await;
    let (steps, commit) = large(&owner, &[&[(1, 2)], &[(2, 2)]], 2);
    stage_all(&store, &steps).await;
    assert_eq!(store.collect_stages(owner.fence).await, Ok(Collected { rows: 2, more: false }));
    owner.send(commit).await.unwrap();
    assert_eq!(store.collect_stages(owner.fence).await, Ok(Collected::default()));
    assert_eq!(owner.read_one(2, 1).await.unwrap(), page(1, 2));
    assert!(owner.verify().await.is_sound());
}

pub async fn destroy_takes_leftovers_along(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let (lost, _) = large(&owner, &[&[(1, 8)], &[(2, 8)], &[(3, 8)]], 3);
    stage_all(&store, &lost).await;
    let mut step = owner.takeover_step();
    step.destroying = true;
    store.take_over(step.clone()).await.unwrap();
    let fence = owner.head().await.fence;
    while store.destroy(&owner.actor, fence).await.unwrap()
        != stockade_depot::store::Destroyed::Gone
    {}
    assert_eq!(store.rows_of(fence.db).await, Ok(0));
}
