//! What exists: the listing, destroy, components, kinds, nodes.

use std::sync::Arc;

use crate::owner::{COMPONENT, Owner, create_step};
use stockade_depot::store::{
    Counted, Destroyed, NodeBeat, NodeLoad, NodeProgram, TakenOver, Wanted,
};
use stockade_depot::{ActorId, Digest, NodeSession, Pgno, Shard, Store, StoreError, Txid};

async fn list(
    store: &dyn Store,
    kind: Option<&str>,
    after: Option<(&str, &str)>,
    max: usize,
) -> Vec<String> {
    let after = after.map(|(kind, key)| ActorId::new(kind, key).unwrap());
    let found = store.actors(kind, after.as_ref(), max).await.unwrap();
    found.iter().map(|state| state.row.actor.to_string()).collect()
}

pub async fn actors_are_listed_in_order_over_all_shards(store: Arc<dyn Store>) {
    let mut due = Vec::new();
    for (kind, key) in [("b", "x"), ("a", "é"), ("a", "z"), ("c", "1"), ("a", "Z"), ("b", "w")] {
        for n in 0..4 {
            let mut step = create_step(store.as_ref(), "unused");
            step.actor = ActorId::new(kind, &format!("{key}{n}")).unwrap();
            step.db.0[0] = step.actor.shard(store.shards()).0;
            store.create(step.clone()).await.unwrap();
            due.push(step.actor);
        }
    }
    due.sort();
    let due: Vec<String> = due.iter().map(ToString::to_string).collect();
    assert_eq!(list(store.as_ref(), None, None, 1000).await, due);
    let mut paged = Vec::new();
    let mut after: Option<ActorId> = None;
    loop {
        let page = store.actors(None, after.as_ref(), 5).await.unwrap();
        assert!(page.len() <= 5);
        paged.extend(page.iter().map(|state| state.row.actor.to_string()));
        match page.into_iter().next_back() {
            Some(last) => after = Some(last.row.actor),
            None => break,
        }
    }
    assert_eq!(paged, due);
    let store = store.as_ref();
    let of_b: Vec<String> = due.iter().filter(|name| name.starts_with("b/")).cloned().collect();
    assert_eq!(list(store, Some("b"), None, 1000).await, of_b);
    assert_eq!(list(store, Some("b"), Some(("b", "w3")), 1000).await, of_b[4..]);
    assert_eq!(list(store, Some("b"), Some(("a", "z3")), 2).await, of_b[..2]);
    assert_eq!(list(store, Some("b"), Some(("c", "1")), 1000).await, [""; 0]);
    assert_eq!(list(store, Some("none"), None, 1000).await, [""; 0]);
    assert_eq!(list(store, None, None, 0).await, [""; 0]);
}

/// Takes `owner`'s actor over in order to destroy it.
async fn condemn(owner: &Owner) -> Owner {
    let mut step = owner.takeover_step();
    step.destroying = true;
    let TakenOver::Owned { head, .. } = owner.store.take_over(step).await.unwrap() else {
        panic!("nobody stood in the way");
    };
    assert_eq!(owner.state().await.unwrap().row.wanted, Wanted::Destroying);
    Owner::of(&owner.store, owner.actor.clone(), &head)
}

/// Sends steps until nothing is left; how many it took.
async fn destroy(owner: &Owner) -> u32 {
    for steps in 1.. {
        match owner.store.destroy(&owner.actor, owner.fence).await.unwrap() {
            Destroyed::More { rows } => assert!((1..=10_000).contains(&rows), "{rows}"),
            Destroyed::Gone => return steps,
        }
        // Until the end the actor is there, so that no caller makes a new one beside it.
        assert!(owner.state().await.is_some());
        assert!(owner.store.rows_of(owner.fence.db).await.unwrap() >= 2);
    }
    unreachable!("a destroy ends")
}

pub async fn destroy_leaves_nothing(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let mut other = Owner::create(&store, "b").await;
    other.commit(&[(1, 1), (2, 1)], 2).await;
    let pages: Vec<(u32, u64)> = (1..=3000).map(|pgno| (pgno, 1)).collect();
    owner.commit(&pages, 3000).await;
    owner.commit(&[(1, 2)], 3000).await;
    store.seal(owner.seal_step(Some(b"state"))).await.unwrap();
    let kept = other.everything().await;
    let owner = condemn(&owner).await;
    assert!(destroy(&owner).await > 1, "3000 rows are more than one bounded step");
    assert_eq!(store.rows_of(owner.fence.db).await, Ok(0));
    assert_eq!(owner.state().await, None);
    assert_eq!(store.verdict(owner.fence.db, Txid(1)).await, Ok((None, None)));
    let missing = Err(StoreError::DatabaseMissing(owner.fence.db));
    assert_eq!(store.read(owner.fence, Txid(1), &[Pgno(1)]).await.map(drop), missing);
    assert_eq!(store.destroy(&owner.actor, owner.fence).await.map(drop), missing);
    assert_eq!(other.everything().await, kept);
    let again = Owner::create(&store, "a").await;
    assert_ne!(again.fence.db, owner.fence.db);
    assert_eq!(again.txid, Txid(0));
}

pub async fn destroy_wants_the_owner_and_the_mark(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let before = owner.everything().await;
    assert!(store.destroy(&owner.actor, owner.fence).await.is_err(), "nobody wants it destroyed");
    assert_eq!(owner.everything().await, before);
    let condemned = condemn(&owner).await;
    let stale = store.destroy(&owner.actor, owner.fence).await;
    assert!(matches!(stale, Err(StoreError::Fenced(_))), "{stale:?}");
    // The mark stays after any takeover.
    let next = condemned.successor().await;
    assert_eq!(next.state().await.unwrap().row.wanted, Wanted::Destroying);
}

pub async fn a_destroy_is_finished_by_the_next_owner(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let pages: Vec<(u32, u64)> = (1..=2500).map(|pgno| (pgno, 1)).collect();
    owner.commit(&pages, 2500).await;
    let first = condemn(&owner).await;
    let step = store.destroy(&first.actor, first.fence).await.unwrap();
    assert!(matches!(step, Destroyed::More { .. }));
    let second = first.successor().await;
    assert!(matches!(store.destroy(&first.actor, first.fence).await, Err(StoreError::Fenced(_))));
    destroy(&second).await;
    assert_eq!(store.rows_of(second.fence.db).await, Ok(0));
}

pub async fn components_are_kept_by_digest(store: Arc<dyn Store>) {
    // SHA-256 of "abc", from the standard.
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let digest = Digest(hex::decode(hex).unwrap().try_into().unwrap());
    assert_eq!(store.component(digest).await, Ok(None));
    for _ in 0..2 {
        store.put_component(digest, b"abc".to_vec()).await.unwrap();
        assert_eq!(store.component(digest).await, Ok(Some(b"abc".to_vec())));
    }
    let wrong = store.put_component(COMPONENT, b"abc".to_vec()).await;
    assert!(matches!(wrong, Err(StoreError::Corrupt(_))), "{wrong:?}");
    assert_eq!(store.component(COMPONENT).await, Ok(None));
}

pub async fn kinds_count_their_deployments(store: Arc<dyn Store>) {
    assert_eq!(store.kind("ledger").await, Ok(None));
    let first = store.put_kind("ledger", COMPONENT, "{}").await.unwrap();
    assert_eq!((first.version, first.component), (1, COMPONENT));
    let second = store.put_kind("ledger", Digest([1; 32]), r#"{"a":1}"#).await.unwrap();
    assert_eq!((second.version, second.component), (2, Digest([1; 32])));
    assert_eq!(second.manifest, r#"{"a":1}"#);
    assert_eq!(store.kind("ledger").await, Ok(Some(second.clone())));
    let other = store.put_kind("counter", COMPONENT, "").await.unwrap();
    assert_eq!(store.kinds(None, 9).await, Ok(vec![other.clone(), second.clone()]));
    assert_eq!(store.kinds(None, 1).await, Ok(vec![other]));
    assert_eq!(store.kinds(Some("counter"), 9).await, Ok(vec![second]));
    assert_eq!(store.kinds(Some("ledger"), 9).await, Ok(Vec::new()));
    assert_eq!(store.remove_kind("ledger").await, Ok(true));
    assert_eq!(store.remove_kind("ledger").await, Ok(false));
    assert_eq!(store.kind("ledger").await, Ok(None));
    assert_eq!(store.kinds(None, 9).await.unwrap().len(), 1);
    let again = store.put_kind("ledger", COMPONENT, "{}").await.unwrap();
    assert_eq!(again.version, 1, "it begins anew");
}

pub async fn actors_of_a_kind_are_counted(store: Arc<dyn Store>) {
    let mut pages = 0;
    for (number, key) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        let mut owner = Owner::create(&store, key).await;
        let count = u32::try_from(number).unwrap() + 1;
        let written: Vec<(u32, u64)> = (1..=count).map(|pgno| (pgno, 7)).collect();
        owner.commit(&written, count).await;
        pages += u64::from(count);
    }
    let kind = ActorId::new("other", "a").unwrap();
    let mut found = (0, 0);
    for shard in Shard::all(store.shards()) {
        let all = store.count("ledger", shard, "").await.unwrap();
        assert_eq!(all.next, None);
        found = (found.0 + all.actors, found.1 + all.pages);
        let after = store.count("ledger", shard, "e").await.unwrap();
        assert_eq!((after.actors, after.pages), (0, 0));
        assert_eq!(store.count(kind.kind(), shard, "").await.unwrap(), Counted::default());
    }
    assert_eq!(found, (5, pages));
}

pub async fn nodes_come_beat_and_go(store: Arc<dyn Store>) {
    let (one, two) = (NodeSession([1; 16]), NodeSession([2; 16]));
    let load = NodeLoad {
        awake: 3,
        awake_max: 20_000,
        guest_bytes: 5 << 30,
        guest_bytes_max: u64::MAX,
        cpu_permille: 250,
    };
    store.node_beat(one, &NodeBeat::at("10.0.0.1:80")).await.unwrap();
    store.node_beat(two, &NodeBeat::at("10.0.0.2:80")).await.unwrap();
    let peers = Some("10.0.0.1:90".to_owned());
    let address = "10.0.0.1:81".to_owned();
    let news = NodeBeat { address, peers, draining: true, load, program: None };
    store.node_beat(one, &news).await.unwrap();
    let found = store.nodes().await.unwrap();
    let seen = found.iter().map(|node| (node.session, node.address.as_str(), node.counter));
    assert!(seen.eq([(one, "10.0.0.1:81", 2), (two, "10.0.0.2:80", 1)]), "{found:?}");
    let process = found[0].process.as_ref().unwrap();
    assert_eq!(process.pid, std::process::id());
    assert!(!process.version.is_empty() && process.formats.0 <= process.formats.1);
    let largest = u64::try_from(i64::MAX).unwrap();
    let kept = NodeLoad { guest_bytes_max: largest, ..load };
    assert_eq!((&found[0].peers, found[0].draining), (&news.peers, true));
    assert_eq!(found[0].load, Some(kept));
    assert_eq!((&found[1].peers, found[1].draining), (&None, false));
    assert_eq!(found[1].load, Some(NodeLoad::default()));
    // Each report replaces the one before.
    store.node_beat(one, &NodeBeat::at("10.0.0.1:81")).await.unwrap();
    let found = store.nodes().await.unwrap();
    assert_eq!((&found[0].peers, found[0].draining, found[0].counter), (&None, false, 3));
    // A program that reaches the store through another one.
    let program = Some(NodeProgram { pid: 4711, version: "9.9.9".to_owned() });
    let three = NodeSession([3; 16]);
    store.node_beat(three, &NodeBeat { program, ..NodeBeat::default() }).await.unwrap();
    let through = store.nodes().await.unwrap().pop().unwrap().process.unwrap();
    assert_eq!((through.pid, through.version.as_str()), (4711, "9.9.9"));
    assert_eq!(through.formats, found[0].process.as_ref().unwrap().formats);
    store.node_gone(three).await.unwrap();
    store.node_gone(one).await.unwrap();
    store.node_gone(one).await.unwrap();
    assert_eq!(store.nodes().await.unwrap().len(), 1);
}

pub async fn a_closed_store_says_so(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    store.close().await;
    store.close().await;
    assert_eq!(owner.try_commit(&[(1, 2)], 1).await, Err(StoreError::Closed));
    assert_eq!(owner.read_one(1, 1).await, Err(StoreError::Closed));
    assert_eq!(store.seal(owner.seal_step(None)).await, Err(StoreError::Closed));
    assert_eq!(store.actor(&owner.actor).await, Err(StoreError::Closed));
    assert_eq!(store.confirm(&[owner.fence]).await, Ok(vec![Err(StoreError::Closed)]));
    assert_eq!(store.kinds(None, 9).await, Err(StoreError::Closed));
    assert_eq!(
        store.node_beat(NodeSession([1; 16]), &NodeBeat::default()).await,
        Err(StoreError::Closed)
    );
}
