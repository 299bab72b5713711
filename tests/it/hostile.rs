//! Guests that spend more than they may: each ends inside its budget with a typed error, its
//! neighbours keep answering, and its next call works.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::{ActorId, HostError};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};

/// Wall time that any refused call may take, budget included, on a busy machine.
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

    /// Runs a method, the neighbour answering meanwhile; then the actor itself still works.
    async fn spend(&self, method: &str, arguments: Json) -> Result<Json, HostError> {
        let (host, hostile) = (self.host.host.clone(), self.hostile.clone());
        let name = method.to_owned();
        let begun = Instant::now();
        let spending = tokio::spawn(async move {
            host.call(&hostile, &name, stockade::Arguments::Json(arguments)).await
        });
        while !spending.is_finished() {
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

    /// The guest was refused and told why.
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
    assert!(matches!(answer, Err(HostError::BudgetExhausted { .. })), "{answer:?}");
    for method in ["spin-in-sql", "spin-in-join"] {
        let answer = stand.spend(method, json!([])).await;
        let ended = matches!(&answer, Err(HostError::BudgetExhausted { .. }))
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
    stand.told("slow-pattern", json!([4000]), "Statement").await;
    stand.told("deep-expression", json!([1000]), "Statement").await;
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
    assert!(matches!(answer, Err(HostError::Trapped { .. })), "{answer:?}");
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
    assert!(matches!(answer, Err(HostError::ReplyTooLarge { .. })), "{answer:?}");
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
        // What was leaked stays counted until the generation ends.
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
            host.call(&hostile, "spin", stockade::Arguments::Json(json!([]))).await.map(drop)
        });
    }
    let (mut refused, mut spent) = (0, 0);
    while let Some(answer) = calls.join_next().await {
        match answer.unwrap() {
            Err(HostError::Overloaded { .. }) => refused += 1,
            Err(HostError::BudgetExhausted { .. }) => spent += 1,
            // A crash loop may open its breaker before all had their turn.
            Err(HostError::CrashLooping { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(refused >= 20, "{refused} refused");
    assert!(spent >= 1, "{spent} spent");
    stand.host.host.shutdown().await;
}
