//! Tests of the engine: what is refused, the code cache, epochs, the pool.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wasmtime::component::{Linker, Val};
use wasmtime::{Store, UpdateDeadline};

use super::*;
use crate::typed::MethodTable;

/// A component with one method and nothing else; `add` wraps.
const ADD: &str = r#"
(component
  (core module $m
    (memory (export "memory") 2)
    (func (export "add") (param i64) (result i64) (i64.add (local.get 0) (i64.const 1))))
  (core instance $i (instantiate $m))
  (func (export "add") (param "n" s64) (result s64) (canon lift (core func $i "add"))))
"#;

const ENDLESS: &str = r#"
(component
  (core module $m (func (export "run") (loop (br 0))))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))
"#;

fn config() -> EngineConfig {
    EngineConfig { instances_max: 4, ..EngineConfig::default() }
}

fn engine() -> Engine {
    Engine::new(config()).expect("this machine can have an engine")
}

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text is wasm")
}

fn load(engine: &Engine, wasm: &[u8]) -> Result<Component, ComponentError> {
    engine.load(Engine::digest(wasm), wasm)
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = load(&engine(), &wasm(text)).expect_err("it is refused");
    assert_eq!(error.to_string(), expected);
}

/// Takes some milliseconds.
const LONG: &str = r#"
(component
  (core module $m (func (export "run") (local $n i32)
    (loop
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if 0 (i32.lt_u (local.get $n) (i32.const 50000000))))))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))
"#;

async fn call(engine: &Engine, component: &Component, args: &[Val]) -> wasmtime::Result<Vec<Val>> {
    let _running = engine.pace().run();
    let mut store = Store::new(engine.wasmtime(), ());
    store.set_epoch_deadline(3);
    let linker = Linker::new(engine.wasmtime());
    let instance = linker.instantiate_async(&mut store, component.wasm()).await?;
    let methods = MethodTable::of(component.wasm(), &["add", "run"].map(str::to_owned));
    let methods = methods.expect("few functions");
    let method = methods.iter().next().expect("it has a method");
    let func = instance.get_func(&mut store, method.export()).expect("the method's export");
    let mut results = vec![Val::Bool(false); method.results_len()];
    func.call_async(&mut store, args, &mut results).await?;
    Ok(results)
}

#[tokio::test]
async fn a_component_runs() {
    let engine = engine();
    let component = load(&engine, &wasm(ADD)).expect("it is fine");
    assert_eq!(component.origin(), Origin::Compiled);
    assert!(component.lifecycle().is_none());
    let results = call(&engine, &component, &[Val::S64(41)]).await.expect("it runs");
    assert_eq!(results, [Val::S64(42)]);
}

#[tokio::test]
async fn the_epoch_ends_an_endless_call() {
    let engine = engine();
    let component = load(&engine, &wasm(ENDLESS)).expect("it is fine");
    let error = call(&engine, &component, &[]).await.expect_err("it cannot end by itself");
    assert_eq!(error.downcast_ref(), Some(&wasmtime::Trap::Interrupt));
}

/// Ticks of the epoch during one call.
async fn ticks(engine: &Engine, component: &Component) -> u32 {
    let mut store = Store::new(engine.wasmtime(), 0);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| {
        *store.data_mut() += 1;
        Ok(UpdateDeadline::Continue(1))
    });
    let linker = Linker::new(engine.wasmtime());
    let instance = linker.instantiate_async(&mut store, component.wasm()).await.expect("it starts");
    let methods = MethodTable::of(component.wasm(), &["add", "run"].map(str::to_owned));
    let methods = methods.expect("few functions");
    let method = methods.iter().next().expect("it has a method");
    let func = instance.get_func(&mut store, method.export()).expect("the method's export");
    func.call_async(&mut store, &[], &mut []).await.expect("it ends");
    *store.data()
}

#[tokio::test]
async fn the_epoch_rests_while_nobody_says_that_he_runs_and_wakes_for_who_does() {
    let config = EngineConfig { epoch_tick: Duration::from_millis(1), ..config() };
    let engine = Engine::new(config).expect("this machine can have an engine");
    let component = load(&engine, &wasm(LONG)).expect("it is fine");
    let begun = Instant::now();
    for _ in 0..3 {
        // The ticker rests some ticks after the last guest ran; then it stays at rest.
        while ticks(&engine, &component).await > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never rests");
        }
        assert_eq!(ticks(&engine, &component).await, 0);
        let running = engine.pace().run();
        while ticks(&engine, &component).await == 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it was not woken");
        }
        drop(running);
    }
}

#[test]
fn dropping_an_engine_at_rest_ends_its_ticker() {
    let config = EngineConfig { epoch_tick: Duration::from_millis(1), ..config() };
    let engine = Engine::new(config).expect("this machine can have an engine");
    while !engine.pace().is_at_rest() {
        std::thread::yield_now();
    }
    drop(engine);
}

#[test]
fn dropping_the_engine_ends_its_ticker() {
    // With a tick of an hour, only a ticker that is asked to end lets the drop return.
    let config = EngineConfig { epoch_tick: Duration::from_secs(3_600), ..config() };
    let engine = Engine::new(config).expect("this machine can have an engine");
    drop(engine);
}

#[test]
fn one_digest_is_compiled_once_at_a_time() {
    let engine = engine();
    let bytes = wasm(ADD);
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| load(&engine, &bytes).expect("it is fine"));
        let second = scope.spawn(|| load(&engine, &bytes).expect("it is fine"));
        (first.join().expect("no panic"), second.join().expect("no panic"))
    });
    let code = |component: &Component| component.wasm().image_range();
    assert_eq!(code(&first), code(&second));
    assert!(engine.find(first.digest()).is_some());
    let digest = first.digest();
    drop((first, second));
    assert!(engine.find(digest).is_none(), "without a cache nothing keeps it");
}

#[test]
fn other_files_are_told_apart() {
    let engine = engine();
    let check = |bytes: &[u8], expected: &str| {
        let error = load(&engine, bytes).expect_err("it is refused");
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(&wasm("(module)"), "only a deploy makes one");
    check(b"", "it is empty");
    check(b"(component)", "only the binary form is taken");
    check(b"\x7fELF", "does not start with the bytes of a wasm file");
    check(b"\0asm\x0d\0\x01\0garbage", "the component cannot be compiled");
    let mut cut = wasm(ADD);
    cut.truncate(cut.len() / 2);
    check(&cut, "the component cannot be compiled");

    let error = engine.load(Engine::digest(b"other"), &wasm(ADD)).expect_err("another digest");
    assert!(matches!(error, ComponentError::OtherDigest { .. }), "{error}");

    let config = EngineConfig { component_bytes_max: 10, ..config() };
    let small = Engine::new(config).expect("this machine can have an engine");
    let bytes = wasm(ADD);
    assert_eq!(
        load(&small, &bytes).expect_err("too large"),
        ComponentError::TooLarge { bytes: bytes.len() as u64, max: 10 }
    );
}

#[test]
fn imports_that_nobody_offers_are_named() {
    refused(
        r#"(component
            (import "wasi:cli/environment@0.2.0" (instance))
            (import "wasi:http/types@0.2.0" (instance))
            (import "demo:other/api" (func)))"#,
        "the host does not offer what the component imports: wasi:http/types@0.2.0, \
         demo:other/api; build it without HTTP (componentize-js: `disableFeatures: ['http', \
         'fetch-event']`)",
    );
    refused(
        r#"(component (import "wasi:cli/run@0.3.0" (instance)))"#,
        "the host does not offer what the component imports: wasi:cli/run@0.3.0; build it for WASI \
         0.2, synchronously (componentize-qjs: `--sync`)",
    );
    let text = r#"(component (import "stockade:actor/log@0.2.0" (instance)))"#;
    load(&engine(), &wasm(text)).expect("that is offered");
}

#[test]
fn too_much_memory_is_refused_before_a_call() {
    let config = EngineConfig { memory_bytes_max: 64 * 1024, ..config() };
    let engine = Engine::new(config).expect("this machine can have an engine");
    let error = load(&engine, &wasm(ADD)).expect_err("it starts with two pages");
    assert!(error.to_string().contains("memory"), "{error}");

    let memory = "(core module (memory 1))";
    let instances: String = (0..5).map(|n| format!("(core instance (instantiate {n}))")).collect();
    let text = format!("(component {} {instances})", memory.repeat(5));
    load(&engine, &wasm(&text)).expect_err("five memories");
}

#[test]
fn hooks_must_have_their_types() {
    let hooks = |start: &str| {
        format!(
            r#"(component
              (core module $m
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
                (func (export "restore") (param i32 i32 i32 i64) (result i32) (i32.const 0))
                (func (export "hook") (result i32) (i32.const 0)))
              (core instance $i (instantiate $m))
              (type $handed' (record (field "state" (list u8)) (field "current" bool)
                (field "generation" u64)))
              (export $handed "handed" (type $handed'))
              (type $error' (variant (case "other" string)))
              (export $error "error" (type $error'))
              (func $restore (param "snapshot" $handed) (result (result (error $error)))
                (canon lift (core func $i "restore") (memory (core memory $i "memory"))
                  (realloc (core func $i "realloc"))))
              (func $start (result {start})
                (canon lift (core func $i "hook") (memory (core memory $i "memory"))))
              (func $stop (result (result (error $error)))
                (canon lift (core func $i "hook") (memory (core memory $i "memory"))))
              (func $snapshot (result (result (option (list u8)) (error $error)))
                (canon lift (core func $i "hook") (memory (core memory $i "memory"))))
              (instance $l
                (export "handed" (type $handed)) (export "error" (type $error))
                (export "restore" (func $restore)) (export "start" (func $start))
                (export "stop" (func $stop)) (export "snapshot" (func $snapshot)))
              (export "stockade:actor/lifecycle@0.2.0" (instance $l)))"#
        )
    };
    let engine = engine();
    let good = load(&engine, &wasm(&hooks("(result (error $error))"))).expect("the right types");
    assert!(good.lifecycle().is_some());
    let methods = MethodTable::of(good.wasm(), &[]).expect("few functions");
    assert!(methods.is_empty(), "hooks are not methods");
    let error = load(&engine, &wasm(&hooks("(result (error string))"))).expect_err("no variant");
    assert_eq!(
        error.to_string(),
        "the hook `start` must be `func() -> result<_, variant { other(string) }>`, but is \
         `func() -> result<_, string>`"
    );
    let instance =
        |name: &str| format!("(component (instance $i) (export \"{name}\" (instance $i)))");
    refused(
        &instance("stockade:actor/lifecycle@0.2.0"),
        "the hook `restore` must be `func(snapshot: record { state: list<u8>, current: bool, \
         generation: u64 }) -> result<_, variant { other(string) }>`, but is `missing`",
    );
    refused(
        &instance("stockade:actor/dreams@0.2.0"),
        "the component exports `stockade:actor/dreams@0.2.0`, which this host does not call",
    );
}

/// A cache directory with the compiled code of [`ADD`] in it.
struct Cached {
    dir: PathBuf,
    bytes: Vec<u8>,
    _root: tempfile::TempDir,
}

impl Cached {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let cached = Self { dir: root.path().join("a/code"), bytes: wasm(ADD), _root: root };
        assert_eq!(cached.start(), Origin::Compiled);
        assert_eq!(cached.start(), Origin::Cached);
        cached
    }

    /// Where a new engine loads the component from.
    fn start(&self) -> Origin {
        let config = EngineConfig { cache_dir: Some(self.dir.clone()), ..config() };
        let engine = Engine::new(config).expect("this machine can have an engine");
        let found = engine.find(Engine::digest(&self.bytes)).map(|found| found.origin());
        let loaded = load(&engine, &self.bytes).expect("it is fine").origin();
        assert_eq!(found.is_some(), loaded == Origin::Cached);
        loaded
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.dir).expect("the directory is there").flatten();
        files.map(|file| file.path()).collect()
    }
}

#[test]
fn compiled_code_survives_the_engine() {
    let cached = Cached::new();
    assert_eq!(cached.files().len(), 1, "{:?}", cached.files());
    let mode = fs::metadata(&cached.dir).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn damaged_code_is_never_run_but_replaced() {
    let cached = Cached::new();
    let file = cached.files().pop().expect("one file");
    let whole = fs::read(&file).expect("it is readable");
    let places = [0, 7, 8, 39, 40, whole.len() / 2, whole.len() - 1];
    let flipped = places.map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    });
    let cut = [0, 7, 40, whole.len() - 1].map(|len| whole[..len].to_vec());
    for damaged in flipped.into_iter().chain(cut) {
        fs::write(&file, damaged).expect("it is writable");
        assert_eq!(cached.start(), Origin::Compiled);
        assert_eq!(cached.start(), Origin::Cached, "it was replaced");
        assert_eq!(cached.files().len(), 1);
    }
}

#[test]
fn code_is_never_taken_for_another_components() {
    let cached = Cached::new();
    let file = cached.files().pop().expect("one file");
    let name = file.file_name().and_then(|name| name.to_str()).expect("it is text");
    let endless = wasm(ENDLESS);
    let other = name.replacen(
        &Engine::digest(&cached.bytes).to_string(),
        &Engine::digest(&endless).to_string(),
        1,
    );
    assert_ne!(other, name);
    fs::copy(&file, file.with_file_name(other)).expect("it can be copied");
    let config = EngineConfig { cache_dir: Some(cached.dir.clone()), ..config() };
    let engine = Engine::new(config).expect("this machine can have an engine");
    assert!(engine.find(Engine::digest(&endless)).is_none());
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let open = |mode: u32, dir: &Path| {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).expect("it is ours");
        Engine::new(EngineConfig { cache_dir: Some(dir.to_owned()), ..config() })
    };
    let error = open(0o777, root.path()).expect_err("anybody could put code there");
    assert!(matches!(error, EngineError::CacheNotPrivate { mode: 0o777, .. }), "{error}");
    open(0o755, root.path()).expect("reading is taken away, not refused");
    let mode = fs::metadata(root.path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let file = root.path().join("file");
    fs::write(&file, "").expect("it is writable");
    let config = EngineConfig { cache_dir: Some(file), ..config() };
    assert!(matches!(Engine::new(config), Err(EngineError::Cache { .. })));
}

#[test]
fn every_pool_can_be_made() {
    for pool in [Pool::Wide { slots: 4 }, Pool::Narrow { slots: 4 }, Pool::OnDemand] {
        wasmtime::Engine::new(&config::settings(&config(), pool)).expect("the settings fit");
    }
}
