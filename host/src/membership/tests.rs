//! A process whose signs of life have stopped by themselves, as those of one that was frozen.

use stockade_depot::EmbeddedStore;

use super::*;

/// Two of them are a moment.
const LEASE: Duration = Duration::from_millis(200);

async fn register(store: &Arc<dyn Store>, own: u8, lock_dir: &Path) -> Nodes {
    let announced = Announced { address: format!("10.0.0.{own}:80"), peers: None };
    let session = NodeSession([own; 16]);
    let nodes = Nodes::register(Arc::clone(store), session, announced, LEASE, lock_dir).await;
    nodes.expect("registers")
}

/// The first call after that need not wait for the next sign of life: it brings one.
#[tokio::test]
async fn a_call_near_the_end_of_the_lease_renews_it() {
    stockade_vfs::heap::install();
    let lock_dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory(1).expect("opens"));
    let _other = register(&store, 1, lock_dir.path()).await;
    let nodes = register(&store, 2, lock_dir.path()).await;
    assert!(nodes.holds_lease().await);
    tokio::time::sleep(LEASE * 2).await;
    assert!(nodes.lease.is_near_its_end());
    assert!(nodes.holds_lease().await, "the store takes a sign of life");
    assert!(nodes.lease.age() < LEASE * 2, "and it was sent now");
    nodes.resign();
    tokio::time::sleep(LEASE * 2).await;
    assert!(!nodes.holds_lease().await, "one that has resigned sends none");
}

/// What proves that it lives came after the moment, and was not read before.
#[tokio::test]
async fn a_sign_of_life_is_as_new_as_the_look_before_it() {
    stockade_vfs::heap::install();
    let lock_dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory(1).expect("opens"));
    let other = register(&store, 1, lock_dir.path()).await;
    let before = Instant::now();
    let nodes = register(&store, 2, lock_dir.path()).await;
    let begun = Instant::now();
    assert!(!nodes.lives_since(other.own, begun), "it was seen once");
    nodes.look().await.expect("looks");
    assert!(!nodes.lives_since(other.own, begun), "its counter has not moved");
    other.beat().await.expect("beats");
    let moved = Instant::now();
    nodes.look().await.expect("looks");
    assert!(nodes.lives_since(other.own, begun), "it moved after the last look");
    assert!(!nodes.lives_since(other.own, before), "the process was not known yet");
    assert!(!nodes.lives_since(other.own, moved), "and maybe before this moment");
    assert!(!nodes.lives_since(NodeSession([3; 16]), begun), "one that is not known");
}
