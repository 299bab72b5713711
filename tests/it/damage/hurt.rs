//! One piece of damage to the files of a store that no process has open.

use std::fs;
use std::path::{Path, PathBuf};

use stockade_testkit::random;

/// Numbers that a seed repeats, to choose with.
pub(super) struct Random(random::Random);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(random::Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)))
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.below(u64::try_from(end.max(1)).unwrap())).unwrap()
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Kinds of damage; each is chosen as often as it is listed.
#[derive(Clone, Copy, Debug)]
enum Sort {
    Flip,
    FlipRow,
    Zero,
    Cut,
    SwapPages,
    SwapFiles,
    Age,
    Delete,
}

const SORTS: [Sort; 16] = [
    Sort::Flip,
    Sort::Flip,
    Sort::Flip,
    Sort::FlipRow,
    Sort::FlipRow,
    Sort::FlipRow,
    Sort::FlipRow,
    Sort::FlipRow,
    Sort::Zero,
    Sort::Cut,
    Sort::SwapPages,
    Sort::SwapPages,
    Sort::SwapFiles,
    Sort::Age,
    Sort::Age,
    Sort::Delete,
];

/// Damages the data directory `dir`; `older` is an earlier copy of the same store. Returns a
/// description of the damage.
pub(super) fn hurt(random: &mut Random, dir: &Path, older: &Path) -> String {
    // A kind may find nothing to damage: a file without a second one, an empty log.
    loop {
        let sort = random.pick(&SORTS);
        if let Some(what) = apply(random, sort, dir, older) {
            return format!("{sort:?} {what}");
        }
    }
}

fn apply(random: &mut Random, sort: Sort, dir: &Path, older: &Path) -> Option<String> {
    match sort {
        Sort::Flip => {
            let path = any_file(random, dir);
            let at = random.below(fs::read(&path).unwrap().len());
            flip(random, &path, at)
        }
        Sort::FlipRow => flip_row(random, dir),
        Sort::Zero => {
            let path = any_file(random, dir);
            let mut bytes = fs::read(&path).unwrap();
            let page = random.below(bytes.len() / 512) * 512;
            let end = (page + 512).min(bytes.len());
            if bytes[page..end].iter().all(|byte| *byte == 0) {
                return None;
            }
            bytes[page..end].fill(0);
            fs::write(&path, bytes).unwrap();
            Some(format!("bytes {page}..{end} of {}", name(&path)))
        }
        Sort::Cut => {
            let path = any_file(random, dir);
            let length = random.below(fs::read(&path).unwrap().len());
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
            Some(format!("{} to {length} bytes", name(&path)))
        }
        Sort::SwapPages => swap_pages(random, dir),
        Sort::SwapFiles => swap_files(random, dir),
        Sort::Age => {
            let path = store_file(random, dir);
            let old = older.join(path.strip_prefix(dir).unwrap());
            let old = fs::read(old).ok()?;
            if old == fs::read(&path).unwrap() {
                return None;
            }
            fs::write(&path, old).unwrap();
            Some(name(&path))
        }
        Sort::Delete => {
            let path = any_file(random, dir);
            fs::remove_file(&path).unwrap();
            Some(name(&path))
        }
    }
}

fn flip(random: &mut Random, path: &Path, at: usize) -> Option<String> {
    let mut bytes = fs::read(path).unwrap();
    let bit = random.below(8);
    *bytes.get_mut(at)? ^= 1 << bit;
    fs::write(path, bytes).unwrap();
    Some(format!("bit {bit} of byte {at} of {}", name(path)))
}

/// A bit of a page's pointers or cells, not of the free room between them.
fn flip_row(random: &mut Random, dir: &Path) -> Option<String> {
    let path = store_file(random, dir);
    let bytes = fs::read(&path).unwrap();
    let size = page_size(&bytes)?;
    let page = random.below(bytes.len() / size);
    let head = page * size + if page == 0 { 100 } else { 0 };
    if !matches!(bytes[head], 0x02 | 0x05 | 0x0a | 0x0d) {
        return None;
    }
    let of = |at: usize| usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1]);
    let (cells, content) = (of(head + 3), of(head + 5));
    let pointers = head + 8..head + 12 + 2 * cells;
    let content = page * size + content.max(8)..(page + 1) * size;
    let all = pointers.len() + content.len();
    let nth = random.below(all);
    let at = if nth < pointers.len() {
        pointers.start + nth
    } else {
        content.start + nth - pointers.len()
    };
    flip(random, &path, at)
}

fn swap_pages(random: &mut Random, dir: &Path) -> Option<String> {
    let path = store_file(random, dir);
    let mut bytes = fs::read(&path).unwrap();
    let size = page_size(&bytes)?;
    let count = bytes.len() / size;
    let (one, other) = (random.below(count), random.below(count));
    let pages = |number: usize| number * size..(number + 1) * size;
    if bytes[pages(one)] == bytes[pages(other)] {
        return None;
    }
    let first = bytes[pages(one)].to_vec();
    bytes.copy_within(pages(other), one * size);
    bytes[pages(other)].copy_from_slice(&first);
    fs::write(&path, bytes).unwrap();
    Some(format!("pages {one} and {other} of {}", name(&path)))
}

fn swap_files(random: &mut Random, dir: &Path) -> Option<String> {
    let (one, other) = (any_file(random, dir), any_file(random, dir));
    let (first, second) = (fs::read(&one).unwrap(), fs::read(&other).unwrap());
    if first == second {
        return None;
    }
    fs::write(&one, second).unwrap();
    fs::write(&other, first).unwrap();
    Some(format!("{} and {}", name(&one), name(&other)))
}

/// The page size in a database's header; `None`: no database, or an empty one.
fn page_size(bytes: &[u8]) -> Option<usize> {
    let size = usize::from(*bytes.get(16)?) << 8 | usize::from(*bytes.get(17)?);
    (bytes.starts_with(b"SQLite format 3") && size >= 512).then_some(size)
}

/// A file of the store, or of the compiled code.
fn any_file(random: &mut Random, dir: &Path) -> PathBuf {
    let code = random.below(10) == 0;
    pick_file(random, &dir.join(if code { "code" } else { "store" }))
}

fn store_file(random: &mut Random, dir: &Path) -> PathBuf {
    pick_file(random, &dir.join("store"))
}

fn pick_file(random: &mut Random, dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let full =
        entries.filter(|entry| entry.metadata().is_ok_and(|it| it.is_file() && it.len() > 0));
    let mut paths: Vec<PathBuf> = full.map(|entry| entry.path()).collect();
    paths.sort();
    paths[random.below(paths.len())].clone()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
