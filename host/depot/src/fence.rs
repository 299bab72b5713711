//! The fence and the head: the right to touch a database, as one value that the store compares.

use std::cmp::Ordering;

use crate::error::{HeadFenceMismatch, StoreError};
use crate::id::{ActorId, DbId, Generation, NameHash, NodeSession, PageCount, Token, Txid};

/// Names one owner of one database. Every fenced step carries it; the store compares it inside the
/// step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The database.
    pub db: DbId,
    /// The owner's generation.
    pub generation: Generation,
    /// The random value of the takeover attempt, or of the seal, that made the generation.
    pub token: Token,
}

/// The newest committed state of a database. The only truth about its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The owner, or the last one.
    pub fence: Fence,
    /// The host process of the owner; [`NodeSession::NOBODY`] for an heir.
    pub owner: NodeSession,
    /// The last commit.
    pub txid: Txid,
    /// Pages of the database as of `txid`.
    pub page_count: PageCount,
    /// Hash over the whole history up to `txid`.
    pub chain: [u8; 32],
    /// Whether the owner has ended: a sealed head has no owner.
    pub sealed: bool,
    /// How the database came to be.
    pub origin: Origin,
    /// The oldest state that is kept, as a commit's number: see [`crate::retention`].
    pub floor: Txid,
    /// For a fork: the base whose pages it reads where it has none of its own, and as of which
    /// commit. The fork's own commits count on from that one.
    pub base: Option<(DbId, Txid)>,
    /// The actor that the database belongs to.
    pub name: NameHash,
    /// The start of the chain.
    pub start: Start,
    /// Whether a commit has ever said something of the actor's due time. Programs that know no due
    /// work do not open the database from then on.
    pub due_work: bool,
}

impl Head {
    /// How a step that carries `fence`, and was built on the commit `txid`, stands with this head.
    #[must_use]
    pub fn check(&self, fence: &Fence, txid: Txid) -> Standing {
        self.owner_row().check(fence, txid)
    }

    /// Whether the attempt, or the seal, that drew `token` made the owner of this head of `db`.
    #[must_use]
    pub fn is_made_by(&self, db: DbId, token: Token) -> bool {
        self.fence.db == db && self.fence.token == token
    }

    /// Refuses a head that belongs to another actor, for drivers of stores.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn check_name(&self, actor: &ActorId) -> Result<(), StoreError> {
        if self.name == actor.name_hash() {
            return Ok(());
        }
        let what = format!(
            "database {} is {actor}'s by the directory and another's by its head",
            self.fence.db
        );
        Err(StoreError::Corrupt(what))
    }

    /// What steps are compared with, for drivers of stores.
    #[must_use]
    pub fn owner_row(&self) -> OwnerRow {
        OwnerRow { fence: self.fence, txid: self.txid, sealed: self.sealed }
    }

    /// Whether its owner was appointed by the seal of the generation before, and no process has
    /// reported yet that it runs it.
    #[must_use]
    pub fn is_heir(&self) -> bool {
        self.owner == NodeSession::NOBODY && !self.sealed
    }

    /// Whether the generation before ended in order and none is known to run: any process may take
    /// the database over, without asking whether another process lives.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.sealed || self.is_heir()
    }
}

/// The part of a head that a step is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerRow {
    /// The owner's fence.
    pub fence: Fence,
    /// The newest commit.
    pub txid: Txid,
    /// Whether the owner has ended.
    pub sealed: bool,
}

impl OwnerRow {
    /// See [`Head::check`].
    #[must_use]
    pub fn check(&self, fence: &Fence, txid: Txid) -> Standing {
        let mismatch = self.mismatch(fence, txid);
        if self.fence != *fence {
            return Standing::Replaced(mismatch);
        }
        match self.txid.cmp(&txid) {
            _ if self.sealed => Standing::Sealed(mismatch),
            Ordering::Less => Standing::Behind(mismatch),
            Ordering::Equal => Standing::Current,
            Ordering::Greater => Standing::Ahead(mismatch),
        }
    }

    /// The facts of a step that failed on this head.
    #[must_use]
    pub fn mismatch(&self, fence: &Fence, txid: Txid) -> HeadFenceMismatch {
        HeadFenceMismatch {
            db: fence.db,
            expected: (fence.generation, fence.token),
            expected_txid: txid,
            actual: (self.fence.generation, self.fence.token),
            actual_txid: self.txid,
            sealed: self.sealed,
        }
    }
}

/// How a step stands with a head: by its fence first, then by the commit that it was built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The fence holds, and the head is at that commit.
    Current,
    /// The fence holds, and the head has a later commit.
    Ahead(HeadFenceMismatch),
    /// The fence holds, and the head has lost the commit.
    Behind(HeadFenceMismatch),
    /// The fence was the last owner's, and that owner has ended.
    Sealed(HeadFenceMismatch),
    /// The head names another owner.
    Replaced(HeadFenceMismatch),
}

impl Standing {
    /// The condition of a step that moves the head.
    ///
    /// # Errors
    /// Anything but [`Standing::Current`].
    pub fn at(self) -> Result<(), HeadFenceMismatch> {
        match self {
            Self::Current => Ok(()),
            Self::Ahead(mismatch)
            | Self::Behind(mismatch)
            | Self::Sealed(mismatch)
            | Self::Replaced(mismatch) => Err(mismatch),
        }
    }

    /// The condition of a step that reads as of the commit.
    ///
    /// # Errors
    /// The fence does not hold, or the head has lost the commit.
    pub fn at_or_after(self) -> Result<(), HeadFenceMismatch> {
        match self {
            Self::Ahead(_) => Ok(()),
            other => other.at(),
        }
    }

    /// Why the fence does not hold; `None` if it does, whatever the commit.
    #[must_use]
    pub fn lost(self) -> Option<HeadFenceMismatch> {
        match self {
            Self::Current | Self::Ahead(_) | Self::Behind(_) => None,
            Self::Sealed(mismatch) | Self::Replaced(mismatch) => Some(mismatch),
        }
    }
}

#[cfg(test)]
impl Head {
    /// The head of an unsealed database with one page, for unit tests.
    pub(crate) fn sample(fence: Fence, txid: Txid) -> Self {
        Self {
            fence,
            owner: NodeSession([9; 16]),
            txid,
            page_count: PageCount(1),
            chain: [0; 32],
            sealed: false,
            origin: Origin::Native,
            floor: Txid(0),
            base: None,
            name: NameHash([0; 16]),
            start: Start::Name,
            due_work: false,
        }
    }
}

/// The start of a database's chain: see [`crate::chain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Zeros: made before databases were bound to their names.
    Zeros,
    /// A hash of the database's name and id.
    Name,
}

/// The origin of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Made empty by `create`.
    Native,
    /// An import that has not finished: cannot be opened.
    Importing,
    /// A finished import.
    Imported,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Shard;

    fn fence(generation: u64, token: u8) -> Fence {
        let db = DbId::new(Shard(0), [1; 15]);
        Fence { db, generation: Generation(generation), token: Token([token; 16]) }
    }

    #[test]
    fn the_fence_comes_first_then_the_seal_then_the_commit() {
        let mine = fence(3, 7);
        let mut row = OwnerRow { fence: mine, txid: Txid(5), sealed: false };
        let names = |row: &OwnerRow, fence: &Fence, txid| match row.check(fence, Txid(txid)) {
            Standing::Current => "current",
            Standing::Ahead(_) => "ahead",
            Standing::Behind(_) => "behind",
            Standing::Sealed(_) => "sealed",
            Standing::Replaced(_) => "replaced",
        };
        let of = |row: &OwnerRow| [4, 5, 6].map(|txid| names(row, &mine, txid));
        assert_eq!(of(&row), ["ahead", "current", "behind"]);
        for other in [fence(4, 7), fence(3, 8)] {
            assert_eq!(names(&row, &other, 5), "replaced");
        }
        row.sealed = true;
        assert_eq!(of(&row), ["sealed"; 3]);
        assert_eq!(names(&row, &fence(4, 7), 5), "replaced");
    }

    #[test]
    fn a_read_allows_a_later_commit_and_a_step_that_moves_the_head_does_not() {
        let row = OwnerRow { fence: fence(3, 7), txid: Txid(5), sealed: false };
        let at = |txid| row.check(&fence(3, 7), Txid(txid));
        assert_eq!([4, 5, 6].map(|txid| at(txid).at().is_ok()), [false, true, false]);
        assert_eq!([4, 5, 6].map(|txid| at(txid).at_or_after().is_ok()), [true, true, false]);
        assert_eq!([4, 5, 6].map(|txid| at(txid).lost()), [None; 3]);
    }
}
