//! The set-up of every part of the bench: a host on the embedded store in an empty directory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use stockade::{ActorId, Arguments, Host, HostConfig, Manifest, Reply};
use tempfile::TempDir;

/// A host in a directory of its own, on the disk of the build folder (not in a memory file system).
pub struct Stand {
    /// The host.
    pub host: Host,
    /// The directory of the host's data directory and of native databases.
    pub dir: TempDir,
    /// Whether the run is short: little data, one round.
    pub quick: bool,
}

impl Stand {
    /// Starts a host.
    pub async fn new(quick: bool) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/../target")?;
        let host = Host::start(HostConfig::new(dir.path().join("host"))).await?;
        Ok(Self { host, dir, quick })
    }

    /// The data directory of the host. Another host may use it after the host was shut down.
    pub fn host_dir(&self) -> PathBuf {
        self.dir.path().join("host")
    }

    /// Deploys a guest.
    pub async fn deploy(&self, kind: &str, guest: &str) -> anyhow::Result<()> {
        let wasm = stockade_tests::guest(guest)?;
        self.host.deploy(kind, wasm, Manifest::default()).await?;
        Ok(())
    }

    /// Calls a method with JSON arguments. Returns the duration and the answer.
    pub async fn call(
        &self,
        actor: &ActorId,
        method: &str,
        arguments: serde_json::Value,
    ) -> anyhow::Result<(Duration, Reply)> {
        let begun = Instant::now();
        let reply = self.host.actor(actor).call(method, Arguments::Json(arguments)).await?;
        Ok((begun.elapsed(), reply))
    }

    /// The number of rounds of a comparison.
    pub fn rounds(&self) -> usize {
        if self.quick { 1 } else { 7 }
    }

    /// `full`, or a hundredth of it in a quick run.
    pub fn scaled(&self, full: u32) -> u32 {
        if self.quick { (full / 100).max(1) } else { full }
    }
}
