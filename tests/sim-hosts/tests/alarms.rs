//! Alarms of a real guest under a paused clock, which is the store's and the host's: when they run, to
//! the millisecond, over sleep, failures, days of downtime and changes of the clock.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod paused;

use std::future::Future;

use serde_json::{Value as Json, json};
use stockade::host::ActorStatus;
use stockade::limits::LEASE;
use stockade::{ActorId, AlarmOrder, Arguments, Host, Manifest};
use stockade_tests::guest;

use paused::{Paused, wait};

const KIND: &str = "alarms";
/// What a step of the paused clock may add to a time.
const STEP_MS: i64 = 5;

/// One store, and a host on it at a time.
struct World {
    paused: Paused,
    host: Option<Host>,
    skew_ms: i64,
}

/// Runs a test under a paused clock.
fn under_a_paused_clock<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    paused::under_a_paused_clock(|paused| test(World { paused, host: None, skew_ms: 0 }));
}

impl World {
    async fn start(&mut self) {
        let host = self.paused.host(self.skew_ms).await;
        let mut manifest = Manifest::default();
        manifest.limits.sleep_after_ms = 3_000;
        manifest.limits.memory_bytes_max = 16 << 20;
        host.deploy(KIND, guest::LIFECYCLE_ALARMS.wasm().unwrap(), manifest).await.unwrap();
        self.host = Some(host);
    }

    async fn stop(&mut self) {
        self.host.take().unwrap().shutdown().await;
    }

    fn host(&self) -> &Host {
        self.host.as_ref().unwrap()
    }

    async fn call(&self, key: &str, method: &str, arguments: Json) -> Json {
        let actor = ActorId::new(KIND, key).unwrap();
        let called = self.host().actor(&actor).call(method, Arguments::Json(arguments)).await;
        called.unwrap().to_json()["ok"].clone()
    }

    async fn runs(&self, key: &str) -> Vec<String> {
        serde_json::from_value(self.call(key, "runs", json!([])).await).unwrap()
    }

    async fn status(&self, key: &str) -> ActorStatus {
        let actor = ActorId::new(KIND, key).unwrap();
        self.host().actor(&actor).info().await.unwrap().status
    }

    /// The alarms as an operator sees them: name, state, tries.
    async fn alarms(&self, key: &str) -> Vec<String> {
        let actor = ActorId::new(KIND, key).unwrap();
        let list = self.host().actor(&actor).order_alarms(AlarmOrder::List).await.unwrap();
        let field = |row: &[stockade::SqlValue], at: usize| match &row[at] {
            stockade::SqlValue::Text(text) => text.clone(),
            stockade::SqlValue::Integer(value) => value.to_string(),
            other => format!("{other:?}"),
        };
        let shown = |row: &Vec<_>| format!("{} {} {}", field(row, 0), field(row, 2), field(row, 4));
        list.rows.iter().map(shown).collect()
    }
}

#[test]
fn an_alarm_runs_at_its_time_and_never_before() {
    under_a_paused_clock(async |mut world| {
        world.start().await;
        world.call("a", "after", json!(["tea", 2_000, "ok"])).await;
        wait(1_990).await;
        assert!(world.runs("a").await.is_empty());
        wait(20).await;
        assert_eq!(world.runs("a").await, ["tea 1 0"]);
        wait(60_000).await;
        assert_eq!(world.runs("a").await, ["tea 1 0"], "once");
        world.stop().await;
    });
}

#[test]
fn an_alarm_wakes_a_sleeper_at_its_time() {
    under_a_paused_clock(async |mut world| {
        world.start().await;
        world.call("a", "after", json!(["tea", 600_000, "ok"])).await;
        wait(599_990).await;
        assert_eq!(world.status("a").await, ActorStatus::Asleep);
        wait(30).await;
        assert_eq!(world.status("a").await, ActorStatus::Awake);
        assert_eq!(world.runs("a").await, ["tea 1 0"]);
        world.stop().await;
    });
}

#[test]
fn a_failing_alarm_is_tried_with_growing_waits_and_then_parked() {
    under_a_paused_clock(async |mut world| {
        world.start().await;
        world.call("a", "after", json!(["poison", 1_000, "fail"])).await;
        world.call("a", "after", json!(["tea", 100_000, "ok"])).await;
        // Each look is 100 ms after a try, and 500 ms before the next one.
        wait(1_000 + 100).await;
        let mut tries = vec!["poison 1 0".to_owned()];
        assert_eq!(world.runs("a").await, tries);
        for (attempt, pause) in (2..=8).zip([2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000])
        {
            wait(pause - 600).await;
            let before = world.runs("a").await;
            let failed = before.iter().filter(|run| run.starts_with("poison")).count();
            assert_eq!(failed, tries.len(), "{attempt}: {before:?}");
            wait(600).await;
            tries.push(format!("poison {attempt} 0"));
            let after = world.runs("a").await;
            let failed: Vec<_> = after.iter().filter(|run| run.starts_with("poison")).collect();
            assert_eq!(failed, tries.iter().collect::<Vec<_>>());
        }
        assert!(world.runs("a").await.contains(&"tea 1 0".to_owned()), "others run");
        wait(3_600_000).await;
        assert_eq!(world.status("a").await, ActorStatus::Asleep);
        assert_eq!(world.alarms("a").await, ["poison parked 8"]);
        let parked = world.call("a", "look", json!(["poison"])).await;
        assert_eq!(parked, json!("parked: no poison, 8 tries, 4 bytes"));
        assert_eq!(world.runs("a").await.len(), 9);

        let actor = ActorId::new(KIND, "a").unwrap();
        let retry = AlarmOrder::Retry { name: Some("poison".to_owned()) };
        wait(60_000).await;
        assert_eq!(world.host().actor(&actor).order_alarms(retry).await.unwrap().changes, 1);
        // Before the next try.
        wait(1_500).await;
        assert_eq!(world.runs("a").await.last().unwrap(), "poison 1 0");
        world.stop().await;
    });
}

/// A handler that traps each time: each start counts, and the actor's calls are answered.
#[test]
fn a_trapping_alarm_is_parked_too() {
    under_a_paused_clock(async |mut world| {
        world.start().await;
        world.call("a", "after", json!(["poison", 1_000, "trap"])).await;
        wait(1_200).await;
        assert_eq!(world.runs("a").await, ["poison 1 0"], "its write before the trap is kept");
        wait(3_600_000).await;
        let runs = world.runs("a").await;
        assert_eq!(runs.last().unwrap(), "poison 8 0");
        assert_eq!(runs.len(), 8, "{runs:?}");
        let parked = world.call("a", "look", json!(["poison"])).await.to_string();
        assert!(parked.contains("parked: ") && parked.contains("unreachable"), "{parked}");
        world.stop().await;
    });
}

#[test]
fn an_alarm_that_its_handler_sets_again_stays_set() {
    under_a_paused_clock(async |mut world| {
        world.start().await;
        world.call("a", "after", json!(["poll", 1_000, "again 10000"])).await;
        wait(31_500).await;
        assert_eq!(world.runs("a").await, ["poll 1 0"; 4]);
        world.call("a", "after", json!(["once", 1_000, "cancel"])).await;
        wait(5_000).await;
        assert_eq!(world.call("a", "all", json!([])).await, json!(["poll"]));
        // One that sets itself and fails keeps its tries, and is parked as well.
        world.call("a", "after", json!(["loop", 1_000, "again-fail 1000"])).await;
        wait(20_000).await;
        let parked = world.call("a", "look", json!(["loop"])).await;
        assert_eq!(parked, json!("parked: no loop, 8 tries, 15 bytes"));
        world.stop().await;
    });
}

#[test]
fn a_day_of_downtime_is_one_run_that_gets_the_number_missed() {
    under_a_paused_clock(async |mut world| {
        world.start().await;
        world.call("a", "every", json!(["hourly", 3_600_000, "ok"])).await;
        world.call("a", "after", json!(["once", 60_000, "ok"])).await;
        wait(7_200_000 + 100).await;
        assert_eq!(world.runs("a").await, ["once 1 0", "hourly 1 0", "hourly 1 0"]);
        world.stop().await;
        // From half past: 24 times pass, of which 23 get no run of their own.
        wait(1_800_000 + 23 * 3_600_000 + 1_800_000).await;
        world.start().await;
        wait(3_000).await;
        assert_eq!(world.runs("a").await[3..], ["hourly 1 23"]);
        wait(3_600_000).await;
        assert_eq!(world.runs("a").await[4..], ["hourly 1 0"], "at its own times again");
        world.stop().await;
    });
}

/// Berlin: at 2:30 each night, and each half hour, in the night that has no 2:30.
#[test]
fn cron_expressions_run_over_a_change_of_the_clock() {
    under_a_paused_clock(async |mut world| {
        world.start().await;
        world.call("a", "cron", json!(["nightly", "30 2 * * *", "Europe/Berlin"])).await;
        let wrong = world.call("a", "cron", json!(["x", "30 2 * *", "Europe/Berlin"])).await;
        assert_eq!(wrong, Json::Null);
        // 1:00 UTC is when the clocks are set forward.
        wait(13 * 3_600_000 - 100).await;
        assert!(world.runs("a").await.is_empty());
        wait(200).await;
        assert_eq!(world.runs("a").await, ["nightly 1 0"]);
        // The next night at 2:30, which is 0:30 UTC.
        wait(23 * 3_600_000 + 1_800_000 - 300).await;
        assert_eq!(world.runs("a").await.len(), 1);
        wait(400).await;
        assert_eq!(world.runs("a").await.len(), 2);
        world.stop().await;
    });
}

/// A process whose clock is ahead of the store's by more than the bound runs nothing; one within it does.
#[test]
fn a_process_with_a_wrong_clock_runs_no_alarms() {
    under_a_paused_clock(async |mut world| {
        world.start().await;
        world.call("a", "after", json!(["tea", 60_000, "ok"])).await;
        world.stop().await;
        world.skew_ms = 3_600_000;
        world.start().await;
        wait(10_000).await;
        assert_eq!(world.status("a").await, ActorStatus::Asleep);
        assert!(world.runs("a").await.is_empty(), "nor while it is awake");
        wait(10_000).await;
        assert!(world.runs("a").await.is_empty());
        world.stop().await;
        world.skew_ms = 0;
        world.start().await;
        wait(60_000).await;
        assert_eq!(world.runs("a").await, ["tea 1 0"]);
        world.stop().await;
    });
}

/// An actor that was destroyed is not made again by what was due, nor is one that has its name since
/// woken for it.
#[test]
fn nothing_late_makes_a_destroyed_actor_again() {
    under_a_paused_clock(async |mut world| {
        world.start().await;
        let actor = ActorId::new(KIND, "a").unwrap();
        world.call("a", "after", json!(["tea", 10_000, "ok"])).await;
        // Planned when it is destroyed.
        wait(8_500).await;
        world.host().actor(&actor).destroy().await.unwrap();
        wait(30_000).await;
        assert!(world.host().actor(&actor).info().await.is_err());
        assert!(world.runs("a").await.is_empty());
        assert_eq!(world.alarms("a").await, Vec::<String>::new());
        world.stop().await;
    });
}

/// Many that are overdue at the start of a process are woken at a bounded rate, and all of them.
#[test]
fn overdue_alarms_are_all_run() {
    under_a_paused_clock(async |mut world| {
        world.start().await;
        for number in 0..40 {
            world.call(&format!("a{number}"), "after", json!(["tea", 60_000, "ok"])).await;
        }
        world.stop().await;
        wait(86_400_000).await;
        world.start().await;
        wait(u64::try_from(LEASE.as_millis()).unwrap() + 60_000).await;
        for number in 0..40 {
            assert_eq!(world.runs(&format!("a{number}")).await, ["tea 1 0"], "{number}");
        }
        world.stop().await;
    });
}

#[test]
fn the_clock_of_this_test_has_small_steps() {
    under_a_paused_clock(async |world| {
        wait(1_000).await;
        let passed = i64::try_from(world.paused.begun.elapsed().as_millis()).unwrap();
        assert!((1_000..=1_000 + STEP_MS).contains(&passed), "{passed}");
    });
}
