//! Frames: what the host and the method write is one commit, or none.

use stockade_depot::Txid;
use tokio::time::Instant;

use super::World;
use crate::sqlite::{Connection, Entered, Frame, SqlError, TransactionMode, Value};

fn world() -> World {
    let mut world = World::new();
    world.script(
        "CREATE TABLE note(a); CREATE TABLE t(a UNIQUE);
         CREATE TABLE child(a REFERENCES t(a) DEFERRABLE INITIALLY DEFERRED)",
    );
    world
}

fn note(connection: &mut Connection, what: i64) -> Result<(), SqlError> {
    connection.execute("INSERT INTO note VALUES (?)", &[Value::Integer(what)]).map(drop)
}

impl World {
    fn enter(&mut self) -> Frame {
        let entered = self.connection.enter_frame(|own| note(own, 1).map(|()| None::<()>));
        match entered.unwrap() {
            Entered::Runs(frame) => frame,
            Entered::Skipped(()) => panic!("nothing was to be skipped"),
        }
    }

    fn leave(&mut self, frame: Frame, keep: bool) -> Result<bool, SqlError> {
        self.connection.leave_frame(frame, keep, |own| note(own, 2))
    }

    fn newest(&self) -> Txid {
        self.runtime.block_on(self.session.durable(self.session.mark())).unwrap()
    }

    /// The sums of the host's notes and of the method's rows, after the end of the call.
    fn kept(&mut self) -> (i64, i64) {
        self.connection.end_of_call().unwrap();
        self.begin();
        (
            self.integer("SELECT coalesce(sum(a), 0) FROM note"),
            self.integer("SELECT coalesce(sum(a), 0) FROM t"),
        )
    }
}

#[test]
fn both_parts_are_one_commit() {
    let mut world = world();
    let before = world.newest();
    let frame = world.enter();
    world.run("INSERT INTO t VALUES (10)").unwrap();
    let own = world.connection.begin(TransactionMode::Immediate).unwrap();
    world.run("INSERT INTO t VALUES (20)").unwrap();
    world.connection.commit(own).unwrap();
    assert_eq!(world.leave(frame, true), Ok(false));
    assert_eq!((world.newest(), world.kept()), (Txid(before.0 + 1), (3, 30)));
}

#[test]
fn a_refusal_keeps_the_hosts_part_alone() {
    let mut world = world();
    let frame = world.enter();
    world.run("INSERT INTO t VALUES (10)").unwrap();
    assert_eq!(world.leave(frame, false), Ok(false));
    assert_eq!(world.kept(), (3, 0));
}

#[test]
fn what_does_not_answer_keeps_nothing() {
    let mut world = world();
    let before = world.newest();
    drop(world.enter());
    world.run("INSERT INTO t VALUES (10)").unwrap();
    assert_eq!((world.kept(), world.newest()), ((0, 0), before));
}

#[test]
fn a_skipped_method_commits_what_was_noted() {
    let mut world = world();
    let entered = world.connection.enter_frame(|own| note(own, 1).map(|()| Some(7)));
    assert!(matches!(entered, Ok(Entered::Skipped(7))));
    assert!(!world.connection.in_transaction());
    assert_eq!(world.kept(), (1, 0));
    let failed = world.connection.enter_frame::<()>(|own| {
        note(own, 4)?;
        Err(SqlError::Busy)
    });
    assert!(matches!(failed, Err(SqlError::Busy)) && !world.connection.in_transaction());
    assert_eq!(world.kept(), (1, 0));
}

#[test]
fn a_transaction_left_open_is_rolled_back_and_queries_are_ended() {
    let mut world = world();
    let frame = world.enter();
    world.run("INSERT INTO t VALUES (10)").unwrap();
    let left = world.connection.begin(TransactionMode::Immediate).unwrap();
    world.run("INSERT INTO t VALUES (20)").unwrap();
    let rows = world.connection.prepare("INSERT INTO t VALUES (30), (40) RETURNING a").unwrap();
    world.connection.query_statement(rows, Vec::new(), 1).unwrap();
    assert_eq!(world.leave(frame, true), Ok(true));
    assert_eq!(world.connection.commit(left), Err(SqlError::NotOpen));
    assert_eq!(world.kept(), (3, 10));
}

#[test]
fn a_frame_that_sqlite_has_rolled_back_keeps_nothing() {
    let mut world = world();
    world.run("INSERT INTO t VALUES (1)").unwrap();
    for keep in [true, false] {
        let frame = world.enter();
        world.run("INSERT INTO t VALUES (10)").unwrap();
        assert!(world.run("INSERT OR ROLLBACK INTO t VALUES (1)").is_err());
        assert_eq!(world.run("INSERT INTO t VALUES (20)"), Err(SqlError::NotOpen));
        assert_eq!(world.leave(frame, keep), Err(SqlError::NotOpen));
        assert_eq!(world.kept(), (0, 1));
    }
}

#[test]
fn a_commit_that_fails_keeps_nothing() {
    let mut world = world();
    let frame = world.enter();
    world.run("INSERT INTO child VALUES (99)").unwrap();
    assert!(matches!(world.leave(frame, true), Err(SqlError::Constraint(_))));
    assert!(!world.connection.in_transaction());
    assert_eq!((world.kept(), world.integer("SELECT count(*) FROM child")), ((0, 0), 0));
}

#[test]
fn text_of_the_method_controls_no_transaction() {
    let mut world = world();
    let frame = world.enter();
    for sql in ["COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT s", "RELEASE _stockade_1"] {
        assert!(matches!(world.run(sql), Err(SqlError::Denied(_))), "{sql}");
    }
    assert_eq!(world.leave(frame, true), Ok(false));
    assert_eq!(world.kept(), (3, 0));
}

#[test]
fn a_call_that_has_used_up_its_budget_is_still_noted() {
    let mut world = world();
    let frame = world.enter();
    world.run("INSERT INTO t VALUES (10)").unwrap();
    world.meter.shorten(Instant::now());
    assert!(world.meter.past_deadline());
    assert_eq!(world.run("INSERT INTO t VALUES (20)"), Err(SqlError::Interrupted));
    assert_eq!(world.connection.leave_frame(frame, true, |_| Ok(())), Ok(false));
    assert_eq!(world.kept(), (1, 10));
}
