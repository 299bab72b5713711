//! A store with a known content, and what a killed process leaves of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use stockade_depot::store::embedded::{EmbeddedConfig, OpenStoreError};
use stockade_depot::{ActorId, EmbeddedStore, Store};
use stockade_testkit::owner::Owner;
use tempfile::TempDir;

/// Bytes of a log's header and of a frame with its page.
pub(crate) const HEADER: usize = 32;
pub(crate) const FRAME: usize = 24 + 2048;

/// The files of a store.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// What callers got: each actor and the whole database that it had then.
pub(crate) type Told = Vec<(ActorId, Vec<u8>)>;

/// A store whose logs are not copied into its files, and whose marks are raised by its first write
/// and not again for an hour.
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
    config: fn(&Path) -> EmbeddedConfig,
    /// Marks at the opening.
    opened: Marks,
}

impl World {
    /// Some actors in each shard. Marks are raised once, of as many files as were written by then,
    /// and none while a test runs.
    pub(crate) async fn new() -> Self {
        let world = Self::with(config).await;
        world.wait_for_marks(|now| {
            let is_raised = |file: &usize| now[*file].0 > 0;
            (0..now.len()).any(|file| is_raised(&file))
                && (0..now.len()).filter(is_raised).all(|file| is_known(now, file))
        });
        world
    }

    /// The same, with marks raised all the time.
    pub(crate) async fn marking() -> Self {
        let often = |directory: &Path| {
            let mut config = config(directory);
            config.marks_every = Duration::from_millis(20);
            config
        };
        Self::with(often).await
    }

    async fn with(config: fn(&Path) -> EmbeddedConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(EmbeddedStore::open(&config(directory.path())).unwrap());
        let mut owners = Vec::new();
        for n in 0..4 {
            owners.push(Owner::create(&store, &format!("actor {n}")).await);
        }
        assert!([0, 1].iter().all(|shard| owners.iter().any(|it| it.fence.db.shard().0 == *shard)));
        store.put_kind("ledger", stockade_testkit::owner::COMPONENT, "{}").await.unwrap();
        let opened = FILES.map(|_| (0, Vec::new())).to_vec();
        Self { directory, store, owners, config, opened }
    }

    /// Waits until all files have higher marks than when the store was opened, and the others know
    /// them.
    pub(crate) fn wait_for_all_marks(&self) {
        self.wait_for_marks(|now| {
            (0..now.len()).all(|file| now[file].0 > self.opened[file].0 && is_known(now, file))
        });
    }

    fn wait_for_marks(&self, done: impl Fn(&Marks) -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        while !done(&marks(self.directory.path())) {
            assert!(Instant::now() < until, "{:?}", marks(self.directory.path()));
            std::thread::sleep(Duration::from_millis(5));
        }
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
        let config = (self.config)(self.directory.path());
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
        for owner in &mut self.owners {
            owner.store = Arc::clone(&store);
        }
        self.store = store;
        self.opened = marks(self.directory.path());
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
        image_of(self.directory.path())
    }
}

/// Whether all other files have seen the mark that a file has.
fn is_known(now: &Marks, file: usize) -> bool {
    let number = if file == 0 { u8::MAX } else { u8::try_from(file - 1).unwrap() };
    let mut others = now.iter().enumerate().filter(|(other, _)| *other != file);
    others.all(|(_, (_, seen))| seen.contains(&(number, now[file].0)))
}

/// What is there if the process with an open store is killed now. Files are copied one after the
/// other, so no mark may be raised in the meantime.
pub(crate) fn image_of(directory: &Path) -> Image {
    loop {
        let before = marks(directory);
        let image = copy_of(directory);
        if marks(directory) == before {
            return image;
        }
    }
}

/// Each file's own mark, and what it has seen of the others.
pub(crate) type Marks = Vec<(i64, Vec<(u8, i64)>)>;

pub(crate) fn marks(directory: &Path) -> Marks {
    let of = |file: &&str| {
        let conn = Connection::open(directory.join(file)).unwrap();
        conn.busy_timeout(Duration::from_secs(5)).unwrap();
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        let own: Vec<u8> = conn.query_row("SELECT stamp FROM own", [], |row| row.get(0)).unwrap();
        let mut all = conn.prepare("SELECT file, epoch FROM seen ORDER BY file").unwrap();
        let seen = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let seen = seen.map(Result::unwrap).collect();
        (i64::from_be_bytes(own[25..].try_into().unwrap()), seen)
    };
    FILES.iter().map(of).collect()
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

pub(crate) const FILES: [&str; 3] = ["global.db", "shard-00.db", "shard-01.db"];
pub(crate) const LOGS: [&str; 3] = ["global.db-wal", "shard-00.db-wal", "shard-01.db-wal"];
