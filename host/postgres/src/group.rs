//! One group of commits on its way to the server, and the answers that its members get.
//!
//! Invariants:
//! - a refused commit is no row of the answer, and stops no other;
//! - a statement that failed and was surely rolled back is tried member by member; one that may have
//!   been applied is `Unknown` for all of its members.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stockade_depot::store::embedded::Clock;
use stockade_depot::{DbId, StoreError};
use tokio::sync::oneshot;
use tokio_postgres::types::ToSql;

use crate::commit::{Columns, PackedCommit};
use crate::connection::{Connection, Connector, params};
use crate::echo::look_on;
use crate::exchange::write_on;
use crate::failure::{Failure, Sent, Stop};
use crate::limits::WRITE_DEADLINE;
use crate::link::{Link, Tries};
use crate::refusal::{LEAVES_HOLES, refused};
use crate::rows;
use crate::sql::ownership::FENCES;
use crate::sql::pages as sql;

/// What became of a commit: the time that it is labelled with, or why it was refused.
pub(crate) type Moved = Result<u64, StoreError>;

/// A commit on its way.
pub(crate) struct Member {
    pub(crate) commit: Arc<PackedCommit>,
    pub(crate) answer: oneshot::Sender<Moved>,
}

/// What groups are sent with.
pub(crate) struct Ground {
    pub(crate) connector: Connector,
    pub(crate) link: Arc<Link>,
    pub(crate) clock: Clock,
}

/// The connection that a committer's groups share. `None`: it is to be made.
pub(crate) type Shared = Arc<Mutex<Option<Arc<Connection>>>>;

/// A group on its way.
pub(crate) struct Flight {
    ground: Arc<Ground>,
    shared: Shared,
}

impl Flight {
    /// One on this connection.
    pub(crate) fn new(ground: &Arc<Ground>, shared: &Shared) -> Self {
        Self { ground: Arc::clone(ground), shared: Arc::clone(shared) }
    }

    /// Sends the group, and answers its members.
    pub(crate) async fn carry(self, group: Vec<Member>) {
        let commits: Vec<Arc<PackedCommit>> =
            group.iter().map(|member| Arc::clone(&member.commit)).collect();
        match self.send(&commits).await {
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
            }
            answers => self.reply(group, answers),
        }
    }

    fn reply(&self, group: Vec<Member>, moved: Result<HashMap<DbId, Moved>, Stop>) {
        let link = &self.ground.link;
        let mut moved = moved.map_err(|stop| link.told(stop));
        if moved.is_ok() {
            link.has_room();
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
    async fn send(&self, commits: &[Arc<PackedCommit>]) -> Result<HashMap<DbId, Moved>, Stop> {
        let ground = &self.ground;
        let mut tries = Tries::default();
        loop {
            let connection = self.connection().await?;
            match send_on(&connection, commits, ground.clock.now_ms()).await {
                Ok(mut moved) => {
                    let refused = commits.iter().filter(|of| !moved.contains_key(&of.fence.db));
                    let refused: Vec<&PackedCommit> = refused.map(AsRef::as_ref).collect();
                    match refusals(&connection, &refused).await {
                        Ok(refusals) => moved.extend(refusals),
                        Err(stop) => {
                            self.give_up(&connection);
                            // Surely not applied: the next try finds out why.
                            let error = ground.link.told(stop);
                            moved
                                .extend(refused.iter().map(|of| (of.fence.db, Err(error.clone()))));
                        }
                    }
                    return Ok(moved);
                }
                Err(Stop::Failed(Failure::Conflict(_), _)) if tries.are_left() => {
                    tries.pause().await;
                }
                // It is not used again if there is an answer on its way.
                Err(stop @ Stop::Failed(Failure::Lost(_), _)) => {
                    self.give_up(&connection);
                    return Err(stop);
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    /// The connection, made if there is none that is open.
    async fn connection(&self) -> Result<Arc<Connection>, Stop> {
        if let Some(open) = open(&self.shared) {
            return Ok(open);
        }
        let made = self.ground.connector.connect().await;
        let made = Arc::new(made.map_err(|error| Stop::Told(error.told()))?);
        *self.shared.lock() = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Leaves the connection to the groups that are under way on it.
    fn give_up(&self, connection: &Arc<Connection>) {
        connection.leave();
        let mut shared = self.shared.lock();
        if shared.as_ref().is_some_and(|now| Arc::ptr_eq(now, connection)) {
            *shared = None;
        }
    }
}

/// The connection, if it is open.
pub(crate) fn open(shared: &Shared) -> Option<Arc<Connection>> {
    shared.lock().as_ref().filter(|made| !made.is_closed()).map(Arc::clone)
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
