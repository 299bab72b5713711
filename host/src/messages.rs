//! Messages between actors, as they travel: a parcel of the sender, and what the receiver says to it.
//!
//! ```text
//!  sender                                         receiver
//!    open (question) ───────────────────────────>   conversation: a fresh id, the last number kept
//!    <──────────────────── opened (question, id) ─
//!    deliver (id, [number, the one before it]) ──>   each in one transaction with its number
//!    <──────────── delivered (last, why no more) ─
//!    close (id) ────────────────────────────────>   forgotten, if the id is still that
//! ```
//! Invariants:
//! - A conversation is opened by its receiver, and what names another one is refused. So a copy of a
//!   parcel that comes late is never taken for a new one.
//! - A message names the one before it that still waits at its sender, and is refused if that was not
//!   run. So none overtakes another.
//! - A parcel may be sent any number of times.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stockade_depot::{ActorId, DbId};

use crate::limits::PARCEL_MESSAGES_MAX;

/// The sender of a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Its database: numbers belong to it.
    #[serde(with = "id")]
    pub db: DbId,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
}

/// A conversation of a sender with a receiver: random, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation(#[serde(with = "bytes")] pub [u8; 16]);

/// What a sender sends. Cloning shares what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Who sends it.
    pub from: Sender,
    /// What it asks for.
    pub asks: Arc<Asked>,
}

/// A parcel as it is written.
#[derive(Serialize)]
struct Written<'a> {
    from: &'a Sender,
    asks: &'a Asked,
}

/// A parcel as it is read.
#[derive(Deserialize)]
struct Read {
    from: Sender,
    asks: Asked,
}

/// What a parcel asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// To open a conversation. The answer has the number of the question.
    Open {
        /// The question.
        question: u64,
    },
    /// To run messages.
    Deliver {
        /// The database that has opened the conversation: no other one runs them.
        #[serde(with = "id")]
        to: DbId,
        /// The conversation.
        conversation: Conversation,
        /// The messages, in the order of their numbers.
        messages: Vec<Message>,
    },
    /// To forget a conversation.
    Close {
        /// The database that has opened it.
        #[serde(with = "id")]
        to: DbId,
        /// The conversation.
        conversation: Conversation,
    },
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number: those of a sender's database rise and never come again.
    pub number: i64,
    /// The number of the one before it that still waits for this receiver; 0: none.
    pub before: i64,
    /// Which delivery this is, as far as they were counted.
    pub attempt: u32,
    /// The method. Guest-controlled, bounded.
    pub method: String,
    /// The arguments as JSON. Guest-controlled, bounded.
    pub arguments: String,
    /// It was tried too often, for this reason: it is parked and not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub park: Option<String>,
}

/// What a receiver says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// The conversation is open.
    Opened {
        /// The question that this answers.
        question: u64,
        /// The receiver's database.
        #[serde(with = "id")]
        db: DbId,
        /// The conversation.
        conversation: Conversation,
        /// The last number of the sender's that was run or parked here.
        last: i64,
    },
    /// Messages were run, or had been before.
    Delivered {
        /// The last one of the parcel of which that is true.
        last: Option<i64>,
        /// Why it is not true of the next one.
        stopped: Option<Stopped>,
    },
    /// The conversation is forgotten.
    Closed,
}

/// Why a receiver has run no more of a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// The method has failed, with these words, or does not exist. Nothing of it is kept.
    Failed(String),
    /// The conversation is not known here: it has to be opened again.
    Unknown,
    /// The one before it was not run.
    Gap,
    /// An earlier message of this sender is parked, and later ones wait for it.
    Held,
    /// The time of the parcel was over.
    Later,
}

/// Why a parcel came to nothing that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Surely nothing was done.
    NotDone(String),
    /// Surely nothing was done: there is no such receiver, or its database is another one.
    Gone,
    /// It may have been done.
    Unknown(String),
}

/// The message that a method handles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Who has sent it.
    pub from: Sender,
    /// Its number.
    pub number: i64,
    /// Which delivery this is.
    pub attempt: u32,
}

impl Parcel {
    /// The parcel as JSON, for another process.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let Self { from, asks } = self;
        serde_json::to_vec(&Written { from, asks }).expect("BUG: a parcel has a form in JSON")
    }

    /// The parcel in a text of another process. `None`: it does not read.
    #[must_use]
    pub fn from_json(text: &[u8]) -> Option<Self> {
        let Read { from, asks } = serde_json::from_slice(text).ok()?;
        let within = match &asks {
            Asked::Deliver { messages, .. } => {
                !messages.is_empty() && messages.len() <= PARCEL_MESSAGES_MAX
            }
            Asked::Open { .. } | Asked::Close { .. } => true,
        };
        let is_named = ActorId::existing(&from.kind, &from.key).is_ok();
        (within && is_named).then(|| Self { from, asks: Arc::new(asks) })
    }
}

impl Sender {
    /// An actor with its database.
    #[must_use]
    pub fn of(db: DbId, actor: &ActorId) -> Self {
        Self { db, kind: actor.kind().to_owned(), key: actor.key().to_owned() }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.key)
    }
}

impl Asked {
    /// The one database that may answer; `None`: any that has the receiver's name.
    #[must_use]
    pub fn to(&self) -> Option<DbId> {
        match self {
            Self::Open { .. } => None,
            Self::Deliver { to, .. } | Self::Close { to, .. } => Some(*to),
        }
    }
}

/// Ids of databases as text.
mod id {
    use serde::{Deserializer, Serializer};
    use stockade_depot::DbId;

    pub(super) fn serialize<S: Serializer>(db: &DbId, to: S) -> Result<S::Ok, S::Error> {
        super::bytes::serialize(&db.0, to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<DbId, D::Error> {
        super::bytes::deserialize(from).map(DbId)
    }
}

/// 16 bytes as hexadecimal digits.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 16], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(from)?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(&text, &mut bytes).map_err(de::Error::custom)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Sender {
        Sender::of(DbId([7; 16]), &ActorId::new("bank", "a/b").expect("a name"))
    }

    /// Both sides of a connection may be of different versions.
    #[test]
    fn parcels_read_as_they_are_written() {
        let message = |number, park| Message {
            number,
            before: number - 1,
            attempt: 2,
            method: "deposit".to_owned(),
            arguments: r#"["a", 1]"#.to_owned(),
            park,
        };
        let (to, conversation) = (DbId([1; 16]), Conversation([2; 16]));
        let messages = vec![message(4, None), message(5, Some("no".to_owned()))];
        for (asks, text) in [
            (Asked::Open { question: 3 }, r#""open":{"question":3}"#),
            (Asked::Deliver { to, conversation, messages }, r#""number":4,"before":3,"attempt":2"#),
            (Asked::Close { to, conversation }, r#""close":{"to":"0101"#),
        ] {
            let parcel = Parcel { from: sender(), asks: Arc::new(asks) };
            let written = parcel.to_json();
            let shown = String::from_utf8_lossy(&written);
            assert!(shown.contains(text), "{shown}");
            assert_eq!(Parcel::from_json(&written), Some(parcel));
        }
        let (to, conversation) = (DbId([1; 16]), Conversation([2; 16]));
        for messages in [Vec::new(), vec![message(1, None); PARCEL_MESSAGES_MAX + 1]] {
            let asks = Arc::new(Asked::Deliver { to, conversation, messages });
            assert_eq!(Parcel::from_json(&Parcel { from: sender(), asks }.to_json()), None);
        }
        assert_eq!(Parcel::from_json(b"{}"), None);
    }

    #[test]
    fn answers_read_as_they_are_written() {
        let (db, conversation) = (DbId([1; 16]), Conversation([2; 16]));
        let delivered = |stopped| Said::Delivered { last: Some(4), stopped };
        for (said, text) in [
            (Said::Opened { question: 3, db, conversation, last: 9 }, r#"{"opened":{"question":3"#),
            (delivered(None), r#"{"delivered":{"last":4,"stopped":null}}"#),
            (delivered(Some(Stopped::Failed("no".to_owned()))), r#""stopped":{"failed":"no"}"#),
            (delivered(Some(Stopped::Gap)), r#""stopped":"gap""#),
            (Said::Closed, r#""closed""#),
        ] {
            let written = serde_json::to_string(&said).expect("JSON");
            assert!(written.contains(text), "{written}");
            assert_eq!(serde_json::from_str::<Said>(&written).expect("reads"), said);
        }
        assert!(serde_json::from_str::<Said>(r#"{"opened":{"db":"01"}}"#).is_err());
    }
}
