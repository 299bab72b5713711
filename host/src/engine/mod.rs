//! The wasm engine, configured once for the whole host: components, epochs, compiled code.
//!
//! ```text
//!  bytes ── component_of ──> a core module? made a component ── check ──> needs: imports, memory, tables
//!  bytes + digest ── load ──> in memory? ── yes ───────────────────────────> Component
//!                                 | no
//!                             code cache? ── verified ──> loader ── inspect ──^
//!                                 | no, or damaged                            |
//!                             compile ──> write cache ────────────────────────'
//! ```
//!
//! Invariants:
//! - E1: a component is compiled at most once per digest and engine setting; damaged code is never
//!   run, the component is compiled again.
//! - E2: a [`Component`] imports only what the host offers, and its hooks and clients have the right
//!   types.
//! - E3: the epoch moves as long as a guest is running; guests cannot stop it.

pub mod allowed;
mod awake;
mod cache;
mod clients;
mod component;
mod config;
mod error;
mod lifecycle;
mod loader;
mod needs;
mod offered;
#[cfg(test)]
mod tests;
mod ticker;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use stockade_componentize::Form;
use stockade_depot::Digest;

pub use awake::{AwakeCap, MAPS_PER_ACTOR};
#[cfg(test)]
pub(crate) use clients::CALL_ERROR;
pub use clients::{Client, ClientMethod};
pub use component::{Component, Origin};
pub(crate) use config::MEMORIES_MAX;
pub use config::{EngineConfig, Pool};
pub use error::{ComponentError, EngineError};
pub use lifecycle::{Lifecycle, LifecycleError};
pub use needs::Needs;
pub use offered::Offered;
pub use ticker::Pace;

use cache::CodeCache;
use component::Parts;
use ticker::Ticker;

/// Compiles, loads and keeps components. One per host; share it in an `Arc`.
#[derive(Debug)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    pool: Pool,
    awake: AwakeCap,
    config: EngineConfig,
    cache: Option<CodeCache>,
    /// Components in use, by digest. The inner lock is held during a load, so that two callers of
    /// one digest compile it once.
    loaded: Mutex<HashMap<Digest, Arc<Mutex<Weak<Parts>>>>>,
    /// Last, so that the epoch moves as long as any part of the engine is used.
    ticker: Ticker,
}

impl Engine {
    /// An engine with its pool of instances, its code cache and its epoch ticker.
    ///
    /// # Errors
    /// The settings do not fit this machine, or the cache directory is not private.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let configured = usize::try_from(config.instances_max).unwrap_or(usize::MAX);
        let awake = AwakeCap::of_this_process(configured, MAPS_PER_ACTOR);
        let instances = u32::try_from(awake.actors_max).unwrap_or(u32::MAX);
        let (wasmtime, pool) = config::build(&config, instances)?;
        let awake = match pool {
            Pool::OnDemand => {
                let left = allowed::address_space_left();
                awake.within(left).ok_or_else(|| EngineError::Settings {
                    reason: format!(
                        "{} MiB of address space are left to this process, too few for an actor: \
                         raise `ulimit -v`, or lift it",
                        left.unwrap_or(0) >> 20
                    ),
                })?
            }
            Pool::Wide { .. } | Pool::Narrow { .. } => awake,
        };
        let cache = match &config.cache_dir {
            Some(dir) => Some(CodeCache::open(dir, &wasmtime)?),
            None => None,
        };
        let ticker = Ticker::start(wasmtime.clone(), config.epoch_tick)?;
        let loaded = Mutex::default();
        Ok(Self { wasmtime, pool, awake, config, cache, loaded, ticker })
    }

    /// The engine itself, for stores and linkers.
    #[must_use]
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    /// Held while guest code runs, so that the epoch moves.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        self.ticker.pace()
    }

    /// Where instances get their memory; `serve` prints it.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.pool
    }

    /// How many actors may be awake at the same time, and why not more; `serve` prints it.
    #[must_use]
    pub fn awake(&self) -> AwakeCap {
        self.awake
    }

    /// The digest that names a component.
    #[must_use]
    pub fn digest(wasm: &[u8]) -> Digest {
        Digest(Sha256::digest(wasm).into())
    }

    /// A component whose bytes are not needed: it is in use, or its compiled code is in the cache.
    ///
    /// Reads a file at most; `None` means that [`Engine::load`] has to compile it.
    #[must_use]
    pub fn find(&self, digest: Digest) -> Option<Component> {
        let slot = self.slot(digest);
        let mut held = slot.lock();
        if let Some(parts) = held.upgrade() {
            return Some(Component::from(parts));
        }
        let component = self.cached(digest)?;
        *held = component.downgrade();
        Some(component)
    }

    /// The component with this digest and these bytes, compiled if necessary.
    ///
    /// Compiling takes from a tenth of a second to many: call it where blocking is allowed. A
    /// second caller with the same digest waits for the first.
    ///
    /// # Errors
    /// [`ComponentError`] if the bytes are not a component this host can run.
    pub fn load(&self, digest: Digest, wasm: &[u8]) -> Result<Component, ComponentError> {
        self.admit(digest, wasm)?;
        if let Some(component) = self.find(digest) {
            return Ok(component);
        }
        let slot = self.slot(digest);
        let mut held = slot.lock();
        if let Some(parts) = held.upgrade() {
            return Ok(Component::from(parts));
        }
        let compiled = wasmtime::component::Component::from_binary(&self.wasmtime, wasm);
        let compiled = compiled.map_err(|error| ComponentError::invalid(&error))?;
        let component = Component::inspect(digest, compiled, Origin::Compiled, &self.config)?;
        if let Some(cache) = &self.cache {
            match component.wasm().serialize() {
                Ok(code) => cache.write(digest, &code),
                Err(error) => tracing::warn!(%digest, %error, "compiled code is not cached"),
            }
        }
        *held = component.downgrade();
        Ok(component)
    }

    /// The component in these bytes, which may be a core module as compilers emit it.
    ///
    /// Takes milliseconds for each megabyte: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`ComponentError`] names the reason.
    pub fn component_of(&self, wasm: Vec<u8>) -> Result<Vec<u8>, ComponentError> {
        self.check_size(&wasm)?;
        if stockade_componentize::form(&wasm) != Some(Form::Module) {
            return Ok(wasm);
        }
        let made = stockade_componentize::componentize(&wasm);
        made.map_err(|error| ComponentError::core_module(&error))
    }

    fn check_size(&self, wasm: &[u8]) -> Result<(), ComponentError> {
        let max = self.config.component_bytes_max;
        let bytes = u64::try_from(wasm.len()).unwrap_or(u64::MAX);
        if bytes > max { Err(ComponentError::TooLarge { bytes, max }) } else { Ok(()) }
    }

    /// Reads a component's bytes without compiling them: checks that they are a component, and that
    /// the host offers what it imports and starts with.
    ///
    /// Takes milliseconds for each megabyte: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`ComponentError`] names the problem.
    pub fn check(&self, wasm: &[u8]) -> Result<Needs, ComponentError> {
        self.check_size(wasm)?;
        component::check_header(wasm)?;
        let needs = Needs::read(wasm)?;
        self.config.offered.check(needs.imports.iter().map(String::as_str))?;
        if needs.is_async {
            return Err(ComponentError::Async);
        }
        needs.within(self.config.memory_bytes_max, self.config.table_elements_max)?;
        Ok(needs)
    }

    /// The checks that are possible before compiling.
    fn admit(&self, digest: Digest, wasm: &[u8]) -> Result<(), ComponentError> {
        self.check(wasm)?;
        let actual = Self::digest(wasm);
        if actual != digest {
            return Err(ComponentError::OtherDigest { expected: digest, actual });
        }
        Ok(())
    }

    /// The component from the code cache, if its code is there, whole, and accepted.
    fn cached(&self, digest: Digest) -> Option<Component> {
        let cache = self.cache.as_ref()?;
        let code = cache.read(digest)?;
        let loaded = loader::load(&self.wasmtime, code).and_then(|loaded| {
            Component::inspect(digest, loaded, Origin::Cached, &self.config)
                .map_err(wasmtime::Error::from)
        });
        match loaded {
            Ok(component) => Some(component),
            Err(error) => {
                // Compiling again gives the caller the typed error, or replaces the file.
                let error = format!("{error:#}");
                tracing::warn!(%digest, %error, "cached code is not usable; it will be replaced");
                None
            }
        }
    }

    /// The slot of a digest. Drops the slots of components that are no longer in use.
    fn slot(&self, digest: Digest) -> Arc<Mutex<Weak<Parts>>> {
        let mut loaded = self.loaded.lock();
        loaded.retain(|_, slot| {
            // A slot that others hold may be in the middle of a load.
            Arc::strong_count(slot) > 1 || slot.lock().strong_count() > 0
        });
        loaded.entry(digest).or_default().clone()
    }
}
