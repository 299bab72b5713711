//! The values SQLite knows, owned and borrowed.

use super::error::{ReadError, Type};

/// One SQLite value that owns its bytes.
///
/// ```
/// use stockade_sdk::{Value, ValueRef};
/// let value = Value::Text("abc".to_owned());
/// assert_eq!(ValueRef::from(&value), ValueRef::Text(b"abc"));
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// NULL.
    #[default]
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL. SQLite stores NaN as NULL.
    Real(f64),
    /// TEXT.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

/// One SQLite value that borrows its bytes, from a row or from a parameter.
///
/// Text is kept as bytes and checked only when it is read as a string: rows that are only counted
/// or passed on cost nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(f64),
    /// TEXT, as bytes.
    Text(&'a [u8]),
    /// BLOB.
    Blob(&'a [u8]),
}

impl<'a> ValueRef<'a> {
    /// Which of SQLite's types this is. Never blocks.
    ///
    /// ```
    /// use stockade_sdk::{Type, ValueRef};
    /// assert_eq!(ValueRef::Integer(1).data_type(), Type::Integer);
    /// ```
    #[must_use]
    pub fn data_type(self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Integer(_) => Type::Integer,
            Self::Real(_) => Type::Real,
            Self::Text(_) => Type::Text,
            Self::Blob(_) => Type::Blob,
        }
    }

    /// The text. Never blocks.
    ///
    /// # Errors
    /// [`ReadError::Type`] for anything but text; [`ReadError::Utf8`] if the host broke its
    /// promise that text is UTF-8.
    ///
    /// ```
    /// use stockade_sdk::ValueRef;
    /// assert_eq!(ValueRef::Text(b"abc").as_str(), Ok("abc"));
    /// assert!(ValueRef::Integer(1).as_str().is_err());
    /// ```
    #[inline]
    pub fn as_str(self) -> Result<&'a str, ReadError> {
        match self {
            Self::Text(bytes) => str::from_utf8(bytes).map_err(|_| ReadError::Utf8),
            other => Err(other.is_not(Type::Text)),
        }
    }

    /// The bytes of a text or a blob. Never blocks.
    ///
    /// # Errors
    /// [`ReadError::Type`] for anything else.
    ///
    /// ```
    /// use stockade_sdk::ValueRef;
    /// assert_eq!(ValueRef::Text(b"abc").as_bytes(), Ok(&b"abc"[..]));
    /// ```
    #[inline]
    pub fn as_bytes(self) -> Result<&'a [u8], ReadError> {
        match self {
            Self::Text(bytes) | Self::Blob(bytes) => Ok(bytes),
            other => Err(other.is_not(Type::Blob)),
        }
    }

    /// An owned copy. Never blocks.
    ///
    /// # Errors
    /// [`ReadError::Utf8`] as for [`ValueRef::as_str`].
    ///
    /// ```
    /// use stockade_sdk::{Value, ValueRef};
    /// assert_eq!(ValueRef::Text(b"abc").to_value(), Ok(Value::Text("abc".to_owned())));
    /// ```
    pub fn to_value(self) -> Result<Value, ReadError> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Integer(n) => Value::Integer(n),
            Self::Real(x) => Value::Real(x),
            Self::Text(_) => Value::Text(self.as_str()?.to_owned()),
            Self::Blob(bytes) => Value::Blob(bytes.to_vec()),
        })
    }

    /// The error for a value of another type than the caller asked for.
    pub(crate) fn is_not(self, expected: Type) -> ReadError {
        ReadError::Type { expected, found: self.data_type() }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(n) => Self::Integer(*n),
            Value::Real(x) => Self::Real(*x),
            Value::Text(text) => Self::Text(text.as_bytes()),
            Value::Blob(bytes) => Self::Blob(bytes),
        }
    }
}
