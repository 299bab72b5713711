//! Moves under load: writers in two processes, with everything that they do to their actors, while shards
//! move there and back, and connections to the primaries are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use stockade_depot::store::{Destroyed, TakenOver};
use stockade_depot::{Shard, StoreError, Txid};
use stockade_testkit::owner::Owner;

use crate::stage::{Node, Primaries, key_in};

/// Of `a` in the beginning.
const SHARDS: [Shard; 2] = [Shard(10), Shard(12)];

/// What one writer knows of its actor.
struct Writer {
    node: Node,
    owner: Owner,
    /// What was acknowledged, or found to be made: contents by txid from 1 on.
    made: Vec<[u8; 32]>,
    fenced: u32,
    unknown: u32,
}

/// A step again, until its outcome is known.
macro_rules! patient {
    ($work:expr) => {{
        let mut left = 400;
        loop {
            match $work.await {
                Err(
                    StoreError::Unavailable(_)
                    | StoreError::Unknown(_)
                    | StoreError::Elsewhere { .. },
                ) if left > 0 => {
                    left -= 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                answer => break answer,
            }
        }
    }};
}

impl Writer {
    /// Takes its actor over. Nothing that it knows of is lost, and nothing is there that it did not try.
    async fn awakes(&mut self, tried: Option<[u8; 32]>) {
        loop {
            let state = patient!(self.node.store.actor(&self.owner.actor));
            let state = state.unwrap().unwrap();
            let found = Owner::of(&self.node.store, self.owner.actor.clone(), &state.head);
            let step = found.takeover_step();
            let head = match self.node.store.take_over(step.clone()).await {
                Ok(TakenOver::Owned { head, .. }) => head,
                // Whether it was made is seen in the next look: then it is replaced once more.
                Ok(TakenOver::Moved(_))
                | Err(
                    StoreError::Unavailable(_)
                    | StoreError::Unknown(_)
                    | StoreError::Elsewhere { .. },
                ) => continue,
                Err(other) => panic!("{other:?}"),
            };
            self.owner = Owner::of(&self.node.store, self.owner.actor.clone(), &head);
            break;
        }
        let known = self.made.len() as u64;
        if self.owner.txid.0 == known + 1 {
            self.made.push(tried.expect("a commit that was not tried"));
        }
        assert_eq!(self.owner.txid.0, self.made.len() as u64, "{}", self.owner.actor);
    }

    async fn writes(&mut self) {
        let version = self.owner.txid.0 + 1;
        let page = u32::try_from(version % 7).unwrap() + 1;
        let step = self.owner.commit_step(&[(page, version), (8, version)], 8);
        let step = if self.owner.page_count.0 < 8 {
            let all: Vec<(u32, u64)> = (1..=8).map(|page| (page, version)).collect();
            self.owner.commit_step(&all, 8)
        } else {
            step
        };
        match self.owner.send(step.clone()).await {
            Ok(()) => self.made.push(step.content),
            Err(StoreError::Unavailable(_) | StoreError::Elsewhere { .. }) => {}
            Err(StoreError::Fenced(_)) => {
                self.fenced += 1;
                self.awakes(None).await;
            }
            Err(StoreError::Unknown(_)) => {
                self.unknown += 1;
                // D3, by the one that may commit: it takes over first.
                self.awakes(Some(step.content)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Everything else that is done to an actor.
    async fn lives(&mut self, turn: u64) {
        let (db, txid) = (self.owner.fence.db, self.owner.txid);
        let store = Arc::clone(&self.node.store);
        match turn % 9 {
            0 => {
                patient!(store.pin(db, txid, "kept")).unwrap();
                patient!(store.unpin(db, txid, "kept")).unwrap();
            }
            1 => {
                let read = self.owner.read_one(txid.0, 8).await;
                match read {
                    Ok(found) => assert_eq!(found, stockade_testkit::owner::page(8, txid.0)),
                    Err(StoreError::Fenced(_)) => self.awakes(None).await,
                    Err(StoreError::Unavailable(_) | StoreError::Elsewhere { .. }) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            2 => {
                // Sealed with a state, or fenced by a mover.
                let _ = store.seal(self.owner.seal_step(Some(b"in memory"))).await;
                self.awakes(None).await;
            }
            3 => {
                let row = patient!(store.verdict(db, txid)).unwrap().1;
                assert_eq!(row.unwrap().content, self.made[self.made.len() - 1]);
            }
            4 => {
                let absent = stockade_testkit::owner::actor_id(&key_in(db.shard(), "absent", 0));
                assert_eq!(patient!(store.actor(&absent)).unwrap(), None);
            }
            _ => {}
        }
    }
}

/// One writer, until it is stopped.
async fn write(node: Node, owner: Owner, n: usize, stop: Arc<AtomicBool>) -> Writer {
    let mut writer = Writer { node, owner, made: Vec::new(), fenced: 0, unknown: 0 };
    let mut turn = n as u64;
    while !stop.load(Ordering::SeqCst) {
        writer.writes().await;
        if writer.owner.txid.0 > 0 {
            writer.lives(turn).await;
        }
        turn += 1;
    }
    writer
}

/// Actors that come and go.
async fn come_and_go(node: Node, shard: Shard, stop: Arc<AtomicBool>, seen: Arc<AtomicU32>) {
    let store = &node.store;
    let mut n = 0;
    while !stop.load(Ordering::SeqCst) {
        let key = key_in(shard, "c", n % 5);
        n += 1;
        let step = stockade_testkit::owner::create_step(store.as_ref(), &key);
        let actor = step.actor.clone();
        // It may have been made by a try whose answer was lost.
        patient!(store.create(step.clone())).unwrap();
        let (mut head, mut answers) = (None, Vec::new());
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            let state = patient!(store.actor(&actor)).unwrap().unwrap();
            assert_eq!(state.row.db, step.db, "{actor} is what was made last");
            let mut takeover = Owner::of(store, actor.clone(), &state.head).takeover_step();
            takeover.destroying = true;
            match store.take_over(takeover).await {
                Ok(TakenOver::Owned { head: ours, .. }) => {
                    match patient!(store.destroy(&actor, ours.fence)) {
                        Ok(Destroyed::Gone) | Err(StoreError::DatabaseMissing(_)) => {
                            head = Some(ours);
                            break;
                        }
                        Ok(Destroyed::More { .. }) | Err(StoreError::Fenced(_)) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                other => {
                    answers.push(other);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        assert!(head.is_some(), "{actor} cannot be destroyed: {answers:?}");
        let gone = patient!(store.actor(&actor)).unwrap();
        assert_eq!(gone, None, "{actor}");
        seen.fetch_add(1, Ordering::SeqCst);
    }
}

async fn under_load(moves: usize, disturb: impl AsyncFn(&Primaries, usize)) {
    let primaries = Primaries::new(2).await;
    let (one, two, mover) =
        (primaries.open().await, primaries.open().await, primaries.open().await);
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut writers = Vec::new();
    for n in 0..8 {
        let node = if n % 2 == 0 { one.clone() } else { two.clone() };
        let owner = Owner::create(&node.store, &key_in(SHARDS[n / 4], "w", n)).await;
        writers.push(tokio::spawn(write(node, owner, n, Arc::clone(&stop))));
    }
    let coming =
        tokio::spawn(come_and_go(two.clone(), SHARDS[0], Arc::clone(&stop), Arc::clone(&seen)));
    let (mut moved, mut retaken) = (0, 0);
    for n in 0..moves {
        let to = if n % 2 == 0 { "b" } else { "a" };
        for shard in SHARDS {
            let work = mover.moves(shard, to);
            let (done, ()) = tokio::join!(work, disturb(&primaries, n));
            let done = match done {
                Ok(done) => done,
                // It says so; the same command continues.
                Err(error) => {
                    println!("{error}");
                    mover.moves(shard, to).await.unwrap()
                }
            };
            moved += done.databases;
            retaken += done.retaken;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    let (mut made, mut fenced, mut unknown) = (0, 0, 0);
    for writer in writers {
        let mut writer = writer.await.unwrap();
        writer.awakes(None).await;
        let (db, mut after, mut contents) = (writer.owner.fence.db, Txid(0), Vec::new());
        loop {
            let rows = writer.node.store.commits(db, after, 1000).await.unwrap();
            let Some(last) = rows.last() else { break };
            after = last.txid;
            contents.extend(rows.iter().map(|row| row.content));
        }
        assert_eq!(contents, writer.made, "{}", writer.owner.actor);
        assert!(writer.owner.verify().await.is_sound(), "{}", writer.owner.actor);
        made += contents.len();
        fenced += writer.fenced;
        unknown += writer.unknown;
    }
    coming.await.unwrap();
    let seen = seen.load(Ordering::SeqCst);
    println!(
        "{moved} databases moved, {retaken} taken again; {made} commits, {fenced} fenced, {unknown} \
         unknown; {seen} actors came and went"
    );
    assert!(moved >= 8 && made > 200 && fenced > 0 && seen > 0);
    for at in [0, 1] {
        assert_eq!(primaries.number(at, "SELECT count(*) FROM head WHERE sealed > 1").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost() {
    under_load(6, async |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost_when_connections_are() {
    under_load(6, async |primaries, n| {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(15)).await;
            let killed = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE application_name = 'stockade' AND datname = current_database()";
            primaries.number(n % 2, killed).await;
        }
    })
    .await;
}
