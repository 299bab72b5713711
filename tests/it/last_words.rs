//! A guest that dies tells its author why: its last words are in one record of the log and in
//! operators' answers, and callers get none of them unless the host runs for development.

use serde_json::{Value as Json, json};
use stockade::error::Retry;
use stockade::host::SqlRequest;
use stockade::{ActorId, Arguments, CallError, HostError};
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use stockade_tests::program::{self, Program};

const TRACEBACK: &str = "Traceback (most recent call last):\n  File \"app.py\", line 7, in add\n\
                         NameError: name 'boom_8' is not defined";

fn serve(dir: &tempfile::TempDir, flags: &[&str]) -> Program {
    let program = Program::serve_with(&dir.path().join("data"), flags).unwrap();
    for guest in [guest::LIFECYCLE_TRAP, guest::LIFECYCLE_SNAPSHOT] {
        program.deploy(guest.name, &guest.wasm().unwrap()).unwrap();
    }
    program
}

/// The lines of the log with this word in them.
fn lines(program: &Program, word: &str) -> Vec<String> {
    let log = std::fs::read_to_string(program.log()).unwrap();
    log.lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
}

#[test]
fn last_words_reach_the_log_once_and_operators_and_no_caller() {
    let dir = tempfile::tempdir().unwrap();
    let program = serve(&dir, &["--log-json"]);
    let long = format!("begins here{}\nends here", "x".repeat(200_000));
    for (key, method, arguments, said) in [
        ("panic", "trap-now", json!([]), ["lib.rs", "told to trap"]),
        ("traceback", "say-and-trap", json!([TRACEBACK]), ["app.py", "boom_8"]),
        ("long", "say-and-trap", json!([long]), ["xxx", "ends here"]),
    ] {
        let name = format!("lifecycle_trap/{key}");
        let heard = program.call(&name, method, &arguments).unwrap();
        let body = &heard.body;
        assert_eq!(
            (heard.status, &body["code"], &body["retry"]),
            (500, &json!("trapped"), &json!("fix"))
        );
        assert_eq!(body["details"], json!({}), "{body}");
        let text = body.to_string();
        for inside in [said[0], said[1], "lifecycle_trap", "0x", ".rs", "rust"] {
            assert!(!text.contains(inside), "{inside}: {text}");
        }

        let shown = program.admin_get(&format!("/admin/actors/{name}")).unwrap().body;
        let exit = &shown["last_exit"];
        let words = exit["last_words"].as_str().unwrap();
        assert!(said.iter().all(|said| words.contains(said)), "{exit}");
        assert!(words.len() <= 4096, "{}", words.len());
        assert!(exit["backtrace"].as_str().unwrap().contains("lifecycle_trap"), "{exit}");
        let admin = &program.admin;
        let (code, out, _) = program::run(&["actors", "show", &name, "--admin", admin]).unwrap();
        assert!(code == 0 && out.contains("last words") && out.contains(said[1]), "{out}");

        let records = lines(&program, said[1]);
        assert_eq!(records.len(), 1, "{records:?}");
        let record: Json = serde_json::from_str(&records[0]).unwrap();
        let fields = &record["fields"];
        assert_eq!(
            (&record["level"], &fields["message"]),
            (&json!("WARN"), &json!("generation crashed"))
        );
        assert_eq!((&fields["actor"], &fields["last_words"]), (&json!(name), &json!(words)));
    }
    // Not a trap of wasm, and reported as what it is.
    let heard = program.call("lifecycle_trap/exit", "exit", &json!([])).unwrap().body;
    assert_eq!(heard["message"], "the component trapped: the guest exited with code 1", "{heard}");
    program.stop().unwrap();
}

#[test]
fn a_host_for_development_tells_callers_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let program = serve(&dir, &["--development"]);
    let heard = program.call("lifecycle_trap/one", "say-and-trap", &json!([TRACEBACK])).unwrap();
    let body = &heard.body;
    assert_eq!((heard.status, &body["code"]), (500, &json!("trapped")));
    assert_eq!(body["details"]["last_words"], TRACEBACK, "{body}");
    assert!(body["details"]["backtrace"].as_str().unwrap().contains("lifecycle_trap"), "{body}");
    let (code, _, said) =
        program::run(&["call", "lifecycle_trap/one", "trap-now", "--server", &program.listen])
            .unwrap();
    assert!(code == 1 && said.contains("last words") && said.contains("told to trap"), "{said}");
    program.stop().unwrap();
}

/// A line of a guest is one line of the log, its fields are fields, and none of it can look like
/// the host's own or another line.
#[test]
fn fields_are_fields_and_each_record_is_one_line() {
    let message = "posted actor=\"other/one\"\nERROR \u{1b}[31mfake";
    let fields = json!([
        ["nick", "ada b"],
        ["id", "2"],
        ["actor", "other/one"],
        ["a=b c", "\u{2028}\u{9b}"]
    ]);
    for form in ["--log-json", "--log=info"] {
        let dir = tempfile::tempdir().unwrap();
        let program = serve(&dir, &[form]);
        let logged = program.call("lifecycle_trap/one", "log", &json!([message, fields])).unwrap();
        assert_eq!(logged.body, json!({ "ok": null }));
        program.call("lifecycle_trap/two", "trap-now", &json!([])).unwrap();
        let posted = lines(&program, "ada b");
        assert_eq!(posted.len(), 1, "{posted:?}");
        if form == "--log-json" {
            let record: Json = serde_json::from_str(&posted[0]).unwrap();
            let fields = &record["fields"];
            for (name, value) in [
                ("nick", json!("ada b")),
                ("id", json!("2")),
                ("actor", json!("lifecycle_trap/one")),
                ("actor.5", json!("other/one")),
                ("generation", json!(1)),
                ("a=b c", json!("\u{2028}\u{9b}")),
            ] {
                assert_eq!(fields[name], value, "{name}: {record}");
            }
        } else {
            let expected = "INFO actor: \"posted actor=\\\"other/one\\\"\\\\nERROR \\\\u{1b}[31mfake\" \
                 actor=lifecycle_trap/one generation=1 nick=\"ada b\" id=2 actor.5=other/one \
                 \"a=b c\"=\"\\u{2028}\\u{9b}\"";
            assert!(posted[0].ends_with(expected), "{}", posted[0]);
        }
        // In its order: the text that the guest wrote to stderr comes after the line.
        let log = std::fs::read_to_string(program.log()).unwrap();
        let at = |word: &str| log.find(word).unwrap();
        assert!(at("ada b") < at("said after posted"), "{log}");
        // The announcement on stdout is no record; every other line is one record.
        for line in log.lines().filter(|line| line.contains("generation") || line.contains("ERROR"))
        {
            let is_record = match form {
                "--log-json" => serde_json::from_str::<Json>(line).is_ok(),
                _ => line.starts_with("20") && line.contains("Z "),
            };
            assert!(is_record && !line.contains(|c: char| c.is_control()), "{line:?}");
        }
        program.stop().unwrap();
    }
}

// --- advice, and what a failed start leaves --------------------------------------------------------------

async fn advice(host: &TestHost, actor: &ActorId, method: &str) -> (CallError, Retry) {
    let error = host.call(actor, method, json!([])).await.expect_err("it fails");
    let retry = error.retry();
    (error, retry)
}

/// A regression: "Nothing was done; try again" was the answer to a failure that only a deploy could
/// end.
#[tokio::test(flavor = "multi_thread")]
async fn who_would_fail_again_is_not_told_to_try_again() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::LIFECYCLE_TRAP, |limits| limits.crashes_max = 100).await;
    let one = actor(guest::LIFECYCLE_TRAP, "one");
    for method in ["trap-now", "unreachable-code", "exit"] {
        drop(host.host.actor(&one).reset().await);
        let (error, retry) = advice(&host, &one, method).await;
        assert_eq!(retry, Retry::Fix, "{method}: {error:?}");
    }
    host.deploy(guest::LIFECYCLE_SNAPSHOT).await;
    for what in ["error", "trap"] {
        let sick = actor(guest::LIFECYCLE_SNAPSHOT, what);
        host.ok(&sick, "start-as", json!([what])).await;
        host.host.actor(&sick).stop().await.unwrap();
        let (error, retry) = advice(&host, &sick, "read").await;
        assert!(matches!(error.cause, HostError::StartFailed { .. }), "{error:?}");
        assert_eq!(retry, Retry::Fix, "{what}: {error:?}");
        let words = error.cause.crash().map(|crash| crash.last_words.clone()).unwrap_or_default();
        assert_eq!(words.contains("told to trap"), what == "trap", "{words}");
        let exit = host.host.actor(&sick).info().await.unwrap().last_exit.unwrap();
        let crash = exit.crash.map(|crash| crash.last_words.clone()).unwrap_or_default();
        assert_eq!(crash, words);
        assert!(!error.body().message.contains("wasm function"), "{error}");
    }
    // A hook that dies at the end reports its last words, too.
    let last = actor(guest::LIFECYCLE_SNAPSHOT, "last");
    host.call(&last, "stop-as", json!(["trap"])).await.unwrap();
    let exit = host.host.actor(&last).stop().await.unwrap().expect("it was awake");
    assert!(exit.crash.is_some_and(|crash| crash.last_words.contains("told to trap")));
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_could_not_start_was_never_there() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::LIFECYCLE_SNAPSHOT, |limits| limits.crashes_max = 1).await;
    for what in ["unborn-error", "unborn-trap"] {
        let unborn = actor(guest::LIFECYCLE_SNAPSHOT, what);
        // The same on every attempt: no crash is counted, because the actor does not exist.
        for _ in 0..3 {
            let (error, retry) = advice(&host, &unborn, "read").await;
            assert!(matches!(error.cause, HostError::StartFailed { .. }), "{error:?}");
            assert_eq!(retry, Retry::Fix);
            let missing = host.host.actor(&unborn).info().await;
            assert!(matches!(missing, Err(HostError::ActorMissing { .. })), "{missing:?}");
        }
    }
    assert!(host.host.actors(None, None, 10).await.unwrap().is_empty());
    host.host.shutdown().await;
    let verified = stockade::host::verify_store(&site.open_store(), None, &mut |_| {}).await;
    assert!(verified.unwrap().is_sound());
}

/// Between the failed start and the removal another process takes the actor over, or makes another
/// actor of that name: the actor then belongs to that process, and is not removed.
#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_another_process_has_made_meanwhile_is_kept() {
    // Before the removal has read the actor: its second read. After that: its takeover, the first
    // one on a host that has only created.
    for (step, nth) in [(Step::Actor, 2), (Step::TakeOver, 1)] {
        for made_again in [false, true] {
            keeps_what_is_anothers(step, nth, made_again).await;
        }
    }
}

async fn keeps_what_is_anothers(step: Step, nth: u64, made_again: bool) {
    let site = Site::new();
    let slow = site.host().start().await;
    slow.deploy(guest::LIFECYCLE_SNAPSHOT).await;
    let unborn = actor(guest::LIFECYCLE_SNAPSHOT, "unborn-error");
    let removal = slow.store.arm(step, nth, Fault::Hold);
    let (host, of) = (slow.host.clone(), unborn.clone());
    let failing =
        tokio::spawn(async move { host.actor(&of).call("read", Arguments::Json(json!([]))).await });
    removal.fired().await;
    let other = site.usurper().start().await;
    let answer = other.take_over_and_call(&unborn, "add", json!([5])).await.unwrap();
    assert_eq!(answer, json!({ "ok": [5, 5] }));
    if made_again {
        other.host.actor(&unborn).destroy().await.unwrap();
        other.host.actor(&unborn).import(&plain(&site), &mut |_| {}).await.unwrap();
    }
    removal.release();
    let failed = failing.await.unwrap();
    assert!(
        matches!(failed, Err(CallError { cause: HostError::StartFailed { .. }, .. })),
        "{failed:?}"
    );
    let request = SqlRequest { sql: "SELECT n FROM counter".into(), ..SqlRequest::default() };
    let rows = other.host.actor(&unborn).sql(request).await.unwrap().rows;
    assert_eq!(format!("{rows:?}"), "[[Integer(5)]]", "{step:?}, {made_again}");
    other.assert_intact(&unborn).await;
    other.host.shutdown().await;
    slow.host.shutdown().await;
}

/// A file like the database of the guest, with 5 in it.
fn plain(site: &Site) -> std::path::PathBuf {
    let path = site.path().join("plain.db");
    let made = rusqlite::Connection::open(&path).unwrap();
    made.execute_batch(
        "CREATE TABLE diary(hook); CREATE TABLE counter(n, start_as);
         INSERT INTO counter VALUES (5, 'work')",
    )
    .unwrap();
    path
}
