//! Linear memory and tables of a guest, over all its memories together.
//!
//! A refusal is not a trap: the guest's allocator sees that it cannot grow. Most then trap by
//! themselves, so the refusal is remembered for whoever explains that trap.

use wasmtime::ResourceLimiter;

use crate::limits::{Limits, TrapLimit};

/// Core instances of one component: adapters and shims count as well.
const INSTANCES_MAX: usize = 1_000;
/// Linear memories of one component.
const MEMORIES_MAX: usize = 64;
/// Tables of one component.
const TABLES_MAX: usize = 256;

/// Bounds the memory of one generation.
#[derive(Debug)]
pub(super) struct Limiter {
    memory: Share,
    table: Share,
}

/// One resource: what is used, what is allowed.
#[derive(Debug)]
struct Share {
    used: u64,
    max: u64,
    /// The last growth, to be taken back if it fails after it was allowed.
    last: u64,
    /// What a refused growth in this call would have come to.
    refused: Option<u64>,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory: Share::new(limits.memory_bytes_max),
            table: Share::new(limits.table_elements_max),
        }
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory.used
    }

    /// What was refused in the call in progress, in words.
    pub(super) fn refusal(&self) -> Option<String> {
        let words = |share: &Share, unit: &str| {
            let refused = share.refused?;
            Some(format!("{refused} {unit} are over the limit of {}", share.max))
        };
        words(&self.memory, "bytes of memory").or_else(|| words(&self.table, "table elements"))
    }

    /// Which limit refused a growth in the call in progress.
    pub(super) fn refused(&self) -> Option<TrapLimit> {
        let of = |share: &Share, limit| share.refused.map(|_| limit);
        of(&self.memory, TrapLimit::Memory).or_else(|| of(&self.table, TrapLimit::TableElements))
    }

    pub(super) fn begin_call(&mut self) {
        self.memory.refused = None;
        self.table.refused = None;
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

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.memory.grow(current, desired))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.take_back();
        Ok(())
    }

    fn table_growing(
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
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_bounded_together_and_a_refusal_is_remembered() {
        let limits = Limits { memory_bytes_max: 100, ..Limits::default() };
        let mut limiter = Limiter::new(&limits);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.memory_growing(60, 61, None).unwrap());
        let words = "101 bytes of memory are over the limit of 100";
        assert_eq!(limiter.refusal().as_deref(), Some(words));
        limiter.begin_call();
        assert_eq!((limiter.refusal(), limiter.memory_bytes()), (None, 100));
    }

    #[test]
    fn growth_that_failed_is_taken_back_once() {
        let limits = Limits { memory_bytes_max: 100, ..Limits::default() };
        let mut limiter = Limiter::new(&limits);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        assert!(limiter.memory_growing(0, 50, None).unwrap());
        assert!(!limiter.memory_growing(0, 51, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("refused")).unwrap();
        assert_eq!(limiter.memory_bytes(), 50);
    }
}
