//! VFSs through SQLite itself: files of our own that fail and panic, and layers over the system's.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "a test moves a connection to another thread")]

use std::ffi::{CStr, c_int};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, ffi};
use stockade_sqlite::vfs::{
    Below, File, Layer, LayerFile, Operation, Question, Vfs, ask, register, register_over,
    registered, reserve_bytes, reserved_bytes,
};
use stockade_sqlite::{Code, Column, Database, Step, Whole};

/// Files in memory; the next operation panics if the test has armed that.
struct Memory;

static PANICS: Mutex<Option<Operation>> = Mutex::new(None);
static PANICKED: Mutex<Vec<Operation>> = Mutex::new(Vec::new());

struct Bytes(Vec<u8>);

impl Bytes {
    fn may_panic(during: Operation) {
        if PANICS.lock().take_if(|wanted| *wanted == during).is_some() {
            panic!("on purpose");
        }
    }
}

impl Vfs for Memory {
    const NAME: &'static CStr = c"test-memory";
    const NAME_BYTES_MAX: c_int = 64;
    type File = Bytes;

    fn open(name: Option<&CStr>, _flags: c_int) -> Option<Bytes> {
        (name != Some(c"missing")).then(|| Bytes(Vec::new()))
    }
}

impl File for Bytes {
    fn characteristics(&self) -> c_int {
        0
    }

    fn read(&mut self, out: &mut [u8], offset: u64) -> Result<(), Code> {
        Self::may_panic(Operation::Read);
        let from = usize::try_from(offset).unwrap().min(self.0.len());
        let have = (self.0.len() - from).min(out.len());
        out[..have].copy_from_slice(&self.0[from..from + have]);
        out[have..].fill(0);
        if have == out.len() { Ok(()) } else { Err(ffi::SQLITE_IOERR_SHORT_READ) }
    }

    fn write(&mut self, data: &[u8], offset: u64) -> Result<(), Code> {
        Self::may_panic(Operation::Write);
        let from = usize::try_from(offset).unwrap();
        self.0.resize(self.0.len().max(from + data.len()), 0);
        self.0[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn truncate(&mut self, size: u64) -> Result<(), Code> {
        self.0.resize(usize::try_from(size).unwrap(), 0);
        Ok(())
    }

    fn size(&mut self) -> Result<u64, Code> {
        Ok(self.0.len() as u64)
    }

    fn prepare(&mut self) -> Result<(), Code> {
        Self::may_panic(Operation::Sync);
        Ok(())
    }

    fn publish(&mut self) -> Result<(), Code> {
        Ok(())
    }

    fn pragma(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        Self::may_panic(Operation::Pragma);
        match (name, value) {
            ("user_version", Some(value)) => Err(format!("{value}: not here")),
            _ => Ok(()),
        }
    }

    fn panicked(&mut self, during: Operation) {
        PANICKED.lock().push(during);
    }
}

fn open(name: &str, vfs: &CStr) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    Connection::open_with_flags_and_vfs(name, flags, vfs)
}

#[test]
fn files_of_our_own_answer_and_their_panics_are_errors() {
    let vfs = register::<Memory>().unwrap();
    assert_eq!(register::<Memory>(), Ok(vfs), "once");
    assert_eq!(registered().iter().filter(|vfs| vfs.name == "test-memory").count(), 1);
    assert!(open("missing", vfs).is_err());
    let db = open("here", vfs).unwrap();
    db.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(100000))").unwrap();
    let refused = db.execute_batch("PRAGMA user_version = 7").unwrap_err();
    assert!(refused.to_string().starts_with("7: not here"), "{refused}");
    for (during, sql) in [
        (Operation::Pragma, "PRAGMA user_version"),
        (Operation::Write, "INSERT INTO t VALUES (1)"),
        (Operation::Sync, "INSERT INTO t VALUES (2)"),
    ] {
        *PANICS.lock() = Some(during);
        let error = db.execute_batch(sql).unwrap_err();
        assert_eq!(error.sqlite_error().unwrap().code, ffi::ErrorCode::SystemIoFailure, "{error}");
        assert_eq!(PANICKED.lock().pop(), Some(during));
    }
    let count = db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
    assert_eq!(count, Ok(1), "what failed is rolled back");
}

/// Counts what is written, and answers how much; each byte is turned over on its way.
struct Turning(Arc<AtomicU64>);

const WRITTEN: Question = Question(9);

impl Layer for Turning {
    type File = Turning;

    fn open(&self, _path: &CStr, flags: c_int) -> Option<Turning> {
        (flags & ffi::SQLITE_OPEN_MAIN_DB != 0).then(|| Turning(Arc::clone(&self.0)))
    }
}

impl LayerFile for Turning {
    fn shares_memory(&self) -> bool {
        true
    }

    fn read(&mut self, into: &mut [u8], at: u64, below: &mut Below<'_>) -> Code {
        let code = below.read(into, at);
        if code == ffi::SQLITE_OK {
            into.iter_mut().for_each(|byte| *byte = !*byte);
        }
        code
    }

    fn write(&mut self, bytes: &[u8], at: u64, below: &mut Below<'_>) -> Code {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let turned: Vec<_> = bytes.iter().map(|byte| !byte).collect();
        below.write(&turned, at)
    }

    fn answer(&mut self, question: Question, value: &mut u64, _: &mut Below<'_>) -> Option<Code> {
        *value = self.0.load(Ordering::Relaxed);
        (question == WRITTEN).then_some(ffi::SQLITE_OK)
    }
}

#[test]
fn a_layer_sees_what_passes_and_layers_stand_on_layers() {
    let written = Arc::default();
    register_over("test-turning", None, Turning(Arc::clone(&written))).unwrap();
    register_over("test-twice", Some("test-turning"), Turning(Arc::default())).unwrap();
    assert_eq!(
        register_over("x", Some("no such"), Turning(Arc::default())),
        Err(ffi::SQLITE_ERROR)
    );
    let directory = std::env::temp_dir().join(format!("stockade-sqlite-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let header = |name: &str, vfs: &CStr| {
        let path = directory.join(name);
        let db = open(path.to_str().unwrap(), vfs).unwrap();
        reserve_bytes(&db, 16).unwrap();
        let mode = "PRAGMA journal_mode = WAL; CREATE TABLE t(a); INSERT INTO t VALUES (7); \
            PRAGMA wal_checkpoint(TRUNCATE)";
        db.execute_batch(mode).unwrap();
        assert_eq!(reserved_bytes(&db), Ok(16));
        let seven = db.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0));
        assert_eq!(seven, Ok(7));
        let mut answer = 0;
        let asked = ask(&db, WRITTEN, &mut answer).map(|()| answer > 0);
        drop(db);
        (std::fs::read(&path).unwrap()[..6].to_vec(), asked)
    };
    assert_eq!(header("plain", c"unix"), (b"SQLite".to_vec(), Err(ffi::SQLITE_NOTFOUND)));
    let turned = b"SQLite".map(|byte| !byte).to_vec();
    assert_eq!(header("once", c"test-turning"), (turned, Ok(true)));
    assert_eq!(header("twice", c"test-twice"), (b"SQLite".to_vec(), Ok(true)));
    assert!(written.load(Ordering::Relaxed) > 0);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn statements_and_blobs_move_between_threads_with_their_database() {
    let mut parts = Whole::build(|| {
        let database = Database::new(Connection::open_in_memory().unwrap(), ());
        let sql = "SELECT ?1, ?2, ?3";
        let statement = database.prepare(sql, true)?.statement.unwrap();
        Ok::<_, Code>((database, statement))
    })
    .unwrap();
    let moved = std::thread::spawn(move || {
        parts.with(|(database, statement)| {
            statement.hold(b"held text".to_vec());
            assert_eq!(statement.bind_held_text(1, 0..4), ffi::SQLITE_OK);
            assert_eq!(statement.bind_held_blob(2, 5..9), ffi::SQLITE_OK);
            assert_eq!(statement.bind_text(3, ""), ffi::SQLITE_OK);
            assert_eq!(statement.step(), Step::Row);
            assert!(matches!(statement.column(0), Column::Text(b"held")));
            assert!(matches!(statement.column(1), Column::Blob(b"text")));
            assert!(matches!(statement.column(2), Column::Text(b"")));
            assert!(matches!(statement.column(3), Column::Null), "outside of the row");
            assert_eq!(statement.step(), Step::Done);
            statement.clear_bindings();
            let make = |sql: &str| {
                let mut made = database.prepare(sql, false).unwrap().statement.unwrap();
                assert_eq!(made.step(), Step::Done);
            };
            make("CREATE TABLE t(b)");
            make("INSERT INTO t VALUES (zeroblob(10))");
            let blob = database.open_blob(c"t", c"b", 1, true).unwrap();
            blob.write(8, b"!!").unwrap();
            assert!(blob.write(9, b"!!").is_err(), "past its end");
            let mut read = [9; 4];
            blob.read(6, &mut read).unwrap();
            assert_eq!((&read, blob.bytes()), (b"\0\0!!", 10));
            blob.close().unwrap();
        });
        parts
    });
    drop(moved.join().unwrap());
}
