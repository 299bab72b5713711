//! Mutated inputs of fuzz tests: a seed of a corpus, after some changes.

use crate::random::Random;

/// Longest input that mutations grow to, in bytes.
const INPUT_BYTES_MAX: usize = 16 * 1024;

/// A number below `end`, to index with.
pub fn below(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).expect("below a usize")
}

/// One of them.
pub fn one<'t, T: ?Sized>(random: &mut Random, of: &[&'t T]) -> &'t T {
    of[below(random, of.len())]
}

/// A seed of the corpus after up to eight mutations: bits flipped, bytes replaced, parts cut out,
/// doubled, and spliced in from other seeds or the dictionary.
pub fn mutated(random: &mut Random, corpus: &[&[u8]], dictionary: &[&[u8]]) -> Vec<u8> {
    let mut bytes = one(random, corpus).to_vec();
    for _ in 0..random.below(9) {
        let at = below(random, bytes.len() + 1);
        let end = (at + below(random, 32)).min(bytes.len());
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next().to_le_bytes()[0],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].repeat(1 + below(random, 8));
                bytes.splice(at..at, part);
            }
            4 => {
                let other = one(random, corpus);
                let from = below(random, other.len() + 1);
                let to = from + below(random, other.len() - from + 1);
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            5 if random.below(4) == 0 => bytes.truncate(at),
            _ => drop(bytes.splice(at..at, one(random, dictionary).iter().copied())),
        }
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}

/// The same of texts.
pub fn mutated_text(random: &mut Random, corpus: &[&str], dictionary: &[&str]) -> String {
    let corpus: Vec<&[u8]> = corpus.iter().map(|text| text.as_bytes()).collect();
    let dictionary: Vec<&[u8]> = dictionary.iter().map(|text| text.as_bytes()).collect();
    String::from_utf8_lossy(&mutated(random, &corpus, &dictionary)).into_owned()
}
