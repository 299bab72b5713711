//! Guests that exceed their budget: each ends inside it with a typed error, its neighbours continue
//! to answer, and its next call works.
//!
//! `kinds` has the components that are refused or end before a call.

mod kinds;

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::Exhausted;
use stockade::error::TrapLimit;
use stockade::host::SqlRequest;
use stockade::{ActorId, CallError, HostError};
use stockade_depot::Reason;
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};

/// The longest wall time for any refused call, budget included, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(12);

struct Stand {
    _site: Site,
    host: TestHost,
    hostile: ActorId,
    neighbour: ActorId,
}

impl Stand {
    async fn new(set: impl FnOnce(&mut stockade::limits::Limits)) -> Self {
        let site = Site::new();
        let host = site.host().start().await;
        host.deploy_with(guest::HOSTILE_LOOP, set).await;
        let hostile = actor(guest::HOSTILE_LOOP, "hostile");
        let neighbour = actor(guest::HOSTILE_LOOP, "neighbour");
        host.call(&neighbour, "hello", json!([])).await.unwrap();
        Self { _site: site, host, hostile, neighbour }
    }

    /// Runs a method while the neighbour answers; then checks that the actor itself still works.
    async fn spend(&self, method: &str, arguments: Json) -> Result<Json, CallError> {
        let (host, hostile) = (self.host.host.clone(), self.hostile.clone());
        let name = method.to_owned();
        let begun = Instant::now();
        let spending = tokio::spawn(async move {
            host.actor(&hostile).call(&name, stockade::Arguments::Json(arguments)).await
        });
        while !spending.is_finished() {
            assert!(begun.elapsed() < PATIENCE, "{method} goes on after {:?}", begun.elapsed());
            let asked = Instant::now();
            self.host.call(&self.neighbour, "hello", json!([])).await.unwrap();
            assert!(asked.elapsed() < Duration::from_secs(3), "{method} holds its neighbour up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(begun.elapsed() < PATIENCE, "{method} took {:?}", begun.elapsed());
        let answer = spending.await.unwrap().map(|reply| reply.to_json());
        assert_eq!(
            self.host.call(&self.hostile, "hello", json!([])).await.unwrap(),
            json!("hello")
        );
        answer
    }

    /// Asserts that the guest got a refusal that names the cause.
    async fn told(&self, method: &str, arguments: Json, word: &str) {
        let answer = self.spend(method, arguments).await;
        let text = format!("{answer:?}");
        assert!(text.contains(word), "{method}: {text}, expected {word}");
        assert!(
            !matches!(&answer, Ok(Json::Object(fields)) if fields.contains_key("ok")),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_loops_end_at_the_deadline() {
    let stand = Stand::new(|limits| limits.call_time_ms = 400).await;
    let answer = stand.spend("spin", json!([])).await;
    assert!(
        matches!(answer, Err(CallError { cause: HostError::BudgetExhausted { .. }, .. })),
        "{answer:?}"
    );
    for method in ["spin-in-sql", "spin-in-join"] {
        let answer = stand.spend(method, json!([])).await;
        let ended =
            matches!(&answer, Err(CallError { cause: HostError::BudgetExhausted { .. }, .. }))
                || format!("{answer:?}").contains("Interrupted");
        assert!(ended, "{method}: {answer:?}");
    }
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_work_is_bounded_by_steps_and_rows() {
    let stand = Stand::new(|limits| {
        limits.sql_steps_max = 200_000;
        limits.rows_max = 5_000;
    })
    .await;
    let answer = format!("{:?}", stand.spend("spin-in-sql", json!([])).await);
    assert!(answer.contains("SqlSteps"), "{answer}");
    let answer = format!("{:?}", stand.spend("read-rows", json!([1_000_000])).await);
    assert!(answer.contains("Limit::Rows") || answer.contains("Rows"), "{answer}");
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c_loops_of_sqlite_are_bounded() {
    let stand = Stand::new(|limits| limits.call_time_ms = 2_000).await;
    stand.told("slow-pattern", json!([60_000]), "LimitExceeded(Limit::PatternBytes)").await;
    stand.told("deep-expression", json!([1_010]), "Statement").await;
    // Linear, or stopped at the deadline: never for minutes.
    drop(stand.spend("slow-functions", json!([4_000_000])).await);
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_stack_are_bounded() {
    let stand = Stand::new(|limits| limits.memory_bytes_max = 16 << 20).await;
    let pages = stand.spend("grow", json!([])).await.unwrap().as_u64().unwrap();
    assert!(pages * 65_536 < 16 << 20, "{pages} pages");
    let answer = stand.spend("recurse", json!([100_000_000])).await;
    assert!(
        matches!(answer, Err(CallError { cause: HostError::Trapped { .. }, .. })),
        "{answer:?}"
    );
    let answer = stand.spend("answer", json!([64 << 20])).await;
    assert!(answer.is_err(), "{answer:?}");
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_and_payloads_are_bounded() {
    let stand = Stand::new(|limits| {
        limits.reply_bytes_max = 10_000;
        limits.payload_bytes_max = 1_000;
    })
    .await;
    assert!(stand.spend("answer", json!([5_000])).await.is_ok());
    let answer = stand.spend("answer", json!([50_000])).await;
    assert!(
        matches!(answer, Err(CallError { cause: HostError::ReplyTooLarge { .. }, .. })),
        "{answer:?}"
    );
    for (bytes, is_refused) in [(1_000, false), (1_001, true)] {
        let answer = stand.spend("leak", json!(["x".repeat(bytes)])).await;
        let refused = |error: &CallError| match error.cause {
            HostError::PayloadTooLarge { bytes: found, max } => (found, max) == (1_001, 1_000),
            _ => false,
        };
        assert_eq!(answer.as_ref().is_err_and(refused), is_refused, "{bytes}: {answer:?}");
    }
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_and_log_lines_are_bounded() {
    let stand = Stand::new(|limits| {
        limits.handles_max = 50;
        limits.log_lines_max = 10;
        limits.log_line_bytes_max = 100;
    })
    .await;
    for _ in 0..2 {
        // Leaked handles stay counted until the generation ends.
        let leaked = stand.spend("leak-handles", json!([])).await.unwrap();
        assert!(leaked[0].as_u64().unwrap() <= 50, "{leaked}");
        assert!(leaked[1].as_str().unwrap().contains("Handles"), "{leaked}");
    }
    let flood = stand.spend("flood-log", json!([100, 20])).await.unwrap();
    assert_eq!(flood[0], 10);
    assert!(flood[1].as_str().unwrap().contains("TooMany"), "{flood}");
    let long = stand.spend("flood-log", json!([1, 1000])).await.unwrap();
    assert!(long[1].as_str().unwrap().contains("TooLong"), "{long}");
    stand.spend("print", json!([10_000])).await.unwrap();
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_and_its_commits_are_bounded() {
    let stand = Stand::new(|limits| {
        limits.database_bytes_max = 24 << 20;
        limits.commit_bytes_max = 8 << 20;
        limits.scratch_bytes_max = 16 << 20;
    })
    .await;
    stand.told("big-commit", json!([12]), "CommitTooLarge").await;
    stand.told("fill", json!([40]), "Full").await;
    stand.told("sort-much", json!([60]), "Scratch").await;
    stand.host.assert_intact(&stand.hostile).await;
    stand.host.host.shutdown().await;
}

/// Whatever answers an interrupted guest gets, it can ask for more only until the next tick.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_that_is_swallowed_is_not_survived() {
    let stand = Stand::new(|limits| limits.call_time_ms = 400).await;
    let answer = stand.spend("swallow-interrupts", json!([])).await;
    let of_time = matches!(
        answer,
        Err(CallError { cause: HostError::BudgetExhausted { which: Exhausted::Time, .. }, .. })
    );
    assert!(of_time, "{answer:?}");
    // The same when another allowance runs out: it stays used up for the rest of the call.
    let stand = Stand::new(|limits| {
        limits.call_time_ms = 400;
        limits.sql_steps_max = 100_000;
    })
    .await;
    let answer = stand.spend("swallow-interrupts", json!([])).await;
    assert!(
        matches!(answer, Err(CallError { cause: HostError::BudgetExhausted { .. }, .. })),
        "{answer:?}"
    );
    stand.host.host.shutdown().await;
}

/// SQLite's LIKE over one such text takes seconds, its functions tenths of a second, a thousand
/// times.
#[tokio::test(flavor = "multi_thread")]
async fn work_on_large_values_ends_at_the_deadline() {
    let stand = Stand::new(|limits| limits.call_time_ms = 500).await;
    for (method, arguments) in
        [("match-large-texts", json!([15 << 20])), ("work-on-large-values", json!([]))]
    {
        let answer = stand.spend(method, arguments).await;
        let ended =
            matches!(&answer, Err(CallError { cause: HostError::BudgetExhausted { .. }, .. }))
                || format!("{answer:?}").contains("Interrupted");
        assert!(ended, "{method}: {answer:?}");
    }
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_sqlite_is_bounded_and_said_so() {
    let stand = Stand::new(|_| {}).await;
    stand.told("compile-for-ever", json!([]), "LimitExceeded(Limit::Memory)").await;
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_reads_are_bounded() {
    let stand = Stand::new(|limits| limits.pages_max = 200).await;
    for _ in 0..4 {
        stand.host.ok(&stand.hostile, "store", json!([500])).await;
    }
    // After the wake, SQLite's cache is empty.
    stand.host.host.actor(&stand.hostile).stop().await.unwrap();
    stand.told("scan", json!([]), "LimitExceeded(Limit::Pages)").await;
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traps_at_a_limit_name_it() {
    let stand = Stand::new(|limits| limits.memory_bytes_max = 16 << 20).await;
    let error = stand.spend("outgrow", json!([])).await.unwrap_err();
    let limit = Some(TrapLimit::Memory);
    assert!(
        matches!(&error.cause, HostError::Trapped { crash, .. } if crash.limit == limit),
        "{error:?}"
    );
    assert_eq!(error.body().details["limit"], "memory");
    // The guest's stack in linear memory ends before that of the engine: this is no limit of the
    // host.
    let error = stand.spend("recurse", json!([100_000_000])).await.unwrap_err();
    assert!(matches!(error.cause, HostError::Trapped { .. }), "{error:?}");
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_of_every_sort_are_bounded() {
    let stand = Stand::new(|limits| limits.handles_max = 50).await;
    for sort in ["connection", "transaction", "cursor", "blob"] {
        let leaked = stand.spend("leak", json!([sort])).await.unwrap();
        assert!(leaked[0].as_u64().unwrap() <= 50, "{sort}: {leaked}");
        assert!(leaked[1].as_str().unwrap().contains("Limit::Handles"), "{sort}: {leaked}");
        stand.host.host.actor(&stand.hostile).stop().await.unwrap();
    }
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wasi_handles_are_bounded() {
    let (_site, host) = Site::hosting(guest::HOSTILE_HOOKS).await;
    let neighbour = actor(guest::HOSTILE_HOOKS, "neighbour");
    for method in ["leak-pollables", "leak-streams"] {
        let hostile = actor(guest::HOSTILE_HOOKS, method);
        let error = host.call(&hostile, method, json!([])).await.unwrap_err();
        let limit = Some(TrapLimit::WasiHandles);
        let named =
            matches!(&error.cause, HostError::Trapped { crash, .. } if crash.limit == limit);
        assert!(named, "{method}: {error:?}");
        host.call(&neighbour, "hello", json!([])).await.unwrap();
        host.call(&hostile, "hello", json!([])).await.unwrap();
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_parameters_and_rows_that_lie_are_refused() {
    // Each limit alone: what the other limit would have refused is accepted.
    let value = ["Limit::ValueBytes"; 4];
    let packed = ["taken", "Limit::PackedBytes", "Limit::PackedBytes", "Limit::PackedBytes"];
    for (value_bytes_max, packed_bytes_max, expected) in
        [(1 << 20, 32 << 20, value), (16 << 20, 1 << 20, packed)]
    {
        let stand = Stand::new(|limits| {
            limits.packed_bytes_max = packed_bytes_max;
            limits.value_bytes_max = value_bytes_max;
        })
        .await;
        // By text, bound, in one packed row, in many packed rows.
        let answers = stand.spend("huge-parameter", json!([5 << 20])).await.unwrap();
        for (answer, expected) in answers.as_array().unwrap().iter().zip(expected) {
            assert!(answer.as_str().unwrap().contains(expected), "{expected}: {answers}");
        }
        stand.host.host.shutdown().await;
    }
    let stand = Stand::new(|limits| limits.memory_bytes_max = 512 << 20).await;
    let answers = stand.spend("lying-rows", json!([])).await.unwrap();
    for (at, answer) in answers.as_array().unwrap().iter().enumerate() {
        assert!(answer.as_str().unwrap().contains("InvalidArgument"), "{at}: {answers}");
    }
    // More than the host copies for one call: a trap, since no error could be returned.
    let answer = stand.spend("huge-parameter", json!([140 << 20])).await;
    let trapped = matches!(&answer, Err(CallError { cause: HostError::Trapped { crash, .. }, .. }) if crash.limit.is_none());
    assert!(trapped, "{answer:?}");
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_rows_and_deep_triggers_are_refused() {
    let stand = Stand::new(|_| {}).await;
    let answer = stand.spend("huge-rows", json!([])).await.unwrap();
    // One row of 16 MiB fits, with the rows before it in its batch.
    assert!(answer[0].as_u64().unwrap() <= 34 << 20, "{answer}");
    assert!(answer[1].as_str().unwrap().contains("Limit::ValueBytes"), "{answer}");
    stand.told("recurse-in-triggers", json!([]), "nested too deep").await;
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_empty_fields_has_a_length() {
    let stand = Stand::new(|_| {}).await;
    let answer = stand.spend("empty-fields", json!([100_000])).await.unwrap();
    assert!(answer.as_str().unwrap().contains("TooLong"), "{answer}");
    stand.host.host.shutdown().await;
}

/// A regression: the statement ran until its budget was used up, although its client had left.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_leaves_takes_the_statement_along() {
    let stand = Stand::new(|limits| limits.call_time_ms = 600_000).await;
    stand.host.call(&stand.hostile, "hello", json!([])).await.unwrap();
    let sql = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) \
               SELECT count(*) FROM c";
    let request = SqlRequest { sql: sql.into(), ..SqlRequest::default() };
    let hostile = stand.host.host.actor(&stand.hostile);
    let asking = hostile.sql(request);
    assert!(tokio::time::timeout(Duration::from_millis(300), asking).await.is_err());
    let next = stand.host.call(&stand.hostile, "hello", json!([]));
    assert!(tokio::time::timeout(PATIENCE, next).await.is_ok(), "the statement goes on");
    stand.host.host.shutdown().await;
}

/// A guest that calls SQL in a loop and ignores every answer is ended by the loss of its fence, and
/// by an operator's stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_calls_sql_while_it_is_revoked_ends() {
    // The guest has no budget that would end it.
    let stand = Stand::new(|limits| {
        limits.call_time_ms = 600_000;
        limits.sql_steps_max = u64::MAX;
    })
    .await;
    let call = |host: &TestHost, actor: &ActorId| {
        let (host, actor) = (host.host.clone(), actor.clone());
        tokio::spawn(async move {
            host.actor(&actor)
                .call("swallow-interrupts", stockade::Arguments::Json(json!([])))
                .await
        })
    };
    // Its first statement commits: held, then refused by the store.
    let commit = stand.host.store.arm(Step::Commit, 1, Fault::Hold);
    let running = call(&stand.host, &stand.hostile);
    commit.fired().await;
    let new = stand._site.usurper().start().await;
    new.take_over_and_call(&stand.hostile, "hello", json!([])).await.unwrap();
    commit.release();
    let ended = tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    assert!(
        matches!(ended, Err(CallError { cause: HostError::Fenced { .. }, .. })),
        "{:?}",
        ended.map(|_| ())
    );
    let running = call(&stand.host, &stand.neighbour);
    while stand.host.host.actor(&stand.neighbour).info().await.unwrap().txid.0 == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::timeout(PATIENCE, stand.host.host.actor(&stand.neighbour).stop())
        .await
        .unwrap()
        .unwrap();
    let ended = tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    // Long before its own deadline, and not by its fault.
    let stopped = matches!(
        ended,
        Err(CallError { cause: HostError::Ended { reason: Reason::Operator, .. }, .. })
    );
    assert!(stopped, "{:?}", ended.map(|_| ()));
    let state = stand.host.host.actor(&stand.neighbour).info().await.unwrap();
    assert_eq!(state.restarts, 0, "it did not crash");
    new.host.shutdown().await;
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_finds_nothing_of_the_machine() {
    let stand = Stand::new(|_| {}).await;
    assert_eq!(stand.spend("look-around", json!([])).await.unwrap(), json!([]));
    stand.host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_says_so() {
    let stand = Stand::new(|limits| {
        limits.call_time_ms = 1_000;
        limits.mailbox_calls_max = 4;
    })
    .await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (host, hostile) = (stand.host.host.clone(), stand.hostile.clone());
        calls.spawn(async move {
            host.actor(&hostile).call("spin", stockade::Arguments::Json(json!([]))).await.map(drop)
        });
    }
    let (mut refused, mut spent) = (0, 0);
    while let Some(answer) = calls.join_next().await {
        match answer.unwrap() {
            Err(CallError { cause: HostError::Overloaded { .. }, .. }) => refused += 1,
            Err(CallError { cause: HostError::BudgetExhausted { .. }, .. }) => spent += 1,
            // The breaker of a crash loop may open before all calls have run.
            Err(CallError { cause: HostError::CrashLooping { .. }, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(refused >= 20, "{refused} refused");
    assert!(spent >= 1, "{spent} spent");
    stand.host.host.shutdown().await;
}
