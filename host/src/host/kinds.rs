//! Kinds: deployed, listed page by page, removed.

use std::sync::Arc;

use stockade_depot::ActorId;

use super::info::{Deployed, KindInfo, RemovedKind};
use super::{Host, HostConfig};
use crate::engine::Engine;
use crate::error::HostError;
use crate::kinds::Kind;
use crate::kinds::manifest::Manifest;
use crate::kinds::quotas::Usage;
use crate::limits::Limits;
use crate::router::request::Ending;

/// Actors that a removal destroys before it looks again.
const DESTROYED_TOGETHER: usize = 100;

impl Host {
    /// Deploys a component under a name. Live generations of an older component end in order; the
    /// next call of each runs the new one.
    ///
    /// # Errors
    /// `Component` if it cannot run, `InvalidActor` for the name, `Manifest`, and
    /// those of the store. Nothing changed then.
    pub async fn deploy(
        &self,
        kind: &str,
        wasm: Vec<u8>,
        manifest: Manifest,
    ) -> Result<Deployed, HostError> {
        // Any key will do: only the kind can be wrong.
        ActorId::new(kind, "key")?;
        let manifest = manifest.fitted(&self.inner.config.limits)?;
        let kinds = &self.shared().kinds;
        let wasm = kinds.check(wasm, &manifest.limits).await?;
        let digest = Engine::digest(&wasm);
        let program = kinds.program(digest, wasm.clone(), &manifest).await?;
        manifest.check_methods(&program.methods)?;
        manifest.check_clients(&program.component)?;
        let before = self.inner.store.kind(kind).await?;
        self.inner.store.put_component(digest, wasm).await?;
        let text = manifest.to_stored()?;
        let row = self.inner.store.put_kind(kind, digest, &text).await?;
        let version = row.version;
        let methods = program.methods.len();
        kinds.adopt(Kind { row, manifest, program });
        let ended = self.inner.router.end_kind(kind, Ending::Upgrade).await;
        let replaced = before.map(|row| row.component).filter(|old| *old != digest);
        Ok(Deployed { kind: kind.to_owned(), digest, version, methods, replaced, ended })
    }

    /// The manifest with what this host gives to kinds that set nothing themselves. Change it, then
    /// deploy with it; `Manifest::default()` has the program's own defaults instead.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let HostConfig { kind_defaults, limits, .. } = &self.inner.config;
        Manifest { limits: kind_defaults.clone().within(limits), ..Manifest::default() }
    }

    /// The limits of a kind's actors.
    ///
    /// # Errors
    /// `KindMissing`, and those of the store.
    pub async fn limits(&self, kind: &str) -> Result<Arc<Limits>, HostError> {
        Ok(Arc::clone(&self.shared().kinds.current(kind).await?.limits))
    }

    /// Deployed kinds with a name after `after`, by name, at most `max`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn kinds(&self, after: Option<&str>, max: usize) -> Result<Vec<KindInfo>, HostError> {
        let mut infos = Vec::new();
        for row in self.inner.store.kinds(after, max).await? {
            infos.push(KindInfo::of(&*self.shared().kinds.kind(&row.kind).await?));
        }
        Ok(infos)
    }

    /// A kind: its component, methods and settings.
    ///
    /// # Errors
    /// `KindMissing`, and those of the store.
    pub async fn kind(&self, kind: &str) -> Result<KindInfo, HostError> {
        Ok(KindInfo::of(&*self.shared().kinds.kind(kind).await?))
    }

    /// The component of a kind, as it was deployed, or as it was made of the core module.
    ///
    /// # Errors
    /// `KindMissing`, and those of the store.
    pub async fn component(&self, kind: &str) -> Result<Vec<u8>, HostError> {
        let row = self.inner.store.kind(kind).await?;
        let row = row.ok_or_else(|| HostError::KindMissing { kind: kind.to_owned() })?;
        self.inner.store.component(row.component).await?.ok_or_else(|| {
            let component = row.component;
            HostError::corrupt(format!("component {component} of kind {kind} is missing"))
        })
    }

    /// What the actors of a kind have together. `None`: the kind has no quota, and is not counted.
    ///
    /// # Errors
    /// `KindMissing`, and those of the store.
    pub async fn usage(&self, kind: &str) -> Result<Option<Usage>, HostError> {
        let limits = self.limits(kind).await?;
        self.shared().quotas.usage(self.inner.store.as_ref(), kind, &limits).await
    }

    /// Removes a kind: nothing is called under its name any more, and its generations end in order,
    /// here immediately and in other processes on the store within a second. Refused while it has
    /// actors, unless they are to be destroyed with it; that is resumed by the next try where it
    /// broke off.
    ///
    /// An actor that another process creates before it learns of this stays, and is listed; it is
    /// called again when the kind is deployed again. The component stays in the store.
    ///
    /// # Errors
    /// `KindMissing`; `KindInUse`; those of the store and of destroying.
    pub async fn remove_kind(
        &self,
        kind: &str,
        with_actors: bool,
    ) -> Result<RemovedKind, HostError> {
        let actors = |max| self.inner.store.actors(Some(kind), None, max);
        let found = actors(1).await?;
        if let (Some(state), false) = (found.first(), with_actors) {
            let (kind, actor) = (kind.to_owned(), state.row.actor.clone());
            return Err(HostError::KindInUse { kind, actor });
        }
        let was_there = self.inner.store.remove_kind(kind).await?;
        if !was_there && found.is_empty() {
            return Err(HostError::KindMissing { kind: kind.to_owned() });
        }
        self.shared().kinds.forget(kind);
        let ended = self.inner.router.end_kind(kind, Ending::Upgrade).await;
        let mut destroyed = 0;
        loop {
            let some = if with_actors { actors(DESTROYED_TOGETHER).await? } else { Vec::new() };
            if some.is_empty() {
                break;
            }
            for state in some {
                match self.destroy(&state.row.actor, true).await {
                    // Another process was faster.
                    Ok(()) | Err(HostError::ActorMissing { .. }) => destroyed += 1,
                    Err(error) => return Err(error),
                }
            }
        }
        self.shared().quotas.forget(kind);
        tracing::info!(kind, ended, destroyed, "kind removed");
        Ok(RemovedKind { kind: kind.to_owned(), ended, destroyed })
    }
}
