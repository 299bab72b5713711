//! Damage: what calls answer (`answers.rs`), what the check of the whole store reports
//! (`whole.rs`), and, here, a store with one piece of damage, chosen by a seed. Every answer is
//! right or `depot.corrupt`: no older value, no other actor's data, no second actor. And `verify`
//! finds the damage.
//! ```text
//!  three images of one store: old ─> at rest (logs cut) ─> killed (logs full)
//!  each seed: a copy of one ─> one piece of damage (`hurt.rs`) ─> a host on it
//!             ─> check of everything ─> all actors are asked everything, twice (`ask.rs`)
//! ```
//! The right answers come from an undamaged copy. `SEEDS=n` runs more seeds (`make damage`),
//! `SEED=n` sets the first one: a failure prints its seed, which repeats it.

mod answers;
mod ask;
mod hurt;
mod images;
mod whole;

use std::fmt;
use std::time::Instant;

use ask::{Asked, Outcome};
use hurt::Random;
use images::{Image, Images};

/// Seeds in `make test`: each takes two starts of a host and some 200 calls.
const SEEDS: u64 = 12;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[derive(Default)]
struct Count {
    seeds: u64,
    refused: u64,
    corrupt: u64,
    right: u64,
    wrong: u64,
    missed: u64,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, refused, corrupt, right, wrong, missed } = self;
        write!(
            f,
            "damage: {seeds} seeds, refused at open {refused}, typed depot.corrupt {corrupt}, \
             right {right}, silent wrong answers {wrong}, verify missed {missed}"
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_piece_of_damage_is_met_or_harmless() {
    stockade_vfs::heap::install();
    let (first, seeds) = (number("SEED", 1), number("SEEDS", SEEDS));
    let begun = Instant::now();
    let images = Images::make().await;
    let right = [images.asked(Image::Rest).await, images.asked(Image::Killed).await];
    println!("damage: images made in {} ms", begun.elapsed().as_millis());
    let mut count = Count::default();
    let mut failures = Vec::new();
    for seed in first..first + seeds {
        let mut random = Random::new(seed);
        let at = random.pick(&[Image::Rest, Image::Killed]);
        let copy = images.copy(at);
        let what = hurt::hurt(&mut random, copy.path(), &images.older(at));
        let Asked { outcome, wrong, verify_missed } =
            ask::ask(copy.path(), &right[usize::from(at == Image::Killed)]).await;
        count.seeds += 1;
        match outcome {
            Outcome::Refused => count.refused += 1,
            Outcome::Corrupt => count.corrupt += 1,
            Outcome::Right => count.right += 1,
        }
        count.wrong += u64::from(!wrong.is_empty());
        count.missed += u64::from(verify_missed);
        if !wrong.is_empty() || verify_missed {
            let told = format!(
                "SEED={seed} SEEDS=1: {at:?}, {what}: {wrong:?}, verify missed: {verify_missed}"
            );
            println!("{told}");
            failures.push(told);
        }
    }
    println!("{count}");
    assert!(failures.is_empty(), "{count}\n{}", failures.join("\n"));
}
