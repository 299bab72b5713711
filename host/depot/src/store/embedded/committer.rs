//! The group committer of one file: the only thread of this process that writes it.
//!
//! Steps come over a bounded queue; while one group syncs, the next one gathers. No timer waits for
//! company: a lone writer pays one sync, and under load the groups grow by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc};

use super::config::{Clock, EmbeddedConfig};
use super::group::{self, FileState, Member};
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

/// Starts the committer of a file.
///
/// # Errors
/// If the thread cannot be made.
pub(super) fn start(
    name: &str,
    mut conn: Connection,
    wal: Arc<Wal>,
    failed: Arc<AtomicBool>,
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
        name: name.to_owned(),
        conn,
        wal,
        failed,
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
    name: String,
    conn: Connection,
    wal: Arc<Wal>,
    failed: Arc<AtomicBool>,
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
        let ready = if self.failed.load(Ordering::SeqCst) {
            Err(StoreError::Closed)
        } else {
            self.wal.make_room()
        };
        match ready {
            Ok(()) => {
                let state = group::run(&self.conn, members, self.clock.now_ms());
                if let FileState::Failed(cause) = state {
                    self.failed.store(true, Ordering::SeqCst);
                    tracing::error!(file = %self.name, %cause, "closed until restart");
                }
            }
            Err(error) => members.into_iter().for_each(|member| member.reply(Err(error.clone()))),
        }
        drop(shares);
    }
}
