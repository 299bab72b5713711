//! Rust values out of columns, without a copy where the Rust type allows it.

use super::error::{ReadError, Type};
use super::value::{Value, ValueRef};

/// A Rust type that a column can be read as. `'r` is the lifetime of the row: `&'r str` and `&'r
/// [u8]` borrow from it.
///
/// ```
/// use stockade_sdk::{FromSql, ReadError, ValueRef};
///
/// #[derive(Debug, PartialEq)]
/// enum Colour { Red, Green }
///
/// impl FromSql<'_> for Colour {
///     fn from_sql(value: ValueRef<'_>) -> Result<Self, ReadError> {
///         match value.as_str()? {
///             "red" => Ok(Colour::Red),
///             "green" => Ok(Colour::Green),
///             other => Err(ReadError::Meaning(format!("no such colour: {other}"))),
///         }
///     }
/// }
/// assert_eq!(Colour::from_sql(ValueRef::Text(b"red")), Ok(Colour::Red));
/// ```
pub trait FromSql<'r>: Sized {
    /// Reads one value. Never blocks.
    ///
    /// # Errors
    /// [`ReadError::Type`], [`ReadError::Range`] or [`ReadError::Meaning`] if the value is not one
    /// of this type.
    fn from_sql(value: ValueRef<'r>) -> Result<Self, ReadError>;
}

impl FromSql<'_> for i64 {
    #[inline]
    fn from_sql(value: ValueRef<'_>) -> Result<Self, ReadError> {
        match value {
            ValueRef::Integer(n) => Ok(n),
            other => Err(other.is_not(Type::Integer)),
        }
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl FromSql<'_> for $type {
            #[inline]
            fn from_sql(value: ValueRef<'_>) -> Result<Self, ReadError> {
                let n = i64::from_sql(value)?;
                <$type>::try_from(n).map_err(|_| ReadError::Range(n))
            }
        }
    )*};
}

integers!(i8 i16 i32 i128 isize u8 u16 u32 u64 u128 usize);

impl FromSql<'_> for bool {
    #[inline]
    fn from_sql(value: ValueRef<'_>) -> Result<Self, ReadError> {
        Ok(i64::from_sql(value)? != 0)
    }
}

impl FromSql<'_> for f64 {
    /// Integers are read too, as the nearest real: SQLite stores some whole reals as integers.
    #[inline]
    fn from_sql(value: ValueRef<'_>) -> Result<Self, ReadError> {
        match value {
            ValueRef::Real(x) => Ok(x),
            #[allow(clippy::cast_precision_loss, reason = "the nearest real is what is promised")]
            ValueRef::Integer(n) => Ok(n as Self),
            other => Err(other.is_not(Type::Real)),
        }
    }
}

impl<'r> FromSql<'r> for &'r str {
    #[inline]
    fn from_sql(value: ValueRef<'r>) -> Result<Self, ReadError> {
        value.as_str()
    }
}

impl FromSql<'_> for String {
    #[inline]
    fn from_sql(value: ValueRef<'_>) -> Result<Self, ReadError> {
        value.as_str().map(str::to_owned)
    }
}

impl FromSql<'_> for Box<str> {
    #[inline]
    fn from_sql(value: ValueRef<'_>) -> Result<Self, ReadError> {
        value.as_str().map(Self::from)
    }
}

impl<'r> FromSql<'r> for &'r [u8] {
    #[inline]
    fn from_sql(value: ValueRef<'r>) -> Result<Self, ReadError> {
        value.as_bytes()
    }
}

impl FromSql<'_> for Vec<u8> {
    #[inline]
    fn from_sql(value: ValueRef<'_>) -> Result<Self, ReadError> {
        value.as_bytes().map(<[u8]>::to_vec)
    }
}

impl<const N: usize> FromSql<'_> for [u8; N] {
    #[inline]
    fn from_sql(value: ValueRef<'_>) -> Result<Self, ReadError> {
        let bytes = value.as_bytes()?;
        Self::try_from(bytes)
            .map_err(|_| ReadError::Meaning(format!("{} bytes instead of {N}", bytes.len())))
    }
}

impl<'r, T: FromSql<'r>> FromSql<'r> for Option<T> {
    #[inline]
    fn from_sql(value: ValueRef<'r>) -> Result<Self, ReadError> {
        match value {
            ValueRef::Null => Ok(None),
            other => T::from_sql(other).map(Some),
        }
    }
}

impl FromSql<'_> for Value {
    #[inline]
    fn from_sql(value: ValueRef<'_>) -> Result<Self, ReadError> {
        value.to_value()
    }
}

impl<'r> FromSql<'r> for ValueRef<'r> {
    #[inline]
    fn from_sql(value: ValueRef<'r>) -> Result<Self, ReadError> {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_integers_are_checked() {
        assert_eq!(u8::from_sql(ValueRef::Integer(255)), Ok(255));
        assert_eq!(u8::from_sql(ValueRef::Integer(256)), Err(ReadError::Range(256)));
        assert_eq!(u64::from_sql(ValueRef::Integer(-1)), Err(ReadError::Range(-1)));
        assert_eq!(i64::from_sql(ValueRef::Integer(i64::MIN)), Ok(i64::MIN));
    }

    #[test]
    fn types_are_not_confused() {
        fn check<T: FromSql<'static>>(value: ValueRef<'static>, expected: Type) {
            let found = value.data_type();
            assert_eq!(T::from_sql(value).err(), Some(ReadError::Type { expected, found }));
        }
        check::<i64>(ValueRef::Real(1.0), Type::Integer);
        check::<bool>(ValueRef::Text(b"1"), Type::Integer);
        check::<f64>(ValueRef::Text(b"1"), Type::Real);
        check::<&str>(ValueRef::Blob(b"a"), Type::Text);
        check::<String>(ValueRef::Null, Type::Text);
        check::<Vec<u8>>(ValueRef::Integer(1), Type::Blob);
        assert_eq!(<&str>::from_sql(ValueRef::Text(&[0xff])), Err(ReadError::Utf8));
        assert_eq!(Option::<&str>::from_sql(ValueRef::Null), Ok(None));
    }
}
