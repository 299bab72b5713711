//! The three sides: starts each on a free port in an empty directory, and knows the paths of its
//! actors.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::json;
use stockade_tests::program::Program;

use super::load::Connection;

/// How long a side may take from its start to its first answer.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Milliseconds without a call after which an actor falls asleep. workerd has this value built in.
pub const SLEEP_AFTER_MS: u64 = 10_000;

/// Our kinds of the actors that call others, and of those with alarms.
const RELAY: &str = "relay";
const ALARMS: &str = "alarms";

/// What an actor does beside answering.
#[derive(Clone, Copy)]
pub enum Work {
    Calls,
    Alarms,
}

/// A measured side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Stockade,
    Workerd,
    Rivet,
}

/// A running side. Its processes are killed when it is dropped.
pub struct Side {
    pub who: Who,
    pub address: SocketAddr,
    processes: Processes,
}

enum Processes {
    Ours(Program),
    Theirs(Vec<Killed>),
}

impl Side {
    /// The ids of the side's processes.
    pub fn processes(&self) -> Vec<u32> {
        match &self.processes {
            Processes::Ours(program) => vec![program.id()],
            Processes::Theirs(processes) => {
                processes.iter().map(|Killed(child)| child.id()).collect()
            }
        }
    }

    /// Starts a side with its databases in `dir`, and waits until it answers.
    pub async fn start(who: Who, dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        match who {
            Who::Stockade => stockade(dir),
            Who::Workerd => workerd(dir).await,
            Who::Rivet => rivet(dir).await,
        }
        .with_context(|| format!("start {who:?}"))
    }

    /// The path of the methods of an actor that calls others or has alarms. Rivet's actor of the bench
    /// does neither.
    pub fn path(&self, work: Work, key: &str) -> String {
        // Both kinds are one class at the peer, which looks at the key alone.
        let kind = match work {
            Work::Calls => RELAY,
            Work::Alarms => ALARMS,
        };
        format!("/actors/{kind}/{key}/")
    }

    /// Makes an actor with a table of `rows` rows. Returns the path of its methods.
    pub async fn make(
        &self,
        connection: &mut Connection,
        key: &str,
        rows: u32,
    ) -> anyhow::Result<String> {
        let path = match self.who {
            Who::Stockade | Who::Workerd => format!("/actors/bench/{key}/setup"),
            Who::Rivet => format!(
                "/gateway/bench/request/setup?rvt-namespace=default&rvt-method=getOrCreate\
                 &rvt-runner=default&rvt-key={key}"
            ),
        };
        let answer = connection.call(&path, rows).await?;
        ensure!(answer.status == 200, "make {key}: {answer:?}");
        Ok(match self.who {
            Who::Stockade | Who::Workerd => format!("/actors/bench/{key}/"),
            // A call by the actor's id takes half the time, since it needs no look-up.
            Who::Rivet => {
                let id = answer.header("x-rivet-actor").context("an actor's id")?;
                format!("/gateway/{id}/request/")
            }
        })
    }
}

/// Starts the program in its release build, with default settings except for `sleep_after_ms`.
fn stockade(dir: &Path) -> anyhow::Result<Side> {
    let program = Program::serve(&dir.join("data"))?;
    let manifest = json!({ "limits": { "sleep_after_ms": SLEEP_AFTER_MS } });
    let wasm = stockade_tests::guest("sqlite_bench")?;
    program.deploy_with("bench", &wasm, Some(&manifest))?;
    let grant = json!({ "calls": [RELAY] });
    program.deploy_with(RELAY, &stockade_tests::guest("calls_relay")?, Some(&grant))?;
    program.deploy(ALARMS, &stockade_tests::guest("lifecycle_alarms")?)?;
    let address = program.listen.parse()?;
    Ok(Side { who: Who::Stockade, address, processes: Processes::Ours(program) })
}

async fn workerd(dir: &Path) -> anyhow::Result<Side> {
    let program = in_node("require('workerd').default")?;
    let address = free_address()?;
    let mut command = Command::new(program);
    command
        .args(["serve".as_ref(), sources().join("workerd.capnp").as_os_str()])
        .args(["--directory-path".to_owned(), format!("disk={}", dir.display())])
        .args(["--socket-addr".to_owned(), format!("http={address}")]);
    let process = Killed::spawn(command, &dir.with_extension("log"))?;
    let side = Side { who: Who::Workerd, address, processes: Processes::Theirs(vec![process]) };
    side.ready("first").await
}

/// Starts the engine with its file-system backend, and a process of Node.js with the actor.
async fn rivet(dir: &Path) -> anyhow::Result<Side> {
    let program = in_node("require('@rivetkit/engine-cli').getEnginePath()")?;
    let (guard, peers, metrics) = (free_address()?, free_address()?, free_address()?);
    let at = |address: SocketAddr| json!({ "host": "127.0.0.1", "port": address.port() });
    let url = |address: SocketAddr| format!("http://{address}");
    let center = json!({
        "datacenter_label": 1, "is_leader": true,
        "public_url": url(guard), "peer_url": url(peers),
    });
    let config = json!({
        "guard": at(guard), "api_peer": at(peers), "metrics": at(metrics),
        "file_system": { "path": dir.join("engine") },
        "telemetry": { "enabled": false },
        // Without this setting the engine starts no actors while the machine is busy.
        "runtime": { "worker_load_shedding_curve": [[0, 1000], [1000, 999]] },
        "topology": { "datacenter_label": 1, "datacenters": { "default": center } },
    });
    let config_path = dir.with_extension("json");
    std::fs::write(&config_path, config.to_string())?;
    let mut engine = Command::new(program);
    engine.arg("--config").arg(config_path).arg("start");
    let mut processes = vec![Killed::spawn(engine, &dir.with_extension("engine.log"))?];
    let begun = Instant::now();
    while Connection::open(guard).await.is_err() {
        ensure!(begun.elapsed() < READY_WITHIN, "the engine does not listen");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut actors = Command::new("node");
    actors
        .arg(sources().join("rivet.mjs"))
        .current_dir(packages()?)
        .env("RIVET_ENDPOINT", url(guard))
        .env("NODE_ENV", "production");
    processes.push(Killed::spawn(actors, &dir.with_extension("actors.log"))?);
    let side = Side { who: Who::Rivet, address: guard, processes: Processes::Theirs(processes) };
    side.ready("first").await
}

impl Side {
    /// Waits until an actor can be made.
    async fn ready(self, key: &str) -> anyhow::Result<Self> {
        let begun = Instant::now();
        loop {
            let made = async {
                let mut connection = Connection::open(self.address).await?;
                let patience = Duration::from_secs(10);
                tokio::time::timeout(patience, self.make(&mut connection, key, 1)).await?
            };
            match made.await {
                Ok(_) => return Ok(self),
                Err(error) if begun.elapsed() > READY_WITHIN => {
                    return Err(error.context("not ready in time"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// A process that is killed when this value is dropped.
struct Killed(Child);

impl Killed {
    fn spawn(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let log = File::create(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Self(child))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// An address on loopback with a free port.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The folder of this file, which has the configuration and the actors of the peers.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/peers")
}

/// The folder in which `make bench-peers` has installed the packages.
fn packages() -> anyhow::Result<PathBuf> {
    let dir = crate::summary::target_dir().join("peers");
    let missing = "the peers are not installed: run `make bench-peers`";
    dir.join("node_modules").canonicalize().context(missing)?;
    Ok(dir.canonicalize()?)
}

/// Evaluates an expression in Node.js: each package knows the path of its program for this machine.
fn in_node(expression: &str) -> anyhow::Result<PathBuf> {
    let mut node = Command::new("node");
    let output = node.args(["-p", expression]).current_dir(packages()?).output();
    let output = output.context("run node")?;
    if !output.status.success() {
        bail!("{expression}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
