//! The guest of the simulation, and its compiled code: made once for all runs of the process.

use std::path::Path;
use std::sync::{LazyLock, OnceLock};

use stockade::limits::HostLimits;
use stockade::{Host, HostConfig, Manifest};
use stockade_tests::guest;
use tempfile::TempDir;

/// The kind that runs it.
pub const KIND: &str = "bank";

static COMPILED: OnceLock<TempDir> = OnceLock::new();
static WASM: LazyLock<Vec<u8>> = LazyLock::new(|| guest::LIFECYCLE_BANK.wasm().unwrap());

/// Its component, as it was when it was first asked for.
#[must_use]
pub fn wasm() -> Vec<u8> {
    WASM.clone()
}

/// Puts the compiled code where a host with this directory finds it.
pub fn provide(data_dir: &Path) {
    let compiled = COMPILED.get_or_init(compile);
    let (from, to) = (compiled.path().join("code"), data_dir.join("code"));
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// A host on threads of its own compiles it, as hosts do.
fn compile() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = HostConfig::new(dir.path()).with_limits(limits());
    let deploy = move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let host = Host::start(config).await.unwrap();
            host.deploy(KIND, wasm(), Manifest::default()).await.unwrap();
            host.shutdown().await;
        });
    };
    let thread = std::thread::Builder::new().name("deploy".to_owned()).spawn(deploy).unwrap();
    thread.join().unwrap();
    dir
}

/// Limits of every host here: compiled code is for one setting of the engine.
#[must_use]
pub fn limits() -> HostLimits {
    HostLimits {
        actors_awake_max: 8,
        memory_bytes_max: 16 << 20,
        epoch_tick: std::time::Duration::from_secs(3600),
        ..HostLimits::default()
    }
}
