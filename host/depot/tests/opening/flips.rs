//! One flipped bit in a log of many groups, anywhere: header, page numbers, commit marks, salts,
//! checksums, pages.

use stockade_depot::store::embedded::OpenStoreError;
use stockade_testkit::random::Random;

use crate::world::{
    FRAME, HEADER, LOGS, World, after_a_power_cut, check_whole, commits, copy_of, end, found, open,
    put,
};

fn flip(log: &mut [u8], bit: usize) {
    log[bit / 8] ^= 1 << (bit % 8);
}

/// Seeds of bits; half of the flips are in headers of frames, which are a hundredth of a log.
fn bits(random: &mut Random, log: &[u8]) -> usize {
    let frames = commits(log).last().copied().unwrap() as u64;
    let at = match random.below(4) {
        0 => random.below(HEADER as u64),
        1 | 2 => HEADER as u64 + random.below(frames) * FRAME as u64 + random.below(24),
        _ => random.below(end(log) as u64),
    };
    usize::try_from(at * 8 + random.below(8)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_each_is_refused() {
    let mut world = World::new().await;
    world.write(1..20).await;
    let (image, told) = (world.image(), world.told().await);
    check_whole(&image, &told).await;
    let mut random = Random::new(1);
    for seed in 0..140_usize {
        let name = LOGS[seed % LOGS.len()];
        let mut damaged = image.clone();
        let log = damaged.get_mut(name).unwrap();
        let bit = bits(&mut random, log);
        flip(log, bit);
        let directory = put(&damaged);
        match open(directory.path()).err() {
            Some(OpenStoreError::LogDamaged { path, frame, commits_behind }) => {
                assert!(path.ends_with(name));
                assert!(commits_behind > 0);
                let due = (bit / 8).checked_sub(HEADER).map_or(0, |at| at / FRAME + 1);
                assert_eq!(frame as usize, due, "{name} bit {bit}");
            }
            other => panic!("{name} bit {bit}: {other:?}"),
        }
        // What is refused is left as it is.
        assert!(copy_of(directory.path())[name] == damaged[name]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_each_is_refused_but_in_the_last_group() {
    let mut world = World::new().await;
    world.write(1..20).await;
    let told = world.told().await;
    let image = after_a_power_cut(&world.image());
    check_whole(&image, &told).await;
    let mut random = Random::new(2);
    let mut torn = 0;
    for seed in 0..140_usize {
        let name = LOGS[1 + seed % 2];
        let mut damaged = image.clone();
        let log = damaged.get_mut(name).unwrap();
        let ends = commits(log);
        let last = HEADER + ends[ends.len() - 2] * FRAME;
        let bit = match seed {
            // Into the last group, and the last frame of the one before.
            0..10 => (last + usize::try_from(random.below(4 * FRAME as u64)).unwrap()) * 8,
            10..74 => (last - FRAME) * 8 + seed - 10,
            _ => bits(&mut random, log),
        };
        flip(log, bit);
        let directory = put(&damaged);
        match open(directory.path()) {
            Err(OpenStoreError::LogDamaged { path, .. }) => assert!(path.ends_with(name)),
            Err(other) => panic!("{name} bit {bit}: {other}"),
            Ok(store) => {
                // No more than a crash can take: the last group, of one actor.
                assert!(bit / 8 >= last, "{name} bit {bit}: {} of {ends:?}", bit / 8 / FRAME);
                let found = found(&store, &told).await;
                let differ = found.iter().zip(&told).filter(|(a, b)| a != b).count();
                assert!(found.len() == told.len() && differ <= 1, "{name} bit {bit}");
                torn += 1;
            }
        }
    }
    assert!(torn >= 10, "{torn}");
}

/// Each bit of the 24 bytes before a frame's page, in a group that is not the last.
#[tokio::test(flavor = "multi_thread")]
async fn each_bit_of_a_frames_header_is_seen() {
    let mut world = World::new().await;
    world.write(1..4).await;
    let image = after_a_power_cut(&world.image());
    let name = LOGS[1];
    let ends = commits(&image[name]);
    // An inner frame and the last one of a group.
    for frame in [ends[ends.len() - 2] - 1, ends[ends.len() - 2]] {
        for bit in 0..24 * 8 {
            let mut damaged = image.clone();
            flip(damaged.get_mut(name).unwrap(), (HEADER + (frame - 1) * FRAME) * 8 + bit);
            let directory = put(&damaged);
            let refused = open(directory.path()).err();
            let due = matches!(refused, Some(OpenStoreError::LogDamaged { .. }));
            assert!(due, "frame {frame} bit {bit}: {refused:?}");
        }
    }
}

/// Flips behind the log's end, in what it grew ahead, are none of its.
#[tokio::test(flavor = "multi_thread")]
async fn behind_the_end_nothing_counts() {
    let mut world = World::new().await;
    world.write(1..4).await;
    let (image, told) = (world.image(), world.told().await);
    let mut random = Random::new(3);
    for _ in 0..20 {
        let mut damaged = image.clone();
        let log = damaged.get_mut(LOGS[1]).unwrap();
        let ahead = (log.len() - end(log)) as u64;
        let at = end(log) + usize::try_from(random.below(ahead)).unwrap();
        flip(log, at * 8);
        check_whole(&damaged, &told).await;
    }
}

/// An index that a machine has kept from an earlier moment proves what it names, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn behind_an_older_index_damage_is_seen() {
    let mut world = World::new().await;
    world.write(1..4).await;
    let older = world.image();
    world.write(4..8).await;
    let (mut image, told) = (after_a_power_cut(&world.image()), world.told().await);
    let (name, index) = (LOGS[1], "shard-00.db-shm");
    image.insert(index.to_owned(), older[index].clone());
    check_whole(&image, &told).await;
    let known = commits(&older[name]).len();
    let frame = commits(&image[name])[known + 1];
    flip(image.get_mut(name).unwrap(), (HEADER + (frame - 1) * FRAME + 300) * 8);
    let directory = put(&image);
    let refused = open(directory.path()).err();
    let due = u32::try_from(frame).unwrap();
    let is_due = matches!(refused, Some(OpenStoreError::LogDamaged { frame, .. }) if frame == due);
    assert!(is_due, "{refused:?}");
}
