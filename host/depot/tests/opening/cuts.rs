//! Logs that are shorter than they were, gone, or another one.

use stockade_depot::store::embedded::{OpenStoreError, connection};
use stockade_testkit::owner::Owner;

use crate::world::{
    FRAME, HEADER, LOGS, World, after_a_power_cut, check_whole, commits, end, found, image_of,
    open, put, refused,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_log_is_refused_wherever_it_is_cut() {
    let mut world = World::new().await;
    world.write(1..4).await;
    let (image, told) = (world.image(), world.told().await);
    for name in LOGS {
        let last = *commits(&image[name]).last().unwrap();
        for frame in 0..=last {
            for at in [HEADER + frame * FRAME, HEADER + frame * FRAME + 1_000] {
                let mut cut = image.clone();
                cut.get_mut(name).unwrap().truncate(at);
                if frame == last {
                    check_whole(&cut, &told).await;
                    continue;
                }
                match refused(&cut) {
                    OpenStoreError::LogCut { path, good, durable } => {
                        assert!(path.ends_with(name));
                        assert!((good as usize) <= frame && durable as usize == last);
                    }
                    other => panic!("{name} at {at}: {other}"),
                }
            }
        }
        for at in [0, 1, 31] {
            let mut cut = image.clone();
            cut.get_mut(name).unwrap().truncate(at);
            assert!(matches!(refused(&cut), OpenStoreError::LogCut { good: 0, .. }), "{name} {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_log_is_refused_and_a_missing_index_is_not() {
    let mut world = World::new().await;
    world.write(1..4).await;
    let (image, told) = (world.image(), world.told().await);
    for name in LOGS {
        let mut gone = image.clone();
        gone.remove(name);
        let path = match refused(&gone) {
            OpenStoreError::LogCut { path, .. } => path,
            other => panic!("{name}: {other}"),
        };
        assert!(path.ends_with(name));
        let mut gone = image.clone();
        gone.remove(&name.replace("-wal", "-shm")).unwrap();
        check_whole(&gone, &told).await;
    }
    check_whole(&after_a_power_cut(&image), &told).await;
}

/// Without the index, the marks in the other files tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_missing_after_a_power_cut_is_seen_by_the_others() {
    let mut world = World::marking().await;
    world.write(1..4).await;
    world.wait_for_all_marks();
    let image = after_a_power_cut(&world.image());
    for name in LOGS {
        let mut gone = image.clone();
        gone.remove(name);
        match refused(&gone) {
            OpenStoreError::RolledBack { path, has, seen, .. } => {
                assert!(path.ends_with(name.trim_end_matches("-wal")));
                assert!(has == 0 && seen > 0, "{has}, {seen}");
            }
            other => panic!("{name}: {other}"),
        }
    }
}

/// A power cut in the middle of a write leaves the last group torn. That is not refused, and takes
/// nothing else along.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_group_is_not_refused() {
    let mut world = World::new().await;
    world.write(1..8).await;
    let before = world.told().await;
    let acknowledged = commits(&world.image()[LOGS[1]]).last().copied().unwrap();
    let one = world.owners.iter_mut().find(|owner| owner.fence.db.shard().0 == 0).unwrap();
    one.commit(&[(1, 99), (2, 99), (3, 99)], 3).await;
    let image = after_a_power_cut(&world.image());
    let whole = end(&image[LOGS[1]]);
    for at in (HEADER + acknowledged * FRAME..whole).step_by(512) {
        for zeros in [false, true] {
            let mut torn = image.clone();
            let log = torn.get_mut(LOGS[1]).unwrap();
            if zeros {
                log[at..whole].fill(0)
            } else {
                log.truncate(at)
            }
            let directory = put(&torn);
            let store = open(directory.path()).unwrap();
            assert!(found(&store, &before).await == before, "at {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_file_is_refused() {
    let mut world = World::marking().await;
    world.write(1..4).await;
    world.wait_for_all_marks();
    let mut other = World::marking().await;
    other.write(1..9).await;
    other.wait_for_all_marks();
    for power_cut in [false, true] {
        let (mut image, mut others) = (world.image(), other.image());
        if power_cut {
            (image, others) = (after_a_power_cut(&image), after_a_power_cut(&others));
        }
        for (from, to) in [(1, 2), (2, 1), (0, 1), (1, 0)] {
            let mut exchanged = image.clone();
            exchanged.insert(LOGS[to].to_owned(), image[LOGS[from]].clone());
            let refused = refused(&exchanged);
            assert!(matches!(refused, OpenStoreError::Foreign { .. }), "{from} to {to}: {refused}");
        }
        for name in LOGS {
            let mut foreign = image.clone();
            foreign.insert(name.to_owned(), others[name].clone());
            let refused = refused(&foreign);
            assert!(matches!(refused, OpenStoreError::Foreign { .. }), "{name}: {refused}");
        }
    }
}

/// A log from before a checkpoint, beside the file from after it: pages would go back one by one.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_log_is_refused() {
    let mut world = World::marking().await;
    world.write(1..4).await;
    world.wait_for_all_marks();
    let old = after_a_power_cut(&world.image());
    world.reopen().await;
    world.write(4..8).await;
    world.reopen().await;
    let new = after_a_power_cut(&world.image());
    for name in [LOGS[1], LOGS[2]] {
        let mut mixed = new.clone();
        mixed.insert(name.to_owned(), old[name].clone());
        match refused(&mixed) {
            OpenStoreError::Foreign { path, why } => {
                assert!(path.ends_with(name) && why.contains("older log"), "{why}");
            }
            other => panic!("{name}: {other}"),
        }
        // And the other way round.
        let mut mixed = new.clone();
        mixed.insert(name.replace("-wal", ""), old[&name.replace("-wal", "")].clone());
        assert!(matches!(refused(&mixed), OpenStoreError::RolledBack { .. }));
    }
}

/// A log from before it started over, put back in the same boot: its marks are those of the new
/// one.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_lap_before_is_refused() {
    let mut world = World::new().await;
    world.write(1..4).await;
    let old = world.image();
    let conn = connection(&world.directory.path().join("shard-00.db")).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
    std::mem::forget(conn);
    world.write(4..6).await;
    let (mut image, told) = (world.image(), world.told().await);
    check_whole(&image, &told).await;
    image.insert(LOGS[1].to_owned(), old[LOGS[1]].clone());
    match refused(&image) {
        OpenStoreError::Foreign { path, why } => {
            assert!(path.ends_with(LOGS[1]) && why.contains("another log"), "{why}");
        }
        other => panic!("{other}"),
    }
}

/// Two stores that continued from one copy: salts and marks are the same, and the frames are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_twin_is_refused() {
    let mut world = World::new().await;
    world.write(1..4).await;
    let image = world.image();
    let mut twins = Vec::new();
    for commits in [1, 4] {
        let directory = put(&image);
        let store: std::sync::Arc<dyn stockade_depot::Store> = open(directory.path()).unwrap();
        let of_shard = world.owners.iter().find(|owner| owner.fence.db.shard().0 == 0).unwrap();
        let mut owner = Owner { store: std::sync::Arc::clone(&store), ..of_shard.clone() };
        for version in 0..commits {
            owner.commit(&[(1, 100 + 10 * commits + version)], 3).await;
        }
        twins.push(image_of(directory.path()));
        store.close().await;
    }
    let mut mixed = twins[0].clone();
    mixed.insert(LOGS[1].to_owned(), twins[1][LOGS[1]].clone());
    let refused = refused(&mixed);
    let due = matches!(refused, OpenStoreError::LogCut { .. } | OpenStoreError::LogDamaged { .. });
    assert!(due, "{refused}");
}

/// What a file's header says of its pages is not proved when it is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_pages_have_another_size_than_its_logs_is_refused() {
    let mut world = World::new().await;
    world.write(1..3).await;
    let mut image = world.image();
    image.get_mut("shard-00.db").unwrap()[16..18].copy_from_slice(&4096_u16.to_be_bytes());
    for image in [image.clone(), after_a_power_cut(&image)] {
        match refused(&image) {
            OpenStoreError::Foreign { path, why } => {
                assert!(path.ends_with(LOGS[1]) && why.contains("2048 bytes"), "{why}");
            }
            other => panic!("{other}"),
        }
    }
}
