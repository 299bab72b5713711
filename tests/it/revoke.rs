//! Revoked handles: one of every sort, kept by the guest and used when it should be dead.

use serde_json::json;
use stockade::{ActorId, CallError, HostError};
use stockade_testkit::faulty_store::Step;
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};

/// Functions that an old handle can reach, and opening a new one.
const USES: usize = 28;

async fn lines(host: &TestHost, actor: &ActorId, method: &str) -> Vec<String> {
    serde_json::from_value(host.call(actor, method, json!([])).await.unwrap()).unwrap()
}

/// Asserts that every use in the `stop` hook worked, and every use in the `snapshot` hook was
/// revoked.
fn assert_report(report: &[String], reason: &str) {
    let of = |hook: &str| -> Vec<String> {
        report.iter().filter_map(|line| line.strip_prefix(hook)).map(str::to_owned).collect()
    };
    let (stop, snapshot) = (of("stop "), of("snapshot "));
    assert_eq!((stop.len(), snapshot.len()), (USES, USES), "{report:#?}");
    for line in &stop {
        assert!(!line.contains("Revoked"), "SQL works in `stop`: {line}");
    }
    for line in &snapshot {
        assert!(line.contains(&format!("Revoked(Reason::{reason})")), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_handle_stays_revoked() {
    let (_site, host) = Site::hosting(guest::REVOKE_HOARDER).await;
    let actor = actor(guest::REVOKE_HOARDER, "one");
    host.ok(&actor, "hoard", json!([])).await;
    let alive = lines(&host, &actor, "use-all").await;
    assert_eq!(alive.len(), USES, "{alive:#?}");
    for line in alive.iter().filter(|line| !line.ends_with(": ok")) {
        // A statement that was used up answers `not-open`, never more rows.
        assert!(line.contains("NotOpen"), "{line}");
    }
    host.host.actor(&actor).stop().await.unwrap();
    assert_report(&lines(&host, &actor, "report").await, "Operator");
    // The next generation has no handles of the old one.
    assert!(lines(&host, &actor, "use-all").await.is_empty());
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_orderly_end_names_its_reason() {
    let (site, host) = Site::hosting(guest::REVOKE_HOARDER).await;
    let upgraded = actor(guest::REVOKE_HOARDER, "upgraded");
    host.ok(&upgraded, "hoard", json!([])).await;
    let mut wasm = guest::REVOKE_HOARDER.wasm().unwrap();
    // Another component with the same behaviour: an empty custom section at its end.
    wasm.extend([0, 2, 1, b'x']);
    let deployed = host.host.deploy(guest::REVOKE_HOARDER.name, wasm, Default::default()).await;
    assert!(deployed.unwrap().ended >= 1);
    // The snapshot is handed over to the new component as one that may be old.
    assert_report(&lines(&host, &upgraded, "report").await, "Upgraded");

    let shut = actor(guest::REVOKE_HOARDER, "shut");
    host.ok(&shut, "hoard", json!([])).await;
    host.host.shutdown().await;
    let host = site.host().start().await;
    assert_report(&lines(&host, &shut, "report").await, "Shutdown");

    host.deploy_with(guest::REVOKE_HOARDER, |limits| limits.sleep_after_ms = 200).await;
    let sleeper = actor(guest::REVOKE_HOARDER, "sleeper");
    host.ok(&sleeper, "hoard", json!([])).await;
    host.exit_of(&sleeper).await;
    assert_report(&lines(&host, &sleeper, "report").await, "Slept");
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_after_close_is_revoked_not_reopened() {
    let (_site, host) = Site::hosting(guest::REVOKE_HOARDER).await;
    let actor = actor(guest::REVOKE_HOARDER, "one");
    host.ok(&actor, "hoard", json!([])).await;
    let opens = |host: &TestHost| host.store.calls(Step::TakeOver) + host.store.calls(Step::Create);
    let (before, commits) = (opens(&host), host.store.calls(Step::Commit));
    host.host.actor(&actor).stop().await.unwrap();
    // The guest has called `sqlite.open` and every old handle after the close.
    assert_eq!(opens(&host), before, "a call after the close opened the database again");
    let after_stop = host.store.calls(Step::Commit);
    assert!(after_stop <= commits + 1, "only the `stop` hook could commit");
    let report = lines(&host, &actor, "report").await;
    let open = report.iter().find(|line| line.starts_with("snapshot open:")).unwrap();
    assert_eq!(open, "snapshot open: Error::Revoked(Reason::Operator)");
    host.host.shutdown().await;
    // And the host's own handle: closed means closed.
    let late = host.call(&actor, "get", json!([])).await;
    assert!(matches!(late, Err(CallError { cause: HostError::ShuttingDown, .. })), "{late:?}");
}
