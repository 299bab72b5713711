//! The check of everything that a store keeps: the store itself, kinds, and each actor's history.
//!
//! ```text
//!  store.check ─ part by part ──> findings
//!                             ├─> kinds ──> their settings read
//!                             └─> actors ─> history: pages, commits, chain, head
//! ```
//! Damage ends nothing: what was found is reported, and the check continues with what can be read.
//! It runs beside traffic, and what is destroyed during it is no damage.

use stockade_depot::history::{self, Report};
use stockade_depot::store::{CheckAt, Checked, Finding, LIST_ROWS_MAX};
use stockade_depot::{ActorId, DbId, Store, StoreError};

use super::Host;
use crate::error::HostError;
use crate::kinds::manifest::row_manifest;

impl Host {
    /// Checks everything that the store keeps, its actors or those of `kind` among it.
    ///
    /// # Errors
    /// The store does not answer at all. Damage is reported, not an error.
    pub async fn verify_all(
        &self,
        kind: Option<&str>,
        tell: &mut (dyn FnMut(VerifyNews) + Send),
    ) -> Result<Verified, HostError> {
        verify_store(self.inner.store.as_ref(), kind, tell).await
    }
}

/// What a check of a whole store tells while it runs.
#[derive(Clone, Debug)]
pub enum VerifyNews {
    /// How far it is.
    Progress {
        /// What was looked at.
        what: String,
        /// Parts of the store that are done.
        done: u64,
        /// Parts in all.
        total: u64,
    },
    /// Something is wrong outside the history of an actor.
    Finding(Finding),
    /// Something was lost earlier, and that was accepted. It is not counted: nothing is wrong now.
    Accepted(Finding),
    /// An actor's history was checked.
    Actor {
        /// Whose.
        actor: ActorId,
        /// What was found.
        report: Report,
    },
}

/// What a check of a whole store came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Actors whose history was checked.
    pub actors: u64,
    /// Of these, those with damage.
    pub damaged: u64,
    /// What else is wrong.
    pub findings: u64,
}

impl Verified {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        (self.damaged, self.findings) == (0, 0)
    }
}

/// Checks a store, and every actor in it or those of `kind`. Also for a command that has no host.
///
/// # Errors
/// The store does not answer at all. Damage is reported, not an error.
pub async fn verify_store(
    store: &dyn Store,
    kind: Option<&str>,
    tell: &mut (dyn FnMut(VerifyNews) + Send),
) -> Result<Verified, HostError> {
    let mut check = Check { store, kind, tell, verified: Verified::default() };
    let mut next = Some(CheckAt::default());
    while let Some(at) = next {
        let checked = store.check(at).await?;
        next = checked.next.clone();
        if checked.total == 0 {
            check.listed().await;
        } else {
            check.looked_at(checked).await;
        }
    }
    Ok(check.verified)
}

struct Check<'a> {
    store: &'a dyn Store,
    kind: Option<&'a str>,
    tell: &'a mut (dyn FnMut(VerifyNews) + Send),
    verified: Verified,
}

impl Check<'_> {
    async fn looked_at(&mut self, checked: Checked) {
        let Checked { what, done, total, findings, accepted, actors, kinds, .. } = checked;
        (self.tell)(VerifyNews::Progress { what, done, total });
        findings.into_iter().for_each(|finding| self.found(finding));
        for finding in accepted {
            (self.tell)(VerifyNews::Accepted(finding));
        }
        for kind in kinds {
            self.settings(&kind);
        }
        for (actor, db) in actors {
            self.actor(actor, db).await;
        }
    }

    /// Of a store that does not check itself: what it lists.
    async fn listed(&mut self) {
        let mut after: Option<String> = None;
        loop {
            match self.store.kinds(after.as_deref(), LIST_ROWS_MAX).await {
                Ok(kinds) if kinds.is_empty() => break,
                Ok(kinds) => {
                    kinds.iter().for_each(|kind| self.settings(kind));
                    after = kinds.into_iter().last().map(|row| row.kind);
                }
                Err(error) => {
                    self.unreadable(None, format!("kinds cannot be listed: {error}"));
                    break;
                }
            }
        }
        let mut after: Option<ActorId> = None;
        loop {
            match self.store.actors(self.kind, after.as_ref(), LIST_ROWS_MAX).await {
                Ok(states) if states.is_empty() => return,
                Ok(states) => {
                    after = states.last().map(|state| state.row.actor.clone());
                    for state in states {
                        self.actor(state.row.actor, state.row.db).await;
                    }
                }
                Err(error) => {
                    return self.unreadable(after, format!("actors after it: {error}"));
                }
            }
        }
    }

    fn settings(&mut self, kind: &stockade_depot::store::KindRow) {
        if let Err(HostError::Corrupt { what, .. }) = row_manifest(kind) {
            self.unreadable(None, what);
        }
    }

    async fn actor(&mut self, actor: ActorId, db: DbId) {
        if self.kind.is_some_and(|kind| kind != actor.kind()) {
            return;
        }
        match history::verify(self.store, db, &mut |_| {}).await {
            Ok(report) => {
                self.verified.actors += 1;
                self.verified.damaged += u64::from(!report.is_sound());
                (self.tell)(VerifyNews::Actor { actor, report });
            }
            Err(StoreError::DatabaseMissing(_)) if is_gone(self.store, &actor, db).await => {}
            Err(error) => self.unreadable(Some(actor), error.to_string()),
        }
    }

    fn unreadable(&mut self, actor: Option<ActorId>, what: String) {
        self.found(Finding { actor, what, ..Finding::default() });
    }

    fn found(&mut self, finding: Finding) {
        self.verified.findings += 1;
        (self.tell)(VerifyNews::Finding(finding));
    }
}

/// Whether an actor was destroyed since it was listed.
async fn is_gone(store: &dyn Store, actor: &ActorId, db: DbId) -> bool {
    let state = store.actor(actor).await;
    state.is_ok_and(|state| state.is_none_or(|state| state.row.db != db))
}
