//! The historian uses the past while it is trimmed: gives up old history, pins and exports old
//! states.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use stockade_depot::history::ExportError;
use stockade_depot::store::Keep;
use stockade_depot::{
    ActorId, DbId, Origin, PAGE_SIZE, Pgno, Store, StoreError, Txid, history, retention,
};

use crate::bank::State;
use crate::dice::Dice;
use crate::journal::Journal;
use crate::judge::Judge;

/// What a look at the past needs to know.
pub struct Historian {
    /// The store as a node reaches it.
    pub store: Arc<dyn Store>,
    /// Whose past.
    pub actor: ActorId,
    /// What must hold.
    pub judge: Arc<Judge>,
    /// What happened.
    pub journal: Arc<Journal>,
    /// Chance.
    pub dice: Arc<Dice>,
    /// Where exported files go.
    pub scratch: PathBuf,
}

impl Historian {
    /// Gives up what is old.
    pub async fn trim(self) {
        let Ok(Some(state)) = self.store.actor(&self.actor).await else { return };
        let keep = Keep { commits_min: self.dice.below(3), age_ms_min: 0 };
        let pause = Duration::from_millis(1);
        let db = state.head.fence.db;
        for _ in 0..4 {
            let trimmed = retention::trim(self.store.as_ref(), db, keep, pause).await;
            self.journal.say(&format!("trimmed {}: {trimmed:?}", self.actor));
        }
    }

    /// Exports a state of the past, sometimes one that it has pinned.
    pub async fn export(self) {
        // Before, while, or after another task trims.
        tokio::time::sleep(Duration::from_millis(self.dice.below(150))).await;
        let Ok(Some(state)) = self.store.actor(&self.actor).await else { return };
        if state.head.origin == Origin::Importing {
            return;
        }
        let db = state.head.fence.db;
        let at = Txid(state.head.txid.0.saturating_sub(self.dice.below(12)).max(1));
        let name = format!("export-{}", self.dice.below(u64::MAX));
        let pinned = self.dice.percent(30) && self.store.pin(db, at, &name).await.is_ok();
        let mut bytes = Vec::new();
        let store = self.store.as_ref();
        let outcome = history::export(store, db, Some(at), &mut bytes, &mut |_| ()).await;
        self.journal.say(&format!("exported {} as of {at}: {outcome:?}", self.actor));
        match outcome {
            Ok(_) => {
                self.check(db, &bytes, &name, at);
                self.read_again(db, at, &bytes, pinned).await;
            }
            Err(ExportError::Store(StoreError::HistoryGone { .. })) if !pinned => {}
            Err(ExportError::Store(
                StoreError::Unavailable(_) | StoreError::Unknown(_) | StoreError::Elsewhere { .. },
            )) => {}
            Err(ExportError::Store(StoreError::DatabaseMissing(_))) if self.judge.may_end(db) => {}
            // No observer has seen the head move backward: a state that was never there.
            Err(ExportError::NoCommit { .. }) if !pinned => {}
            Err(error) => self.broken(at, &format!("{error}")),
        }
        self.unpin(db, at, &name, pinned).await;
    }

    /// A long export continues: later reads return the same pages as before, or "gone".
    async fn read_again(&self, db: DbId, at: Txid, bytes: &[u8], pinned: bool) {
        tokio::time::sleep(Duration::from_millis(self.dice.below(800))).await;
        match self.store.read_at(db, at, Pgno(1), 256).await {
            Ok(pages) => {
                let same = pages.iter().map(|page| &page.bytes[..]).eq(bytes.chunks(PAGE_SIZE));
                if !same {
                    self.broken(at, "it is read otherwise than before");
                }
            }
            Err(StoreError::HistoryGone { .. }) if !pinned => {}
            Err(StoreError::DatabaseMissing(_)) if self.judge.may_end(db) => {}
            Err(
                StoreError::Unavailable(_) | StoreError::Unknown(_) | StoreError::Elsewhere { .. },
            ) => {}
            Err(error) => self.broken(at, &format!("{error}")),
        }
    }

    async fn unpin(&self, db: DbId, at: Txid, name: &str, pinned: bool) {
        if pinned {
            let _ = self.store.unpin(db, at, name).await;
        }
    }

    fn check(&self, db: DbId, bytes: &[u8], name: &str, at: Txid) {
        let path = self.scratch.join(name);
        std::fs::write(&path, bytes).unwrap();
        let read = || {
            let file = Connection::open(&path)?;
            let check: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            Ok::<_, rusqlite::Error>((check, State::read(&file)?))
        };
        match read() {
            Ok((check, state)) if check == "ok" => {
                self.judge.exported(&Judge::life(&self.actor, db), &state);
            }
            Ok((check, _)) => self.broken(at, &check),
            Err(error) => self.broken(at, &format!("{error}")),
        }
    }

    fn broken(&self, at: Txid, what: &str) {
        self.journal
            .broken(&format!("{} as of {at} is neither whole nor gone: {what}", self.actor));
    }
}
