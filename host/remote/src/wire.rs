//! Values of the depot as fields of messages, and back.
//!
//! Invariants:
//! - Every field of a value is named on both sides by one list, which the compiler compares with both
//!   types: a field that is new to either of them does not compile until it is carried.
//! - What comes from the other side is checked: lengths, known words, and that nothing mandatory is
//!   missing.

mod errors;
mod rows;
mod steps;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use bytes::Bytes;
use stockade_depot::{
    DbId, Digest, Generation, NameHash, NodeSession, PageCount, Pgno, Shard, StageId, Token, Txid,
};

/// A value, and the type `P` of the field that carries it.
pub(crate) trait Wire<P>: Sized {
    /// The field.
    fn put(self) -> P;
    /// The value of a field that another program sent.
    fn take(sent: P) -> Result<Self, Malformed>;
}

/// A message that is refused: a mandatory field is missing, or holds no value of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// The bytes are no message of this type.
    #[error("the message cannot be read")]
    Message,
    /// A mandatory field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has another length, or is no known word.
    #[error("{0} cannot be read")]
    Value(&'static str),
}

/// A number in a type of its own.
macro_rules! numbers {
    ($($name:ident($int:ty);)*) => {$(
        impl Wire<$int> for $name {
            fn put(self) -> $int {
                self.0
            }

            fn take(sent: $int) -> Result<Self, Malformed> {
                Ok(Self(sent))
            }
        }

        impl Wire<Option<$int>> for $name {
            fn put(self) -> Option<$int> {
                Some(self.0)
            }

            fn take(sent: Option<$int>) -> Result<Self, Malformed> {
                sent.map(Self).ok_or(Malformed::Missing(stringify!($name)))
            }
        }
    )*};
}

numbers! {
    Generation(u64);
    Txid(u64);
    Pgno(u32);
    PageCount(u32);
}

/// A value that is its own field, mandatory, or one that may be left out.
macro_rules! plain {
    ($($name:ty),*) => {$(
        impl Wire<$name> for $name {
            fn put(self) -> $name {
                self
            }

            fn take(sent: $name) -> Result<Self, Malformed> {
                Ok(sent)
            }
        }

        impl Wire<Option<$name>> for $name {
            fn put(self) -> Option<$name> {
                Some(self)
            }

            fn take(sent: Option<$name>) -> Result<Self, Malformed> {
                sent.ok_or(Malformed::Missing(concat!("a field of type ", stringify!($name))))
            }
        }
    )*};
}

plain!(u32, u64, i32, i64, bool, String);

/// Bytes of a fixed length.
macro_rules! fixed {
    ($($name:ident),*) => {$(
        impl Wire<Bytes> for $name {
            fn put(self) -> Bytes {
                Bytes::copy_from_slice(&self.0)
            }

            fn take(sent: Bytes) -> Result<Self, Malformed> {
                let fits = sent.as_ref().try_into().map(Self);
                fits.map_err(|_| Malformed::Value(stringify!($name)))
            }
        }
    )*};
}

fixed!(DbId, Token, StageId, NameHash, NodeSession, Digest);

impl Wire<Bytes> for [u8; 32] {
    fn put(self) -> Bytes {
        Bytes::copy_from_slice(&self)
    }

    fn take(sent: Bytes) -> Result<Self, Malformed> {
        sent.as_ref().try_into().map_err(|_| Malformed::Value("a hash"))
    }
}

impl Wire<Bytes> for Bytes {
    fn put(self) -> Bytes {
        self
    }

    fn take(sent: Bytes) -> Result<Self, Malformed> {
        Ok(sent)
    }
}

impl Wire<Bytes> for Vec<u8> {
    fn put(self) -> Bytes {
        self.into()
    }

    fn take(sent: Bytes) -> Result<Self, Malformed> {
        Ok(sent.into())
    }
}

impl Wire<Option<Bytes>> for Vec<u8> {
    fn put(self) -> Option<Bytes> {
        Some(self.into())
    }

    fn take(sent: Option<Bytes>) -> Result<Self, Malformed> {
        sent.map(Into::into).ok_or(Malformed::Missing("state or component"))
    }
}

impl Wire<String> for PathBuf {
    fn put(self) -> String {
        self.to_string_lossy().into_owned()
    }

    fn take(sent: String) -> Result<Self, Malformed> {
        Ok(sent.into())
    }
}

impl Wire<Option<u32>> for Shard {
    fn put(self) -> Option<u32> {
        Some(self.0.into())
    }

    fn take(sent: Option<u32>) -> Result<Self, Malformed> {
        Wire::<u32>::take(sent.ok_or(Malformed::Missing("Shard"))?)
    }
}

impl Wire<u32> for Shard {
    fn put(self) -> u32 {
        self.0.into()
    }

    fn take(sent: u32) -> Result<Self, Malformed> {
        u8::try_from(sent).map(Self).map_err(|_| Malformed::Value("Shard"))
    }
}

/// How many rows are asked for. Each store has bounds of its own.
impl Wire<Option<u64>> for usize {
    fn put(self) -> Option<u64> {
        Some(u64::try_from(self).unwrap_or(u64::MAX))
    }

    fn take(sent: Option<u64>) -> Result<Self, Malformed> {
        let max = sent.ok_or(Malformed::Missing("max"))?;
        Ok(Self::try_from(max).unwrap_or(Self::MAX))
    }
}

/// A field that may be left out.
impl<T: Wire<P>, P> Wire<Option<P>> for Option<T> {
    fn put(self) -> Option<P> {
        self.map(T::put)
    }

    fn take(sent: Option<P>) -> Result<Self, Malformed> {
        sent.map(T::take).transpose()
    }
}

/// A repeated field.
impl<T: Wire<P>, P> Wire<Vec<P>> for Vec<T> {
    fn put(self) -> Vec<P> {
        self.into_iter().map(T::put).collect()
    }

    fn take(sent: Vec<P>) -> Result<Self, Malformed> {
        sent.into_iter().map(T::take).collect()
    }
}

/// A value of several fields with the same names on both sides. As a field it is mandatory.
macro_rules! records {
    ($($name:ident $(as $sent:ident)? { $($field:ident),* $(,)? })*) => {$(
        records!(@one $name, [$($sent)? $name], { $($field),* });
    )*};
    (@one $name:ident, [$sent:ident $($_rest:ident)?], { $($field:ident),* }) => {
        impl Wire<proto::$sent> for $name {
            fn put(self) -> proto::$sent {
                let Self { $($field),* } = self;
                proto::$sent { $($field: Wire::put($field)),* }
            }

            fn take(sent: proto::$sent) -> Result<Self, Malformed> {
                let proto::$sent { $($field),* } = sent;
                Ok(Self { $($field: Wire::take($field)?),* })
            }
        }
        mandatory!($name as $sent);
    };
}

/// A tuple, and the names of its fields in a message. As a field it is mandatory.
macro_rules! tuples {
    ($(($($of:ty),*) as $sent:ident { $($field:ident),* })*) => {$(
        impl Wire<proto::$sent> for ($($of),*) {
            fn put(self) -> proto::$sent {
                let ($($field),*) = self;
                proto::$sent { $($field: Wire::put($field)),* }
            }

            fn take(sent: proto::$sent) -> Result<Self, Malformed> {
                let proto::$sent { $($field),* } = sent;
                Ok(($(Wire::take($field)?),*))
            }
        }
        mandatory!(($($of),*) as $sent);
    )*};
}

/// A message as a mandatory field.
macro_rules! mandatory {
    ($name:ty as $sent:ident) => {
        impl Wire<Option<proto::$sent>> for $name {
            fn put(self) -> Option<proto::$sent> {
                Some(Wire::put(self))
            }

            fn take(sent: Option<proto::$sent>) -> Result<Self, Malformed> {
                Wire::take(sent.ok_or(Malformed::Missing(stringify!($sent)))?)
            }
        }
    };
}

/// A value without fields of its own: a known word.
macro_rules! words {
    ($($name:ident { $($word:ident),* })*) => {$(
        impl Wire<i32> for $name {
            fn put(self) -> i32 {
                match self {
                    $(Self::$word => proto::$name::$word.into(),)*
                }
            }

            fn take(sent: i32) -> Result<Self, Malformed> {
                match proto::$name::try_from(sent) {
                    $(Ok(proto::$name::$word) => Ok(Self::$word),)*
                    Ok(proto::$name::Unspecified) => Err(Malformed::Missing(stringify!($name))),
                    Err(_) => Err(Malformed::Value(stringify!($name))),
                }
            }
        }
    )*};
}

/// An answer that is one value, wrapped in a message with one field.
macro_rules! wrapped {
    ($($of:ty as $sent:ident { $field:ident })*) => {$(
        impl Wire<proto::$sent> for $of {
            fn put(self) -> proto::$sent {
                proto::$sent { $field: Wire::put(self) }
            }

            fn take(sent: proto::$sent) -> Result<Self, Malformed> {
                Wire::take(sent.$field)
            }
        }
    )*};
}

pub(crate) use {mandatory, records, tuples, words, wrapped};

/// What may be given in a message as `one of` its fields: a message without any is refused.
pub(crate) fn one_of<T>(what: &'static str, sent: Option<T>) -> Result<T, Malformed> {
    sent.ok_or(Malformed::Missing(what))
}
