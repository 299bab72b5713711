//! The [`Store`] of the embedded files: limits and packing here, SQL in `read` and `write`.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::params;
use sha2::{Digest as _, Sha256};

use super::group::Size;
use super::staged::PackedChunk;
use super::write;
use super::{EmbeddedStore, check, due, import, read, retention, rows, staged};
use crate::error::{Limit, StoreError, StoreFailure, StoreFull};
use crate::fence::{Fence, Head};
use crate::id::{ActorId, DbId, Digest, NodeSession, Pgno, Shard, Txid};
use crate::store::limits::{self, LIST_ROWS_MAX, READ_PAGES_MAX};
use crate::store::packed::{INLINE_PAGES_MAX, PackedCommit, check_commit, check_step_bytes};
use crate::store::{
    ActorState, CheckAt, Checked, Cluster, Collected, CommitRow, CommitStep, Counted, CreateStep,
    Created, Destroyed, Directory, DueLook, DuePage, DueWork, Durable, Emptied, History, Holder,
    Import, Keep, KindRow, Look, NodeBeat, NodeRow, Ownership, PageVersion, Pages, PagesRead,
    SealStep, StageStep, Store, Superseded, TakenOver, TakeoverStep, VersionKey, Versions, sql,
};

/// What a step without pages writes, roughly.
const SMALL_STEP_BYTES: u64 = 1024;
/// In-memory state that a full store takes with a seal. 4 KiB: as much as the rest of the step.
const SMALL_SNAPSHOT_BYTES: u64 = 4096;
/// A step without pages that a full store takes.
const SMALL: Size = Size::Keeps(SMALL_STEP_BYTES);

#[async_trait]
impl Store for EmbeddedStore {
    fn shards(&self) -> u16 {
        self.files.count.into()
    }

    async fn check(&self, at: CheckAt) -> Result<Checked, StoreError> {
        if !self.files.global.is_file() {
            return Ok(check::check(&self.files, &at));
        }
        let files = Arc::clone(&self.files);
        // As long as the file is large: not on a thread of the runtime.
        let checked = tokio::task::spawn_blocking(move || check::check(&files, &at)).await;
        checked.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    async fn failed(&self) -> StoreFailure {
        self.files.failures.first().await
    }

    fn full(&self) -> Option<StoreFull> {
        self.files.room.as_ref().and_then(|room| room.full())
    }

    fn holder(&self, shard: Shard) -> Option<Holder> {
        self.files.shards.get(usize::from(shard.0))?.holder()
    }

    async fn close(&self) {
        if !self.files.global.is_file() {
            return self.files.close();
        }
        // Joins threads and syncs files: not on a thread of the runtime.
        let (files, keeper) = (Arc::clone(&self.files), self.keeper.clone());
        let close = move || {
            if let Some(keeper) = keeper {
                keeper.finish();
            }
            files.close();
        };
        if let Err(error) = tokio::task::spawn_blocking(close).await {
            tracing::error!(%error, "close store");
        }
    }
}

#[async_trait]
impl Ownership for EmbeddedStore {
    async fn create(&self, step: CreateStep) -> Result<Created, StoreError> {
        if step.actor.shard(self.files.count.into()) != step.db.shard() {
            let what = format!("database id {} is not of the shard of {}", step.db, step.actor);
            return Err(StoreError::Corrupt(what));
        }
        let file = self.shard_of(step.db)?;
        let work = move |conn: &_, now_ms| write::create(conn, &step, now_ms);
        file.write(Size::Grows(SMALL_STEP_BYTES), work).await
    }

    async fn actor(&self, actor: &ActorId) -> Result<Option<ActorState>, StoreError> {
        self.file_of(actor)?.read(|conn| read::actor(conn, actor))
    }

    async fn take_over(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        let file = self.shard_of(step.db)?;
        file.write(SMALL, move |conn, _| write::take_over(conn, &step)).await
    }

    async fn confirm(&self, fences: &[Fence]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let mut answers: Vec<Result<(), StoreError>> =
            fences.iter().map(|fence| Err(StoreError::DatabaseMissing(fence.db))).collect();
        for (shard, file) in self.files.shards.iter().enumerate() {
            let of_shard = |fence: &Fence| usize::from(fence.db.shard().0) == shard;
            let (places, asked): (Vec<usize>, Vec<Fence>) =
                fences.iter().copied().enumerate().filter(|(_, fence)| of_shard(fence)).unzip();
            if asked.is_empty() {
                continue;
            }
            // A shard that cannot be read speaks for its own databases only.
            let found = file
                .read(|conn| read::confirm(conn, &asked))
                .unwrap_or_else(|error| vec![Err(error); asked.len()]);
            for (place, answer) in places.into_iter().zip(found) {
                answers[place] = answer;
            }
        }
        Ok(answers)
    }

    async fn seal(&self, step: SealStep) -> Result<Head, StoreError> {
        let bytes = limits::len(step.snapshot.as_ref().map_or(0, Vec::len));
        limits::check(Limit::SnapshotBytes, bytes, limits::SNAPSHOT_BYTES_MAX)?;
        let file = self.shard_of(step.fence.db)?;
        let size = match bytes {
            // Most states are small, and lost if their seal is refused.
            0..=SMALL_SNAPSHOT_BYTES => Size::Keeps(SMALL_STEP_BYTES + bytes),
            bytes => Size::Grows(SMALL_STEP_BYTES + bytes),
        };
        file.write(size, move |conn, _| write::seal(conn, &step)).await
    }

    async fn claim(&self, owner: NodeSession, heirs: &[Fence]) -> Result<(), StoreError> {
        let mut result = Ok(());
        for (shard, file) in self.files.shards.iter().enumerate() {
            let of_shard = |fence: &&Fence| usize::from(fence.db.shard().0) == shard;
            let heirs: Vec<Fence> = heirs.iter().filter(of_shard).copied().collect();
            for some in heirs.chunks(limits::CLAIM_HEIRS_MAX) {
                let (some, bytes) = (some.to_vec(), limits::len(some.len()) * 64);
                let claim = move |conn: &_, _| write::claim(conn, owner, &some);
                // A shard that cannot be written speaks for its own databases only.
                result = result.and(file.write(Size::Keeps(bytes), claim).await);
            }
        }
        result
    }
}

#[async_trait]
impl Pages for EmbeddedStore {
    async fn read(&self, fence: Fence, at: Txid, pages: &[Pgno]) -> Result<PagesRead, StoreError> {
        let (asked, max) = (limits::len(pages.len()), limits::len(READ_PAGES_MAX));
        limits::check(Limit::PagesPerRead, asked, max)?;
        let file = self.shard_of(fence.db)?;
        if let &[pgno] = pages {
            let (page, found) = file.read(|conn| read::fenced_page(conn, &fence, at, pgno))?;
            let page = match page {
                Some(page) => page,
                None => self.page_of_bases(fence.db, at, pgno, found.base)?,
            };
            return Ok(PagesRead { head_txid: found.head_txid, pages: vec![page] });
        }
        let found = file.read(|conn| read::fenced_pages(conn, &fence, at, pages))?;
        let pages = self.in_order(fence.db, at, pages, &found)?;
        Ok(PagesRead { head_txid: found.head_txid, pages })
    }

    async fn stage(&self, step: StageStep) -> Result<(), StoreError> {
        check_step_bytes(step.pages.len())?;
        let last = step.pages.last().map_or(0, |(pgno, _)| pgno.0);
        limits::check(Limit::DatabasePages, last.into(), limits::DATABASE_PAGES_MAX.into())?;
        let file = self.shard_of(step.fence.db)?;
        let packed = if step.pages.len() > INLINE_PAGES_MAX && file.is_file() {
            tokio::task::spawn_blocking(move || PackedChunk::new(step))
                .await
                .map_err(|error| StoreError::Unavailable(error.to_string()))??
        } else {
            PackedChunk::new(step)?
        };
        let size = Size::Grows(packed.bytes());
        file.write(size, move |conn, _| staged::stage(conn, &packed)).await
    }

    async fn collect_stages(&self, fence: Fence) -> Result<Collected, StoreError> {
        let file = self.shard_of(fence.db)?;
        // Most databases have nothing to collect: looking costs no write.
        if file.read(|conn| staged::left(conn, &fence))?.is_none() {
            return Ok(Collected::default());
        }
        let bytes = u64::from(limits::COLLECT_ROWS_MAX) * 64;
        file.write(Size::Keeps(bytes), move |conn, _| staged::collect(conn, &fence)).await
    }

    async fn commit(&self, step: CommitStep) -> Result<(), StoreError> {
        self.commit_telling(step, None).await
    }

    async fn commit_and_tell(&self, step: CommitStep, durable: Durable) -> Result<(), StoreError> {
        self.commit_telling(step, Some(durable)).await
    }

    async fn verdict(
        &self,
        db: DbId,
        txid: Txid,
    ) -> Result<(Option<Head>, Option<CommitRow>), StoreError> {
        self.shard_of(db)?.read(|conn| read::verdict(conn, db, txid))
    }
}

#[async_trait]
impl Versions for EmbeddedStore {
    async fn read_at(
        &self,
        db: DbId,
        at: Txid,
        from: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        let file = self.shard_of(db)?;
        let count = file.read(|conn| read::page_count_at(conn, db, at))?;
        let max = u32::try_from(max.min(READ_PAGES_MAX)).unwrap_or(u32::MAX);
        let first = from.0.max(1);
        let end = first.saturating_add(max).min(count.0.saturating_add(1));
        let pages: Vec<Pgno> = (first..end).map(Pgno).collect();
        if pages.is_empty() {
            return Ok(Vec::new());
        }
        // Two statements, one answer: versions as of a txid do not change between them.
        let found = file.read(|conn| read::pages_at(conn, db, at, &pages))?;
        self.in_order(db, at, &pages, &found)
    }

    async fn commits(
        &self,
        db: DbId,
        after: Txid,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError> {
        let max = max.min(LIST_ROWS_MAX);
        self.shard_of(db)?.read(|conn| read::commits(conn, db, after, max))
    }

    async fn commit_pages(
        &self,
        db: DbId,
        txid: Txid,
        after: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        let max = max.min(READ_PAGES_MAX);
        self.shard_of(db)?.read(|conn| read::commit_pages(conn, db, txid, after, max))
    }

    async fn history(&self, db: DbId) -> Result<Option<History>, StoreError> {
        self.shard_of(db)?.read(|conn| retention::history(conn, db))
    }

    async fn raise_floor(&self, db: DbId, keep: Keep) -> Result<History, StoreError> {
        let file = self.shard_of(db)?;
        let ages = Arc::clone(file.ages());
        file.write(SMALL, move |conn, _| retention::raise_floor(conn, db, keep, &ages)).await
    }

    async fn superseded(&self, db: DbId, after: VersionKey) -> Result<Look, StoreError> {
        self.shard_of(db)?.read(|conn| retention::superseded(conn, db, after))
    }

    async fn trim_pages(&self, rows: Vec<Superseded>) -> Result<u64, StoreError> {
        let Some(first) = rows.first() else {
            return Ok(0);
        };
        let (file, bytes) = (self.shard_of(first.db)?, limits::len(rows.len()) * 64);
        file.write(Size::Keeps(bytes), move |conn, _| retention::trim_pages(conn, &rows)).await
    }

    async fn trim_commits(&self, db: DbId, below: Txid) -> Result<u64, StoreError> {
        let bytes = u64::from(limits::TRIM_ROWS_MAX) * 64;
        let work = move |conn: &_, _| retention::trim_commits(conn, db, below);
        self.shard_of(db)?.write(Size::Keeps(bytes), work).await
    }

    async fn pin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        let bytes = limits::len(name.len());
        limits::check(Limit::PinNameBytes, bytes, limits::PIN_NAME_BYTES_MAX)?;
        let name = name.to_owned();
        let work = move |conn: &_, _| retention::pin(conn, db, txid, &name);
        self.shard_of(db)?.write(SMALL, work).await
    }

    async fn unpin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        let work = move |conn: &_, _| retention::unpin(conn, db, txid, &name);
        self.shard_of(db)?.write(SMALL, work).await
    }
}

#[async_trait]
impl Import for EmbeddedStore {
    async fn take_over_import(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        let file = self.shard_of(step.db)?;
        file.write(SMALL, move |conn, _| import::take_over(conn, &step)).await
    }

    async fn empty_import(&self, fence: Fence) -> Result<Emptied, StoreError> {
        let file = self.shard_of(fence.db)?;
        let bytes = u64::from(limits::DESTROY_ROWS_MAX) * 64;
        file.write(Size::Keeps(bytes), move |conn, _| import::empty(conn, &fence)).await
    }

    async fn finish_import(&self, fence: Fence, base: Txid) -> Result<Head, StoreError> {
        let file = self.shard_of(fence.db)?;
        file.write(SMALL, move |conn, _| import::finish(conn, &fence, base)).await
    }
}

#[async_trait]
impl Directory for EmbeddedStore {
    async fn actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError> {
        let max = max.min(LIST_ROWS_MAX);
        let mut found = Vec::new();
        for file in &self.files.shards {
            found.extend(file.read(|conn| read::actors(conn, kind, after, max))?);
        }
        found.sort_by(|one, other| one.row.actor.cmp(&other.row.actor));
        found.truncate(max);
        Ok(found)
    }

    async fn count(&self, kind: &str, shard: Shard, after: &str) -> Result<Counted, StoreError> {
        let Some(file) = self.files.shards.get(usize::from(shard.0)) else {
            return Ok(Counted::default());
        };
        file.read(|conn| read::count(conn, kind, after))
    }

    async fn destroying(&self, max: usize) -> Result<Vec<ActorState>, StoreError> {
        let max = max.min(LIST_ROWS_MAX);
        let mut found = Vec::new();
        for file in &self.files.shards {
            let most = [rows::limit(max)];
            found.extend(file.read(|conn| read::all(conn, sql::DESTROYING, most, rows::actor))?);
        }
        found.truncate(max);
        Ok(found)
    }

    async fn destroy(&self, actor: &ActorId, fence: Fence) -> Result<Destroyed, StoreError> {
        let file = self.shard_of(fence.db)?;
        let actor = actor.clone();
        let bytes = u64::from(limits::DESTROY_ROWS_MAX) * 64;
        let work = move |conn: &_, _| write::destroy(conn, &actor, &fence);
        let destroyed = file.write(Size::Keeps(bytes), work).await;
        if destroyed == Ok(Destroyed::Gone) {
            file.ages().forget(fence.db);
        }
        destroyed
    }

    async fn rows_of(&self, db: DbId) -> Result<u64, StoreError> {
        self.shard_of(db)?.read(|conn| read::rows_of(conn, db))
    }
}

#[async_trait]
impl DueWork for EmbeddedStore {
    async fn due(&self, look: DueLook) -> Result<DuePage, StoreError> {
        let now = i64::try_from(self.files.global.ages().now_ms()).unwrap_or(i64::MAX);
        let mut parts = Vec::new();
        for shard in &look.shards {
            if let Some(file) = self.files.shards.get(usize::from(shard.0)) {
                parts.push(file.read(|conn| due::due(conn, &look))?);
            }
        }
        Ok(DuePage::merged(parts, look.rows_max(), now))
    }

    async fn settle_due(&self, fence: Fence, at: Txid, due: Option<i64>) -> Result<(), StoreError> {
        let file = self.shard_of(fence.db)?;
        file.write(SMALL, move |conn, _| due::settle(conn, &fence, at, due)).await
    }
}

#[async_trait]
impl Cluster for EmbeddedStore {
    async fn put_component(&self, digest: Digest, wasm: Vec<u8>) -> Result<(), StoreError> {
        let bytes = limits::len(wasm.len());
        limits::check(Limit::ComponentBytes, bytes, limits::COMPONENT_BYTES_MAX)?;
        verify_component(digest, &wasm)?;
        let work = move |conn: &_, _| {
            write::statement(conn, sql::COMPONENT_INSERT, params![&digest.0[..], wasm])
        };
        self.files.global.write(Size::Grows(SMALL_STEP_BYTES + bytes), work).await
    }

    async fn component(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let wasm = self.files.global.read(|conn| {
            let row = |row: &rusqlite::Row<'_>| rows::blob(row, 0).map(<[u8]>::to_vec);
            write::one(conn, sql::COMPONENT, [&digest.0[..]], row)
        })?;
        if let Some(wasm) = &wasm {
            verify_component(digest, wasm)?;
        }
        Ok(wasm)
    }

    async fn put_kind(
        &self,
        kind: &str,
        component: Digest,
        manifest: &str,
    ) -> Result<KindRow, StoreError> {
        let bytes = limits::len(manifest.len());
        limits::check(Limit::ManifestBytes, bytes, limits::MANIFEST_BYTES_MAX)?;
        let (kind, manifest) = (kind.to_owned(), manifest.to_owned());
        let work = move |conn: &_, _| write::put_kind(conn, &kind, &component.0, &manifest);
        self.files.global.write(Size::Grows(SMALL_STEP_BYTES + bytes), work).await
    }

    async fn kind(&self, kind: &str) -> Result<Option<KindRow>, StoreError> {
        self.files
            .global
            .read(|conn| write::one(conn, sql::KIND, [kind], |row| rows::kind_of(row, kind)))
    }

    async fn kinds(&self, after: Option<&str>, max: usize) -> Result<Vec<KindRow>, StoreError> {
        // No kind has an empty name.
        let params = (after.unwrap_or(""), rows::limit(max.min(LIST_ROWS_MAX)));
        self.files.global.read(|conn| read::all(conn, sql::KINDS, params, rows::kind_listed))
    }

    async fn remove_kind(&self, kind: &str) -> Result<bool, StoreError> {
        let kind = kind.to_owned();
        let work = move |conn: &_, _| Ok(write::execute(conn, sql::KIND_DELETE, [kind])? > 0);
        self.files.global.write(SMALL, work).await
    }

    async fn node_beat(&self, session: NodeSession, beat: &NodeBeat) -> Result<(), StoreError> {
        let (pid, version) = beat.program();
        let NodeBeat { address, peers, draining, load, program: _ } = beat.clone();
        let [awake, awake_max, bytes, bytes_max, cpu] = load.columns();
        let work = move |conn: &_, _| {
            let params = params![
                &session.0[..],
                address,
                pid,
                version,
                sql::FORMAT,
                sql::FORMAT,
                peers,
                draining,
                awake,
                awake_max,
                bytes,
                bytes_max,
                cpu
            ];
            write::statement(conn, sql::NODE_BEAT, params)
        };
        self.files.global.write_quietly(SMALL, work).await
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let nodes = |conn: &_| read::all(conn, sql::NODES, [], |row| rows::node(row));
        let nodes = self.files.global.read(nodes)?;
        self.files.addresses.learn(&nodes);
        Ok(nodes)
    }

    async fn node_gone(&self, session: NodeSession) -> Result<(), StoreError> {
        let work = move |conn: &_, _| write::statement(conn, sql::NODE_GONE, [&session.0[..]]);
        self.files.global.write_quietly(SMALL, work).await
    }
}

impl EmbeddedStore {
    async fn commit_telling(
        &self,
        step: CommitStep,
        durable: Option<Durable>,
    ) -> Result<(), StoreError> {
        check_commit(&step)?;
        let file = self.shard_of(step.fence.db)?;
        let (db, txid) = (step.fence.db, step.base.next());
        let packed = if step.pages.len() > INLINE_PAGES_MAX && file.is_file() {
            tokio::task::spawn_blocking(move || PackedCommit::new(&step))
                .await
                .map_err(|error| StoreError::Unavailable(error.to_string()))??
        } else {
            PackedCommit::new(&step)?
        };
        let bytes = write::bytes_of(&packed.pages);
        let ages = Arc::clone(file.ages());
        let work = move |conn: &_, now_ms| {
            let time_ms = write::commit(conn, &packed, now_ms)?;
            ages.committed(db, txid, time_ms);
            Ok(())
        };
        file.write_and_tell(Size::Grows(bytes), work, durable).await
    }

    /// The file with all rows of an actor.
    fn file_of(&self, actor: &ActorId) -> Result<&super::DataFile, StoreError> {
        let shard = actor.shard(self.files.count.into());
        Ok(&self.files.shards[usize::from(shard.0)])
    }

    /// The pages in the order asked for, those that are not there from the bases.
    fn in_order(
        &self,
        db: DbId,
        at: Txid,
        pages: &[Pgno],
        found: &read::Found,
    ) -> Result<Vec<PageVersion>, StoreError> {
        let mut older: HashMap<Pgno, PageVersion> = HashMap::new();
        let mut result = Vec::with_capacity(pages.len());
        for pgno in pages {
            if let Some(page) = found.pages.get(pgno).or_else(|| older.get(pgno)) {
                result.push(page.clone());
                continue;
            }
            let page = self.page_of_bases(db, at, *pgno, found.base)?;
            older.insert(*pgno, page.clone());
            result.push(page);
        }
        Ok(result)
    }

    /// A page that a database left to its base: asked of each base in turn.
    ///
    /// A base may be in another shard. Its versions are pinned and never change, so the fence of
    /// the statement that named the base covers this answer too.
    fn page_of_bases(
        &self,
        db: DbId,
        at: Txid,
        pgno: Pgno,
        mut base: Option<(DbId, Txid)>,
    ) -> Result<PageVersion, StoreError> {
        for _ in 0..limits::BASE_DEPTH_MAX {
            let Some((base_db, base_txid)) = base else {
                break;
            };
            let (page, next) = self
                .shard_of(base_db)?
                .read(|conn| read::base_page(conn, base_db, base_txid, pgno))?;
            if let Some(page) = page {
                return Ok(page);
            }
            base = next;
        }
        Err(StoreError::Corrupt(format!("page {pgno} of {db} as of txid {at} has no row")))
    }
}

fn verify_component(digest: Digest, wasm: &[u8]) -> Result<(), StoreError> {
    if Sha256::digest(wasm)[..] == digest.0 {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!("the bytes of component {digest} have another digest")))
}
