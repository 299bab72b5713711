//! Cuts the package index into chunks, the same for both sides.

/// Most bytes of one call, and of one native transaction.
const CHUNK_BYTES: usize = 2 << 20;

/// Chunks of whole records.
pub fn chunks_of(text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let mut rest = text;
    while rest.len() > CHUNK_BYTES {
        let before = (0..=CHUNK_BYTES).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0);
        let cut = rest[..before].rfind("\n\n").map_or(rest.len(), |at| at + 2);
        let (chunk, after) = rest.split_at(cut);
        chunks.push(chunk);
        rest = after;
    }
    chunks.push(rest);
    chunks
}
