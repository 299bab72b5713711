//! The optional `lifecycle` exports of a component, called with their types from the contract.

use std::sync::Arc;

use stockade_depot::HandedOver;
use tokio::time::Instant;
use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, ComponentType, Lift, Lower, TypedFunc,
};

use super::body::Body;
use super::crash::start_failed;
use super::generation::Generation;
use crate::error::crash::bounded;
use crate::error::{Crash, HostError, Retry};
use crate::sqlite::SqlError;

/// `record handed-over`.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
struct Snapshot {
    state: Vec<u8>,
    current: bool,
    generation: u64,
}

/// `variant error`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
enum HookError {
    #[component(name = "other")]
    Other(String),
}

/// How a hook of the guest ended.
pub(super) enum HookEnd<T> {
    /// The hook returned `ok`, or the component has no hooks.
    Done(T),
    /// The hook returned `err` with this text, cut to its bound.
    Refused(String),
    /// What the hook left open could not be ended.
    Unfinished(SqlError),
    /// The hook trapped, or ran into its deadline: the instance is dead.
    Died(Arc<Crash>),
}

/// Why a hook, and with it a start, has failed.
pub struct HookFailure {
    /// The text, naming the hook. The guest's own text, if the hook answered.
    pub(super) message: String,
    retry: Retry,
    crash: Option<Arc<Crash>>,
}

impl HookEnd<()> {
    /// The failure, naming the hook.
    pub(super) fn failure(self, hook: &str) -> Option<HookFailure> {
        let (message, retry, crash) = match self {
            Self::Done(()) => return None,
            // The guest's own verdict on its state: a retry gets the same verdict.
            Self::Refused(text) => (format!("{hook} failed: {text}"), Retry::Fix, None),
            Self::Unfinished(error) => {
                let HookFailure { message, retry, .. } = error.into();
                (format!("{hook} failed: {message}"), retry, None)
            }
            Self::Died(crash) => {
                (format!("{hook} died: {}", crash.cause), crash.retry, Some(crash))
            }
        };
        Some(HookFailure { message, retry, crash })
    }
}

impl From<SqlError> for HookFailure {
    fn from(error: SqlError) -> Self {
        let error = HostError::from(error);
        Self { message: error.to_string(), retry: error.retry(), crash: None }
    }
}

impl From<HookFailure> for HostError {
    fn from(failure: HookFailure) -> Self {
        let HookFailure { message, retry, crash } = failure;
        match crash {
            Some(crash) => start_failed(message, crash),
            None => Self::StartFailed { message, retry, crash },
        }
    }
}

impl Generation {
    pub(super) async fn restore(&mut self, from: HandedOver, by: Instant) -> HookEnd<()> {
        let Some(lifecycle) = self.lifecycle() else { return HookEnd::Done(()) };
        let argument = Snapshot {
            state: from.snapshot.state,
            current: from.current,
            generation: from.snapshot.generation.0,
        };
        self.hook(&lifecycle.restore, (argument,), by).await
    }

    pub(super) async fn start_hook(&mut self, by: Instant) -> HookEnd<()> {
        let Some(lifecycle) = self.lifecycle() else { return HookEnd::Done(()) };
        self.hook(&lifecycle.start, (), by).await
    }

    pub(super) async fn stop_hook(&mut self, by: Instant) -> HookEnd<()> {
        let Some(lifecycle) = self.lifecycle() else { return HookEnd::Done(()) };
        self.hook(&lifecycle.stop, (), by).await
    }

    pub(super) async fn snapshot_hook(&mut self, by: Instant) -> HookEnd<Option<Vec<u8>>> {
        let Some(lifecycle) = self.lifecycle() else { return HookEnd::Done(None) };
        self.hook(&lifecycle.snapshot, (), by).await
    }

    /// Whether the component has hooks at all.
    pub(super) fn has_hooks(&self) -> bool {
        self.lifecycle().is_some()
    }

    pub(super) async fn hook<P, T>(
        &mut self,
        export: &ComponentExportIndex,
        parameters: P,
        by: Instant,
    ) -> HookEnd<T>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        T: ComponentType + Lift + Send + Sync + 'static,
    {
        self.begin(by);
        let watch = self.watch();
        let Body::Wasm { store, instance } = &mut self.body else {
            unreachable!("BUG: a guest in Rust has no hooks")
        };
        let outcome = watch
            .over(async {
                let func: TypedFunc<P, (Result<T, HookError>,)> =
                    instance.get_typed_func(&mut *store, export)?;
                func.call_async(store, parameters).await
            })
            .await;
        match self.ended(&watch, outcome) {
            Ok(((Ok(value),), Ok(()))) => HookEnd::Done(value),
            Ok(((Ok(_),), Err(error))) => HookEnd::Unfinished(error),
            Ok(((Err(HookError::Other(text)),), _)) => HookEnd::Refused(bounded(&text)),
            Err(crash) => HookEnd::Died(crash),
        }
    }
}
