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
    /// The address where it is reached.
    pub address: String,
    /// Moves with each of its signs of life.
    pub counter: u64,
    /// The program that runs there; `None`: a program that does not report it.
    pub process: Option<NodeProcess>,
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
    /// Registers this process with its address, or moves its counter up: the sign of life that
    /// peers watch.
    async fn node_beat(&self, session: NodeSession, address: &str) -> Result<(), StoreError>;
    /// Registered processes.
    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError>;
    /// Removes a process that has ended.
    async fn node_gone(&self, session: NodeSession) -> Result<(), StoreError>;
}
