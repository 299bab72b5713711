//! `stockade import`: a plain SQLite file becomes an actor.
//!
//! ```text
//!  FILE, its WAL or hot journal ─> a private copy, recovered ─> the host, or the store itself
//!                                  both check it once more before they take a page of it
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::Value as Json;
use stockade_depot::history::Progress;
use stockade_depot::{ActorId, Depot, DepotLimits, NodeSession, PAGE_SIZE, TokioParker};

use super::Context;
use super::client::Client;
use super::failure::Failure;
use super::offline::{Offline, Place, failure};
use super::output::{bytes, cell};
use super::target::{Target, segment};
use stockade::Intake;
use stockade::error::HostError;
use stockade::host::{Manifest, import_into};
use stockade_server::{SQLITE_CONTENT_TYPE, imported_to_json};

const BAR: &str = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
const CHECKING: &str = "{spinner} PRAGMA integrity_check, import ({elapsed})";

/// Make an actor of a plain SQLite file
///
/// FILE is only read: a copy of it is checked with PRAGMA integrity_check. A WAL or a hot journal
/// beside it is carried over; another page size than 4096 is converted, which may change the rowids
/// of tables without an INTEGER PRIMARY KEY. Nothing is imported over an actor that exists; an
/// import that was interrupted is repeated.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade import counter/bob old.sqlite
  stockade import counter/bob old.sqlite --data-dir ./data      without a server")]
pub(super) struct Import {
    /// The actor, KIND/KEY; the kind must be deployed
    actor: Target,
    /// The database
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl Import {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let actor = &self.actor.0;
        ActorId::new(actor.kind(), actor.key()).map_err(HostError::from)?;
        if self.place.is_named() {
            // Before anything uses SQLite: the memory that the file can make SQLite use is bounded
            // here as in a server.
            stockade::internal::install_heap();
        }
        let document = match self.place.open()? {
            Some(offline) => self.offline(context, &offline)?,
            None => self.upload(context, &context.admin()?)?,
        };
        context.output.result(&document, told)?;
        Ok(ExitCode::SUCCESS)
    }

    fn upload(&self, context: &Context, client: &Client) -> Result<Json, Failure> {
        // Refused first, so that nothing is copied in vain.
        client.get(&format!("/admin/kinds/{}", segment(self.actor.0.kind())))?;
        let intake = self.copy(&std::env::temp_dir(), u64::MAX)?;
        let path = intake.recover().map_err(HostError::from)?;
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) = opened.map_err(|error| Failure::file("read", path, &error))?;
        let bar = context.output.progress(Some(length), BAR);
        let mut body = Counted { file, bar: bar.clone(), left: length };
        let route = format!("/admin/actors{}/import", self.actor.path());
        let answer = client.upload(&route, SQLITE_CONTENT_TYPE, length, &mut body);
        bar.finish_and_clear();
        answer?.json()
    }

    fn offline(&self, context: &Context, offline: &Offline) -> Result<Json, Failure> {
        let actor = &self.actor.0;
        let kind = actor.kind().to_owned();
        let row = offline.runtime.block_on(offline.store.kind(&kind)).map_err(failure)?;
        let row = row.ok_or(HostError::KindMissing { kind })?;
        let manifest: Manifest = serde_json::from_str(&row.manifest)
            .map_err(|error| HostError::Manifest(error.to_string()))?;
        let limits = manifest.limits;
        let intake = self.copy(&std::env::temp_dir(), limits.database_bytes_max)?;
        let depot = depot(offline)?;
        let bar = context.output.progress(None, CHECKING);
        let page = u64::try_from(PAGE_SIZE).unwrap_or(u64::MAX);
        let counted = bar.clone();
        let mut tell = move |progress: Progress| {
            counted.set_length(progress.total * page);
            counted.set_position(progress.done * page);
        };
        let imported = import_into(&depot, actor, row.component, intake, limits, &mut tell);
        let imported = offline.runtime.block_on(imported);
        bar.finish_and_clear();
        Ok(imported_to_json(actor, &imported?))
    }

    fn copy(&self, scratch: &Path, bytes_max: u64) -> Result<Intake, Failure> {
        let intake = Intake::new(scratch).map_err(HostError::from)?;
        intake.copy(&self.file, bytes_max).map_err(HostError::from)?;
        Ok(intake)
    }
}

/// A depot of this process alone. The store need not know the process: a finished import has no
/// owner.
fn depot(offline: &Offline) -> Result<Arc<Depot>, Failure> {
    let mut node = [0; 16];
    getrandom::fill(&mut node).map_err(|error| Failure::local(format!("random bytes: {error}")))?;
    let handle = offline.runtime.handle().clone();
    let parker = Arc::new(TokioParker(handle.clone()));
    let store = Arc::clone(&offline.store);
    Ok(Depot::new(store, NodeSession(node), DepotLimits::default(), parker, handle))
}

fn told(document: &Json) -> String {
    let size = bytes(document["bytes"].as_u64().unwrap_or(0));
    let (actor, pages) = (cell(&document["actor"]), cell(&document["pages"]));
    format!("{actor} is imported: {size}, {pages} pages, integrity ok")
}

/// A file that advances a progress bar while it is read.
struct Counted {
    file: File,
    bar: ProgressBar,
    left: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let count = u64::try_from(read).unwrap_or(0);
        self.bar.inc(count);
        self.left = self.left.saturating_sub(count);
        if read == 0 && self.left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read)
    }
}
