//! Logs as SQLite writes them, with all that processes and machines that stop leave in them: never
//! refused. The same with one flipped bit, or cut: refused.

use super::*;
use crate::store::embedded::index::Index;
use crate::store::embedded::log::{self, Order, Sum};

/// The smallest page: a frame is 536 bytes, so its header lies across sectors now and then.
const PAGE: usize = 512;
const FRAME: usize = 24 + PAGE;
const SECTOR: usize = 512;

/// Chance from a seed: SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }

    fn of_usize(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap()
    }
}

/// A log and what its writers know.
struct Disk {
    bytes: Vec<u8>,
    dice: Dice,
    salts: [u8; 8],
    /// Frames that count, and the checksum of the last.
    frames: usize,
    sum: Sum,
    /// Where the groups of this lap end.
    ends: Vec<usize>,
}

impl Disk {
    fn new(seed: u64) -> Self {
        let dice = Dice(seed);
        let (sum, salts) = (Sum::START, [1; 8]);
        let mut disk = Self { bytes: Vec::new(), dice, salts, frames: 0, sum, ends: Vec::new() };
        disk.start_over();
        disk
    }

    /// The next lap: everything is in the file.
    fn start_over(&mut self) {
        let first = u32::from_be_bytes(self.salts[..4].try_into().unwrap()) + 1;
        self.salts[..4].copy_from_slice(&first.to_be_bytes());
        let chance = self.dice.below(1 << 32).to_be_bytes();
        self.salts[4..].copy_from_slice(&chance[4..]);
        let mut header = Vec::new();
        let magic = 0x377f_0682 | u32::from(Order::NATIVE == Order::Big);
        for number in [magic, 3_007_000, u32::try_from(PAGE).unwrap(), 0] {
            header.extend(number.to_be_bytes());
        }
        header.extend(self.salts);
        self.sum = Sum::START.over(Order::NATIVE, &header);
        header.extend(self.sum.0.to_be_bytes());
        header.extend(self.sum.1.to_be_bytes());
        self.write(0, &header);
        (self.frames, self.ends) = (0, Vec::new());
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        if self.bytes.len() < at + bytes.len() {
            // It grows ahead in zeros.
            self.bytes.resize(at + bytes.len() + 3_000, 0);
        }
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The bytes of a group behind what counts, and the checksum after it.
    fn group(&mut self) -> (Vec<u8>, Sum, usize) {
        let frames = 1 + self.dice.of_usize(5);
        let (mut bytes, mut sum) = (Vec::new(), self.sum);
        for frame in 1..=frames {
            // Few pages: frames of different laps may have the same header.
            let pgno = u32::try_from(1 + self.dice.below(3)).unwrap();
            let commit = if frame == frames { 1 << self.dice.below(6) } else { 0_u32 };
            let mut header = [pgno.to_be_bytes(), commit.to_be_bytes()].concat();
            let fill = u8::try_from(self.dice.below(3)).unwrap();
            let page = vec![fill; PAGE];
            sum = sum.over(Order::NATIVE, &header).over(Order::NATIVE, &page);
            header.extend(self.salts);
            header.extend(sum.0.to_be_bytes());
            header.extend(sum.1.to_be_bytes());
            bytes.extend(header);
            bytes.extend(page);
        }
        (bytes, sum, frames)
    }

    fn end(&self) -> usize {
        log::HEADER_BYTES + self.frames * FRAME
    }

    /// A group that is synced.
    fn commit(&mut self) {
        let (bytes, sum, frames) = self.group();
        self.write(self.end(), &bytes);
        (self.sum, self.frames) = (sum, self.frames + frames);
        self.ends.push(self.frames);
    }

    /// A process is killed before it publishes its group; another one writes on.
    fn killed(&mut self) {
        let (bytes, ..) = self.group();
        let written = bytes.len().min(self.dice.of_usize(2 * bytes.len()));
        self.write(self.end(), &bytes[..written]);
    }

    /// The machine stops while a group is being written: any of its sectors are there.
    fn torn(&mut self) {
        let (bytes, ..) = self.group();
        let (mut at, start) = (0, self.end());
        let of_four = 1 + self.dice.below(4);
        while at < bytes.len() {
            let next = bytes.len().min(at + SECTOR - (start + at) % SECTOR);
            if self.dice.below(4) < of_four {
                self.write(start + at, &bytes[at..next]);
            }
            at = next;
        }
    }

    /// Some laps of everything. Ends with a lap of several groups.
    fn run(&mut self) {
        for _ in 0..self.dice.below(3) {
            for _ in 0..1 + self.dice.below(12) {
                if self.dice.below(4) == 0 {
                    self.killed();
                }
                self.commit();
            }
            self.start_over();
        }
        for _ in 0..2 + self.dice.below(8) {
            if self.dice.below(3) == 0 {
                self.killed();
            }
            self.commit();
        }
    }

    /// The index as it is after the first `groups` of the lap.
    fn index(&self) -> Index {
        let frames = u32::try_from(self.frames).unwrap();
        Index { frames, sum: self.sum, salts: self.salts, copied: 0, tried: 0 }
    }
}

fn verdict(bytes: &[u8], index: Option<&Index>, same_boot: bool) -> Verdict {
    let page_bytes = Some(u32::try_from(PAGE).unwrap());
    let log = log::scan(bytes, page_bytes, index.map(|index| index.frames)).unwrap();
    let which = Which::shard(0);
    judge(&Evidence { which, log: &log, index, same_boot, page_bytes, bare: None })
}

#[test]
fn what_crashes_leave_is_never_refused() {
    for seed in 0..3_000 {
        let mut disk = Disk::new(seed);
        disk.run();
        let index = disk.index();
        match disk.dice.below(3) {
            0 => disk.killed(),
            1 => disk.torn(),
            _ => {}
        }
        for (index, same_boot) in
            [(None, false), (None, true), (Some(&index), false), (Some(&index), true)]
        {
            assert_eq!(verdict(&disk.bytes, index, same_boot), Verdict::Sound, "seed {seed}");
        }
        // An index of an earlier lap, which a machine finds that has stopped.
        disk.start_over();
        disk.commit();
        assert_eq!(verdict(&disk.bytes, Some(&index), false), Verdict::Sound, "seed {seed}");
    }
}

#[test]
fn any_flip_before_the_last_group_is_seen() {
    for seed in 0..3_000 {
        let mut disk = Disk::new(seed);
        disk.run();
        let index = disk.index();
        let last = disk.ends[disk.ends.len() - 2];
        let at = match disk.dice.below(3) {
            0 => disk.dice.of_usize(log::HEADER_BYTES),
            // Headers of frames, those that end a group among them.
            1 => log::HEADER_BYTES + disk.dice.of_usize(last) * FRAME + disk.dice.of_usize(24),
            _ => disk.dice.of_usize(log::HEADER_BYTES + last * FRAME),
        };
        disk.bytes[at] ^= 1 << disk.dice.below(8);
        for (index, same_boot) in [(None, true), (Some(&index), false), (Some(&index), true)] {
            let found = verdict(&disk.bytes, index, same_boot);
            let Verdict::Damaged(damage) = found else { panic!("seed {seed} at {at}: {found:?}") };
            let frame = at.checked_sub(log::HEADER_BYTES).map_or(0, |at| at / FRAME + 1);
            assert_eq!(damage.frame as usize, frame, "seed {seed} at {at}");
            assert!(damage.commits > 0 && damage.cut.is_none(), "{damage:?}");
        }
    }
}

#[test]
fn with_the_index_any_flip_and_any_cut_is_seen() {
    for seed in 0..3_000 {
        let mut disk = Disk::new(seed);
        disk.run();
        let index = disk.index();
        let (at, end) = (disk.dice.of_usize(disk.end()), disk.end());
        let mut flipped = disk.bytes.clone();
        flipped[at] ^= 1 << disk.dice.below(8);
        let header = at < log::HEADER_BYTES;
        for same_boot in [true, false] {
            let found = verdict(&flipped, Some(&index), same_boot);
            assert!(matches!(found, Verdict::Damaged(_)), "seed {seed} at {at}: {found:?}");
            let found = verdict(&disk.bytes[..at], Some(&index), same_boot);
            let due = if header && !same_boot { 0 } else { index.frames };
            match found {
                Verdict::Damaged(damage) => assert_eq!(damage.cut, Some(due), "seed {seed}"),
                // An empty log is what an orderly close leaves, and its index may be from before.
                found => assert!(found == Verdict::Sound && due == 0, "seed {seed}: {found:?}"),
            }
        }
        assert!(end <= disk.bytes.len());
    }
}

/// An index is written after the group that it names. Before the first group of a lap it names
/// nothing, and has the salts of that lap already or those that it had before.
#[test]
fn only_an_index_without_frames_may_be_of_another_lap() {
    let mut disk = Disk::new(7);
    disk.run();
    let (old, bytes) = (disk.index(), disk.bytes.clone());
    disk.start_over();
    let next = disk.index();
    assert_eq!(verdict(&bytes, Some(&next), true), Verdict::Sound, "nothing of it is written yet");
    let unknown = Index { frames: 0, salts: [9; 8], ..old };
    disk.commit();
    assert_eq!(verdict(&disk.bytes, Some(&unknown), true), Verdict::Sound, "not named yet");
    disk.commit();
    for (bytes, index) in [(&bytes, &unknown), (&disk.bytes, &unknown), (&disk.bytes, &old)] {
        let found = verdict(bytes, Some(index), true);
        assert!(
            matches!(&found, Verdict::Foreign(why) if why.contains("another log")),
            "{found:?}"
        );
        assert_eq!(verdict(bytes, Some(index), false), Verdict::Sound, "of another boot");
    }
}

fn mark(epoch: u64) -> Mark {
    Mark { store: [1; 16], which: Which::shard(0), epoch }
}

#[test]
fn a_file_and_its_log_meet() {
    let mut disk = Disk::new(0);
    disk.run();
    let mut log = log::scan(&disk.bytes[..], None, None).unwrap();
    let page_bytes = Some(u32::try_from(PAGE).unwrap());
    let mut check = |first, last, bare: Option<u64>| {
        log.marks = Some((mark(first), mark(last)));
        let bare = bare.map(mark);
        let (which, index) = (Which::shard(0), None);
        judge(&Evidence { which, log: &log, index, same_boot: true, page_bytes, bare })
    };
    for bare in [None, Some(6), Some(7), Some(9)] {
        assert_eq!(check(7, 9, bare), Verdict::Sound, "{bare:?}");
    }
    for (bare, why) in [(5, "an older file"), (10, "an older log")] {
        let found = check(7, 9, Some(bare));
        assert!(matches!(&found, Verdict::Foreign(said) if said.contains(why)), "{found:?}");
    }
}
