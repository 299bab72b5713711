//! Deployed kinds: the component behind each name, compiled and linked once.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::{Value as Json, json};
use stockade_depot::store::KindRow;
use stockade_depot::{Digest, Store};
use wasmtime::component::Linker;

use crate::actor::generation::Program;
use crate::capability::State;
use crate::engine::{Component, ComponentError, Engine};
use crate::error::HostError;
use crate::limits::{CPU_WEIGHT_MAX, HostLimits, Limits, VALUE_BYTES_MAX};
use crate::typed::bounds::FUNCTIONS_MAX;
use crate::typed::{MethodTable, shortened, similar};

/// What one seal carries. 16 MiB.
const SNAPSHOT_BYTES_MAX: u64 = 16 << 20;
/// Each waiting call holds its arguments. 100,000.
const MAILBOX_CALLS_MAX: u64 = 100_000;
/// Each crash costs a start. 1,000 in a row.
const CRASHES_MAX: u64 = 1_000;
/// Longer than an operator should have to wait for an actor to try again. 1 h.
const CRASH_BACKOFF_MS_MAX: u64 = 3_600_000;

/// A call, or a hook. One day: longer is a mistake, and no clock adds up to the end of time.
const TIME_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// What crosses between guest and host in one piece, and is in memory of both. 64 MiB.
const PIECE_BYTES_MAX: u64 = 64 << 20;
/// Each handle is an entry of a table, and may be a compiled statement. 100,000.
const HANDLES_MAX: u64 = 100_000;
/// Lines of a call. 1 million.
const LOG_LINES_MAX: u64 = 1_000_000;
/// Creations in a second: more than any store does.
const CREATES_PER_S_MAX: u64 = 1_000_000;
/// One line of the host's log. 1 MiB.
pub const LOG_LINE_BYTES_MAX: u64 = 1 << 20;

/// What one actor logs in a second. 1 GiB: more than any disk takes.
const LOG_BYTES_PER_S_MAX: u64 = 1 << 30;

/// Names of methods, all together. 64 KiB.
const METHODS_BYTES_MAX: usize = 64 << 10;

/// Limits that the former version does not know: it reads no settings that have them. Where they stand
/// at their defaults they are not stored, and its processes go on beside those of this one.
const NEW_LIMITS: [&str; 5] =
    ["cpu_weight", "log_bytes_per_s", "actors_max", "stored_bytes_max", "creates_per_s"];

/// Settings of a kind, given at deploy time and kept in the store as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manifest {
    /// Limits of its actors; those left out have the host's defaults.
    pub limits: Limits,
    /// Exported functions that are methods although they belong to no interface of a package, each
    /// by its full name: `ping`, `tools#ping`. Without it leftovers of a toolchain would be methods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
}

impl Manifest {
    fn stored(&self) -> serde_json::Result<Json> {
        let (mut stored, defaults) = (serde_json::to_value(self)?, json!(Limits::default()));
        if let Some(limits) = stored.get_mut("limits").and_then(Json::as_object_mut) {
            limits.retain(|name, value| {
                !NEW_LIMITS.contains(&name.as_str()) || *value != defaults[name.as_str()]
            });
        }
        Ok(stored)
    }

    /// As the store keeps it.
    ///
    /// # Errors
    /// `Manifest` if it has no form in JSON.
    pub fn to_stored(&self) -> Result<String, HostError> {
        let text = self.stored().map(|stored| stored.to_string());
        text.map_err(|error| HostError::Manifest(error.to_string()))
    }

    /// The manifest for a host with these limits. What stands at its default becomes as large as
    /// the host allows at most; what was set to something else is taken as it is or refused.
    ///
    /// # Errors
    /// `Manifest` names the setting and what is possible.
    pub fn fitted(mut self, host: &HostLimits) -> Result<Self, HostError> {
        let mut defaults = Limits::default();
        let standing = bounds(&mut defaults, host).map(|bound| *bound.value);
        for (bound, default) in bounds(&mut self.limits, host).into_iter().zip(standing) {
            if *bound.value == default {
                *bound.value = default.min(bound.max);
            }
        }
        self.check(host)?;
        Ok(self)
    }

    /// Whether a host with these limits can keep its promises.
    ///
    /// # Errors
    /// `Manifest` names the setting and what is possible.
    pub fn check(&self, host: &HostLimits) -> Result<(), HostError> {
        if self.limits.creates_per_s > CREATES_PER_S_MAX {
            let (given, max) = (self.limits.creates_per_s, CREATES_PER_S_MAX);
            let text =
                format!("limits.creates_per_s is {given}; possible are 0 (no quota) to {max}");
            return Err(HostError::Manifest(text));
        }
        let mut limits = self.limits.clone();
        for Bound { name, value, max } in bounds(&mut limits, host) {
            if *value == 0 || *value > max {
                let text = format!("limits.{name} is {value}; this host allows 1 to {max}");
                return Err(HostError::Manifest(text));
            }
        }
        let bytes = self.methods.iter().map(String::len).fold(0, usize::saturating_add);
        if self.methods.len() > FUNCTIONS_MAX || bytes > METHODS_BYTES_MAX {
            return Err(HostError::Manifest(format!(
                "methods has {} names of {bytes} bytes; at most {FUNCTIONS_MAX} names of \
                 {METHODS_BYTES_MAX} bytes are possible",
                self.methods.len()
            )));
        }
        Ok(())
    }

    /// Whether the component has the methods that are named, and any at all. A stored kind is not
    /// asked: it runs as it did.
    ///
    /// # Errors
    /// `Manifest` names the first that it does not have; `Component` if there is none.
    pub fn check_methods(&self, methods: &MethodTable) -> Result<(), HostError> {
        for name in &self.methods {
            match methods.find(name) {
                Ok(method) if method.full_name() == *name => {}
                Ok(method) => {
                    let full = method.full_name();
                    let text = format!("methods: {name:?} is not a full name; it is {full:?}");
                    return Err(HostError::Manifest(text));
                }
                Err(unknown) => return Err(HostError::Manifest(format!("methods: {unknown}"))),
            }
        }
        if methods.is_empty() {
            let excluded = methods.excluded().first();
            let excluded = excluded.map(|function| format!("{}: {}", function.name, function.why));
            return Err(ComponentError::NoMethod { excluded }.into());
        }
        Ok(())
    }
}

impl Limits {
    /// Whether there is a limit of that name.
    ///
    /// # Errors
    /// A sentence that names those it may be a misspelling of.
    pub fn known(name: &str) -> Result<(), String> {
        let all = serde_json::to_value(Self::default()).expect("BUG: limits are numbers");
        let all: Vec<&str> =
            all.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        if all.contains(&name) {
            return Ok(());
        }
        let shown = shortened(name, 40);
        match similar(name, all.iter().copied()).first() {
            Some(similar) => Err(format!("no limit {shown:?}; did you mean {similar:?}?")),
            None => {
                let lines: Vec<String> = all.chunks(4).map(|some| some.join(", ")).collect();
                Err(format!("no limit {shown:?}; there are\n  {}", lines.join(",\n  ")))
            }
        }
    }

    /// These limits, none above what a host with such limits allows.
    #[must_use]
    pub fn within(mut self, host: &HostLimits) -> Self {
        for Bound { value, max, .. } in bounds(&mut self, host) {
            *value = (*value).min(max);
        }
        self
    }
}

/// A limit of a kind that a host bounds.
struct Bound<'l> {
    name: &'static str,
    value: &'l mut u64,
    max: u64,
}

fn bounds<'l>(limits: &'l mut Limits, host: &HostLimits) -> [Bound<'l>; 23] {
    let body_bytes_max = u64::try_from(host.body_bytes_max).unwrap_or(u64::MAX);
    [
        ("memory_bytes_max", &mut limits.memory_bytes_max, host.memory_bytes_max),
        ("table_elements_max", &mut limits.table_elements_max, host.table_elements_max),
        ("value_bytes_max", &mut limits.value_bytes_max, VALUE_BYTES_MAX),
        ("commit_bytes_max", &mut limits.commit_bytes_max, host.commit_bytes_max),
        ("snapshot_bytes_max", &mut limits.snapshot_bytes_max, SNAPSHOT_BYTES_MAX),
        ("payload_bytes_max", &mut limits.payload_bytes_max, body_bytes_max),
        ("mailbox_calls_max", &mut limits.mailbox_calls_max, MAILBOX_CALLS_MAX),
        ("call_time_ms", &mut limits.call_time_ms, TIME_MS_MAX),
        ("cpu_weight", &mut limits.cpu_weight, CPU_WEIGHT_MAX),
        ("start_time_ms", &mut limits.start_time_ms, TIME_MS_MAX),
        ("stop_time_ms", &mut limits.stop_time_ms, TIME_MS_MAX),
        ("snapshot_time_ms", &mut limits.snapshot_time_ms, TIME_MS_MAX),
        ("batch_bytes_max", &mut limits.batch_bytes_max, PIECE_BYTES_MAX),
        ("statement_bytes_max", &mut limits.statement_bytes_max, PIECE_BYTES_MAX),
        ("packed_bytes_max", &mut limits.packed_bytes_max, PIECE_BYTES_MAX),
        ("reply_bytes_max", &mut limits.reply_bytes_max, PIECE_BYTES_MAX),
        ("handles_max", &mut limits.handles_max, HANDLES_MAX),
        ("log_lines_max", &mut limits.log_lines_max, LOG_LINES_MAX),
        ("log_line_bytes_max", &mut limits.log_line_bytes_max, LOG_LINE_BYTES_MAX),
        ("log_bytes_per_s", &mut limits.log_bytes_per_s, LOG_BYTES_PER_S_MAX),
        ("crashes_max", &mut limits.crashes_max, CRASHES_MAX),
        ("crash_backoff_ms", &mut limits.crash_backoff_ms, CRASH_BACKOFF_MS_MAX),
        ("crash_backoff_ms_max", &mut limits.crash_backoff_ms_max, CRASH_BACKOFF_MS_MAX),
    ]
    .map(|(name, value, max)| Bound { name, value, max })
}

/// A kind with its program.
#[derive(Clone)]
pub struct Kind {
    /// As the store has it.
    pub row: KindRow,
    /// Its settings.
    pub manifest: Manifest,
    /// Ready to run.
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
    /// No kind loaded yet.
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

    /// A kind, loaded if it was not.
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

    /// The component in these bytes, looked into without being compiled: whether the host offers what it
    /// imports, and the kind what it starts with.
    ///
    /// # Errors
    /// `Component` says what is wrong with it.
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

    /// Compiles a component without deploying it, to find out whether it would run.
    ///
    /// # Errors
    /// `Component` says what is wrong with it.
    pub async fn program(
        &self,
        digest: Digest,
        wasm: Vec<u8>,
        manifest: &Manifest,
    ) -> Result<Arc<Program>, HostError> {
        let engine = Arc::clone(&self.engine);
        // Compiling takes a tenth of a second: not on a thread that serves others.
        let compiled = tokio::task::spawn_blocking(move || engine.load(digest, &wasm)).await;
        let component = compiled
            .map_err(|error| HostError::Internal(format!("compile component: {error}")))??;
        self.link(component, manifest)
    }

    fn link(&self, component: Component, manifest: &Manifest) -> Result<Arc<Program>, HostError> {
        let pre = self
            .linker
            .instantiate_pre(component.wasm())
            .map_err(|error| ComponentError::link(&error))?;
        let methods = MethodTable::of(component.wasm(), &manifest.methods);
        let methods = Arc::new(methods.map_err(ComponentError::from)?);
        let (pace, limits) = (self.engine.pace().clone(), Arc::new(manifest.limits.clone()));
        Ok(Arc::new(Program { component, methods, pre, pace, limits }))
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

    /// Makes a loaded kind current, unless a newer one is.
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

    /// Forgets a kind that was removed: who needs it asks the store.
    pub fn forget(&self, kind: &str) {
        self.loaded.write().remove(kind);
    }

    /// Kinds that another process has deployed anew or removed since they were loaded here: loaded
    /// again, or forgotten. One that cannot be loaded here is logged, and holds up no other.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn refresh(&self) -> Result<Vec<String>, HostError> {
        let loaded: Vec<Arc<Kind>> = self.loaded.read().values().cloned().collect();
        let mut changed = Vec::new();
        for loaded in &loaded {
            let (known, kind) = (&loaded.row, loaded.row.kind.clone());
            // Read after it was seen loaded: another row that is not newer is of another life of
            // its name.
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

/// The settings of a stored kind. Nobody who calls has sent them, so that they do not read is damage.
///
/// # Errors
/// `Corrupt` names the kind.
pub fn row_manifest(row: &KindRow) -> Result<Manifest, HostError> {
    serde_json::from_str(&row.manifest).map_err(|error| {
        let of = "of a newer version of this program, or damaged";
        HostError::corrupt(format!("the settings of kind {:?} are {of}: {error}", row.kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_a_former_version_knows_are_stored_as_it_knows_them() {
        let mut manifest = Manifest::default();
        manifest.limits.call_time_ms = 7;
        let stored = manifest.to_stored().expect("JSON");
        assert!(NEW_LIMITS.iter().all(|name| !stored.contains(name)), "{stored}");
        assert_eq!(serde_json::from_str::<Manifest>(&stored).expect("reads"), manifest);
        manifest.limits.actors_max = 5;
        let stored = manifest.to_stored().expect("JSON");
        assert!(stored.contains("\"actors_max\":5") && !stored.contains("cpu_weight"), "{stored}");
        assert_eq!(serde_json::from_str::<Manifest>(&stored).expect("reads"), manifest);
    }

    #[test]
    fn defaults_shrink_to_a_small_host_and_what_was_set_is_refused() {
        let host = HostLimits { body_bytes_max: 1000, ..HostLimits::default() };
        let fitted = Manifest::default().fitted(&host).expect("defaults always fit");
        assert_eq!(fitted.limits.payload_bytes_max, 1000);
        assert_eq!(fitted.limits.memory_bytes_max, Limits::default().memory_bytes_max);
        let with = |payload_bytes_max| Manifest {
            limits: Limits { payload_bytes_max, ..Limits::default() },
            ..Manifest::default()
        };
        assert_eq!(with(999).fitted(&host).expect("fits").limits.payload_bytes_max, 999);
        for payload_bytes_max in [0, 1001] {
            let refused = with(payload_bytes_max).fitted(&host).expect_err("cannot be");
            assert!(refused.to_string().contains("payload_bytes_max"), "{refused}");
        }
        let defaults = Limits { payload_bytes_max: 5000, rows_max: 7, ..Limits::default() };
        let within = defaults.within(&host);
        assert_eq!((within.payload_bytes_max, within.rows_max), (1000, 7));
    }
}
