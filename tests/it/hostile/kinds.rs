//! Components that need more than a host gives, or misbehave before and after their calls.

use serde_json::json;
use stockade::error::{Retry, TrapLimit};
use stockade::limits::Limits;
use stockade::{CallError, HostError, Manifest};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};

/// Asserts that the neighbour answers: the host is well.
async fn assert_well(host: &TestHost) {
    host.call(&actor(guest::HOSTILE_LOOP, "neighbour"), "hello", json!([])).await.unwrap();
}

async fn host(site: &Site) -> TestHost {
    let host = site.host().start().await;
    host.deploy(guest::HOSTILE_LOOP).await;
    assert_well(&host).await;
    host
}

async fn deploy(
    host: &TestHost,
    text: &str,
    set: impl FnOnce(&mut Limits),
) -> Result<(), HostError> {
    let mut manifest = Manifest::default();
    set(&mut manifest.limits);
    // The function belongs to no package.
    if text.contains(r#"(export "run""#) {
        manifest.methods.push("run".to_owned());
    }
    host.host.deploy("crafted", wat::parse_str(text).unwrap(), manifest).await.map(drop)
}

async fn call(host: &TestHost) -> Result<serde_json::Value, CallError> {
    let crafted = stockade::ActorId::new("crafted", "one").unwrap();
    let running = host.call(&crafted, "run", json!([]));
    tokio::time::timeout(super::PATIENCE, running).await.expect("it does not end")
}

/// A component whose method `run` is this core module's.
fn component(module: &str) -> String {
    format!(
        r#"(component
             (core module $m {module})
             (core instance $i (instantiate $m))
             (func (export "run") (result s32) (canon lift (core func $i "run"))))"#
    )
}

/// Grows by a thousand elements until refused, and traps after a refusal.
const GROWS_TABLE: &str = r#"
  (table $t 1 funcref)
  (func (export "run") (result i32)
    (loop (br_if 0 (i32.ne (i32.const -1)
      (table.grow $t (ref.null func) (i32.const 1000)))))
    unreachable)"#;

/// Grows by a gigabyte in one step, beyond its limit; and page by page, in its start function.
const GROWS_AT_ONCE: &str = r#"
  (memory 1)
  (func (export "run") (result i32) (memory.grow (i32.const 16384)))"#;
const GROWS_AT_START: &str = r#"
  (memory 1)
  (func $grow
    (loop (br_if 0 (i32.ne (i32.const -1) (memory.grow (i32.const 1)))))
    unreachable)
  (start $grow)
  (func (export "run") (result i32) (i32.const 1))"#;
const RECURSES: &str = r#"
  (func $f (export "run") (result i32) (i32.add (call $f) (i32.const 1)))"#;
const SPINS_AT_START: &str = r#"
  (func $spin (loop (br 0)))
  (start $spin)
  (func (export "run") (result i32) (i32.const 1))"#;

#[tokio::test(flavor = "multi_thread")]
async fn growth_is_bounded_wherever_it_happens() {
    let site = Site::new();
    let host = host(&site).await;
    deploy(&host, &component(GROWS_TABLE), |limits| limits.table_elements_max = 5_000)
        .await
        .unwrap();
    let error = call(&host).await.unwrap_err();
    let limit = Some(TrapLimit::TableElements);
    assert!(
        matches!(&error.cause, HostError::Trapped { crash, .. } if crash.limit == limit),
        "{error:?}"
    );

    deploy(&host, &component(RECURSES), |_| {}).await.unwrap();
    let error = call(&host).await.unwrap_err();
    let limit = Some(TrapLimit::Stack);
    assert!(
        matches!(&error.cause, HostError::Trapped { crash, .. } if crash.limit == limit),
        "{error:?}"
    );

    let four_megabytes = |limits: &mut Limits| limits.memory_bytes_max = 4 << 20;
    deploy(&host, &component(GROWS_AT_ONCE), four_megabytes).await.unwrap();
    assert_eq!(call(&host).await.unwrap(), json!(-1));

    deploy(&host, &component(GROWS_AT_START), four_megabytes).await.unwrap();
    let error = call(&host).await.unwrap_err();
    assert!(matches!(error.cause, HostError::StartFailed { .. }), "{error:?}");
    assert_well(&host).await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_that_do_not_end_are_ended() {
    let site = Site::new();
    let host = host(&site).await;
    deploy(&host, &component(SPINS_AT_START), |limits| limits.start_time_ms = 300).await.unwrap();
    let error = call(&host).await.unwrap_err();
    assert!(matches!(error.cause, HostError::StartFailed { .. }), "{error:?}");
    assert_well(&host).await;

    host.deploy_with(guest::HOSTILE_HOOKS, |limits| {
        limits.start_time_ms = 300;
        limits.memory_bytes_max = 16 << 20;
    })
    .await;
    for what in ["spin", "spin-in-sql", "grow"] {
        let hostile = actor(guest::HOSTILE_HOOKS, what);
        host.ok(&hostile, "curse", json!([what])).await;
        host.host.actor(&hostile).stop().await.unwrap();
        let error = host.call(&hostile, "hello", json!([])).await.unwrap_err();
        assert!(matches!(error.cause, HostError::StartFailed { .. }), "{what}: {error:?}");
        assert_well(&host).await;
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_snapshot_is_missed_and_said_so() {
    let site = Site::new();
    let host = host(&site).await;
    host.deploy_with(guest::HOSTILE_HOOKS, |limits| limits.snapshot_bytes_max = 1_000).await;
    let hostile = actor(guest::HOSTILE_HOOKS, "one");
    for (bytes, outcome) in [(1_000, "taken"), (1_001, "missed"), (60 << 20, "missed")] {
        host.call(&hostile, "hand-over", json!([bytes])).await.unwrap();
        let exit = host.host.actor(&hostile).stop().await.unwrap().expect("it was awake");
        let snapshot = serde_json::to_value(&exit.snapshot).unwrap();
        assert_eq!(snapshot["outcome"], outcome, "{bytes}: {exit:?}");
        assert!(exit.sealed, "{bytes}: {exit:?}");
    }
    assert_well(&host).await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_need_too_much_are_refused() {
    let site = Site::new();
    let host = host(&site).await;
    let memories = |count: usize| {
        let instances = "(core instance (instantiate $m))".repeat(count);
        format!(
            "(component (core module $m (memory 1) {RUNS}) (core instance $i (instantiate $m))
               {instances}
               (func (export \"run\") (result s32) (canon lift (core func $i \"run\"))))"
        )
    };
    deploy(&host, &memories(3), |_| {}).await.unwrap();
    assert_eq!(call(&host).await.unwrap(), json!(7), "four memories");
    let many = memories(4);
    let instances = (0..2_000).map(|_| "(core instance (instantiate $m))").collect::<String>();
    let crowd = format!("(component (core module $m) {instances})");
    let large = "(component (core module $m (memory 30000)) (core instance (instantiate $m)))";
    for (what, text) in [("memories", many.as_str()), ("instances", &crowd), ("memory", large)] {
        let error = deploy(&host, text, |_| {}).await.unwrap_err();
        assert!(matches!(error, HostError::Component(_)), "{what}: {error:?}");
    }
    assert_well(&host).await;
    host.host.shutdown().await;
}

/// A regression: a component that its kind's limits keep from starting was deployed, and its calls
/// got the advice to try again.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_its_kind_keeps_from_starting_is_refused() {
    let site = Site::new();
    let host = host(&site).await;
    deploy(&host, &component(RUNS), |_| {}).await.unwrap();
    let memories = |run: &str| component(&format!("(memory 20) {run}"));
    // Two memories, of which each alone would fit.
    let two = format!(
        "(component (core module $a (memory 10)) (core module $b (memory 10) {RUNS})
           (core instance (instantiate $a)) (core instance $i (instantiate $b))
           (func (export \"run\") (result s32) (canon lift (core func $i \"run\"))))"
    );
    let table = component(&format!("(table 2000 funcref) {RUNS}"));
    for (text, said) in [(memories(RUNS), "memory_bytes_max"), (two, "memory_bytes_max")] {
        let refused = deploy(&host, &text, |limits| limits.memory_bytes_max = 1 << 20).await;
        assert_refused(refused, said);
        let fits = |limits: &mut Limits| limits.memory_bytes_max = 20 << 16;
        deploy(&host, &text, fits).await.unwrap();
        assert_eq!(call(&host).await.unwrap(), json!(7));
    }
    let refused = deploy(&host, &table, |limits| limits.table_elements_max = 1999).await;
    assert_refused(refused, "table_elements_max");
    let refused = deploy(&host, &memories(RUNS), |limits| limits.memory_bytes_max = 1024).await;
    assert_refused(refused, "over the limit of 1024");
    assert_eq!(call(&host).await.unwrap(), json!(7), "the kind that is there stays");
    host.host.shutdown().await;
}

#[track_caller]
fn assert_refused(deployed: Result<(), HostError>, said: &str) {
    let refused = deployed.expect_err("it cannot be deployed");
    let body = refused.body();
    assert_eq!((body.group.as_str(), body.code.as_str()), ("request", "component"), "{refused}");
    assert!(refused.to_string().contains(said), "{refused}");
}

/// A regression: a Python component was compiled for 15 s with 430 MiB before the error named its
/// imports. The component here cannot be compiled at all, so it was not tried.
#[tokio::test(flavor = "multi_thread")]
async fn missing_imports_are_found_before_anything_is_compiled_with_the_way_out() {
    let site = Site::new();
    let host = host(&site).await;
    let broken = "(core module (func (result i32)))";
    for (needs, way_out) in [
        (r#"(import "wasi:http/types@0.2.10" (instance))"#, "disableFeatures: ['http'"),
        (r#"(import "wasi:cli/run@0.3.0" (instance))"#, "WASI 0.2, synchronously"),
        (r#"(import "stockade:actor/sqlite@7.0.0" (instance))"#, "of this host"),
        (r#"(import "my:own/thing" (func))"#, "build it without the rest"),
        ("(core func (canon task.cancel))", "build it synchronously"),
    ] {
        let refused = deploy(&host, &format!("(component {needs} {broken})"), |_| {}).await;
        assert_refused(refused, way_out);
    }
    let refused = deploy(&host, &format!("(component {broken})"), |_| {}).await;
    assert_refused(refused, "cannot be compiled");
    host.host.shutdown().await;
}

/// Toolchains leave functions in a component that only they may call. A regression: a caller could
/// end a Python actor for everyone by one of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_no_package_is_called_only_if_the_manifest_names_it() {
    let site = Site::new();
    let host = host(&site).await;
    let text = r#"(component
        (core module $m (func (export "run") (result i32) (i32.const 7))
          (func (export "init") unreachable))
        (core instance $i (instantiate $m))
        (func $run (result s32) (canon lift (core func $i "run")))
        (func $init (canon lift (core func $i "init")))
        (instance $api (export "run" (func $run)))
        (instance $tools (export "init" (func $init)))
        (export "demo:crafted/api" (instance $api))
        (export "exports" (instance $tools))
        (export "init" (func $init)))"#;
    let deploy = async |methods: &[&str]| {
        let methods = methods.iter().map(|name| (*name).to_owned()).collect();
        let manifest = Manifest { methods, ..Manifest::default() };
        host.host.deploy("crafted", wat::parse_str(text).unwrap(), manifest).await
    };
    let crafted = stockade::ActorId::new("crafted", "one").unwrap();
    assert_eq!(deploy(&[]).await.unwrap().methods, 1);
    for name in ["init", "exports.init", "exports#init"] {
        let refused = host.call(&crafted, name, json!([])).await.unwrap_err();
        assert!(matches!(refused.cause, HostError::MethodMissing(_)), "{name}: {refused:?}");
    }
    assert_eq!(call(&host).await.unwrap(), json!(7));
    assert_eq!(deploy(&["init"]).await.unwrap().methods, 2);
    let trapped = host.call(&crafted, "init", json!([])).await.unwrap_err();
    assert!(matches!(trapped.cause, HostError::Trapped { .. }), "{trapped:?}");
    for (wrong, said) in [("no-such", "no method `no-such`"), ("api.run", "demo:crafted/api#run")] {
        let refused = deploy(&[wrong]).await.unwrap_err();
        assert_eq!(refused.body().code, "manifest", "{refused}");
        assert!(refused.to_string().contains(said), "{refused}");
    }
    host.host.shutdown().await;
}

/// A function that is an interpreter: some 1.2 KiB of stack for each call of itself, this many
/// times.
fn interpreter(frames: u32) -> String {
    let of_each = |text: &str| -> String {
        (0..150)
            .map(|n| text.replace('N', &n.to_string()).replace('A', &(8 * n).to_string()))
            .collect()
    };
    format!(
        r#"(memory 1)
        (func $f (param $n i32) (result i64) (local $sum i64) {}
          (if (i32.eqz (local.get $n)) (then (return (i64.const 1))))
          {}
          (local.set $sum (call $f (i32.sub (local.get $n) (i32.const 1))))
          {}
          (local.get $sum))
        (func (export "run") (result i32)
          (i32.wrap_i64 (call $f (i32.const {frames}))))"#,
        of_each("(local $lN i64)"),
        of_each("(local.set $lN (i64.load (i32.const A)))"),
        of_each("(local.set $sum (i64.add (local.get $sum) (local.get $lN)))"),
    )
}

/// A regression: scripts in an interpreter ended below 1,000 frames, by a trap that no script could
/// catch.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_frames_of_an_interpreter_fit() {
    let site = Site::new();
    let host = host(&site).await;
    deploy(&host, &component(&interpreter(1_000)), |_| {}).await.unwrap();
    assert_eq!(call(&host).await.unwrap(), json!(1));
    deploy(&host, &component(&interpreter(10_000)), |_| {}).await.unwrap();
    let error = call(&host).await.unwrap_err();
    assert_eq!(error.body().details, json!({ "limit": "stack" }), "{error}");
    assert_eq!(error.retry(), Retry::Fix);
    assert_well(&host).await;
    host.host.shutdown().await;
}

/// A limit by its name, to be set in a manifest.
type Setting = (&'static str, fn(&mut Limits) -> &mut u64);

/// A regression: a limit of the largest number of milliseconds overflowed the clock, and each call
/// killed its actor's task.
#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_ask_for_too_much_are_refused() {
    let site = Site::new();
    let host = host(&site).await;
    let text = component("(func (export \"run\") (result i32) (i32.const 1))");
    let set: [Setting; 14] = [
        ("memory_bytes_max", |l| &mut l.memory_bytes_max),
        ("table_elements_max", |l| &mut l.table_elements_max),
        ("call_time_ms", |l| &mut l.call_time_ms),
        ("cpu_weight", |l| &mut l.cpu_weight),
        ("start_time_ms", |l| &mut l.start_time_ms),
        ("stop_time_ms", |l| &mut l.stop_time_ms),
        ("snapshot_time_ms", |l| &mut l.snapshot_time_ms),
        ("snapshot_bytes_max", |l| &mut l.snapshot_bytes_max),
        ("value_bytes_max", |l| &mut l.value_bytes_max),
        ("packed_bytes_max", |l| &mut l.packed_bytes_max),
        ("reply_bytes_max", |l| &mut l.reply_bytes_max),
        ("handles_max", |l| &mut l.handles_max),
        ("mailbox_calls_max", |l| &mut l.mailbox_calls_max),
        ("log_line_bytes_max", |l| &mut l.log_line_bytes_max),
    ];
    for (name, limit) in set {
        for value in [0, u64::MAX] {
            let error = deploy(&host, &text, |limits| *limit(limits) = value).await.unwrap_err();
            let refused = matches!(&error, HostError::Manifest(words) if words.contains(name));
            assert!(refused, "{name} = {value}: {error:?}");
        }
    }
    assert_well(&host).await;
    host.host.shutdown().await;
}

/// A newer WASI, or a newer WIT: the names are right and the types are not. The deploy gets the
/// linker's message, and the deployed kind stays.
#[tokio::test(flavor = "multi_thread")]
async fn imports_of_another_type_are_refused_with_the_linkers_words() {
    let site = Site::new();
    let host = host(&site).await;
    deploy(&host, &component(RUNS), |_| {}).await.unwrap();
    assert_eq!(call(&host).await.unwrap(), json!(7));
    for (name, item, said) in [
        ("wasi:filesystem/preopens@0.2.0", r#"(export "zz" (func))"#, "`zz` has the wrong type"),
        ("wasi:cli/environment@0.2.0", r#"(export "get-environment" (func))"#, "get-environment"),
        ("wasi:cli/exit@0.2.0", r#"(export "exit" (func (param "status" u32)))"#, "exit"),
        ("stockade:actor/log@0.2.0", r#"(export "zz" (func (param "a" u32)))"#, "zz"),
        (
            "stockade:actor/sqlite@0.2.0",
            r#"(type $limit (enum "sql-steps")) (export "limit" (type $l (eq $limit)))
               (export "open" (func (result $l)))"#,
            "open",
        ),
    ] {
        let text = format!(r#"(component (import "{name}" (instance {item})))"#);
        let refused = deploy(&host, &text, |_| {}).await.unwrap_err();
        assert_eq!(refused.body().code, "component", "{name}: {refused}");
        assert_eq!(refused.body().group, "request", "{name}: {refused}");
        let words = refused.to_string();
        assert!(words.contains(name) && words.contains(said), "{words}");
        assert_eq!(call(&host).await.unwrap(), json!(7), "{name} has replaced the kind");
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_without_a_method_replaces_nothing() {
    let site = Site::new();
    let host = host(&site).await;
    deploy(&host, &component(RUNS), |_| {}).await.unwrap();
    let only_a_stream = r#"(component
        (core module $m (func (export "f") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (type $r (resource (rep i32)))
        (func $f (result (own $r)) (canon lift (core func $i "f")))
        (export $exported "r" (type $r))
        (export "make" (func $f) (func (result (own $exported)))))"#;
    for (text, said) in
        [("(component)", "exports no method"), (only_a_stream, "make: it belongs to no package")]
    {
        let refused = deploy(&host, text, |_| {}).await.unwrap_err();
        assert_eq!(refused.body().code, "component", "{refused}");
        assert!(refused.to_string().contains(said), "{refused}");
        assert_eq!(call(&host).await.unwrap(), json!(7));
    }
    host.host.shutdown().await;
}

const RUNS: &str = r#"(func (export "run") (result i32) (i32.const 7))"#;
