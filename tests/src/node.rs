//! Nodes that share a store and pass calls on to each other: programs with data directories of their
//! own, keys of one authority, and addresses that stay the same across a restart.
//!
//! ```text
//! DIR/keys/{ca,one,two,..}.pem      DIR/one, DIR/two, ..: a data directory each
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value as Json;

use crate::program::{self, Addresses, Program};

/// How long nodes may take to know each other, and an address may be taken by another process.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all nodes of a store have in common.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The folder of keys and data directories.
    pub dir: PathBuf,
    /// The address of the store.
    pub store: String,
    /// The lease of each node.
    pub lease: Duration,
    /// Further flags.
    pub flags: Vec<String>,
}

impl Shared {
    /// Makes an authority and keys for nodes of these names, by the program's own command.
    ///
    /// # Errors
    /// The command failed.
    pub fn make_keys(&self, names: &[&str]) -> anyhow::Result<()> {
        let keys = self.dir.join("keys");
        let dir = keys.to_str().context("a path that can be an argument")?;
        let (code, _, error) = program::run(&[&["peer-keys", dir][..], names].concat())?;
        ensure!(code == 0, "stockade peer-keys: {error}");
        Ok(())
    }
}

/// A node, running or not.
pub struct Node {
    /// Its name: of its keys and of its data directory.
    pub name: String,
    shared: Shared,
    /// Puts a program elsewhere, like `ip netns exec NAME`.
    prefix: Vec<String>,
    at: Addresses,
    program: Option<Program>,
}

impl Node {
    /// Starts a node on free ports of the loopback interface.
    ///
    /// # Errors
    /// The program is not ready.
    pub fn start(shared: &Shared, name: &str) -> anyhow::Result<Self> {
        let free = || "127.0.0.1:0".to_owned();
        let at = Addresses { listen: free(), admin: free(), peers: Some(free()) };
        Self::start_at(shared, name, at, Vec::new())
    }

    /// Starts a node at these addresses, by a command whose last argument is the program's path.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_at(
        shared: &Shared,
        name: &str,
        at: Addresses,
        prefix: Vec<String>,
    ) -> anyhow::Result<Self> {
        let (name, shared) = (name.to_owned(), shared.clone());
        let mut node = Self { name, shared, prefix, at, program: None };
        node.restart()?;
        Ok(node)
    }

    /// Starts it where it was before.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(self.program.is_none(), "{} runs", self.name);
        let begun = Instant::now();
        let program = loop {
            match self.serve() {
                Ok(program) => break program,
                // A connection that another process has made may have its port for a moment.
                Err(error) if format!("{error:#}").contains("in use") => {
                    ensure!(begun.elapsed() < PATIENCE, "{error:#}");
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error),
            }
        };
        self.at = program.addresses();
        self.program = Some(program);
        Ok(())
    }

    fn serve(&self) -> anyhow::Result<Program> {
        let Self { name, shared, at, .. } = self;
        let file = |name: String| shared.dir.join("keys").join(name).display().to_string();
        let mut flags = at.flags();
        let own = [
            ("--store", shared.store.clone()),
            ("--lease-ms", shared.lease.as_millis().to_string()),
            ("--peer-cert", file(format!("{name}.pem"))),
            ("--peer-key", file(format!("{name}-key.pem"))),
            ("--peer-ca", file("ca.pem".to_owned())),
        ];
        flags.extend(own.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        flags.extend(shared.flags.iter().cloned());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Program::serve_by(self.command()?, &self.data(), &flags)
    }

    fn command(&self) -> anyhow::Result<Command> {
        let path = program::path()?;
        let Some((first, rest)) = self.prefix.split_first() else {
            return Ok(Command::new(path));
        };
        let mut command = Command::new(first);
        command.args(rest).arg(path);
        Ok(command)
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.shared.dir.join(&self.name)
    }

    /// Where it listens, or has listened.
    #[must_use]
    pub fn at(&self) -> &Addresses {
        &self.at
    }

    /// Its program, if it runs.
    #[must_use]
    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    /// Its program.
    ///
    /// # Errors
    /// It does not run.
    pub fn running(&self) -> anyhow::Result<&Program> {
        self.program.as_ref().with_context(|| format!("{} does not run", self.name))
    }

    /// Sends SIGKILL, and waits until the program is gone.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.program.take().with_context(|| format!("{} does not run", self.name))?.kill()
    }

    /// Sends SIGTERM, and waits until the program has ended in order.
    ///
    /// # Errors
    /// It does not run, or does not end in order.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.program.take().with_context(|| format!("{} does not run", self.name))?.stop()
    }

    /// The end of its log, for the text of a failure.
    #[must_use]
    pub fn autopsy(&self) -> String {
        let of = |program: &Program| format!("{}: {}", self.name, program.autopsy());
        self.program.as_ref().map_or_else(|| format!("{} does not run", self.name), of)
    }
}

/// The processes on the store, as a node lists them.
///
/// # Errors
/// The node does not answer.
pub fn listed(program: &Program) -> anyhow::Result<Vec<Json>> {
    let answer = program.admin_get("/admin/nodes")?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(answer.body["nodes"].as_array().cloned().unwrap_or_default())
}

/// Waits until each of these nodes, if it runs, knows that all of those that run are alive.
///
/// # Errors
/// They do not come to know each other.
pub fn meet<'a>(nodes: impl Iterator<Item = &'a Node> + Clone) -> anyhow::Result<()> {
    let begun = Instant::now();
    let running = nodes.clone().filter_map(Node::program).count();
    for program in nodes.filter_map(Node::program) {
        loop {
            let alive = listed(program)?.iter().filter(|node| node["alive"] == true).count();
            if alive == running {
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "{alive} of {running} nodes know each other");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// The folder that cargo builds into, of the test or the program that runs.
///
/// # Errors
/// It runs from elsewhere.
pub fn target() -> anyhow::Result<PathBuf> {
    // <target>/<profile>/deps/<this test>, or <target>/<profile>/<this program>
    let own = std::env::current_exe()?;
    let folders = if own.parent().is_some_and(|folder| folder.ends_with("deps")) { 3 } else { 2 };
    own.ancestors().nth(folders).map(Path::to_owned).context("a build folder")
}
