//! Losses that an operator accepts: the store opens with what is left, keeps a copy of what was
//! damaged, and remembers.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use stockade_depot::Store;
use stockade_depot::store::Ownership as _;
use stockade_depot::store::embedded::{OpenStoreError, connection};
use stockade_testkit::owner::Owner;

use crate::world::{
    FRAME, HEADER, Image, LOGS, Told, World, accept, after_a_power_cut, commits, found, open, put,
};

/// Damages the log of shard 0 in the middle. The state before the damaged group.
async fn damaged() -> (World, Image, Told) {
    let mut world = World::new().await;
    world.write(1..10).await;
    let middle = *commits(&world.image()[LOGS[1]]).last().unwrap();
    let before = world.told().await;
    world.write(10..20).await;
    let mut image = world.image();
    image.get_mut(LOGS[1]).unwrap()[HEADER + middle * FRAME + 300] ^= 4;
    (world, image, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_opens_and_the_loss_is_remembered() {
    for power_cut in [false, true] {
        let (world, image, before) = damaged().await;
        let image = if power_cut { after_a_power_cut(&image) } else { image };
        let now = world.told().await;
        let directory = put(&image);
        let refused = open(directory.path()).err().unwrap().to_string();
        assert!(refused.contains("shard-00.db-wal is damaged at frame"), "{refused}");
        assert!(refused.contains("--accept-loss"), "{refused}");
        let store = accept(directory.path()).unwrap();
        // Actors of the shard are as they were before the damage, the others as they are.
        let due = before.iter().zip(&now).map(|(before, now)| {
            let damaged = before.0.shard(2).0 == 0;
            if damaged { before.clone() } else { now.clone() }
        });
        let due: Told = due.collect();
        assert!(found(&store, &now).await == due);
        let losses = store.losses().unwrap();
        assert_eq!(losses.len(), 1, "{losses:?}");
        assert_eq!(losses[0].file, "shard-00.db");
        assert!(losses[0].what.contains("copy: shard-00.db-wal.damaged-1"), "{losses:?}");
        assert!(losses[0].time_ms > 0);
        let copy = directory.path().join("shard-00.db-wal.damaged-1");
        assert!(std::fs::read(&copy).unwrap() == image[LOGS[1]]);
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        // It works, and is not refused once more, in whatever way it ends.
        let as_store: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let state = as_store.actor(&due[0].0).await.unwrap().unwrap();
        let mut owner = Owner::of(&as_store, due[0].0.clone(), &state.head);
        owner.commit(&[(1, 77)], 3).await;
        let killed = crate::world::image_of(directory.path());
        for image in [killed.clone(), after_a_power_cut(&killed)] {
            let directory = put(&image);
            let store = open(directory.path()).unwrap();
            assert_eq!(store.losses().unwrap(), losses);
            let found = store.actor(&owner.actor).await.unwrap().unwrap();
            assert_eq!(found.head.txid, owner.txid);
        }
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_log_and_an_older_file_can_be_accepted() {
    let mut world = World::new().await;
    world.write(1..4).await;
    let told = world.told().await;
    world.reopen().await;
    world.write(4..8).await;
    let mut image = world.image();
    image.remove(LOGS[1]);
    let directory = put(&image);
    assert!(matches!(open(directory.path()), Err(OpenStoreError::LogCut { good: 0, .. })));
    let store = accept(directory.path()).unwrap();
    let found = found(&store, &told).await;
    for (found, told) in found.iter().zip(&told) {
        assert_eq!(found == told, told.0.shard(2).0 == 0);
    }
    let losses = store.losses().unwrap();
    // What the index says, and what the marks say.
    assert_eq!(losses.len(), 2, "{losses:?}");
    assert!(losses.iter().all(|loss| loss.file == "shard-00.db"));
    store.close().await;
    drop(store);
    open(directory.path()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_bounded() {
    let (_world, image, _) = damaged().await;
    let directory = put(&image);
    for n in 1..=8 {
        let copy = format!("shard-00.db-wal.damaged-{n}");
        std::fs::write(directory.path().join(copy), "earlier").unwrap();
    }
    assert!(matches!(accept(directory.path()), Err(OpenStoreError::Copies { .. })));
    std::fs::remove_file(directory.path().join("shard-00.db-wal.damaged-5")).unwrap();
    accept(directory.path()).unwrap();
}

/// A checkpoint has copied all of the log into the file before a bit of the log flips. On top of
/// the file the good part of the log would put pages back, one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_in_its_file_already_is_put_aside() {
    let (world, _, _) = damaged().await;
    let conn = connection(&world.directory.path().join("shard-00.db")).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    std::mem::forget(conn);
    let told = world.told().await;
    let mut image = world.image();
    image.get_mut(LOGS[1]).unwrap()[HEADER + 20 * FRAME + 300] ^= 4;
    for image in [image.clone(), after_a_power_cut(&image)] {
        let directory = put(&image);
        assert!(matches!(open(directory.path()), Err(OpenStoreError::LogDamaged { .. })));
        let store = accept(directory.path()).unwrap();
        assert!(found(&store, &told).await == told, "nothing was lost");
        let losses = store.losses().unwrap();
        assert_eq!(losses.len(), 1, "{losses:?}");
        // With the index it is known.
        let whole = losses[0].what.contains("all of it was in the file");
        assert_eq!(whole, image.contains_key("shard-00.db-shm"), "{losses:?}");
    }
}

/// A checkpoint was interrupted half way, then a bit of the log flips: neither the good part of the
/// log nor the file alone is a state that ever was.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_ahead_of_its_log_and_not_whole_cannot_be_accepted() {
    let (world, _, _) = damaged().await;
    let (before, path) = (world.image(), world.directory.path().join("shard-00.db"));
    let conn = connection(&path).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    std::mem::forget(conn);
    let copied = world.image();
    let mut image = before.clone();
    let file = image.get_mut("shard-00.db").unwrap();
    file.resize(copied["shard-00.db"].len(), 0);
    for page in (1..file.len() / 2048).step_by(2) {
        let bytes = page * 2048..(page + 1) * 2048;
        file[bytes.clone()].copy_from_slice(&copied["shard-00.db"][bytes]);
    }
    image.get_mut(LOGS[1]).unwrap()[HEADER + 20 * FRAME + 300] ^= 4;
    for image in [image.clone(), after_a_power_cut(&image)] {
        let directory = put(&image);
        assert!(matches!(open(directory.path()), Err(OpenStoreError::LogDamaged { .. })));
        let refused = accept(directory.path()).err();
        assert!(matches!(refused, Some(OpenStoreError::LogBehind { .. })), "{refused:?}");
        assert!(std::fs::read(directory.path().join(LOGS[1])).unwrap() == image[LOGS[1]]);
    }
}
