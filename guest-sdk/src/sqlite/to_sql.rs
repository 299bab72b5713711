//! Rust values as parameters.

use std::borrow::Cow;

use super::error::{Error, Result};
use super::value::{Value, ValueRef};

/// A parameter on its way to SQLite: borrowed if the Rust value has the bytes already.
#[derive(Clone, Debug, PartialEq)]
pub enum ToSqlOutput<'a> {
    /// Bytes of the Rust value itself.
    Borrowed(ValueRef<'a>),
    /// A converted value.
    Owned(Value),
}

impl ToSqlOutput<'_> {
    /// The value, owned or borrowed.
    pub(crate) fn value(&self) -> ValueRef<'_> {
        match self {
            Self::Borrowed(value) => *value,
            Self::Owned(value) => ValueRef::from(value),
        }
    }
}

/// A Rust value that SQLite can store.
///
/// ```
/// use stockade_sdk::{Result, ToSql, ToSqlOutput, Value};
///
/// enum Colour { Red, Green }
///
/// impl ToSql for Colour {
///     fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
///         match self {
///             Colour::Red => "red".to_sql(),
///             Colour::Green => "green".to_sql(),
///         }
///     }
/// }
/// # assert!(Colour::Green.to_sql().is_ok());
/// ```
pub trait ToSql {
    /// The value to store. Never blocks.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if SQLite has no such value, for example for a `u64` above
    /// `i64::MAX`.
    fn to_sql(&self) -> Result<ToSqlOutput<'_>>;
}

/// The parameter NULL, where its type would otherwise be unknown.
///
/// ```
/// use stockade_sdk::{Null, ToSql, ToSqlOutput, ValueRef};
/// assert_eq!(Null.to_sql(), Ok(ToSqlOutput::Borrowed(ValueRef::Null)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Null;

impl ToSql for Null {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Null))
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl ToSql for $type {
            #[inline]
            fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*self))))
            }
        }
    )*};
}

integers!(i8 i16 i32 i64 u8 u16 u32 bool);

macro_rules! wide_integers {
    ($($type:ty)*) => {$(
        impl ToSql for $type {
            #[inline]
            fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
                match i64::try_from(*self) {
                    Ok(n) => Ok(ToSqlOutput::Borrowed(ValueRef::Integer(n))),
                    Err(_) => Err(Error::InvalidArgument(
                        format!("{self} does not fit an integer of SQLite"),
                    )),
                }
            }
        }
    )*};
}

wide_integers!(u64 usize isize i128 u128);

impl ToSql for f64 {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Real(*self)))
    }
}

impl ToSql for f32 {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Real(f64::from(*self))))
    }
}

impl ToSql for str {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.as_bytes())))
    }
}

impl ToSql for String {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        self.as_str().to_sql()
    }
}

impl ToSql for [u8] {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self)))
    }
}

impl ToSql for Vec<u8> {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        self.as_slice().to_sql()
    }
}

impl<const N: usize> ToSql for [u8; N] {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        self.as_slice().to_sql()
    }
}

impl ToSql for Value {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::from(self)))
    }
}

impl<T: ToSql> ToSql for Option<T> {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        match self {
            Some(value) => value.to_sql(),
            None => Null.to_sql(),
        }
    }
}

impl<T: ToSql + ?Sized> ToSql for &T {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        (**self).to_sql()
    }
}

impl<T: ToSql + ?Sized> ToSql for Box<T> {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        (**self).to_sql()
    }
}

impl<T: ToSql + ToOwned + ?Sized> ToSql for Cow<'_, T> {
    #[inline]
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        (**self).to_sql()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_beyond_sqlite_are_refused() {
        assert!(i64::MAX.unsigned_abs().to_sql().is_ok());
        assert!(matches!(u64::MAX.to_sql(), Err(Error::InvalidArgument(_))));
        assert!(matches!((i128::from(i64::MIN) - 1).to_sql(), Err(Error::InvalidArgument(_))));
    }

    #[test]
    fn options_and_references_are_what_they_hold() {
        let expected = Ok(ToSqlOutput::Borrowed(ValueRef::Text(b"a")));
        assert_eq!(Some("a").to_sql(), expected);
        assert_eq!((&&"a").to_sql(), expected);
        assert_eq!(Cow::Borrowed("a").to_sql(), expected);
        assert_eq!(None::<&str>.to_sql(), Ok(ToSqlOutput::Borrowed(ValueRef::Null)));
    }
}
