//! Frames of the log, proved when they are read.
//!
//! ```text
//! log    0  header 32:  .. | salt 8 | sum 8
//!       32  frame 1:    page number 4 | size 4 | salt 8 | sum 8 | page 2048
//!     2104  frame 2:    ...
//! sum of a frame = the log's checksum of (page number, size, page), begun with the sum before it
//! ```
//! SQLite looks at these sums when it recovers a log, and never again: what it reads later, for a reader
//! or a checkpoint, it takes as it comes. Here a frame's page is read together with the end of what
//! stands before it, and both must belong together. That holds for every frame that can be read: SQLite
//! knows of a frame once it was committed, and none of them changes before the log starts over, which
//! waits for its readers. No uncommitted frame is ever read, since connections do not spill.

use rusqlite::ffi::{SQLITE_IOERR_SHORT_READ, SQLITE_OK};

use super::damage::{self, Damage, Fault, Place};
use super::stamp::PAGE_BYTES;
use super::{Behind, is_ok};

/// Bytes of the log's header. Its last 16 are like those of a frame's header.
const LOG_HEADER_BYTES: usize = 32;
/// Bytes of a frame's header.
const HEADER_BYTES: usize = 24;
/// Bytes of a frame.
const FRAME_BYTES: usize = HEADER_BYTES + PAGE_BYTES;
/// Salt and sum, with which both headers end.
const END_BYTES: usize = 16;
/// What is read for one frame at most: the end of the header before it, the page of that, and itself.
const READ_BYTES_MAX: usize = END_BYTES + PAGE_BYTES + FRAME_BYTES;
/// Shorter reads are of headers: no page is so small.
const PAGE_BYTES_MIN: usize = 512;

/// One open log.
pub(super) struct Frames {
    name: String,
    room: Box<[u8; READ_BYTES_MAX]>,
}

/// The frame, counted from 0, whose page begins at byte `at`.
fn frame_at(at: u64) -> Option<u64> {
    let first = (LOG_HEADER_BYTES + HEADER_BYTES) as u64;
    let from = at.checked_sub(first)?;
    from.is_multiple_of(FRAME_BYTES as u64).then(|| from / FRAME_BYTES as u64)
}

/// Where the 16 bytes begin that a frame follows from, and how many bytes lie between them and it.
fn before(frame: u64) -> (u64, usize) {
    let header = LOG_HEADER_BYTES as u64;
    match frame.checked_sub(1) {
        None => (header - END_BYTES as u64, 0),
        Some(before) => {
            let end = header + before * FRAME_BYTES as u64 + (HEADER_BYTES - END_BYTES) as u64;
            (end, PAGE_BYTES)
        }
    }
}

impl Frames {
    /// A log that was just opened.
    pub(super) fn new(name: String) -> Self {
        Self { name, room: Box::new([0; READ_BYTES_MAX]) }
    }

    /// Reads for SQLite. What is no frame's page passes through: headers, and whole frames, which SQLite
    /// reads when it recovers and proves itself.
    pub(super) fn read(&mut self, at: u64, into: &mut [u8], behind: &mut impl Behind) -> i32 {
        let frame = frame_at(at).filter(|_| (PAGE_BYTES_MIN..=PAGE_BYTES).contains(&into.len()));
        let Some(frame) = frame else {
            return behind.read(at, into);
        };
        let (from, between) = before(frame);
        let read = &mut self.room[..END_BYTES + between + FRAME_BYTES];
        let fault = match behind.read(from, read) {
            code if is_ok(code) => None,
            SQLITE_IOERR_SHORT_READ => Some(Fault::CutOff),
            code => return code,
        };
        let (end, own) = (&read[..END_BYTES], &read[END_BYTES + between..]);
        if let Some(fault) = fault.or_else(|| (!follows(end, own)).then_some(Fault::Checksum)) {
            into.fill(0);
            let place = Place::Frame(frame + 1);
            return damage::note(Damage { file: self.name.clone(), place, fault });
        }
        into.copy_from_slice(&own[HEADER_BYTES..HEADER_BYTES + into.len()]);
        SQLITE_OK
    }
}

/// Whether `frame` follows a header that ends with `end`.
fn follows(end: &[u8], frame: &[u8]) -> bool {
    let (salt, sum) = end.split_at(8);
    let (header, page) = frame.split_at(HEADER_BYTES);
    // The sums are big-endian; the words they are made of are as the machine that made the log has them.
    salt == &header[8..16]
        && [u32::from_le_bytes, u32::from_be_bytes].iter().any(|word| {
            let sum = sums(sums(start(sum), &header[..8], *word), page, *word);
            sum == start(&header[16..])
        })
}

/// The two words of a stored sum.
fn start(sum: &[u8]) -> (u32, u32) {
    let word = |at: usize| {
        sum.get(at..at + 4).and_then(|it| it.try_into().ok()).map_or(0, u32::from_be_bytes)
    };
    (word(0), word(4))
}

/// The log's checksum, continued over `bytes`.
fn sums((mut one, mut two): (u32, u32), bytes: &[u8], word: fn([u8; 4]) -> u32) -> (u32, u32) {
    for pair in bytes.as_chunks::<8>().0 {
        let [a, b, c, d, e, f, g, h] = *pair;
        one = one.wrapping_add(word([a, b, c, d])).wrapping_add(two);
        two = two.wrapping_add(word([e, f, g, h])).wrapping_add(one);
    }
    (one, two)
}
