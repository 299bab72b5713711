//! One SQLite value, owned: what single bindings, typed answers and the operator's `sql` use.
//! Bulk traffic goes through [`super::packed`] instead.

/// One SQLite value. Exact both ways, with two exceptions that are SQLite's own: NaN is stored as
/// NULL, and text that is not UTF-8 is returned as a blob.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(f64),
    /// TEXT. May contain U+0000.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

impl Value {
    /// Bytes that the value holds beside itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Null | Self::Integer(_) | Self::Real(_) => 0,
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
        }
    }
}
