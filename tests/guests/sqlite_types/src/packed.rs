//! A second implementation of the packed row format, made from the text of `sqlite.wit` alone. It
//! finds mistakes that two ends with one implementation would share.

use crate::bindings::stockade::actor::sqlite::Value;

/// Packs one row.
pub(crate) fn pack(row: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in row {
        match value {
            Value::Null => out.push(0),
            Value::Integer(integer) => {
                out.push(1);
                out.extend(integer.to_le_bytes());
            }
            Value::Real(real) => {
                out.push(2);
                out.extend(real.to_bits().to_le_bytes());
            }
            Value::Text(text) => with_length(&mut out, 3, text.as_bytes()),
            Value::Blob(blob) => with_length(&mut out, 4, blob),
        }
    }
    out
}

fn with_length(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    let length = u32::try_from(bytes.len()).expect("BUG: test values are small");
    out.extend(length.to_le_bytes());
    out.extend(bytes);
}

/// Unpacks the values of all rows, in order.
pub(crate) fn unpack(mut packed: &[u8]) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    while let Some((tag, rest)) = packed.split_first() {
        packed = rest;
        values.push(match tag {
            0 => Value::Null,
            1 => Value::Integer(i64::from_le_bytes(take_array(&mut packed)?)),
            2 => Value::Real(f64::from_bits(u64::from_le_bytes(take_array(&mut packed)?))),
            3 => {
                let bytes = take_sized(&mut packed)?;
                Value::Text(String::from_utf8(bytes).map_err(|error| error.to_string())?)
            }
            4 => Value::Blob(take_sized(&mut packed)?),
            other => return Err(format!("tag {other}")),
        });
    }
    Ok(values)
}

fn take_array<const N: usize>(packed: &mut &[u8]) -> Result<[u8; N], String> {
    let (array, rest) = packed.split_first_chunk().ok_or("a value is cut short")?;
    *packed = rest;
    Ok(*array)
}

fn take_sized(packed: &mut &[u8]) -> Result<Vec<u8>, String> {
    let length = u32::from_le_bytes(take_array(packed)?);
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    if packed.len() < length {
        return Err("a value is cut short".into());
    }
    let (bytes, rest) = packed.split_at(length);
    *packed = rest;
    Ok(bytes.to_vec())
}
