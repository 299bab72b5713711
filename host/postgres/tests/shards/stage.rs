//! What the tests of moves share: two primaries, actors of one shard, a mover that is watched.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stockade_depot::store::{Created, TakenOver};
use stockade_depot::{DbId, Head, Shard, Store};
use stockade_postgres::{MoveError, MoveStep, Moved, PgConfig, PgStores, Progress};
use stockade_testkit::contract::clock::clock;
use stockade_testkit::owner::{Owner, actor_id, create_step};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::kit::server::Database;
use crate::kit::{self, config};

/// The databases of a store's primaries: `a`, which is the root, `b`, and so on.
pub(crate) struct Primaries(pub(crate) Vec<Database>);

/// Names of primaries.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

impl Primaries {
    /// Empty ones.
    pub(crate) async fn new(count: usize) -> Self {
        let mut databases = Vec::new();
        for _ in 0..count {
            databases.push(kit::server().database().await);
        }
        Self(databases)
    }

    /// How a process opens them.
    pub(crate) fn configs(&self, more: &str) -> Vec<PgConfig> {
        let named = self.0.iter().zip(NAMES);
        named
            .map(|(database, name)| {
                let mut config = config(database, more);
                config.name = Some(name.to_owned());
                config.connections = 6;
                config.clock = clock();
                config
            })
            .collect()
    }

    /// A process of its own.
    pub(crate) async fn open(&self) -> Node {
        let stores = Arc::new(PgStores::open(&self.configs("")).await.unwrap());
        Node { store: Arc::clone(&stores) as Arc<dyn Store>, stores }
    }

    /// Past the store.
    pub(crate) async fn client(&self, at: usize) -> Client {
        self.0[at].client().await
    }

    /// One statement past the store. How many rows it has changed.
    pub(crate) async fn past(&self, at: usize, statement: &str) -> u64 {
        self.client(at).await.execute(statement, &[]).await.unwrap()
    }

    /// One number past the store.
    pub(crate) async fn number(&self, at: usize, query: &str) -> i64 {
        self.client(at).await.query_one(query, &[]).await.unwrap().get(0)
    }
}

/// A process that has the store open.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) stores: Arc<PgStores>,
    pub(crate) store: Arc<dyn Store>,
}

impl Node {
    /// The next owner of a database, as its head is, in this process.
    pub(crate) async fn takes(&self, owner: &Owner) -> Owner {
        for _ in 0..20 {
            let state = self.store.actor(&owner.actor).await.unwrap().unwrap();
            let found = Owner::of(&self.store, owner.actor.clone(), &state.head);
            match self.store.take_over(found.takeover_step()).await.unwrap() {
                TakenOver::Owned { head, .. } => {
                    return Owner::of(&self.store, owner.actor.clone(), &head);
                }
                TakenOver::Moved(_) => {}
            }
        }
        panic!("{} is taken over again and again", owner.actor);
    }

    /// Moves a shard.
    pub(crate) async fn moves(&self, shard: Shard, to: &str) -> Result<Moved, MoveError> {
        self.stores.move_shard(shard, to, &|_| {}).await
    }

    /// Which primary keeps a shard, all of it.
    pub(crate) async fn keeper(&self, shard: Shard) -> String {
        let rows = self.stores.shard_map().await.unwrap();
        let of_shard: Vec<_> = rows.into_iter().filter(|row| row.shard == shard).collect();
        assert_eq!(of_shard.len(), 1, "{of_shard:?}");
        of_shard[0].primary.clone()
    }
}

/// Keys of actors in a shard, the `n`th of those that begin with `prefix`.
pub(crate) fn key_in(shard: Shard, prefix: &str, n: usize) -> String {
    let keys = (0..).map(|number| format!("{prefix}{number}"));
    keys.filter(|key| actor_id(key).shard(256) == shard).nth(n).unwrap()
}

/// An actor of a shard with some commits.
pub(crate) async fn actor(node: &Node, shard: Shard, prefix: &str, commits: u64) -> Owner {
    let mut owner = Owner::create(&node.store, &key_in(shard, prefix, 0)).await;
    for version in 1..=commits {
        owner.commit(&[(1, version), (2, version)], 2).await;
    }
    owner
}

/// An actor whose database has this id.
pub(crate) async fn actor_with(node: &Node, key: &str, db: DbId) -> Owner {
    let mut step = create_step(node.store.as_ref(), key);
    step.db = db;
    match node.store.create(step).await.unwrap() {
        Created::Made(head) => Owner::of(&node.store, actor_id(key), &head),
        Created::Exists(state) => panic!("{key} exists: {state:?}"),
    }
}

/// Takes the actor over in this process, commits, and checks everything that there is.
pub(crate) async fn lives(node: &Node, owner: &Owner) -> Owner {
    let mut next = node.takes(owner).await;
    assert_eq!((next.txid, next.chain), (owner.txid, owner.chain), "{}", owner.actor);
    let version = next.txid.0 + 1;
    let count = next.page_count.0.max(1);
    next.commit(&[(1, version)], count).await;
    assert!(next.verify().await.is_sound(), "{}", owner.actor);
    assert_eq!(next.store.confirm(&[next.fence]).await.unwrap(), [Ok(())]);
    next
}

/// What a mover reports, as a test sees it: where it stops for a while.
pub(crate) struct Watched {
    step: fn(&MoveStep) -> bool,
    reached: Mutex<Option<Sender<MoveStep>>>,
    go: Mutex<Option<Receiver<()>>>,
}

/// A mover that has stopped behind a step, until it is released.
pub(crate) struct Stopped {
    reached: Mutex<Receiver<MoveStep>>,
    go: Sender<()>,
    mover: JoinHandle<Result<Moved, MoveError>>,
}

impl Watched {
    /// Stops at the first step that fits.
    pub(crate) fn see(&self, progress: &Progress) {
        if !(self.step)(&progress.step) {
            return;
        }
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner).take();
        let go = self.go.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(reached), Some(go)) = (reached, go) {
            reached.send(progress.step).unwrap();
            // A mover whose test has ended continues.
            let _ = tokio::task::block_in_place(|| go.recv());
        }
    }
}

/// Starts a mover that stops behind the first step that fits.
pub(crate) fn stopped_at(
    node: &Node,
    shard: Shard,
    to: &'static str,
    step: fn(&MoveStep) -> bool,
) -> Stopped {
    let ((reached_of, reached), (go, go_of)) = (channel(), channel());
    let watched =
        Watched { step, reached: Mutex::new(Some(reached_of)), go: Mutex::new(Some(go_of)) };
    let node = node.clone();
    let mover = tokio::spawn(async move {
        node.stores.move_shard(shard, to, &|progress| watched.see(progress)).await
    });
    Stopped { reached: Mutex::new(reached), go, mover }
}

impl Stopped {
    /// Waits until it has stopped. `None`: it has ended before.
    pub(crate) async fn stops(&self) -> Option<MoveStep> {
        let seen = || self.reached.lock().unwrap_or_else(PoisonError::into_inner).try_recv().ok();
        loop {
            let is_finished = self.mover.is_finished();
            match seen() {
                Some(step) => return Some(step),
                None if is_finished => return None,
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// Lets it continue to its end.
    pub(crate) async fn ends(self) -> Result<Moved, MoveError> {
        self.go.send(()).unwrap();
        self.mover.await.unwrap()
    }

    /// Ends it where it is: the process is killed.
    pub(crate) async fn dies(self) {
        self.mover.abort();
        let _ = self.go.send(());
        let _ = self.mover.await;
    }
}

/// A head that does not tell which generation has it.
pub(crate) fn history_of(head: &Head) -> impl PartialEq + std::fmt::Debug + use<> {
    (head.txid, head.page_count, head.chain, head.origin, head.floor, head.base, head.name)
}
