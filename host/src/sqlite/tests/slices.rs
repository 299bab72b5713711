//! Long statements do not keep the workers of the runtime.

use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::World;
use crate::cpu::tests::taken;
use crate::cpu::{CpuTime, Turns};
use crate::sqlite::{Interrupter, Meter, SqlError, Value};

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                       SELECT count(*) FROM n";

/// Ends the statements when a test is over, also when it failed: a runtime waits for its threads.
#[derive(Default)]
struct Stop(Vec<Interrupter>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.iter().for_each(Interrupter::interrupt);
    }
}

fn two_workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

/// Two workers, four statements that never end: a fifth actor is served all the same.
#[test]
fn long_statements_leave_the_workers_to_others() {
    let runtime = two_workers();
    let mut long = Vec::new();
    let mut stop = Stop::default();
    let mut worlds = Vec::new();
    for _ in 0..4 {
        let World { mut connection, session, runtime: store, .. } = World::new();
        stop.0.push(connection.interrupter());
        worlds.push((session, store));
        long.push(runtime.spawn(async move { connection.execute(ENDLESS, &[]) }));
    }
    let World { mut connection, meter, limits, runtime: store, .. } = World::new();
    connection.execute_script("CREATE TABLE t(a INTEGER PRIMARY KEY)").unwrap();
    connection.execute("INSERT INTO t VALUES (7)", &[]).unwrap();
    let mut times = Vec::new();
    let mut connection = Some(connection);
    for _ in 0..20 {
        let (answer, answered) = mpsc::sync_channel(1);
        let mut point = connection.take().unwrap();
        let asked = Instant::now();
        runtime.spawn(async move {
            let rows = point.query("SELECT a FROM t WHERE a = 7", &[]).unwrap().rows;
            answer.send((point, rows)).unwrap();
        });
        let (point, rows) = answered.recv_timeout(Duration::from_secs(20)).expect("served");
        times.push(asked.elapsed());
        assert_eq!(rows, [[Value::Integer(7)]]);
        connection = Some(point);
        meter.begin(&limits, Instant::now() + Duration::from_secs(60));
    }
    assert!(long.iter().all(|statement| !statement.is_finished()), "they still run");
    drop(stop);
    for statement in long {
        assert_eq!(runtime.block_on(statement).unwrap(), Err(SqlError::Interrupted));
    }
    times.sort();
    println!("point query beside 4 endless statements: {:?}, {:?}", times[10], times[19]);
    drop((worlds, store));
}

/// Many small statements in one host call are long together.
#[test]
fn many_small_statements_leave_the_worker_too() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let World { mut connection, runtime: store, .. } = World::new();
    connection.execute_script("CREATE TABLE t(a)").unwrap();
    let stop = Stop(vec![connection.interrupter()]);
    let statements = vec![("INSERT INTO t VALUES (1)".to_owned(), Vec::new()); 2_000_000];
    let long = runtime.spawn(async move { connection.run_batch(&statements).map(|all| all.len()) });
    let (answer, answered) = mpsc::sync_channel(1);
    runtime.spawn(async move { answer.send(()).unwrap() });
    answered.recv_timeout(Duration::from_secs(20)).expect("served");
    assert!(!long.is_finished(), "it still runs");
    drop(stop);
    assert_eq!(runtime.block_on(long).unwrap(), Err(SqlError::Interrupted));
    drop(store);
}

/// Where there is no thread to hand over to, a long statement just continues.
#[test]
fn one_thread_alone_runs_long_statements() {
    let long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) \
                SELECT count(*) FROM n";
    let mut world = World::new();
    let runtime = Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(async { world.integer(long) }), 300_000);
    assert_eq!(world.integer(long), 300_000);
}

/// There is one turn, and its holder does not give it back: a waiting statement ends all the same
/// when it is interrupted, revoked, without a session, or late; and continues when it gets the
/// turn.
#[test]
fn a_statement_that_waits_for_its_turn_ends_at_once() {
    let (runtime, turns) = (two_workers(), Turns::of(2));
    let mut holder = Some(taken(&turns));
    for end in ["interrupt", "revoke", "session", "deadline", "turn"] {
        let mut world = World::new();
        world.replace_with(Meter::new(CpuTime::new(&turns, "kind")), "");
        let in_ms = if end == "deadline" { 300 } else { 60_000 };
        world.meter.begin(&world.limits, Instant::now() + Duration::from_millis(in_ms));
        let World { mut connection, session, grip, meter, runtime: store, .. } = world;
        let interrupter = connection.interrupter();
        let (answer, answered) = mpsc::sync_channel(1);
        runtime.spawn(async move { answer.send(connection.execute(ENDLESS, &[])).unwrap() });
        assert!(answered.recv_timeout(Duration::from_millis(100)).is_err(), "it waits");
        let steps = meter.counts().sql_steps;
        match end {
            "interrupt" => interrupter.interrupt(),
            "revoke" => assert!(grip.revoke(stockade_depot::Reason::Shutdown)),
            "session" => session.close(stockade_depot::Reason::Storage),
            "turn" => {
                drop(holder.take());
                while meter.counts().sql_steps == steps {
                    std::thread::yield_now();
                }
                interrupter.interrupt();
            }
            _ => {}
        }
        let ended = answered.recv_timeout(Duration::from_secs(20));
        assert!(matches!(ended, Ok(Err(_))), "{end}: {ended:?}");
        drop(store);
    }
}
