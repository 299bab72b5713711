//! Export and verify: a plain SQLite file of any actor, and damage that is always found.

use serde_json::json;
use stockade_depot::store::Ownership;
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};

async fn filled(host: &TestHost, key: &str) -> stockade::ActorId {
    host.deploy(guest::SQLITE_BENCH).await;
    let actor = actor(guest::SQLITE_BENCH, key);
    host.ok(&actor, "setup", json!([2000])).await;
    host.ok(&actor, "update", json!([50])).await;
    actor
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_whole_asleep_and_awake_and_under_writes() {
    let site = Site::new();
    let host = site.host().start().await;
    let actor = filled(&host, "one").await;
    for awake in [true, false] {
        let copy = host.open_export(&actor, site.path()).await;
        let rows: i64 = copy.query_row("SELECT count(*) FROM item", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 2000, "awake: {awake}");
        host.host.actor(&actor).stop().await.unwrap();
    }
    // During writes: the file is the state of one commit, not a mixture.
    let writing = {
        let (host, actor) = (host.host.clone(), actor.clone());
        tokio::spawn(async move {
            for _ in 0..20 {
                let arguments = stockade::Arguments::Json(json!([500]));
                host.actor(&actor).call("insert", arguments).await.unwrap();
                let arguments = stockade::Arguments::Json(json!([]));
                host.actor(&actor).call("clear", arguments).await.unwrap();
            }
        })
    };
    let mut seen = 0;
    while !writing.is_finished() || seen == 0 {
        let copy = host.open_export(&actor, site.path()).await;
        let rows: i64 = copy.query_row("SELECT count(*) FROM bulk", [], |row| row.get(0)).unwrap();
        assert!(rows == 0 || rows == 500, "{rows} rows: half of a transaction");
        seen += 1;
    }
    writing.await.unwrap();
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_damage_and_reads_refuse_it() {
    let site = Site::new();
    let host = site.host().start().await;
    let damaged = filled(&host, "damaged").await;
    let healthy = filled(&host, "healthy").await;
    host.assert_intact(&damaged).await;
    let db = host.store.actor(&damaged).await.unwrap().unwrap().row.db;
    host.host.shutdown().await;

    // One bit of one stored page, behind the store's back.
    let mut changed = 0;
    for entry in std::fs::read_dir(site.store_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "db") {
            continue;
        }
        let file = stockade_depot::store::embedded::connection(&path).unwrap();
        let flip = "UPDATE page SET bytes = substr(bytes, 1, length(bytes) - 1)
                      || CASE substr(bytes, -1) WHEN x'00' THEN x'01' ELSE x'00' END
                    WHERE db = ?1 AND pgno = 2";
        changed += file.execute(flip, [&db.0[..]]).unwrap_or(0);
    }
    assert!(changed > 0, "no stored page was found to damage");

    let host = site.host().start().await;
    let report = host.host.actor(&damaged).verify().await.unwrap();
    assert!(report.fault_count > 0, "{report:?}");
    let mut export = host.host.actor(&damaged).export().await.unwrap();
    let mut outcome = Ok(());
    loop {
        match export.next().await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => break outcome = Err(error),
        }
    }
    assert!(outcome.is_err(), "a damaged page was exported");
    // A read of the page ends in an error, never in wrong rows; the neighbour is not affected.
    let scan = host.call(&damaged, "scan", json!([1])).await;
    assert!(!matches!(&scan, Ok(answer) if answer.get("ok").is_some()), "{scan:?}");
    host.assert_intact(&healthy).await;
    assert_eq!(host.ok(&healthy, "scan", json!([1])).await, json!(2000));
    host.host.shutdown().await;
}
