//! A host: start it, deploy components, call actors, shut it down. What embedders use.
//!
//! ```no_run
//! # async fn example(wasm: Vec<u8>) -> Result<(), stockade::CallError> {
//! use stockade::{ActorId, Host, HostConfig};
//!
//! let host = Host::start(HostConfig::new("data")).await?;
//! let mut manifest = host.manifest();
//! manifest.limits.call_time_ms = 2_000;
//! host.deploy("counter", wasm, manifest).await?;
//! let alice = host.actor(&ActorId::new("counter", "alice")?);
//! let reply = alice.call("increment", (5,)).await?;
//! println!("{} in generation {}", reply.to_json(), reply.generation);
//! host.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Shutting down goes top to bottom: intake, generations, background tasks, the store's writer.

mod actors;
mod advanced;
mod between;
mod call;
mod config;
mod due;
mod far;
mod fault;
mod handle;
mod history;
mod import;
mod info;
mod kinds;
mod listing;
mod nodes;
mod outcomes;
pub(crate) mod places;
mod post;
mod readings;
mod retire;
mod room;
mod routing;
mod runtimes;
mod shutdown;
mod start;
mod upkeep;
mod verify;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use stockade_depot::store::Store;
use stockade_depot::{StoreFailure, StoreFull};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

pub use crate::actor::bill::Bill;
pub use crate::actor::exit::SnapshotOutcome;
pub use crate::actor::generation::StartedFrom;
pub use crate::actor::trace::{EndStep, Observer, ShutdownStep};
pub use crate::import::Imported;
pub use crate::kinds::manifest::Manifest;
pub use crate::kinds::quotas::Usage;
pub use crate::membership::Peer;
pub use crate::sqlite::Value as SqlValue;
pub use advanced::Advanced;
pub use call::{ByActor, Callable, ReadyCall};
pub use config::HostConfig;
pub use far::{Far, FarCall, FarReply};
pub use fault::FaultReport;
pub use handle::ActorHandle;
pub use history::{Export, VerifyReport};
pub use import::import_into;
pub use info::{
    ActorInfo, ActorStatus, Deployed, ExitInfo, KindInfo, RemovedKind, Reply, ShutdownReport,
};
pub use info::{SqlReply, SqlRequest};
pub use listing::{ActorOrder, ActorPage, ActorQuery, ActorTally, SortedActors};
pub use nodes::{Drain, NodeInfo};
pub use outcomes::{KeptAnswer, Outcome, OutcomeReply};
pub use places::{Attempts, Place, Route};
pub use verify::{Verified, VerifyNews, verify_store};

use crate::router::Router;
use crate::supervision::Shared;
use places::Places;
use readings::Readings;
use retire::Retired;
use runtimes::Runtimes;

/// A running host. Cloning shares it.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    router: Router,
    store: Arc<dyn Store>,
    config: HostConfig,
    ready: AtomicBool,
    retired: Arc<Retired>,
    background: Mutex<JoinSet<()>>,
    readings: Readings,
    places: Places,
    /// The way to actors in other processes, where there is one.
    far: OnceLock<Arc<dyn Far>>,
    runtimes: Mutex<Option<Runtimes>>,
    /// Set when the host has ended. Callers of `shutdown` wait until then.
    ended: OnceCell<ShutdownReport>,
}

impl Host {
    /// Bytes of memory that all guests here have together.
    #[must_use]
    pub fn guest_bytes(&self) -> u64 {
        self.inner.router.awake().memory().pool().used()
    }

    /// Actors awake here.
    #[must_use]
    pub fn awake(&self) -> usize {
        self.inner.router.awake().count()
    }

    /// Whether calls are accepted. A full store accepts them: see [`Host::full`].
    #[must_use]
    pub fn ready(&self) -> bool {
        self.inner.ready.load(Ordering::Acquire) && self.failure().is_none()
    }

    /// Why this host takes no more calls although it was not shut down: a file of its store has
    /// failed (see [`Host::failed`]). `None`: it has not.
    #[must_use]
    pub fn failure(&self) -> Option<StoreFailure> {
        self.inner.retired.failure().cloned()
    }

    /// Resolves when a file of the store has failed and the host has retired: calls are refused as
    /// `depot.closed`, its generations end with the reason *storage*, and other processes on the
    /// store take its actors over. It never serves again. Shut it down, then end the process, so
    /// that the next one reads what the disk really has; `stockade serve` does so by itself.
    ///
    /// ```no_run
    /// # async fn example(host: stockade::Host) {
    /// let failure = host.failed().await;
    /// eprintln!("{failure}");
    /// host.shutdown().await;
    /// # }
    /// ```
    pub async fn failed(&self) -> StoreFailure {
        self.inner.retired.done().await
    }

    /// Whether callers over HTTP get the last words of guests: see
    /// [`HostConfig::with_development`].
    #[must_use]
    pub fn is_for_development(&self) -> bool {
        self.inner.config.development
    }

    /// Why writes are refused now: the store has no room. Reads continue, and so does everything
    /// once there is room. `None`: writes are not refused.
    #[must_use]
    pub fn full(&self) -> Option<StoreFull> {
        self.inner.store.full()
    }

    fn shared(&self) -> &Arc<Shared> {
        self.inner.router.shared()
    }
}
