//! The results of a method, and the memory that they take until the caller has them.

use std::sync::Arc;

use stockade_vfs::memory::Share;
use wasmtime::component::Val;

use crate::error::HostError;
use crate::memory::GuestMemory;
use crate::typed::Size;

/// Bytes of memory that results may take whatever all guests have: 64 KiB, enough for ordinary
/// ones.
const OWN_BYTES: u64 = 64 << 10;

/// A method's results.
pub struct Results {
    values: Vec<Val>,
    /// `None`: the results need none.
    room: Option<Arc<Share>>,
}

impl Results {
    /// No results.
    #[must_use]
    pub fn none() -> Self {
        Self { values: Vec::new(), room: None }
    }

    /// Results of a guest, which controls their `size`.
    ///
    /// # Errors
    /// `ReplyTooLarge`; `Overloaded` if the guests' pool has too little memory left.
    pub fn bounded(
        values: Vec<Val>,
        size: Size,
        bytes_max: u64,
        memory: &Arc<GuestMemory>,
    ) -> Result<Self, HostError> {
        if size.data > bytes_max {
            return Err(HostError::ReplyTooLarge { bytes: size.data, max: bytes_max });
        }
        let more = size.memory.saturating_sub(OWN_BYTES);
        if more == 0 {
            return Ok(Self { values, room: None });
        }
        let room = memory.part().share;
        if room.take(more) {
            return Ok(Self { values, room: Some(room) });
        }
        let (what, max) = memory.overload();
        Err(HostError::Overloaded { what, max })
    }

    /// The values, and the share that holds their memory.
    pub fn into_parts(self) -> (Vec<Val>, Option<Arc<Share>>) {
        (self.values, self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_results_take_room_until_they_are_gone() {
        let memory = GuestMemory::new(10 << 20);
        let bounded = |count, bytes_max| {
            let values = vec![Val::List(vec![Val::U8(1); count])];
            let size = Size::of(&values);
            Results::bounded(values, size, bytes_max, &memory)
        };
        let small = bounded(1_000, 1 << 30);
        assert_eq!(memory.pool().used(), 0, "an ordinary one takes none");
        let large = bounded(200_000, 1 << 30);
        assert!(large.is_ok() && memory.pool().used() > 5 << 20);
        let refused = bounded(200_000, 1 << 30);
        assert!(matches!(refused, Err(HostError::Overloaded { .. })));
        drop((small, large));
        assert_eq!(memory.pool().used(), 0);
        let refused = bounded(11, 10);
        assert!(matches!(refused, Err(HostError::ReplyTooLarge { bytes: 11, max: 10, .. })));
    }
}
