//! The mover: reads the primaries, sends one step, and reads again.
//!
//! It keeps nothing but what it has taken, so that a mover that is started again continues where
//! the rows are. Each step has its conditions in the primary: two movers do not harm each other.

use super::store::{Answer, Head, Sealed, State, Step};
use super::{Letter, Party, Shards, World};
use crate::Variant;

/// A process that moves the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mover {
    /// To where.
    pub to: usize,
    /// From where, by which move, once it has begun.
    pub began: Option<(usize, u8)>,
    /// Its number, which is its claim on copies.
    pub claim: u8,
    /// The copy that it writes, and whether another mover had begun that.
    pub claimed: Option<(usize, bool)>,
    /// The head that it has taken.
    pub taken: Option<Taken>,
    /// A step of it is on its way.
    pub waits: bool,
}

/// A head that a mover has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Taken {
    /// Of which database.
    pub db: usize,
    /// The mover's generation of it.
    pub generation: u8,
    /// The pins that the copy has, once it is complete.
    pub complete: Option<bool>,
}

/// What a mover does next.
enum Next {
    Send(usize, Step),
    Began(usize, u8),
    Ends,
}

impl Shards {
    /// A mover is started.
    pub(super) fn start(&self, world: &mut World, at: usize, to: usize) {
        let claim = self.size.runs - world.left.runs;
        world.movers[at] =
            Some(Mover { to, began: None, claim, claimed: None, taken: None, waits: false });
    }

    /// Whether a mover to that primary has anything to do.
    pub(super) fn may_start(&self, world: &World, to: usize) -> bool {
        match self.begin(world, to) {
            Next::Send(_, Step::Leave { version, .. }) => version <= self.size.moves,
            Next::Send(..) | Next::Began(..) => true,
            Next::Ends => false,
        }
    }

    /// The next step of a mover.
    pub(super) fn move_on(&self, world: &mut World, at: usize) {
        let Some(mut mover) = world.movers[at] else { return };
        let next = match mover.began {
            None => self.begin(world, mover.to),
            Some((from, version)) => self.work(world, mover, from, version),
        };
        match next {
            Next::Send(to, step) => {
                mover.waits = true;
                let awaited = Some(Party::Mover(at));
                world.letters.push(Letter { awaited, to, directed: None, step });
                world.movers[at] = Some(mover);
            }
            Next::Began(from, version) => {
                mover.began = Some((from, version));
                world.movers[at] = Some(mover);
            }
            Next::Ends => world.movers[at] = None,
        }
    }

    /// Where the shard is, and whether it may go to `to`.
    fn begin(&self, world: &World, to: usize) -> Next {
        let state = world.primaries[to].shard.state;
        for (at, books) in world.primaries.iter().enumerate() {
            if at == to {
                continue;
            }
            let version = books.shard.version;
            match books.shard.state {
                State::Here => return Next::Send(at, Step::Leave { to, version: version + 1 }),
                State::Leaving(other) => {
                    let joins = other == to || !self.checks.make(Variant::MoverTarget);
                    return if joins { Next::Began(at, version) } else { Next::Ends };
                }
                State::Gone(other)
                    if other == to && (state == State::Coming(at) || books.has_rows()) =>
                {
                    return Next::Began(at, version);
                }
                State::Gone(_) | State::Coming(_) => {}
            }
        }
        Next::Ends
    }

    fn work(&self, world: &World, mover: Mover, from: usize, version: u8) -> Next {
        let (source, target) = (&world.primaries[from], &world.primaries[mover.to]);
        let gone = source.shard.state == State::Gone(mover.to);
        match target.shard.state {
            State::Gone(_) if target.has_rows() => Next::Send(mover.to, Step::Purge),
            State::Gone(_) if !gone => Next::Send(mover.to, Step::Come { from, version }),
            State::Coming(_) if target.shard.version == version => {
                self.move_databases(world, mover, from, version)
            }
            State::Here if !gone && !self.checks.make(Variant::GoneFirst) => {
                let step = Step::Flip { to: mover.to, version };
                if matches!(source.shard.state, State::Leaving(_)) {
                    Next::Send(from, step)
                } else {
                    Next::Ends
                }
            }
            State::Here if gone && source.has_rows() => Next::Send(from, Step::Purge),
            State::Here | State::Leaving(_) | State::Gone(_) | State::Coming(_) => Next::Ends,
        }
    }

    fn move_databases(&self, world: &World, mover: Mover, from: usize, version: u8) -> Next {
        let (source, target) = (&world.primaries[from], &world.primaries[mover.to]);
        if let Some(taken) = mover.taken {
            return move_taken(world, mover, from, version, taken);
        }
        let leaving = matches!(source.shard.state, State::Leaving(_));
        for db in 0..source.heads.len() {
            let arriving = target.head_in(db, Sealed::Arriving).is_some();
            match source.heads[db] {
                // Destroyed since. Its copy may have the name of a later one.
                None if arriving && (!leaving || source.actor.is_some()) => {
                    return Next::Send(mover.to, Step::Void { db, version });
                }
                None => {}
                Some(head) if head.sealed != Sealed::Moved => {
                    return self.move_database(world, mover, from, version, db, head);
                }
                Some(head) if arriving => {
                    let step = Step::Help { db, mark: head.generation, version };
                    return Next::Send(mover.to, step);
                }
                Some(_) if source.rows[db] != 0 => return Next::Send(from, Step::Strip { db }),
                Some(_) => {}
            }
        }
        if leaving && self.checks.make(Variant::GoneFirst) {
            return Next::Send(from, Step::Flip { to: mover.to, version });
        }
        Next::Send(mover.to, Step::Settle { version })
    }

    /// Until the head is taken.
    fn move_database(
        &self,
        world: &World,
        mover: Mover,
        from: usize,
        version: u8,
        db: usize,
        head: Head,
    ) -> Next {
        let claim = mover.claim;
        match mover.claimed {
            Some((claimed, false)) if claimed == db => {
                let writes = head.writes & !world.primaries[mover.to].rows[db];
                if writes == 0 {
                    Next::Send(from, Step::Take { db, replaces: head.generation })
                } else {
                    Next::Send(mover.to, Step::Copy { db, claim, writes })
                }
            }
            Some((claimed, true)) if claimed == db => {
                // The other mover's last step may be on its way: it must not decide any more.
                if head.sealed == Sealed::Moving && self.checks.make(Variant::HoldEnded) {
                    Next::Send(from, Step::Release { db, generation: head.generation })
                } else {
                    Next::Send(mover.to, Step::Discard { db, claim })
                }
            }
            Some(_) | None => Next::Send(mover.to, Step::Claim { db, claim, version }),
        }
    }

    /// The answer to a mover.
    pub(super) fn moved(&self, world: &mut World, at: usize, step: Step, answer: Answer) {
        let Some(mover) = &mut world.movers[at] else { return };
        mover.waits = false;
        let done = answer == Answer::Done;
        match step {
            Step::Claim { db, .. } if answer == Answer::Left => {
                mover.claimed = Some((db, true));
            }
            Step::Claim { db, .. } | Step::Discard { db, .. } if done => {
                mover.claimed = Some((db, false));
            }
            Step::Take { db, replaces } if done => {
                mover.taken = Some(Taken { db, generation: replaces + 1, complete: None });
            }
            Step::Complete { pinned, .. } if done => {
                if let Some(taken) = &mut mover.taken {
                    taken.complete = Some(pinned);
                }
            }
            Step::Decide { .. } if done => {
                mover.claimed = None;
                mover.taken = None;
            }
            // Another mover has the copy, or a node the head. To try again is to be started
            // again.
            Step::Claim { .. }
            | Step::Discard { .. }
            | Step::Copy { .. }
            | Step::Take { .. }
            | Step::Complete { .. }
            | Step::Decide { .. }
                if !done =>
            {
                world.movers[at] = None;
            }
            _ => {}
        }
    }
}

/// What is left between the take and the moment of the move.
fn move_taken(world: &World, mover: Mover, from: usize, version: u8, taken: Taken) -> Next {
    let Taken { db, generation, complete } = taken;
    if let Some(pinned) = complete {
        return Next::Send(from, Step::Decide { db, generation, pinned });
    }
    let Mover { to, claim, .. } = mover;
    let source = world.primaries[from].heads[db];
    let (writes, pinned) = source.map_or((0, false), |head| (head.writes, head.pinned));
    let missing = writes & !world.primaries[to].rows[db];
    if missing != 0 {
        return Next::Send(to, Step::Copy { db, claim, writes: missing });
    }
    Next::Send(to, Step::Complete { db, claim, generation, writes, pinned, version })
}
