//! The size of values: as the caller counts it, and in the host's memory.

use wasmtime::component::Val;

use crate::typed::bounds::VALUE_BYTES;

/// Bytes of a name in the host's memory, beside its text.
const NAME_BYTES: usize = size_of::<String>();

/// Bytes of values, counted in two ways by one walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of data: strings and lists by their length, everything else by its size in the
    /// component's memory, roughly. Field and case names are not counted.
    pub data: u64,
    /// Bytes of the host's memory, which are more: a `list<u8>` has a value of the engine for each
    /// byte.
    pub memory: u64,
}

impl Size {
    /// The size of `values`.
    #[must_use]
    pub fn of(values: &[Val]) -> Self {
        let mut size = Self::default();
        values.iter().for_each(|value| size.add(value));
        size
    }

    fn take(&mut self, data: usize, memory: usize) {
        self.data = self.data.saturating_add(data as u64);
        self.memory = self.memory.saturating_add(memory as u64);
    }

    fn add(&mut self, value: &Val) {
        // What the value takes itself, and what its parts take.
        self.take(scalar(value).unwrap_or(0), VALUE_BYTES);
        match value {
            Val::Enum(case) => self.take(4, case.len()),
            Val::String(text) => self.take(text.len(), text.len()),
            Val::List(items) => match items.first().and_then(scalar) {
                // There may be millions of them, all of one size.
                Some(data) => self.take(
                    data.saturating_mul(items.len()),
                    VALUE_BYTES.saturating_mul(items.len()),
                ),
                None => items.iter().for_each(|item| self.add(item)),
            },
            Val::Tuple(items) => items.iter().for_each(|item| self.add(item)),
            Val::Record(fields) => fields.iter().for_each(|(name, value)| {
                self.take(0, NAME_BYTES + name.len());
                self.add(value);
            }),
            Val::Variant(case, payload) => {
                self.take(1, case.len());
                payload.iter().for_each(|value| self.add(value));
            }
            Val::Option(payload) | Val::Result(Ok(payload) | Err(payload)) => {
                self.take(1, 0);
                payload.iter().for_each(|value| self.add(value));
            }
            Val::Flags(names) => {
                names.iter().for_each(|name| self.take(1, NAME_BYTES + name.len()));
            }
            // A scalar, or not in the signature of any method: see `table`.
            _ => {}
        }
    }
}

/// Bytes of a value of fixed size in the component's memory.
fn scalar(value: &Val) -> Option<usize> {
    match value {
        Val::Bool(_) | Val::S8(_) | Val::U8(_) => Some(1),
        Val::S16(_) | Val::U16(_) => Some(2),
        Val::S32(_) | Val::U32(_) | Val::Float32(_) | Val::Char(_) => Some(4),
        Val::S64(_) | Val::U64(_) | Val::Float64(_) => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_data_is_counted_by_its_length() {
        let text = Val::String("four".to_owned());
        let pair = Val::Tuple(vec![text.clone(), Val::U64(1)]);
        let record = Val::Record(vec![("name".to_owned(), Val::List(vec![pair.clone(), pair]))]);
        let values = [record, Val::Option(Some(Box::new(text)))];
        // The record, its list, two tuples of two, the option and what is in it; the name of the
        // field; three texts.
        let memory = 10 * VALUE_BYTES + size_of::<String>() + 4 + 3 * 4;
        assert_eq!(Size::of(&values), Size { data: 2 * 12 + 5, memory: memory as u64 });
        let numbers = [Val::List(vec![Val::U16(1); 3])];
        assert_eq!(Size::of(&numbers), Size { data: 6, memory: 4 * VALUE_BYTES as u64 });
        let flags = [Val::Flags(vec!["read".to_owned()]), Val::Enum("red".to_owned())];
        let memory = 2 * VALUE_BYTES + size_of::<String>() + 4 + 3;
        assert_eq!(Size::of(&flags), Size { data: 1 + 4, memory: memory as u64 });
        let case = [Val::Variant("case".to_owned(), None)];
        assert_eq!(Size::of(&case), Size { data: 1, memory: VALUE_BYTES as u64 + 4 });
    }
}
