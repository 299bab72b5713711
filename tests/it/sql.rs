//! An operator's statements: they leave nothing but rows beside a guest, and reach an actor that
//! sleeps, or cannot start, without running it.

use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade::host::{ActorStatus, SnapshotOutcome, SqlReply, SqlRequest};
use stockade::{ActorId, CallError, HostError};
use stockade_depot::Reason;
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use stockade_tests::program::Program;

async fn sql(host: &TestHost, actor: &ActorId, sql: &str) -> Result<SqlReply, CallError> {
    let (sql, parameters) = (sql.to_owned(), Vec::new());
    let write = !sql.starts_with("SELECT");
    host.host.actor(actor).sql(SqlRequest { sql, parameters, write, rows_max: None }).await
}

/// The worst known sequence: a write that the guest has acknowledged is there after its sleep.
#[test]
fn nothing_that_an_operator_makes_comes_between_a_guest_and_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(&dir.path().join("data")).unwrap();
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    let increment = || program.call("counter/c", "increment", &json!([1])).unwrap().body;
    let route = "/admin/actors/counter/c";
    let operator = |sql: &str| {
        let request = json!({"sql": sql, "write": true});
        program.admin_post(&format!("{route}/sql"), &request).unwrap()
    };
    let table = |sql: &str| operator(sql).body["rows"].clone();
    let first = increment();
    for sql in [
        "CREATE TEMP TABLE counter AS SELECT * FROM main.counter",
        "CREATE TEMP VIEW counter AS SELECT 5 AS value",
        "PRAGMA foreign_keys = 0; PRAGMA ignore_check_constraints = 1",
        "BEGIN; UPDATE counter SET value = 1000",
    ] {
        operator(sql);
        let rules = "SELECT * FROM pragma_foreign_keys, pragma_ignore_check_constraints";
        assert_eq!(table(rules), json!([[1, 0]]), "{sql}");
    }
    let values: Vec<Json> = (0..3).map(|_| increment()).collect();
    assert_ne!(values[2], first);
    assert_eq!(program.admin_post(&format!("{route}/stop"), &json!({})).unwrap().status, 200);
    assert_eq!(program.call("counter/c", "get", &json!([])).unwrap().body, values[2]);
    program.stop().unwrap();
}

/// A row that makes `start` trap is read and repaired, however often the actor has crashed.
#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_cannot_start_is_read_and_mended() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::LIFECYCLE_SNAPSHOT, |limits| {
        limits.crashes_max = 2;
        limits.crash_backoff_ms = 3_600_000;
        limits.crash_backoff_ms_max = 3_600_000;
    })
    .await;
    let actor = actor(guest::LIFECYCLE_SNAPSHOT, "bad");
    host.ok(&actor, "add", json!([7])).await;
    host.ok(&actor, "start-as", json!(["trap"])).await;
    host.host.actor(&actor).stop().await.unwrap();
    for _ in 0..2 {
        let failed = host.call(&actor, "read", json!([])).await;
        assert!(
            matches!(failed, Err(CallError { cause: HostError::StartFailed { .. }, .. })),
            "{failed:?}"
        );
    }
    let refused = host.call(&actor, "read", json!([])).await;
    assert!(
        matches!(
            refused,
            Err(CallError { cause: HostError::CrashLooping { restarts: 2, .. }, .. })
        ),
        "{refused:?}"
    );
    let bad = sql(&host, &actor, "SELECT start_as, n FROM counter").await.unwrap();
    assert_eq!(format!("{:?}", bad.rows), r#"[[Text("trap"), Integer(7)]]"#);
    let mended = sql(&host, &actor, "UPDATE counter SET start_as = ''").await.unwrap();
    assert_eq!(mended.changes, 1);
    // No generation of the component was begun for it, and the count of crashes is unchanged.
    let info = host.host.actor(&actor).info().await.unwrap();
    assert_eq!((info.status, info.restarts), (ActorStatus::CrashLooping, 2));
    host.host.actor(&actor).reset().await.unwrap();
    let read = host.ok(&actor, "read", json!([])).await;
    assert_eq!(read[1], json!(7));
    assert_eq!(host.ok(&actor, "why", json!([])).await, json!("StartReason::Recovered"));
    host.assert_intact(&actor).await;
    host.host.shutdown().await;
}

/// Statements that only read do not change the actor's crash count or breaker.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_forgets_no_crash() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::LIFECYCLE_TRAP, |limits| {
        limits.crashes_max = 5;
        limits.crash_backoff_ms = 3_600_000;
        limits.crash_backoff_ms_max = 3_600_000;
    })
    .await;
    let actor = actor(guest::LIFECYCLE_TRAP, "crashed");
    host.ok(&actor, "write", json!([])).await;
    for _ in 0..2 {
        let trapped = host.call(&actor, "trap-now", json!([])).await;
        assert!(
            matches!(trapped, Err(CallError { cause: HostError::Trapped { .. }, .. })),
            "{trapped:?}"
        );
    }
    for _ in 0..3 {
        let rows = sql(&host, &actor, "SELECT count(*) FROM t").await.unwrap().rows;
        assert_eq!(format!("{rows:?}"), "[[Integer(1)]]");
        let mut info = host.host.actor(&actor).info().await.unwrap();
        while info.status == ActorStatus::Awake {
            // Its slot has not ended yet.
            tokio::time::sleep(Duration::from_millis(2)).await;
            info = host.host.actor(&actor).info().await.unwrap();
        }
        assert_eq!((info.restarts, info.next_attempt.is_some()), (2, true));
    }
    host.host.actor(&actor).reset().await.unwrap();
    assert_eq!(host.ok(&actor, "why", json!([])).await, json!("StartReason::Recovered"));
    host.host.shutdown().await;
}

/// A sleeping actor stays asleep; its snapshot is handed on, and marked as older after a write.
#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_actor_is_not_woken_and_keeps_its_snapshot() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_SNAPSHOT).await;
    let actor = actor(guest::LIFECYCLE_SNAPSHOT, "asleep");
    for writes in [false, true] {
        host.ok(&actor, "add", json!([1])).await;
        host.host.actor(&actor).stop().await.unwrap();
        let diary = sql(&host, &actor, "SELECT count(*) FROM diary").await.unwrap();
        for _ in 0..3 {
            let again = sql(&host, &actor, "SELECT count(*) FROM diary").await.unwrap();
            assert_eq!(again.rows, diary.rows, "a hook ran");
        }
        assert_eq!(host.host.awake(), 0);
        let exit = host.exit_of(&actor).await;
        assert_eq!(exit.reason, Reason::Operator);
        assert!(matches!(exit.snapshot, SnapshotOutcome::Taken { .. }), "{exit:?}");
        if writes {
            assert_eq!(sql(&host, &actor, "UPDATE counter SET n = 50").await.unwrap().changes, 1);
        }
        let hooks = host.call(&actor, "hooks", json!([])).await.unwrap();
        let restored = hooks[0].as_str().unwrap();
        assert!(restored.ends_with(&format!("current {}", !writes)), "{restored}");
        let why = if writes { "StartReason::Recovered" } else { "StartReason::Woken" };
        assert_eq!(host.ok(&actor, "why", json!([])).await, json!(why));
    }
    assert_eq!(host.ok(&actor, "read", json!([])).await, json!([2, 50]));
    host.host.shutdown().await;
}

/// Without a snapshot the actor is again asleep in order, whatever was done, and the bounds hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_leaves_an_actor_as_it_was_and_is_bounded() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::LIFECYCLE_TRAP, |limits| limits.sql_steps_max = 100_000).await;
    let actor = actor(guest::LIFECYCLE_TRAP, "plain");
    let nobody = sql(&host, &actor, "SELECT 1").await;
    assert!(
        matches!(nobody, Err(CallError { cause: HostError::ActorMissing { .. }, .. })),
        "{nobody:?}"
    );
    host.ok(&actor, "write", json!([])).await;
    host.host.actor(&actor).stop().await.unwrap();
    assert_eq!(sql(&host, &actor, "INSERT INTO t VALUES (2)").await.unwrap().changes, 1);
    let temporary = "CREATE TEMP TABLE t(a); INSERT INTO t VALUES (1)";
    sql(&host, &actor, temporary).await.unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                   INSERT INTO t SELECT i FROM n";
    let stopped = sql(&host, &actor, endless).await;
    assert!(matches!(stopped, Err(CallError { cause: HostError::Sql { .. }, .. })), "{stopped:?}");
    let open = sql(&host, &actor, "BEGIN; DELETE FROM t").await;
    assert!(matches!(open, Err(CallError { cause: HostError::Sql { .. }, .. })), "{open:?}");
    assert_eq!(host.host.awake(), 0);
    assert_eq!(host.ok(&actor, "read", json!([])).await, json!(2));
    assert_eq!(host.ok(&actor, "why", json!([])).await, json!("StartReason::Woken"));
    host.assert_intact(&actor).await;
    host.host.shutdown().await;
}

/// A takeover by another process ends a visit as it ends any generation: nothing is answered.
#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_lives_elsewhere_is_not_visited() {
    let (site, host) = Site::hosting(guest::LIFECYCLE_TRAP).await;
    let actor = actor(guest::LIFECYCLE_TRAP, "moved");
    host.ok(&actor, "write", json!([])).await;
    host.host.actor(&actor).stop().await.unwrap();
    let other = site.usurper().start().await;
    other.ok(&actor, "write", json!([])).await;
    let refused = sql(&host, &actor, "INSERT INTO t VALUES (3)").await;
    assert!(
        matches!(refused, Err(CallError { cause: HostError::Elsewhere { .. }, .. })),
        "{refused:?}"
    );
    assert_eq!(other.ok(&actor, "read", json!([])).await, json!(2));
    other.host.shutdown().await;
    assert_eq!(sql(&host, &actor, "INSERT INTO t VALUES (3)").await.unwrap().changes, 1);
    assert_eq!(host.ok(&actor, "read", json!([])).await, json!(3));
    host.host.shutdown().await;
}
