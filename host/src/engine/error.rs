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
        /// What it said.
        reason: String,
    },
    /// The cache directory cannot be made or opened.
    #[error("cannot open the code cache {}: {source}", path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others can write to the cache directory, so the machine code in it cannot be trusted.
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
        /// What the system said.
        source: std::io::Error,
    },
}

/// The bytes are not a component that this host can run. Nothing was changed; the same bytes
/// will be refused again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// More bytes than the host takes.
    #[error("the component has {bytes} bytes, over the limit of {max} (component_bytes_max)")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The bytes are not wasm at all.
    #[error("the file is not WebAssembly: it {what}")]
    NotWasm {
        /// What it looks like.
        what: &'static str,
    },
    /// A core module that cannot become a component.
    #[error("the file is a core module, and no component can be made of it: {reason}")]
    CoreModule {
        /// What it lacks, shortened.
        reason: String,
    },
    /// The bytes have another digest than the one they came with.
    #[error("the component's bytes have digest {actual}, not {expected}")]
    OtherDigest {
        /// The digest that was promised.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// The component is not valid, or needs something the engine does not do.
    #[error("the component cannot be compiled: {reason}")]
    Invalid {
        /// What the compiler said, shortened.
        reason: String,
    },
    /// The component imports what the host does not offer.
    #[error("the host does not offer what the component imports: {}; {way_out}", names.join(", "))]
    Imports {
        /// The imports, shortened and at most twenty.
        names: Vec<String>,
        /// How many there are in all.
        count: usize,
        /// What to do about it.
        way_out: &'static str,
    },
    /// The component needs the asynchronous functions or types of the component model.
    #[error(
        "the component needs asynchronous functions of the component model, which this host does \
         not run; build it synchronously (componentize-qjs: `--sync`; Rust: no `async` in its WIT)"
    )]
    Async,
    /// The component is made of more parts than are looked at.
    #[error("the component has more than {max} modules, components and instances")]
    TooManyParts {
        /// How many are possible.
        max: usize,
    },
    /// The component imports by a right name what is of another type here.
    #[error(
        "the component does not fit this host: {reason}; build it against the interfaces that this \
         host has"
    )]
    Link {
        /// What the linker said, shortened.
        reason: String,
    },
    /// Nobody could call the component.
    #[error(
        "the component exports no method: no function of an interface of its own that callers can \
         reach{}; an interface is one of a package, and a manifest can name other functions", first_excluded(excluded.as_deref())
    )]
    NoMethod {
        /// The first function that it exports and that is none, with the reason.
        excluded: Option<String>,
    },
    /// A hook of the host is exported that this host does not know, or with other types.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// The component starts with more memory than its kind, or any kind, may have.
    #[error(
        "the component starts with {bytes} bytes of memory, over the limit of {max} \
         (memory_bytes_max)"
    )]
    Memory {
        /// What it starts with.
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
        /// What it starts with.
        elements: u64,
        /// The limit.
        max: u64,
    },
    /// The component has more linear memories than an instance may have.
    #[error("the component has {count} memories; at most {max} are possible")]
    Memories {
        /// How many it has.
        count: u64,
        /// The limit.
        max: u32,
    },
    /// The component exports too many functions.
    #[error(transparent)]
    Functions(#[from] TooManyFunctions),
}

impl ComponentError {
    /// From the compiler's error, with its causes.
    pub(super) fn invalid(error: &wasmtime::Error) -> Self {
        Self::Invalid { reason: reason(error) }
    }

    /// From the error of whoever reads the bytes.
    pub(super) fn malformed(error: &impl Display) -> Self {
        Self::Invalid { reason: error.to_string().chars().take(TEXT_CHARS_MAX).collect() }
    }

    /// From the error of whoever makes a component of it.
    pub(super) fn core_module(error: &impl Display) -> Self {
        Self::CoreModule { reason: error.to_string().chars().take(TEXT_CHARS_MAX).collect() }
    }

    /// From the linker's error, with its causes.
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
