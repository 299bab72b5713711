//! Random owners, faults, takeovers and seals against a model of the answers of each session.
//!
//! The model keeps, per txid, the pages that the commit of that number wrote, as its session sent
//! them. At the end the store's history must be exactly the commits that some session got reported
//! as durable, plus none that was reported as "not committed". A failure prints its seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use stockade_depot::store::Versions as _;
use stockade_depot::{
    Cause, Depot, DepotLimits, Mark, OpenError, PageCount, Pgno, ReadError, Session, Txid, Verdict,
};
use stockade_testkit::faulty_store::{Armed, Fault, Step};

use crate::world::{World, limits, page};

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }
}

type Pages = BTreeMap<u32, u8>;

/// A session and what SQLite over it would believe.
struct Owner {
    session: Session,
    /// What the owner reads, after each transaction: SQLite's view at that mark.
    views: Vec<(Mark, Pages)>,
}

impl Owner {
    /// The view right after an open: whatever the store has.
    fn open(session: Session) -> Option<Self> {
        let mut view = Pages::new();
        for pgno in 1..=session.page_count().0 {
            match session.read(Pgno(pgno)) {
                Ok(bytes) => view.insert(pgno, bytes[0]),
                Err(ReadError::Dead(_) | ReadError::Unavailable(_)) => return None,
                Err(error) => panic!("{error:?}"),
            };
        }
        Some(Self { session, views: vec![(Mark::default(), view)] })
    }

    fn view(&self) -> &Pages {
        &self.views.last().unwrap().1
    }

    fn commit(&mut self, dice: &mut Dice) {
        let mut view = self.view().clone();
        let count = u32::try_from(1 + dice.roll(12)).unwrap();
        let mut pages = Vec::new();
        for _ in 0..=dice.roll(3) {
            let (pgno, byte) = (1 + dice.roll(u64::from(count)), 1 + dice.roll(255));
            let (pgno, byte) = (u32::try_from(pgno).unwrap(), u8::try_from(byte).unwrap());
            pages.retain(|(other, _)| *other != Pgno(pgno));
            pages.push((Pgno(pgno), page(byte)));
            view.insert(pgno, byte);
        }
        view.retain(|pgno, _| *pgno <= count);
        for pgno in 1..=count {
            view.entry(pgno).or_insert(0);
        }
        if self.session.prepare(4096, PageCount(count)).is_err() {
            return;
        }
        self.session.publish(pages, PageCount(count));
        self.views.push((self.session.mark(), view));
    }

    /// Every page is what was written last, or the session says why it is not served.
    fn check_reads(&self) {
        for (pgno, byte) in self.view() {
            match self.session.read(Pgno(*pgno)) {
                Ok(bytes) => assert_eq!(bytes[0], *byte, "page {pgno}"),
                Err(ReadError::Dead(_) | ReadError::Unavailable(_)) => return,
                Err(error) => panic!("page {pgno}: {error:?}"),
            }
        }
    }

    /// The last view that is durable, and whether every later one is surely not.
    async fn verdict(&self) -> (Pages, bool) {
        let mut durable = self.views[0].1.clone();
        let mut sure = true;
        for (mark, view) in &self.views {
            match self.session.durable(*mark).await {
                Ok(_) => {
                    assert!(sure, "durable after something that was not");
                    durable = view.clone();
                }
                Err(cause) => {
                    sure &= cause.verdict() == Verdict::NotCommitted;
                    assert!(!matches!(cause, Cause::Corrupt(_)), "{cause:?}");
                }
            }
        }
        (durable, sure)
    }
}

fn arm(world: &World, dice: &mut Dice, late: &mut Vec<Armed>) {
    let step = dice.pick(&[
        Step::Commit,
        Step::Commit,
        Step::Commit,
        Step::Verdict,
        Step::TakeOver,
        Step::Actor,
        Step::Seal,
        Step::Confirm,
        Step::Read,
        Step::Stage,
        Step::Stage,
        Step::CollectStages,
    ]);
    let fault = dice.pick(&[
        Fault::Unavailable,
        Fault::LostRequest,
        Fault::LostAnswer,
        Fault::LostAnswer,
        Fault::Late,
    ]);
    late.push(world.store.arm(step, 1 + dice.roll(3), fault));
}

async fn open(world: &World, depot: &Arc<Depot>) -> Option<Owner> {
    match world.take_over_from(world.known_state().await, depot).await {
        Ok(opened) => Owner::open(opened.session),
        Err(OpenError::Superseded { .. } | OpenError::Store(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}

async fn life(seed: u64) {
    // Every other life has steps so small that most transactions are staged.
    let step_pages = if seed.is_multiple_of(2) { 2 } else { 1024 };
    let world = World::with(DepotLimits { step_bytes_max: step_pages * 4096, ..limits() });
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut armed: Vec<Armed> = Vec::new();
    let mut owner = Owner::open(world.create().await).unwrap();
    let mut former: Vec<Owner> = Vec::new();
    let mut takeovers = 0;
    for _ in 0..60 {
        match dice.roll(20) {
            0..=9 => owner.commit(&mut dice),
            10..=12 => owner.check_reads(),
            13 | 14 => arm(&world, &mut dice, &mut armed),
            15 => drop(owner.session.confirm().await),
            16 => drop(owner.session.durable(owner.session.mark()).await),
            17 => {
                for shot in &armed {
                    shot.deliver_if_any().await;
                }
            }
            18 => drop(owner.session.seal(None).await),
            _ => {
                let depot = if dice.roll(2) == 0 { &world.here } else { &world.there };
                if let Some(next) = open(&world, depot).await {
                    takeovers += 1;
                    former.push(std::mem::replace(&mut owner, next));
                }
            }
        }
        // A former owner may continue as if nothing had happened.
        if let Some(ghost) = former.last_mut() {
            match dice.roll(6) {
                0 => ghost.commit(&mut dice),
                1 => ghost.check_reads(),
                _ => {}
            }
        }
    }
    settle(&world, owner, former, armed, seed, takeovers).await;
}

/// Waits for all verdicts and compares the store with the answers that sessions got.
async fn settle(
    world: &World,
    owner: Owner,
    former: Vec<Owner>,
    armed: Vec<Armed>,
    seed: u64,
    takeovers: usize,
) {
    let generation = |owner: &Owner| owner.session.fence().generation;
    let mut told: BTreeMap<_, _> = BTreeMap::new();
    for owner in former.iter().chain([&owner]) {
        told.insert(generation(owner), (owner.verdict().await, owner));
    }
    for shot in &armed {
        shot.deliver_if_any().await;
    }
    for shot in armed {
        world.store.disarm(shot);
    }
    // Each owner began with exactly what was reported to its predecessors as durable.
    let generations: Vec<_> = told.values().collect();
    for pair in generations.windows(2) {
        let (((durable, sure), _), (_, after)) = (pair[0], pair[1]);
        if *sure {
            assert_eq!(&after.views[0].1, durable, "seed {seed}, {takeovers} takeovers");
        }
    }
    // And the store has what was reported to the last one, for its successor.
    let ((durable, sure), _) = generations.last().unwrap();
    let next = world.take_over(&world.there).await.unwrap().session;
    let after = Owner::open(next).unwrap();
    if *sure {
        assert_eq!(after.view(), durable, "seed {seed}, {takeovers} takeovers");
    }
    verify_chain(world, &after.session).await;
}

/// The commit log is gapless and its chain is that of its pages.
async fn verify_chain(world: &World, session: &Session) {
    let db = session.fence().db;
    let mut chain = world.state().await.head.first_chain();
    let mut last = Txid(0);
    for row in world.store.commits(db, Txid(0), 1000).await.unwrap() {
        assert_eq!(row.txid, last.next());
        let pages: Vec<_> = world.store.commit_pages(db, row.txid, Pgno(0), 256).await.unwrap();
        let pages: Vec<_> = pages.into_iter().map(|page| (page.pgno, page.bytes)).collect();
        let content =
            stockade_depot::chain::content(db, row.generation, row.txid, row.page_count, &pages);
        assert_eq!(content, row.content);
        chain = stockade_depot::chain::next(&chain, &content);
        assert_eq!(chain, row.chain);
        last = row.txid;
    }
    assert_eq!(world.state().await.head.chain, chain);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_sessions_are_told_is_what_the_store_has() {
    let base = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=48).collect::<Vec<u64>>(),
    };
    // The same seed rolls the same dice; a few lives at the same time, since they mostly wait.
    for seeds in base.chunks(12) {
        let lives: Vec<_> = seeds
            .iter()
            .map(|seed| {
                let seed = *seed;
                (seed, tokio::spawn(life(seed)))
            })
            .collect();
        for (seed, life) in lives {
            life.await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
    }
}
