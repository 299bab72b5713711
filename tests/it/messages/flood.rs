//! Many actors that send to one: its calls are answered in between, and none is refused for them.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use stockade_tests::host::{Site, TestHost};

use super::{granted, hosting, mail, rows, send};

/// Actors that send. Their parcels would fill a queue that calls wait in, too.
const SENDERS: usize = 30;
/// How long the receiver works on one message. More than `PARCEL_RUN`: one message is one parcel.
const WORK_MS: u64 = 80;

/// Each sender sends so many messages to `b`.
async fn flooded(host: &TestHost, each: usize) {
    for _ in 0..each {
        let sending = (0..SENDERS).map(|sender| async move {
            let arguments = format!("[\"{sender}\", {WORK_MS}]");
            send(host, &format!("from-{sender}"), "b", "slow", &arguments).await;
        });
        join_all(sending).await;
    }
}

async fn count(host: &TestHost) -> u64 {
    host.ok(&mail("b"), "count", json!([])).await.as_u64().unwrap()
}

/// A call waited for a parcel of every sender, and so did the next one.
#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_for_no_flood_of_senders() {
    /// Messages that may be run for each call: one before it, and some before a loaded machine makes it.
    const PER_CALL: u64 = 6;
    const CALLS: u64 = 4;
    let (_site, host) = hosting(granted()).await;
    flooded(&host, 3).await;
    let before = count(&host).await;
    for _ in 0..CALLS {
        count(&host).await;
    }
    let run = count(&host).await - before;
    assert!(run <= (CALLS + 1) * PER_CALL, "{run} messages were run for {} calls", CALLS + 1);
    assert!(run > 0, "messages are run between calls");
    assert_eq!(rows(&host, "b", 3 * SENDERS).await.len(), 3 * SENDERS);
    host.host.shutdown().await;
}

/// Calls were refused as `actor.overloaded` while senders had filled the queue.
#[tokio::test(flavor = "multi_thread")]
async fn senders_take_no_place_of_a_call() {
    let mut manifest = granted();
    manifest.limits.mailbox_calls_max = 8;
    let (_site, host): (Site, TestHost) = hosting(manifest).await;
    flooded(&host, 1).await;
    for _ in 0..3 {
        join_all((0..7).map(|_| count(&host))).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Those that found no place come again.
    let mut all = rows(&host, "b", SENDERS).await;
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), SENDERS, "each once");
    host.host.shutdown().await;
}
