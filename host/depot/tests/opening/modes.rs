//! A store is for its owner only.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use stockade_depot::Store;
use stockade_depot::store::Cluster as _;
use stockade_depot::store::embedded::OpenStoreError;

use crate::world::{World, open};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn check_private(directory: &Path) {
    assert_eq!(mode(directory), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert!(files >= 5, "{files}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_a_new_store_is_private() {
    let mut world = World::new().await;
    world.write(1..3).await;
    check_private(world.directory.path());
    world.store.close().await;
    check_private(world.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_others_can_read_is_closed_to_them() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).unwrap().close().await;
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        set_permissions(entry.unwrap().path(), Permissions::from_mode(0o644)).unwrap();
    }
    set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let store = open(directory.path()).unwrap();
    store.put_kind("ledger", stockade_testkit::owner::COMPONENT, "{}").await.unwrap();
    check_private(directory.path());
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    for bits in [0o770, 0o707, 0o777, 0o1777] {
        let directory = tempfile::tempdir().unwrap();
        set_permissions(directory.path(), Permissions::from_mode(bits)).unwrap();
        match open(directory.path()).err() {
            Some(OpenStoreError::NotPrivate { mode, .. }) => assert_eq!(mode, bits),
            other => panic!("{bits:o}: {other:?}"),
        }
        assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none());
    }
}
