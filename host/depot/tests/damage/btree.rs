//! Where the cells of a stopped store's trees are, as SQLite's file format says.

use std::path::Path;

use stockade_depot::store::embedded::connection;

/// Bytes of a page, and of it what SQLite uses.
pub(crate) const PAGE_BYTES: usize = 2048;
const USED_BYTES: usize = PAGE_BYTES - 16;

/// A cell of a leaf: its place in the file, and that of the pointer to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) at: usize,
    pub(crate) len: usize,
    pub(crate) pointer_at: usize,
}

/// The tables and indexes of a file, and the page where each begins.
pub(crate) fn trees(path: &Path) -> Vec<(String, usize)> {
    let conn = connection(path).unwrap();
    let sql = "SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0 ORDER BY name";
    let mut trees = conn.prepare(sql).unwrap();
    let trees = trees.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).unwrap();
    trees
        .map(|tree| tree.map(|(name, root)| (name, usize::try_from(root).unwrap())).unwrap())
        .collect()
}

/// All cells of the leaves below a page.
pub(crate) fn leaf_cells(file: &[u8], root: usize) -> Vec<Cell> {
    let start = (root - 1) * PAGE_BYTES;
    let header = start + if root == 1 { 100 } else { 0 };
    let two = |at: usize| usize::from(u16::from_be_bytes(file[at..at + 2].try_into().unwrap()));
    let four = |at: usize| {
        usize::try_from(u32::from_be_bytes(file[at..at + 4].try_into().unwrap())).unwrap()
    };
    let is_leaf = matches!(file[header], 0x0a | 0x0d);
    assert!(is_leaf || matches!(file[header], 0x02 | 0x05), "page {root} is of no tree");
    let pointers = header + if is_leaf { 8 } else { 12 };
    let cells: Vec<usize> = (0..two(header + 3)).map(|n| two(pointers + 2 * n)).collect();
    if !is_leaf {
        let below = cells.iter().map(|at| four(start + at)).chain([four(header + 8)]);
        return below.flat_map(|page| leaf_cells(file, page)).collect();
    }
    let end = |at: usize| cells.iter().copied().filter(|it| *it > at).min().unwrap_or(USED_BYTES);
    let cell = |(n, at): (usize, &usize)| Cell {
        at: start + at,
        len: end(*at) - at,
        pointer_at: pointers + 2 * n,
    };
    cells.iter().enumerate().map(cell).collect()
}
