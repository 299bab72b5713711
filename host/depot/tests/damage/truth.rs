//! A store with some of everything, what it must answer, and a look at what it does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stockade_depot::chain::Start;
use stockade_depot::store::embedded::{EmbeddedConfig, OpenStoreError};
use stockade_depot::store::{
    ActorState, CommitRow, CreateStep, Created, History, KindRow, Look, NodeBeat, PageVersion,
    StageStep, TakenOver, Wanted,
};
use stockade_depot::{
    DbId, Digest, EmbeddedStore, PageBytes, Pgno, Shard, StageId, Store, StoreError, Txid,
};
use stockade_testkit::owner::{NODE, Owner, create_step, page};
use tempfile::TempDir;

/// Actors of the store, on two shards.
pub(crate) const ACTORS: u64 = 24;
/// Commits of each.
const COMMITS: u64 = 4;
const PAGES: u32 = 3;

/// What an actor must be.
#[derive(Clone, Debug, PartialEq)]
struct Actor {
    state: ActorState,
    pages: Vec<PageBytes>,
    commits: Vec<CommitRow>,
    history: Option<History>,
    superseded: Look,
    rows: u64,
}

/// A stopped store and what it must answer.
pub(crate) struct Truth {
    pub(crate) directory: TempDir,
    actors: Vec<Actor>,
    kinds: Vec<KindRow>,
    component: (Digest, Vec<u8>),
    files: Vec<(PathBuf, Vec<u8>)>,
}

pub(crate) fn config(directory: &Path) -> EmbeddedConfig {
    let mut config = EmbeddedConfig::new(directory);
    config.shards = 2;
    config
}

pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("stockade-damage-");
    builder.tempdir_in(memory).or_else(|_| builder.tempdir()).unwrap()
}

/// Fills a new store: each actor with a history of its own.
pub(crate) async fn fill(store: &Arc<dyn Store>) {
    let wasm: Vec<u8> = (0..5_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = Digest(<[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(&wasm)));
    store.put_component(digest, wasm).await.unwrap();
    for kind in ["ledger", "counter", "chat"] {
        store.put_kind(kind, digest, &format!("{{\"of\":\"{kind}\"}}")).await.unwrap();
    }
    store.node_beat(NODE, &NodeBeat::at("here")).await.unwrap();
    for n in 0..ACTORS {
        let mut owner = Owner::create(store, &format!("actor {n:03}")).await;
        for version in 0..COMMITS {
            let pages: Vec<(u32, u64)> =
                (1..=PAGES).map(|pgno| (pgno, n * 100 + version)).collect();
            owner.commit(&pages, PAGES).await;
        }
        match n % 4 {
            0 => store.pin(owner.fence.db, Txid(2), "fork/x").await.unwrap(),
            1 => {
                let state = format!("what {n} had in memory");
                store.seal(owner.seal_step(Some(state.as_bytes()))).await.unwrap();
            }
            2 => {
                let pages = vec![(Pgno(1), page(1, 9_999))];
                let (fence, base, stage) = (owner.fence, owner.txid, StageId([7; 16]));
                store.stage(StageStep { fence, base, stage, chunk: 1, pages }).await.unwrap();
            }
            _ => {
                let mut step = owner.takeover_step();
                step.destroying = n == 3;
                store.take_over(step).await.unwrap();
            }
        }
    }
}

impl Truth {
    /// Makes a store, fills and stops it.
    pub(crate) async fn new() -> Self {
        let directory = scratch();
        let store: Arc<dyn Store> =
            Arc::new(EmbeddedStore::open(&config(directory.path())).unwrap());
        fill(&store).await;
        let truth = Self::of(directory, &store).await;
        store.close().await;
        drop(store);
        truth.stopped()
    }

    /// What a store answers now.
    pub(crate) async fn of(directory: TempDir, store: &Arc<dyn Store>) -> Self {
        let mut actors = Vec::new();
        for state in store.actors(None, None, 1000).await.unwrap() {
            actors.push(look(store, state).await.unwrap());
        }
        assert_eq!(actors.len(), usize::try_from(ACTORS).unwrap());
        let kinds = store.kinds(None, 1000).await.unwrap();
        let digest = kinds[0].component;
        let wasm = store.component(digest).await.unwrap().unwrap();
        Self { directory, actors, kinds, component: (digest, wasm), files: Vec::new() }
    }

    /// Keeps the files as they are now. No process has them open.
    pub(crate) fn stopped(mut self) -> Self {
        self.files = read_files(self.directory.path());
        self
    }

    /// Whether another store answers the same, but for where its chains start.
    pub(crate) fn is_but_for_chains(&self, other: &Self) -> bool {
        let without = |actors: &[Actor]| -> Vec<Actor> {
            let mut actors = actors.to_vec();
            for actor in &mut actors {
                (actor.state.head.chain, actor.state.head.start) = ([0; 32], Start::Zeros);
                actor.commits.iter_mut().for_each(|row| row.chain = [0; 32]);
                // Format 1 has no stages.
                actor.rows = 0;
                actor.superseded.superseded.iter_mut().for_each(|row| row.place = 0);
            }
            actors
        };
        let others = (&self.kinds, &self.component) == (&other.kinds, &other.component);
        without(&self.actors) == without(&other.actors) && others
    }

    /// A database of the first shard.
    pub(crate) fn db(&self) -> DbId {
        let mut all = self.actors.iter().map(|actor| actor.state.row.db);
        all.find(|db| db.shard() == Shard(0)).unwrap()
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    pub(crate) fn bytes(&self, file: &str) -> &[u8] {
        let path = self.path(file);
        &self.files.iter().find(|(it, _)| *it == path).unwrap().1
    }

    /// Puts the files back.
    pub(crate) fn restore(&self) {
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (path, bytes) in &self.files {
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// Puts the files back with other bytes in one of them.
    pub(crate) fn damage(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        self.restore();
        let mut bytes = self.bytes(file).to_owned();
        change(&mut bytes);
        std::fs::write(self.path(file), bytes).unwrap();
    }

    /// Opens the store and asks everything. What is neither right nor `Corrupt` is an offence. How
    /// often it was `Corrupt`, or that the store did not open, is the answer.
    pub(crate) async fn ask(&self) -> Result<u32, String> {
        let store: Arc<dyn Store> = match EmbeddedStore::open(&config(self.directory.path())) {
            Ok(store) => Arc::new(store),
            Err(OpenStoreError::Damaged(_)) => return Ok(u32::MAX),
            Err(error) => return Err(format!("open: {error}")),
        };
        let asked = self.ask_open(&store).await;
        store.close().await;
        asked
    }

    /// The same of a store that is open.
    pub(crate) async fn ask_open(&self, store: &Arc<dyn Store>) -> Result<u32, String> {
        let mut corrupt = self.ask_reads(store).await?;
        // Each is created again, taken over and written; the others stay as they are.
        for (n, actor) in self.actors.iter().enumerate() {
            let key = actor.state.row.actor.key();
            let made = store.create(create(store, key)).await;
            let made = made.map(|it| match it {
                Created::Exists(state) => Some(state),
                Created::Made(_) => None,
            });
            same(&format!("create {key}"), Some(actor.state.clone()), made, &mut corrupt)?;
            if n % 6 == 4 {
                self.write(store, actor, &mut corrupt).await?;
            }
        }
        for (n, actor) in self.actors.iter().enumerate().filter(|(n, _)| n % 6 != 4) {
            let found = found(store, actor).await;
            same(&format!("actor {n} after writes"), actor.clone(), found, &mut corrupt)?;
        }
        Ok(corrupt)
    }

    /// Asks what changes nothing.
    pub(crate) async fn ask_reads(&self, store: &Arc<dyn Store>) -> Result<u32, String> {
        let mut corrupt = 0;
        for (n, actor) in self.actors.iter().enumerate() {
            let found = found(store, actor).await;
            same(&format!("actor {n}"), actor.clone(), found, &mut corrupt)?;
        }
        let states: Vec<ActorState> = self.actors.iter().map(|it| it.state.clone()).collect();
        let listed = store.actors(None, None, 1000).await;
        same("list", states.clone(), listed, &mut corrupt)?;
        let listed = store.actors(Some("ledger"), None, 1000).await;
        same("list of a kind", states.clone(), listed, &mut corrupt)?;
        let destroying = states.iter().filter(|it| it.row.wanted == Wanted::Destroying);
        let destroying: Vec<ActorState> = destroying.cloned().collect();
        assert!(!destroying.is_empty());
        same("destroying", destroying, store.destroying(1000).await, &mut corrupt)?;
        same("kinds", self.kinds.clone(), store.kinds(None, 1000).await, &mut corrupt)?;
        for kind in &self.kinds {
            let found = store.kind(&kind.kind).await;
            same("kind", Some(kind.clone()), found, &mut corrupt)?;
        }
        let component = store.component(self.component.0).await;
        same("component", Some(self.component.1.clone()), component, &mut corrupt)?;
        let nodes = store.nodes().await;
        let nodes = nodes.map(|it| it.into_iter().map(|it| (it.session, it.address, it.counter)));
        let nodes = nodes.map(Vec::from_iter);
        same("nodes", vec![(NODE, "here".into(), 1)], nodes, &mut corrupt)?;
        Ok(corrupt)
    }

    async fn write(
        &self,
        store: &Arc<dyn Store>,
        actor: &Actor,
        corrupt: &mut u32,
    ) -> Result<(), String> {
        let name = actor.state.row.actor.clone();
        let old = Owner::of(store, name.clone(), &actor.state.head);
        let TakenOver::Owned { head, .. } = (match store.take_over(old.takeover_step()).await {
            Err(StoreError::Corrupt(_)) => {
                *corrupt += 1;
                return Ok(());
            }
            taken => taken.map_err(|error| format!("take over {name}: {error}"))?,
        }) else {
            return Err(format!("{name} was moved"));
        };
        let mut owner = Owner::of(store, name.clone(), &head);
        match owner.try_commit(&[(1, 77), (2, 77)], PAGES).await {
            Ok(()) => {}
            Err(StoreError::Corrupt(_)) => {
                *corrupt += 1;
                return Ok(());
            }
            Err(error) => return Err(format!("commit of {name}: {error}")),
        }
        let read = owner.read_one(owner.txid.0, 2).await;
        same(&format!("what {name} wrote"), page(2, 77), read, corrupt)
    }
}

fn create(store: &Arc<dyn Store>, key: &str) -> CreateStep {
    create_step(store.as_ref(), key)
}

/// An answer is the right one, or `Corrupt`.
fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    right: T,
    found: Result<T, StoreError>,
    corrupt: &mut u32,
) -> Result<(), String> {
    match found {
        Ok(found) if found == right => Ok(()),
        Err(StoreError::Corrupt(_)) => {
            *corrupt += 1;
            Ok(())
        }
        Ok(found) => Err(format!("{what}: {found:?}\n instead of {right:?}")),
        Err(error) => Err(format!("{what}: {error}")),
    }
}

async fn found(store: &Arc<dyn Store>, actor: &Actor) -> Result<Actor, StoreError> {
    let name = &actor.state.row.actor;
    // "There is none" would make a second one.
    let none = || StoreError::Unavailable(format!("{name} is not found"));
    let state = store.actor(name).await?.ok_or_else(none)?;
    look(store, state).await
}

async fn look(store: &Arc<dyn Store>, state: ActorState) -> Result<Actor, StoreError> {
    let (db, at) = (state.head.fence.db, state.head.txid);
    let numbers: Vec<Pgno> = (1..=PAGES).map(Pgno).collect();
    let versions: Vec<PageVersion> = if state.head.sealed {
        store.read_at(db, at, Pgno(1), 10).await?
    } else {
        let mut read = store.read(state.head.fence, at, &numbers).await?.pages;
        read[0] = store.read(state.head.fence, at, &numbers[..1]).await?.pages.remove(0);
        read
    };
    let commits = store.commits(db, Txid(0), 100).await?;
    let (head, last) = store.verdict(db, at).await?;
    assert_eq!((head.as_ref(), last.as_ref()), (Some(&state.head), commits.last()));
    let mut pages: Vec<PageBytes> = versions.into_iter().map(|version| version.bytes).collect();
    for txid in [1, 2] {
        let old = store.read_at(db, Txid(txid), Pgno(1), 10).await?;
        pages.extend(old.into_iter().map(|version| version.bytes));
    }
    let (history, rows) = (store.history(db).await?, store.rows_of(db).await?);
    let superseded = store.superseded(db, (Pgno(0), Txid(0))).await?;
    Ok(Actor { state, pages, commits, history, superseded, rows })
}

fn read_files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<(PathBuf, Vec<u8>)> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect();
    assert_eq!(files.len(), 3, "one global file, two shards");
    files
}
