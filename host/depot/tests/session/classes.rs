//! Every place where a store can fail, and the answer that the caller of the step may get:
//! before-durable is never a doubt, ambiguous is never a guess, after-durable is never called lost,
//! and what only reads is asked again.
//!
//! Each point is walked through three scenes: the store fails once; another generation comes while
//! it does; the store stays away until the deadline.

use std::future::Future;
use std::time::Duration;

use stockade_depot::store::{Ownership as _, Versions as _};
use stockade_depot::{
    Cause, DepotLimits, OpenError, Pgno, ReadError, Reason, SealError, Session, Txid, Verdict,
};
use stockade_testkit::faulty_store::{Armed, Fault, FaultClass, Outage, Point, Step, points};
use tokio::task::JoinSet;

use crate::world::{COMPONENT, World, byte_of, limits, put};

/// What happens besides the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// Nothing.
    Alone,
    /// Another process takes the actor over after the fault and before anything is asked or sent.
    Rival,
    /// The store does not answer the questions that follow.
    Away,
}

const SCENES: [Scene; 3] = [Scene::Alone, Scene::Rival, Scene::Away];

/// Deadlines are met in the scene that is about them; in the others no busy machine may.
fn world(scene: Scene) -> World {
    let long = Duration::from_secs(20);
    match scene {
        Scene::Away => World::new(),
        Scene::Alone | Scene::Rival => {
            World::with(DepotLimits { step_deadline: long, read_deadline: long, ..limits() })
        }
    }
}

/// Walks every point of a class in every scene, all at the same time, since they mostly wait.
async fn walk<F>(class: FaultClass, scene_of: impl Fn(Point, Scene) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut walked = JoinSet::new();
    for point in points(class).filter(|point| covered(point.step)) {
        for scene in SCENES {
            walked.spawn(scene_of(point, scene));
        }
    }
    assert!(!walked.is_empty(), "{class:?} has no point");
    while let Some(ended) = walked.join_next().await {
        ended.unwrap();
    }
}

/// The others are asked within these, or have suites of their own.
fn covered(step: Step) -> bool {
    use Step::{Commit, Confirm, Create, Read, Seal, TakeOver};
    [Create, TakeOver, Commit, Seal, Read, Confirm].contains(&step)
}

/// The fault with what the scene needs: a place to hold the caller at, or an outage.
struct Stage {
    fault: Armed,
    hold: Option<Armed>,
    outage: Option<Outage>,
}

impl Stage {
    /// `asks` is the step with which the caller finds out about a doubt.
    fn set(world: &World, point: Point, scene: Scene, asks: Step) -> Self {
        let fault = world.store.arm_point(point);
        let step = point.step;
        // The call that comes after the fault.
        let next = match point.fault {
            Fault::Unavailable => Some(step),
            Fault::LostRequest | Fault::LostAnswer | Fault::Late => Some(asks),
            // Refused the second time: a takeover knows itself and continues, a commit asks.
            Fault::Twice => match step {
                Step::TakeOver => Some(step),
                Step::Commit | Step::Seal => Some(asks),
                _ => None,
            },
            Fault::Hold | Fault::HoldAnswer => None,
        };
        let nth = if next == Some(step) { 2 } else { 1 };
        let hold = next.filter(|_| scene == Scene::Rival);
        let hold = hold.map(|next| world.store.arm(next, nth, Fault::Hold));
        let away = next.filter(|_| scene == Scene::Away);
        let away = away.map(|next| world.store.outage(next, Fault::Unavailable));
        Self { fault, hold, outage: away }
    }

    /// The store is back.
    fn end_outage(&mut self) {
        self.outage = None;
    }

    /// Waits for the fault, lets the rival in at the right moment, and lets the caller continue.
    async fn play(&self, scene: Scene, rival: impl Future<Output = ()>) {
        self.fault.fired().await;
        if let Some(hold) = &self.hold {
            hold.fired().await;
        }
        if scene == Scene::Rival {
            rival.await;
        }
        self.fault.release();
        if let Some(hold) = &self.hold {
            hold.release();
        }
    }
}

/// `told` against what the store has, by class.
#[track_caller]
fn judge(point: Point, scene: Scene, told: Verdict, applied: bool) {
    let what = format!("{point:?} {scene:?}: told {told:?}, applied {applied}");
    match told {
        Verdict::Committed => assert!(applied, "{what}"),
        Verdict::NotCommitted => assert!(!applied, "{what}"),
        Verdict::Indeterminate => {
            assert_ne!(point.class, FaultClass::BeforeDurable, "a doubt without a reason: {what}");
            assert_ne!(scene, Scene::Alone, "the store could have been asked: {what}");
        }
    }
    match (point.class, scene) {
        (_, Scene::Alone) => assert_eq!(told, Verdict::Committed, "{what}"),
        // A seal may be sent again unasked: no other generation's can be taken for it.
        (FaultClass::Ambiguous, Scene::Away) if point.step == Step::Commit => {
            assert_eq!(told, Verdict::Indeterminate, "{what}");
        }
        (FaultClass::AfterDurable, _) => assert_ne!(told, Verdict::NotCommitted, "{what}"),
        _ => {}
    }
}

async fn commit(point: Point, scene: Scene) {
    let world = world(scene);
    let session = world.create().await;
    session.durable(put(&session, &[(1, 1)], 1)).await.unwrap();
    let stage = Stage::set(&world, point, scene, Step::Verdict);
    let mark = put(&session, &[(1, 2)], 1);
    stage.play(scene, async { drop(world.steal().await) }).await;
    let told = match session.durable(mark).await {
        Ok(_) => Verdict::Committed,
        Err(cause) => cause.verdict(),
    };
    // The verdict of a commit is a fact: one that comes with a rival is never a doubt.
    if scene == Scene::Rival {
        assert_ne!(told, Verdict::Indeterminate, "{point:?}");
    }
    if told != Verdict::Committed {
        assert!(session.is_dead(), "{point:?} {scene:?}: what SQLite has committed is lost");
    }
    // What is still on its way comes now, and is refused or was counted as a doubt.
    let before = world.store.commits(session.fence().db, Txid(1), 10).await.unwrap();
    if told == Verdict::NotCommitted {
        stage.fault.deliver_if_any().await;
    }
    let rows = world.store.commits(session.fence().db, Txid(1), 10).await.unwrap();
    assert_eq!(rows, before, "{point:?} {scene:?}: a late send was applied after its verdict");
    assert!(rows.len() <= 1, "{point:?} {scene:?}: applied twice");
    judge(point, scene, told, !rows.is_empty());
    stage.fault.deliver_if_any().await;
}

async fn seal(point: Point, scene: Scene, for_heir: bool) {
    let world = world(scene);
    let session = world.create().await;
    session.durable(put(&session, &[(1, 1)], 1)).await.unwrap();
    let ours = session.fence().generation;
    let stage = Stage::set(&world, point, scene, Step::Verdict);
    let sealing = tokio::spawn({
        let session = session.clone();
        async move {
            match for_heir {
                true => session.seal_for_heir().await,
                false => session.seal(Some(b"state".to_vec())).await,
            }
        }
    });
    stage.play(scene, async { drop(world.steal().await) }).await;
    let told = match sealing.await.unwrap() {
        Ok(_) => Verdict::Committed,
        Err(SealError::Dead(cause)) => {
            if scene == Scene::Rival {
                assert_eq!(cause.reason(), Reason::Fenced, "{cause:?}");
            }
            cause.verdict()
        }
        Err(error) => panic!("{point:?} {scene:?}: {error:?}"),
    };
    // The state that the next generation is given tells whether the seal was there; or its number,
    // since an heir and a rival have one each.
    let head = world.state().await.head;
    let next = world.take_over(&world.here).await.unwrap();
    let handed = next.snapshot.is_some_and(|handed| handed.snapshot.generation == ours);
    let rivals = u64::from(scene == Scene::Rival);
    let heirs = next.head.fence.generation.0 - ours.0 - 1 - rivals;
    let applied = if for_heir { heirs == 1 } else { handed };
    assert!(scene == Scene::Rival || applied == head.is_free(), "{point:?} {scene:?}");
    assert_eq!(head.is_heir(), for_heir && applied && scene != Scene::Rival);
    judge(point, scene, told, applied);
    stage.fault.deliver_if_any().await;
    assert_eq!(next.session.confirm().await, Ok(()), "{point:?}: a late seal ended another's life");
}

/// Whether an attempt owns the database now. It may have got the answer that it does, and have lost
/// it.
async fn holds(session: &Session) -> bool {
    session.confirm().await.is_ok()
}

async fn take_over(point: Point, scene: Scene) {
    let world = world(scene);
    let old = world.create().await;
    old.durable(put(&old, &[(1, 7)], 1)).await.unwrap();
    let state = world.state().await;
    let mut stage = Stage::set(&world, point, scene, Step::Actor);
    let attempt = tokio::spawn({
        let (depot, state) = (world.here.clone(), state.clone());
        async move {
            depot.take_over(&state, COMPONENT, stockade_depot::store::PreviousEnd::Neutral).await
        }
    });
    let mut rival = None;
    stage.play(scene, async { rival = Some(world.steal().await) }).await;
    let told = attempt.await.unwrap();
    stage.end_outage();
    let what = format!("{point:?} {scene:?}: {told:?}");
    ownership(&world, point, scene, told.map(|opened| opened.session), rival, &what).await;
    // A copy that comes late takes nothing from the owner at that time.
    let owner = world.take_over(&world.there).await.unwrap().session;
    stage.fault.deliver_if_any().await;
    assert!(holds(&owner).await, "{what}");
    assert_eq!(byte_of(&owner, 1), 7, "{what}");
    assert!(!holds(&old).await, "{what}");
}

async fn create(point: Point, scene: Scene) {
    let world = world(scene);
    let mut stage = Stage::set(&world, point, scene, Step::Actor);
    let attempt = tokio::spawn({
        let (depot, actor) = (world.here.clone(), world.actor.clone());
        async move { depot.create(&actor, COMPONENT).await }
    });
    let mut rival = None;
    stage
        .play(scene, async {
            // First boot raced by first boot; or by a takeover, if ours has made it already.
            rival = Some(match world.there.create(&world.actor, COMPONENT).await {
                Ok(opened) => opened.session,
                Err(OpenError::Exists(_)) => world.steal().await,
                Err(error) => panic!("{error:?}"),
            });
        })
        .await;
    let told = attempt.await.unwrap();
    stage.end_outage();
    let what = format!("{point:?} {scene:?}: {told:?}");
    ownership(&world, point, scene, told.map(|opened| opened.session), rival, &what).await;
    // A copy that comes late makes nothing where there is something.
    let owner = match world.store.actor(&world.actor).await.unwrap() {
        Some(_) => world.steal().await,
        None => world.there.create(&world.actor, COMPONENT).await.unwrap().session,
    };
    stage.fault.deliver_if_any().await;
    assert!(holds(&owner).await, "{what}");
}

/// At most one attempt holds the database, none holds it without having got that answer, and one
/// that got the answer "lost" does not serve.
async fn ownership(
    world: &World,
    point: Point,
    scene: Scene,
    told: Result<Session, OpenError>,
    rival: Option<Session>,
    what: &str,
) {
    let ours = match &told {
        Ok(session) => holds(session).await,
        Err(_) => false,
    };
    match scene {
        Scene::Alone => assert!(ours, "{what}"),
        Scene::Rival => {
            let rival = rival.expect("the rival came");
            assert!(holds(&rival).await && !ours, "{what}");
            let winner = match &told {
                // Answered before the rival came.
                Ok(_) => world.state().await.head,
                Err(OpenError::Superseded { winner }) => (**winner).clone(),
                Err(OpenError::Exists(state)) => state.head.clone(),
                Err(_) => panic!("{what}"),
            };
            assert_eq!(winner.fence, rival.fence(), "the loser is told who won: {what}");
        }
        // Sent again it is answered, whatever became of it before; else no attempt got an answer.
        Scene::Away => match told {
            Ok(_) => assert!(ours && point.fault != Fault::Unavailable, "{what}"),
            Err(OpenError::Store(_)) => {
                assert!(!matches!(point.fault, Fault::Hold | Fault::HoldAnswer), "{what}");
            }
            Err(_) => panic!("{what}"),
        },
    }
}

async fn read(point: Point, scene: Scene) {
    let world = world(scene);
    let session = world.create().await;
    session.durable(put(&session, &[(1, 3)], 1)).await.unwrap();
    let session = world.take_over(&world.there).await.unwrap().session;
    let stage = Stage::set(&world, point, scene, Step::Read);
    let reading = tokio::task::spawn_blocking({
        let session = session.clone();
        move || session.read(Pgno(1)).map(|bytes| bytes[0])
    });
    stage.play(scene, async { drop(world.take_over(&world.here).await.unwrap()) }).await;
    let told = reading.await.unwrap();
    let what = format!("{point:?} {scene:?}: {told:?}");
    match (scene, &told) {
        (Scene::Alone, told) => assert_eq!(told, &Ok(3), "{what}"),
        // Answered before the rival came, or refused: never anything else.
        (Scene::Rival, Ok(3)) => assert!(was_answered(point), "{what}"),
        (Scene::Rival, Err(ReadError::Dead(Cause::Fenced(_)))) => {}
        (Scene::Away, Ok(3) | Err(ReadError::Unavailable(_))) => {
            assert!(!session.is_dead(), "a store that is away does not kill: {what}");
        }
        _ => panic!("{what}"),
    }
}

/// Whether the store had answered when the rival came.
fn was_answered(point: Point) -> bool {
    matches!(point.fault, Fault::HoldAnswer | Fault::Twice)
}

async fn confirm(point: Point, scene: Scene) {
    let world = world(scene);
    let session = world.create().await;
    let stage = Stage::set(&world, point, scene, Step::Confirm);
    let asking = tokio::spawn({
        let session = session.clone();
        async move { session.confirm().await }
    });
    stage.play(scene, async { drop(world.steal().await) }).await;
    let told = asking.await.unwrap();
    let what = format!("{point:?} {scene:?}: {told:?}");
    match (scene, &told) {
        (Scene::Alone, told) => assert_eq!(told, &Ok(()), "{what}"),
        (Scene::Rival, Ok(())) => assert!(was_answered(point), "{what}"),
        (Scene::Rival, Err(Cause::Fenced(_))) => assert!(session.is_dead(), "{what}"),
        (Scene::Away, Ok(()) | Err(Cause::Unconfirmed(_))) => {
            assert!(!session.is_dead(), "{what}");
        }
        _ => panic!("{what}"),
    }
}

async fn run(point: Point, scene: Scene) {
    // A read or a question that is answered twice is answered.
    match point.step {
        Step::Commit => commit(point, scene).await,
        Step::Seal => {
            seal(point, scene, false).await;
            seal(point, scene, true).await;
        }
        Step::TakeOver => take_over(point, scene).await,
        Step::Create => create(point, scene).await,
        Step::Read => read(point, scene).await,
        Step::Confirm => confirm(point, scene).await,
        Step::Actor
        | Step::Claim
        | Step::Verdict
        | Step::Destroy
        | Step::Stage
        | Step::CollectStages
        | Step::Trim
        | Step::Import
        | Step::SettleDue => {
            unreachable!("not covered here")
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_durable_is_never_a_doubt() {
    walk(FaultClass::BeforeDurable, run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_is_never_a_guess() {
    walk(FaultClass::Ambiguous, run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_durable_is_never_called_lost() {
    walk(FaultClass::AfterDurable, run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_reads_is_asked_again() {
    walk(FaultClass::ReadOnly, run).await;
}
