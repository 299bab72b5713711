//! Packed rows, the form of rows and parameters on the way between actor and host.
//!
//! The format is fixed by `wit/sqlite.wit`; rows follow each other without separators:
//!
//! ```text
//! value = 00                        null
//!       | 01  i64 little-endian     integer
//!       | 02  f64 little-endian     real, by its bits
//!       | 03  u32 n, n bytes        text
//!       | 04  u32 n, n bytes        blob
//! ```

use super::error::{Error, ReadError};
use super::value::ValueRef;

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

/// Appends one value.
///
/// # Errors
/// `invalid-argument` for bytes whose length does not fit 32 bits.
pub(crate) fn put(into: &mut Vec<u8>, value: ValueRef<'_>) -> Result<(), Error> {
    match value {
        ValueRef::Null => into.push(NULL),
        ValueRef::Integer(n) => put_word(into, INTEGER, n.to_le_bytes()),
        ValueRef::Real(x) => put_word(into, REAL, x.to_bits().to_le_bytes()),
        ValueRef::Text(bytes) => put_bytes(into, TEXT, bytes)?,
        ValueRef::Blob(bytes) => put_bytes(into, BLOB, bytes)?,
    }
    Ok(())
}

/// Where the value that starts at `at` ends.
///
/// # Errors
/// [`ReadError::Malformed`] if no whole value starts there.
#[inline]
pub(crate) fn skip(bytes: &[u8], at: usize) -> Result<usize, ReadError> {
    let end = match *bytes.get(at).ok_or(ReadError::Malformed)? {
        NULL => at + 1,
        INTEGER | REAL => at + 9,
        TEXT | BLOB => (at + 5).checked_add(length(bytes, at)?).ok_or(ReadError::Malformed)?,
        _ => return Err(ReadError::Malformed),
    };
    if end > bytes.len() { Err(ReadError::Malformed) } else { Ok(end) }
}

/// The value that starts at `at`.
///
/// # Errors
/// [`ReadError::Malformed`] if no whole value starts there.
#[inline]
pub(crate) fn read(bytes: &[u8], at: usize) -> Result<ValueRef<'_>, ReadError> {
    let tag = *bytes.get(at).ok_or(ReadError::Malformed)?;
    Ok(match tag {
        NULL => ValueRef::Null,
        INTEGER => ValueRef::Integer(i64::from_le_bytes(word(bytes, at)?)),
        REAL => ValueRef::Real(f64::from_bits(u64::from_le_bytes(word(bytes, at)?))),
        TEXT => ValueRef::Text(tail(bytes, at)?),
        BLOB => ValueRef::Blob(tail(bytes, at)?),
        _ => return Err(ReadError::Malformed),
    })
}

fn put_word(into: &mut Vec<u8>, tag: u8, word: [u8; 8]) {
    let mut packed = [tag; 9];
    packed[1..].copy_from_slice(&word);
    into.extend_from_slice(&packed);
}

fn put_bytes(into: &mut Vec<u8>, tag: u8, bytes: &[u8]) -> Result<(), Error> {
    let length = u32::try_from(bytes.len())
        .map_err(|_| Error::InvalidArgument("a value is longer than 4 GiB".to_owned()))?;
    let [a, b, c, d] = length.to_le_bytes();
    into.extend_from_slice(&[tag, a, b, c, d]);
    into.extend_from_slice(bytes);
    Ok(())
}

#[inline]
fn word(bytes: &[u8], at: usize) -> Result<[u8; 8], ReadError> {
    bytes
        .get(at + 1..)
        .and_then(|tail| tail.first_chunk::<8>())
        .copied()
        .ok_or(ReadError::Malformed)
}

#[inline]
fn length(bytes: &[u8], at: usize) -> Result<usize, ReadError> {
    let length =
        bytes.get(at + 1..).and_then(|tail| tail.first_chunk::<4>()).ok_or(ReadError::Malformed)?;
    usize::try_from(u32::from_le_bytes(*length)).map_err(|_| ReadError::Malformed)
}

#[inline]
fn tail(bytes: &[u8], at: usize) -> Result<&[u8], ReadError> {
    let length = length(bytes, at)?;
    bytes.get(at + 5..).and_then(|tail| tail.get(..length)).ok_or(ReadError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(values: &[ValueRef<'_>]) -> Vec<u8> {
        let mut into = Vec::new();
        for value in values {
            put(&mut into, *value).unwrap();
        }
        into
    }

    #[test]
    fn every_value_comes_back_as_it_was() {
        let values = [
            ValueRef::Null,
            ValueRef::Integer(0),
            ValueRef::Integer(-1),
            ValueRef::Integer(i64::MIN),
            ValueRef::Integer(i64::MAX),
            ValueRef::Real(0.0),
            ValueRef::Real(-0.0),
            ValueRef::Real(f64::INFINITY),
            ValueRef::Real(f64::MIN_POSITIVE / 2.0),
            ValueRef::Text(b""),
            ValueRef::Text("a\0b \u{1F980}".as_bytes()),
            ValueRef::Blob(b""),
            ValueRef::Blob(&[0, 255, 3, 4]),
        ];
        let bytes = packed(&values);
        let mut at = 0;
        for value in values {
            assert_eq!(read(&bytes, at).unwrap(), value);
            at = skip(&bytes, at).unwrap();
        }
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn reals_keep_every_bit() {
        for bits in [0x7ff8_0000_0000_0001, 0xfff0_dead_beef_0001, 0x8000_0000_0000_0000_u64] {
            let bytes = packed(&[ValueRef::Real(f64::from_bits(bits))]);
            let ValueRef::Real(back) = read(&bytes, 0).unwrap() else { panic!("not a real") };
            assert_eq!(back.to_bits(), bits);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_contract() {
        let bytes = packed(&[
            ValueRef::Null,
            ValueRef::Integer(-2),
            ValueRef::Real(1.0),
            ValueRef::Text(b"hi"),
            ValueRef::Blob(&[9]),
        ]);
        let expected: &[u8] = &[
            0, //
            1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, //
            2, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, //
            3, 2, 0, 0, 0, b'h', b'i', //
            4, 1, 0, 0, 0, 9,
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn malformed_bytes_are_an_error_at_every_cut() {
        let whole = packed(&[ValueRef::Integer(7), ValueRef::Real(0.5), ValueRef::Text(b"abc")]);
        for (start, end) in [(0, 9), (9, 18), (18, 26)] {
            for cut in start..end {
                assert_eq!(skip(&whole[..cut], start), Err(ReadError::Malformed), "cut {cut}");
                assert_eq!(read(&whole[..cut], start), Err(ReadError::Malformed), "cut {cut}");
            }
            assert_eq!(skip(&whole[..end], start), Ok(end));
        }
        for bad in [&[5_u8][..], &[255], &[3, 255, 255, 255, 255], &[4, 255, 255, 255, 255, 0]] {
            assert_eq!(skip(bad, 0), Err(ReadError::Malformed), "{bad:?}");
            assert_eq!(read(bad, 0), Err(ReadError::Malformed), "{bad:?}");
        }
    }
}
