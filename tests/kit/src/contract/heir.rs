//! A seal that appoints the next generation, and the process that may begin it.

use std::sync::Arc;

use crate::owner::{NODE, Owner, page, token};
use stockade_depot::store::{SealStep, TakenOver, limits};
use stockade_depot::{
    DbId, Fence, Head, NodeSession, PageCount, Pgno, Store, StoreError, Token, Txid,
};

use super::stage::large;

/// A seal that appoints an heir, with its token.
fn appoints(owner: &Owner) -> (SealStep, Token) {
    let heir = token();
    (SealStep { heir: Some(heir), ..owner.seal_step(None) }, heir)
}

/// Seals `owner`; returns its heir, as a process that knows the token sees it.
pub async fn heir_of(owner: &Owner) -> (Owner, Head) {
    let (step, token) = appoints(owner);
    let head = owner.store.seal(step).await.unwrap();
    assert_eq!(
        head.fence,
        Fence { generation: owner.fence.generation.next(), token, ..owner.fence }
    );
    (Owner::of(&owner.store, owner.actor.clone(), &head), head)
}

fn is_fenced<T>(answer: Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Fenced(_)))
}

pub async fn a_seal_appoints_the_heir_in_its_own_step(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    let (mut heir, head) = heir_of(&owner).await;
    assert_eq!((head.owner, head.sealed), (NodeSession::NOBODY, false));
    assert!(head.is_heir() && head.is_free());
    assert_eq!((head.txid, head.page_count), (Txid(1), PageCount(2)));
    assert_eq!(heir.state().await.unwrap().head, head);
    // The generation that was sealed is over, in every step.
    assert!(is_fenced(owner.try_commit(&[(1, 2)], 2).await));
    assert!(is_fenced(store.read(owner.fence, Txid(1), &[Pgno(1)]).await));
    assert!(is_fenced(store.seal(owner.seal_step(None)).await));
    assert!(is_fenced(store.seal(appoints(&owner).0).await));
    assert!(is_fenced(store.confirm(&[owner.fence]).await.unwrap().remove(0)));
    // And the heir's has begun, as far as the store looks.
    assert_eq!(store.confirm(&[heir.fence]).await.unwrap(), [Ok(())]);
    assert_eq!(heir.read_one(1, 1).await.unwrap(), page(1, 1));
    heir.commit(&[(1, 2)], 2).await;
    let head = heir.head().await;
    assert_eq!((head.txid, head.owner), (Txid(2), NODE), "a commit claims it");
    assert!(!head.is_free());
}

pub async fn an_heir_is_replaced_like_any_owner(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let (mut heir, _) = heir_of(&owner).await;
    let TakenOver::Moved(_) = store.take_over(owner.takeover_step()).await.unwrap() else {
        panic!("a generation that has an heir was replaced");
    };
    let next = heir.successor().await;
    assert_eq!(next.fence.generation, heir.fence.generation.next());
    assert_eq!(next.head().await.owner, NODE);
    assert!(is_fenced(heir.try_commit(&[(1, 2)], 1).await));
    assert!(is_fenced(store.read(heir.fence, Txid(1), &[Pgno(1)]).await));
    assert!(is_fenced(store.confirm(&[heir.fence]).await.unwrap().remove(0)));
}

pub async fn what_only_a_takeover_tells_is_left_to_one(store: Arc<dyn Store>) {
    let with_snapshot = Owner::create(&store, "snapshot").await;
    let (step, _) = appoints(&with_snapshot);
    let step = SealStep { snapshot: Some(b"state".to_vec()), ..step };
    let head = store.seal(step).await.unwrap();
    assert_eq!((head.sealed, head.fence), (true, with_snapshot.fence));

    let given_up = Owner::create(&store, "stages").await;
    let (staged, _) = large(&given_up, &[&[(1, 1)], &[]], 1);
    store.stage(staged[0].clone()).await.unwrap();
    let head = store.seal(appoints(&given_up).0).await.unwrap();
    assert_eq!((head.sealed, head.fence), (true, given_up.fence));
    match store.take_over(given_up.takeover_step()).await.unwrap() {
        TakenOver::Owned { leftovers, .. } => assert!(leftovers),
        TakenOver::Moved(head) => panic!("{head:?}"),
    }
}

pub async fn a_claim_tells_who_runs_an_heir(store: Arc<dyn Store>) {
    let mut heirs = Vec::new();
    for n in 0..limits::CLAIM_HEIRS_MAX + 2 {
        heirs.push(heir_of(&Owner::create(&store, &format!("actor {n}")).await).await.0);
    }
    // One was replaced, one has ended, one has an heir of its own.
    let replaced = heirs[3].successor().await;
    store.seal(heirs[4].seal_step(None)).await.unwrap();
    let (grandchild, _) = heir_of(&heirs[5]).await;
    let mut fences: Vec<Fence> = heirs.iter().map(|heir| heir.fence).collect();
    fences.push(Fence { db: DbId([0; 16]), ..fences[0] });
    fences.push(Fence { db: DbId([255; 16]), ..fences[0] });
    let claimant = NodeSession([8; 16]);
    store.claim(claimant, &fences).await.unwrap();
    for (n, heir) in heirs.iter().enumerate() {
        let head = heir.head().await;
        match n {
            3 => assert_eq!((head.owner, head.fence), (NODE, replaced.fence)),
            4 => assert!(head.sealed && head.owner == NodeSession::NOBODY),
            5 => assert!(head.is_heir() && head.fence == grandchild.fence),
            _ => {
                assert_eq!((head.owner, head.fence), (claimant, heir.fence));
                assert!(!head.is_free() && head.txid == Txid(0));
            }
        }
    }
    // Claimed is claimed, and a claim moves nothing that its heir goes by.
    store.claim(NodeSession([9; 16]), &fences).await.unwrap();
    assert_eq!(heirs[0].head().await.owner, claimant);
    heirs[0].commit(&[(1, 1)], 1).await;
    store.claim(claimant, &[]).await.unwrap();
}
