//! One large value of a row, read and written in pieces.

use core::marker::PhantomData;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::connection::Connection;
use super::error::{Error, Result};
use crate::bindings::sqlite as raw;

/// The most bytes that one call of the host carries.
const PIECE_BYTES: usize = 1 << 20;

/// A value of a row, open for incremental access: [`Read`], [`Write`] and [`Seek`]. Made by
/// [`Connection::blob_open`].
/// Its size is fixed: a write stops at its end. The blob expires when a statement changes its row.
///
/// ```no_run
/// use std::io::{Result, Write};
/// use stockade_sdk::Connection;
/// fn fill(photo: i64, bytes: &[u8]) -> Result<()> {
///     let connection = Connection::open().map_err(std::io::Error::other)?;
///     connection
///         .execute("UPDATE photo SET bytes = zeroblob(?2) WHERE id = ?1", (photo, bytes.len()))
///         .map_err(std::io::Error::other)?;
///     let mut blob = connection
///         .blob_open("photo", "bytes", photo, false)
///         .map_err(std::io::Error::other)?;
///     blob.write_all(bytes)
/// }
/// ```
#[derive(Debug)]
pub struct Blob<'c> {
    raw: raw::Blob,
    size: u64,
    position: u64,
    connection: PhantomData<(&'c Connection, *const ())>,
}

impl Blob<'_> {
    pub(crate) fn open(raw: raw::Blob) -> Result<Self> {
        let size = raw.size()?;
        Ok(Self { raw, size, position: 0, connection: PhantomData })
    }

    /// Size in bytes. Never blocks.
    ///
    /// ```no_run
    /// # fn f(blob: &stockade_sdk::Blob<'_>) {
    /// assert_eq!(blob.size(), 1_000_000);
    /// # }
    /// ```
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads at `offset` until `buffer` is full or the value ends; returns the bytes read. It
    /// blocks only for pages that are not in memory.
    ///
    /// # Errors
    /// [`Error::NotOpen`] if the blob has expired; [`Error::Revoked`].
    ///
    /// ```no_run
    /// # fn f(blob: &stockade_sdk::Blob<'_>) -> stockade_sdk::Result<()> {
    /// let mut magic = [0; 4];
    /// assert_eq!(blob.read_at(0, &mut magic)?, 4);
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let got = self.read_piece(offset.saturating_add(done as u64), &mut buffer[done..])?;
            if got == 0 {
                break;
            }
            done += got;
        }
        Ok(done)
    }

    /// Writes all of `bytes` at `offset`, within the size. It blocks only for pages that are not
    /// in memory.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] beyond the end; [`Error::Denied`] if opened for reading only;
    /// [`Error::NotOpen`] if the blob has expired; [`Error::Revoked`].
    ///
    /// ```no_run
    /// # fn f(blob: &stockade_sdk::Blob<'_>) -> stockade_sdk::Result<()> {
    /// blob.write_at(0, b"GIF89a")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            let text = format!("{} bytes at {offset} reach beyond {}", bytes.len(), self.size);
            return Err(Error::InvalidArgument(text));
        }
        let mut at = offset;
        for piece in bytes.chunks(PIECE_BYTES) {
            self.raw.write(at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Reads at most one piece.
    fn read_piece(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let length = buffer.len().min(PIECE_BYTES);
        let bytes = self.raw.read(offset, length as u64)?;
        match buffer.get_mut(..bytes.len()) {
            Some(target) => target.copy_from_slice(&bytes),
            None => return Err(Error::Other("the host sent more than was asked for".to_owned())),
        }
        Ok(bytes.len())
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.read_piece(self.position, buffer).map_err(io::Error::other)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Write for Blob<'_> {
    /// Writes up to the end of the value; at the end it writes nothing.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.position);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let piece = &bytes[..bytes.len().min(PIECE_BYTES).min(left)];
        if !piece.is_empty() {
            self.raw.write(self.position, piece).map_err(|e| io::Error::other(Error::from(e)))?;
            self.position += piece.len() as u64;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Blob<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = seek(self.position, self.size, to)?;
        Ok(self.position)
    }
}

/// The position that `to` means. Beyond the end is allowed, before the start is not.
fn seek(position: u64, size: u64, to: SeekFrom) -> io::Result<u64> {
    let target = match to {
        SeekFrom::Start(offset) => Some(offset),
        SeekFrom::End(offset) => size.checked_add_signed(offset),
        SeekFrom::Current(offset) => position.checked_add_signed(offset),
    };
    target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "before the start"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeking_stays_within_numbers() {
        assert_eq!(seek(5, 10, SeekFrom::Start(7)).unwrap(), 7);
        assert_eq!(seek(5, 10, SeekFrom::Current(-5)).unwrap(), 0);
        assert_eq!(seek(5, 10, SeekFrom::End(-1)).unwrap(), 9);
        assert_eq!(seek(5, 10, SeekFrom::End(3)).unwrap(), 13);
        assert!(seek(5, 10, SeekFrom::Current(-6)).is_err());
        assert!(seek(5, 10, SeekFrom::End(i64::MIN)).is_err());
    }
}
