//! What reads answer: the newest visible version as of a txid, and history.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::owner::{Owner, page};
use stockade_depot::history::{self, ExportError, Progress};
use stockade_depot::store::READ_PAGES_MAX;
use stockade_depot::{Limit, PageBytes, Pgno, Store, StoreError, Txid};

pub async fn pages_come_as_of_a_txid(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    owner.commit(&[(2, 2)], 2).await;
    owner.commit(&[(1, 3)], 2).await;
    for (at, pgno, version, txid) in
        [(1, 1, 1, 1), (2, 1, 1, 1), (3, 1, 3, 3), (1, 2, 1, 1), (2, 2, 2, 2), (3, 2, 2, 2)]
    {
        let read = store.read(owner.fence, Txid(at), &[Pgno(pgno)]).await.unwrap();
        assert_eq!(read.head_txid, Txid(3));
        assert_eq!(read.pages[0].bytes, page(pgno, version), "page {pgno} as of {at}");
        assert_eq!(read.pages[0].txid, Txid(txid));
        let also = store.read_at(owner.fence.db, Txid(at), Pgno(pgno), 1).await.unwrap();
        assert_eq!(also, read.pages);
    }
}

pub async fn pages_come_in_the_order_asked(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let all: Vec<(u32, u64)> = (1..=300).map(|pgno| (pgno, 1)).collect();
    owner.commit(&all, 300).await;
    for asked in [
        vec![],
        vec![2, 1],
        vec![7, 3, 7, 7, 1],
        (1..=5).rev().collect(),
        (30..=46).collect(),
        (45..=300).rev().collect::<Vec<u32>>(),
    ] {
        let pages: Vec<Pgno> = asked.iter().copied().map(Pgno).collect();
        let read = store.read(owner.fence, Txid(1), &pages).await.unwrap();
        let found: Vec<PageBytes> = read.pages.iter().map(|page| page.bytes.clone()).collect();
        let due: Vec<PageBytes> = asked.iter().map(|pgno| page(*pgno, 1)).collect();
        assert_eq!(found, due, "{asked:?}");
        assert_eq!(read.head_txid, Txid(1));
    }
}

pub async fn a_page_outside_is_corrupt(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    for pages in [&[0][..], &[2], &[u32::MAX], &[1, 2], &[1, 0]] {
        let pages: Vec<Pgno> = pages.iter().copied().map(Pgno).collect();
        let read = store.read(owner.fence, Txid(1), &pages).await;
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{pages:?}: {read:?}");
    }
    // The empty database has no pages at all.
    assert!(matches!(owner.read_one(0, 1).await, Err(StoreError::Corrupt(_))));
}

pub async fn too_many_pages_are_refused(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let pages = vec![Pgno(1); READ_PAGES_MAX + 1];
    let refused = StoreError::Refused { limit: Limit::PagesPerRead, actual: 513, max: 512 };
    assert_eq!(store.read(owner.fence, Txid(1), &pages).await, Err(refused));
    let most = store.read(owner.fence, Txid(1), &pages[1..]).await.unwrap();
    assert_eq!(most.pages.len(), READ_PAGES_MAX);
}

pub async fn cut_off_pages_never_come_back(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1), (3, 1), (4, 1)], 4).await;
    owner.commit(&[(1, 2)], 2).await;
    assert_eq!(store.read_at(owner.fence.db, Txid(2), Pgno(1), 8).await.unwrap().len(), 2);
    assert!(owner.try_commit(&[(1, 3)], 4).await.is_err(), "old pages 3 and 4 came back");
    owner.commit(&[(3, 3), (4, 3)], 4).await;
    assert_eq!(owner.read_one(3, 4).await.unwrap(), page(4, 3));
    assert_eq!(owner.read_one(1, 4).await.unwrap(), page(4, 1));
    assert!(owner.verify().await.is_sound());
}

pub async fn history_lists_what_was_written(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1), (3, 1)], 3).await;
    owner.commit(&[(2, 2)], 3).await;
    owner = owner.successor().await;
    owner.commit(&[(1, 3), (3, 3)], 3).await;
    let db = owner.fence.db;
    let list = |rows: Vec<stockade_depot::store::CommitRow>| -> Vec<(u64, u64)> {
        rows.iter().map(|row| (row.txid.0, row.generation.0)).collect()
    };
    let all = [(1, 1), (2, 1), (3, 2)];
    assert_eq!(list(store.commits(db, Txid(0), 10).await.unwrap()), all);
    assert_eq!(list(store.commits(db, Txid(1), 1).await.unwrap()), all[1..2]);
    assert_eq!(list(store.commits(db, Txid(3), 10).await.unwrap()), []);
    let written = store.commit_pages(db, Txid(3), Pgno(0), 9).await.unwrap();
    let written: Vec<(u32, PageBytes)> =
        written.into_iter().map(|page| (page.pgno.0, page.bytes)).collect();
    assert_eq!(written, [(1, page(1, 3)), (3, page(3, 3))]);
    let pages = |after, max| store.commit_pages(db, Txid(3), Pgno(after), max);
    assert_eq!(pages(0, 1).await.unwrap()[0].pgno, Pgno(1));
    assert_eq!(pages(1, 1).await.unwrap()[0].pgno, Pgno(3));
    assert_eq!(pages(3, 1).await.unwrap(), []);
    assert_eq!(store.commit_pages(db, Txid(4), Pgno(0), 9).await.unwrap(), []);
    let from = |from, max| store.read_at(db, Txid(2), Pgno(from), max);
    assert_eq!(from(2, 10).await.unwrap().len(), 2);
    assert_eq!(from(0, 2).await.unwrap()[1].bytes, page(2, 2));
    assert_eq!(from(4, 10).await.unwrap(), []);
    assert_eq!(from(1, 0).await.unwrap(), []);
    assert_eq!(store.read_at(db, Txid(0), Pgno(1), 10).await.unwrap(), []);
    assert!(store.read_at(db, Txid(9), Pgno(1), 10).await.is_err(), "no such commit");
}

/// Random commits beside a model that keeps whole databases; every state is compared.
pub async fn random_histories_read_as_the_model(store: Arc<dyn Store>) {
    for seed in 1..=6_u64 {
        let mut random = seed;
        let mut next = move |below: u32| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed);
            u32::try_from((random >> 33) % u64::from(below)).unwrap()
        };
        let mut owner = Owner::create(&store, &format!("seed {seed}")).await;
        let mut states: Vec<BTreeMap<u32, u64>> = vec![BTreeMap::new()];
        for version in 1..=40_u64 {
            let mut state = states.last().unwrap().clone();
            let old = u32::try_from(state.len()).unwrap();
            let count = next(30);
            state.split_off(&(count + 1));
            let mut changed: Vec<u32> = (old + 1..=count).collect();
            changed
                .extend((0..next(5)).map(|_| next(30)).filter(|pgno| (1..=count).contains(pgno)));
            changed.sort_unstable();
            changed.dedup();
            let pages: Vec<(u32, u64)> = changed.iter().map(|pgno| (*pgno, version)).collect();
            state.extend(pages.iter().copied());
            if next(6) == 0 {
                owner = owner.successor().await;
            }
            owner.commit(&pages, count).await;
            states.push(state);
        }
        for (at, state) in (0..).zip(&states) {
            let found = store.read_at(owner.fence.db, Txid(at), Pgno(1), 100).await.unwrap();
            let found: Vec<PageBytes> = found.into_iter().map(|page| page.bytes).collect();
            let due: Vec<PageBytes> =
                state.iter().map(|(pgno, version)| page(*pgno, *version)).collect();
            assert_eq!(found, due, "seed {seed} as of {at}");
            let pages: Vec<Pgno> = state.keys().rev().copied().map(Pgno).collect();
            let read = store.read(owner.fence, Txid(at), &pages).await.unwrap();
            let read: Vec<PageBytes> =
                read.pages.into_iter().rev().map(|page| page.bytes).collect();
            assert_eq!(read, due, "seed {seed} as of {at}, fenced");
        }
        let report = owner.verify().await;
        assert!(report.is_sound(), "seed {seed}: {report:?}");
    }
}

pub async fn export_is_the_database_as_of_any_txid(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    assert_eq!(owner.export(None).await, b"");
    let many: Vec<(u32, u64)> = (1..=1200).map(|pgno| (pgno, 1)).collect();
    owner.commit(&many, 1200).await;
    owner.commit(&[(2, 2)], 3).await;
    assert_eq!(owner.export(None).await, [page(1, 1), page(2, 2), page(3, 1)].concat());
    let mut first = Vec::new();
    let mut seen = Vec::new();
    let mut progress = |progress: Progress| seen.push((progress.done, progress.total));
    history::export(store.as_ref(), owner.fence.db, Some(Txid(1)), &mut first, &mut progress)
        .await
        .unwrap();
    assert_eq!(first.len(), 1200 * 4096);
    assert_eq!(first[1199 * 4096..], page(1200, 1)[..]);
    assert_eq!(seen, [(0, 1200), (512, 1200), (1024, 1200), (1200, 1200)]);
    assert_eq!(owner.export(Some(0)).await, b"");
    let db = owner.fence.db;
    let none = history::export(store.as_ref(), db, Some(Txid(3)), &mut first, &mut |_| {}).await;
    assert!(matches!(none, Err(ExportError::NoCommit { .. })), "{none:?}");
}

pub async fn verify_finds_a_written_database_sound(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    assert!(owner.verify().await.is_sound());
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    owner = owner.successor().await;
    owner.commit(&[(1, 2)], 1).await;
    let report = owner.verify().await;
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.commits, report.pages), (2, 4));
    assert_eq!(report.head, owner.head().await);
    // A commit whose hashes are not those of its pages is found.
    let mut lie = owner.commit_step(&[(1, 3)], 1);
    lie.pages[0].1 = page(1, 4);
    owner.send(lie).await.unwrap();
    let report = owner.verify().await;
    assert_eq!(report.faults, [history::Fault::Content { txid: Txid(3) }]);
    let mut lie = owner.commit_step(&[(1, 5)], 1);
    lie.chain[0] ^= 1;
    owner.send(lie).await.unwrap();
    let report = owner.verify().await;
    assert_eq!(report.faults[1..], [history::Fault::Chain { txid: Txid(4) }]);
    assert_eq!(report.fault_count, 2);
}
