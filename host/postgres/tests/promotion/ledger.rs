//! What was acknowledged, written down outside of the servers.
//!
//! What must hold:
//! - a commit that was acknowledged is in the history with its generation and its content;
//! - a txid is acknowledged once, and a generation to one owner;
//! - once an answer of a generation was acknowledged, no question that an earlier generation asks is
//!   answered with yes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use stockade_depot::store::LIST_ROWS_MAX;
use stockade_depot::{ActorId, Fence, Generation, Pgno, Store, Token, Txid, history};

/// How many commits of an actor are compared to the byte: the newest.
const COMPARED_MAX: usize = 300;

/// One actor.
struct Account {
    acknowledged: BTreeMap<Txid, (Generation, u64)>,
    owners: BTreeMap<Generation, Token>,
    newest: Generation,
    last: Option<Instant>,
}

/// All actors.
pub(crate) struct Ledger {
    accounts: Vec<Mutex<Account>>,
    confirmed: AtomicU64,
    staged: AtomicU64,
    lost: AtomicU64,
}

/// The newest generation that was acknowledged when a question was asked.
#[derive(Clone, Copy)]
pub(crate) struct Asked(Generation);

/// The actor of a number.
pub(crate) fn actor(n: u64) -> ActorId {
    ActorId::new("ledger", &format!("actor {n}")).unwrap()
}

/// What each page of a version is filled with.
pub(crate) fn content(version: u64) -> Vec<u8> {
    version.to_le_bytes().repeat(stockade_depot::PAGE_SIZE / 8)
}

impl Ledger {
    pub(crate) fn new(actors: u64) -> Self {
        let account = || Account {
            acknowledged: BTreeMap::new(),
            owners: BTreeMap::new(),
            newest: Generation(0),
            last: None,
        };
        Self {
            accounts: (0..actors).map(|_| Mutex::new(account())).collect(),
            confirmed: AtomicU64::new(0),
            staged: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    fn account(&self, n: u64) -> parking_lot::MutexGuard<'_, Account> {
        self.accounts[usize::try_from(n).unwrap()].lock()
    }

    /// A question is about to be asked.
    pub(crate) fn ask(&self, n: u64) -> Asked {
        Asked(self.account(n).newest)
    }

    /// A question was answered with yes.
    fn yes(&self, n: u64, asked: Asked, fence: Fence) {
        let mut account = self.account(n);
        let (now, before) = (fence.generation, asked.0);
        assert!(now >= before, "actor {n}: generation {now} acknowledged after {before}");
        let owner = *account.owners.entry(now).or_insert(fence.token);
        assert_eq!(owner, fence.token, "actor {n}: generation {now} has two owners");
        account.newest = account.newest.max(now);
    }

    /// A takeover, or a create, was won.
    pub(crate) fn owned(&self, n: u64, asked: Asked, fence: Fence) {
        self.yes(n, asked, fence);
    }

    /// An owner was confirmed.
    pub(crate) fn confirmed(&self, n: u64, asked: Asked, fence: Fence) {
        self.yes(n, asked, fence);
        self.confirmed.fetch_add(1, Ordering::Relaxed);
    }

    /// A commit was acknowledged.
    pub(crate) fn committed(&self, n: u64, asked: Asked, fence: Fence, txid: Txid, version: u64) {
        self.yes(n, asked, fence);
        let mut account = self.account(n);
        let before = account.acknowledged.insert(txid, (fence.generation, version));
        assert_eq!(before, None, "actor {n}: {txid} was acknowledged twice");
        account.last = Some(Instant::now());
    }

    /// A commit ended without an acknowledgement.
    pub(crate) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// A large commit was acknowledged.
    pub(crate) fn large(&self) {
        self.staged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn staged(&self) -> u64 {
        self.staged.load(Ordering::Relaxed)
    }

    pub(crate) fn takeovers(&self) -> u64 {
        self.accounts.iter().map(|account| account.lock().owners.len() as u64 - 1).sum()
    }

    /// Waits until every actor had a commit acknowledged after `since`.
    pub(crate) async fn all_acknowledged_since(&self, since: Instant, within: Duration) {
        let is_back = |account: &Mutex<Account>| account.lock().last.is_some_and(|at| at > since);
        while !self.accounts.iter().all(is_back) {
            let back = self.accounts.iter().filter(|account| is_back(account)).count();
            assert!(since.elapsed() < within, "{back} of {} are back", self.accounts.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn told(&self) -> String {
        let acknowledged: usize =
            self.accounts.iter().map(|account| account.lock().acknowledged.len()).sum();
        format!(
            "{acknowledged} commits acknowledged ({} large), {} without, {} confirmations, \
             {} takeovers",
            self.staged(),
            self.lost.load(Ordering::Relaxed),
            self.confirmed.load(Ordering::Relaxed),
            self.takeovers()
        )
    }

    /// Compares with what a store has.
    pub(crate) async fn verify(&self, store: &Arc<dyn Store>) -> String {
        for n in 0..self.accounts.len() as u64 {
            let state = store.actor(&actor(n)).await.unwrap().unwrap();
            let db = state.head.fence.db;
            let report = history::verify(store.as_ref(), db, &mut |_| {}).await.unwrap();
            assert!(report.is_sound(), "actor {n}: {report:?}");
            let (mut after, mut made) = (Txid(0), BTreeMap::new());
            loop {
                let rows = store.commits(db, after, LIST_ROWS_MAX).await.unwrap();
                let Some(last) = rows.last() else { break };
                after = last.txid;
                made.extend(rows.iter().map(|row| (row.txid, row.generation)));
            }
            let acknowledged = self.account(n).acknowledged.clone();
            for (txid, (generation, _)) in &acknowledged {
                assert_eq!(made.get(txid), Some(generation), "actor {n}: {txid} is lost");
            }
            for (txid, (_, version)) in acknowledged.iter().rev().take(COMPARED_MAX) {
                let read = store.read_at(db, *txid, Pgno(1), 1).await.unwrap();
                assert_eq!(read[0].bytes[..], content(*version)[..], "actor {n}: {txid}");
            }
        }
        self.told()
    }
}
