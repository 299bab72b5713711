//! Bits that turn in a log while the store runs.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use stockade_depot::store::embedded::connection;
use stockade_depot::{EmbeddedStore, Store, Txid};

use crate::random::Random;
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

/// Frames of the log, without the zeros that it was made longer by.
fn frames(log: &Path) -> u64 {
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
    let (frames, mut random) = (frames(&log), Random::new(3));
    assert!(frames > 50, "{frames}");
    let (mut seen, flips) = (0, 150);
    for _ in 0..flips {
        let bit = (LOG_HEADER_BYTES * 8) + random.below(frames * FRAME_BYTES * 8);
        // Readers forget what they have read when somebody has written.
        store.pin(truth.db(), Txid(3), "passing").await.unwrap();
        store.unpin(truth.db(), Txid(3), "passing").await.unwrap();
        flip(&log, bit);
        let corrupt = truth.ask_reads(&store).await;
        seen += u32::from(corrupt.unwrap_or_else(|what| panic!("bit {bit}: {what}")) > 0);
        flip(&log, bit);
        assert_eq!(truth.ask_reads(&store).await, Ok(0), "bit {bit}, turned back");
    }
    // The newest frames: the checkpoint copies nearly all of them.
    let (mut refused, end) = (0, self::frames(&log));
    while refused < 40 {
        let frame = end - 1 - random.below(40);
        let bit = (LOG_HEADER_BYTES + frame * FRAME_BYTES + random.below(FRAME_BYTES)) * 8;
        flip(&log, bit);
        let conn = connection(&file).unwrap();
        let done = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(0));
        drop(conn);
        // As it was: nothing of the damage is left, in the file neither.
        flip(&log, bit);
        assert_eq!(truth.ask_reads(&store).await, Ok(0), "bit {bit}, turned back");
        match done {
            Ok(_) => break,
            Err(error) => {
                let code = error.sqlite_error_code();
                assert_eq!(code, Some(rusqlite::ErrorCode::DatabaseCorrupt), "bit {bit}: {error}");
                refused += 1;
            }
        }
    }
    println!("{frames} frames, {flips} flips: {seen} seen by reads, {refused} by the checkpoint");
    assert!(seen > flips / 10, "{seen} of {flips} were met by a read");
    assert!(refused > 0, "none was met by the checkpoint");
    store.close().await;
    let store: Arc<dyn Store> =
        Arc::new(EmbeddedStore::open(&config(truth.directory.path())).unwrap());
    assert_eq!(truth.ask_open(&store).await, Ok(0));
}
