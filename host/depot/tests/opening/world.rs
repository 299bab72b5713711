//! A store with a known content, and what a killed process leaves of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use stockade_depot::store::embedded::{EmbeddedConfig, OpenStoreError};
use stockade_depot::{ActorId, EmbeddedStore, Store};
use tempfile::TempDir;

use crate::owner::Owner;

/// Bytes of a log's header and of a frame with its page.
pub(crate) const HEADER: usize = 32;
pub(crate) const FRAME: usize = 24 + 2048;

/// The files of a store.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// What callers were told: each actor and the whole database that it had then.
pub(crate) type Told = Vec<(ActorId, Vec<u8>)>;

/// A store whose logs are not copied into its files, and whose marks are raised once.
pub(crate) fn config(directory: &Path) -> EmbeddedConfig {
    let mut config = EmbeddedConfig::new(directory);
    config.marks_every = Duration::from_secs(3600);
    config
}

/// A live store.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) owners: Vec<Owner>,
}

impl World {
    /// Some actors in each shard, whose marks are set.
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(EmbeddedStore::open(&config(directory.path())).unwrap());
        let mut owners = Vec::new();
        for n in 0..4 {
            owners.push(Owner::create(&store, &format!("actor {n}")).await);
        }
        store.put_kind("ledger", crate::owner::COMPONENT, "{}").await.unwrap();
        settled(directory.path());
        Self { directory, store, owners }
    }

    /// Commits of all actors, each a group of its own.
    pub(crate) async fn write(&mut self, versions: std::ops::Range<u64>) {
        for version in versions {
            for owner in &mut self.owners {
                owner.commit(&[(1, version), (2, version), (3, version)], 3).await;
            }
        }
    }

    /// Closes it in order and opens it again.
    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        let config = config(self.directory.path());
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
        for owner in &mut self.owners {
            owner.store = Arc::clone(&store);
        }
        self.store = store;
    }

    pub(crate) async fn told(&self) -> Told {
        let mut told = Vec::new();
        for owner in &self.owners {
            told.push((owner.actor.clone(), owner.export(None).await));
        }
        told
    }

    /// What is there if the process is killed now.
    pub(crate) fn image(&self) -> Image {
        copy_of(self.directory.path())
    }
}

/// Waits until every file has told its mark.
fn settled(directory: &Path) {
    let until = Instant::now() + Duration::from_secs(30);
    for file in ["global.db", "shard-00.db", "shard-01.db"] {
        let conn = Connection::open(directory.join(file)).unwrap();
        conn.busy_timeout(Duration::from_secs(5)).unwrap();
        let seen = || -> i64 {
            conn.query_row("SELECT count(*) FROM seen", [], |row| row.get(0)).unwrap()
        };
        while seen() < 2 {
            assert!(Instant::now() < until, "{file} was not told all marks");
            std::thread::yield_now();
        }
        // An ordinary connection would empty the log when it is the last one.
        std::mem::forget(conn);
    }
}

/// By another process: in this one, SQLite would lose its locks on what is closed here.
pub(crate) fn copy_of(directory: &Path) -> Image {
    let to = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("cp")
        .args(["-a", "--"])
        .arg(directory.join("."))
        .arg(to.path())
        .status();
    assert!(status.unwrap().success());
    let mut image = Image::new();
    for entry in std::fs::read_dir(to.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        image.insert(name, std::fs::read(entry.path()).unwrap());
    }
    image
}

/// Without the indexes of the logs, and as of another boot of the machine.
pub(crate) fn after_a_power_cut(image: &Image) -> Image {
    let kept = image.iter().filter(|(name, _)| !name.ends_with("-shm") && *name != "store.lock");
    kept.map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
}

pub(crate) fn put(image: &Image) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in image {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

pub(crate) fn open(directory: &Path) -> Result<Arc<EmbeddedStore>, OpenStoreError> {
    EmbeddedStore::open(&config(directory)).map(Arc::new)
}

pub(crate) fn accept(directory: &Path) -> Result<Arc<EmbeddedStore>, OpenStoreError> {
    let mut config = config(directory);
    config.accept_loss = true;
    EmbeddedStore::open(&config).map(Arc::new)
}

/// Why an image is refused.
pub(crate) fn refused(image: &Image) -> OpenStoreError {
    let directory = put(image);
    match open(directory.path()) {
        Ok(_) => panic!("it opens"),
        Err(error) => error,
    }
}

/// What the actors of a store have.
pub(crate) async fn found(store: &Arc<EmbeddedStore>, told: &Told) -> Told {
    let store: Arc<dyn Store> = Arc::clone(store) as Arc<dyn Store>;
    let mut found = Vec::new();
    for (actor, _) in told {
        if let Some(state) = store.actor(actor).await.unwrap() {
            let owner = Owner::of(&store, actor.clone(), &state.head);
            assert!(owner.verify().await.is_sound(), "{actor}");
            found.push((actor.clone(), owner.export(None).await));
        }
    }
    found
}

/// Opens an image and finds everything.
pub(crate) async fn check_whole(image: &Image, told: &Told) {
    let directory = put(image);
    let store = open(directory.path()).unwrap();
    assert!(found(&store, told).await == *told, "not what was acknowledged");
    store.close().await;
}

/// Numbers of the frames of a log that end a group, of its present lap.
pub(crate) fn commits(log: &[u8]) -> Vec<usize> {
    let salts = &log[16..24];
    let frames = log[HEADER..].chunks_exact(FRAME);
    let of_lap = frames.take_while(|frame| frame[8..16] == *salts);
    let commits = (1..).zip(of_lap).filter(|(_, frame)| frame[4..8] != [0; 4]);
    commits.map(|(number, _)| number).collect()
}

/// Where a log's good part ends.
pub(crate) fn end(log: &[u8]) -> usize {
    HEADER + commits(log).last().unwrap() * FRAME
}

pub(crate) const LOGS: [&str; 3] = ["global.db-wal", "shard-00.db-wal", "shard-01.db-wal"];
