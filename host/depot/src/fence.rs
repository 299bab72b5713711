//! The fence and the head: who may touch a database, as one value that the store compares.

use crate::id::{DbId, Generation, NameHash, NodeSession, PageCount, Token, Txid};

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

/// The newest committed state of a database. The only truth about who owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Who owns it, or owned it last.
    pub fence: Fence,
    /// The host process of the owner; [`NodeSession::NOBODY`] of an heir.
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
    /// Of a fork: whose pages it reads where it has none of its own, and as of which commit. Its
    /// own commits count on from that one.
    pub base: Option<(DbId, Txid)>,
    /// Whose database it is.
    pub name: NameHash,
    /// What its chain starts from.
    pub start: Start,
}

impl Head {
    /// Whether its owner was appointed by the seal of the generation before, and no process has told
    /// yet that it runs it.
    #[must_use]
    pub fn is_heir(&self) -> bool {
        self.owner == NodeSession::NOBODY && !self.sealed
    }

    /// Whether the generation before ended in order and none is known to run: whoever wants the
    /// database may take it over, without asking whether a process lives.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.sealed || self.is_heir()
    }
}

#[cfg(test)]
impl Head {
    /// Of a database with one page that nobody has sealed, for unit tests.
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
        }
    }
}

/// What the chain of a database starts from: see [`crate::chain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Zeros: made before databases were bound to their names.
    Zeros,
    /// A hash of the database's name and id.
    Name,
}

/// How a database came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Made empty by `create`.
    Native,
    /// An import that has not finished: cannot be opened.
    Importing,
    /// A finished import.
    Imported,
}
