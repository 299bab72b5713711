//! What all machines share and no fenced step touches: components, kinds, registered processes.

use sha2::{Digest as _, Sha256};
use stockade_depot::store::{KindRow, LIST_ROWS_MAX, NodeBeat, NodeRow, limits};
use stockade_depot::{Digest, Limit, NodeSession, StoreError};

use crate::connection::params;
use crate::limits::COMPONENT_DEADLINE;
use crate::primary::Primary;
use crate::rows;
use crate::schema::SCHEMA_VERSION;
use crate::sql::cluster as sql;

impl Primary {
    pub(crate) async fn keep_component(
        &self,
        digest: Digest,
        wasm: &[u8],
    ) -> Result<(), StoreError> {
        let bytes = limits::len(wasm.len());
        limits::check(Limit::ComponentBytes, bytes, limits::COMPONENT_BYTES_MAX)?;
        verify_component(digest, wasm)?;
        let row = params![&digest.0[..], wasm];
        self.link.change_within(COMPONENT_DEADLINE, sql::COMPONENT_INSERT, row).await.map(drop)
    }

    pub(crate) async fn find_component(
        &self,
        digest: Digest,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let asked = params![&digest.0[..]];
        let found = self.link.read_within(COMPONENT_DEADLINE, sql::COMPONENT, asked).await?;
        let Some(row) = found.first() else { return Ok(None) };
        let wasm = rows::blob(row, 0)?;
        verify_component(digest, wasm)?;
        Ok(Some(wasm.to_vec()))
    }

    pub(crate) async fn point_kind(
        &self,
        kind: &str,
        component: Digest,
        manifest: &str,
    ) -> Result<KindRow, StoreError> {
        let bytes = limits::len(manifest.len());
        limits::check(Limit::ManifestBytes, bytes, limits::MANIFEST_BYTES_MAX)?;
        let row = params![kind, &component.0[..], manifest];
        match self.link.write_row(sql::KIND_PUT, row).await? {
            Some(row) => rows::kind(&row),
            None => Err(StoreError::Corrupt(format!("kind {kind} was not written"))),
        }
    }

    pub(crate) async fn find_kind(&self, kind: &str) -> Result<Option<KindRow>, StoreError> {
        let found = self.link.read_row(sql::KIND, params![kind]).await?;
        found.map(|row| rows::kind(&row)).transpose()
    }

    pub(crate) async fn list_kinds(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<KindRow>, StoreError> {
        // No kind has an empty name.
        let (after, most) = (after.unwrap_or(""), rows::limit(max.min(LIST_ROWS_MAX)));
        let found = self.link.read(sql::KINDS, params![after, most]).await?;
        found.iter().map(rows::kind).collect()
    }

    pub(crate) async fn drop_kind(&self, kind: &str) -> Result<bool, StoreError> {
        Ok(self.link.change(sql::KIND_DELETE, params![kind]).await? > 0)
    }

    pub(crate) async fn beat(
        &self,
        session: NodeSession,
        beat: &NodeBeat,
    ) -> Result<(), StoreError> {
        let NodeBeat { address, peers, draining, load, program: _ } = beat;
        let (pid, version) = beat.program();
        let pid = i64::from(pid);
        let schema = i64::from(SCHEMA_VERSION);
        let [awake, awake_max, bytes, bytes_max, cpu] = load.columns();
        let draining = i64::from(*draining);
        let row = params![
            &session.0[..],
            address.as_str(),
            pid,
            version.as_str(),
            schema,
            schema,
            peers.as_deref(),
            draining,
            awake,
            awake_max,
            bytes,
            bytes_max,
            cpu
        ];
        self.link.change(sql::NODE_BEAT, row).await.map(drop)
    }

    pub(crate) async fn list_nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.link.read(sql::NODES, &[]).await?.iter().map(rows::node).collect()
    }

    pub(crate) async fn remove_node(&self, session: NodeSession) -> Result<(), StoreError> {
        self.link.change(sql::NODE_GONE, params![&session.0[..]]).await.map(drop)
    }
}

fn verify_component(digest: Digest, wasm: &[u8]) -> Result<(), StoreError> {
    if Sha256::digest(wasm)[..] == digest.0 {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!("the bytes of component {digest} have another digest")))
}
