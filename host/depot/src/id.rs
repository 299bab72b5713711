//! Names and numbers of the depot, one type each, so that none can stand in for another.

use std::fmt;

/// A number that the store counts upward.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// One life of an actor. The store assigns generations, which only rise; the first is 1.
    Generation(u64)
}
counter! {
    /// Number of a depot commit, +1 each. 0 is the empty database that `create` makes.
    Txid(u64)
}
counter! {
    /// Number of a database page, counted from 1 as SQLite does.
    Pgno(u32)
}
counter! {
    /// How many pages a database has.
    PageCount(u32)
}
counter! {
    /// The part of a store that holds all rows of an actor.
    Shard(u8)
}

impl Shard {
    /// The shards of a store that has `count` of them, 256 at most.
    pub fn all(count: u16) -> impl Iterator<Item = Self> {
        (0..=u8::MAX).take(count.into()).map(Self)
    }
}

impl Generation {
    /// The generation that a takeover of this one makes, or its seal.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The generation that this one was made from; zero, which is none, of the first.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl Txid {
    /// The number of the commit that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Sixteen bytes, random or a hash, that print as hex.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

random_id! {
    /// The random mark of the rows that one attempt at a large commit stages: one per attempt, so
    /// that rows of an abandoned attempt never pass for another's.
    StageId
}
random_id! {
    /// One history line of one database: random, never reused. The first byte is its shard.
    DbId
}
random_id! {
    /// Written into the head by one takeover attempt, or by one seal: identifies the owner of
    /// a generation.
    Token
}
random_id! {
    /// Hash of the kind and the key that a database belongs to: BLAKE3("stockade name 1" | length
    /// of the kind u32 | kind | key), cut to 16 bytes; the length is little-endian.
    NameHash
}
random_id! {
    /// One run of one host process.
    NodeSession
}

impl NodeSession {
    /// No process: the owner of an heir that no process has claimed yet.
    pub const NOBODY: Self = Self([0; 16]);

    /// How much this process is preferred for the work of a shard: the one with the highest number is, and
    /// every process computes the same. The first 8 bytes of BLAKE3("stockade shard 1" | session | shard),
    /// little-endian.
    #[must_use]
    pub fn weight(self, shard: Shard) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"stockade shard 1").update(&self.0).update(&[shard.0]);
        let mut weight = [0; 8];
        weight.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(weight)
    }
}

impl DbId {
    /// An id in `shard` from fifteen random bytes.
    #[must_use]
    pub fn new(shard: Shard, random: [u8; 15]) -> Self {
        let mut bytes = [0; 16];
        bytes[0] = shard.0;
        bytes[1..].copy_from_slice(&random);
        Self(bytes)
    }

    /// The shard that holds every row of this database.
    #[must_use]
    pub fn shard(self) -> Shard {
        Shard(self.0[0])
    }
}

/// SHA-256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The address of an actor: a kind (its component) and a key (its name within the kind).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId {
    kind: String,
    key: String,
}

/// Why a kind or a key cannot name an actor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidActorId {
    /// The kind is empty, too long, or has other characters than `a-z 0-9 - _`.
    #[error(
        "kind {0:?} must be 1 to 64 characters of a-z, 0-9, '-' or '_', starting with a letter"
    )]
    Kind(String),
    /// The key is empty, too long, or has control characters.
    #[error("key must be 1 to 256 bytes of UTF-8 without control characters; got {bytes} bytes")]
    Key {
        /// Length of the refused key.
        bytes: usize,
    },
    /// The key is what URLs use to go up a folder.
    #[error("key {0:?} cannot be reached: clients take it for a part of the path; choose another")]
    DotSegment(String),
}

impl ActorId {
    /// Longest kind, in bytes. It is a path segment, a table key and a log field.
    pub const KIND_BYTES_MAX: usize = 64;
    /// Longest key, in bytes: room for a path or two UUIDs, small enough for an index row.
    pub const KEY_BYTES_MAX: usize = 256;

    /// Checks both names of an actor that may be made.
    ///
    /// # Errors
    /// `InvalidActorId` tells which name is wrong and what is allowed.
    pub fn new(kind: &str, key: &str) -> Result<Self, InvalidActorId> {
        if matches!(key, "." | "..") {
            return Err(InvalidActorId::DotSegment(key.to_owned()));
        }
        Self::existing(kind, key)
    }

    /// The same for an actor that may be there: earlier programs made some with the keys `.` and
    /// `..`.
    ///
    /// # Errors
    /// As [`ActorId::new`].
    pub fn existing(kind: &str, key: &str) -> Result<Self, InvalidActorId> {
        if !Self::kind_is_valid(kind) {
            return Err(InvalidActorId::Kind(kind.chars().take(80).collect()));
        }
        if key.is_empty() || key.len() > Self::KEY_BYTES_MAX || key.chars().any(char::is_control) {
            return Err(InvalidActorId::Key { bytes: key.len() });
        }
        Ok(Self { kind: kind.to_owned(), key: key.to_owned() })
    }

    /// Whether `kind` can name a kind.
    #[must_use]
    pub fn kind_is_valid(kind: &str) -> bool {
        kind.len() <= Self::KIND_BYTES_MAX
            && kind.starts_with(|c: char| c.is_ascii_lowercase())
            && kind.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    }

    /// Which component.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Which one of its kind.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What binds a database to this name.
    #[must_use]
    pub fn name_hash(&self) -> NameHash {
        let len = u32::try_from(self.kind.len()).unwrap_or(u32::MAX);
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"stockade name 1").update(&len.to_le_bytes());
        hasher.update(self.kind.as_bytes()).update(self.key.as_bytes());
        let mut hash = [0; 16];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        NameHash(hash)
    }

    /// The shard of this actor in a store of `shards` shards.
    #[must_use]
    pub fn shard(&self, shards: u16) -> Shard {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.kind.as_bytes()).update(&[0]).update(self.key.as_bytes());
        let byte = hasher.finalize().as_bytes()[0];
        // Of 256 each is a byte's value.
        Shard(u8::try_from(shards).map_or(byte, |shards| byte % shards.max(1)))
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.key)
    }
}
