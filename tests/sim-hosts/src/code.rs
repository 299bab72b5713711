//! The guest of the simulation and its compiled code, which is made once for all runs of the
//! process.

use std::path::Path;
use std::sync::{LazyLock, OnceLock};

use stockade::limits::HostLimits;
use stockade::{Host, HostConfig, Manifest};
use stockade_tests::guest;
use tempfile::TempDir;

/// The kind of the simulated actors.
pub const KIND: &str = "bank";

static COMPILED: OnceLock<TempDir> = OnceLock::new();
static WASM: LazyLock<Vec<u8>> = LazyLock::new(|| guest::LIFECYCLE_BANK.wasm().unwrap());

/// The component of the guest. The file is read once, so that all runs have the same bytes.
#[must_use]
pub fn wasm() -> Vec<u8> {
    WASM.clone()
}

/// Copies the compiled code into `data_dir`, where a host finds it.
pub fn provide(data_dir: &Path) {
    copy(COMPILED.get_or_init(|| compile(KIND, wasm())).path(), data_dir);
}

/// Copies what one host has compiled to where another one looks.
pub(crate) fn copy(compiled: &Path, data_dir: &Path) {
    let (from, to) = (compiled.join("code"), data_dir.join("code"));
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Compiles a component by a real host on threads of its own. Returns the host's directory.
pub(crate) fn compile(kind: &'static str, wasm: Vec<u8>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = HostConfig::new(dir.path()).with_limits(limits());
    let deploy = move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let host = Host::start(config).await.unwrap();
            host.deploy(kind, wasm, Manifest::default()).await.unwrap();
            host.shutdown().await;
        });
    };
    let thread = std::thread::Builder::new().name("deploy".to_owned()).spawn(deploy).unwrap();
    thread.join().unwrap();
    dir
}

/// Limits of every simulated host. They are the same for all, since compiled code fits one setting
/// of the engine only.
#[must_use]
pub fn limits() -> HostLimits {
    HostLimits {
        actors_awake_max: 8,
        memory_bytes_max: 16 << 20,
        epoch_tick: std::time::Duration::from_secs(3600),
        ..HostLimits::default()
    }
}
