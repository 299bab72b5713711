//! Commits of many actors in one statement, by a task with a connection of its own.
//!
//! ```text
//! commits ──► queue by database ──► group: one a database ──► one statement ──► answers
//!                    ▲              of one: the same without arrays
//!                    └─ the next one: when the group has its answers, or is under way for GROUP_LATE
//! ```
//! Groups are sent one behind the other on one connection, and the server takes them in this order. So a way
//! that is long, or loses packets, carries several of them at the same time.
//!
//! Invariant: a database always has the same committer, and one commit in the groups that are under way.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use stockade_depot::store::embedded::Clock;
use stockade_depot::{DbId, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::commit::PackedCommit;
use crate::connection::Connector;
use crate::group::{Flight, Ground, Member, Moved, Shared, open};
use crate::limits::{
    COMMITTERS, GROUP_BYTES_MAX, GROUP_COMMITS_MAX, GROUP_LATE, GROUPS_MAX, QUEUE_COMMITS_MAX,
};
use crate::link::Link;

/// The committers of a store.
pub(crate) struct Committers {
    queues: Mutex<Vec<mpsc::Sender<Member>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Committers {
    /// Starts `count` of them.
    pub(crate) fn start(
        count: usize,
        connector: &Connector,
        link: &Arc<Link>,
        clock: &Clock,
    ) -> Self {
        let (mut queues, mut tasks) = (Vec::new(), Vec::new());
        for _ in 0..count.max(1) {
            let (queue, members) = mpsc::channel(QUEUE_COMMITS_MAX);
            let ground = Ground {
                connector: connector.clone(),
                link: Arc::clone(link),
                clock: clock.clone(),
            };
            let committer = Committer {
                ground: Arc::new(ground),
                shared: Shared::default(),
                waiting: VecDeque::new(),
                under_way: HashSet::new(),
            };
            tasks.push(connector.runtime().spawn(committer.run(members)));
            queues.push(queue);
        }
        Self { queues: Mutex::new(queues), tasks: Mutex::new(tasks) }
    }

    /// Commits, along with whatever else is there.
    pub(crate) async fn commit(&self, commit: Arc<PackedCommit>) -> Moved {
        let queue = {
            let queues = self.queues.lock();
            let at = usize::from(commit.fence.db.0[15]) % queues.len().max(1);
            queues.get(at).cloned().ok_or(StoreError::Closed)?
        };
        let (answer, answered) = oneshot::channel();
        queue.send(Member { commit, answer }).await.map_err(|_| StoreError::Closed)?;
        // The committer's runtime has ended.
        answered.await.unwrap_or(Err(StoreError::Unknown("the committer has ended".into())))
    }

    /// Takes no more, and finishes what was accepted.
    pub(crate) async fn finish(&self) {
        self.queues.lock().clear();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "end committer");
            }
        }
    }
}

/// What one task works with.
struct Committer {
    ground: Arc<Ground>,
    /// The connection of its own.
    shared: Shared,
    /// What came for a database that is in a group before it, or was too much for it.
    waiting: VecDeque<Member>,
    /// Databases of the groups that are under way.
    under_way: HashSet<DbId>,
}

impl Committer {
    async fn run(mut self, mut queue: mpsc::Receiver<Member>) {
        let (mut groups, mut begun, mut is_open) = (FuturesUnordered::new(), Instant::now(), true);
        loop {
            let is_late = groups.len() < GROUPS_MAX && begun.elapsed() >= GROUP_LATE;
            let may_begin = groups.is_empty() || is_late;
            if may_begin {
                self.take_in(&mut queue);
                // The first group makes the connection.
                let is_made = groups.is_empty() || open(&self.shared).is_some();
                if is_made && let Some(group) = self.begin() {
                    begun = Instant::now();
                    groups.push(group);
                    continue;
                }
            }
            let is_idle = self.waiting.is_empty();
            let again = if may_begin { Instant::now() } else { begun } + GROUP_LATE;
            tokio::select! {
                biased;
                Some(dbs) = groups.next() => self.landed(dbs),
                member = queue.recv(), if is_open && may_begin && is_idle => match member {
                    Some(member) => self.waiting.push_back(member),
                    None => is_open = false,
                },
                // What waits has no connection yet, or is of a database that is under way.
                () = sleep_until(again), if groups.len() < GROUPS_MAX && !(may_begin && is_idle) => {}
                else => return,
            }
        }
    }

    /// Takes what has come, as much as two groups.
    fn take_in(&mut self, queue: &mut mpsc::Receiver<Member>) {
        while self.waiting.len() < 2 * GROUP_COMMITS_MAX
            && let Ok(member) = queue.try_recv()
        {
            self.waiting.push_back(member);
        }
    }

    /// Begins the next group, if there is one. Resolves with its databases.
    fn begin(&mut self) -> Option<impl Future<Output = Vec<DbId>> + use<>> {
        let group = self.gather();
        if group.is_empty() {
            return None;
        }
        let dbs: Vec<DbId> = group.iter().map(|member| member.commit.fence.db).collect();
        self.under_way.extend(&dbs);
        let flight = Flight::new(&self.ground, &self.shared);
        Some(async move {
            flight.carry(group).await;
            dbs
        })
    }

    fn landed(&mut self, dbs: Vec<DbId>) {
        for db in dbs {
            self.under_way.remove(&db);
        }
    }

    /// The next group: the oldest first, each database once, and none that is under way.
    fn gather(&mut self) -> Vec<Member> {
        let (mut group, mut later) = (Vec::new(), VecDeque::new());
        let (mut dbs, mut bytes) = (HashSet::new(), 0);
        for member in self.waiting.drain(..) {
            let (db, weight) = (member.commit.fence.db, member.commit.pages.weight());
            let fits = group.is_empty()
                || group.len() < GROUP_COMMITS_MAX && bytes + weight <= GROUP_BYTES_MAX;
            // One that is too late keeps its place before those of its database behind it.
            if dbs.insert(db) && !self.under_way.contains(&db) && fits {
                bytes += weight;
                group.push(member);
            } else {
                later.push_back(member);
            }
        }
        self.waiting = later;
        group
    }
}

/// How many committers a store has by default.
pub(crate) const DEFAULT: usize = COMMITTERS;
