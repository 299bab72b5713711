//! Deployed kinds: the component behind each name, compiled and linked once.

pub mod bounds;
pub mod manifest;
pub mod quotas;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use stockade_depot::store::KindRow;
use stockade_depot::{Digest, Store};
use wasmtime::component::Linker;

use crate::actor::generation::Program;
use crate::capability::{Grants, State, link};
use crate::engine::{Component, ComponentError, Engine};
use crate::error::HostError;
use crate::limits::Limits;
use crate::typed::MethodTable;
use manifest::{AfterParked, Manifest, row_manifest};

/// A kind with its program.
#[derive(Clone)]
pub struct Kind {
    /// The row in the store.
    pub row: KindRow,
    /// The kind's settings.
    pub manifest: Manifest,
    /// The program, ready to run.
    pub program: Arc<Program>,
}

/// The kinds of a store.
pub struct Kinds {
    store: Arc<dyn Store>,
    engine: Arc<Engine>,
    linker: Linker<State>,
    loaded: RwLock<HashMap<String, Arc<Kind>>>,
}

impl Kinds {
    /// No kinds loaded.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, engine: Arc<Engine>, linker: Linker<State>) -> Self {
        Self { store, engine, linker, loaded: RwLock::default() }
    }

    /// The program of a kind.
    ///
    /// # Errors
    /// `KindMissing`, and those of loading.
    pub async fn current(&self, kind: &str) -> Result<Arc<Program>, HostError> {
        Ok(Arc::clone(&self.kind(kind).await?.program))
    }

    /// A kind, loaded if it is not loaded yet.
    ///
    /// # Errors
    /// `KindMissing`; `Component` if its code cannot be loaded; those of the store.
    pub async fn kind(&self, kind: &str) -> Result<Arc<Kind>, HostError> {
        if let Some(loaded) = self.loaded.read().get(kind) {
            return Ok(Arc::clone(loaded));
        }
        let row = self.store.kind(kind).await?;
        let row = row.ok_or_else(|| HostError::KindMissing { kind: kind.to_owned() })?;
        self.load(row).await
    }

    /// The limits of a kind, without loading its code. `None`: not deployed, or not readable here.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn limits(&self, kind: &str) -> Result<Option<Arc<Limits>>, HostError> {
        if let Some(loaded) = self.loaded.read().get(kind) {
            return Ok(Some(Arc::clone(&loaded.program.limits)));
        }
        let row = self.store.kind(kind).await?;
        let manifest = row.and_then(|row| serde_json::from_str::<Manifest>(&row.manifest).ok());
        Ok(manifest.map(|manifest| Arc::new(manifest.limits)))
    }

    /// Reads the component in these bytes without compiling it, and checks that the host offers
    /// what the component imports, and that the kind allows the memory and tables that it starts
    /// with.
    ///
    /// # Errors
    /// `Component` names the problem.
    pub async fn check(&self, wasm: Vec<u8>, limits: &Limits) -> Result<Vec<u8>, HostError> {
        let engine = Arc::clone(&self.engine);
        let (memory, table) = (limits.memory_bytes_max, limits.table_elements_max);
        let checked = tokio::task::spawn_blocking(move || {
            let component = engine.component_of(wasm)?;
            engine.check(&component)?.within(memory, table)?;
            Ok::<_, ComponentError>(component)
        });
        let checked = checked.await;
        Ok(checked.map_err(|error| HostError::Internal(format!("check component: {error}")))??)
    }

    /// Compiles a component without deploying it, to check that it would run.
    ///
    /// # Errors
    /// `Component` names the problem.
    pub async fn program(
        &self,
        digest: Digest,
        wasm: Vec<u8>,
        manifest: &Manifest,
    ) -> Result<Arc<Program>, HostError> {
        let engine = Arc::clone(&self.engine);
        // Compiling takes a tenth of a second, so it runs off the threads that serve others.
        let compiled = tokio::task::spawn_blocking(move || engine.load(digest, &wasm)).await;
        let component = compiled
            .map_err(|error| HostError::Internal(format!("compile component: {error}")))??;
        self.link(component, manifest)
    }

    fn link(&self, component: Component, manifest: &Manifest) -> Result<Arc<Program>, HostError> {
        let own = match component.clients() {
            [] => None,
            clients => Some(link(&self.linker, clients, &manifest.clients)),
        };
        let own = own.transpose().map_err(|error| ComponentError::link(&error))?;
        let linker = own.as_ref().unwrap_or(&self.linker);
        let pre = linker.instantiate_pre(component.wasm());
        let pre = pre.map_err(|error| ComponentError::link(&error))?;
        let methods = MethodTable::of(component.wasm(), &manifest.methods);
        let methods = Arc::new(methods.map_err(ComponentError::from)?);
        let (pace, limits) = (self.engine.pace().clone(), Arc::new(manifest.limits.clone()));
        let grants = Arc::new(Grants::of(&manifest.calls).map_err(HostError::Manifest)?);
        // A deploy has checked that each name finds a method.
        let found = manifest.transactional.iter().filter_map(|name| methods.find(name).ok());
        let transactional = found.map(|method| method.full_name()).collect();
        let waits = manifest.after_parked == AfterParked::Wait;
        let program =
            Program { component, methods, pre, pace, limits, grants, transactional, waits };
        Ok(Arc::new(program))
    }

    /// Makes a stored kind the one that new generations run.
    ///
    /// # Errors
    /// As `kind`.
    pub async fn load(&self, row: KindRow) -> Result<Arc<Kind>, HostError> {
        let manifest = row_manifest(&row)?;
        // Compiled code in the cache needs no bytes; else they are fetched and compiled.
        let cached = self.engine.find(row.component);
        let program = match cached {
            Some(component) => self.link(component, &manifest)?,
            None => {
                let wasm = self.store.component(row.component).await?.ok_or_else(|| {
                    let (kind, component) = (&row.kind, row.component);
                    HostError::corrupt(format!("component {component} of kind {kind} is missing"))
                })?;
                self.program(row.component, wasm, &manifest).await?
            }
        };
        Ok(self.adopt(Kind { row, manifest, program }))
    }

    /// Makes a loaded kind current, unless a newer version is.
    pub fn adopt(&self, kind: Kind) -> Arc<Kind> {
        let mut loaded = self.loaded.write();
        match loaded.get(&kind.row.kind) {
            Some(newer) if newer.row.version > kind.row.version => Arc::clone(newer),
            _ => {
                let kind = Arc::new(kind);
                loaded.insert(kind.row.kind.clone(), Arc::clone(&kind));
                kind
            }
        }
    }

    /// Forgets a kind that was removed: a later lookup asks the store.
    pub fn forget(&self, kind: &str) {
        self.loaded.write().remove(kind);
    }

    /// Reloads or forgets kinds that another process has deployed again or removed since they were
    /// loaded here. A kind that cannot be loaded here is logged, and holds up no other.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn refresh(&self) -> Result<Vec<String>, HostError> {
        let loaded: Vec<Arc<Kind>> = self.loaded.read().values().cloned().collect();
        let mut changed = Vec::new();
        for loaded in &loaded {
            let (known, kind) = (&loaded.row, loaded.row.kind.clone());
            // Read after the kind was seen loaded: a different row with no newer version belongs to
            // another kind of the same name, created after a removal.
            let row = self.store.kind(&kind).await?;
            if row.as_ref() == Some(known) {
                continue;
            }
            if row.as_ref().is_none_or(|row| row.version <= known.version) {
                self.forget(&kind);
            }
            let Some(row) = row else {
                changed.push(kind);
                continue;
            };
            match self.load(row).await {
                Ok(_) => changed.push(kind),
                Err(error) => tracing::warn!(%kind, %error, "cannot load what was deployed"),
            }
        }
        Ok(changed)
    }
}
