//! Records of calls: which call may run, what is recorded of it, and how much of that is kept.

use stockade_depot::store::DueLook;
use stockade_depot::{DepotLimits, Shard};

use super::World;
use crate::limits::{CALL_RECORDS_KEPT, CALL_RECORDS_MAX, Limits};
use crate::sqlite::{
    CallName, MayRun, Question, Recorded, RecordedCall, SqlError, TransactionMode, Unrecorded,
};

const DAY: i64 = 86_400_000;

fn of(name: &str, principal: &str, id: &str) -> CallName {
    let [name, principal, id] = [name, principal, id].map(str::to_owned);
    CallName { name, principal, id }
}

fn call_of(of: CallName, until: i64) -> RecordedCall {
    RecordedCall { of, method: "m".to_owned(), arguments: [1; 32], until }
}

fn call(id: &str) -> RecordedCall {
    call_of(of("kind/a", "caller", id), DAY)
}

fn done(answer: &str) -> Recorded {
    Recorded::Done { is_error: false, answer: Some(answer.to_owned()) }
}

impl World {
    fn may_run(&mut self, call: &RecordedCall) -> MayRun {
        self.connection.begin_call(call, 0, Unrecorded::Run).unwrap()
    }

    fn end_call(&mut self, call: &RecordedCall, answer: &str) {
        self.connection.end_call(call, false, Some(answer.to_owned())).unwrap();
    }

    fn ask(&mut self, of: CallName, settle_until: Option<i64>) -> (Recorded, bool) {
        let question = Question { of, settle_until };
        let rows = self.connection.ask_call(&question, 0).unwrap();
        Recorded::read(&rows.rows).expect("it reads")
    }
}

#[test]
fn a_call_runs_once() {
    let mut world = World::new();
    let first = call("1");
    assert_eq!(world.ask(first.of.clone(), None), (Recorded::Absent, false));
    assert_eq!(world.may_run(&first), MayRun::Yes);
    world.end_call(&first, "{\"ok\":1}");
    assert_eq!(world.may_run(&first), MayRun::Recorded(done("{\"ok\":1}")));
    world.reopen();
    assert_eq!(world.ask(first.of, Some(DAY)), (done("{\"ok\":1}"), false));
    let begun = call("2");
    let may = world.connection.begin_call(&begun, 0, Unrecorded::Begin).unwrap();
    assert_eq!(may, MayRun::Yes);
    assert_eq!(world.may_run(&begun), MayRun::Recorded(Recorded::Begun));
    world.end_call(&begun, "2");
    assert_eq!(world.may_run(&begun), MayRun::Recorded(done("2")));
}

#[test]
fn a_record_counts_for_its_name_its_caller_and_its_words() {
    let mut world = World::new();
    let own = call("1");
    world.end_call(&own, "1");
    for other in [of("kind/b", "caller", "1"), of("kind/a", "operator", "1")] {
        assert_eq!(world.ask(other.clone(), None), (Recorded::Absent, false));
        assert_eq!(world.may_run(&call_of(other, DAY)), MayRun::Yes);
    }
    let other_method = RecordedCall { method: "n".to_owned(), ..own.clone() };
    let other_arguments = RecordedCall { arguments: [2; 32], ..own.clone() };
    for other in [other_method, other_arguments] {
        assert_eq!(world.may_run(&other), MayRun::Reused);
    }
    assert_eq!(world.may_run(&own), MayRun::Recorded(done("1")));
}

#[test]
fn what_is_settled_never_runs() {
    let mut world = World::new();
    let late = call("1");
    assert_eq!(world.ask(late.of.clone(), None), (Recorded::Absent, false));
    assert_eq!(world.ask(late.of.clone(), Some(DAY)), (Recorded::Never, false));
    world.reopen();
    assert_eq!(world.may_run(&late), MayRun::Recorded(Recorded::Never));
    let other = RecordedCall { method: "n".to_owned(), ..late.clone() };
    assert_eq!(world.may_run(&other), MayRun::Recorded(Recorded::Never), "whatever it calls");
    assert_eq!(world.ask(late.of, None), (Recorded::Never, false));
}

#[test]
fn a_record_is_in_the_transaction_that_is_open() {
    let mut world = World::new();
    let undone = call("1");
    let transaction = world.connection.begin(TransactionMode::Immediate).unwrap();
    world.end_call(&undone, "1");
    world.connection.rollback(transaction).unwrap();
    assert_eq!(world.may_run(&undone), MayRun::Yes);
    let transaction = world.connection.begin(TransactionMode::Immediate).unwrap();
    world.end_call(&undone, "2");
    world.connection.commit(transaction).unwrap();
    assert_eq!(world.may_run(&undone), MayRun::Recorded(done("2")));
}

#[test]
fn old_records_go_and_the_newest_stay() {
    let mut world = World::with(Limits::default(), DepotLimits::default());
    let count = CALL_RECORDS_KEPT + 50;
    let transaction = world.connection.begin(TransactionMode::Immediate).unwrap();
    for number in 0..count {
        world.end_call(&call(&number.to_string()), "1");
    }
    world.connection.commit(transaction).unwrap();
    let kept = |world: &mut World, now: i64| {
        // Each new record removes some; a generous number of them removes all that may go.
        for number in 0..20 {
            let name = of("kind/a", "caller", &format!("{now}-{number}"));
            let new = call_of(name, now + DAY);
            world.connection.begin_call(&new, now, Unrecorded::Run).unwrap();
        }
        let oldest = world.ask(of("kind/a", "caller", "0"), None).0 != Recorded::Absent;
        let newest = world.ask(of("kind/a", "caller", &(count - 1).to_string()), None).0;
        assert_ne!(newest, Recorded::Absent, "the newest stay whatever the clock says");
        oldest
    };
    assert!(kept(&mut world, DAY), "not older than they may become");
    assert!(!kept(&mut world, DAY + 1));
    let first_kept = of("kind/a", "caller", &(count - CALL_RECORDS_KEPT).to_string());
    assert_ne!(world.ask(first_kept, None).0, Recorded::Absent);
}

/// What is recorded stays and is found; a new id waits until the oldest record is too old.
#[test]
fn a_new_id_finds_no_room_at_the_limit_until_a_record_goes() {
    let mut world = World::new();
    let (first, last, beyond) = (call("first"), call("last"), call("beyond"));
    world.end_call(&first, "1");
    world.connection.fill_calls(CALL_RECORDS_MAX - 2, DAY);
    assert_eq!(world.may_run(&last), MayRun::Yes, "there is room for one more");
    world.end_call(&last, "2");
    for unrecorded in [Unrecorded::Run, Unrecorded::Begin] {
        let may = world.connection.begin_call(&beyond, 0, unrecorded).unwrap();
        assert_eq!(may, MayRun::Full, "{unrecorded:?}");
    }
    assert_eq!(world.ask(beyond.of.clone(), Some(DAY)), (Recorded::Absent, true));
    assert_eq!(world.ask(beyond.of.clone(), None), (Recorded::Absent, false));
    for (recorded, answer) in [(&first, "1"), (&last, "2")] {
        assert_eq!(world.may_run(recorded), MayRun::Recorded(done(answer)));
    }
    let may = world.connection.begin_call(&beyond, DAY + 1, Unrecorded::Run).unwrap();
    assert_eq!(may, MayRun::Yes, "the oldest have gone");
    assert_eq!(world.ask(first.of, None), (Recorded::Absent, false));
}

#[test]
fn no_sql_reaches_records() {
    let mut world = World::new();
    world.end_call(&call("1"), "1");
    for sql in [
        "SELECT * FROM _stockade_call",
        "DELETE FROM main._Stockade_Call",
        "CREATE TRIGGER t AFTER INSERT ON _stockade_call BEGIN SELECT 1; END",
        "CREATE VIEW v AS SELECT * FROM _stockade_call",
        "DROP TABLE _stockade_call",
    ] {
        assert!(matches!(world.run(sql), Err(SqlError::Denied(_))), "{sql}");
        let read = world.connection.run_operator(sql, &[], true, 10);
        assert!(matches!(read, Err(SqlError::Denied(_))), "{sql}");
    }
}

/// The format of the head is raised by the commit that makes the table: see record 0050.
#[test]
fn the_first_record_is_said_to_the_store() {
    let mut world = World::new();
    let format = |world: &World| {
        world.runtime.block_on(async {
            world.session.durable(world.session.mark()).await.unwrap();
            let store = world.depot.store();
            let state = store.actor(&World::actor()).await.unwrap().unwrap();
            let shards = Shard::all(store.shards()).collect();
            let look = DueLook { shards, until: i64::MAX, after: None, limit: 10 };
            assert!(store.due(look).await.unwrap().rows.is_empty(), "nothing is due");
            state.head.due_work
        })
    };
    world.script("CREATE TABLE t(a)");
    assert!(!format(&world));
    world.end_call(&call("1"), "1");
    assert!(format(&world));
}
