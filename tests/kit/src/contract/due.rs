//! Due work: an actor's due time is that of its newest commit, whichever process writes what and when.

use std::sync::Arc;

use crate::contract::stage::large;
use crate::owner::{Owner, actor_id, token};
use stockade_depot::store::{Due, DueActor, DueKey, DueLook, DuePage, limits};
use stockade_depot::{DbId, Generation, Shard, Store, StoreError, Txid};

/// A look at all shards from the beginning.
fn look(store: &dyn Store, until: i64) -> DueLook {
    let shards = Shard::all(store.shards()).collect();
    DueLook { shards, until, after: None, limit: u32::MAX }
}

/// All actors that have a due time: their keys and times, in order.
async fn all_due(store: &Arc<dyn Store>) -> Vec<(String, i64)> {
    let page = store.due(look(store.as_ref(), i64::MAX)).await.unwrap();
    assert_eq!(page.next, None);
    page.rows.iter().map(|row| (row.actor.key().to_owned(), row.at)).collect()
}

fn of(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect()
}

/// Commits page 1, and a due time.
async fn commit(owner: &mut Owner, due: Due) -> Result<(), StoreError> {
    let mut step = owner.commit_step(&[(1, owner.txid.0 + 1)], 1);
    step.due = due;
    owner.send(step).await
}

/// Whether the store keeps due times. One that does not refuses all that says something of them.
async fn keeps(store: &Arc<dyn Store>) -> bool {
    if store.keeps_due_work() {
        return true;
    }
    let refused = |answer: Result<(), StoreError>| {
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    };
    let mut owner = Owner::create(store, "without").await;
    commit(&mut owner, Due::Untouched).await.unwrap();
    let before = owner.everything().await;
    refused(commit(&mut owner, Due::At(1)).await);
    refused(commit(&mut owner, Due::Nothing).await);
    refused(store.settle_due(owner.fence, owner.txid, None).await);
    refused(store.due(look(store.as_ref(), 1)).await.map(drop));
    assert_eq!(owner.everything().await, before);
    false
}

pub async fn the_due_time_comes_with_the_commit(store: Arc<dyn Store>) {
    if !keeps(&store).await {
        return;
    }
    let mut owner = Owner::create(&store, "a").await;
    assert_eq!(all_due(&store).await, []);
    assert!(!owner.head().await.due_work);
    for (due, found) in [
        (Due::Untouched, &[][..]),
        (Due::At(7), &[("a", 7)]),
        (Due::Untouched, &[("a", 7)]),
        (Due::At(9), &[("a", 9)]),
        (Due::At(i64::MIN + 1), &[("a", i64::MIN + 1)]),
        (Due::At(i64::MAX), &[("a", i64::MAX)]),
        (Due::Nothing, &[]),
        (Due::Untouched, &[]),
        (Due::Nothing, &[]),
    ] {
        let had = owner.head().await.due_work;
        commit(&mut owner, due).await.unwrap();
        assert_eq!(all_due(&store).await, of(found), "{due:?}");
        assert_eq!(owner.head().await.due_work, had || due != Due::Untouched, "for good");
    }
    owner = owner.successor().await;
    assert!(owner.head().await.due_work);
    let page = store.due(look(store.as_ref(), 0)).await.unwrap();
    assert!(page.now > 0, "{page:?}");
    commit(&mut owner, Due::At(5)).await.unwrap();
    let rows = store.due(look(store.as_ref(), 5)).await.unwrap().rows;
    assert_eq!(rows, [DueActor { actor: owner.actor.clone(), db: owner.fence.db, at: 5 }]);
    assert_eq!(store.due(look(store.as_ref(), 4)).await.unwrap().rows, []);
    assert!(owner.verify().await.is_sound(), "it is no part of the history");
}

pub async fn a_refused_commit_leaves_the_due_time(store: Arc<dyn Store>) {
    if !keeps(&store).await {
        return;
    }
    let mut owner = Owner::create(&store, "a").await;
    let resent = {
        let mut step = owner.commit_step(&[(1, 1)], 1);
        step.due = Due::At(3);
        step
    };
    owner.send(resent.clone()).await.unwrap();
    commit(&mut owner, Due::At(7)).await.unwrap();
    assert!(matches!(store.commit(resent).await, Err(StoreError::Fenced(_))), "it comes again");
    let mut old = owner.clone();
    let mut owner = owner.successor().await;
    assert_eq!(all_due(&store).await, of(&[("a", 7)]), "a takeover keeps it");
    for due in [Due::At(1), Due::Nothing] {
        assert!(matches!(commit(&mut old, due).await, Err(StoreError::Fenced(_))));
        let mut holes = owner.commit_step(&[], 9);
        holes.due = due;
        assert!(matches!(store.commit(holes).await, Err(StoreError::Corrupt(_))));
        let mut early = owner.clone();
        early.txid = Txid(1);
        assert!(matches!(commit(&mut early, due).await, Err(StoreError::Fenced(_))));
    }
    assert_eq!(all_due(&store).await, of(&[("a", 7)]));
    commit(&mut owner, Due::At(8)).await.unwrap();
    store.seal(owner.seal_step(Some(b"state"))).await.unwrap();
    assert!(matches!(commit(&mut owner, Due::Nothing).await, Err(StoreError::Fenced(_))));
    assert_eq!(all_due(&store).await, of(&[("a", 8)]), "a seal keeps it");
}

pub async fn a_staged_commit_brings_its_due_time(store: Arc<dyn Store>) {
    if !keeps(&store).await {
        return;
    }
    let mut owner = Owner::create(&store, "a").await;
    for due in [Due::At(7), Due::Untouched, Due::Nothing, Due::At(9)] {
        let version = owner.txid.0 + 1;
        let (steps, mut step) = large(&owner, &[&[(1, version)], &[(2, version)]], 2);
        step.due = due;
        let before = all_due(&store).await;
        for step in steps {
            store.stage(step).await.unwrap();
        }
        let mut lacking = step.clone();
        lacking.staged.as_mut().unwrap().pages += 1;
        assert!(store.commit(lacking).await.is_err());
        assert_eq!(all_due(&store).await, before, "what is staged says nothing");
        owner.send(step).await.unwrap();
        let found = match due {
            Due::Untouched => before,
            Due::Nothing => of(&[]),
            Due::At(at) => of(&[("a", at)]),
        };
        assert_eq!(all_due(&store).await, found);
    }
}

/// Some commits of a group say something of due times, some do not, some are refused.
pub async fn commits_of_many_actors_write_each_its_due_time(store: Arc<dyn Store>) {
    if !keeps(&store).await {
        return;
    }
    let mut tasks = Vec::new();
    for n in 0..24_i64 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut owner = Owner::create(&store, &format!("actor {n:02}")).await;
            let mut stale = owner.clone();
            commit(&mut owner, Due::Untouched).await.unwrap();
            for round in 0..12 {
                let due = match (n + round) % 3 {
                    0 => Due::At(1000 * round + n),
                    1 => Due::Untouched,
                    _ => Due::Nothing,
                };
                let late = commit(&mut stale, Due::At(-1));
                let (refused, done) = tokio::join!(late, commit(&mut owner, due));
                assert!(matches!(refused, Err(StoreError::Fenced(_))), "{refused:?}");
                done.unwrap();
            }
        }));
    }
    // Others of the same groups say nothing.
    for n in 0..4 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut owner = Owner::create(&store, &format!("silent {n}")).await;
            for _ in 0..24 {
                commit(&mut owner, Due::Untouched).await.unwrap();
            }
            assert!(!owner.head().await.due_work);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // The last one that was touched: round 9 to 11, by n.
    let last = |n: i64| match n % 3 {
        0 => None,
        1 => Some(11_000 + n),
        _ => Some(10_000 + n),
    };
    let mut found: Vec<(String, i64)> =
        (0..24).filter_map(|n| Some((format!("actor {n:02}"), last(n)?))).collect();
    found.sort_by_key(|(_, at)| *at);
    assert_eq!(all_due(&store).await, found);
}

pub async fn due_actors_come_by_time_and_name_in_bounded_looks(store: Arc<dyn Store>) {
    if !keeps(&store).await {
        return;
    }
    let mut due: Vec<DueKey> = Vec::new();
    for n in 0..40_i64 {
        let key = format!("actor {:02}", n * 7 % 40);
        let mut owner = Owner::create(&store, &key).await;
        // Many at one time, on every shard.
        let at = if n % 2 == 0 { 100 } else { 80 + n };
        commit(&mut owner, Due::At(at)).await.unwrap();
        due.push((at, owner.actor.clone()));
    }
    due.sort();
    let first = DueLook { limit: 0, ..look(store.as_ref(), i64::MAX) };
    assert_eq!((first.rows_max(), look(store.as_ref(), 0).rows_max()), (1, limits::DUE_ROWS_MAX));
    for limit in [1, 2, 3, 7, 39, 40, 41, u32::MAX] {
        for until in [79, 80, 100, 101, i64::MAX] {
            let look = DueLook { limit, ..look(store.as_ref(), until) };
            let within: Vec<_> = due.iter().filter(|(at, _)| *at <= until).cloned().collect();
            assert_eq!(walked(&store, look).await, within, "{limit} {until}");
        }
    }
    // Of some shards; of none; of one that is not there.
    let shards: Vec<Shard> = Shard::all(store.shards()).collect();
    for some in [&shards[..1], &shards[1..], &[], &[Shard(200)]] {
        let look = DueLook { shards: some.to_vec(), limit: 3, ..look(store.as_ref(), i64::MAX) };
        let of_shards = |(_, actor): &&DueKey| some.contains(&actor.shard(store.shards()));
        let within: Vec<_> = due.iter().filter(of_shards).cloned().collect();
        assert_eq!(walked(&store, look).await, within, "{some:?}");
    }
}

/// What looks find, each of which continues where the one before ended.
async fn walked(store: &Arc<dyn Store>, mut look: DueLook) -> Vec<DueKey> {
    let mut found = Vec::new();
    loop {
        let DuePage { rows, next, .. } = store.due(look.clone()).await.unwrap();
        assert!(rows.len() <= look.rows_max(), "{look:?}: {}", rows.len());
        found.extend(rows.iter().map(DueActor::key));
        match next {
            Some(next) => {
                assert!(look.after.as_ref().is_none_or(|after| next > *after), "it gets on");
                look.after = Some(next);
            }
            None => return found,
        }
    }
}

pub async fn only_the_owner_settles_a_due_time_and_only_at_its_commit(store: Arc<dyn Store>) {
    if !keeps(&store).await {
        return;
    }
    let mut owner = Owner::create(&store, "a").await;
    commit(&mut owner, Due::At(7)).await.unwrap();
    let former = owner.clone();
    let mut owner = owner.successor().await;
    commit(&mut owner, Due::Untouched).await.unwrap();
    let before = owner.everything().await;
    let refused = async |fence, at: u64| {
        let answer = store.settle_due(fence, Txid(at), Some(1)).await;
        assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
        assert_eq!(all_due(&store).await, of(&[("a", 7)]));
    };
    refused(former.fence, 1).await;
    refused(former.fence, 2).await;
    for at in [0, 1, 3, 1 << 62] {
        refused(owner.fence, at).await;
    }
    let mut stale = owner.fence;
    stale.token = token();
    refused(stale, 2).await;
    stale = owner.fence;
    stale.generation = Generation(1 << 62);
    refused(stale, 2).await;
    for (fence, at) in [(stale, u64::MAX), (owner.fence, u64::MAX)] {
        assert!(store.settle_due(fence, Txid(at), None).await.is_err());
    }
    stale.db = DbId([1; 16]);
    let missing = Err(StoreError::DatabaseMissing(stale.db));
    assert_eq!(store.settle_due(stale, Txid(2), None).await, missing);
    assert_eq!(owner.everything().await, before);
    // Twice is once.
    for due in [Some(9), Some(9), None, None, Some(-1)] {
        store.settle_due(owner.fence, owner.txid, due).await.unwrap();
        let found: Vec<_> = due.into_iter().map(|at| ("a", at)).collect();
        assert_eq!(all_due(&store).await, of(&found));
    }
    assert_eq!(owner.everything().await, before, "it moves nothing else");
    store.seal(owner.seal_step(None)).await.unwrap();
    let sealed = store.settle_due(owner.fence, owner.txid, None).await;
    assert!(matches!(sealed, Err(StoreError::Fenced(mismatch)) if mismatch.sealed));
    assert_eq!(all_due(&store).await, of(&[("a", -1)]));
}

/// A commit and a rewrite on their way together: whichever comes second, the due time is that of the
/// newest commit.
pub async fn a_rewrite_never_takes_back_what_a_commit_says(store: Arc<dyn Store>) {
    if !keeps(&store).await {
        return;
    }
    let mut owner = Owner::create(&store, "a").await;
    for round in 0..20 {
        commit(&mut owner, Due::At(1)).await.unwrap();
        let rewrite = tokio::spawn({
            let (store, fence, at) = (Arc::clone(&store), owner.fence, owner.txid);
            async move { store.settle_due(fence, at, None).await }
        });
        // The same value as before: no less a word.
        let due = if round % 2 == 0 { 1 } else { 2 };
        commit(&mut owner, Due::At(due)).await.unwrap();
        match rewrite.await.unwrap() {
            Ok(()) | Err(StoreError::Fenced(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
        assert_eq!(all_due(&store).await, of(&[("a", due)]));
    }
}

pub async fn a_destroy_takes_the_due_time_along(store: Arc<dyn Store>) {
    if !keeps(&store).await {
        return;
    }
    let mut owner = Owner::create(&store, "a").await;
    commit(&mut owner, Due::At(7)).await.unwrap();
    let mut other = Owner::create(&store, "b").await;
    commit(&mut other, Due::At(8)).await.unwrap();
    let mut step = owner.takeover_step();
    step.destroying = true;
    store.take_over(step).await.unwrap();
    assert_eq!(all_due(&store).await, of(&[("b", 8)]), "it is woken no more from then on");
    let head = owner.head().await;
    let mut destroyer = Owner::of(&store, owner.actor.clone(), &head);
    store.destroy(&owner.actor, destroyer.fence).await.unwrap();
    assert_eq!(store.rows_of(owner.fence.db).await, Ok(0));
    // Nothing late makes it again.
    assert!(commit(&mut owner, Due::At(1)).await.is_err());
    assert!(commit(&mut destroyer, Due::At(1)).await.is_err());
    assert!(store.settle_due(destroyer.fence, destroyer.txid, Some(1)).await.is_err());
    let next = Owner::create(&store, "a").await;
    assert_eq!(next.actor, actor_id("a"));
    assert_eq!(all_due(&store).await, of(&[("b", 8)]), "the next one of the name has none");
}
