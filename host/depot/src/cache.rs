//! The process-wide page cache: bounded in bytes, one group of pages per database.
//!
//! Invariants:
//! - P1: a group's pages are the database's pages as of its `valid_through` txid. Only durable
//!   pages enter, so a group never knows more than the store.
//! - P2: a new session takes the pages of the group before it only if `valid_through` is the head's
//!   txid: with a foreign commit in between, none of them is served.
//! - P3: a group has one owner. When a new session opens, the group before it is emptied for good:
//!   a former generation in the same process hits nothing and adds nothing.
//! - P4: a fork without a commit of its own is its base as of where it was forked. If nothing of
//!   its own is cached, its new group begins with copies out of the base's, provided that this one
//!   is valid through that very txid. The base's group stays as it is, and its owner's.
//!
//! ```text
//! hit:   one lock of the group, one clone of `Bytes`; no allocation
//! full:  the group that was used longest ago loses its oldest pages first, 1/16 of the cache at a
//!        time, so that looking for it is paid once per many pages
//! ahead: pages that a scan will want next; the first hit tells, so that the scan continues, and a
//!        long scan takes its pages out again as it passes
//! fork:  shares the bytes with its base; both are charged, so in any order of drops the bound
//!        holds
//! ```

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::broken::{self, Variant};
use crate::fence::Head;
use crate::id::{DbId, PageCount, Pgno, Txid};
use crate::limits::{FORK_CACHE_PART, SCAN_CACHE_PART};
use crate::page::{PAGE_SIZE, PageBytes};

/// What a cached page is charged: its bytes and about what the map needs for it.
const ENTRY_BYTES: usize = PAGE_SIZE + 96;

/// The cache of one process.
#[derive(Debug)]
pub struct Cache {
    entries_max: usize,
    entries: AtomicUsize,
    /// Moves with every page that enters: the time of "used last". A hit only reads it.
    clock: AtomicU64,
    groups: Mutex<Groups>,
}

type Groups = HashMap<DbId, Arc<Group>>;

#[derive(Debug)]
struct Group {
    db: DbId,
    used: AtomicU64,
    state: Mutex<GroupState>,
}

#[derive(Debug)]
struct GroupState {
    /// False once a newer group took its place.
    live: bool,
    valid_through: Txid,
    /// As of `valid_through`: only a commit that shrinks has to look for pages above it.
    page_count: PageCount,
    pages: HashMap<Pgno, Entry>,
}

impl GroupState {
    fn is_as_of(&self, txid: Txid) -> bool {
        self.valid_through == txid || broken::is_off(Variant::CacheTag)
    }
}

#[derive(Debug)]
struct Entry {
    bytes: PageBytes,
    used: u64,
    /// Read ahead, and not asked for yet.
    ahead: bool,
}

/// A page that was there.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) bytes: PageBytes,
    /// The first time that a page is asked for that was read ahead.
    pub(crate) ahead: bool,
}

impl Cache {
    /// A cache of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Arc::new(Self {
            entries_max: bytes_max / ENTRY_BYTES,
            entries: AtomicUsize::new(0),
            clock: AtomicU64::new(0),
            groups: Mutex::default(),
        })
    }

    /// The group of a session that has just taken `db` over at `head`.
    pub(crate) fn open(self: &Arc<Self>, head: &Head) -> CacheGroup {
        let db = head.fence.db;
        let mut groups = self.groups.lock();
        let inherited = groups.remove(&db).and_then(|former| self.retire(&former, head.txid));
        let pages = inherited.or_else(|| self.share(&groups, head));
        let group = Arc::new(Group {
            db,
            used: AtomicU64::new(self.clock.load(Ordering::Relaxed)),
            state: Mutex::new(GroupState {
                live: true,
                valid_through: head.txid,
                page_count: head.page_count,
                pages: pages.unwrap_or_default(),
            }),
        });
        groups.insert(db, Arc::clone(&group));
        drop(groups);
        self.shrink();
        CacheGroup { cache: Arc::clone(self), group }
    }

    /// Drops everything of a database that was destroyed.
    pub(crate) fn forget(&self, db: DbId) {
        if let Some(group) = self.groups.lock().remove(&db) {
            self.retire(&group, Txid(u64::MAX));
        }
    }

    /// Bytes charged now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let entries = u64::try_from(self.entries.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
        entries.saturating_mul(ENTRY_BYTES as u64)
    }

    /// Empties a group for good; its pages, if they are those of `head`.
    fn retire(&self, group: &Group, head: Txid) -> Option<HashMap<Pgno, Entry>> {
        let mut state = group.state.lock();
        let pages = std::mem::take(&mut state.pages);
        let kept = state.live && state.is_as_of(head);
        state.live = false;
        if kept {
            return Some(pages);
        }
        self.entries.fetch_sub(pages.len(), Ordering::Relaxed);
        None
    }

    /// Copies of the base's pages, newest first, if `head` is that of a fork that has no other
    /// pages.
    fn share(&self, groups: &Groups, head: &Head) -> Option<HashMap<Pgno, Entry>> {
        let (base, at) = head.base.filter(|(_, at)| *at == head.txid)?;
        let group = groups.get(&base)?;
        let state = group.state.lock();
        if !state.is_as_of(at) {
            return None;
        }
        let mut newest: Vec<(&Pgno, &Entry)> = state.pages.iter().collect();
        let max = self.entries_max / FORK_CACHE_PART;
        if newest.len() > max {
            newest.select_nth_unstable_by_key(max, |(_, entry)| Reverse(entry.used));
            newest.truncate(max);
        }
        let copy = |entry: &Entry| Entry { bytes: entry.bytes.clone(), ahead: false, ..*entry };
        let pages: HashMap<_, _> = newest.into_iter().map(|(n, page)| (*n, copy(page))).collect();
        // The base is in use, too: else one fork after the other would push it out.
        group.used.store(self.tick(), Ordering::Relaxed);
        self.entries.fetch_add(pages.len(), Ordering::Relaxed);
        Some(pages)
    }

    /// The time at which a page enters.
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Makes room: the group used longest ago first, its oldest pages first.
    fn shrink(&self) {
        let mut excess = {
            let entries = self.entries.load(Ordering::Relaxed);
            if entries <= self.entries_max {
                return;
            }
            entries - self.entries_max + self.entries_max / 16
        };
        let mut by_age: Vec<Arc<Group>> = self.groups.lock().values().map(Arc::clone).collect();
        by_age.sort_unstable_by_key(|group| group.used.load(Ordering::Relaxed));
        for group in by_age {
            if excess == 0 {
                break;
            }
            let (dropped, emptied) = self.evict(&group, excess);
            excess -= dropped;
            if emptied {
                self.leave(group);
            }
        }
    }

    /// Takes an emptied group that no session holds out of the map.
    fn leave(&self, group: Arc<Group>) {
        let mut groups = self.groups.lock();
        let ours = groups.get(&group.db).is_some_and(|other| Arc::ptr_eq(other, &group));
        // Two: the map and `group`. A session that opens now needs the map's lock first.
        if ours && Arc::strong_count(&group) == 2 {
            groups.remove(&group.db);
        }
    }

    /// Drops up to `wanted` of a group's oldest pages; how many it dropped, and whether none is
    /// left.
    fn evict(&self, group: &Group, wanted: usize) -> (usize, bool) {
        let mut state = group.state.lock();
        let before = state.pages.len();
        if before <= wanted {
            state.pages = HashMap::new();
        } else {
            let mut ages: Vec<u64> = state.pages.values().map(|entry| entry.used).collect();
            let (_, &mut limit, _) = ages.select_nth_unstable(wanted - 1);
            let mut left = wanted;
            state.pages.retain(|_, entry| {
                let drop = left > 0 && entry.used <= limit;
                left -= usize::from(drop);
                !drop
            });
        }
        let left = state.pages.len();
        drop(state);
        self.entries.fetch_sub(before - left, Ordering::Relaxed);
        (before - left, left == 0)
    }
}

/// One session's group: the only way to its database's cached pages.
#[derive(Debug)]
pub(crate) struct CacheGroup {
    cache: Arc<Cache>,
    group: Arc<Group>,
}

impl CacheGroup {
    /// The cached page, if any.
    pub(crate) fn get(&self, pgno: Pgno) -> Option<Hit> {
        let now = self.cache.clock.load(Ordering::Relaxed);
        self.group.used.store(now, Ordering::Relaxed);
        let mut state = self.group.state.lock();
        let entry = state.pages.get_mut(&pgno)?;
        entry.used = now;
        let ahead = std::mem::take(&mut entry.ahead);
        Some(Hit { bytes: entry.bytes.clone(), ahead })
    }

    /// Pages that one scan may fill, or leave behind.
    pub(crate) fn scan_pages_max(&self) -> usize {
        self.cache.entries_max / SCAN_CACHE_PART
    }

    /// Leaves those pages that are not cached.
    pub(crate) fn retain_missing(&self, pages: &mut Vec<Pgno>) {
        let state = self.group.state.lock();
        pages.retain(|pgno| !state.pages.contains_key(pgno));
    }

    /// Takes out a page that a long scan has passed. Whatever version is there, to lose it is only
    /// slower.
    pub(crate) fn pass(&self, pgno: Pgno) {
        let mut state = self.group.state.lock();
        if state.pages.remove(&pgno).is_some() {
            self.cache.entries.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// [`CacheGroup::add_read`] of pages that no read has asked for yet.
    pub(crate) fn add_ahead(&self, at: Txid, pages: Vec<(Pgno, PageBytes)>) {
        let used = self.tick();
        {
            let mut state = self.group.state.lock();
            if !state.live || state.valid_through != at {
                return;
            }
            let before = state.pages.len();
            for (pgno, bytes) in pages {
                state.pages.entry(pgno).or_insert(Entry { bytes, used, ahead: true });
            }
            self.cache.entries.fetch_add(state.pages.len() - before, Ordering::Relaxed);
        }
        self.cache.shrink();
    }

    /// Keeps a page that was read as of `at`, unless a commit came in the meantime: then the page
    /// might be older than what that commit wrote.
    pub(crate) fn add_read(&self, at: Txid, pgno: Pgno, bytes: PageBytes) {
        let used = self.tick();
        {
            let mut state = self.group.state.lock();
            if !state.live || state.valid_through != at {
                return;
            }
            if state.pages.insert(pgno, Entry { bytes, used, ahead: false }).is_none() {
                self.cache.entries.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.cache.shrink();
    }

    /// A commit of the owner is durable: its pages replace the cached ones, and what lies above
    /// the page count goes.
    pub(crate) fn add_commit(
        &self,
        txid: Txid,
        page_count: PageCount,
        pages: &[(Pgno, PageBytes)],
    ) {
        let used = self.tick();
        // A commit that would push out most of the cache only takes its old pages away.
        let keep = pages.len() <= self.cache.entries_max / 8;
        self.change(txid, page_count, |cached| {
            for (pgno, bytes) in pages {
                if keep {
                    let bytes = bytes.clone();
                    cached.insert(*pgno, Entry { bytes, used, ahead: false });
                } else {
                    cached.remove(pgno);
                }
            }
        });
    }

    /// [`CacheGroup::add_commit`] of a commit that is not in memory: it only takes its old pages
    /// away.
    pub(crate) fn add_large_commit(&self, txid: Txid, page_count: PageCount, pgnos: &[Pgno]) {
        self.change(txid, page_count, |cached| {
            for pgno in pgnos {
                cached.remove(pgno);
            }
        });
    }

    /// Moves the group to the next commit.
    fn change(
        &self,
        txid: Txid,
        page_count: PageCount,
        lay_over: impl FnOnce(&mut HashMap<Pgno, Entry>),
    ) {
        {
            let mut state = self.group.state.lock();
            if !state.live {
                return;
            }
            let before = state.pages.len();
            if page_count < state.page_count {
                state.pages.retain(|pgno, _| pgno.0 <= page_count.0);
            }
            state.page_count = page_count;
            lay_over(&mut state.pages);
            state.valid_through = txid;
            let after = state.pages.len();
            // Under the lock, so that the total never loses more than it had.
            self.cache.entries.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
            self.cache.entries.fetch_sub(before.saturating_sub(after), Ordering::Relaxed);
        }
        self.cache.shrink();
    }

    fn tick(&self) -> u64 {
        let now = self.cache.tick();
        self.group.used.store(now, Ordering::Relaxed);
        now
    }
}

impl Drop for CacheGroup {
    /// An empty group leaves the map; one with pages stays for the next generation.
    fn drop(&mut self) {
        let mut groups = self.cache.groups.lock();
        let ours = groups.get(&self.group.db).is_some_and(|group| Arc::ptr_eq(group, &self.group));
        if ours && self.group.state.lock().pages.is_empty() {
            groups.remove(&self.group.db);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::fence::Fence;
    use crate::id::{Generation, Token};

    fn head(db: u8, txid: u64) -> Head {
        let fence = Fence { db: DbId([db; 16]), generation: Generation(1), token: Token([0; 16]) };
        Head { page_count: PageCount(1000), ..Head::sample(fence, Txid(txid)) }
    }

    fn fork(db: u8, of: u8, at: u64) -> Head {
        Head { base: Some((DbId([of; 16]), Txid(at))), ..head(db, at) }
    }

    fn page() -> PageBytes {
        Bytes::from(vec![1; PAGE_SIZE])
    }

    #[test]
    fn a_read_that_a_commit_overtook_is_not_kept() {
        let cache = Cache::new(1 << 20);
        let group = cache.open(&head(1, 5));
        group.add_commit(Txid(6), PageCount(1000), &[(Pgno(1), page())]);
        group.add_read(Txid(5), Pgno(2), page());
        assert!(group.get(Pgno(2)).is_none());
        group.add_read(Txid(6), Pgno(2), page());
        assert!(group.get(Pgno(2)).is_some());
    }

    #[test]
    fn pages_read_ahead_that_a_commit_overtook_are_not_kept() {
        let cache = Cache::new(1 << 20);
        let group = cache.open(&head(1, 5));
        group.add_commit(Txid(6), PageCount(1000), &[(Pgno(1), page())]);
        group.add_ahead(Txid(5), vec![(Pgno(2), page())]);
        assert!(group.get(Pgno(2)).is_none());
        group.add_ahead(
            Txid(6),
            vec![(Pgno(1), Bytes::from(vec![9; PAGE_SIZE])), (Pgno(2), page())],
        );
        assert_eq!(group.get(Pgno(1)).map(|hit| hit.bytes), Some(page()), "what is there stays");
        let told: Vec<bool> = (0..2).map(|_| group.get(Pgno(2)).unwrap().ahead).collect();
        assert_eq!(told, [true, false], "the first hit tells");
        group.pass(Pgno(2));
        assert!(group.get(Pgno(2)).is_none());
        assert_eq!(cache.bytes(), ENTRY_BYTES as u64);
        let _next = cache.open(&head(1, 6));
        group.add_ahead(Txid(6), vec![(Pgno(3), page())]);
        assert!(group.get(Pgno(3)).is_none(), "a former group learns nothing");
    }

    #[test]
    fn a_shrink_drops_what_lies_above() {
        let cache = Cache::new(1 << 20);
        let group = cache.open(&head(1, 5));
        group.add_read(Txid(5), Pgno(900), page());
        group.add_commit(Txid(6), PageCount(899), &[(Pgno(1), page())]);
        group.add_commit(Txid(7), PageCount(1000), &[(Pgno(1), page())]);
        assert!(group.get(Pgno(900)).is_none());
        assert!(group.get(Pgno(1)).is_some());
    }

    #[test]
    fn a_former_group_neither_serves_nor_learns() {
        let cache = Cache::new(1 << 20);
        let former = cache.open(&head(1, 5));
        former.add_read(Txid(5), Pgno(1), page());
        let next = cache.open(&head(1, 5));
        assert!(next.get(Pgno(1)).is_some());
        assert!(former.get(Pgno(1)).is_none());
        former.add_read(Txid(5), Pgno(2), page());
        former.add_commit(Txid(6), PageCount(1000), &[(Pgno(3), page())]);
        assert!(next.get(Pgno(2)).is_none() && next.get(Pgno(3)).is_none());
    }

    #[test]
    fn the_oldest_pages_of_the_group_used_longest_ago_go_first() {
        let cache = Cache::new(32 * ENTRY_BYTES as u64);
        let (quiet, busy) = (cache.open(&head(1, 5)), cache.open(&head(2, 5)));
        for n in 1..=16 {
            quiet.add_read(Txid(5), Pgno(n), page());
        }
        for n in 1..=16 {
            busy.add_read(Txid(5), Pgno(n), page());
        }
        busy.add_read(Txid(5), Pgno(17), page());
        assert!(quiet.get(Pgno(1)).is_none(), "oldest of the group used longest ago");
        assert!(quiet.get(Pgno(16)).is_some());
        assert!((1..=17).all(|n| busy.get(Pgno(n)).is_some()));
    }

    #[test]
    fn a_fork_shares_what_its_base_has_and_both_are_charged() {
        let cache = Cache::new(100 * ENTRY_BYTES as u64);
        let base = cache.open(&head(1, 5));
        base.add_read(Txid(5), Pgno(1), page());
        base.add_ahead(Txid(5), vec![(Pgno(2), page())]);
        let bytes = base.get(Pgno(1)).unwrap().bytes;
        let leaf = cache.open(&fork(2, 1, 5));
        let shared = leaf.get(Pgno(1)).unwrap().bytes;
        assert_eq!(shared.as_ptr(), bytes.as_ptr(), "no copy of the bytes");
        assert!(!leaf.get(Pgno(2)).unwrap().ahead, "no scan of this session wanted it");
        assert_eq!(cache.entries.load(Ordering::Relaxed), 4);
        // Each goes its own way.
        base.add_commit(Txid(6), PageCount(1000), &[(Pgno(1), Bytes::from(vec![6; PAGE_SIZE]))]);
        assert_eq!(leaf.get(Pgno(1)).unwrap().bytes, page());
        leaf.add_large_commit(Txid(6), PageCount(1000), &[Pgno(2)]);
        assert!(leaf.get(Pgno(2)).is_none() && base.get(Pgno(2)).is_some());
        cache.forget(DbId([1; 16]));
        assert_eq!(leaf.get(Pgno(1)).unwrap().bytes, page());
        assert_eq!(cache.bytes(), ENTRY_BYTES as u64);
    }

    #[test]
    fn a_fork_shares_nothing_that_is_not_its_own_state() {
        let cache = Cache::new(1 << 20);
        let base = cache.open(&head(1, 5));
        base.add_read(Txid(5), Pgno(1), page());
        let check = |head: &Head| cache.open(head).get(Pgno(1)).is_some();
        assert!(check(&fork(2, 1, 5)));
        assert!(!check(&fork(3, 1, 4)), "the base has moved on");
        assert!(!check(&fork(3, 1, 6)), "this process has not seen the base's last commit");
        assert!(!check(&Head { txid: Txid(6), ..fork(3, 1, 5) }), "the fork has committed");
        assert!(!check(&fork(3, 9, 5)), "another base");
        // What is its own comes first: it may know more, and is not charged twice.
        let middle = cache.open(&fork(4, 1, 5));
        middle.add_read(Txid(5), Pgno(2), page());
        let entries = cache.entries.load(Ordering::Relaxed);
        let again = cache.open(&fork(4, 1, 5));
        assert!(again.get(Pgno(1)).is_some() && again.get(Pgno(2)).is_some());
        assert_eq!(cache.entries.load(Ordering::Relaxed), entries);
        // A fork of a fork, and of one that is its own master by now.
        assert!(check(&fork(5, 4, 5)));
        again.add_commit(Txid(6), PageCount(1000), &[(Pgno(3), page())]);
        assert!(!check(&fork(6, 4, 5)) && check(&fork(6, 4, 6)));
    }

    #[test]
    fn forks_begin_with_an_eighth_of_the_cache_and_do_not_push_out_their_base() {
        let cache = Cache::new(64 * ENTRY_BYTES as u64);
        let base = cache.open(&head(1, 5));
        for n in 1..=20 {
            base.add_read(Txid(5), Pgno(n), page());
        }
        for db in 2..=20 {
            let leaf = cache.open(&fork(db, 1, 5));
            let there: Vec<bool> = (1..=20).map(|n| leaf.get(Pgno(n)).is_some()).collect();
            assert_eq!(there, (1..=20).map(|n| n > 12).collect::<Vec<_>>(), "the newest");
            assert!(cache.entries.load(Ordering::Relaxed) <= 64);
        }
        assert!((1..=20).all(|n| base.get(Pgno(n)).is_some()));
        let smallest = Cache::new(ENTRY_BYTES as u64);
        smallest.open(&head(1, 5)).add_read(Txid(5), Pgno(1), page());
        assert!(smallest.open(&fork(2, 1, 5)).get(Pgno(1)).is_none());
    }

    #[test]
    fn what_is_charged_is_what_is_there() {
        let cache = Cache::new(100 * ENTRY_BYTES as u64);
        std::thread::scope(|scope| {
            for db in 0..4_u8 {
                let cache = &cache;
                scope.spawn(move || {
                    for life in 0..20_u64 {
                        // Two threads share each database: takeovers in one process.
                        let group = cache.open(&head(db / 2, life * 100));
                        for n in 0..60_u32 {
                            let txid = Txid(life * 100 + u64::from(n) + 1);
                            let pages = [(Pgno(n + 1), page()), (Pgno(n + 2), page())];
                            group.add_commit(txid, PageCount(100 - n), &pages);
                            group.add_read(txid, Pgno(200 + n), page());
                            if n % 8 == 0 {
                                cache.open(&fork(2 + db, db / 2, txid.0));
                            }
                            group.get(Pgno(n));
                        }
                    }
                });
            }
        });
        assert!(cache.entries.load(Ordering::Relaxed) <= 100);
        let there: usize =
            cache.groups.lock().values().map(|group| group.state.lock().pages.len()).sum();
        assert_eq!(cache.entries.load(Ordering::Relaxed), there);
        (0..6).for_each(|db| cache.forget(DbId([db; 16])));
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn databases_that_have_nothing_cached_leave_no_trace() {
        let cache = Cache::new(10 * ENTRY_BYTES as u64);
        for db in 0..100 {
            let group = cache.open(&head(db, 5));
            if db % 2 == 0 {
                group.add_read(Txid(5), Pgno(1), page());
            }
        }
        assert!(cache.groups.lock().len() <= 11);
    }
}
