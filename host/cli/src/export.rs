//! `stockade export`: an actor's database as a plain SQLite file.
//!
//! ```text
//!  bytes ─> OUT.partial-<pid> ─> length ─> integrity_check ─> sync ─> OUT, in one step
//! ```
//! OUT is never half a database: the file appears complete and checked, or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;
use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use stockade_depot::PAGE_SIZE;
use stockade_depot::history::{self, ExportError};

use super::Context;
use super::client::Client;
use super::failure::Failure;
use super::offline::{Offline, Place};
use super::output::bytes;
use super::target::Target;
use stockade::error::HostError;
use stockade_server::TXID_HEADER;

const BAR: &str = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
/// Bytes per read.
const CHUNK_BYTES: usize = 256 * 1024;
/// The most lines of `PRAGMA integrity_check` that an error shows.
const FAULTS_TOLD: usize = 10;

/// Write an actor's database to a plain SQLite file, asleep or awake
///
/// The file is the state of the newest durable commit, checked with PRAGMA integrity_check before
/// it gets its name. The actor is not disturbed.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade export counter/alice alice.sqlite
  stockade export counter/alice alice.sqlite --force
  stockade export counter/alice alice.sqlite --data-dir ./data      without a server
  stockade export counter/alice alice.sqlite --store ADDRESS        likewise, the store there")]
pub(super) struct Export {
    /// The actor, KIND/KEY
    actor: Target,
    /// Where to write
    out: PathBuf,
    /// Replace OUT if it exists
    #[arg(long, short)]
    force: bool,
    #[command(flatten)]
    place: Place,
}

impl Export {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        if !self.force && self.out.symlink_metadata().is_ok() {
            let why = "it exists; --force replaces it";
            return Err(Failure::file("write", &self.out, &why));
        }
        let mut partial = Partial::create(&self.out)?;
        let (length, txid) = match self.place.open()? {
            Some(offline) => self.offline(context, &offline, &mut partial)?,
            None => self.download(context, &context.admin()?, &mut partial)?,
        };
        let bar = context.output.progress(None, "{spinner} PRAGMA integrity_check ({elapsed})");
        let checked = partial.check(length);
        bar.finish_and_clear();
        checked?;
        partial.name(&self.out, self.force)?;
        let document = json!({
            "actor": self.actor.0.to_string(),
            "file": self.out.display().to_string(),
            "bytes": length,
            "txid": txid,
            "integrity_check": "ok",
        });
        context.output.result(&document, |_| self.done(length, txid))?;
        Ok(ExitCode::SUCCESS)
    }

    fn done(&self, length: u64, txid: u64) -> String {
        let out = self.out.display();
        format!("{} as of txid {txid}: {out}, {}, integrity ok", self.actor.0, bytes(length))
    }

    fn download(
        &self,
        context: &Context,
        client: &Client,
        partial: &mut Partial,
    ) -> Result<(u64, u64), Failure> {
        let path = format!("/admin/actors{}/export", self.actor.path());
        let mut response = client.download(&path)?;
        let number = |name: &str| -> Option<u64> {
            response.headers().get(name)?.to_str().ok()?.parse().ok()
        };
        let (Some(length), Some(txid)) = (number("content-length"), number(TXID_HEADER)) else {
            return Err(Failure::strange_answer(client.address(), &"no length or txid"));
        };
        let bar = context.output.progress(Some(length), BAR);
        let reader = response.body_mut().as_reader();
        let copied = copy(reader, &mut partial.file, &bar);
        bar.finish_and_clear();
        match copied {
            Ok(()) => Ok((length, txid)),
            Err(Broken::File(error)) => Err(partial.failure("write", &error)),
            Err(Broken::Off(error)) => Err(self.why_it_broke_off(client, &error)),
        }
    }

    /// A host that meets damage half way can only break off; a check of the actor says more.
    fn why_it_broke_off(&self, client: &Client, error: &io::Error) -> Failure {
        let path = format!("/admin/actors{}/verify", self.actor.path());
        let report = client.post(&path, &[], &[]).and_then(|answer| answer.json());
        match report {
            Ok(report) if report["ok"] == false => {
                let problem = report["problems"][0].as_str().unwrap_or("damage").to_owned();
                let told = format!("{} is damaged: {problem}; no file was written", self.actor.0);
                Failure::damaged(told)
            }
            Err(failure) if failure.body.group == "depot" => failure,
            Ok(_) | Err(_) => Failure::broke_off(client.address(), error),
        }
    }

    fn offline(
        &self,
        context: &Context,
        offline: &Offline,
        partial: &mut Partial,
    ) -> Result<(u64, u64), Failure> {
        let state = offline.actor(&self.actor.0)?;
        let page = u64::try_from(PAGE_SIZE).unwrap_or(u64::MAX);
        let total = u64::from(state.head.page_count.0) * page;
        let bar = context.output.progress(Some(total), BAR);
        let mut tell = |progress: history::Progress| {
            bar.set_length(progress.total * page);
            bar.set_position(progress.done * page);
        };
        let exported = offline.runtime.block_on(history::export(
            offline.store.as_ref(),
            state.row.db,
            None,
            &mut partial.file,
            &mut tell,
        ));
        bar.finish_and_clear();
        match exported {
            Ok(exported) => Ok((u64::from(exported.page_count.0) * page, exported.txid.0)),
            Err(ExportError::Store(error)) => Err(HostError::from(error).of(&self.actor.0).into()),
            Err(ExportError::Io(error)) => Err(partial.failure("write", &error)),
            Err(error @ ExportError::NoCommit { .. }) => Err(Failure::damaged(error.to_string())),
        }
    }
}

/// Why a copy ended early.
enum Broken {
    /// The source ended early.
    Off(io::Error),
    /// The file cannot be written.
    File(io::Error),
}

fn copy(mut reader: impl Read, file: &mut impl Write, bar: &ProgressBar) -> Result<(), Broken> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                file.write_all(&chunk[..length]).map_err(Broken::File)?;
                bar.inc(u64::try_from(length).unwrap_or(0));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Broken::Off(error)),
        }
    }
}

/// The file while it is written; removed if it is dropped before it has its name.
struct Partial {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Partial {
    fn create(out: &Path) -> Result<Self, Failure> {
        let Some(name) = out.file_name() else {
            return Err(Failure::file("write", out, &"it is not the name of a file"));
        };
        let mut partial = name.to_owned();
        partial.push(format!(".partial-{}", std::process::id()));
        let path = out.with_file_name(partial);
        // `create_new` does not follow a link that another user left there.
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| Failure::file("write", &path, &error))?;
        Ok(Self { file: BufWriter::with_capacity(CHUNK_BYTES, file), path })
    }

    fn failure(&self, verb: &str, error: &io::Error) -> Failure {
        Failure::file(verb, &self.path, error)
    }

    /// Checks that all bytes arrived, and that SQLite takes the file for a sound database.
    fn check(&mut self, length: u64) -> Result<(), Failure> {
        let written = self.file.flush().and_then(|()| self.file.get_ref().metadata());
        let written = written.map_err(|error| self.failure("write", &error))?.len();
        if written != length {
            let told = format!("the export has {written} bytes instead of {length}");
            return Err(Failure::damaged(told));
        }
        let faults = integrity(&self.path)
            .map_err(|error| Failure::damaged(format!("the export is no database: {error}")))?;
        if faults != ["ok"] {
            return Err(Failure::damaged(format!("integrity_check: {}", faults.join("; "))));
        }
        self.file.get_ref().sync_all().map_err(|error| self.failure("sync", &error))
    }

    /// Gives the file its name in one step, and syncs the directory.
    fn name(self, out: &Path, replace: bool) -> Result<(), Failure> {
        let named = if replace {
            std::fs::rename(&self.path, out)
        } else {
            // Unlike a rename, a link does not replace a file that has appeared in the meantime.
            std::fs::hard_link(&self.path, out)
        };
        named.map_err(|error| Failure::file("write", out, &error))?;
        let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty());
        let synced = File::open(dir.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all());
        synced.map_err(|error| Failure::file("sync the directory of", out, &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Runs `PRAGMA integrity_check`. The file is opened for writing, since the check of an FTS5 table
/// runs as a write that changes nothing.
fn integrity(path: &Path) -> rusqlite::Result<Vec<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({FAULTS_TOLD})"))?;
    let lines = statement.query_map([], |row| row.get(0))?;
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(path: &Path) -> Vec<u8> {
        stockade::internal::install_heap();
        let connection = Connection::open(path).expect("open");
        connection
            .execute_batch("CREATE VIRTUAL TABLE t USING fts5(a); INSERT INTO t VALUES ('word');")
            .expect("write");
        drop(connection);
        std::fs::read(path).expect("read")
    }

    fn partial_of(dir: &Path, bytes: &[u8]) -> Partial {
        let mut partial = Partial::create(&dir.join("out.sqlite")).expect("create");
        partial.file.write_all(bytes).expect("write");
        partial
    }

    #[test]
    fn a_checked_file_gets_its_name_and_replaces_nothing_unasked() {
        let dir = tempfile::tempdir().expect("directory");
        let bytes = database(&dir.path().join("source"));
        let length = u64::try_from(bytes.len()).expect("fits");
        let out = dir.path().join("out.sqlite");
        let mut partial = partial_of(dir.path(), &bytes);
        partial.check(length).expect("sound");
        partial.name(&out, false).expect("named");
        assert_eq!(integrity(&out).expect("a database"), ["ok"]);
        let mut second = partial_of(dir.path(), &bytes);
        second.check(length).expect("sound");
        assert!(second.name(&out, false).is_err());
        let third = partial_of(dir.path(), &bytes);
        third.name(&out, true).expect("replaces");
        let names: Vec<_> = std::fs::read_dir(dir.path()).expect("list").flatten().collect();
        assert_eq!(names.len(), 2, "no partial file is left: {names:?}");
    }

    #[test]
    fn half_a_database_is_never_given_a_name() {
        let dir = tempfile::tempdir().expect("directory");
        let bytes = database(&dir.path().join("source"));
        let length = u64::try_from(bytes.len()).expect("fits");
        let half = &bytes[..bytes.len() / 2];
        let failure = partial_of(dir.path(), half).check(length).expect_err("short");
        assert_eq!(failure.body.code, "damaged");
        let short = u64::try_from(half.len()).expect("fits");
        let failure = partial_of(dir.path(), half).check(short).expect_err("damaged");
        assert_eq!(failure.body.code, "damaged");
    }

    #[test]
    fn an_actor_that_wrote_nothing_is_an_empty_database() {
        let dir = tempfile::tempdir().expect("directory");
        partial_of(dir.path(), b"").check(0).expect("sound");
    }
}
