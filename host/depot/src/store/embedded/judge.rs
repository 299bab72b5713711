//! What a log, its index and its file together prove.
//!
//! ```text
//! index   names frames that were durable in the log it is of: fewer good ones are damage, exactly
//!         (of the same boot: also if the log is another one, or none)
//! chains  without an index: two commits in one chain behind the first bad frame
//! marks   file at epoch 6 ── log ── 7, 8, 9      the log begins one above its file at most,
//!         file at epoch 8 ── log ── 7, 8, 9      and the file is nowhere beyond its log
//! ```
//!
//! A checkpoint copies pages of a log into the file while the log grows, so the file's epoch lies
//! between that of the lap's beginning and the log's last. Outside of it the two do not belong
//! together: an older copy of one of them was put back, or another file's.

use super::index::Index;
use super::log::{Header, Log};
use super::mark::{Mark, Which};

/// Everything that was looked at of one file.
pub(super) struct Evidence<'a> {
    pub(super) which: Which,
    pub(super) log: &'a Log,
    pub(super) index: Option<&'a Index>,
    /// The machine has not stopped since the index was written.
    pub(super) same_boot: bool,
    /// Page size of the file, if it has pages.
    pub(super) page_bytes: Option<u32>,
    /// Mark of the file without its log.
    pub(super) bare: Option<Mark>,
}

/// What it proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is known to be lost.
    Sound,
    /// Something was durable and is not there.
    Damaged(Damage),
    /// The log is not this file's. Pages of the two would be mixed.
    Foreign(String),
}

/// What is known of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// The first bad frame; 0 is the header.
    pub(super) frame: u32,
    /// Commits at or behind it; the least if there is no telling.
    pub(super) commits: u32,
    /// Nothing of the log lies behind, but its index names so many durable frames.
    pub(super) cut: Option<u32>,
    /// What stands in the file without its log.
    pub(super) file: Bare,
}

/// How far a file without its log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bare {
    /// To the beginning of the log, or nothing else is known: the good part of the log continues
    /// it.
    Before,
    /// Beyond the good part of the log: with that part on top it would be mixed.
    Beyond,
    /// To the end of the log: nothing is lost without it.
    Whole,
}

/// Judges the log of one file.
pub(super) fn judge(evidence: &Evidence<'_>) -> Verdict {
    if let Some(why) = strange(evidence) {
        return Verdict::Foreign(why);
    }
    if let Some(damage) = damage(evidence) {
        return Verdict::Damaged(damage);
    }
    match (evidence.bare, evidence.log.marks) {
        (Some(bare), Some((_, last))) if bare.epoch > last.epoch => Verdict::Foreign(format!(
            "it ends at epoch {} and its file is at {}: an older log was put back",
            last.epoch, bare.epoch
        )),
        _ => Verdict::Sound,
    }
}

/// Why the log cannot be of this file.
fn strange(evidence: &Evidence<'_>) -> Option<String> {
    let Evidence { log, index, bare, page_bytes, .. } = evidence;
    if log.header != Header::Good {
        return None;
    }
    if let Some(bytes) = page_bytes.filter(|bytes| *bytes != log.page_bytes) {
        return Some(format!("its pages have {} bytes and its file's {bytes}", log.page_bytes));
    }
    let expected = (evidence.which, bare.map(|bare| bare.store));
    if let Some((first, last)) = log.marks {
        if let Some(why) = [first, last].into_iter().find_map(|of| of.strange_to(expected)) {
            return Some(why);
        }
        if let Some(bare) = bare.filter(|bare| first.epoch > bare.epoch.saturating_add(1)) {
            return Some(format!(
                "it begins at epoch {} and its file is at {}: an older file was put back",
                first.epoch, bare.epoch
            ));
        }
    }
    let index = index.filter(|_| evidence.same_boot)?;
    is_another(log, index).then(|| {
        "its index names another log; if file and log are from one backup, remove the -shm file"
            .to_owned()
    })
}

/// Whether the log is not the one that the index, of the same boot, is of. Only an index without
/// frames may have other salts: the first group of a log that starts over is written before the
/// index names it, and before that the old log is still there, whose first salt is one less.
fn is_another(log: &Log, index: &Index) -> bool {
    let first = |salts: [u8; 8]| u32::from_be_bytes([salts[0], salts[1], salts[2], salts[3]]);
    let is_next = first(index.salts) == first(log.salts).wrapping_add(1);
    index.salts != log.salts && (index.frames > 0 || (!is_next && log.commits > 1))
}

fn damage(evidence: &Evidence<'_>) -> Option<Damage> {
    let Evidence { log, same_boot, .. } = evidence;
    let of_boot = evidence.index.filter(|_| *same_boot);
    if log.header != Header::Good {
        let is_ignored = log.header == Header::Damaged && log.links > 0 && log.chained > 0;
        let claims = of_boot.is_some_and(Index::claims);
        return (is_ignored || claims).then(|| Damage {
            frame: 0,
            commits: log.chained.max(1),
            cut: of_boot.filter(|_| log.chained == 0).map(|index| index.frames),
            file: bare(evidence, of_boot),
        });
    }
    let index = evidence.index.filter(|index| index.salts == log.salts);
    if let Some(index) = index.filter(|index| index.frames > 0) {
        // Also if there are as many good frames, but others.
        if log.asked == Some(index.sum) && log.good >= index.frames {
            return if *same_boot { None } else { chained(evidence) };
        }
        return Some(Damage {
            frame: log.bad,
            commits: log.behind.max(1),
            cut: (log.behind == 0).then_some(index.frames),
            file: bare(evidence, of_boot),
        });
    }
    chained(evidence)
}

/// Damage that the log itself proves.
fn chained(evidence: &Evidence<'_>) -> Option<Damage> {
    let log = evidence.log;
    (log.chained >= 2).then(|| Damage {
        frame: log.bad,
        commits: log.chained,
        cut: None,
        file: bare(evidence, None),
    })
}

/// How far the file is beside a damaged log. `index` is of this log and of this boot.
fn bare(evidence: &Evidence<'_>, index: Option<&Index>) -> Bare {
    let log = evidence.log;
    let good = if log.header == Header::Good { log.good } else { 0 };
    match index {
        Some(index) if index.frames > 0 && index.copied == index.frames => return Bare::Whole,
        Some(index) if index.tried > good => return Bare::Beyond,
        Some(_) | None => {}
    }
    let Some(bare) = evidence.bare else { return Bare::Before };
    let beyond_good = log.marks.is_some_and(|(_, last)| bare.epoch > last.epoch);
    let into_lost = log.mark_behind.is_some_and(|mark| bare.epoch >= mark.epoch);
    if beyond_good || into_lost { Bare::Beyond } else { Bare::Before }
}

#[cfg(test)]
mod tests;
