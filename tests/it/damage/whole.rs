//! The check of the whole store: it names the damage and its place, continues past it, runs beside
//! calls, and rebuilds what can be rebuilt.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value as Json, json};
use stockade::host::VerifyNews;
use stockade::{ActorId, Arguments};
use stockade_depot::store::embedded::connection;
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use stockade_tests::program::{self, Program};

fn counter(number: u32) -> ActorId {
    actor(guest::COUNTER, &format!("c{number:02}"))
}

/// A store with some counters that no process has open.
async fn filled(site: &Site) {
    let host = site.host().start().await;
    host.deploy(guest::COUNTER).await;
    for number in 0..12 {
        host.ok(&counter(number), "increment", json!([number])).await;
    }
    host.host.shutdown().await;
}

/// The report of the check: whether all is well, its findings as JSON, and how many actors it saw.
async fn check(host: &TestHost, kind: Option<&str>) -> (bool, Vec<String>, u64) {
    let mut findings = Vec::new();
    let mut tell = |news| match news {
        VerifyNews::Finding(found) => findings.push(format!("{found:?}")),
        VerifyNews::Actor { actor, report } if !report.is_sound() => {
            findings.push(format!("{actor}: {:?}", report.faults));
        }
        _ => {}
    };
    let verified = host.host.verify_all(kind, &mut tell).await.unwrap();
    (verified.is_sound(), findings, verified.actors)
}

/// Changes the files behind the store's back, as a tool with the store's VFS could.
fn tamper(store: &Path, sql: &str) {
    let mut changed = 0;
    for name in ["global.db", "shard-00.db", "shard-01.db"] {
        let file = connection(&store.join(name)).unwrap();
        changed += file.execute(sql, []).unwrap_or(0);
    }
    assert!(changed > 0, "{sql} changed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_belong_together_are_found_and_named() {
    let cases = [
        ("UPDATE actor SET db = zeroblob(16) WHERE key = 'c03'", "c03"),
        ("UPDATE actor SET key = 'c0#' WHERE key = 'c03'", "c0#"),
        ("DELETE FROM head WHERE db = (SELECT db FROM actor WHERE key = 'c03')", "c03"),
        ("DELETE FROM actor WHERE key = 'c03'", "belongs to no actor"),
        ("UPDATE actor SET component = x'00' WHERE key = 'c03'", "c03"),
        ("UPDATE kind SET manifest = '{'", "settings"),
        ("UPDATE kind SET component = zeroblob(32)", "missing"),
        ("UPDATE component SET wasm = x'00'", "another digest"),
        (
            "UPDATE head SET format = 9 WHERE db = (SELECT db FROM actor WHERE key = 'c03')",
            "format 9",
        ),
        (
            "UPDATE page SET bytes = x'00' WHERE db = (SELECT db FROM actor WHERE key = 'c03')",
            "c03",
        ),
        ("DELETE FROM \"commit\" WHERE db = (SELECT db FROM actor WHERE key = 'c03')", "c03"),
    ];
    for (sql, word) in cases {
        let site = Site::new();
        filled(&site).await;
        tamper(&site.store_dir(), sql);
        let host = site.host().start().await;
        let (ok, findings, actors) = check(&host, None).await;
        assert!(!ok, "{sql}");
        assert!(findings.iter().any(|it| it.contains(word)), "{sql}: {findings:?}");
        assert!(actors >= 11, "{sql}: the others are checked as well, {actors}");
        host.host.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_store_is_sound_under_writes_and_destroys() {
    let site = Site::new();
    filled(&site).await;
    let host = site.host().start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU32::new(0));
    let busy = {
        let (host, stop, done) = (host.host.clone(), Arc::clone(&stop), Arc::clone(&done));
        tokio::spawn(async move {
            let mut calls = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let actor = counter(calls % 12);
                host.actor(&actor).call("increment", Arguments::Json(json!([1]))).await.unwrap();
                if calls.is_multiple_of(7) {
                    host.actor(&actor).destroy().await.unwrap();
                }
                calls += 1;
                done.store(calls, Ordering::Relaxed);
            }
        })
    };
    let mut checks = 0;
    while checks < 10 || done.load(Ordering::Relaxed) <= 10 {
        let (ok, findings, _) = check(&host, None).await;
        assert!(ok, "{findings:?}");
        checks += 1;
    }
    stop.store(true, Ordering::Relaxed);
    busy.await.unwrap();
    let (ok, findings, actors) = check(&host, Some("nothing_of_it")).await;
    assert_eq!((ok, actors), (true, 0), "{findings:?}");
    host.host.shutdown().await;
}

/// Flips a bit in the cells of the page that is the root of `name` in the first shard with actors.
fn flip_root(store: &Path, name: &str) {
    let path = store.join("shard-00.db");
    let (root, size): (u32, u32) = {
        let file = connection(&path).unwrap();
        let sql = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) \
                   FROM sqlite_schema WHERE name = ?1";
        file.query_row(sql, [name], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let at = u64::from(root) * u64::from(size) - 40;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

fn verify(arguments: &[&str]) -> (i32, Json) {
    let (code, out, error) =
        program::run(&[&["--json", "verify", "--all"], arguments].concat()).unwrap();
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code}: {out}{error}")))
}

#[test]
fn the_program_says_what_is_damaged_and_makes_indexes_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve(&data).unwrap();
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    for number in 0..12 {
        let made =
            program.call(&format!("counter/{number}"), "increment", &json!([number])).unwrap();
        assert_eq!(made.status, 200, "{}", made.body);
    }
    let (code, document) = verify(&["--admin", &program.admin]);
    assert_eq!(
        (code, &document["ok"], document["actors"].as_array().unwrap().len()),
        (0, &json!(true), 12)
    );
    program.stop().unwrap();
    let offline = ["--data-dir", data.to_str().unwrap()];

    // An index of a table whose rows are sound.
    flip_root(&data.join("store"), "sqlite_autoindex_page_1");
    let (code, document) = verify(&offline);
    assert_eq!(code, 1, "{document}");
    let finding = &document["findings"][0];
    assert_eq!(finding["file"], "shard-00.db", "{document}");
    assert!(finding["what"].as_str().unwrap().contains("page"), "{document}");
    // The check also runs beside a server, and continues: the other shard's actors are checked.
    let program = Program::serve(&data).unwrap();
    let (code, document) = verify(&["--admin", &program.admin]);
    assert_eq!(code, 1, "{document}");
    let sound = document["actors"].as_array().unwrap().iter().filter(|it| it["ok"] == true).count();
    assert!(sound > 0 && sound < 12, "{document}");
    let refused = program::run(&[&["verify", "--all", "--repair"][..], &offline].concat()).unwrap();
    assert!(refused.0 == 1 && refused.2.contains("in use"), "{refused:?}");
    program.stop().unwrap();
    let (code, document) = verify(&[&offline[..], &["--repair"]].concat());
    assert_eq!((code, &document["ok"]), (0, &json!(true)), "{document}");
    assert_eq!(document["repairs"], json!([{ "file": "shard-00.db", "failed": null }]));
    let program = Program::serve(&data).unwrap();
    for number in 0..12 {
        let read = program.call(&format!("counter/{number}"), "get", &json!([])).unwrap();
        assert_eq!((read.status, &read.body["ok"]), (200, &json!(number)), "{}", read.body);
    }
    program.stop().unwrap();

    // Lost rows cannot be rebuilt, and the attempt loses nothing.
    flip_root(&data.join("store"), "head");
    let before = fs::read(data.join("store/shard-00.db")).unwrap();
    let (code, document) = verify(&[&offline[..], &["--repair"]].concat());
    assert_eq!((code, &document["ok"]), (1, &json!(false)), "{document}");
    assert_eq!(document["repairs"][0]["file"], "shard-00.db", "{document}");
    assert!(document["repairs"][0]["failed"].is_string(), "{document}");
    // All but the first page, which holds the format of the file.
    let after = fs::read(data.join("store/shard-00.db")).unwrap();
    assert!(after[4096..] == before[4096..], "the file was changed");
}
