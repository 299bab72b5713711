//! The state machine, called as SQLite calls it and as it must not.
#![allow(clippy::unwrap_used, reason = "tests")]

use stockade_depot::{Cause, DepotLimits, Reason};

use super::*;
use crate::test_context::TestContext;

fn small() -> TestContext {
    let limits = DepotLimits { commit_bytes_max: 4 * PAGE_BYTES, ..DepotLimits::default() };
    TestContext::new(limits, |o| o.cache_pages = 2)
}

fn page(fill: u8) -> Vec<u8> {
    vec![fill; PAGE_SIZE]
}

fn offset(pgno: u64) -> u64 {
    (pgno - 1) * PAGE_BYTES
}

impl MainFile {
    fn put(&mut self, pgno: u64, fill: u8) -> Result<(), FileError> {
        self.write(&page(fill), offset(pgno))
    }

    fn commit(&mut self) {
        self.prepare().unwrap();
        self.publish().unwrap();
    }

    /// The first byte of each page.
    fn fills(&mut self) -> Vec<u8> {
        let pages = self.size().unwrap() / PAGE_BYTES;
        (1..=pages)
            .map(|pgno| {
                let mut out = page(0xEE);
                self.read(&mut out, offset(pgno)).unwrap();
                assert!(out.iter().all(|byte| *byte == out[0]));
                out[0]
            })
            .collect()
    }
}

#[test]
fn a_transaction_is_one_commit() {
    let test = small();
    let mut file = MainFile::new(Arc::clone(&test.context));
    assert_eq!(file.size(), Ok(0));
    for pgno in [1, 2, 3] {
        file.put(pgno, 7).unwrap();
    }
    assert_eq!(test.context.session.page_count(), PageCount(0), "nothing before publish");
    file.commit();
    assert_eq!(test.context.session.page_count(), PageCount(3));
    test.settle();
    assert_eq!(test.context.session.durable_txid().0, 1);
    assert_eq!(file.fills(), [7, 7, 7]);
}

#[test]
fn nothing_changed_is_no_commit() {
    let test = small();
    let mut file = MainFile::new(Arc::clone(&test.context));
    let mark = test.context.session.mark();
    file.commit();
    file.truncate(0).unwrap();
    file.commit();
    assert_eq!(test.context.session.mark(), mark);
}

#[test]
fn a_sync_without_a_commit_was_a_rollback() {
    let test = small();
    let mut file = MainFile::new(Arc::clone(&test.context));
    file.put(1, 1).unwrap();
    file.commit();
    for then in ["read", "write", "sync"] {
        file.put(1, 9).unwrap();
        file.put(2, 9).unwrap();
        file.truncate(PAGE_BYTES).unwrap();
        file.put(1, 8).unwrap();
        file.prepare().unwrap();
        match then {
            "read" => assert_eq!(file.fills(), [1]),
            "write" => file.put(1, 1).unwrap(),
            _ => {}
        }
        file.commit();
        assert_eq!(file.fills(), [1], "{then}");
        assert!(!test.context.session.is_dead());
    }
}

#[test]
fn a_commit_without_its_sync_kills_the_session() {
    for dirty in [false, true] {
        let test = small();
        let mut file = MainFile::new(Arc::clone(&test.context));
        if dirty {
            file.put(1, 1).unwrap();
        }
        let dead = FileError::Fault(Fault::Dead(Cause::Closed(Reason::Storage)));
        assert_eq!(file.publish(), Err(dead.clone()));
        assert_eq!(test.context.session.cause(), Some(Cause::Closed(Reason::Storage)));
        assert_eq!(file.put(1, 1), Err(dead.clone()));
        assert_eq!(file.prepare(), Err(dead.clone()));
        assert_eq!(file.size(), Err(dead));
    }
}

#[test]
fn a_refused_sync_shows_the_published_state_and_ignores_the_rollback() {
    let test = small();
    let mut file = MainFile::new(Arc::clone(&test.context));
    file.put(1, 1).unwrap();
    file.commit();
    for round in 0..3 {
        for pgno in 1..=5 {
            file.put(pgno, 9).unwrap();
        }
        let refused = Fault::CommitTooLarge { bytes: 5 * PAGE_BYTES, max: 4 * PAGE_BYTES };
        assert_eq!(file.prepare(), Err(FileError::Fault(refused)), "{round}");
        assert_eq!(file.size(), Ok(PAGE_BYTES));
        for pgno in 1..=20 {
            file.put(pgno, 8).unwrap();
        }
        file.prepare().unwrap();
        assert_eq!(file.fills(), [1]);
    }
    file.put(2, 2).unwrap();
    file.commit();
    assert_eq!(file.fills(), [1, 2]);
}

/// A commit that follows what was thought to be a rollback has lost its pages: fatal, never quiet.
#[test]
fn a_commit_after_a_refusal_kills_the_session() {
    let test = small();
    let mut file = MainFile::new(Arc::clone(&test.context));
    for pgno in 1..=5 {
        file.put(pgno, 9).unwrap();
    }
    file.prepare().unwrap_err();
    file.put(1, 9).unwrap();
    file.prepare().unwrap();
    file.publish().unwrap_err();
    assert!(test.context.session.is_dead());
}

#[test]
fn spilled_pages_are_refused_before_the_sync() {
    let test = small();
    let mut file = MainFile::new(Arc::clone(&test.context));
    let refused = (1..100).find_map(|pgno| file.put(pgno, 9).err().map(|error| (pgno, error)));
    // Four pages of the commit, two that the cache may hold back, and one over.
    let fault = Fault::CommitTooLarge { bytes: 7 * PAGE_BYTES, max: 4 * PAGE_BYTES };
    assert_eq!(refused, Some((8, FileError::Fault(fault))));
    assert_eq!(file.size(), Ok(0));
}

#[test]
fn pages_cut_off_and_grown_again_are_zeros() {
    let test = TestContext::new(DepotLimits::default(), |_| ());
    let mut file = MainFile::new(Arc::clone(&test.context));
    for pgno in 1..=6 {
        file.put(pgno, 5).unwrap();
    }
    file.commit();
    file.truncate(2 * PAGE_BYTES).unwrap();
    file.put(8, 8).unwrap();
    assert_eq!(file.fills(), [5, 5, 0, 0, 0, 0, 0, 8]);
    file.commit();
    test.settle();
    assert_eq!(file.fills(), [5, 5, 0, 0, 0, 0, 0, 8]);
    let stored: Vec<u8> =
        (1..=8).map(|pgno| test.context.session.read(Pgno(pgno)).unwrap()[0]).collect();
    assert_eq!(stored, [5, 5, 0, 0, 0, 0, 0, 8]);
}

#[test]
fn vacuum_truncates_between_sync_and_commit() {
    let test = TestContext::new(DepotLimits::default(), |_| ());
    let mut file = MainFile::new(Arc::clone(&test.context));
    for pgno in 1..=6 {
        file.put(pgno, 5).unwrap();
    }
    file.commit();
    for pgno in 1..=4 {
        file.put(pgno, 6).unwrap();
    }
    file.prepare().unwrap();
    assert_eq!(file.size(), Ok(6 * PAGE_BYTES));
    file.truncate(3 * PAGE_BYTES).unwrap();
    file.publish().unwrap();
    assert_eq!(file.fills(), [6, 6, 6]);
    assert_eq!(test.context.session.page_count(), PageCount(3));
}

#[test]
fn pieces_of_pages_are_read_and_written() {
    let test = TestContext::new(DepotLimits::default(), |_| ());
    let mut file = MainFile::new(Arc::clone(&test.context));
    for pgno in 1..=3 {
        file.put(pgno, 5).unwrap();
    }
    file.commit();
    file.write(&[1; 10], 4091).unwrap();
    let mut out = [9; 20];
    file.read(&mut out, 4086).unwrap();
    assert_eq!(out, [5, 5, 5, 5, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 5, 5, 5, 5]);
    let mut header = [9; 16];
    file.read(&mut header, 24).unwrap();
    assert_eq!(header, [5; 16]);
    let mut past = [9; 8];
    assert_eq!(file.read(&mut past, 3 * PAGE_BYTES - 4), Err(FileError::ShortRead));
    assert_eq!(past, [5, 5, 5, 5, 0, 0, 0, 0]);
    assert_eq!(file.read(&mut past, u64::MAX - 10), Err(FileError::ShortRead));
    assert_eq!(past, [0; 8]);
}

#[test]
fn offsets_that_no_database_has_are_refused() {
    let test = TestContext::new(DepotLimits::default(), |_| ());
    let mut file = MainFile::new(Arc::clone(&test.context));
    assert_eq!(file.write(&page(1), u64::MAX - 4096), Err(FileError::OutOfRange));
    assert_eq!(file.write(&page(1), u64::MAX), Err(FileError::OutOfRange));
    assert_eq!(file.truncate(u64::MAX), Err(FileError::OutOfRange));
    let max = test.context.session.limits().database_pages_max;
    let full = Fault::DatabaseFull { pages: max + 1, max };
    assert_eq!(file.put(u64::from(max) + 1, 1), Err(FileError::Fault(full)));
}
