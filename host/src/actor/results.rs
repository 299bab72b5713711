//! The results of a method, and the memory that they take until the caller has them.

use std::sync::Arc;

use stockade_vfs::memory::Share;
use wasmtime::component::Val;

use crate::error::HostError;
use crate::memory::GuestMemory;
use crate::typed::{data_bytes, memory_bytes};

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
    /// Results of a guest, which controls their size.
    ///
    /// # Errors
    /// `ReplyTooLarge`; `Overloaded` if the guests' pool has too little memory left.
    pub fn bounded(
        values: Vec<Val>,
        bytes_max: u64,
        memory: &Arc<GuestMemory>,
    ) -> Result<Self, HostError> {
        let bytes = data_bytes(&values);
        if bytes > bytes_max {
            return Err(HostError::ReplyTooLarge { bytes, max: bytes_max });
        }
        let more = memory_bytes(&values).saturating_sub(OWN_BYTES);
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
        let bytes = |count| vec![Val::List(vec![Val::U8(1); count])];
        let small = Results::bounded(bytes(1_000), 1 << 30, &memory);
        assert_eq!(memory.pool().used(), 0, "an ordinary one takes none");
        let large = Results::bounded(bytes(200_000), 1 << 30, &memory);
        assert!(large.is_ok() && memory.pool().used() > 5 << 20);
        let refused = Results::bounded(bytes(200_000), 1 << 30, &memory);
        assert!(matches!(refused, Err(HostError::Overloaded { .. })));
        drop((small, large));
        assert_eq!(memory.pool().used(), 0);
        let refused = Results::bounded(bytes(11), 10, &memory);
        assert!(matches!(refused, Err(HostError::ReplyTooLarge { bytes: 11, max: 10, .. })));
    }
}
