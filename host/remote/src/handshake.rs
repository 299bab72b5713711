//! What two programs agree on before the first step: a version, and that both compare whole fences.
//!
//! ```text
//! client  Hello { terms, token } ──>  server: may it speak? agree(own, theirs)
//!         Accepted { version, terms, shards }  or  Refusal { code, reason }
//!         agree(own, theirs), the same version?  or  Leave(Refusal)
//! ```
//! Invariant: both sides come to the same version by the same function, or one of them says why not,
//! and both log it.
//!
//! ```text
//! version 1   steps, answers, errors
//! version 2   a request says how long its caller waits; a reply says whether the store has room
//! version 3   an error says that a shard is kept elsewhere
//! version 4   commits carry the due times of actors; steps look for them and rewrite them
//! ```

use std::fmt;

use crate::limits::TEXT_BYTES_MAX;
use crate::proto;

/// The newest version that this program speaks.
pub const NEWEST_VERSION: u32 = 4;
/// The oldest one.
pub(crate) const OLDEST_VERSION: u32 = 1;
/// From this version on requests say how long their callers wait.
pub(crate) const WAIT_SINCE: u32 = 2;
/// From this version on replies say whether the store has room.
pub(crate) const FULL_SINCE: u32 = 2;
/// From this version on a client reads that a shard is kept elsewhere.
pub(crate) const ELSEWHERE_SINCE: u32 = 3;
/// From this version on the due times of actors are kept.
pub(crate) const DUE_SINCE: u32 = 4;

/// The fence fields that each side must send and compare. A program without one of them would let an
/// old owner write.
pub const FENCE_FIELDS: [&str; 4] = ["fence.db", "fence.generation", "fence.token", "base.txid"];

/// Most entries of a list of terms that are looked at.
const TERMS_MAX: usize = 64;

/// What a program can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Versions that it speaks.
    pub versions: Vec<u32>,
    /// Fence fields that it sends and compares.
    pub carries: Vec<String>,
    /// The version of the program.
    pub program: String,
}

impl Terms {
    /// Those of this program.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            versions: (OLDEST_VERSION..=NEWEST_VERSION).collect(),
            carries: FENCE_FIELDS.map(str::to_owned).to_vec(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The newest version that both sides speak.
    pub(crate) fn agree(&self, theirs: &Self) -> Result<u32, Refusal> {
        for (terms, other) in [(theirs, self), (self, theirs)] {
            let lacks = |field: &&&str| !terms.carries.iter().any(|carried| carried == **field);
            if let Some(field) = FENCE_FIELDS.iter().find(lacks) {
                let (program, other) = (shown(&terms.program), shown(&other.program));
                return Err(Refusal::new(
                    RefusalCode::Fence,
                    &format!(
                        "program {program} does not carry {field}, without which an old owner could \
                         write; program {other} needs it"
                    ),
                ));
            }
        }
        let both = |version: &&u32| theirs.versions.contains(version);
        self.versions.iter().filter(both).max().copied().ok_or_else(|| {
            Refusal::new(
                RefusalCode::Version,
                &format!(
                    "no version of the store protocol in common: program {} speaks {}, program {} \
                     speaks {}",
                    shown(&self.program),
                    list(&self.versions),
                    shown(&theirs.program),
                    list(&theirs.versions)
                ),
            )
        })
    }

    pub(crate) fn put(&self) -> proto::Terms {
        let Self { versions, carries, program } = self.clone();
        proto::Terms { versions, carries, program }
    }

    /// Terms that another program sent; `None`: none, or far too many.
    pub(crate) fn take(sent: Option<proto::Terms>) -> Option<Self> {
        let proto::Terms { versions, carries, program } = sent?;
        let few = versions.len() <= TERMS_MAX && carries.len() <= TERMS_MAX;
        few.then_some(Self { versions, carries, program })
    }
}

fn list(versions: &[u32]) -> String {
    versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// A text of another program, as it is logged: bounded, and on one line.
pub(crate) fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut kept = String::new();
    for c in plain {
        if kept.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        kept.push(c);
    }
    kept
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    /// No version in common.
    Version,
    /// A side does not carry whole fences.
    Fence,
    /// The client is not allowed to speak.
    Access,
    /// The store is another one than it was before.
    Shards,
    /// The greeting cannot be read, or the code is of a later program.
    Malformed,
}

/// Why one side does not speak with the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it is about.
    pub code: RefusalCode,
    /// In words, for people on both sides.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Refusal {
    pub(crate) fn new(code: RefusalCode, reason: &str) -> Self {
        Self { code, reason: shown(reason) }
    }

    pub(crate) fn put(&self) -> proto::Refusal {
        let code = match self.code {
            RefusalCode::Version => proto::RefusalCode::Version,
            RefusalCode::Fence => proto::RefusalCode::Fence,
            RefusalCode::Access => proto::RefusalCode::Access,
            RefusalCode::Shards => proto::RefusalCode::Shards,
            RefusalCode::Malformed => proto::RefusalCode::Malformed,
        };
        proto::Refusal { code: code.into(), reason: self.reason.clone() }
    }

    pub(crate) fn take(sent: &proto::Refusal) -> Self {
        let code = match proto::RefusalCode::try_from(sent.code) {
            Ok(proto::RefusalCode::Version) => RefusalCode::Version,
            Ok(proto::RefusalCode::Fence) => RefusalCode::Fence,
            Ok(proto::RefusalCode::Access) => RefusalCode::Access,
            Ok(proto::RefusalCode::Shards) => RefusalCode::Shards,
            Ok(proto::RefusalCode::Malformed | proto::RefusalCode::Unspecified) | Err(_) => {
                RefusalCode::Malformed
            }
        };
        Self::new(code, &sent.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(versions: &[u32]) -> Terms {
        Terms { versions: versions.to_vec(), ..Terms::ours() }
    }

    #[test]
    fn the_newest_version_of_both_is_chosen() {
        for (ours, theirs, agreed) in [
            (&[1, 2][..], &[1, 2][..], Some(2)),
            (&[1, 2], &[1], Some(1)),
            (&[1], &[1, 2], Some(1)),
            (&[2, 3], &[1, 2, 3, 4], Some(3)),
            (&[1], &[2, 3], None),
            (&[1], &[], None),
        ] {
            let found = terms(ours).agree(&terms(theirs));
            assert_eq!(found.as_ref().ok().copied(), agreed, "{found:?}");
            let back = terms(theirs).agree(&terms(ours));
            assert_eq!(back.ok(), agreed, "both sides agree");
            if let Err(refusal) = found {
                assert_eq!(refusal.code, RefusalCode::Version);
                assert!(refusal.reason.contains("speaks 1,"), "{refusal}");
            }
        }
    }

    #[test]
    fn a_side_without_a_fence_field_is_refused_by_both() {
        for missing in FENCE_FIELDS {
            let mut theirs = Terms::ours();
            theirs.carries.retain(|field| field != missing);
            for refusal in [Terms::ours().agree(&theirs), theirs.agree(&Terms::ours())] {
                let refusal = refusal.expect_err("refused");
                assert_eq!(refusal.code, RefusalCode::Fence);
                assert!(refusal.reason.contains(missing), "{refusal}");
            }
        }
    }

    #[test]
    fn texts_of_others_are_bounded_and_on_one_line() {
        assert_eq!(shown("a\nb\u{7}c"), "a b c");
        assert_eq!(shown(&"é".repeat(10_000)).len(), TEXT_BYTES_MAX);
    }
}
