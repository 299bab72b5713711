//! Alarms at the public edge: in the actor's transactions, over its endings and those of its host, in
//! copies, and as operators see them. When they run, to the millisecond, is in `tests/sim-hosts`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use stockade::host::{ActorStatus, SqlRequest};
use stockade::limits::ALARM_NAME_BYTES_MAX;
use stockade::{ActorId, AlarmOrder, Fault, Manifest, SqlValue};
use stockade_depot::Reason;
use stockade_testkit::capture::capture;
use stockade_testkit::faulty_store::{self, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use stockade_tests::program::{self, Program};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn runs(host: &TestHost, actor: &ActorId) -> Vec<String> {
    serde_json::from_value(host.ok(actor, "runs", json!([])).await).unwrap()
}

/// Waits for so many runs. A call that waits for its turn may meet the end of the generation.
async fn runs_of(host: &TestHost, actor: &ActorId, count: usize) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let answer = host.call(actor, "runs", json!([])).await;
        let runs = answer.as_ref().ok().map(|answer| answer["ok"].clone());
        let runs: Option<Vec<String>> = runs.and_then(|runs| serde_json::from_value(runs).ok());
        if let Some(runs) = runs.filter(|runs| runs.len() >= count) {
            return runs;
        }
        assert!(begun.elapsed() < PATIENCE, "{actor}: only {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn list(host: &TestHost, actor: &ActorId) -> Vec<Vec<SqlValue>> {
    host.host.actor(actor).order_alarms(AlarmOrder::List).await.unwrap().rows
}

/// A time so many milliseconds from now.
fn soon(ms: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap() + ms
}

fn error(answer: &Json) -> String {
    answer["err"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_runs_awake_and_wakes_a_sleeper() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::LIFECYCLE_ALARMS, |limits| limits.sleep_after_ms = 300).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "one");
    host.ok(&actor, "after", json!(["awake", 50, "ok"])).await;
    assert_eq!(runs_of(&host, &actor, 1).await, ["awake 1 0"]);
    host.ok(&actor, "after", json!(["asleep", 1_500, "ok"])).await;
    host.exit_of(&actor).await;
    // The read that sees the run may be what wakes the actor; who woke it is in the table.
    assert_eq!(runs_of(&host, &actor, 2).await, ["awake 1 0", "asleep 1 0"]);
    assert!(list(&host, &actor).await.is_empty());
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_kept_with_its_transaction_or_not_at_all() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_ALARMS).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "one");
    for (how, rows) in [("commit", 1), ("rollback", 1), ("savepoint", 2), ("open", 2), ("trap", 2)]
    {
        drop(host.call(&actor, "together", json!([how, 50, how])).await);
        let beside = host.ok(&actor, "sql", json!(["", ["SELECT count(*) FROM beside"]])).await;
        assert_eq!(beside, json!(format!("Integer({rows})")), "{how}");
    }
    runs_of(&host, &actor, 1).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(runs(&host, &actor).await, ["commit 1 0"]);
    for (begin, end, kept) in [
        ("BEGIN", "COMMIT", true),
        ("SAVEPOINT s", "RELEASE s", true),
        ("BEGIN", "ROLLBACK", false),
    ] {
        host.ok(&actor, "sql", json!(["text", [begin, end]])).await;
        let there = host.ok(&actor, "all", json!([])).await;
        assert_eq!(there, if kept { json!(["text"]) } else { json!([]) }, "{begin} {end}");
        host.ok(&actor, "cancel", json!(["text"])).await;
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_set_is_a_typed_error() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_ALARMS).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "one");
    for (method, arguments, named) in [
        ("after", json!(["", 1, "ok"]), "a name of 0 bytes"),
        ("after", json!(["x".repeat(ALARM_NAME_BYTES_MAX + 1), 1, "ok"]), "a name of 65 bytes"),
        (
            "after",
            json!(["ü".repeat(ALARM_NAME_BYTES_MAX / 2) + "x", 1, "ok"]),
            "a name of 65 bytes",
        ),
        ("after", json!(["a\0b", 1, "ok"]), "no U+0000"),
        ("at", json!(["a", u64::MAX, "ok"]), "year 9999"),
        ("every", json!(["a", 999, "ok"]), "shorter than 1000 ms"),
        ("cron", json!(["a", "0 0 * *", "UTC"]), "five fields"),
        ("cron", json!(["a", "0 0 30 2 *", "UTC"]), "no such time"),
        ("cron", json!(["a", "0 0 * * *", "Nowhere"]), "Nowhere"),
        ("sized", json!(["a", 65_537]), "more than 65536 bytes"),
    ] {
        let answer = host.call(&actor, method, arguments.clone()).await.unwrap();
        assert!(error(&answer).contains(named), "{method} {arguments}: {answer}");
    }
    host.ok(&actor, "sized", json!(["a", 65_536])).await;
    let longest = ["x".repeat(ALARM_NAME_BYTES_MAX), "ü".repeat(ALARM_NAME_BYTES_MAX / 2)];
    for name in &longest {
        host.ok(&actor, "sized", json!([name, 0])).await;
    }
    assert_eq!(host.ok(&actor, "all", json!([])).await, json!(["a", longest[0], longest[1]]));
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_replacements_are_one_row() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_ALARMS).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "one");
    host.ok(&actor, "replace", json!(["tea", 1_000])).await;
    let before = host.host.actor(&actor).info().await.unwrap().bytes;
    for _ in 0..99 {
        host.ok(&actor, "replace", json!(["tea", 1_000])).await;
    }
    assert_eq!(host.host.actor(&actor).info().await.unwrap().bytes, before);
    assert_eq!(list(&host, &actor).await.len(), 1);
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_of_guests_and_operators_does_not_reach_alarms() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_ALARMS).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "one");
    host.ok(&actor, "after", json!(["tea", 3_600_000, "ok"])).await;
    for sql in [
        "SELECT name FROM _stockade_alarm",
        "UPDATE _stockade_alarm SET next = 0",
        "DELETE FROM main._stockade_alarm",
        "DROP TABLE _stockade_alarm",
        "CREATE TRIGGER g AFTER INSERT ON run BEGIN DELETE FROM _stockade_alarm; END",
        "CREATE VIEW v AS SELECT * FROM _stockade_alarm",
    ] {
        let answer = host.call(&actor, "sql", json!(["", [sql]])).await.unwrap();
        assert!(error(&answer).contains("host"), "{sql}: {answer}");
        for write in [false, true] {
            let request = SqlRequest { sql: sql.to_owned(), write, ..SqlRequest::default() };
            assert!(host.host.actor(&actor).sql(request).await.is_err(), "{sql}");
        }
    }
    let blob = host.call(&actor, "blob", json!(["_stockade_alarm", "payload", 1])).await.unwrap();
    assert!(error(&blob).contains("host"), "{blob}");
    assert_eq!(list(&host, &actor).await.len(), 1);
    host.host.shutdown().await;
}

/// A crash of the handler, by a trap or by a host that ends its instance, is followed by another try.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_dies_is_tried_again() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_ALARMS).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "one");
    host.ok(&actor, "after", json!(["poison", 50, "trap"])).await;
    let runs = runs_of(&host, &actor, 2).await;
    assert_eq!(runs[..2], ["poison 1 0", "poison 2 0"]);
    let looked = host.ok(&actor, "look", json!(["poison"])).await.to_string();
    assert!(looked.contains("waits"), "{looked}");
    host.host.shutdown().await;
}

/// A kill would not count a try that is on its way: what the handler has done by then is done again as
/// the first one.
#[tokio::test(flavor = "multi_thread")]
async fn no_handler_begins_before_its_try_is_durable() {
    let log = capture();
    let (_site, host) = Site::hosting(guest::LIFECYCLE_ALARMS).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "on-its-way");
    host.ok(&actor, "after", json!(["tea", 700, "say"])).await;
    let counted = host.store.arm(Step::Commit, 1, faulty_store::Fault::Hold);
    counted.fired().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = || log.lines(&["on-its-way: tea begins"]).len();
    assert_eq!(begun(), 0, "the try is not durable");
    counted.release();
    assert_eq!(runs_of(&host, &actor, 1).await, ["tea 1 0"]);
    assert_eq!(begun(), 1);
    host.host.shutdown().await;
}

/// Due together: the end of each run and the try of the next one are one step, with what the handler
/// has written.
#[tokio::test(flavor = "multi_thread")]
async fn alarms_that_follow_each_other_cost_a_commit_each() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_ALARMS).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "one");
    host.ok(&actor, "runs", json!([])).await;
    host.ok(&actor, "arm", json!([20, soon(1_500)])).await;
    let before = host.store.calls(Step::Commit);
    // A call would come in between.
    let mut commits = 0;
    while commits == 0 || host.store.calls(Step::Commit) > before + commits {
        commits = host.store.calls(Step::Commit) - before;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let runs = runs(&host, &actor).await;
    assert_eq!(runs.len(), 20);
    assert!(runs.iter().all(|run| run.ends_with(" 1 0")), "{runs:?}");
    // The first try, and one for each; some more where a handler had to wait for its turn.
    assert!((21..=28).contains(&commits), "{commits}");
    host.host.shutdown().await;
}

/// However many alarms are due: a call waits for the one that runs, and what it cancels does not run.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_comes_between_alarms_that_are_due() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_ALARMS).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "one");
    let due = soon(700);
    for number in 0..10 {
        host.ok(&actor, "at", json!([format!("n{number}"), due, "slow 200"])).await;
    }
    tokio::time::sleep(Duration::from_millis(800)).await;
    let begun = Instant::now();
    for name in ["n9", "n8", "n7"] {
        assert_eq!(host.ok(&actor, "cancel", json!([name])).await, json!(true), "{name}");
        assert!(begun.elapsed() < Duration::from_secs(2), "it waits for more than its turn");
    }
    let expected: Vec<String> = (0..7).map(|number| format!("n{number} 1 0")).collect();
    assert_eq!(runs_of(&host, &actor, 7).await, expected);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(runs(&host, &actor).await, expected);
    host.host.shutdown().await;
}

/// A stop between the count of a try and its handler: no handler runs, so no try counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_before_the_handler_gives_the_try_back() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_ALARMS).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "one");
    host.ok(&actor, "after", json!(["tea", 700, "ok"])).await;
    let counted = host.store.arm(Step::Commit, 1, faulty_store::Fault::Hold);
    counted.fired().await;
    let handle = host.host.actor(&actor);
    let (stopped, ()) = tokio::join!(handle.stop(), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        counted.release();
    });
    assert!(stopped.unwrap().is_some(), "it was awake");
    assert_eq!(runs_of(&host, &actor, 1).await, ["tea 1 0"]);
    host.host.shutdown().await;
}

/// What a handler sends waits for the gate: a generation that has lost its database calls no one.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_lost_its_fence_calls_no_one() {
    let site = Site::new();
    let old = site.host().start().await;
    let kind = guest::LIFECYCLE_ALARMS;
    let granted = Manifest { calls: vec![kind.name.to_owned()], ..Manifest::default() };
    old.host.deploy(kind.name, kind.wasm().unwrap(), granted).await.unwrap();
    let (one, called) = (actor(kind, "one"), actor(kind, "called"));
    let new = site.usurper().start().await;
    // The takeover must not wait until the component is compiled.
    new.ok(&actor(kind, "warm"), "runs", json!([])).await;

    old.ok(&one, "after", json!(["tea", 100, "call 3000"])).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    // The new owner would run it as well.
    new.take_over_and_call(&one, "cancel", json!(["tea"])).await.unwrap();
    assert_eq!(runs(&new, &one).await, ["tea 1 0"], "it had begun before");
    assert_eq!(old.exit_of(&one).await.reason, Reason::Fenced);
    assert!(new.host.actor(&called).info().await.is_err(), "it was called");

    // With its fence, it calls.
    new.ok(&one, "after", json!(["tea", 50, "call 0"])).await;
    runs_of(&new, &one, 2).await;
    assert!(new.host.actor(&called).info().await.is_ok(), "it was not called");
    old.host.shutdown().await;
    new.host.shutdown().await;
}

/// A generation that has lost its fence while its handler ran records nothing: the alarm runs again, at
/// the owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_has_lost_its_fence_removes_nothing() {
    let site = Site::new();
    let host = site.host().allow_faults().start().await;
    host.deploy(guest::LIFECYCLE_ALARMS).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "one");
    host.ok(&actor, "after", json!(["tea", 100, "slow 1500"])).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    host.host.actor(&actor).fault(Fault::Fence).await.unwrap();
    let runs = runs_of(&host, &actor, 1).await;
    assert_eq!(runs[0], "tea 1 0", "begun and counted before the fence was lost: {runs:?}");
    let runs = runs_of(&host, &actor, 2).await;
    assert_eq!(runs[1], "tea 2 0", "{runs:?}");
    host.host.shutdown().await;
}

/// Waits with a deploy: the new component has the alarms of the former one.
#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_loses_no_alarm() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_ALARMS).await;
    let actor = actor(guest::LIFECYCLE_ALARMS, "one");
    host.ok(&actor, "after", json!(["tea", 1_200, "ok"])).await;
    host.deploy_with(guest::LIFECYCLE_ALARMS, |limits| limits.handles_max = 900).await;
    assert_eq!(runs_of(&host, &actor, 1).await, ["tea 1 0"]);
    host.host.shutdown().await;
}

/// An export has the alarms, and its import has them switched off until an operator says otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn alarms_of_an_imported_copy_are_off() {
    let (site, host) = Site::hosting(guest::LIFECYCLE_ALARMS).await;
    let (one, two) = (actor(guest::LIFECYCLE_ALARMS, "one"), actor(guest::LIFECYCLE_ALARMS, "two"));
    host.ok(&one, "after", json!(["tea", 1_000, "ok"])).await;
    let file = site.path().join("one.db");
    std::fs::write(&file, host.export(&one).await).unwrap();
    host.host.actor(&two).import(&file, &mut |_| {}).await.unwrap();
    runs_of(&host, &one, 1).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(host.host.actor(&two).info().await.unwrap().status, ActorStatus::Asleep);
    assert_eq!(host.ok(&two, "look", json!(["tea"])).await, json!("off, 0 tries, 2 bytes"));
    assert!(runs(&host, &two).await.is_empty());
    let retry = AlarmOrder::Retry { name: Some("tea".to_owned()) };
    assert_eq!(host.host.actor(&two).order_alarms(retry).await.unwrap().changes, 1);
    assert_eq!(runs_of(&host, &two, 1).await, ["tea 1 0"]);

    // What is like the host's table, and is not it, is no database of an actor.
    let copy = rusqlite::Connection::open(&file).unwrap();
    copy.execute_batch("CREATE TRIGGER g AFTER INSERT ON _stockade_alarm BEGIN SELECT 1; END")
        .unwrap();
    drop(copy);
    let three = actor(guest::LIFECYCLE_ALARMS, "three");
    let refused = host.host.actor(&three).import(&file, &mut |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("_stockade"), "{refused}");
    host.host.shutdown().await;
}

/// The host is killed after the try was counted and before the handler has ended: the next one runs
/// the alarm as its second try.
#[test]
fn a_kill_between_the_count_and_the_end_counts() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve(&data).unwrap();
    program.deploy("alarms", &guest::LIFECYCLE_ALARMS.wasm().unwrap()).unwrap();
    let set = program.call("alarms/a", "after", &json!(["tea", 100, "slow 6000"])).unwrap();
    assert_eq!(set.status, 200, "{set:?}");
    std::thread::sleep(Duration::from_millis(1_500));
    program.kill().unwrap();

    let program = Program::serve(&data).unwrap();
    // An order for an actor that sleeps would take it over, and no wake would count the end.
    std::thread::sleep(Duration::from_secs(5));
    let begun = Instant::now();
    let second = loop {
        // While the handler runs, an order waits for it.
        let alarms = program.admin_get("/admin/actors/alarms/a/alarms").unwrap();
        let attempts = alarms.body["alarms"][0]["attempts"].as_u64().unwrap_or(0);
        if attempts >= 2 || alarms.body["alarms"] == json!([]) {
            break alarms.body;
        }
        assert!(begun.elapsed() < PATIENCE * 2, "{alarms:?}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let restarts = program.admin_get("/admin/actors/alarms/a").unwrap().body["restarts"].clone();
    assert_eq!(restarts, 1, "a wake for due work counts the end of the process");
    let runs = program.call("alarms/a", "runs", &json!([])).unwrap().body;
    assert_eq!(runs["ok"][0], "tea 1 0", "{second}");
    assert_eq!(runs["ok"][1], "tea 2 0", "{second}");
    program.stop().unwrap();
}

#[test]
fn operators_list_retry_and_drop_alarms() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(&dir.path().join("data")).unwrap();
    program.deploy("alarms", &guest::LIFECYCLE_ALARMS.wasm().unwrap()).unwrap();
    program.call("alarms/a", "after", &json!(["tea", 3_600_000, "ok"])).unwrap();
    program.call("alarms/a", "every", &json!(["tick", 3_600_000, "ok"])).unwrap();
    let route = "/admin/actors/alarms/a";
    let alarms = program.admin_get(&format!("{route}/alarms")).unwrap();
    assert_eq!(alarms.status, 200, "{alarms:?}");
    assert_eq!(alarms.body["alarms"][0]["name"], "tea");
    assert_eq!(alarms.body["alarms"][1]["schedule"], "every 3600000 ms");
    assert_eq!(alarms.body["alarms"][1]["state"], "waits");
    // Asleep as well, and it stays so.
    program.admin_post(&format!("{route}/stop"), &json!({})).unwrap();
    let dropped =
        program.admin_post(&format!("{route}/alarms/drop"), &json!({"name": "tea"})).unwrap();
    assert_eq!(
        (&dropped.body["changed"], dropped.body["alarms"].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    let asleep = program.admin_get(route).unwrap().body;
    assert_eq!((&asleep["state"], &asleep["due_work"]), (&json!("asleep"), &json!(true)));
    program.call("alarms/b", "runs", &json!([])).unwrap();
    let without = program.admin_get("/admin/actors/alarms/b").unwrap().body;
    assert_eq!(without["due_work"], false);
    let retried = program.admin_post(&format!("{route}/alarms/retry"), &json!({})).unwrap();
    assert_eq!(retried.body["changed"], 0, "it waits for its time: {retried:?}");
    let nameless = program.admin_post(&format!("{route}/alarms/drop"), &json!({})).unwrap();
    assert_eq!(nameless.status, 400, "{nameless:?}");
    let missing = program.admin_get("/admin/actors/alarms/nobody/alarms").unwrap();
    assert_eq!(missing.status, 404, "{missing:?}");

    let run = |arguments: &[&str]| {
        program::run(&[&["--admin", &program.admin][..], arguments].concat()).unwrap()
    };
    let (exit, shown, _) = run(&["actors", "show", "alarms/a"]);
    assert!(exit == 0 && shown.contains("`stockade alarms list alarms/a`"), "{shown}");
    let (exit, shown, _) = run(&["alarms", "list", "alarms/a"]);
    assert!(exit == 0 && shown.contains("tick") && shown.contains("waits"), "{shown}");
    let (exit, shown, _) = run(&["alarms", "drop", "alarms/a", "tick"]);
    assert!(
        exit == 0 && shown.contains("1 alarm removed") && shown.contains("no alarms"),
        "{shown}"
    );
    program.stop().unwrap();
}
