//! Bounds linear memory and tables of a guest, over all its memories together, and within the
//! memory of all guests of the host.
//!
//! A refusal is not a trap: the guest's allocator sees that it cannot grow. Most guests then trap
//! by themselves, so the refusal is remembered to explain that trap.

use std::sync::Arc;

use async_trait::async_trait;
use stockade_vfs::memory::Grains;
use wasmtime::ResourceLimiterAsync;

use crate::engine::MEMORIES_MAX;
use crate::limits::{Limits, TrapLimit};
use crate::memory::{GuestMemory, LINEAR_GRAIN_BYTES, Part};

/// Core instances of one component: adapters and shims count as well.
const INSTANCES_MAX: usize = 1_000;
/// Tables of one component.
const TABLES_MAX: usize = 256;

/// Bounds the memory of one generation.
#[derive(Debug)]
pub(super) struct Limiter {
    memory: Share,
    table: Share,
    all: Arc<GuestMemory>,
    /// The generation's share of all guests' memory.
    grains: Grains,
    /// Whether a growth in this call found no room among all guests.
    crowded_out: bool,
}

/// One resource: its use and its limit.
#[derive(Debug)]
struct Share {
    used: u64,
    max: u64,
    /// The last growth, undone if it fails after it was allowed.
    last: u64,
    /// The size that a refused growth in this call asked for.
    refused: Option<u64>,
}

impl Limiter {
    pub(super) fn new(limits: &Limits, part: Part) -> Self {
        Self {
            grains: Grains::of(&part.share, LINEAR_GRAIN_BYTES),
            all: part.all,
            crowded_out: false,
            memory: Share::new(limits.memory_bytes_max),
            table: Share::new(limits.table_elements_max),
        }
    }

    #[cfg(test)]
    fn memory_bytes(&self) -> u64 {
        self.memory.used
    }

    /// The growth that was refused in the call in progress, in words.
    pub(super) fn refusal(&self) -> Option<String> {
        let words = |share: &Share, unit: &str| {
            let refused = share.refused?;
            Some(format!("{refused} {unit} are over the limit of {}", share.max))
        };
        if self.crowded_out {
            let max = self.all.pool().bytes_max();
            return Some(format!("all guests of the host have its {max} bytes of memory"));
        }
        words(&self.memory, "bytes of memory").or_else(|| words(&self.table, "table elements"))
    }

    /// Which limit refused a growth in the call in progress.
    pub(super) fn refused(&self) -> Option<TrapLimit> {
        let of = |share: &Share, limit| share.refused.map(|_| limit);
        if self.crowded_out {
            return Some(TrapLimit::HostMemory);
        }
        of(&self.memory, TrapLimit::Memory).or_else(|| of(&self.table, TrapLimit::TableElements))
    }

    pub(super) fn begin_call(&mut self) {
        self.memory.refused = None;
        self.table.refused = None;
        self.crowded_out = false;
    }
}

impl Share {
    fn new(max: u64) -> Self {
        Self { used: 0, max, last: 0, refused: None }
    }

    /// Both numbers are guest-controlled.
    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current) as u64;
        let used = self.used.saturating_add(more);
        if used > self.max {
            self.refused = Some(used);
            self.last = 0;
            return false;
        }
        (self.used, self.last) = (used, more);
        true
    }

    fn take_back(&mut self) {
        self.used -= std::mem::take(&mut self.last);
    }
}

#[async_trait]
impl ResourceLimiterAsync for Limiter {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if !self.memory.grow(current, desired) {
            return Ok(false);
        }
        let (used, grains) = (self.memory.used, &self.grains);
        // Once in a call: an allocator that is refused tries again, and so does the code that
        // reports it.
        let waits = !self.crowded_out;
        if grains.cover(used) || (waits && self.all.taken(|| grains.cover(used)).await) {
            return Ok(true);
        }
        self.memory.take_back();
        self.crowded_out = true;
        Ok(false)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.take_back();
        self.grains.settle(self.memory.used);
        Ok(())
    }

    async fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.table.grow(current, desired))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.table.take_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAIN: usize = 2 << 20;

    fn limiter(limits: &Limits, all: u64) -> Limiter {
        Limiter::new(limits, GuestMemory::new(all).part())
    }

    #[tokio::test]
    async fn memories_are_bounded_together_and_a_refusal_is_remembered() {
        let limits = Limits { memory_bytes_max: 100, ..Limits::default() };
        let mut limiter = limiter(&limits, u64::MAX);
        assert!(limiter.memory_growing(0, 60, None).await.unwrap());
        assert!(limiter.memory_growing(0, 40, None).await.unwrap());
        assert!(!limiter.memory_growing(60, 61, None).await.unwrap());
        let words = "101 bytes of memory are over the limit of 100";
        assert_eq!(limiter.refusal().as_deref(), Some(words));
        limiter.begin_call();
        assert_eq!((limiter.refusal(), limiter.memory_bytes()), (None, 100));
    }

    #[tokio::test]
    async fn growth_that_failed_is_taken_back_once() {
        let limits = Limits { memory_bytes_max: 100, ..Limits::default() };
        let mut limiter = limiter(&limits, u64::MAX);
        assert!(limiter.memory_growing(0, 60, None).await.unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        assert!(limiter.memory_growing(0, 50, None).await.unwrap());
        assert!(!limiter.memory_growing(0, 51, None).await.unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("refused")).unwrap();
        assert_eq!(limiter.memory_bytes(), 50);
    }

    #[tokio::test]
    async fn what_all_guests_have_is_bounded_and_told_apart() {
        let mut limiter = limiter(&Limits::default(), 2 * GRAIN as u64);
        assert!(limiter.memory_growing(0, 3 * GRAIN, None).await.unwrap());
        assert_eq!(limiter.all.pool().used(), 2 * GRAIN as u64, "the first part is not counted");
        assert!(!limiter.memory_growing(3 * GRAIN, 3 * GRAIN + 1, None).await.unwrap());
        assert_eq!(limiter.refused(), Some(TrapLimit::HostMemory));
        assert_eq!(limiter.memory_bytes(), 3 * GRAIN as u64);
        limiter.begin_call();
        assert_eq!(limiter.refused(), None);
        let all = Arc::clone(&limiter.all);
        drop(limiter);
        assert_eq!(all.pool().used(), 0);
    }
}
