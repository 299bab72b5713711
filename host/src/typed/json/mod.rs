//! JSON for WIT values, exactly per type.
//!
//! | WIT | JSON in | JSON out |
//! |---|---|---|
//! | `bool` | `true`, `false` | same |
//! | `u8 .. s32` | integer in range (`1.0` counts as 1) | number |
//! | `u64`, `s64` | integer, or its digits as a string | number up to 2^53, else string |
//! | `f32`, `f64` | number; `"nan"`, `"inf"`, `"-inf"` | same |
//! | `char` | string of one character | same |
//! | `string` | string | same |
//! | `list<u8>` | base64 (standard alphabet), or an array of numbers | base64 with padding |
//! | `list<T>` | array | same |
//! | `tuple<..>` | array of that length | same |
//! | `record` | object by field name; an `option` field may be left out | all fields |
//! | `variant` | `{"case": payload}`, or `"case"` if it has no payload | same |
//! | `enum` | `"case"` | same |
//! | `flags` | array of names, each once | same, in WIT's order |
//! | `option<T>` | `null`, or the value | same |
//! | `option<option<T>>` | `null`, or `{"some": value of option<T>}` | same |
//! | `result<T, E>` | `{"ok": ..}`, `{"err": ..}`; `null` inside if there is no payload | same |
//!
//! Unknown fields are refused, never dropped: a slip in the name of an optional field would
//! otherwise lose data in silence.

mod arguments;
mod read;
mod scalar;
mod write;

pub(super) use arguments::{malformed, of_text, of_value};
#[cfg(test)]
pub(super) use read::{Reading, Seed};
pub(super) use write::write;

/// The spelling of reals that JSON has no number for, here and for SQL.
pub const INFINITY: &str = "inf";
/// As [`INFINITY`], below zero.
pub const MINUS_INFINITY: &str = "-inf";
/// The spelling of NaN. SQL has none.
const NOT_A_NUMBER: &str = "nan";

/// Integers up to this size are exact in every JSON reader: 2^53.
const EXACT_INTEGER_MAX: u64 = 1 << 53;
