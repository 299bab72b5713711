//! What is handed over was idle when it was chosen, and may have got work since.

use std::time::Instant;

use stockade_depot::ActorId;

use super::*;
use crate::host::HostConfig;
use crate::kinds::manifest::Manifest;
use crate::limits::HostLimits;
use crate::router::request::Ending;

/// A method that computes for a second or two.
const SPINS: &str = r#"(component
    (core module $module
        (func (export "spin") (local $left i64)
            (local.set $left (i64.const 1000000000))
            (loop $again
                (local.set $left (i64.sub (local.get $left) (i64.const 1)))
                (br_if $again (i64.ne (local.get $left) (i64.const 0))))))
    (core instance $instance (instantiate $module))
    (func (export "spin") (canon lift (core func $instance "spin"))))"#;
/// How long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_has_got_work_is_not_handed_over() {
    stockade_vfs::heap::install();
    let dir = tempfile::tempdir().expect("a directory");
    let limits = HostLimits { actors_awake_max: 4, ..HostLimits::default() };
    let config = HostConfig::new(dir.path()).with_limits(limits);
    let host = Host::start(config).await.expect("starts");
    let manifest = Manifest { methods: vec!["spin".to_owned()], ..Manifest::default() };
    let wasm = wat::parse_str(SPINS).expect("a component");
    host.deploy("spins", wasm, manifest).await.expect("deployed");
    let actor = ActorId::new("spins", "a").expect("a name");
    let router = &host.inner.router;
    let is_idle = || router.slot(&actor).is_some_and(|slot| slot.idle_since().is_some());
    let spin = || {
        let (host, actor) = (host.clone(), actor.clone());
        tokio::spawn(async move { host.actor(&actor).call("spin", ()).await })
    };
    spin().await.expect("no panic").expect("answered");
    until("it is idle", is_idle).await;
    let spinning = spin();
    until("it is busy", || !is_idle()).await;
    for ending in [Ending::HandOver, Ending::Sleep] {
        let exit = router.end(&actor, ending).await.expect("asked");
        assert!(exit.is_none(), "{ending:?}: {exit:?}");
    }
    assert!(!spinning.is_finished(), "the call has ended too soon for this test");
    spinning.await.expect("no panic").expect("answered");
    until("it is idle again", is_idle).await;
    assert!(router.end(&actor, Ending::HandOver).await.expect("asked").is_some());
    host.shutdown().await;
}
