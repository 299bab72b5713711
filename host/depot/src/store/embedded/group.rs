//! One group of write steps: one transaction, one sync, one savepoint for each member.
//!
//! ```text
//! BEGIN IMMEDIATE
//!   SAVEPOINT member  step 1  RELEASE                       kept
//!   SAVEPOINT member  step 2  ROLLBACK TO, RELEASE          refused: leaves nothing behind
//!   SAVEPOINT member  step 3  RELEASE                       kept
//! COMMIT                                                    one sync for all
//! replies                                                   only now
//! ```
//! A group of one has no savepoint: its refusal rolls the transaction back.
//!
//! Invariants:
//! - no caller gets an answer before COMMIT has returned, refusals included: they may rest on what
//!   an earlier member of the same group wrote;
//! - a COMMIT that fails for any reason but a lock or a full disk is `Unknown` for every member
//!   that wrote, and the file must not be written again;
//! - nor must it after a read or a write that the system refused, which is reported before any
//!   answer of the group.

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::failure;
use crate::error::{FailureCause, StoreError};
use crate::store::Durable;

/// Why a step was undone that did nothing wrong.
const ANOTHER_FAILED: &str = "another step of the same group failed";

/// A write step on its way through the committer.
pub(super) trait Member: Send {
    /// How much it writes, roughly.
    fn bytes(&self) -> u64;
    /// Whether it is refused while the store is full.
    fn grows(&self) -> bool;
    /// Why the file must not be used again, if running the step has shown that.
    fn failure(&self) -> Option<&FailureCause>;
    /// Runs the step inside the group's transaction. False: undo it.
    fn apply(&mut self, conn: &Connection, now_ms: u64) -> bool;
    /// Tells the caller, once, how the group ended.
    fn reply(self: Box<Self>, group: Result<(), StoreError>);
}

/// What a step writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// So many bytes of what guests keep, roughly: refused while the store is full.
    Grows(u64),
    /// So many bytes, roughly, of what the store itself needs to continue, or to get smaller.
    Keeps(u64),
}

impl Size {
    fn bytes(self) -> u64 {
        let (Self::Grows(bytes) | Self::Keeps(bytes)) = self;
        bytes
    }
}

/// A step and the place where its answer goes.
pub(super) struct Step<F, T> {
    size: Size,
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    /// Called on success, before the answer is sent.
    durable: Option<Durable>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Step<F, T>
where
    F: FnOnce(&Connection, u64) -> Result<T, StoreError> + Send,
    T: Send,
{
    /// A step that has not run, and where to wait for its answer.
    pub(super) fn new(size: Size, work: F) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (answer, receiver) = oneshot::channel();
        (Self { size, work: Some(work), result: None, durable: None, answer }, receiver)
    }

    /// The step, which tells of its success first.
    pub(super) fn telling(self, durable: Option<Durable>) -> Self {
        Self { durable, ..self }
    }
}

impl<F, T> Member for Step<F, T>
where
    F: FnOnce(&Connection, u64) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn bytes(&self) -> u64 {
        self.size.bytes()
    }

    fn grows(&self) -> bool {
        matches!(self.size, Size::Grows(_))
    }

    fn failure(&self) -> Option<&FailureCause> {
        self.result.as_ref()?.as_ref().err().and_then(failure::cause_of)
    }

    fn apply(&mut self, conn: &Connection, now_ms: u64) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        let result = work(conn, now_ms);
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn reply(self: Box<Self>, group: Result<(), StoreError>) {
        let Self { result, durable, answer: caller, .. } = *self;
        let answer = match (group, result) {
            (Ok(()), Some(own)) => own,
            (Ok(()), None) => Err(StoreError::Unavailable("the step did not run".into())),
            // It wrote nothing, and what refused it may not have become durable.
            (Err(StoreError::Unknown(cause)), Some(Err(_)) | None) => {
                Err(StoreError::Unavailable(cause))
            }
            (Err(error), _) => Err(error),
        };
        if let (Ok(_), Some(durable)) = (&answer, durable) {
            durable();
        }
        // The caller may have given up waiting: it will read the verdict.
        let _ = caller.send(answer);
    }
}

/// What a group tells about the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileState {
    /// It can be written again.
    Sound,
    /// The system refused to write, to sync or to read it: what is on disk is not known.
    Failed(FailureCause),
}

/// Called with why the file must not be used again, before any caller is answered.
pub(super) type GiveUp<'a> = &'a dyn Fn(FailureCause);

/// Runs a group to its end and answers every member.
pub(super) fn run(
    conn: &Connection,
    members: Vec<Box<dyn Member>>,
    now_ms: u64,
    give_up: GiveUp<'_>,
) -> FileState {
    let mut waiting = members.into_iter();
    let mut state = FileState::Sound;
    while state == FileState::Sound && waiting.len() > 0 {
        state = run_until_rollback(conn, &mut waiting, now_ms, give_up);
    }
    if let FileState::Failed(cause) = &state {
        for member in waiting {
            member.reply(Err(failure::failed(cause.clone())));
        }
    }
    state
}

/// Runs members in one transaction, up to the last one or to one whose failure made SQLite roll the
/// transaction back.
fn run_until_rollback(
    conn: &Connection,
    waiting: &mut std::vec::IntoIter<Box<dyn Member>>,
    now_ms: u64,
    give_up: GiveUp<'_>,
) -> FileState {
    let mut ran = Vec::with_capacity(waiting.len());
    if let Err(error) = statement(conn, "BEGIN IMMEDIATE") {
        let error = StoreError::from(error);
        let state = state_after(&error, give_up);
        for member in waiting {
            member.reply(Err(error.clone()));
        }
        return state;
    }
    if waiting.len() == 1
        && let Some(member) = waiting.next()
    {
        return run_alone(conn, member, now_ms, give_up);
    }
    for mut member in waiting {
        let undone = apply(conn, member.as_mut(), now_ms);
        if let Some(cause) = member.failure().cloned() {
            return failed(conn, ran, member, cause, give_up);
        }
        if conn.is_autocommit() {
            return rolled_back(ran, member);
        }
        if let Err(error) = undone {
            roll_back(conn);
            let error = StoreError::from(error);
            let state = state_after(&error, give_up);
            let others = match &state {
                FileState::Failed(_) => error.clone(),
                FileState::Sound => StoreError::Unavailable(ANOTHER_FAILED.into()),
            };
            answer(ran, &Err(others));
            member.reply(Err(error));
            return state;
        }
        ran.push(member);
    }
    commit(conn, ran, give_up)
}

/// Runs the only member of a group. It needs no savepoint, for which SQLite would copy each page
/// that it changes: the transaction is its own.
fn run_alone(
    conn: &Connection,
    mut member: Box<dyn Member>,
    now_ms: u64,
    give_up: GiveUp<'_>,
) -> FileState {
    if member.apply(conn, now_ms) && !conn.is_autocommit() {
        return commit(conn, vec![member], give_up);
    }
    if let Some(cause) = member.failure().cloned() {
        return failed(conn, Vec::new(), member, cause, give_up);
    }
    if conn.is_autocommit() {
        return rolled_back(Vec::new(), member);
    }
    roll_back(conn);
    member.reply(Ok(()));
    FileState::Sound
}

/// Runs one member under its savepoint. An error is the savepoint's, not the member's.
fn apply(conn: &Connection, member: &mut dyn Member, now_ms: u64) -> rusqlite::Result<()> {
    statement(conn, "SAVEPOINT member")?;
    if !member.apply(conn, now_ms) {
        if conn.is_autocommit() {
            return Ok(());
        }
        statement(conn, "ROLLBACK TO member")?;
    }
    statement(conn, "RELEASE member")
}

/// One of the few statements around members, compiled once.
fn statement(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}

/// What an error outside of a member's step says about the file.
fn state_after(error: &StoreError, give_up: GiveUp<'_>) -> FileState {
    let Some(cause) = failure::cause_of(error) else { return FileState::Sound };
    give_up(cause.clone());
    FileState::Failed(cause.clone())
}

/// The system refused what a member asked for: nothing of the group is kept, nor the file used
/// again.
fn failed(
    conn: &Connection,
    ran: Vec<Box<dyn Member>>,
    culprit: Box<dyn Member>,
    cause: FailureCause,
    give_up: GiveUp<'_>,
) -> FileState {
    give_up(cause.clone());
    roll_back(conn);
    answer(ran, &Err(failure::failed(cause.clone())));
    culprit.reply(Ok(()));
    FileState::Failed(cause)
}

/// A member's failure (no room) undid the whole transaction.
fn rolled_back(ran: Vec<Box<dyn Member>>, culprit: Box<dyn Member>) -> FileState {
    answer(ran, &Err(StoreError::Unavailable(ANOTHER_FAILED.into())));
    culprit.reply(Ok(()));
    FileState::Sound
}

fn commit(conn: &Connection, ran: Vec<Box<dyn Member>>, give_up: GiveUp<'_>) -> FileState {
    let Err(error) = statement(conn, "COMMIT") else {
        answer(ran, &Ok(()));
        return FileState::Sound;
    };
    roll_back(conn);
    match failure::code(&error) {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            answer(ran, &Err(StoreError::Unavailable(error.to_string())));
            FileState::Sound
        }
        // The log's last frame was not written, so the transaction is not in it.
        Some(ErrorCode::DiskFull) => {
            answer(ran, &Err(failure::full()));
            FileState::Sound
        }
        _ => {
            let cause = FailureCause::Commit(error.to_string());
            give_up(cause.clone());
            let told = format!("commit of the store's file failed: {error}");
            answer(ran, &Err(StoreError::Unknown(told)));
            FileState::Failed(cause)
        }
    }
}

/// Ends a transaction that cannot be committed. SQLite may have ended it already.
fn roll_back(conn: &Connection) {
    if !conn.is_autocommit() {
        let _ = conn.execute_batch("ROLLBACK");
    }
}

fn answer(members: Vec<Box<dyn Member>>, group: &Result<(), StoreError>) {
    for member in members {
        member.reply(group.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<i64, StoreError>>;

    fn table() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY, y)").unwrap();
        conn
    }

    fn rows(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    /// A step that inserts `x` with `bytes` of payload, then fails with `fail` if there is one.
    fn insert(x: i64, bytes: i64, fail: Option<StoreError>) -> (Box<dyn Member>, Answer) {
        let (step, answer) = Step::new(Size::Grows(0), move |conn: &Connection, _| {
            conn.execute("INSERT INTO t VALUES (?1, zeroblob(?2))", [x, bytes])?;
            fail.map_or(Ok(x), Err)
        });
        (Box::new(step), answer)
    }

    fn check(
        conn: &Connection,
        steps: Vec<(Box<dyn Member>, Answer)>,
    ) -> (FileState, Vec<Result<i64, StoreError>>) {
        let (members, answers): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        let state = run(conn, members, 0, &|_| ());
        assert!(conn.is_autocommit(), "no transaction is left open");
        (state, answers.into_iter().map(|mut answer| answer.try_recv().unwrap()).collect())
    }

    #[test]
    fn a_refused_member_leaves_nothing_and_stops_nobody() {
        let conn = table();
        let (state, answers) = check(
            &conn,
            vec![insert(1, 10, None), insert(2, 10, Some(StoreError::Closed)), insert(3, 10, None)],
        );
        assert_eq!(state, FileState::Sound);
        assert_eq!(answers, [Ok(1), Err(StoreError::Closed), Ok(3)]);
        assert_eq!(rows(&conn), 2);
    }

    #[test]
    fn a_refused_member_that_is_alone_leaves_nothing() {
        let conn = table();
        let (state, answers) = check(&conn, vec![insert(1, 10, Some(StoreError::Closed))]);
        assert_eq!((state, answers), (FileState::Sound, vec![Err(StoreError::Closed)]));
        assert_eq!(rows(&conn), 0);
        conn.execute_batch("PRAGMA max_page_count = 20").unwrap();
        let (state, answers) = check(&conn, vec![insert(2, 1 << 20, None)]);
        let full = Err(failure::full());
        assert_eq!((state, answers), (FileState::Sound, vec![full]));
        assert_eq!(rows(&conn), 0);
        let (state, answers) = check(&conn, vec![insert(3, 10, None)]);
        assert_eq!((state, answers), (FileState::Sound, vec![Ok(3)]));
        assert_eq!(rows(&conn), 1);
    }

    #[test]
    fn a_failed_commit_is_unknown_for_all_that_wrote() {
        let mut conn = table();
        conn.commit_hook(Some(|| true)).unwrap();
        let (state, answers) =
            check(&conn, vec![insert(1, 10, None), insert(2, 10, Some(StoreError::Closed))]);
        assert!(matches!(state, FileState::Failed(_)), "{state:?}");
        assert!(matches!(answers[0], Err(StoreError::Unknown(_))), "{answers:?}");
        assert!(matches!(answers[1], Err(StoreError::Unavailable(_))), "{answers:?}");
        assert_eq!(rows(&conn), 0);
    }

    #[test]
    fn a_full_file_refuses_the_large_step_and_later_ones_go_on() {
        let conn = table();
        conn.execute_batch("PRAGMA max_page_count = 20").unwrap();
        let (state, answers) =
            check(&conn, vec![insert(1, 10, None), insert(2, 1 << 20, None), insert(3, 10, None)]);
        assert_eq!(state, FileState::Sound);
        let full = Err(failure::full());
        assert_eq!(answers[1], full);
        assert_eq!(answers[2], Ok(3));
        // Whether SQLite undid the statement or the transaction, the answer tells the truth.
        let kept = i64::from(answers[0] == Ok(1)) + 1;
        assert_eq!(rows(&conn), kept, "{answers:?}");
    }
}
