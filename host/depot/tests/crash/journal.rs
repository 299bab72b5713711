//! What reached the files, in order, and what a machine that stops after the n-th operation may
//! find on its disk.
//!
//! ```text
//! per file   durable (as of its last sync)   +   pending: writes, truncations since
//! Kept       durable and all that is pending
//! Dropped    durable alone
//! Torn       durable and a random part of what is pending, in sectors of 512 bytes: some are
//!            there and others, earlier or later, are not
//! ```
//! The name of a file is taken to be durable once the file was synced; a deletion, once the
//! directory was, which SQLite does along with the first sync of a journal or log that it makes
//! (and the VFS cannot see). A sector that is written is old or new, as the devices promise that SQLite's
//! log counts on.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use stockade_testkit::random::Random;

/// The unit that a device writes whole.
const SECTOR_BYTES: usize = 512;

/// Something that reached a file.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write { file: String, at: usize, bytes: Vec<u8> },
    Truncate { file: String, len: usize },
    Sync { file: String },
    Delete { file: String, durable: bool },
}

impl Op {
    pub(crate) fn file(&self) -> &str {
        match self {
            Self::Write { file, .. }
            | Self::Truncate { file, .. }
            | Self::Sync { file }
            | Self::Delete { file, .. } => file,
        }
    }
}

/// Collects operations while a store runs.
#[derive(Default)]
pub(crate) struct Journal {
    ops: Mutex<Vec<Op>>,
}

impl Journal {
    pub(crate) fn push(&self, op: Op) {
        self.ops.lock().push(op);
    }

    pub(crate) fn len(&self) -> usize {
        self.ops.lock().len()
    }

    pub(crate) fn take(&self) -> Vec<Op> {
        std::mem::take(&mut self.ops.lock())
    }
}

/// What becomes of operations that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsynced {
    Kept,
    Dropped,
    Torn { seed: u64 },
}

/// The files that are found after a crash.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// The files of a machine that stopped after the first `n` operations.
pub(crate) fn image(ops: &[Op], unsynced: Unsynced) -> Image {
    let mut durable = Image::new();
    let mut pending: Vec<&Op> = Vec::new();
    for op in ops {
        match op {
            Op::Write { .. } | Op::Truncate { .. } => pending.push(op),
            Op::Delete { durable: false, .. } => pending.push(op),
            Op::Sync { file } | Op::Delete { file, durable: true } => {
                let is_first = is_first_of_a_log(op, &durable);
                let (synced, rest): (Vec<&Op>, Vec<&Op>) =
                    pending.into_iter().partition(|op| op.file() == file);
                synced.into_iter().for_each(|op| apply(&mut durable, op));
                pending = rest;
                if is_first {
                    pending = directory_synced(&mut durable, pending);
                }
                if matches!(op, Op::Delete { .. }) {
                    durable.remove(file);
                } else {
                    durable.entry(file.clone()).or_default();
                }
            }
        }
    }
    match unsynced {
        Unsynced::Dropped => {}
        Unsynced::Kept => pending.into_iter().for_each(|op| apply(&mut durable, op)),
        Unsynced::Torn { seed } => {
            let mut random = Random::new(seed);
            // Mostly kept, mostly lost, or half and half.
            let of_four = 1 + random.below(3);
            for op in pending {
                apply_torn(&mut durable, op, of_four, &mut random);
            }
        }
    }
    durable
}

/// SQLite syncs the directory along with the first sync of a journal or log that it has made.
fn is_first_of_a_log(op: &Op, durable: &Image) -> bool {
    let Op::Sync { file } = op else { return false };
    !durable.contains_key(file) && (file.ends_with("-wal") || file.ends_with("-journal"))
}

/// Deletions are durable; what was pending of a deleted file before is nothing.
fn directory_synced<'a>(durable: &mut Image, pending: Vec<&'a Op>) -> Vec<&'a Op> {
    let mut left: Vec<&Op> = Vec::new();
    for op in pending {
        if let Op::Delete { file, .. } = op {
            left.retain(|earlier| earlier.file() != file);
            durable.remove(file);
        } else {
            left.push(op);
        }
    }
    left
}

fn apply(image: &mut Image, op: &Op) {
    match op {
        Op::Write { file, at, bytes } => write(image, file, *at, bytes),
        Op::Truncate { file, len } => image.entry(file.clone()).or_default().resize(*len, 0),
        Op::Delete { file, .. } => drop(image.remove(file)),
        Op::Sync { .. } => {}
    }
}

fn apply_torn(image: &mut Image, op: &Op, of_four: u64, random: &mut Random) {
    let Op::Write { file, at, bytes } = op else {
        if random.below(4) < of_four {
            apply(image, op);
        }
        return;
    };
    let mut start = 0;
    while start < bytes.len() {
        let sector_end = SECTOR_BYTES - (at + start) % SECTOR_BYTES;
        let end = bytes.len().min(start + sector_end);
        if random.below(4) < of_four {
            write(image, file, at + start, &bytes[start..end]);
        }
        start = end;
    }
}

fn write(image: &mut Image, file: &str, at: usize, bytes: &[u8]) {
    let content = image.entry(file.to_owned()).or_default();
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn a_deletion_lasts_when_the_directory_was_synced() {
    let file = |name: &str| name.to_owned();
    let ops = [
        Op::Write { file: file("a-journal"), at: 0, bytes: vec![1] },
        Op::Sync { file: file("a-journal") },
        Op::Delete { file: file("a-journal"), durable: false },
        Op::Write { file: file("a-wal"), at: 0, bytes: vec![2] },
        Op::Sync { file: file("a-wal") },
    ];
    assert!(image(&ops[..4], Unsynced::Dropped).contains_key("a-journal"));
    assert!(!image(&ops[..4], Unsynced::Kept).contains_key("a-journal"));
    assert!(!image(&ops, Unsynced::Dropped).contains_key("a-journal"));
}

#[test]
fn images_are_what_they_say() {
    let f = || "f".to_owned();
    let ops = [
        Op::Write { file: f(), at: 0, bytes: vec![1; 600] },
        Op::Sync { file: f() },
        Op::Write { file: f(), at: 500, bytes: vec![2; 600] },
    ];
    assert_eq!(image(&ops[..1], Unsynced::Dropped).get("f"), None);
    assert_eq!(image(&ops, Unsynced::Dropped)["f"], vec![1; 600]);
    let kept = &image(&ops, Unsynced::Kept)["f"];
    assert_eq!((kept.len(), kept[499], kept[500]), (1_100, 1, 2));
    let torn: Vec<Vec<u8>> =
        (0..50).map(|seed| image(&ops, Unsynced::Torn { seed })["f"].clone()).collect();
    assert!(torn.iter().any(|file| file.len() > 1_000 && file[505] == 1), "a later sector alone");
    assert!(torn.iter().any(|file| file.len() < 1_000 && file[505] == 2), "an earlier one alone");
}
