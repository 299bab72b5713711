//! A component that this host can run: compiled, inspected, with its hooks found.

use std::fmt;
use std::sync::{Arc, Weak};

use stockade_depot::Digest;
use wasmtime::component::ComponentExportIndex;

use crate::engine::clients::Client;
use crate::engine::config::EngineConfig;
use crate::engine::error::ComponentError;
use crate::engine::lifecycle::{Hooks, Lifecycle};

/// First bytes of every wasm file.
const MAGIC: &[u8] = b"\0asm";

/// Version and layer of a core module, after the magic.
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];

/// A loaded component. Cheap to clone; the code goes away with the last clone and instance.
#[derive(Clone)]
pub struct Component(Arc<Parts>);

/// The contents of a [`Component`].
pub(super) struct Parts {
    digest: Digest,
    wasm: wasmtime::component::Component,
    hooks: Hooks,
    clients: Vec<Client>,
    origin: Origin,
}

/// Where the machine code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The component was compiled in this process.
    Compiled,
    /// The code came from the code cache.
    Cached,
}

impl Component {
    /// The digest that names it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// The compiled component, for `Linker::instantiate_pre`.
    #[must_use]
    pub fn wasm(&self) -> &wasmtime::component::Component {
        &self.0.wasm
    }

    /// The hooks, if the component exports them.
    #[must_use]
    pub fn lifecycle(&self) -> Option<Lifecycle> {
        self.0.hooks.lifecycle
    }

    /// The handler of alarms, if the component exports one.
    #[must_use]
    pub fn on_alarm(&self) -> Option<ComponentExportIndex> {
        self.0.hooks.on_alarm
    }

    /// The kinds whose actors it calls through typed functions.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        &self.0.clients
    }

    /// Where the machine code came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// Checks a compiled component against what the host offers: a component from the cache was
    /// compiled by a host that may have offered more.
    pub(super) fn inspect(
        digest: Digest,
        wasm: wasmtime::component::Component,
        origin: Origin,
        config: &EngineConfig,
    ) -> Result<Self, ComponentError> {
        let ty = wasm.component_type();
        config.offered.check(ty.imports(wasm.engine()).map(|(name, _)| name))?;
        let hooks = Hooks::of(&wasm)?;
        let clients = Client::all_of(&wasm)?;
        Ok(Self(Arc::new(Parts { digest, wasm, hooks, clients, origin })))
    }

    pub(super) fn downgrade(&self) -> Weak<Parts> {
        Arc::downgrade(&self.0)
    }
}

impl From<Arc<Parts>> for Component {
    fn from(parts: Arc<Parts>) -> Self {
        Self(parts)
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("digest", &self.0.digest)
            .field("origin", &self.0.origin)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Detects files that people send by mistake.
pub(super) fn check_header(wasm: &[u8]) -> Result<(), ComponentError> {
    let Some(rest) = wasm.strip_prefix(MAGIC) else {
        let what = match wasm.first() {
            None => "is empty",
            Some(b'(' | b';') => "looks like WebAssembly text; only the binary form is taken",
            Some(_) => "does not start with the bytes of a wasm file",
        };
        return Err(ComponentError::NotWasm { what });
    };
    match rest.starts_with(CORE_MODULE) {
        true => Err(ComponentError::core_module(&"only a deploy makes one")),
        false => Ok(()),
    }
}
