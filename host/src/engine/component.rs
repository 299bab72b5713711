//! A component that this host can run: compiled, inspected, with its methods and hooks found.

use std::fmt;
use std::sync::{Arc, Weak};

use stockade_depot::Digest;

use crate::engine::config::{EngineConfig, MEMORIES_MAX};
use crate::engine::error::ComponentError;
use crate::engine::lifecycle::Lifecycle;
use crate::typed::MethodTable;

/// First bytes of every wasm file.
const MAGIC: &[u8] = b"\0asm";

/// Version and layer of a core module, after the magic.
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];

/// Imports named in an error. 20: what a person reads.
const IMPORTS_NAMED_MAX: usize = 20;

/// A loaded component. Cheap to clone; the code goes away with the last clone and instance.
#[derive(Clone)]
pub struct Component(Arc<Parts>);

/// What a [`Component`] holds.
pub(super) struct Parts {
    digest: Digest,
    wasm: wasmtime::component::Component,
    methods: MethodTable,
    lifecycle: Option<Lifecycle>,
    origin: Origin,
}

/// Where the machine code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled in this process.
    Compiled,
    /// It came from the code cache.
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

    /// The methods that callers can reach.
    #[must_use]
    pub fn methods(&self) -> &MethodTable {
        &self.0.methods
    }

    /// The hooks, if the component exports them.
    #[must_use]
    pub fn lifecycle(&self) -> Option<Lifecycle> {
        self.0.lifecycle
    }

    /// Where the machine code came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// Whether there is anything to call. A stored component is not asked: it runs as it did.
    ///
    /// # Errors
    /// `NoMethod`, with the first function that is none.
    pub fn check_callable(&self) -> Result<(), ComponentError> {
        let methods = self.methods();
        if !methods.is_empty() {
            return Ok(());
        }
        let excluded = methods.excluded().first();
        let excluded = excluded.map(|function| format!("{}: {}", function.name, function.why));
        Err(ComponentError::NoMethod { excluded })
    }

    /// Checks a compiled component against what the host offers and allows.
    pub(super) fn inspect(
        digest: Digest,
        wasm: wasmtime::component::Component,
        origin: Origin,
        config: &EngineConfig,
    ) -> Result<Self, ComponentError> {
        check_imports(&wasm, config)?;
        check_memories(&wasm, config)?;
        let lifecycle = Lifecycle::of(&wasm)?;
        let methods = MethodTable::of(&wasm)?;
        Ok(Self(Arc::new(Parts { digest, wasm, methods, lifecycle, origin })))
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
            .field("methods", &self.0.methods.len())
            .field("origin", &self.0.origin)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Tells a component from the files that people send by mistake.
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
        true => Err(ComponentError::CoreModule),
        false => Ok(()),
    }
}

fn check_imports(
    wasm: &wasmtime::component::Component,
    config: &EngineConfig,
) -> Result<(), ComponentError> {
    let ty = wasm.component_type();
    let mut names = Vec::new();
    let mut count = 0;
    for (name, _) in ty.imports(wasm.engine()) {
        if !config.offered.has(name) {
            count += 1;
            if names.len() < IMPORTS_NAMED_MAX {
                names.push(name.chars().take(128).collect());
            }
        }
    }
    match count {
        0 => Ok(()),
        _ => Err(ComponentError::Imports { names, count }),
    }
}

fn check_memories(
    wasm: &wasmtime::component::Component,
    config: &EngineConfig,
) -> Result<(), ComponentError> {
    // `None` only for components that import core modules, which is refused before.
    let Some(needs) = wasm.resources_required() else {
        return Ok(());
    };
    if needs.num_memories > MEMORIES_MAX {
        return Err(ComponentError::Memories { count: needs.num_memories, max: MEMORIES_MAX });
    }
    let bytes = needs.max_initial_memory_size.unwrap_or(0);
    if bytes > config.memory_bytes_max {
        return Err(ComponentError::Memory { bytes, max: config.memory_bytes_max });
    }
    Ok(())
}
