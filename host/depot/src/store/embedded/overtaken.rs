//! Whether a file holds pages that its damaged log has only behind the damage: a checkpoint has
//! copied them before. With the good part of the log on top, pages would go back one by one.
//!
//! Asked only when a loss is accepted, and the log's index does not tell.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::log::{FRAME_HEADER_BYTES, HEADER_BYTES, Header, Log};
use super::open::beside;

/// Where the header of a file has how many bytes at the end of each page are reserved.
const RESERVED_AT: u64 = 20;

/// True if a page of the file is that of a frame behind the first bad one, and not the last good
/// one.
///
/// # Errors
/// If file or log cannot be read.
pub(super) fn is_beyond(path: &Path, log: &Log) -> io::Result<bool> {
    let frames = match File::open(beside(path, "-wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let (file, mut frames) = (File::open(path)?, BufReader::new(frames));
    // What is reserved at the end of a page is not SQLite's, and need not be in the log.
    let mut reserved = [0];
    file.read_exact_at(&mut reserved, RESERVED_AT)?;
    let usable = (log.page_bytes as usize).saturating_sub(usize::from(reserved[0]));
    frames.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
    let mut frame = vec![0; FRAME_HEADER_BYTES + log.page_bytes as usize];
    let mut found = vec![0; usable];
    // Of the good part the hash of each page: a log is bounded, and so are these.
    let mut good: HashMap<u32, blake3::Hash> = HashMap::new();
    let is_known = log.header == Header::Good;
    for number in 1_u32.. {
        match frames.read_exact(&mut frame) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        let (header, page) = frame.split_at(FRAME_HEADER_BYTES);
        let page = &page[..usable];
        let pgno = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        if pgno == 0 || (is_known && header[8..16] != log.salts) {
            continue;
        }
        if is_known && number <= log.good {
            good.insert(pgno, blake3::hash(page));
            continue;
        }
        let at = (u64::from(pgno) - 1) * u64::from(log.page_bytes);
        let is_there = file.read_exact_at(&mut found, at).is_ok() && found == page;
        if is_there && good.get(&pgno) != Some(&blake3::hash(page)) {
            return Ok(true);
        }
    }
    Ok(false)
}
