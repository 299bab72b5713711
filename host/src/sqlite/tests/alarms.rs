//! Alarms as rows: in the transaction that is open, with the actor's due time in the same commit, and
//! out of reach of SQL.

use stockade_depot::store::DueLook;
use stockade_depot::{ActorId, Shard};

use super::{World, text};
use crate::limits::{ALARM_TRIES_MAX, ALARMS_MAX};
use crate::schedule::Schedule;
use crate::sqlite::{
    AlarmOrder, BegunAlarm, CrashedAlarm, NewAlarm, SqlError, TooManyAlarms, TransactionMode, Value,
};

impl World {
    fn set(&mut self, name: &str, due: i64) {
        self.set_as(name, &Schedule::Once, due).unwrap().unwrap();
    }

    fn set_as(
        &mut self,
        name: &str,
        schedule: &Schedule,
        due: i64,
    ) -> Result<Result<(), TooManyAlarms>, SqlError> {
        let payload = name.as_bytes().to_vec();
        self.connection.set_alarm(NewAlarm { name, schedule, due, payload })
    }

    fn begin_alarm(&mut self, now: i64) -> Option<BegunAlarm> {
        self.connection.begin_alarm(now, None).unwrap()
    }

    /// The actor's due time in the store, once everything accepted is durable.
    fn due(&self) -> Option<i64> {
        self.runtime.block_on(async {
            self.session.durable(self.session.mark()).await.unwrap();
            let store = self.depot.store();
            let shards = Shard::all(store.shards()).collect();
            let look = DueLook { shards, until: i64::MAX, after: None, limit: 10 };
            let page = store.due(look).await.unwrap();
            page.rows.first().map(|row| row.at)
        })
    }

    /// What the connection and the store know.
    #[track_caller]
    fn check_due(&mut self, due: Option<i64>) {
        assert_eq!((self.connection.earliest_due().any(), self.due()), (due, due));
    }

    fn shown(&mut self) -> Vec<(String, Option<i64>, u32, Option<String>)> {
        let alarms = self.connection.alarms("", ALARMS_MAX).unwrap();
        alarms.into_iter().map(|it| (it.name, it.next, it.attempts, it.error)).collect()
    }
}

#[test]
fn the_due_time_is_in_the_commit_of_its_rows() {
    let mut world = World::new();
    world.check_due(None);
    assert!(!world.connection.cancel_alarm("a").unwrap());
    world.set("a", 500);
    world.check_due(Some(500));
    world.set("b", 300);
    world.check_due(Some(300));
    world.set("b", 700);
    world.check_due(Some(500));
    world.script("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    world.check_due(Some(500));
    assert!(world.connection.cancel_alarm("a").unwrap());
    world.check_due(Some(700));
    assert!(world.connection.cancel_alarm("b").unwrap());
    world.check_due(None);
}

#[test]
fn a_transaction_takes_its_alarms_along() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a)");
    world.set("kept", 900);
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.set("a", 100);
    world.connection.rollback(transaction).unwrap();
    world.script("INSERT INTO t VALUES (1)");
    world.check_due(Some(900));

    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    let savepoint = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.set("a", 100);
    world.connection.rollback(savepoint).unwrap();
    world.set("b", 800);
    world.connection.commit(transaction).unwrap();
    world.check_due(Some(800));
    assert_eq!(world.connection.alarm("a").unwrap(), None);

    // Left open by a call.
    world.connection.begin(TransactionMode::Deferred).unwrap();
    world.set("c", 10);
    assert!(world.connection.end_of_call().unwrap().rolled_back);
    world.begin();
    world.script("INSERT INTO t VALUES (2)");
    world.check_due(Some(800));
}

/// By SQL text a transaction ends as by a handle, whatever its last statement is called.
#[test]
fn a_transaction_of_sql_text_takes_its_alarms_along() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a)");
    for (number, (begin, end)) in
        [("BEGIN", "COMMIT"), ("BEGIN IMMEDIATE", "END TRANSACTION"), ("SAVEPOINT x", "RELEASE x")]
            .into_iter()
            .enumerate()
    {
        let due = 900 - i64::try_from(number).unwrap();
        world.run(begin).unwrap();
        world.set("a", due);
        world.run(end).unwrap();
        world.check_due(Some(due));
    }
    world.run("BEGIN").unwrap();
    world.set("a", 5);
    world.run("ROLLBACK").unwrap();
    world.script("INSERT INTO t VALUES (1)");
    world.check_due(Some(898));
}

/// A commit that fails leaves its time behind in no later one.
#[test]
fn a_commit_that_fails_takes_its_time_back() {
    let mut world = World::new();
    world.script(
        "CREATE TABLE p(a PRIMARY KEY); CREATE TABLE c(a REFERENCES p DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE t(a)",
    );
    world.set("kept", 900);
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    world.set("a", 100);
    world.run("INSERT INTO c VALUES (1)").unwrap();
    assert!(matches!(world.connection.commit(transaction), Err(SqlError::Constraint(_))));
    world.connection.rollback(transaction).unwrap();
    world.script("INSERT INTO t VALUES (1)");
    world.check_due(Some(900));
}

#[test]
fn a_try_is_counted_and_what_follows_names_the_set() {
    let mut world = World::new();
    world.set("a", 100);
    assert!(world.begin_alarm(99).is_none(), "not before its time");
    let begun = world.begin_alarm(100).unwrap();
    assert_eq!((begun.alarm.attempts, begun.payload.as_slice()), (1, &b"a"[..]));
    world.check_due(Some(2_100));
    world.connection.end_alarm(&begun, Some("no a"), 200, false).unwrap();
    assert_eq!(world.shown(), [("a".to_owned(), Some(2_200), 1, Some("no a".to_owned()))]);
    world.check_due(Some(2_200));

    // Set again by its own handler: neither its end nor its failure touches that.
    let begun = world.begin_alarm(2_200).unwrap();
    assert_eq!(begun.alarm.attempts, 2);
    world.set("a", 9_000);
    world.connection.end_alarm(&begun, Some("again"), 2_300, false).unwrap();
    assert_eq!(world.shown(), [("a".to_owned(), Some(9_000), 2, Some("again".to_owned()))]);
    let begun = world.begin_alarm(9_000).unwrap();
    assert_eq!(begun.alarm.attempts, 3, "it keeps its tries");
    world.set("a", 10_000);
    world.connection.end_alarm(&begun, None, 9_100, false).unwrap();
    assert_eq!(world.shown(), [("a".to_owned(), Some(10_000), 0, None)]);

    // Cancelled by its own handler, and set by it after that.
    let begun = world.begin_alarm(10_000).unwrap();
    assert!(world.connection.cancel_alarm("a").unwrap());
    world.set("a", 11_000);
    world.connection.end_alarm(&begun, None, 10_100, false).unwrap();
    world.check_due(Some(11_000));
    let begun = world.begin_alarm(11_000).unwrap();
    world.connection.end_alarm(&begun, None, 11_000, false).unwrap();
    assert_eq!(world.shown(), []);
    world.check_due(None);
}

#[test]
fn too_many_tries_park_an_alarm_and_no_other() {
    let mut world = World::new();
    world.set("poison", 1);
    world.set("well", 1_000_000_000);
    for attempt in 1..=ALARM_TRIES_MAX {
        let now = i64::from(attempt) * 1_000_000;
        let begun = world.begin_alarm(now).unwrap();
        assert_eq!(begun.alarm.attempts, attempt);
        // Half of them end without an answer, as by a trap or a kill.
        if attempt % 2 == 1 {
            world.connection.end_alarm(&begun, Some("no"), now, false).unwrap();
        }
    }
    let crashed = CrashedAlarm {
        name: "poison".to_owned(),
        number: world.connection.alarm("poison").unwrap().unwrap().0.number,
        error: "unreachable".to_owned(),
    };
    let now = 100_000_000;
    assert!(world.connection.begin_alarm(now, Some(&crashed)).unwrap().is_none());
    let parked = world.connection.alarm("poison").unwrap().unwrap().0;
    assert_eq!((parked.next, parked.error.as_deref()), (None, Some("unreachable")));
    world.check_due(Some(1_000_000_000));
    assert!(world.begin_alarm(now).is_none());
    let list = world.connection.order_alarms(&AlarmOrder::List, now).unwrap();
    assert_eq!(
        (list.rows[0][0].clone(), list.rows[0][2].clone()),
        (text("poison"), text("parked"))
    );

    let retry = AlarmOrder::Retry { name: None };
    assert_eq!(world.connection.order_alarms(&retry, now).unwrap().changes, 1);
    world.check_due(Some(now));
    assert_eq!(world.begin_alarm(now).unwrap().alarm.attempts, 1, "with all of its tries");
    let remove = AlarmOrder::Drop { name: "poison".to_owned() };
    assert_eq!(world.connection.order_alarms(&remove, now).unwrap().changes, 1);
    world.check_due(Some(1_000_000_000));
}

/// The end of a run and the try of the next alarm are one transaction, as both by themselves.
#[test]
fn the_next_alarm_begins_with_the_end_of_the_one_before() {
    let mut world = World::new();
    for (name, due) in [("a", 100), ("b", 200), ("c", 300), ("later", 9_000)] {
        world.set(name, due);
    }
    let a = world.begin_alarm(500).unwrap();
    let before = world.session.mark();
    let b = world.connection.end_alarm(&a, None, 500, true).unwrap().unwrap();
    assert_eq!(world.session.mark(), before.next(), "one transaction");
    assert_eq!((b.alarm.name.as_str(), b.alarm.attempts, b.at), ("b", 1, 500));
    world.check_due(Some(300));
    // One that fails is not the next one, and one that was set again by its handler keeps its tries.
    world.set("b", 400);
    let c = world.connection.end_alarm(&b, Some("no b"), 500, true).unwrap().unwrap();
    assert_eq!(c.alarm.name, "c");
    let b = world.connection.end_alarm(&c, None, 500, true).unwrap().unwrap();
    assert_eq!((b.alarm.name.as_str(), b.alarm.attempts), ("b", 2));
    world.set("b", 450);
    assert_eq!(world.connection.alarm("b").unwrap().unwrap().0.attempts, 2, "its handler runs");
    world.connection.cancel_alarm("b").unwrap();
    assert!(world.connection.end_alarm(&b, None, 500, true).unwrap().is_none(), "none is due");
    world.set("b", 450);
    assert_eq!(world.connection.alarm("b").unwrap().unwrap().0.attempts, 0, "no handler runs");
    world.check_due(Some(450));
}

/// What has been sent, and parked messages that run again, come before the next alarm.
#[test]
fn no_alarm_follows_while_a_message_waits() {
    let mut world = World::new();
    world.set("a", 100);
    world.set("b", 200);
    let a = world.begin_alarm(500).unwrap();
    let to = ActorId::new("kind", "to").unwrap();
    world.connection.send_message(&to, "note", "x", 500).unwrap().unwrap();
    assert!(world.connection.end_alarm(&a, None, 500, true).unwrap().is_none());
    assert_eq!(world.begin_alarm(500).unwrap().alarm.name, "b", "it is not lost");
}

/// Rows that nothing but damage makes: the end of a run does not depend on them.
#[test]
fn an_end_is_kept_although_the_next_alarm_cannot_begin() {
    let mut world = World::new();
    world.set("a", 100);
    world.set("b", 200);
    let a = world.begin_alarm(500).unwrap();
    world.connection.damage_b();
    assert!(world.connection.end_alarm(&a, None, 500, true).unwrap().is_none());
    assert!(world.connection.alarm("a").unwrap().is_none(), "it has run");
    assert!(world.connection.begin_alarm(500, None).is_err());
}

#[test]
fn a_try_that_is_given_back_leaves_no_trace() {
    let mut world = World::new();
    world.set("a", 100);
    let begun = world.begin_alarm(100).unwrap();
    world.connection.end_alarm(&begun, Some("no a"), 200, false).unwrap();
    let before = world.shown();
    let begun = world.begin_alarm(5_000).unwrap();
    assert_eq!(begun.alarm.attempts, 2);
    world.connection.give_back_alarm(&begun).unwrap();
    assert_eq!(world.shown(), before);
    world.check_due(Some(2_200));
    // A row that was set in the meantime is another one.
    let begun = world.begin_alarm(5_000).unwrap();
    world.set("a", 7_000);
    world.connection.give_back_alarm(&begun).unwrap();
    world.check_due(Some(7_000));
}

#[test]
fn a_repeating_alarm_never_piles_up() {
    let mut world = World::new();
    world.set_as("tick", &Schedule::every(1_000).unwrap(), 1_000).unwrap().unwrap();
    let begun = world.begin_alarm(5_500).unwrap();
    assert_eq!(begun.alarm.schedule.missed(begun.alarm.due, begun.at), 4);
    world.connection.end_alarm(&begun, None, 5_600, false).unwrap();
    world.check_due(Some(6_000));
    assert!(world.begin_alarm(5_999).is_none());
    let begun = world.begin_alarm(6_000).unwrap();
    assert_eq!(begun.alarm.schedule.missed(begun.alarm.due, begun.at), 0);
}

#[test]
fn what_a_generation_has_set_its_successor_finds() {
    let mut world = World::new();
    world.set("a", 100);
    let number = world.connection.alarm("a").unwrap().unwrap().0.number;
    world.reopen();
    assert_eq!(world.connection.earliest_due().any(), None, "not looked yet");
    world.connection.look_for_due(true).unwrap();
    world.check_due(Some(100));
    world.set("a", 200);
    assert!(world.connection.alarm("a").unwrap().unwrap().0.number > number);
}

/// Rows of another database are not begun, and set no due time, until an operator switches them on.
#[test]
fn alarms_of_a_copy_are_off() {
    let mut world = World::new();
    world.set("a", 100);
    world.set("b", 200);
    // As a copy has them: only the host can write that.
    world.connection.as_of_another_database();
    world.connection.look_for_due(true).unwrap();
    assert_eq!(world.connection.earliest_due().any(), None);
    assert!(world.begin_alarm(1_000).is_none());
    let list = world.connection.order_alarms(&AlarmOrder::List, 1_000).unwrap();
    assert!(list.rows.iter().all(|row| row[2] == text("off")), "{list:?}");
    let retry = AlarmOrder::Retry { name: Some("b".to_owned()) };
    assert_eq!(world.connection.order_alarms(&retry, 1_000).unwrap().changes, 1);
    world.check_due(Some(1_000));
    assert_eq!(world.begin_alarm(1_000).unwrap().alarm.name, "b");
}

#[test]
fn alarms_are_bounded_and_replacing_one_adds_none() {
    let mut world = World::new();
    let transaction = world.connection.begin(TransactionMode::Deferred).unwrap();
    for number in 0..ALARMS_MAX {
        world.set(&format!("alarm {number}"), 1_000);
    }
    world.set("alarm 7", 500);
    assert_eq!(world.set_as("more", &Schedule::Once, 1).unwrap(), Err(TooManyAlarms));
    world.connection.commit(transaction).unwrap();
    world.check_due(Some(500));
    assert_eq!(world.shown().len(), usize::try_from(ALARMS_MAX).unwrap());
}

/// In each form in which SQL can name a table. Reports of the schema may name it: it is no secret.
#[test]
fn sql_does_not_reach_the_rows_of_alarms() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a); CREATE TEMP TABLE u(a)");
    world.set("a", 100);
    for sql in [
        "SELECT * FROM _stockade_alarm",
        "SELECT name FROM main._STOCKADE_alarm",
        "SELECT count(*) FROM \"_stockade_alarm\"",
        "SELECT (SELECT max(next) FROM [_stockade_alarm])",
        "WITH x AS (SELECT payload FROM `_stockade_alarm`) SELECT * FROM x",
        "INSERT INTO _stockade_alarm(name) VALUES ('x')",
        "REPLACE INTO _stockade_alarm(name) VALUES ('x')",
        "INSERT INTO t SELECT name FROM _stockade_alarm",
        "UPDATE _stockade_alarm SET next = 1",
        "DELETE FROM _stockade_alarm",
        "DELETE FROM _stockade_alarm WHERE 1 RETURNING name",
        "DROP TABLE _stockade_alarm",
        "DROP INDEX _stockade_alarm_next",
        "ALTER TABLE _stockade_alarm RENAME TO mine",
        "ALTER TABLE _stockade_alarm ADD COLUMN x",
        "ALTER TABLE t RENAME TO _stockade_other",
        "CREATE TABLE _stockade_other(a)",
        "CREATE TEMP TABLE _stockade_alarm(a)",
        "CREATE TABLE x AS SELECT * FROM _stockade_alarm",
        "CREATE TABLE x(a REFERENCES _stockade_alarm(name) ON DELETE CASCADE)",
        "CREATE INDEX i ON _stockade_alarm(payload)",
        "CREATE TRIGGER g AFTER INSERT ON _stockade_alarm BEGIN SELECT 1; END",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM _stockade_alarm; END",
        "CREATE TEMP TRIGGER g AFTER DELETE ON main._stockade_alarm BEGIN SELECT 1; END",
        "CREATE VIEW v AS SELECT * FROM _stockade_alarm",
        "CREATE VIRTUAL TABLE f USING fts5(name, content='_stockade_alarm')",
        "CREATE VIRTUAL TABLE _stockade_f USING fts5(name)",
        "EXPLAIN SELECT * FROM _stockade_alarm",
    ] {
        let result = world.connection.query(sql, &[]);
        assert!(matches!(result, Err(SqlError::Denied(_))), "{sql}: {result:?}");
    }
    let blob = world.connection.open_blob("_stockade_alarm", "payload", 1, false);
    assert!(matches!(blob, Err(SqlError::Denied(_))), "{blob:?}");
    // The host's own texts give no guest what was compiled for the host.
    let sql = "SELECT min(next) FROM main._stockade_alarm WHERE db = ?1 AND next IS NOT NULL";
    let result = world.connection.query(sql, &[Value::Null]);
    assert!(matches!(result, Err(SqlError::Denied(_))), "{sql}: {result:?}");
    for sql in [
        "SELECT * FROM pragma_table_info('_stockade_alarm')",
        "SELECT sql FROM sqlite_schema WHERE name = '_stockade_alarm'",
        "PRAGMA integrity_check",
        "VACUUM",
        "ANALYZE",
        "REINDEX",
    ] {
        assert!(world.connection.query(sql, &[]).is_ok(), "{sql}");
    }
    world.check_due(Some(100));
    assert_eq!(world.shown().len(), 1);
    for (write, sql) in
        [(false, "SELECT * FROM _stockade_alarm"), (true, "DELETE FROM _stockade_alarm")]
    {
        let result = world.connection.run_operator(sql, &[], write, 10);
        assert!(matches!(result, Err(SqlError::Denied(_))), "{sql}: {result:?}");
    }
}

/// The rowid of a guest's last insert is its own, whatever the host has inserted since.
#[test]
fn alarms_leave_the_last_rowid_alone() {
    let mut world = World::new();
    world.script("CREATE TABLE t(a)");
    let before = world.connection.execute("INSERT INTO t VALUES (1)", &[]).unwrap();
    world.set("a", 100);
    assert_eq!(world.integer("SELECT last_insert_rowid()"), before.last_insert_rowid);
}
