//! The same store at three moments, for tests to copy.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use stockade::limits::HostLimits;
use stockade::{ActorId, Arguments, Host, HostConfig, Manifest};
use stockade_tests::guest;
use stockade_tests::host::actor;
use tempfile::TempDir;

use super::ask::{self, Right};

/// Counters, over both shards.
const COUNTERS: i64 = 16;
/// Actors with more than one page.
const TABLES: i64 = 2;

/// A moment of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Image {
    /// A host has shut down: the logs are empty.
    Rest,
    /// A host was killed: the newest commits are in the logs.
    Killed,
}

/// The store at the three moments.
pub(super) struct Images {
    dir: TempDir,
}

/// Every actor of the images.
pub(super) fn actors() -> Vec<ActorId> {
    let counters = (0..COUNTERS).map(|n| actor(guest::COUNTER, &format!("cnt{n:03}")));
    let tables = (0..TABLES).map(|n| actor(guest::SQLITE_BENCH, &format!("tab{n:03}")));
    counters.chain(tables).collect()
}

/// A host over its own data directory.
pub(super) async fn host(dir: &Path) -> Result<Host, stockade::HostError> {
    // No other host is there, and the host writes only what the test asks for.
    let rest = std::time::Duration::from_secs(600);
    let limits = HostLimits { actors_awake_max: 64, upkeep_every: rest, ..HostLimits::default() };
    Host::start(HostConfig::new(dir).with_limits(limits).with_lease(rest)).await
}

async fn call(host: &Host, actor: &ActorId, method: &str, arguments: serde_json::Value) {
    host.actor(actor).call(method, Arguments::Json(arguments)).await.unwrap();
}

/// Writes to every actor.
async fn round(host: &Host, round: i64) {
    for (n, actor) in (1..).zip(actors()) {
        if actor.kind() == guest::COUNTER.name {
            call(host, &actor, "increment", json!([n * round])).await;
        } else {
            call(host, &actor, "setup", json!([300])).await;
            call(host, &actor, "touch", json!([round])).await;
        }
    }
}

impl Images {
    pub(super) async fn make() -> Self {
        let dir = tempfile::Builder::new().prefix("stockade-damage-").tempdir().unwrap();
        let images = Self { dir };
        let live = images.dir.path().join("live");
        let first = host(&live).await.unwrap();
        for guest in [guest::COUNTER, guest::SQLITE_BENCH] {
            first.deploy(guest.name, guest.wasm().unwrap(), Manifest::default()).await.unwrap();
        }
        round(&first, 1).await;
        first.shutdown().await;
        copy(&live, &images.path("old"));
        let second = host(&live).await.unwrap();
        for n in 2..5 {
            round(&second, n).await;
        }
        second.shutdown().await;
        copy(&live, &images.path("rest"));
        let third = host(&live).await.unwrap();
        for n in 5..7 {
            round(&third, n).await;
        }
        // Idle, but not shut down: a copy made now is what a killed process leaves.
        copy(&live, &images.path("killed"));
        third.shutdown().await;
        images
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn of(&self, image: Image) -> PathBuf {
        self.path(match image {
            Image::Rest => "rest",
            Image::Killed => "killed",
        })
    }

    /// The earlier copy of the store.
    pub(super) fn older(&self, image: Image) -> PathBuf {
        self.path(match image {
            Image::Rest => "old",
            Image::Killed => "rest",
        })
    }

    /// A copy for a test to damage.
    pub(super) fn copy(&self, image: Image) -> TempDir {
        let target = tempfile::Builder::new().prefix("copy-").tempdir_in(self.dir.path()).unwrap();
        copy(&self.of(image), target.path());
        target
    }

    /// The answers of an undamaged copy.
    pub(super) async fn asked(&self, image: Image) -> Right {
        let target = self.copy(image);
        ask::right(target.path()).await
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
    // With the mode that a host gives it.
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
}
