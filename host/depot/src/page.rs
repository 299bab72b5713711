//! A page's bytes, and the page size that every part agrees on.

use bytes::Bytes;

/// Bytes of a database page.
pub const PAGE_SIZE: usize = 4096;

/// The contents of one page: exactly [`PAGE_SIZE`] bytes, shared without copying.
pub type PageBytes = Bytes;
