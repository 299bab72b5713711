//! A write-ahead log as it lies on the disk: which frames are good, and what lies behind the first
//! bad one.
//!
//! ```text
//!    0  32  header: magic (its last bit: order of bytes in checksums), version 3007000, page size,
//!                   number of checkpoints, salts (8 bytes), checksum of the 24 bytes before
//!   32  ..  frame 1
//!  ..   ..  frame 2 ...
//! frame:
//!    0   4  page number                    \ checksummed, after all frames before it
//!    4   4  pages of the file after the    /
//!           commit, in its last frame; else 0
//!    8   8  salts of the log, not checksummed
//!   16   8  checksum up to here
//!   24   n  the page, checksummed
//!
//! good ──────────────────────►│ bad │ behind it
//! F  F  C  F  C  F  F  C         F     F  C   F  F  C   old  old  zeros
//! ```
//!
//! What a crash leaves, and what it does not:
//! - a group is one transaction, its last frame (C) alone has a number of pages, and it is synced
//!   before the next one is written: what was not durable when a machine stops is one group, so
//!   the first bad frame is in the last group;
//! - frames of an earlier lap have other salts, and a log grows ahead in zeros: neither counts;
//! - a process that is killed between write and sync leaves a group that others write over, from
//!   its first frame on. The rest keeps the salts, but is a chain that ends with its only C.
//!
//! So two C in one *chain* at or behind the first bad frame are damage. A chain is frames with the
//! log's salts, each with the checksum that follows from the stored one of the frame before. The
//! chain goes through the bad frame, too, if the next frame fits either its stored checksum (the
//! page is damaged) or the right one (the stored checksum is).
//!
//! The header of a log is synced before its first frame is written, and a device writes its sector
//! whole: a damaged header before a chain with a single C is damage, and SQLite would ignore all.
//!
//! Format: "WAL File Format" in SQLite's "Database File Format".

use std::io::{self, BufReader, Read};

use super::mark::Mark;

/// Bytes of the header of a log.
pub(super) const HEADER_BYTES: usize = 32;
/// Bytes of the header of a frame.
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// The magic number without its last bit.
const MAGIC: u32 = 0x377f_0682;
/// Sizes that a page can have.
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65_536;
/// How much is read at a time. 256 KiB: some hundred frames.
const BUFFER_BYTES: usize = 256 << 10;

/// The order of bytes in which numbers are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// This machine's.
    pub(super) const NATIVE: Self =
        if cfg!(target_endian = "big") { Self::Big } else { Self::Little };
}

/// A checksum, and where it continues from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum(pub(super) u32, pub(super) u32);

impl Sum {
    /// Of nothing.
    pub(super) const START: Self = Self(0, 0);

    /// The checksum of what was before and `bytes`, whose number is a multiple of 8.
    pub(super) fn over(self, order: Order, bytes: &[u8]) -> Self {
        let Self(mut one, mut two) = self;
        let number = |four: [u8; 4]| match order {
            Order::Little => u32::from_le_bytes(four),
            Order::Big => u32::from_be_bytes(four),
        };
        for &[a, b, c, d, e, f, g, h] in bytes.as_chunks().0 {
            one = one.wrapping_add(number([a, b, c, d])).wrapping_add(two);
            two = two.wrapping_add(number([e, f, g, h])).wrapping_add(one);
        }
        Self(one, two)
    }

    /// As a log stores it.
    fn stored(bytes: &[u8]) -> Self {
        Self(big(bytes, 0), big(bytes, 4))
    }
}

fn big(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The header of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// Too short for one, or in zeros: nothing was ever written.
    None,
    /// SQLite takes it.
    Good,
    /// SQLite would ignore the log.
    Damaged,
}

/// What was found in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) header: Header,
    pub(super) page_bytes: u32,
    pub(super) salts: [u8; 8],
    /// Good frames up to a commit: what SQLite recovers.
    pub(super) good: u32,
    /// Commits among them.
    pub(super) commits: u32,
    /// The first frame that is not good, from 1.
    pub(super) bad: u32,
    /// Checksum of the frame that was asked for, if it is good.
    pub(super) asked: Option<Sum>,
    /// Commits at or behind the first bad frame, with the log's salts: up to the frame that was
    /// asked for, or all.
    pub(super) behind: u32,
    /// The most commits of one chain at or behind the first bad frame.
    pub(super) chained: u32,
    /// Frames behind the first bad one that continue a chain.
    pub(super) links: u32,
    /// Marks of the file in good frames: the first and the last.
    pub(super) marks: Option<(Mark, Mark)>,
    /// The first mark behind the bad frame.
    pub(super) mark_behind: Option<Mark>,
}

/// Reads a log. `page_bytes` is what its file has, if that is known; `asked` a frame up to which
/// commits are counted, if there is one.
///
/// # Errors
/// If it cannot be read.
pub(super) fn scan(log: impl Read, page_bytes: Option<u32>, asked: Option<u32>) -> io::Result<Log> {
    let mut log = BufReader::with_capacity(BUFFER_BYTES, log);
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut log, &mut header)? {
        return Ok(Log::new(Header::None, 0, [0; 8]));
    }
    let mut scan = Scan::new(&header, page_bytes, asked);
    let mut frame = vec![0; FRAME_HEADER_BYTES + scan.log.page_bytes as usize];
    while fill(&mut log, &mut frame)? {
        scan.take(&frame);
    }
    if scan.log.header == Header::Damaged && header == [0; HEADER_BYTES] && scan.log.links == 0 {
        scan.log.header = Header::None;
    }
    Ok(scan.log)
}

/// False: there is not so much left.
fn fill(log: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        done => done.map(|()| true),
    }
}

impl Log {
    fn new(header: Header, page_bytes: u32, salts: [u8; 8]) -> Self {
        let (marks, mark_behind, asked) = (None, None, None);
        let (good, commits, bad, behind, chained, links) = (0, 0, 1, 0, 0, 0);
        Self {
            header,
            page_bytes,
            salts,
            good,
            commits,
            bad,
            asked,
            behind,
            chained,
            links,
            marks,
            mark_behind,
        }
    }
}

/// A frame in memory.
struct Frame<'a> {
    bytes: &'a [u8],
}

impl Frame<'_> {
    fn pgno(&self) -> u32 {
        big(self.bytes, 0)
    }

    fn commits(&self) -> bool {
        big(self.bytes, 4) != 0
    }

    fn salts(&self) -> &[u8] {
        &self.bytes[8..16]
    }

    fn stored(&self) -> Sum {
        Sum::stored(&self.bytes[16..24])
    }

    fn page(&self) -> &[u8] {
        &self.bytes[FRAME_HEADER_BYTES..]
    }

    /// The checksum that it should have after a frame with `before`.
    fn sum(&self, before: Sum, order: Order) -> Sum {
        before.over(order, &self.bytes[..8]).over(order, self.page())
    }

    /// Whether it would be good and end a group, if one bit of its page number or of its number of
    /// pages is another one.
    fn commits_but_for_a_bit(&self, before: Sum, order: Order) -> bool {
        (0..64).any(|bit| {
            let mut header = [0; 8];
            header.copy_from_slice(&self.bytes[..8]);
            header[bit / 8] ^= 1 << (bit % 8);
            let sum = before.over(order, &header).over(order, self.page());
            big(&header, 4) != 0 && sum == self.stored()
        })
    }
}

/// A log that is being read.
struct Scan {
    log: Log,
    order: Order,
    asked: Option<u32>,
    /// Number of the next frame.
    next: u32,
    /// Nothing bad was met.
    is_good: bool,
    /// Checksums that the next frame may follow: one, or at a damaged frame two.
    before: [Sum; 2],
    /// Salts of the frame before, behind a bad one.
    salts: [u8; 8],
    /// Commits of the chain that is going on.
    chain: u32,
    /// Marks since the last commit.
    pending: Option<(Mark, Mark)>,
}

impl Scan {
    fn new(header: &[u8; HEADER_BYTES], page_bytes: Option<u32>, asked: Option<u32>) -> Self {
        let magic = big(header, 0);
        let said = Some(big(header, 8))
            .filter(|bytes| bytes.is_power_of_two() && PAGE_BYTES.contains(bytes));
        let order = if magic & 1 == 1 { Order::Big } else { Order::Little };
        let (stored, right) = (Sum::stored(&header[24..]), Sum::START.over(order, &header[..24]));
        let is_good = magic & !1 == MAGIC && said.is_some() && stored == right;
        let salts = std::array::from_fn(|at| header[16 + at]);
        let state = if is_good { Header::Good } else { Header::Damaged };
        // What a damaged header says is believed last.
        let page_bytes = if is_good { said } else { page_bytes.or(said) };
        Self {
            log: Log::new(state, page_bytes.unwrap_or(*PAGE_BYTES.start()), salts),
            order: if is_good { order } else { Order::NATIVE },
            asked,
            next: 1,
            is_good,
            before: [stored, right],
            salts,
            chain: 0,
            pending: None,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let frame = Frame { bytes };
        if self.is_good {
            self.take_good(&frame);
        } else {
            self.take_behind(&frame);
        }
        self.next = self.next.saturating_add(1);
    }

    /// As SQLite does when it recovers a log.
    fn take_good(&mut self, frame: &Frame<'_>) {
        let sum = frame.sum(self.before[0], self.order);
        let fits = sum == frame.stored();
        if !fits || frame.salts() != self.log.salts || frame.pgno() == 0 {
            self.take_first_bad(frame, sum, fits);
            return;
        }
        self.log.bad = self.next.saturating_add(1);
        self.before = [sum; 2];
        if self.asked == Some(self.next) {
            self.log.asked = Some(sum);
        }
        if let Some(mark) = Mark::in_page(frame.page()) {
            let first = self.pending.map_or(mark, |(first, _)| first);
            self.pending = Some((first, mark));
        }
        if frame.commits() {
            self.log.good = self.next;
            self.log.commits += 1;
            if let Some((first, last)) = self.pending.take() {
                let first = self.log.marks.map_or(first, |(first, _)| first);
                self.log.marks = Some((first, last));
            }
        }
    }

    /// `right` is the checksum that it should have; `fits`: it has it, so its salts are damaged.
    fn take_first_bad(&mut self, frame: &Frame<'_>, right: Sum, fits: bool) {
        self.is_good = false;
        let before = std::mem::replace(&mut self.before, [frame.stored(), right])[0];
        self.salts = self.log.salts;
        if fits || frame.salts() == self.log.salts {
            let commits = frame.commits() || frame.commits_but_for_a_bit(before, self.order);
            self.note_behind(frame, commits);
        }
    }

    fn take_behind(&mut self, frame: &Frame<'_>) {
        let follows = |before: &Sum| frame.sum(*before, self.order) == frame.stored();
        // What the salts are is not known if the header is damaged.
        let is_of_log = match self.log.header {
            Header::Good => frame.salts() == self.log.salts,
            Header::Damaged | Header::None => self.next == 1 || frame.salts() == self.salts,
        };
        if is_of_log && self.before.iter().any(follows) {
            self.log.links += 1;
        } else {
            self.chain = 0;
        }
        self.before = [frame.stored(); 2];
        self.salts = std::array::from_fn(|at| frame.salts()[at]);
        if is_of_log {
            self.note_behind(frame, frame.commits());
        }
    }

    fn note_behind(&mut self, frame: &Frame<'_>, commits: bool) {
        if commits {
            self.chain += 1;
            self.log.chained = self.log.chained.max(self.chain);
            if self.asked.is_none_or(|asked| self.next <= asked) {
                self.log.behind += 1;
            }
        }
        if self.log.mark_behind.is_none() {
            self.log.mark_behind = Mark::in_page(frame.page());
        }
    }
}
