//! The size of a method's results, as the caller counts it.

use wasmtime::component::Val;

use crate::typed::bounds::VALUE_BYTES;

/// Bytes of the data in `values`: strings and lists by their length, everything else by its size
/// in the component's memory, roughly. Field and case names are not counted.
#[must_use]
pub fn data_bytes(values: &[Val]) -> u64 {
    values.iter().map(of).fold(0, u64::saturating_add)
}

fn of(value: &Val) -> u64 {
    match value {
        Val::Bool(_) | Val::S8(_) | Val::U8(_) => 1,
        Val::S16(_) | Val::U16(_) => 2,
        Val::S32(_) | Val::U32(_) | Val::Float32(_) | Val::Char(_) | Val::Enum(_) => 4,
        Val::S64(_) | Val::U64(_) | Val::Float64(_) => 8,
        Val::String(text) => text.len() as u64,
        Val::List(items) => of_list(items, data_bytes, of),
        Val::Tuple(items) => data_bytes(items),
        Val::Record(fields) => fields.iter().map(|(_, v)| of(v)).fold(0, u64::saturating_add),
        Val::Variant(_, payload) | Val::Option(payload) => of_payload(payload.as_deref()),
        Val::Result(Ok(payload) | Err(payload)) => of_payload(payload.as_deref()),
        Val::Flags(names) => names.len() as u64,
        // Not in the signature of any method: see `table`.
        _ => 0,
    }
}

/// Bytes that `values` take in the host's memory, which is more: a `list<u8>` has a value of the
/// engine for each byte.
#[must_use]
pub fn memory_bytes(values: &[Val]) -> u64 {
    values.iter().map(|value| VALUE_BYTES as u64 + parts_of(value)).fold(0, u64::saturating_add)
}

/// Bytes of a value's parts, beside the value itself.
fn parts_of(value: &Val) -> u64 {
    let text = |text: &String| text.len() as u64;
    let payload = |payload: &Option<Box<Val>>| match payload {
        Some(payload) => memory_bytes(std::slice::from_ref(&**payload)),
        None => 0,
    };
    match value {
        Val::String(value) | Val::Enum(value) => text(value),
        Val::List(items) => of_list(items, memory_bytes, |_| VALUE_BYTES as u64),
        Val::Tuple(items) => memory_bytes(items),
        Val::Record(fields) => {
            let field = |(name, value): &(String, Val)| {
                (size_of::<String>() + VALUE_BYTES) as u64 + text(name) + parts_of(value)
            };
            fields.iter().map(field).fold(0, u64::saturating_add)
        }
        Val::Variant(name, value) => text(name) + payload(value),
        Val::Option(value) | Val::Result(Ok(value) | Err(value)) => payload(value),
        Val::Flags(names) => names.iter().map(|name| size_of::<String>() as u64 + text(name)).sum(),
        _ => 0,
    }
}

/// A list with elements of a fixed size is not walked: there may be millions of them.
fn of_list(items: &[Val], walk: impl Fn(&[Val]) -> u64, each: impl Fn(&Val) -> u64) -> u64 {
    match items.first() {
        Some(first) if is_scalar(first) => each(first).saturating_mul(items.len() as u64),
        _ => walk(items),
    }
}

fn is_scalar(value: &Val) -> bool {
    matches!(
        value,
        Val::Bool(_)
            | Val::S8(_)
            | Val::U8(_)
            | Val::S16(_)
            | Val::U16(_)
            | Val::S32(_)
            | Val::U32(_)
            | Val::S64(_)
            | Val::U64(_)
            | Val::Float32(_)
            | Val::Float64(_)
            | Val::Char(_)
    )
}

fn of_payload(payload: Option<&Val>) -> u64 {
    payload.map_or(0, of).saturating_add(1)
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
        assert_eq!(data_bytes(&values), 2 * 12 + 5);
        // The record, its list, two tuples of two, the option and what is in it; the name of the
        // field; three texts.
        let expected = 10 * VALUE_BYTES + size_of::<String>() + 4 + 3 * 4;
        assert_eq!(memory_bytes(&values), expected as u64);
        let numbers = [Val::List(vec![Val::U16(1); 3])];
        assert_eq!((data_bytes(&numbers), memory_bytes(&numbers)), (6, 4 * VALUE_BYTES as u64));
    }
}
