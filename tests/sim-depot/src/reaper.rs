//! The reaper ends the life of an actor, or begins one from a file.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use rusqlite::Connection;
use stockade_depot::import::PageSource;
use stockade_depot::store::Due;
use stockade_depot::{ActorId, Depot, Digest, PAGE_SIZE, PageBytes, PageCount};

use crate::bank::{Op, Work};
use crate::network::Network;

/// What it needs to know.
pub struct Reaper {
    /// The node's depot.
    pub depot: Arc<Depot>,
    /// The node, for the log.
    pub node: String,
    /// Whose life.
    pub actor: ActorId,
    /// Store, judge, log and chance.
    pub network: Arc<Network>,
    /// Numbers for transactions.
    pub ops: Arc<AtomicI64>,
    /// Where the file is made.
    pub scratch: PathBuf,
}

impl Reaper {
    fn say(&self, what: &str) {
        self.network.journal.say(&format!("{} {what}", self.node));
    }

    /// Destroys the actor's present database. After the answer "gone" not a row is left.
    pub async fn destroy(self) {
        let Ok(Some(state)) = self.depot.store().actor(&self.actor).await else { return };
        let (judge, db) = (&self.network.judge, state.head.fence.db);
        judge.destroys(db);
        match self.depot.destroy(&state).await {
            Ok(()) => {
                self.say(&format!("has destroyed {}", self.actor));
                judge.destroyed(db);
                let rows = self.network.store.rows_of(db).await.unwrap();
                if rows > 0 {
                    let what = format!("{rows} rows are left of {}, destroyed", self.actor);
                    self.network.journal.broken(&what);
                }
            }
            Err(error) => self.say(&format!("does not destroy {}: {error}", self.actor)),
        }
    }

    /// Imports a file in which some transactions were run. Where the actor exists, nothing happens.
    pub async fn import(self) {
        let (ops, pages) = self.file();
        let count = PageCount(u32::try_from(pages.0.len()).unwrap());
        let (judge, mut pages) = (&self.network.judge, pages);
        judge.imports(&ops);
        self.say(&format!("imports {}: {} pages", self.actor, count.0));
        let done = self.depot.import(&self.actor, COMPONENT, count, &mut pages, &mut |_| ()).await;
        match done {
            Ok(imported) => {
                self.say(&format!("has imported {}", self.actor));
                judge.imported(&self.actor, imported.head.fence.db, &ops);
            }
            Err(error) => self.say(&format!("does not import {}: {error}", self.actor)),
        }
    }

    /// A plain SQLite file, as its user would have it.
    fn file(&self) -> (Vec<Op>, Pages) {
        let dice = &self.network.dice;
        let number = || self.ops.fetch_add(1, Ordering::SeqCst) + 1;
        let mut ops = vec![Op::new(number(), Work::Setup)];
        ops.extend((0..dice.below(6)).map(|_| Op::roll(number(), dice)));
        // An import says nothing of due times.
        ops.iter_mut().for_each(|op| op.due = Due::Untouched);
        let path = self.scratch.join(format!("import-{}.db", ops[0].number));
        let plain = Connection::open(&path).unwrap();
        for op in &ops {
            op.run(&plain).unwrap();
        }
        drop(plain);
        let bytes = std::fs::read(&path).unwrap();
        (ops, Pages(bytes.chunks(PAGE_SIZE).map(|page| page.to_vec().into()).collect()))
    }
}

const COMPONENT: Digest = Digest([7; 32]);

/// The pages of a file.
struct Pages(VecDeque<PageBytes>);

#[async_trait]
impl PageSource for Pages {
    async fn next(&mut self, count: usize) -> io::Result<Vec<PageBytes>> {
        Ok(self.0.drain(..count.min(self.0.len())).collect())
    }
}
