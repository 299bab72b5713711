//! The guests of the simulations and their compiled code, which is made once for all runs of the
//! process.

use std::path::Path;
use std::sync::{LazyLock, OnceLock};

use stockade::limits::HostLimits;
use stockade::{Host, HostConfig, Manifest};
use stockade_tests::guest;
use tempfile::TempDir;

/// A guest of a simulation.
pub struct Guest {
    /// Its kind.
    pub kind: &'static str,
    wasm: LazyLock<Vec<u8>>,
    compiled: OnceLock<TempDir>,
}

/// Transfers between accounts of one actor.
pub static BANK: Guest = Guest::new("bank", || guest::LIFECYCLE_BANK.wasm().unwrap());
/// Sends messages, and keeps those that it gets.
pub static MAIL: Guest = Guest::new("mail", || guest::MESSAGES_MAIL.wasm().unwrap());
/// Calls other actors.
pub static RELAY: Guest = Guest::new("relay", || guest::CALLS_RELAY.wasm().unwrap());

impl Guest {
    const fn new(kind: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self { kind, wasm: LazyLock::new(wasm), compiled: OnceLock::new() }
    }

    /// Its component. The file is read once, so that all runs have the same bytes.
    #[must_use]
    pub fn wasm(&self) -> Vec<u8> {
        self.wasm.clone()
    }

    /// Copies its compiled code into `data_dir`, where a host finds it.
    pub fn provide(&self, data_dir: &Path) {
        let compiled = self.compiled.get_or_init(|| compile(self.kind, self.wasm()));
        copy(compiled.path(), data_dir);
    }
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
