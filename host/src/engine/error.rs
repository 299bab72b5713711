//! Why an engine cannot be made, or a component cannot be run.

use std::fmt::Display;
use std::path::PathBuf;

use stockade_depot::Digest;

use crate::engine::lifecycle::LifecycleError;
use crate::typed::TooManyFunctions;

/// Longest text of the compiler that is kept, in characters. 1,000: its chain of causes.
const TEXT_CHARS_MAX: usize = 1_000;

/// The engine cannot be made. The host does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The wasm engine refuses the settings, or this machine.
    #[error("the wasm engine cannot be made: {reason}")]
    Settings {
        /// The engine's reason.
        reason: String,
    },
    /// The cache directory cannot be made or opened.
    #[error("cannot open the code cache {}: {source}", path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Other users can write to the cache directory, so the machine code in it cannot be trusted.
    #[error(
        "the code cache {} can be written by other users (mode {mode:o}); delete it, or give \
         another directory",
        path.display()
    )]
    CacheNotPrivate {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The cache directory belongs to another user, who could put machine code into it.
    #[error("the code cache {} belongs to another user", path.display())]
    CacheNotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// The ticker's thread cannot be started.
    #[error("cannot start the epoch ticker: {source}")]
    Ticker {
        /// The system's error.
        source: std::io::Error,
    },
}

/// The bytes are not a component that this host can run. Nothing was changed; the same bytes will
/// be refused again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// The component is larger than the limit.
    #[error("the component has {bytes} bytes, over the limit of {max} (component_bytes_max)")]
    TooLarge {
        /// The component's size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The bytes are not wasm at all.
    #[error("the file is not WebAssembly: it {what}")]
    NotWasm {
        /// What the file looks like.
        what: &'static str,
    },
    /// A core module that cannot become a component.
    #[error("the file is a core module, and no component can be made of it: {reason}")]
    CoreModule {
        /// What the module lacks, shortened.
        reason: String,
    },
    /// The digest of the bytes is another than the one given with them.
    #[error("the component's bytes have digest {actual}, not {expected}")]
    OtherDigest {
        /// The digest that was given.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// The component is not valid, or needs something that the engine does not support.
    #[error("the component cannot be compiled: {reason}")]
    Invalid {
        /// The compiler's error, shortened.
        reason: String,
    },
    /// The component imports what the host does not offer.
    #[error("the host does not offer what the component imports: {}; {way_out}", names.join(", "))]
    Imports {
        /// The imports, shortened and at most twenty.
        names: Vec<String>,
        /// Number of such imports.
        count: usize,
        /// What to do about them.
        way_out: &'static str,
    },
    /// The component needs the asynchronous functions or types of the component model.
    #[error(
        "the component needs asynchronous functions of the component model, which this host does \
         not run; build it synchronously (componentize-qjs: `--sync`; Rust: no `async` in its WIT)"
    )]
    Async,
    /// The component has more parts than the host reads.
    #[error("the component has more than {max} modules, components and instances")]
    TooManyParts {
        /// The limit.
        max: usize,
    },
    /// The component imports an offered name with another type.
    #[error(
        "the component does not fit this host: {reason}; build it against the interfaces that this \
         host has"
    )]
    Link {
        /// The linker's error, shortened.
        reason: String,
    },
    /// The component imports a client of a kind that the host cannot satisfy.
    #[error("the import `{import}`: {reason}; import what `stockade client {kind}` writes")]
    Client {
        /// The import's name, shortened.
        import: String,
        /// The kind that it names.
        kind: String,
        /// The function, and what is wrong with it.
        reason: String,
    },
    /// The component exports no method.
    #[error(
        "the component exports no method: no function of an interface of its own that callers can \
         reach{}; an interface is one of a package, and a manifest can name other functions", first_excluded(excluded.as_deref())
    )]
    NoMethod {
        /// The first exported function that is no method, with the reason.
        excluded: Option<String>,
    },
    /// The component exports a hook that this host does not know, or with other types.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// The component starts with more memory than its kind, or any kind, may have.
    #[error(
        "the component starts with {bytes} bytes of memory, over the limit of {max} \
         (memory_bytes_max)"
    )]
    Memory {
        /// The memory at the start.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The component starts with larger tables than its kind, or any kind, may have.
    #[error(
        "the component starts with tables of {elements} elements, over the limit of {max} \
         (table_elements_max)"
    )]
    Table {
        /// The tables' elements at the start.
        elements: u64,
        /// The limit.
        max: u64,
    },
    /// The component has more linear memories than an instance may have.
    #[error("the component has {count} memories; at most {max} are possible")]
    Memories {
        /// Number of memories.
        count: u64,
        /// The limit.
        max: u32,
    },
    /// The component exports too many functions.
    #[error(transparent)]
    Functions(#[from] TooManyFunctions),
}

impl ComponentError {
    /// Translates the compiler's error, with its causes.
    pub(super) fn invalid(error: &wasmtime::Error) -> Self {
        Self::Invalid { reason: reason(error) }
    }

    /// Translates the error of reading the bytes.
    pub(super) fn malformed(error: &impl Display) -> Self {
        Self::Invalid { reason: error.to_string().chars().take(TEXT_CHARS_MAX).collect() }
    }

    /// Translates the error of making a component from a core module.
    pub(super) fn core_module(error: &impl Display) -> Self {
        Self::CoreModule { reason: error.to_string().chars().take(TEXT_CHARS_MAX).collect() }
    }

    /// Translates the linker's error, with its causes.
    #[must_use]
    pub fn link(error: &wasmtime::Error) -> Self {
        Self::Link { reason: reason(error) }
    }
}

fn reason(error: &wasmtime::Error) -> String {
    format!("{error:#}").chars().take(TEXT_CHARS_MAX).collect()
}

fn first_excluded(excluded: Option<&str>) -> String {
    excluded.map(|excluded| format!("; {excluded}")).unwrap_or_default()
}
