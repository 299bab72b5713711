//! The optional `lifecycle` exports of a component, called with their types from the contract.

use std::time::Instant;

use stockade_depot::HandedOver;
use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, ComponentType, Lift, Lower, TypedFunc,
};

use super::generation::Generation;

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
    /// It returned `ok`, or the component has no hooks.
    Done(T),
    /// It returned `err` with this text.
    Refused(String),
    /// It trapped, or ran into its deadline: the instance is dead.
    Died(String),
}

impl HookEnd<()> {
    /// The failure in words, naming the hook.
    pub(super) fn failure(self, hook: &str) -> Option<String> {
        match self {
            Self::Done(()) => None,
            Self::Refused(text) => Some(format!("{hook} failed: {text}")),
            Self::Died(text) => Some(format!("{hook} died: {text}")),
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

    async fn hook<P, T>(
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
        let outcome = watch
            .over(async {
                let func: TypedFunc<P, (Result<T, HookError>,)> =
                    self.instance.get_typed_func(&mut self.store, export)?;
                func.call_async(&mut self.store, parameters).await
            })
            .await;
        let finished = self.finish();
        match outcome {
            Ok((Ok(value),)) => match finished {
                Ok(()) => HookEnd::Done(value),
                Err(error) => HookEnd::Refused(error.to_string()),
            },
            Ok((Err(HookError::Other(text)),)) => HookEnd::Refused(text),
            Err(error) => HookEnd::Died(self.death_text(&error)),
        }
    }
}
