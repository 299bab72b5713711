//! Pages of a stopped store that stand where they do not belong, or nowhere.

use stockade_depot::EmbeddedStore;
use stockade_depot::StoreError;
use stockade_depot::store::Directory as _;
use stockade_depot::store::embedded::EmbeddedConfig;
use stockade_testkit::random::Random;

use crate::btree::PAGE_BYTES;
use crate::truth::Truth;

const SHARD: &str = "shard-00.db";

/// Damages the shard `times` times, each time another page, and asks everything.
async fn check(truth: &Truth, name: &str, times: u64, change: impl Fn(&mut Vec<u8>, usize, usize)) {
    let mut random = Random::new(7);
    let pages = u64::try_from(truth.bytes(SHARD).len() / PAGE_BYTES).unwrap();
    let mut seen = 0;
    for _ in 0..times {
        let mut some = || usize::try_from(random.below(pages)).unwrap();
        let (one, other) = (some(), some());
        truth.damage(SHARD, |bytes| change(bytes, one, other));
        let corrupt = truth.ask().await;
        let corrupt = corrupt.unwrap_or_else(|what| panic!("{name}, pages {one}, {other}: {what}"));
        seen += u32::from(corrupt > 0);
    }
    println!("{name}: {seen} of {times} seen, {pages} pages");
    assert!(seen > 0, "{name}: none of {times} was met by a call");
}

fn page(number: usize) -> std::ops::Range<usize> {
    number * PAGE_BYTES..(number + 1) * PAGE_BYTES
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanged_copied_and_zeroed() {
    let truth = Truth::new().await;
    check(&truth, "exchanged", 40, |bytes, one, other| {
        let kept = bytes[page(one)].to_owned();
        bytes.copy_within(page(other), one * PAGE_BYTES);
        bytes[page(other)].copy_from_slice(&kept);
    })
    .await;
    check(&truth, "copied", 40, |bytes, one, other| {
        bytes.copy_within(page(other), one * PAGE_BYTES);
    })
    .await;
    check(&truth, "zeroed", 40, |bytes, one, _| bytes[page(one)].fill(0)).await;
    check(&truth, "half", 40, |bytes, one, _| {
        bytes[one * PAGE_BYTES..][..PAGE_BYTES / 2].fill(0xa5);
    })
    .await;
    check(&truth, "cut", 20, |bytes, one, _| bytes.truncate((one + 1) * PAGE_BYTES)).await;
}

/// Pages of another file stand at the same place: only the key tells them from the right ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_another_shard_or_store() {
    let (truth, another) = (Truth::new().await, Truth::new().await);
    for (name, from) in [
        ("of another shard", truth.bytes("shard-01.db").to_owned()),
        ("of another store", another.bytes(SHARD).to_owned()),
    ] {
        check(&truth, name, 40, |bytes, one, _| {
            let there = &from[page(one.min(from.len() / PAGE_BYTES - 1))];
            bytes[page(one)].copy_from_slice(there);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_page_is_named() {
    let truth = Truth::new().await;
    let pages = truth.bytes(SHARD).len() / PAGE_BYTES;
    truth.damage(SHARD, |bytes| {
        for number in 1..pages {
            bytes[number * PAGE_BYTES + 1000] ^= 4;
        }
    });
    let opened = EmbeddedStore::open(&EmbeddedConfig::new(truth.directory.path()));
    let text = match opened {
        Err(error) => error.to_string(),
        Ok(store) => match store.actors(None, None, 10).await {
            Err(StoreError::Corrupt(text)) => text,
            found => panic!("{found:?}"),
        },
    };
    assert!(text.contains("engine page ") && text.contains("shard-00.db: checksum"), "{text}");
}
