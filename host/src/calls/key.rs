//! The id that a caller gives a call, together with the caller for whom it counts.
//!
//! ```text
//!  0193f1c2-7d4e-7a31-9c55-0242ac120002     a UUID of version 7: its first time is in it
//!  1764561101000-order-17                   13 digits, milliseconds since 1970, then `-` and anything
//!  1764561101000-<db>-<generation>-<n>      the same, as a host makes it for a call of an actor
//!  order-17                                 no time: too old looks like never seen
//! ```
//! Invariants:
//! - Ids of two callers are two ids, whatever their text is.
//! - An id is 1 to [`CALL_ID_BYTES_MAX`] visible ASCII characters, so it is the same in a header field,
//!   in a path and in a shell.

use std::fmt;
use std::sync::Arc;

use stockade_depot::{ActorId, Fence};

use crate::limits::{CALL_ID_BYTES_MAX, CALL_PRINCIPAL_BYTES_MAX};

/// The caller of an embedder's calls that name no other.
const EMBEDDER: &str = "embedder";

/// The id of a call, as its caller has chosen it, and that caller.
///
/// ```
/// use stockade::CallKey;
///
/// let key = CallKey::new("1764561101000-order-17")?;
/// assert_eq!((key.id(), key.first_ms()), ("1764561101000-order-17", Some(1_764_561_101_000)));
/// assert!(CallKey::new("two words").is_err());
/// # Ok::<(), stockade::InvalidCallKey>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallKey {
    principal: Arc<str>,
    id: Arc<str>,
}

/// A text that cannot be the id of a call, or the name of its caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCallKey {
    /// The id has no bytes, or too many.
    #[error("the id of a call has {bytes} bytes: 1 to {CALL_ID_BYTES_MAX} are possible")]
    Length {
        /// The bytes that it has.
        bytes: usize,
    },
    /// The id has a character that it cannot have.
    #[error("the id of a call has {0:?}: visible ASCII characters but `\"` and `\\` are possible")]
    Character(char),
    /// The name of the caller has no bytes, or too many.
    #[error("the name of a caller has {bytes} bytes: 1 to {CALL_PRINCIPAL_BYTES_MAX} are possible")]
    Principal {
        /// The bytes that it has.
        bytes: usize,
    },
}

impl CallKey {
    /// The id of a call that the embedder makes for itself.
    ///
    /// # Errors
    /// If the text cannot be an id.
    pub fn new(id: &str) -> Result<Self, InvalidCallKey> {
        Self::of(EMBEDDER, id)
    }

    /// The same id, of another caller: the embedder's own name for one of those that it serves. What
    /// one caller has called, no other one finds.
    ///
    /// # Errors
    /// If the name is empty or too long.
    pub fn of_caller(&self, name: &str) -> Result<Self, InvalidCallKey> {
        if name.is_empty() {
            return Err(InvalidCallKey::Principal { bytes: 0 });
        }
        Self::of(&format!("{EMBEDDER} {name}"), &self.id)
    }

    /// The id of a call of an actor.
    ///
    /// # Errors
    /// If the text cannot be an id.
    pub fn of_actor(actor: &ActorId, id: &str) -> Result<Self, InvalidCallKey> {
        Self::of(&Self::principal_of(actor), id)
    }

    /// The caller that an actor is.
    #[doc(hidden)]
    #[must_use]
    pub fn principal_of(actor: &ActorId) -> String {
        format!("actor {actor}")
    }

    /// The id of a call of `principal`.
    ///
    /// # Errors
    /// If one of them cannot be that.
    #[doc(hidden)]
    pub fn of(principal: &str, id: &str) -> Result<Self, InvalidCallKey> {
        let bytes = principal.len();
        if !(1..=CALL_PRINCIPAL_BYTES_MAX).contains(&bytes) {
            return Err(InvalidCallKey::Principal { bytes });
        }
        let bytes = id.len();
        if !(1..=CALL_ID_BYTES_MAX).contains(&bytes) {
            return Err(InvalidCallKey::Length { bytes });
        }
        let possible = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
        if let Some(wrong) = id.chars().find(|c| !possible(*c)) {
            return Err(InvalidCallKey::Character(wrong));
        }
        Ok(Self { principal: principal.into(), id: id.into() })
    }

    /// The id that a host makes for call number `number` of a generation.
    #[must_use]
    pub fn made(now_ms: i64, fence: &Fence, number: u64) -> String {
        let now_ms = now_ms.clamp(0, 9_999_999_999_999);
        format!("{now_ms:013}-{}-{:x}-{number:x}", fence.db, fence.generation.0)
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The caller for whom the id counts.
    #[doc(hidden)]
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// The time that the id names as that of its first use, in milliseconds since 1970.
    #[must_use]
    pub fn first_ms(&self) -> Option<i64> {
        of_uuid(&self.id).or_else(|| of_digits(&self.id))
    }
}

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// The time of a UUID of version 7: its first 48 bits.
fn of_uuid(id: &str) -> Option<i64> {
    let bytes = id.as_bytes();
    let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let fits = bytes.len() == 36
        && bytes[14] == b'7'
        && (0..36)
            .all(|at| if is_dash(at) { bytes[at] == b'-' } else { bytes[at].is_ascii_hexdigit() });
    if !fits {
        return None;
    }
    i64::from_str_radix(&format!("{}{}", &id[..8], &id[9..13]), 16).ok()
}

fn of_digits(id: &str) -> Option<i64> {
    let (time, _) = id.split_once('-')?;
    let fits = time.len() == 13 && time.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| time.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use stockade_depot::{DbId, Generation, Token};

    use super::*;

    #[test]
    fn an_id_is_visible_text_within_its_bound() {
        let longest = "x".repeat(CALL_ID_BYTES_MAX);
        for good in ["a", "order-17", "~!@#$%^&*()[]{}<>/?|;:,.", &longest] {
            assert_eq!(CallKey::new(good).map(|key| key.id().to_owned()), Ok(good.to_owned()));
        }
        for wrong in ["", "two words", "tab\t", "ü", "\"a\"", "a\\b", &format!("{longest}x")] {
            assert!(CallKey::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_time_is_read_from_the_two_forms_alone() {
        for (id, time) in [
            ("1764561101000-order", Some(1_764_561_101_000)),
            ("1764561101000-", Some(1_764_561_101_000)),
            ("0000000000001-x", Some(1)),
            ("1764561101000", None),
            ("176456110100-x", None),
            ("17645611010000-x", None),
            ("+764561101000-x", None),
            ("0193f1c2-7d4e-7a31-9c55-0242ac120002", Some(0x0193_f1c2_7d4e)),
            ("0193F1C2-7D4E-7A31-9C55-0242AC120002", Some(0x0193_f1c2_7d4e)),
            ("0193f1c2-7d4e-4a31-9c55-0242ac120002", None),
            ("0193f1c2-7d4e-7a31-9c55-0242ac12000", None),
            ("0193f1c2x7d4e-7a31-9c55-0242ac120002", None),
            ("order-17", None),
        ] {
            assert_eq!(CallKey::new(id).expect("an id").first_ms(), time, "{id}");
        }
    }

    #[test]
    fn what_a_host_makes_is_an_id_with_its_time() {
        let fence =
            Fence { db: DbId([0xab; 16]), generation: Generation(255), token: Token([1; 16]) };
        let made = CallKey::made(1_764_561_101_000, &fence, 16);
        assert_eq!(made, format!("1764561101000-{}-ff-10", "ab".repeat(16)));
        let actor = ActorId::new("account", "a").expect("a name");
        let key = CallKey::of_actor(&actor, &made).expect("an id");
        assert_eq!((key.first_ms(), key.principal()), (Some(1_764_561_101_000), "actor account/a"));
        let longest =
            CallKey::made(i64::MAX, &Fence { generation: Generation(u64::MAX), ..fence }, u64::MAX);
        assert!(longest.len() <= CALL_ID_BYTES_MAX, "{}", longest.len());
    }

    #[test]
    fn ids_of_two_callers_are_two_ids() {
        let own = CallKey::new("a").expect("an id");
        let other = own.of_caller("user 7").expect("a name");
        assert_ne!(own, other);
        assert_eq!(other.principal(), "embedder user 7");
        assert!(own.of_caller("").is_err() && own.of_caller(&"x".repeat(2_000)).is_err());
    }
}
