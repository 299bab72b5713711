//! Conversations that were idle for long: both sides forget them, and the next message opens another one.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stockade::limits::CONVERSATION_IDLE_MS;
use stockade_tests::host::{Site, TestHost};

use super::{PATIENCE, clock, granted, hosting_at, listed, mail, rows, send};

/// Whether the sender `a` and the receiver `b` know their conversation, as their databases say.
async fn known(host: &TestHost, site: &Site) -> (bool, bool) {
    let mut known = [false; 2];
    for (known, (key, sql)) in known.iter_mut().zip([
        ("a", "SELECT count(*) FROM _stockade_conversation WHERE key = 'b'"),
        ("b", "SELECT count(*) FROM _stockade_inbox WHERE from_key = 'a'"),
    ]) {
        let copy = host.open_export(&mail(key), site.path()).await;
        *known = copy.query_row(sql, [], |row| row.get(0)).unwrap();
    }
    known.into()
}

/// A generation of the sender looks at its conversations when it sends for the first time.
async fn sends_as_the_next_generation(host: &TestHost) {
    host.host.actor(&mail("a")).stop().await.unwrap();
    send(host, "a", "c", "note", "[\"beside\"]").await;
    listed(host, "a", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_forget_a_conversation_that_was_idle_for_long() {
    let now = clock();
    let (site, host) = hosting_at(&now, granted()).await;
    send(&host, "a", "b", "note", "[\"one\"]").await;
    rows(&host, "b", 1).await;
    listed(&host, "a", 0).await;
    now.fetch_add(CONVERSATION_IDLE_MS - 60_000, Ordering::Relaxed);
    sends_as_the_next_generation(&host).await;
    assert_eq!(known(&host, &site).await, (true, true), "it was not idle for so long");
    now.fetch_add(120_000, Ordering::Relaxed);
    sends_as_the_next_generation(&host).await;
    let begun = Instant::now();
    while known(&host, &site).await != (false, false) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", known(&host, &site).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    send(&host, "a", "b", "note", "[\"two\"]").await;
    assert_eq!(rows(&host, "b", 2).await, ["one", "two"]);
    listed(&host, "a", 0).await;
    assert_eq!(known(&host, &site).await, (true, true));
    host.host.shutdown().await;
}
