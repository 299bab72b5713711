//! Rows that the processes on a store share: components, kinds, and the processes themselves.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::id::{Digest, NodeSession};

/// A kind: the component that answers to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindRow {
    /// Its name.
    pub kind: String,
    /// The component that new generations run.
    pub component: Digest,
    /// Settings, as the host wrote them (JSON).
    pub manifest: String,
    /// How often it was deployed; a change tells hosts to end old generations.
    pub version: u64,
}

/// A registered process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// This run of the process.
    pub session: NodeSession,
    /// The address where callers reach it.
    pub address: String,
    /// Moves with each of its signs of life.
    pub counter: u64,
    /// The program that runs there; `None`: a program that does not report it.
    pub process: Option<NodeProcess>,
    /// The address where other processes reach it; `None`: it takes no calls from them.
    pub peers: Option<String>,
    /// Whether it gives up its actors and takes no more.
    pub draining: bool,
    /// Its load at its last sign of life; `None`: a program that does not report it.
    pub load: Option<NodeLoad>,
}

/// What a process reports of itself with each sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeBeat {
    /// The address where callers reach it.
    pub address: String,
    /// The address where other processes reach it; `None`: it takes no calls from them.
    pub peers: Option<String>,
    /// Whether it gives up its actors and takes no more.
    pub draining: bool,
    /// Its load.
    pub load: NodeLoad,
    /// The program that reports; `None`: the one in which the store is open. Another one reaches
    /// the store through that one.
    pub program: Option<NodeProgram>,
}

/// A program that uses the store of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProgram {
    /// Its process's number on its machine.
    pub pid: u32,
    /// Its version.
    pub version: String,
}

impl NodeBeat {
    /// A report of an address and nothing else.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self { address: address.to_owned(), ..Self::default() }
    }

    /// Number and version of the program that reports.
    #[must_use]
    pub fn program(&self) -> (u32, String) {
        self.program.clone().map_or_else(
            || (std::process::id(), env!("CARGO_PKG_VERSION").to_owned()),
            |program| (program.pid, program.version),
        )
    }
}

/// How busy a process is, beside what it may use. A store keeps numbers up to `i64::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeLoad {
    /// Actors awake there.
    pub awake: u64,
    /// Actors that may be awake there.
    pub awake_max: u64,
    /// Bytes of memory that its guests have together.
    pub guest_bytes: u64,
    /// Bytes of memory that they may have together.
    pub guest_bytes_max: u64,
    /// Its use of the machine's cores in the last seconds, in thousandths of all of them.
    pub cpu_permille: u64,
}

impl NodeLoad {
    /// The largest part of an allowance that is used, in thousandths: memory, actors, or cores.
    #[must_use]
    pub fn permille(&self) -> u64 {
        let part = |used: u64, max: u64| {
            let thousandths = u128::from(used) * 1000 / u128::from(max.max(1));
            u64::try_from(thousandths).unwrap_or(u64::MAX)
        };
        let memory = part(self.guest_bytes, self.guest_bytes_max);
        memory.max(part(self.awake, self.awake_max)).max(self.cpu_permille)
    }

    /// Whether a smaller part of the actors that may be awake is awake there than elsewhere.
    #[must_use]
    pub fn has_fewer_awake(&self, other: &Self) -> bool {
        let own = u128::from(self.awake) * u128::from(other.awake_max);
        own < u128::from(other.awake) * u128::from(self.awake_max)
    }

    /// Its columns in the order of the fields, each as large as an engine's integer may be.
    #[must_use]
    pub fn columns(&self) -> [i64; 5] {
        let Self { awake, awake_max, guest_bytes, guest_bytes_max, cpu_permille } = *self;
        [awake, awake_max, guest_bytes, guest_bytes_max, cpu_permille]
            .map(|number| i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// The program of a registered process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProcess {
    /// Its number on its machine.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// The oldest and the newest format of a store that it serves.
    pub formats: (i32, i32),
}

/// Global rows, which are never part of a fenced step.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// Keeps a component. Writing the same digest again changes nothing.
    async fn put_component(&self, digest: Digest, wasm: Vec<u8>) -> Result<(), StoreError>;
    /// A component's bytes, digest verified.
    async fn component(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError>;
    /// Points a kind at a component; returns the row with its new version.
    async fn put_kind(
        &self,
        kind: &str,
        component: Digest,
        manifest: &str,
    ) -> Result<KindRow, StoreError>;
    /// One kind.
    async fn kind(&self, kind: &str) -> Result<Option<KindRow>, StoreError>;
    /// Kinds with a name after `after`, by name, at most `max` (bounded by
    /// [`super::LIST_ROWS_MAX`]).
    async fn kinds(&self, after: Option<&str>, max: usize) -> Result<Vec<KindRow>, StoreError>;
    /// Removes a kind; its component stays. Returns whether there was one. If the kind is put
    /// again, its version starts from the beginning.
    async fn remove_kind(&self, kind: &str) -> Result<bool, StoreError>;
    /// Registers this process, or moves its counter up: the sign of life that peers watch. The
    /// report replaces the former one.
    async fn node_beat(&self, session: NodeSession, beat: &NodeBeat) -> Result<(), StoreError>;
    /// Registered processes.
    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError>;
    /// Removes a process that has ended.
    async fn node_gone(&self, session: NodeSession) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcest_allowance_is_the_load() {
        let idle = NodeLoad { awake_max: 10, guest_bytes_max: 100, ..NodeLoad::default() };
        assert_eq!(idle.permille(), 0);
        assert_eq!(NodeLoad { cpu_permille: 300, ..idle }.permille(), 300);
        assert_eq!(NodeLoad { awake: 5, cpu_permille: 300, ..idle }.permille(), 500);
        let large = NodeLoad { guest_bytes: u64::MAX, guest_bytes_max: u64::MAX, ..idle };
        assert_eq!(large.permille(), 1000);
        assert_eq!(
            NodeLoad { awake: 1, ..NodeLoad::default() }.permille(),
            1000,
            "none is allowed"
        );
    }
}
