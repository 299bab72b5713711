//! One database: from the claim to the disposal, again until it has moved.
//!
//! ```text
//! look ─► claim ─► copy, copy the rest ─► take ─► copy the rest ─► complete ─► give ─► arrive ─► dispose
//!   ▲                                              │ taken over by a process, or
//!   └────────────── pause ◄────────────────────────┘ claimed by another mover
//! ```

use stockade_depot::{DbId, StoreError};

use super::arrival::{Claim, Completed, From};
use super::copy::{Copied, Part};
use super::disposal::Discard;
use super::stored::StoredHead;
use super::taking::Given;
use super::{MoveError, MoveStep, Mover};
use crate::limits;
use crate::rows::Sealed;

/// What one try has come to.
enum Tried {
    /// It has moved.
    Moved,
    /// There is nothing to move: it was destroyed, or another mover has finished.
    Nothing,
    /// It was taken over, or claimed by another mover: which.
    Again(&'static str),
    /// The copy is not what was copied.
    Differs(String),
}

/// Why a try has come to nothing.
const TAKEN_OVER: &str = "it is not what was copied";
/// The same.
const CLAIM_LOST: &str = "another mover claimed the copy";

/// What a mover keeps of one database from try to try.
struct Under {
    db: DbId,
    token: [u8; 16],
    /// The token before that one.
    earlier: Option<[u8; 16]>,
    /// How often another mover had the copy.
    others: u32,
    copied: Copied,
    /// The head that it has taken.
    taken: Option<StoredHead>,
    /// Whether a step that gives the database away may be on its way to the source: another mover's, or
    /// an earlier one of its own. Until that is settled there, nothing of the copy is deleted.
    is_contested: bool,
    /// Whether the copy is known to have nothing but what this mover has copied.
    is_own: bool,
}

impl Under {
    fn new(db: DbId, token: [u8; 16]) -> Self {
        Self {
            db,
            token,
            earlier: None,
            others: 0,
            copied: Copied::default(),
            taken: None,
            is_contested: false,
            is_own: false,
        }
    }
}

impl Mover<'_> {
    /// Moves one database.
    pub(super) async fn move_database(&self, db: DbId) -> Result<(), MoveError> {
        let token = self.fresh_token()?;
        let mut under = Under::new(db, token);
        let (mut tries, mut failures, mut differed) = (0, 0, 0);
        loop {
            let tried = self.try_to_move(&mut under).await;
            let was_taken = under.taken.is_some();
            if !matches!(tried, Ok(Tried::Moved | Tried::Nothing)) {
                self.release(&mut under).await;
            }
            self.counted(|moved| moved.retaken += u64::from(was_taken));
            match tried {
                Ok(Tried::Moved) => {
                    self.counted(|moved| moved.databases += 1);
                    return Ok(());
                }
                Ok(Tried::Nothing) => return Ok(()),
                Ok(Tried::Again(why)) => {
                    tries += 1;
                    tracing::debug!(%db, why, "a database is moved again");
                    if tries >= limits::MOVE_TRIES_MAX {
                        return Err(MoveError::Busy { shard: self.shard, db: Some(db), tries });
                    }
                }
                Ok(Tried::Differs(what)) => {
                    differed += 1;
                    tracing::warn!(%db, what, "a copy differs; it is made again");
                    under.copied.is_tainted = true;
                    if differed >= limits::MOVE_DIFFERS_MAX {
                        return Err(MoveError::Differs { db, what });
                    }
                }
                Err(error) if error.may_pass() && failures < limits::MOVE_FAILURES_MAX => {
                    failures += 1;
                    tracing::info!(%db, %error, "a step of a move failed; again");
                    tokio::time::sleep(limits::MOVE_RETRY_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(limits::MOVE_PAUSE * tries).await;
        }
    }

    fn fresh_token(&self) -> Result<[u8; 16], MoveError> {
        let mut token = [0; 16];
        getrandom::fill(&mut token).map_err(|error| {
            self.source.failed(StoreError::Unavailable(format!("random bytes: {error}")))
        })?;
        Ok(token)
    }

    /// Gives back what a try has taken. If that fails, a takeover does it, or the next try.
    async fn release(&self, under: &mut Under) {
        if let Some(taken) = under.taken.take()
            && let Err(error) = self.let_go(under.db, &taken).await
        {
            tracing::info!(db = %under.db, %error, "not given back");
            under.is_contested = true;
        }
    }

    async fn try_to_move(&self, under: &mut Under) -> Result<Tried, MoveError> {
        let db = under.db;
        let Some(head) = self.head_at_source(db).await? else { return Ok(Tried::Nothing) };
        if head.sealed >= Sealed::Moved {
            return self.finish(db, &head).await;
        }
        if under.copied.is_tainted {
            // Writes of the copy so far that are still on their way are refused from the next claim on.
            under.earlier = Some(under.token);
            (under.token, under.is_own) = (self.fresh_token()?, false);
        }
        match self.claim_in_turn(under, &head).await? {
            Claim::Empty => {
                (under.copied, under.is_own) = (Copied::default(), true);
                self.tell(MoveStep::Claimed(db));
            }
            Claim::Ours if under.is_own => {}
            // Or its own, by a claim whose answer was lost.
            Claim::Ours | Claim::Left | Claim::Others => {
                (under.is_contested, under.copied.is_tainted) = (true, true);
            }
            Claim::Valid => {
                return match self.head_at_source(db).await? {
                    None => Ok(Tried::Nothing),
                    Some(head) if head.sealed >= Sealed::Moved => self.finish(db, &head).await,
                    Some(_) => Ok(Tried::Differs("both primaries have it".to_owned())),
                };
            }
            Claim::Over => return Ok(Tried::Nothing),
        }
        if under.is_contested {
            match self.end_other_hold(db).await? {
                None => return Ok(Tried::Nothing),
                Some(head) if head.sealed >= Sealed::Moved => return self.finish(db, &head).await,
                Some(_) => under.is_contested = false,
            }
        }
        if under.copied.is_tainted {
            self.discard(db, Some(&under.token), Discard::Rows).await?;
            (under.copied, under.is_own) = (Copied::default(), true);
        }
        if !head.is_importing()
            && let Some(ended) = self.copy_while_it_lives(under).await?
        {
            return Ok(ended);
        }
        let Some(taken) = self.take(db, &under.token).await? else {
            return Ok(Tried::Again("it was gone when it was to be taken"));
        };
        under.taken = Some(taken.clone());
        self.tell(MoveStep::Taken(db));
        self.give_taken(under, &taken).await
    }

    /// Claims the copy: immediately if no other mover has it, or else after a time in which that one may
    /// end. Of two that live, one has a longer time from some try on than the other needs.
    async fn claim_in_turn(
        &self,
        under: &mut Under,
        head: &StoredHead,
    ) -> Result<Claim, MoveError> {
        let (db, token) = (under.db, &under.token);
        let earlier = under.earlier.as_ref().map(|token| &token[..]);
        let claimed = self.claim(db, head, token, From::Itself(earlier)).await?;
        if claimed != Claim::Others {
            return Ok(claimed);
        }
        let times = 1 << under.others.min(limits::MOVE_OTHERS_MAX);
        under.others += 1;
        // At random: two that wait for each other do not do so in step.
        let part = 256 + u32::from(token[0]);
        self.wait_for_other(db, limits::MOVE_WINDOW * times * part / 256).await?;
        if self.head_at_source(db).await?.is_none_or(|head| head.sealed >= Sealed::Moved) {
            return Ok(Claim::Others);
        }
        self.claim(db, head, token, From::Any).await
    }

    /// Copies until little is left. `Some`: the try ends.
    async fn copy_while_it_lives(&self, under: &mut Under) -> Result<Option<Tried>, MoveError> {
        for _ in 0..limits::MOVE_ROUNDS_MAX {
            let Some(head) = self.head_at_source(under.db).await? else {
                return Ok(Some(Tried::Nothing));
            };
            if head.sealed >= Sealed::Moved || head.is_importing() {
                return Ok(Some(Tried::Again("it was moved, or is imported")));
            }
            let behind = head.txid - under.copied.upto;
            let part = self.copy(under.db, &under.token, &mut under.copied, head.txid).await?;
            if let Some(ended) = ended_by(part) {
                return Ok(Some(ended));
            }
            self.tell(MoveStep::Copied(under.db));
            if behind <= limits::MOVE_TAIL_COMMITS {
                break;
            }
        }
        Ok(None)
    }

    /// Copies the rest of a taken database, and gives it away.
    async fn give_taken(&self, under: &mut Under, taken: &StoredHead) -> Result<Tried, MoveError> {
        let db = under.db;
        // Its commits may be made again: what is copied now is good for this try.
        under.copied.is_tainted = taken.is_importing();
        let (part, rest) = tokio::try_join!(
            self.copy(db, &under.token, &mut under.copied, taken.txid),
            self.rest_of(db, taken),
        )?;
        if let Some(ended) = ended_by(part) {
            return Ok(ended);
        }
        if let Err(what) = under.copied.ends_with(taken) {
            return Ok(Tried::Differs(what));
        }
        match self.complete(db, taken, &rest).await? {
            Completed::Whole => self.tell(MoveStep::Complete(db)),
            Completed::ClaimLost => return Ok(Tried::Again(CLAIM_LOST)),
            Completed::NameTaken => {
                self.settle_arriving().await?;
                return Ok(Tried::Again("its name was another copy's"));
            }
            Completed::Differs(what) => {
                // Retention may have trimmed what was counted, above another floor.
                let is_still = self.head_at_source(db).await?.is_some_and(|now| now == *taken);
                return Ok(if is_still { Tried::Differs(what) } else { Tried::Again(TAKEN_OVER) });
            }
        }
        match self.give(db, taken, &rest).await? {
            Given::Stays => Ok(Tried::Again(TAKEN_OVER)),
            Given::Away => {
                under.taken = None;
                self.tell(MoveStep::Moved(db));
                self.finish(db, taken).await
            }
        }
    }

    /// What is left to do for a database that the source has given away.
    async fn finish(&self, db: DbId, moved: &StoredHead) -> Result<Tried, MoveError> {
        self.arrive(db, moved).await?;
        self.tell(MoveStep::Arrived(db));
        self.dispose(db).await?;
        self.tell(MoveStep::Disposed(db));
        Ok(Tried::Moved)
    }
}

/// How a part of a copy ends a try.
fn ended_by(part: Part) -> Option<Tried> {
    match part {
        Part::There => None,
        Part::ClaimLost => Some(Tried::Again(CLAIM_LOST)),
        Part::Broken(what) => Some(Tried::Differs(what)),
    }
}
