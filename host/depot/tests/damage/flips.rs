//! One flipped bit in a stopped store, in every tree of its files.

use crate::btree::{Cell, leaf_cells, trees};
use crate::truth::Truth;
use stockade_testkit::random::Random;

/// Cells of each tree that are damaged.
const CELLS: usize = 20;
/// Bits of each that are flipped, one after the other; of them two in the pointer to it.
const BITS: usize = 5;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// The bits of a cell and of its pointer: all, or some.
fn bits(cell: Cell, random: &mut Random) -> Vec<usize> {
    let of = |at: usize, len: usize| at * 8..(at + len) * 8;
    let (cell, pointer) = (of(cell.at, cell.len), of(cell.pointer_at, 2));
    if number("EVERY_BIT").is_some() {
        return cell.chain(pointer).collect();
    }
    let mut one = |of: &std::ops::Range<usize>| {
        of.start + usize::try_from(random.below(u64::try_from(of.len()).unwrap())).unwrap()
    };
    let pointer = [one(&pointer), one(&pointer)];
    (2..BITS).map(|_| one(&cell)).chain(pointer).collect()
}

async fn check(file: &str, without_rows: &[&str]) {
    let truth = Truth::new().await;
    let mut random = Random::new(number("SEED").unwrap_or(1));
    let (mut flips, mut seen) = (0_u32, 0_u32);
    let trees = trees(&truth.path(file));
    let mut empty = Vec::new();
    for (name, root) in &trees {
        truth.restore();
        let mut cells = leaf_cells(truth.bytes(file), *root);
        if cells.is_empty() {
            empty.push(name.as_str());
        }
        while cells.len() > CELLS {
            cells.swap_remove(
                usize::try_from(random.below(u64::try_from(cells.len()).unwrap())).unwrap(),
            );
        }
        let before = (flips, seen);
        for bit in cells.into_iter().flat_map(|cell| bits(cell, &mut random)).collect::<Vec<_>>() {
            truth.damage(file, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let corrupt = truth.ask().await;
            let corrupt = corrupt.unwrap_or_else(|what| panic!("{file} {name} bit {bit}: {what}"));
            flips += 1;
            seen += u32::from(corrupt > 0);
        }
        println!("{file} {name}: {} flips, {} seen", flips - before.0, seen - before.1);
    }
    println!("{file}: {} trees ({empty:?} empty), {flips} flips, {seen} seen", trees.len());
    assert_eq!(empty, without_rows);
    assert!(seen * 10 > flips * 9, "of {flips} flips {seen} were met by a call");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_shard() {
    check("shard-00.db", &["actor_due", "head_base"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_global_file() {
    check("global.db", &[]).await;
}
