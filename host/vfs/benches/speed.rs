//! What the file layer costs: `cargo bench -p stockade-vfs`. Prints microseconds per operation, on
//! a depot over a store in memory and on plain SQLite in memory.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;
use stockade_depot::{
    ActorId, Depot, DepotLimits, Digest, EmbeddedStore, NodeSession, Session, TokioParker,
};
use stockade_vfs::{Handle, Spare, VfsOptions, open};
use tokio::runtime::Runtime;

const ROWS: u32 = 10_000;
const RUNS: usize = 7;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let depot = depot(&runtime);
    let scratch = tempfile::tempdir().unwrap();
    let options = VfsOptions::new(scratch.path());

    let session = session(&runtime, &depot, "speed");
    let ours = open(session.clone(), &options).unwrap();
    let plain = Connection::open_in_memory().unwrap();
    for connection in [ours.connection(), &plain] {
        connection.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT, text)").unwrap();
        fill(connection);
    }
    let settle = || runtime.block_on(session.durable(session.mark())).unwrap();
    settle();
    for (what, connection) in [("ours", ours.connection()), ("plain, in memory", &plain)] {
        println!("{what}");
        println!("  autocommit update {:8.2} us", best(|| updates(connection), settle));
        println!("  point read        {:8.2} us", best(|| reads(connection), settle));
        println!("  100,000 inserts   {:8.2} ms", inserts(connection) * 1000.0);
        settle();
    }
    drop(ours);
    opens(&runtime, &depot, &options);
}

fn depot(runtime: &Runtime) -> Arc<Depot> {
    Depot::new(
        Arc::new(EmbeddedStore::in_memory(1).unwrap()),
        NodeSession([1; 16]),
        DepotLimits::default(),
        Arc::new(TokioParker(runtime.handle().clone())),
        runtime.handle().clone(),
    )
}

fn session(runtime: &Runtime, depot: &Arc<Depot>, key: &str) -> Session {
    let actor = ActorId::new("bench", key).unwrap();
    runtime.block_on(depot.create(&actor, Digest([0; 32]))).unwrap().session
}

fn fill(connection: &Connection) {
    connection
        .execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO t SELECT i, i, printf('%050d', i) FROM n",
            [ROWS],
        )
        .unwrap();
}

/// Best microseconds per row of several runs.
fn best<T>(run: impl Fn(), between: impl Fn() -> T) -> f64 {
    (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            let seconds = begun.elapsed().as_secs_f64();
            between();
            seconds * 1e6 / f64::from(ROWS)
        })
        .fold(f64::INFINITY, f64::min)
}

fn updates(connection: &Connection) {
    let mut update = connection.prepare("UPDATE t SET v = v + 1 WHERE id = ?1").unwrap();
    for i in 0..ROWS {
        update.execute([i * 7919 % ROWS + 1]).unwrap();
    }
}

fn reads(connection: &Connection) {
    let mut read = connection.prepare("SELECT v FROM t WHERE id = ?1").unwrap();
    for i in 0..ROWS {
        let v: i64 = read.query_row([i * 7919 % ROWS + 1], |row| row.get(0)).unwrap();
        black_box(v);
    }
}

/// Seconds for one transaction of 100,000 rows.
fn inserts(connection: &Connection) -> f64 {
    connection.execute_batch("CREATE TABLE i(id INTEGER PRIMARY KEY, a INT, b TEXT)").unwrap();
    let begun = Instant::now();
    connection.execute_batch("BEGIN").unwrap();
    let mut insert = connection.prepare("INSERT INTO i VALUES (?1, ?2, 'some text')").unwrap();
    for i in 0..100_000 {
        insert.execute([i, i * 3]).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    begun.elapsed().as_secs_f64()
}

/// Microseconds of one run: the tenth part of 1,000 is faster. Other load on the machine makes the
/// rest slower.
fn tenth_of_1000(mut run: impl FnMut()) -> f64 {
    let mut took: Vec<_> = (0..1_000)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took[100]
}

/// What a wake asks of us: a connection, its database, a query, the end. And whether it costs more
/// with many databases open.
fn opens(runtime: &Runtime, depot: &Arc<Depot>, options: &VfsOptions) {
    let mut kept = Vec::new();
    println!("open, query and close, with n others open: microseconds");
    for others in [0, 1_000, 10_000] {
        while kept.len() < others {
            let session = session(runtime, depot, &format!("other-{}", kept.len()));
            kept.push(open(session, options).unwrap());
        }
        let session = session(runtime, depot, &format!("with-{others}"));
        let query = |db: &stockade_vfs::OpenDatabase| {
            let count =
                db.connection().query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
                    row.get::<_, i64>(0)
                });
            black_box(count.unwrap());
        };
        let whole = tenth_of_1000(|| query(&open(session.clone(), options).unwrap()));
        let made = tenth_of_1000(|| drop(Spare::new().unwrap()));
        let mut spares: Vec<_> = (0..1_000).map(|_| Spare::new().unwrap()).collect();
        let given = tenth_of_1000(|| {
            let handle = Handle::new(session.clone(), options);
            query(&spares.pop().unwrap().settle(&handle).unwrap());
        });
        println!(
            "  {others:6} {whole:8.2}; a spare made {made:8.2}, the rest with a spare {given:8.2}"
        );
    }
}
