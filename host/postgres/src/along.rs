//! Pages that came along with a takeover, until the read that asks for them.
//!
//! ```text
//! one flight:  head raised ─► what is handed over ─► first pages, under the new fence as of its head
//! then         the session reads its first pages: they are here
//! ```
//! Each set of pages is an answer of a fenced read that was sent before it was asked for. It is given
//! once, to the generation that it was read for and as of the txid that it was read at, and not later than
//! an answer may come that was asked for in the usual way.
//!
//! Invariant: at most [`ALONG_MAX`] sets are kept, the newest.

use std::collections::VecDeque;

use parking_lot::Mutex;
use stockade_depot::store::{PageVersion, PagesRead};
use stockade_depot::{Fence, Pgno, Txid};
use tokio::time::Instant;

use crate::limits::{ALONG_AGE_MAX, ALONG_MAX};

struct Set {
    fence: Fence,
    came: Instant,
    read: PagesRead,
}

/// Sets of pages that no read has asked for yet.
#[derive(Default)]
pub(crate) struct Along(Mutex<VecDeque<Set>>);

impl Along {
    /// Keeps pages for the generation of `fence`, as of the head's `txid`.
    pub(crate) fn keep(&self, fence: Fence, txid: Txid, pages: Vec<PageVersion>) {
        let mut sets = self.0.lock();
        if sets.len() >= ALONG_MAX {
            sets.pop_front();
        }
        let read = PagesRead { head_txid: txid, pages };
        sets.push_back(Set { fence, came: Instant::now(), read });
    }

    /// The answer of a read, if all of its pages came along. They are not kept any longer.
    pub(crate) fn take(&self, fence: &Fence, at: Txid, wanted: &[Pgno]) -> Option<PagesRead> {
        self.take_as_of(Instant::now(), fence, at, wanted)
    }

    fn take_as_of(
        &self,
        now: Instant,
        fence: &Fence,
        at: Txid,
        wanted: &[Pgno],
    ) -> Option<PagesRead> {
        let mut sets = self.0.lock();
        sets.retain(|set| now.saturating_duration_since(set.came) < ALONG_AGE_MAX);
        let found = sets.iter().position(|set| set.fence == *fence)?;
        let Set { mut read, .. } = sets.remove(found)?;
        drop(sets);
        if read.head_txid != at {
            return None;
        }
        let page = |wanted: &Pgno| {
            let at = read.pages.iter().position(|page| page.pgno == *wanted)?;
            Some(read.pages.swap_remove(at))
        };
        let pages = wanted.iter().map(page).collect::<Option<_>>()?;
        Some(PagesRead { head_txid: at, pages })
    }
}

#[cfg(test)]
mod tests {
    use stockade_depot::{DbId, Generation, PAGE_SIZE, PageBytes, Shard, Token};

    use super::*;

    fn fence(generation: u64) -> Fence {
        let db = DbId::new(Shard(0), [1; 15]);
        Fence { db, generation: Generation(generation), token: Token([2; 16]) }
    }

    fn pages(pgnos: &[u32]) -> Vec<PageVersion> {
        let bytes = PageBytes::from(vec![0; PAGE_SIZE]);
        let page =
            |pgno: &u32| PageVersion { pgno: Pgno(*pgno), txid: Txid(3), bytes: bytes.clone() };
        pgnos.iter().map(page).collect()
    }

    #[track_caller]
    fn check(of: &Along, fence: Fence, at: u64, wanted: &[u32], is_there: bool) {
        let wanted: Vec<Pgno> = wanted.iter().map(|pgno| Pgno(*pgno)).collect();
        let read = of.take(&fence, Txid(at), &wanted);
        let got = read.map(|read| read.pages.iter().map(|page| page.pgno).collect::<Vec<_>>());
        assert_eq!(got, is_there.then_some(wanted));
    }

    #[test]
    fn pages_are_given_once_to_whom_they_were_read_for() {
        let along = Along::default();
        along.keep(fence(2), Txid(3), pages(&[1, 2, 3]));
        check(&along, fence(1), 3, &[1], false);
        check(&along, fence(2), 3, &[2, 1], true);
        check(&along, fence(2), 3, &[3], false);
        for (at, wanted) in [(4, &[1][..]), (3, &[1, 9])] {
            along.keep(fence(2), Txid(3), pages(&[1]));
            check(&along, fence(2), at, wanted, false);
            check(&along, fence(2), 3, &[1], false);
        }
    }

    #[test]
    fn they_are_bounded_in_number_and_time() {
        let along = Along::default();
        along.keep(fence(2), Txid(3), pages(&[1]));
        let late = Instant::now() + ALONG_AGE_MAX;
        assert!(along.take_as_of(late, &fence(2), Txid(3), &[Pgno(1)]).is_none());
        check(&along, fence(2), 3, &[1], false);
        for generation in 1..=1 + ALONG_MAX as u64 {
            along.keep(fence(generation), Txid(3), pages(&[1]));
        }
        check(&along, fence(1), 3, &[1], false);
        check(&along, fence(2), 3, &[1], true);
    }
}
