//! The group committer of one file: the only thread of this process that writes it.
//!
//! Steps come over a bounded queue; while one group syncs, the next one gathers. No timer waits for
//! company: a lone writer pays one sync, and under load the groups grow by themselves.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc};

use super::config::{Clock, EmbeddedConfig};
use super::group::{self, Member};
use super::health::Health;
use super::room::{Room, Tight};
use super::wal::Wal;
use crate::error::StoreError;

/// Unit in which the bytes of the queue are counted.
const QUEUE_UNIT_BYTES: u64 = 4096;

/// A step and its share of the queue, given back when the step is done.
struct Queued {
    member: Box<dyn Member>,
    _share: tokio::sync::OwnedSemaphorePermit,
}

/// The way into a committer.
pub(super) struct Queue {
    sender: Mutex<Option<mpsc::Sender<Queued>>>,
    room: Arc<Semaphore>,
    room_units: u32,
    wait: Duration,
}

impl Queue {
    /// Hands a step over, waiting a bounded time for a place.
    ///
    /// # Errors
    /// `Closed`, or `Unavailable` if the queue stays full. The step did not and will not run.
    pub(super) async fn submit(&self, member: Box<dyn Member>) -> Result<(), StoreError> {
        let sender = self.sender.lock().clone().ok_or(StoreError::Closed)?;
        let units = units(member.bytes()).min(self.room_units);
        let full = || StoreError::Unavailable("the store's queue is full".into());
        let _share = match Arc::clone(&self.room).try_acquire_many_owned(units) {
            Ok(share) => share,
            Err(_) => {
                let room = Arc::clone(&self.room).acquire_many_owned(units);
                let share = tokio::time::timeout(self.wait, room).await.map_err(|_| full())?;
                share.map_err(|_| StoreError::Closed)?
            }
        };
        match sender.try_send(Queued { member, _share }) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(StoreError::Closed),
            Err(mpsc::error::TrySendError::Full(queued)) => {
                match sender.send_timeout(queued, self.wait).await {
                    Ok(()) => Ok(()),
                    Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(full()),
                    Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(StoreError::Closed),
                }
            }
        }
    }

    /// Takes no more steps. The committer ends when those it has are done.
    pub(super) fn close(&self) {
        self.sender.lock().take();
    }
}

/// Shares of the queue that a step takes.
fn units(bytes: u64) -> u32 {
    u32::try_from(bytes / QUEUE_UNIT_BYTES + 1).unwrap_or(u32::MAX)
}

/// Starts the committer of the file at `path`.
///
/// # Errors
/// If the thread cannot be made.
pub(super) fn start(
    name: &str,
    path: &Path,
    mut conn: Connection,
    (wal, health, room): (Arc<Wal>, Arc<Health>, Arc<Room>),
    config: &EmbeddedConfig,
) -> Result<(Queue, JoinHandle<()>), super::OpenStoreError> {
    let log = Arc::clone(&wal);
    conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, frames| {
        log.committed(u64::try_from(frames).unwrap_or(0));
        Ok(())
    }))?;
    let (sender, queue) = mpsc::channel(config.queue_members_max.max(1));
    let room_units = units(config.queue_bytes_max);
    let committer = Committer {
        tight: Tight::new(path, Arc::clone(&wal), room),
        conn,
        wal,
        health,
        queue,
        next: None,
        bytes_max: config.group_bytes_max,
        members_max: config.group_members_max.max(1),
        clock: config.clock.clone(),
    };
    let thread = std::thread::Builder::new()
        .name(format!("commit {name}"))
        .spawn(move || committer.run())?;
    let queue = Queue {
        sender: Mutex::new(Some(sender)),
        room: Arc::new(Semaphore::new(usize::try_from(room_units).unwrap_or(usize::MAX))),
        room_units,
        wait: config.queue_wait,
    };
    Ok((queue, thread))
}

struct Committer {
    conn: Connection,
    wal: Arc<Wal>,
    health: Arc<Health>,
    tight: Tight,
    queue: mpsc::Receiver<Queued>,
    /// Did not fit into the group before.
    next: Option<Queued>,
    bytes_max: u64,
    members_max: usize,
    clock: Clock,
}

impl Committer {
    fn run(mut self) {
        while let Some(group) = self.gather() {
            self.run_group(group);
        }
    }

    /// Waits for a step and takes along what waits behind it. `None`: closed, and nothing waits.
    fn gather(&mut self) -> Option<Vec<Queued>> {
        let first = self.next.take().or_else(|| self.queue.blocking_recv())?;
        let mut bytes = first.member.bytes();
        let mut group = vec![first];
        while group.len() < self.members_max {
            let Ok(next) = self.queue.try_recv() else {
                break;
            };
            bytes = bytes.saturating_add(next.member.bytes());
            if bytes > self.bytes_max {
                self.next = Some(next);
                break;
            }
            group.push(next);
        }
        Some(group)
    }

    fn run_group(&mut self, group: Vec<Queued>) {
        let (members, shares): (Vec<_>, Vec<_>) =
            group.into_iter().map(|queued| (queued.member, queued._share)).unzip();
        let ready = self.health.check().and_then(|()| self.wal.make_room());
        match ready {
            Ok(()) => {
                let members = self.with_room(members);
                let give_up = |cause| drop(self.health.fail(cause));
                group::run(&self.conn, members, self.clock.now_ms(), &give_up);
            }
            Err(error) => members.into_iter().for_each(|member| member.reply(Err(error.clone()))),
        }
        drop(shares);
    }

    /// Those of a group that may run: where the disk has no room for what guests keep, their steps
    /// are refused before they are begun.
    fn with_room(&self, members: Vec<Box<dyn Member>>) -> Vec<Box<dyn Member>> {
        if !members.iter().any(|it| it.grows()) {
            self.tight.look();
            return members;
        }
        let bytes = members.iter().map(|it| it.bytes()).sum();
        let Err(full) = self.tight.admit(&self.conn, bytes) else { return members };
        let (refused, members): (Vec<_>, Vec<_>) = members.into_iter().partition(|it| it.grows());
        for member in refused {
            member.reply(Err(StoreError::Full(full.clone())));
        }
        members
    }
}
