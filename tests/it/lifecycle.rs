//! Lives of actors: created, asleep, woken, trapped, upgraded, restarted, destroyed.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::host::{ActorStatus, SqlRequest};
use stockade::{ActorId, CallError, HostError, Manifest};
use stockade_depot::Reason;
use stockade_depot::store::{Directory, Ownership};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};

async fn hooks(host: &TestHost, actor: &ActorId) -> Vec<String> {
    serde_json::from_value(host.call(actor, "hooks", json!([])).await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sleep_keeps_the_database_and_the_memory() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_SNAPSHOT).await;
    let actor = actor(guest::LIFECYCLE_SNAPSHOT, "one");
    assert_eq!(host.ok(&actor, "why", json!([])).await, json!("StartReason::Created"));
    assert_eq!(host.ok(&actor, "add", json!([5])).await, json!([5, 5]));
    let exit = host.host.actor(&actor).stop().await.unwrap().expect("it was awake");
    assert_eq!((exit.reason, exit.sealed), (Reason::Operator, true));
    assert_eq!(outcome(&exit), json!({"outcome": "taken", "bytes": 8, "late_sql": 1}));
    assert_eq!(host.host.actor(&actor).info().await.unwrap().status, ActorStatus::Asleep);
    assert!(host.host.actor(&actor).stop().await.unwrap().is_none(), "asleep already");

    assert_eq!(host.ok(&actor, "read", json!([])).await, json!([5, 5]));
    assert_eq!(hooks(&host, &actor).await, ["restore from 1 current true", "start"]);
    assert_eq!(host.ok(&actor, "why", json!([])).await, json!("StartReason::Woken"));
    assert_eq!(host.ok(&actor, "generation", json!([])).await, json!(2));
    let diary = host.ok(&actor, "diary", json!([])).await.to_string();
    assert!(diary.contains("stop 1") && !diary.contains("snapshot"), "{diary}");
    host.host.shutdown().await;
}

fn outcome(exit: &stockade::host::ExitInfo) -> Json {
    serde_json::to_value(&exit.snapshot).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_actor_sleeps_and_the_next_call_wakes_it() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::LIFECYCLE_SNAPSHOT, |limits| limits.sleep_after_ms = 150).await;
    let actor = actor(guest::LIFECYCLE_SNAPSHOT, "one");
    host.ok(&actor, "add", json!([3])).await;
    assert_eq!(host.exit_of(&actor).await.reason, Reason::Slept);
    assert_eq!(host.host.awake(), 0);
    assert_eq!(host.ok(&actor, "read", json!([])).await, json!([3, 3]));
    host.host.shutdown().await;
}

/// A missed snapshot is a recorded outcome, never a success; the data is safe, the memory is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_missed_snapshot_is_told() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::LIFECYCLE_SNAPSHOT, |limits| limits.snapshot_time_ms = 200).await;
    for what in ["error", "trap", "huge", "spin", "none"] {
        let actor = actor(guest::LIFECYCLE_SNAPSHOT, what);
        host.ok(&actor, "add", json!([4])).await;
        host.call(&actor, "snapshot-as", json!([what])).await.unwrap();
        let begun = Instant::now();
        let exit = host.host.actor(&actor).stop().await.unwrap().expect("it was awake");
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: {:?}", begun.elapsed());
        let expected = if what == "none" { "none" } else { "missed" };
        assert_eq!(outcome(&exit)["outcome"], expected, "{what}: {exit:?}");
        assert!(exit.sealed, "{what}: {exit:?}");
        assert_eq!(host.ok(&actor, "read", json!([])).await, json!([0, 4]), "{what}");
        assert_eq!(hooks(&host, &actor).await, ["start"], "{what}");
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_hook_that_fails_does_not_hold_the_end() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::LIFECYCLE_SNAPSHOT, |limits| limits.stop_time_ms = 200).await;
    for what in ["error", "trap", "spin"] {
        let actor = actor(guest::LIFECYCLE_SNAPSHOT, what);
        host.ok(&actor, "add", json!([4])).await;
        host.call(&actor, "stop-as", json!([what])).await.unwrap();
        let exit = host.host.actor(&actor).stop().await.unwrap().expect("it was awake");
        assert!(exit.message.is_some(), "{what}: {exit:?}");
        let values = host.ok(&actor, "read", json!([])).await;
        assert_eq!(values[1], 4, "{what}");
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_missed_commits_says_so() {
    let site = Site::new();
    let first = site.host().start().await;
    first.deploy(guest::LIFECYCLE_SNAPSHOT).await;
    let actor = actor(guest::LIFECYCLE_SNAPSHOT, "one");
    first.ok(&actor, "add", json!([5])).await;
    first.host.actor(&actor).stop().await.unwrap();
    first.ok(&actor, "add", json!([1])).await;
    // Generation 2 never ends in order: another host takes over.
    let second = site.usurper().start().await;
    let values = second.take_over_and_call(&actor, "read", json!([])).await.unwrap();
    assert_eq!(values, json!({"ok": [5, 6]}), "the memory is older than the database");
    assert_eq!(hooks(&second, &actor).await, ["restore from 1 current false", "start"]);
    assert_eq!(second.ok(&actor, "why", json!([])).await, json!("StartReason::Recovered"));
    second.host.shutdown().await;
    first.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_trap_the_next_call_works() {
    let (site, host) = Site::hosting(guest::LIFECYCLE_TRAP).await;
    let actor = actor(guest::LIFECYCLE_TRAP, "one");
    assert_eq!(host.ok(&actor, "write", json!([])).await, json!(1));
    for (method, rows) in [
        ("trap-now", 1),
        ("unreachable-code", 1),
        ("write-then-trap", 2),
        ("trap-in-transaction", 2),
    ] {
        let answer = host.call(&actor, method, json!([])).await;
        assert!(
            matches!(answer, Err(CallError { cause: HostError::Trapped { .. }, .. })),
            "{method}: {answer:?}"
        );
        assert_eq!(host.ok(&actor, "read", json!([])).await, json!(rows), "{method}");
        assert_eq!(host.call(&actor, "runs", json!([])).await.unwrap(), json!(1), "{method}");
    }
    assert_eq!(host.ok(&actor, "why", json!([])).await, json!("StartReason::Recovered"));
    assert_eq!(
        host.host.actor(&actor).info().await.unwrap().last_exit.unwrap().reason,
        Reason::Trapped
    );
    host.open_export(&actor, site.path()).await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_cannot_start_says_why_and_hurts_no_other() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_SNAPSHOT).await;
    let healthy = actor(guest::LIFECYCLE_SNAPSHOT, "healthy");
    for what in ["error", "trap"] {
        let sick = actor(guest::LIFECYCLE_SNAPSHOT, what);
        host.ok(&sick, "start-as", json!([what])).await;
        host.host.actor(&sick).stop().await.unwrap();
        let answer = host.call(&sick, "read", json!([])).await;
        assert!(
            matches!(answer, Err(CallError { cause: HostError::StartFailed { .. }, .. })),
            "{what}: {answer:?}"
        );
        host.ok(&healthy, "add", json!([1])).await;
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_ends_the_old_generation_and_the_next_call_runs_the_new_code() {
    let site = Site::new();
    let host = site.host().start().await;
    let deploy = async |guest: guest::Guest| {
        host.host.deploy("kind", guest.wasm().unwrap(), Manifest::default()).await.unwrap()
    };
    assert_eq!(deploy(guest::LIFECYCLE_TRAP).await.replaced, None);
    let actor = ActorId::new("kind", "one").unwrap();
    host.ok(&actor, "write", json!([])).await;
    let deployed = deploy(guest::LIFECYCLE_SNAPSHOT).await;
    assert_eq!((deployed.ended, deployed.version), (1, 2));
    assert!(deployed.replaced.is_some());
    let exit = host.host.actor(&actor).info().await.unwrap().last_exit.unwrap();
    assert_eq!(exit.reason, Reason::Upgraded);

    assert_eq!(host.ok(&actor, "why", json!([])).await, json!("StartReason::Upgraded"));
    let old = host.call(&actor, "write", json!([])).await;
    assert!(matches!(old, Err(CallError { cause: HostError::MethodMissing(_), .. })), "{old:?}");
    // The new component finds the old one's data.
    let request = SqlRequest { sql: "SELECT count(*) FROM t".into(), ..SqlRequest::default() };
    let reply = host.host.actor(&actor).sql(request).await.unwrap();
    assert_eq!(format!("{:?}", reply.rows[0][0]), "Integer(1)");
    // Deploying the same component again ends no generation.
    let again = deploy(guest::LIFECYCLE_SNAPSHOT).await;
    assert_eq!((again.replaced, again.version), (None, 3));
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_is_not_open() {
    let (site, host) = Site::hosting(guest::LIFECYCLE_TRAP).await;
    let nobody = actor(guest::LIFECYCLE_TRAP, "nobody");
    let missing = |error: HostError| matches!(error, HostError::ActorMissing { .. });
    let request = SqlRequest { sql: "SELECT 1".into(), write: true, ..SqlRequest::default() };
    assert!(missing(host.host.actor(&nobody).sql(request).await.unwrap_err().cause));
    assert!(missing(host.host.actor(&nobody).info().await.unwrap_err()));
    assert!(missing(host.host.actor(&nobody).stop().await.unwrap_err()));
    assert!(missing(host.host.actor(&nobody).destroy().await.unwrap_err()));
    assert!(missing(host.host.actor(&nobody).verify().await.unwrap_err()));
    assert!(missing(host.host.actor(&nobody).export().await.err().unwrap()));
    // A call that is refused before it runs does not create an actor either.
    let ill = host.call(&nobody, "read", json!(["too", "many"])).await;
    assert!(matches!(ill, Err(CallError { cause: HostError::Arguments(_), .. })), "{ill:?}");
    let unknown = host.call(&nobody, "no-such-method", json!([])).await;
    assert!(
        matches!(unknown, Err(CallError { cause: HostError::MethodMissing(_), .. })),
        "{unknown:?}"
    );
    assert!(host.host.actors(None, None, 10).await.unwrap().is_empty());
    assert!(host.store.actor(&nobody).await.unwrap().is_none());

    host.ok(&nobody, "write", json!([])).await;
    let state = host.store.actor(&nobody).await.unwrap().unwrap();
    host.host.shutdown().await;
    // A second host opens the actor and does not create it again.
    let host = site.host().start().await;
    assert_eq!(host.ok(&nobody, "read", json!([])).await, json!(1));
    let same = host.store.actor(&nobody).await.unwrap().unwrap();
    assert_eq!(same.row.db, state.row.db);
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_leaves_nothing() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_SNAPSHOT).await;
    for awake in [true, false] {
        let actor = actor(guest::LIFECYCLE_SNAPSHOT, if awake { "awake" } else { "asleep" });
        host.ok(&actor, "add", json!([2])).await;
        if !awake {
            host.host.actor(&actor).stop().await.unwrap();
        }
        let db = host.host.actor(&actor).info().await.unwrap().db;
        assert!(host.store.rows_of(db).await.unwrap() > 0);
        host.host.actor(&actor).destroy().await.unwrap();
        assert_eq!(host.store.rows_of(db).await.unwrap(), 0);
        assert!(matches!(
            host.host.actor(&actor).info().await,
            Err(HostError::ActorMissing { .. })
        ));
        assert!(host.host.actors(None, None, 10).await.unwrap().is_empty());
        // The next call creates another actor, which has none of the old data.
        assert_eq!(host.ok(&actor, "read", json!([])).await, json!([0, 0]));
        let again = host.host.actor(&actor).info().await.unwrap();
        assert!(again.db != db);
        host.host.actor(&actor).destroy().await.unwrap();
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything() {
    let site = Site::new();
    let mut host = site.host().start().await;
    host.deploy(guest::LIFECYCLE_SNAPSHOT).await;
    for round in 1..=3_u64 {
        for key in ["a", "b", "c"] {
            let actor = actor(guest::LIFECYCLE_SNAPSHOT, key);
            assert_eq!(host.ok(&actor, "add", json!([1])).await, json!([round, round]), "{key}");
        }
        assert!(host.host.shutdown().await.orderly);
        host = site.host().start().await;
        // Kinds and actors are found after a restart without a deploy.
        assert_eq!(host.host.kinds(None, 9).await.unwrap().len(), 1);
        assert_eq!(host.host.actors(None, None, 10).await.unwrap().len(), 3);
    }
    host.host.shutdown().await;
}
