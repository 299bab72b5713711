//! Rows as bytes: how rows and parameter rows cross the boundary to a guest.
//!
//! ```text
//! row     = value* (as many as the statement has columns, or parameters)
//! value   = 0x00                               null
//!         | 0x01  i64 little-endian            integer
//!         | 0x02  f64 little-endian bits       real
//!         | 0x03  u32 little-endian n, n bytes text, valid UTF-8
//!         | 0x04  u32 little-endian n, n bytes blob
//! ```
//! Rows follow each other without separators. Text written here is valid UTF-8, so that the SDK
//! need not check again; bytes read here are guest-controlled and checked.

use std::ops::Range;

use super::error::{SqlError, SqlLimit};
use stockade_sqlite::Column;

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

/// Appends a column of a row. A row that began at `row_start` may have `row_bytes_max` bytes.
#[inline]
pub(super) fn push_column(
    out: &mut Vec<u8>,
    column: &Column<'_>,
    row_start: usize,
    row_bytes_max: usize,
) -> Result<(), SqlError> {
    match *column {
        Column::Null => out.push(NULL),
        Column::Integer(value) => push_word(out, INTEGER, value.to_le_bytes()),
        Column::Real(value) => push_word(out, REAL, value.to_bits().to_le_bytes()),
        Column::Text(bytes) => {
            let tag = if std::str::from_utf8(bytes).is_ok() { TEXT } else { BLOB };
            push_bytes(out, tag, bytes, row_start, row_bytes_max)?;
        }
        Column::Blob(bytes) => push_bytes(out, BLOB, bytes, row_start, row_bytes_max)?,
        Column::NoMemory => return Err(SqlError::LimitExceeded(SqlLimit::Memory)),
    }
    Ok(())
}

#[inline]
fn push_word(out: &mut Vec<u8>, tag: u8, word: [u8; 8]) {
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&word);
    out.extend_from_slice(&bytes);
}

#[inline]
fn push_bytes(
    out: &mut Vec<u8>,
    tag: u8,
    bytes: &[u8],
    row_start: usize,
    row_bytes_max: usize,
) -> Result<(), SqlError> {
    let Some(length) = u32::try_from(bytes.len())
        .ok()
        .filter(|_| (out.len() - row_start).saturating_add(bytes.len()) <= row_bytes_max)
    else {
        return Err(SqlError::LimitExceeded(SqlLimit::ValueBytes));
    };
    let mut head = [tag; 5];
    head[1..].copy_from_slice(&length.to_le_bytes());
    out.reserve(head.len() + bytes.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(bytes);
    Ok(())
}

/// One value of a packed row; bytes as a range of the packed rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Packed {
    Null,
    Integer(i64),
    Real(f64),
    /// Checked to be UTF-8.
    Text(Range<usize>),
    Blob(Range<usize>),
}

/// Reads the value at `*at` and moves `at` behind it. `bytes` are guest-controlled.
///
/// # Errors
/// `InvalidArgument` with the offset, if the bytes end early, the tag is unknown, or text is not
/// UTF-8.
#[inline]
pub(super) fn read_value(bytes: &[u8], at: &mut usize) -> Result<Packed, SqlError> {
    let start = *at;
    let tag = *bytes.get(start).ok_or_else(|| ends_early(start))?;
    let body = start + 1;
    match tag {
        NULL => {
            *at = body;
            Ok(Packed::Null)
        }
        INTEGER => {
            *at = body + 8;
            Ok(Packed::Integer(i64::from_le_bytes(word(bytes, body)?)))
        }
        REAL => {
            *at = body + 8;
            Ok(Packed::Real(f64::from_bits(u64::from_le_bytes(word(bytes, body)?))))
        }
        TEXT | BLOB => {
            let length: [u8; 4] = word(bytes, body)?;
            let from = body + 4;
            let to = usize::try_from(u32::from_le_bytes(length))
                .ok()
                .and_then(|length| from.checked_add(length))
                .filter(|to| *to <= bytes.len())
                .ok_or_else(|| ends_early(start))?;
            *at = to;
            if tag == BLOB {
                return Ok(Packed::Blob(from..to));
            }
            match std::str::from_utf8(&bytes[from..to]) {
                Ok(_) => Ok(Packed::Text(from..to)),
                Err(_) => Err(malformed("text is not UTF-8", start)),
            }
        }
        _ => Err(malformed("unknown tag", start)),
    }
}

#[inline]
fn word<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], SqlError> {
    bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()).ok_or_else(|| ends_early(at))
}

#[cold]
fn ends_early(at: usize) -> SqlError {
    malformed("the bytes end early", at)
}

#[cold]
fn malformed(what: &str, at: usize) -> SqlError {
    SqlError::InvalidArgument(format!("packed rows: {what}, value at byte {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: [Column<'static>; 6] = [
        Column::Null,
        Column::Integer(-2),
        Column::Real(1.5),
        Column::Text("å".as_bytes()),
        Column::Blob(&[0xff, 0]),
        Column::Text(&[0xff]),
    ];

    fn pack(columns: &[Column<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for column in columns {
            push_column(&mut out, column, 0, 1 << 20).unwrap();
        }
        out
    }

    /// The format is a contract with guests that are compiled already: these bytes never change.
    #[test]
    fn golden_bytes() {
        let golden = concat!(
            "00",                 // null
            "01feffffffffffffff", // -2
            "02000000000000f83f", // 1.5
            "0302000000c3a5",     // text
            "0402000000ff00",     // blob
            "0401000000ff",       // text that is not UTF-8
        );
        assert_eq!(hex::encode(pack(&ROW)), golden);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let bytes = pack(&ROW);
        let mut at = 0;
        let mut values = Vec::new();
        while at < bytes.len() {
            values.push(read_value(&bytes, &mut at).unwrap());
        }
        let [text, blob, broken] = [24..26, 31..33, 38..39];
        assert_eq!(values[..3], [Packed::Null, Packed::Integer(-2), Packed::Real(1.5)]);
        assert_eq!(
            values[3..],
            [Packed::Text(text.clone()), Packed::Blob(blob), Packed::Blob(broken)]
        );
        assert_eq!(&bytes[text], "å".as_bytes());
    }

    #[test]
    fn every_cut_and_every_bad_tag_is_refused() {
        let bytes = pack(&ROW[..5]);
        for end in 0..bytes.len() {
            let mut at = 0;
            let mut result = Ok(Packed::Null);
            while at < end && result.is_ok() {
                result = read_value(&bytes[..end], &mut at);
            }
            let whole = [1, 10, 19, 26].contains(&end) || end == 0;
            assert_eq!(result.is_ok(), whole, "cut at {end}");
        }
        for tag in 5..=255u8 {
            assert!(read_value(&[tag, 0, 0, 0, 0, 0, 0, 0, 0], &mut 0).is_err());
        }
        assert!(read_value(&[TEXT, 1, 0, 0, 0, 0xff], &mut 0).is_err());
        assert!(read_value(&[BLOB, 0xff, 0xff, 0xff, 0xff, 1], &mut 0).is_err());
    }

    #[test]
    fn a_row_is_bounded() {
        let mut out = Vec::new();
        assert!(push_column(&mut out, &Column::Blob(&[0; 60]), 0, 100).is_ok());
        let refused = push_column(&mut out, &Column::Blob(&[0; 60]), 0, 100);
        assert_eq!(refused, Err(SqlError::LimitExceeded(SqlLimit::ValueBytes)));
    }
}
