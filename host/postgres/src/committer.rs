//! Commits of many actors in one statement, by a task with a connection of its own.
//!
//! ```text
//! commits ──► queue by database ──► group: one a database ──► one statement ──► answers
//!                                   of one: the same without arrays
//! ```
//! Invariants:
//! - a database always has the same committer, and one commit in a group;
//! - a refused commit is no row of the answer, and stops no other;
//! - a statement that failed and was surely rolled back is tried member by member; one that may have
//!   been applied is `Unknown` for all of its members.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use stockade_depot::store::embedded::Clock;
use stockade_depot::{DbId, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;

use crate::commit::{Columns, PackedCommit};
use crate::connection::{Connection, Connector, params};
use crate::echo::look_on;
use crate::exchange::write_on;
use crate::failure::{Failure, Sent, Stop};
use crate::limits::{
    COMMITTERS, GROUP_BYTES_MAX, GROUP_COMMITS_MAX, QUEUE_COMMITS_MAX, WRITE_DEADLINE,
};
use crate::link::{Link, Tries};
use crate::refusal::{LEAVES_HOLES, refused};
use crate::rows;
use crate::sql::ownership::FENCES;
use crate::sql::pages as sql;

/// What became of a commit: the time that it is labelled with, or why it was refused.
type Moved = Result<u64, StoreError>;

/// A commit on its way.
struct Member {
    commit: Arc<PackedCommit>,
    answer: oneshot::Sender<Moved>,
}

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
            let committer = Committer {
                connector: connector.clone(),
                link: Arc::clone(link),
                clock: clock.clone(),
                connection: None,
                waiting: VecDeque::new(),
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
    connector: Connector,
    link: Arc<Link>,
    clock: Clock,
    connection: Option<Connection>,
    /// What came for a database that is in the group before it, or was too much for it.
    waiting: VecDeque<Member>,
}

impl Committer {
    async fn run(mut self, mut queue: mpsc::Receiver<Member>) {
        loop {
            if self.waiting.is_empty() {
                match queue.recv().await {
                    Some(member) => self.waiting.push_back(member),
                    None => return,
                }
            }
            while self.waiting.len() < 2 * GROUP_COMMITS_MAX
                && let Ok(member) = queue.try_recv()
            {
                self.waiting.push_back(member);
            }
            let group = self.gather();
            self.commit(group).await;
        }
    }

    /// The next group: the oldest first, each database once.
    fn gather(&mut self) -> Vec<Member> {
        let (mut group, mut later) = (Vec::new(), VecDeque::new());
        let (mut dbs, mut bytes) = (HashSet::new(), 0);
        for member in self.waiting.drain(..) {
            let weight = member.commit.pages.weight();
            let fits = group.is_empty()
                || group.len() < GROUP_COMMITS_MAX && bytes + weight <= GROUP_BYTES_MAX;
            // One that is too late keeps its place before those of its database behind it.
            if dbs.insert(member.commit.fence.db) && fits {
                bytes += weight;
                group.push(member);
            } else {
                later.push_back(member);
            }
        }
        self.waiting = later;
        group
    }

    async fn commit(&mut self, group: Vec<Member>) {
        let commits: Vec<Arc<PackedCommit>> =
            group.iter().map(|member| Arc::clone(&member.commit)).collect();
        let answers = match self.send(&commits).await {
            // Rolled back, and not because of another transaction: one of them is to blame.
            Err(Stop::Failed(
                failure @ (Failure::Refused(_) | Failure::Taken(_) | Failure::Damaged(_)),
                sent,
            )) if group.len() > 1 => {
                let error = Stop::Failed(failure, sent);
                tracing::warn!(
                    ?error,
                    commits = group.len(),
                    "commit of a group failed; one by one"
                );
                for member in group {
                    let answer = self.send(&[Arc::clone(&member.commit)]).await;
                    self.reply(vec![member], answer);
                }
                return;
            }
            answers => answers,
        };
        self.reply(group, answers);
    }

    fn reply(&self, group: Vec<Member>, moved: Result<HashMap<DbId, Moved>, Stop>) {
        let mut moved = moved.map_err(|stop| self.link.told(stop));
        if moved.is_ok() {
            self.link.has_room();
        }
        for member in group {
            let of_member = match &mut moved {
                Ok(moved) => moved.remove(&member.commit.fence.db),
                Err(error) => Some(Err(error.clone())),
            };
            let lost = || Err(StoreError::Unknown("the group lost the commit".into()));
            // The caller may have gone.
            let _ = member.answer.send(of_member.unwrap_or_else(lost));
        }
    }

    /// Sends a group until it was not rolled back because of another transaction.
    async fn send(&mut self, commits: &[Arc<PackedCommit>]) -> Result<HashMap<DbId, Moved>, Stop> {
        let mut tries = Tries::default();
        loop {
            let connection = match self.connection.take().filter(|had| !had.is_closed()) {
                Some(connection) => connection,
                None => self.connector.connect().await.map_err(|error| Stop::Told(error.told()))?,
            };
            let now_ms = self.clock.now_ms();
            match send_on(&connection, commits, now_ms).await {
                Ok(mut moved) => {
                    let refused = commits.iter().filter(|of| !moved.contains_key(&of.fence.db));
                    let refused: Vec<&PackedCommit> = refused.map(AsRef::as_ref).collect();
                    match refusals(&connection, &refused).await {
                        Ok(refusals) => moved.extend(refusals),
                        Err(stop) => {
                            // Surely not applied: the next try finds out why.
                            let error = self.link.told(stop);
                            moved
                                .extend(refused.iter().map(|of| (of.fence.db, Err(error.clone()))));
                            return Ok(moved);
                        }
                    }
                    self.connection = Some(connection);
                    return Ok(moved);
                }
                Err(Stop::Failed(Failure::Conflict(_), _)) if tries.are_left() => {
                    self.connection = Some(connection);
                    tries.pause().await;
                }
                // It is not used again if there is an answer on its way.
                Err(stop @ Stop::Failed(Failure::Lost(_), _)) => return Err(stop),
                Err(stop) => {
                    self.connection = Some(connection);
                    return Err(stop);
                }
            }
        }
    }
}

/// Why commits of a group were refused, on the connection that refused them.
async fn refusals(
    connection: &Connection,
    commits: &[&PackedCommit],
) -> Result<HashMap<DbId, Moved>, Stop> {
    if commits.is_empty() {
        return Ok(HashMap::new());
    }
    let dbs: Vec<&[u8]> = commits.iter().map(|commit| &commit.fence.db.0[..]).collect();
    let mut tries = Tries::default();
    let rows = loop {
        match look_on(connection, (FENCES, params![dbs])).await {
            Err(Stop::Failed(Failure::Conflict(_), _)) if tries.are_left() => tries.pause().await,
            looked => break looked?,
        }
    };
    let mut owners = HashMap::new();
    for row in rows {
        owners.insert(rows::owner_db(&row)?, rows::owner(&row));
    }
    let why = |commit: &PackedCommit| match owners.get(&commit.fence.db) {
        Some(Ok(now)) => refused(now, &commit.fence, commit.base, LEAVES_HOLES),
        Some(Err(error)) => error.clone(),
        None => rows::away(commit.fence.db),
    };
    Ok(commits.iter().map(|commit| (commit.fence.db, Err(why(commit)))).collect())
}

/// Sends a group as one statement. What it answers nothing for was refused.
async fn send_on(
    connection: &Connection,
    commits: &[Arc<PackedCommit>],
    now_ms: u64,
) -> Result<HashMap<DbId, Moved>, Stop> {
    let mut moved = HashMap::new();
    if let [commit] = commits {
        let alone = commit.alone(now_ms, commit.run)?;
        for row in write_on(connection, WRITE_DEADLINE, alone.sql(), &alone.params()).await? {
            moved.insert(commit.fence.db, Ok(read(rows::number(&row, 0))?));
        }
        return Ok(moved);
    }
    let all = Columns::of(commits.iter().map(AsRef::as_ref))?;
    let now = rows::to_sql(now_ms)?;
    let group: [&(dyn ToSql + Sync); 16] = [
        &all.dbs,
        &all.generations,
        &all.tokens,
        &all.bases,
        &all.counts,
        &all.chains,
        &all.leasts,
        &all.owners,
        &all.contents,
        &now,
        &all.page_dbs,
        &all.pgnos,
        &all.sums,
        &all.bytes,
        &all.due_dbs,
        &all.dues,
    ];
    // Few commits say something of due times: the others are not slowed down by the question.
    let (statement, params) = match all.due_dbs.len() {
        0 => (sql::COMMIT_GROUP, &group[..group.len() - 2]),
        _ => (sql::COMMIT_GROUP_DUE, &group[..]),
    };
    for row in write_on(connection, WRITE_DEADLINE, statement, params).await? {
        moved.insert(read(rows::db(&row, 0))?, Ok(read(rows::number(&row, 1))?));
    }
    Ok(moved)
}

/// An answer of a write that cannot be read leaves its outcome unknown.
fn read<T>(answer: Result<T, StoreError>) -> Result<T, Stop> {
    answer.map_err(|error| Stop::Failed(Failure::Lost(error.to_string()), Sent::Write))
}

/// How many committers a store has by default.
pub(crate) const DEFAULT: usize = COMMITTERS;
