//! A digest of values: two calls have the same arguments if it is the same.
//!
//! ```text
//!  value     tag u8, then: bits of a scalar, little-endian | count u64, parts | text
//!  text      count u64, bytes
//! ```
//! Invariant: the bytes of two different values are different, whatever the types are.

use sha2::{Digest as _, Sha256};
use wasmtime::component::Val;

/// Bytes that are gathered before they are hashed.
const GATHERED: usize = 4096;

struct Hasher {
    hash: Sha256,
    gathered: Vec<u8>,
}

/// The digest of values, of the form that they have in this version.
pub(crate) fn digest(values: &[Val]) -> [u8; 32] {
    let mut hasher = Hasher { hash: Sha256::new(), gathered: Vec::with_capacity(GATHERED) };
    hasher.all(values);
    hasher.hash.update(&hasher.gathered);
    hasher.hash.finalize().into()
}

impl Hasher {
    fn bytes(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > GATHERED {
            self.hash.update(&self.gathered);
            self.gathered.clear();
        }
        if bytes.len() > GATHERED {
            self.hash.update(bytes);
        } else {
            self.gathered.extend_from_slice(bytes);
        }
    }

    fn scalar<const N: usize>(&mut self, tag: u8, bits: [u8; N]) {
        self.bytes(&[tag]);
        self.bytes(&bits);
    }

    fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    fn all(&mut self, values: &[Val]) {
        self.bytes(&(values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| self.value(value));
    }

    fn payload(&mut self, tag: u8, payload: Option<&Val>) {
        self.bytes(&[tag]);
        self.all(payload.map_or(&[][..], std::slice::from_ref));
    }

    fn value(&mut self, value: &Val) {
        match value {
            Val::Bool(value) => self.scalar(0, [u8::from(*value)]),
            Val::S8(value) => self.scalar(1, value.to_le_bytes()),
            Val::U8(value) => self.scalar(2, value.to_le_bytes()),
            Val::S16(value) => self.scalar(3, value.to_le_bytes()),
            Val::U16(value) => self.scalar(4, value.to_le_bytes()),
            Val::S32(value) => self.scalar(5, value.to_le_bytes()),
            Val::U32(value) => self.scalar(6, value.to_le_bytes()),
            Val::S64(value) => self.scalar(7, value.to_le_bytes()),
            Val::U64(value) => self.scalar(8, value.to_le_bytes()),
            Val::Float32(value) => self.scalar(9, value.to_bits().to_le_bytes()),
            Val::Float64(value) => self.scalar(10, value.to_bits().to_le_bytes()),
            Val::Char(value) => self.scalar(11, u32::from(*value).to_le_bytes()),
            Val::String(text) => {
                self.bytes(&[12]);
                self.text(text);
            }
            Val::List(items) => {
                self.bytes(&[13]);
                self.all(items);
            }
            Val::Tuple(items) => {
                self.bytes(&[14]);
                self.all(items);
            }
            Val::Record(fields) => {
                self.bytes(&[15]);
                self.bytes(&(fields.len() as u64).to_le_bytes());
                for (name, value) in fields {
                    self.text(name);
                    self.value(value);
                }
            }
            Val::Variant(case, payload) => {
                self.bytes(&[16]);
                self.text(case);
                self.payload(17, payload.as_deref());
            }
            Val::Enum(case) => {
                self.bytes(&[18]);
                self.text(case);
            }
            Val::Option(payload) => self.payload(19, payload.as_deref()),
            Val::Result(Ok(payload)) => self.payload(20, payload.as_deref()),
            Val::Result(Err(payload)) => self.payload(21, payload.as_deref()),
            Val::Flags(names) => {
                self.bytes(&[22]);
                self.bytes(&(names.len() as u64).to_le_bytes());
                names.iter().for_each(|name| self.text(name));
            }
            // Not in the signature of any method: see `table`.
            _ => self.bytes(&[255]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn different_values_have_different_digests() {
        let text = |text: &str| Val::String(text.to_owned());
        let all = [
            vec![],
            vec![Val::U8(1)],
            vec![Val::U8(1), Val::U8(1)],
            vec![Val::S8(1)],
            vec![Val::U64(1)],
            vec![text("a"), text("bc")],
            vec![text("ab"), text("c")],
            vec![Val::List(vec![])],
            vec![Val::List(vec![text("ab")])],
            vec![Val::Tuple(vec![text("ab")])],
            vec![Val::Option(None)],
            vec![Val::Option(Some(Box::new(text("a"))))],
            vec![Val::Result(Ok(None))],
            vec![Val::Result(Err(None))],
            vec![Val::Float64(0.0)],
            vec![Val::Float64(-0.0)],
            vec![text(&"x".repeat(GATHERED * 2))],
            vec![text(&"x".repeat(GATHERED * 2 + 1))],
            vec![Val::List(vec![Val::U8(7); GATHERED * 3])],
        ];
        let digests: HashSet<[u8; 32]> = all.iter().map(|values| digest(values)).collect();
        assert_eq!(digests.len(), all.len());
        assert_eq!(digest(&all[5]), digest(&all[5].clone()));
    }
}
