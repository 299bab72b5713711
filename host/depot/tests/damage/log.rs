//! Bits that turn in a log while the store runs.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;
use stockade_depot::store::embedded::connection;
use stockade_depot::{EmbeddedStore, Store, Txid};
use stockade_testkit::random::Random;

use crate::truth::{Truth, config, fill, scratch};

const LOG_HEADER_BYTES: u64 = 32;
const FRAME_BYTES: u64 = 24 + 2048;

/// Turns one bit of a file that SQLite holds no lock on.
fn flip(log: &Path, bit: u64) {
    let file = OpenOptions::new().read(true).write(true).open(log).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8).unwrap();
}

/// Copies the log into the file; whether something was left.
fn checkpoint(file: &Path) -> rusqlite::Result<i64> {
    let conn = connection(file).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(0))
}

/// The last frame of the log, counted from 0: what follows are zeros that it was made longer by.
fn last_frame(log: &Path) -> u64 {
    let bytes = std::fs::read(log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    (u64::try_from(end).unwrap() - LOG_HEADER_BYTES) / FRAME_BYTES
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_seen_by_readers_and_by_the_checkpoint() {
    let directory = scratch();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config(directory.path())).unwrap());
    fill(&store).await;
    let truth = Truth::of(directory, &store).await;
    let (file, log) = (truth.path("shard-00.db"), truth.path("shard-00.db-wal"));
    let (frames, mut random) = (last_frame(&log) + 1, Random::new(3));
    assert!(frames > 50, "{frames}");
    let (mut seen, flips) = (0, 150);
    for _ in 0..flips {
        let bit = (LOG_HEADER_BYTES * 8) + random.below(frames * FRAME_BYTES * 8);
        // Readers forget what they have read after a write.
        store.pin(truth.db(), Txid(3), "passing").await.unwrap();
        store.unpin(truth.db(), Txid(3), "passing").await.unwrap();
        flip(&log, bit);
        let corrupt = truth.ask_reads(&store).await;
        seen += u32::from(corrupt.unwrap_or_else(|what| panic!("bit {bit}: {what}")) > 0);
        flip(&log, bit);
        assert_eq!(truth.ask_reads(&store).await, Ok(0), "bit {bit}, turned back");
    }
    // The last frame is newer than any of the same page: the checkpoint copies it.
    let last = LOG_HEADER_BYTES + last_frame(&log) * FRAME_BYTES;
    for _ in 0..40 {
        let bit = last * 8 + random.below(FRAME_BYTES * 8);
        flip(&log, bit);
        let refused = checkpoint(&file).unwrap_err();
        let code = refused.sqlite_error_code();
        assert_eq!(code, Some(ErrorCode::DatabaseCorrupt), "bit {bit}: {refused}");
        // As it was: nothing of the damage is left, in the file neither.
        flip(&log, bit);
        assert_eq!(truth.ask_reads(&store).await, Ok(0), "bit {bit}, turned back");
    }
    assert_eq!(checkpoint(&file), Ok(0));
    println!("{frames} frames, {flips} flips: {seen} seen by reads");
    assert!(seen > flips / 10, "{seen} of {flips} were met by a read");
    store.close().await;
    let store: Arc<dyn Store> =
        Arc::new(EmbeddedStore::open(&config(truth.directory.path())).unwrap());
    assert_eq!(truth.ask_open(&store).await, Ok(0));
}
