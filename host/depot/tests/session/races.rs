//! Many processes want the same actor at the same time: one usable generation, whatever gets lost,
//! and all the others learn the winner. Lost races are no news: nothing louder than debug.

use std::sync::Arc;

use stockade_depot::store::Ownership as _;
use stockade_depot::store::PreviousEnd;
use stockade_depot::{
    ActorId, Cause, Depot, Generation, Head, NodeSession, OpenError, Opened, Session, Store,
    TokioParker, Txid,
};
use stockade_testkit::capture::capture;
use stockade_testkit::faulty_store::{Armed, Fault, Step};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::world::{COMPONENT, World, limits, page, put};

const STARTERS: usize = 16;
const SEEDS: u64 = 24;

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// A process of its own over the world's store.
fn process(world: &World, node: u8) -> Arc<Depot> {
    Depot::new(
        Arc::clone(&world.store) as Arc<dyn Store>,
        NodeSession([node; 16]),
        limits(),
        Arc::new(TokioParker(Handle::current())),
        Handle::current(),
    )
}

/// The answers that starters got.
#[derive(Default)]
struct Told {
    owners: Vec<Session>,
    winners: Vec<Head>,
}

impl Told {
    fn add(&mut self, told: Result<Opened, OpenError>) {
        match told {
            Ok(opened) => self.owners.push(opened.session),
            Err(OpenError::Superseded { winner }) => self.winners.push(*winner),
            Err(OpenError::Exists(state)) => self.winners.push(state.head),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// One of them can work, it is the head's owner, and no loser was sent to a generation that
    /// never was.
    async fn assert_one_usable(&self, world: &World, what: &str) -> Session {
        let head = world.state().await.head;
        let mut usable = Vec::new();
        for owner in &self.owners {
            match owner.confirm().await {
                Ok(()) => usable.push(owner.clone()),
                Err(Cause::Fenced(mismatch)) => {
                    assert!(mismatch.actual.0 > mismatch.expected.0, "{what}: {mismatch:?}");
                    let error = owner.durable(late(owner)).await.unwrap_err();
                    assert!(matches!(error, Cause::Fenced(_)), "{what}: {error:?}");
                }
                Err(error) => panic!("{what}: {error:?}"),
            }
        }
        assert_eq!(usable.len(), 1, "{what}: usable of {}", self.owners.len());
        assert_eq!(usable[0].fence(), head.fence, "{what}");
        usable[0].durable(put(&usable[0], &[(1, 9)], 1)).await.unwrap();
        for winner in &self.winners {
            assert!(winner.fence.generation <= head.fence.generation, "{what}");
        }
        usable.remove(0)
    }
}

fn late(session: &Session) -> stockade_depot::Mark {
    session.publish(vec![(stockade_depot::Pgno(1), page(1))], stockade_depot::PageCount(1));
    session.mark()
}

/// Arms a few ways of losing the answers of the first starters.
fn lose_some(world: &World, dice: &mut Dice, step: Step) -> Vec<Armed> {
    const LOSSES: [Fault; 5] =
        [Fault::LostAnswer, Fault::LostRequest, Fault::Late, Fault::Twice, Fault::Unavailable];
    let mut armed = Vec::new();
    for nth in 1..=4 {
        if dice.roll(2) == 0 {
            armed.push(world.store.arm(step, nth, LOSSES[dice.roll(LOSSES.len())]));
        }
    }
    armed
}

async fn end(armed: Vec<Armed>, owner: &Session) {
    for shot in armed {
        shot.deliver_if_any().await;
    }
    assert_eq!(owner.confirm().await, Ok(()), "a late copy took the database from its owner");
}

async fn many_take_over(seed: u64) {
    let world = World::named(&format!("races-many-{seed}"));
    let mut dice = Dice(seed);
    let old = world.create().await;
    let state = world.state().await;
    let armed = lose_some(&world, &mut dice, Step::TakeOver);
    let mut starters = JoinSet::new();
    for node in 0..STARTERS {
        let depot = process(&world, 10 + u8::try_from(node).unwrap());
        let (state, yields) = (state.clone(), dice.roll(4));
        starters.spawn(async move {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            depot.take_over(&state, COMPONENT, PreviousEnd::Neutral).await
        });
    }
    let mut told = Told::default();
    while let Some(starter) = starters.join_next().await {
        told.add(starter.unwrap());
    }
    let what = format!("seed {seed}");
    assert_eq!(told.owners.len(), 1, "{what}");
    let owner = told.assert_one_usable(&world, &what).await;
    // The winner replaces itself for each answer that it has lost, to get back what it said.
    let lost = u64::try_from(armed.len()).unwrap();
    assert!(owner.fence().generation <= Generation(2 + lost), "{what}: {:?}", owner.fence());
    assert!(old.confirm().await.is_err(), "{what}");
    end(armed, &owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_starters_have_one_owner() {
    let log = capture();
    let mut lives = JoinSet::new();
    for seed in 1..=SEEDS {
        lives.spawn(many_take_over(seed));
    }
    while let Some(life) = lives.join_next().await {
        life.unwrap();
    }
    // Expected races are for debugging; what is loud is the fence that `old` has lost.
    assert!(!log.lines(&["takeover lost", "races-many"]).is_empty());
    let loud = log.loud(&["takeover", "races-many"]);
    assert!(loud.is_empty(), "{loud:?}");
}

/// First boot raced by first boot, and by processes that have seen the actor already and take it
/// over.
async fn many_boot(seed: u64) {
    let world = World::named(&format!("races-boot-{seed}"));
    let mut dice = Dice(seed);
    let armed = lose_some(&world, &mut dice, Step::Create);
    let mut starters = JoinSet::new();
    for node in 0..STARTERS {
        let depot = process(&world, 10 + u8::try_from(node).unwrap());
        let (store, actor): (_, ActorId) = (Arc::clone(&world.store), world.actor.clone());
        let takes_over = node > 0 && dice.roll(4) == 0;
        starters.spawn(async move {
            if takes_over {
                loop {
                    if let Some(state) = store.actor(&actor).await.unwrap() {
                        return depot.take_over(&state, COMPONENT, PreviousEnd::Neutral).await;
                    }
                    tokio::task::yield_now().await;
                }
            }
            depot.create(&actor, COMPONENT).await
        });
    }
    let mut told = Told::default();
    while let Some(starter) = starters.join_next().await {
        told.add(starter.unwrap());
    }
    let mut generations: Vec<_> = told.owners.iter().map(|o| o.fence().generation).collect();
    generations.sort_unstable();
    generations.dedup();
    assert_eq!(generations.len(), told.owners.len(), "seed {seed}: two owners of one generation");
    let owner = told.assert_one_usable(&world, &format!("seed {seed}")).await;
    end(armed, &owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_boots_race_and_one_is_usable() {
    let mut lives = JoinSet::new();
    for seed in 1..=SEEDS {
        lives.spawn(many_boot(seed));
    }
    while let Some(life) = lives.join_next().await {
        life.unwrap();
    }
}

/// The condition of a takeover is never the txid: an owner that commits as fast as it can does not
/// keep its successor out, and nothing that was reported to it as durable is missing afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_owner_cannot_starve_its_successor() {
    let world = World::new();
    let old = world.create().await;
    old.durable(put(&old, &[(1, 1)], 1)).await.unwrap();
    // Judged now; the head moves on with each commit until the takeover is there.
    let state = world.state().await;
    let busy = tokio::spawn({
        let old = old.clone();
        async move {
            let mut last = Txid(0);
            loop {
                let pages = vec![(stockade_depot::Pgno(1), page(2))];
                old.publish(pages, stockade_depot::PageCount(1));
                match old.durable(old.mark()).await {
                    Ok(txid) => last = txid,
                    Err(cause) => return (last, cause),
                }
            }
        }
    });
    while world.state().await.head.txid < Txid(20) {
        tokio::task::yield_now().await;
    }
    let takeovers = world.store.calls(Step::TakeOver);
    let opened = world.there.take_over(&state, COMPONENT, PreviousEnd::Neutral).await.unwrap();
    assert_eq!(world.store.calls(Step::TakeOver), takeovers + 1, "the first attempt wins");
    let (last, cause) = busy.await.unwrap();
    assert!(matches!(cause, Cause::Fenced(_)), "{cause:?}");
    assert_eq!(opened.head.txid, last, "what was told durable is what the successor begins with");
}

/// An attempt that finds the store away, or busy, without end gives up at its deadline: it neither
/// hangs nor asks more often than its pauses allow.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_bounded() {
    for (step, fault) in
        [(Step::TakeOver, Fault::Unavailable), (Step::TakeOver, Fault::LostRequest)]
    {
        let world = World::new();
        world.create().await;
        let state = world.state().await;
        let outage = world.store.outage(step, fault);
        let before = world.store.calls(step);
        let error =
            world.there.take_over(&state, COMPONENT, PreviousEnd::Neutral).await.unwrap_err();
        assert!(matches!(error, OpenError::Store(_)), "{error:?}");
        // At most 2, 4, 8, .. 64, then 100 ms, for 800 ms; at least half of that.
        let asked = world.store.calls(step) - before;
        assert!((2..=24).contains(&asked), "{fault:?}: asked {asked} times");
        drop(outage);
    }
}
