//! What a primary does with a step: one atomic action, its conditions inside it.

use super::{Shards, World, Writes};
use crate::Variant;

/// The rows of one primary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Books {
    /// The shard's row.
    pub shard: Shard,
    /// The actor row of the name: its database.
    pub actor: Option<usize>,
    /// The head of each database, if there is one.
    pub heads: Vec<Option<Head>>,
    /// Page and commit rows of each database, by the commits that wrote them.
    pub rows: Vec<Writes>,
}

/// A shard's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    /// Where the shard is.
    pub state: State,
    /// Moves of the shard that had begun when the row was written.
    pub version: u8,
}

/// Where a shard is, as one primary sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Here.
    Here,
    /// Here, and on its way to that primary.
    Leaving(usize),
    /// At that primary.
    Gone(usize),
    /// On its way from that primary.
    Coming(usize),
}

/// A head. Its generation stands for the token, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// The owner.
    pub generation: u8,
    /// Who may do what with it.
    pub sealed: Sealed,
    /// The commits: their number is the txid, the set is the chain.
    pub writes: Writes,
    /// A pin is set: what changes without a fence, as the floor does.
    pub pinned: bool,
    /// Of a copy: the mover that writes it, or 0.
    pub claim: u8,
}

/// Who may do what with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sealed {
    /// Its generation.
    Held,
    /// The next takeover.
    Sealed,
    /// The mover.
    Moving,
    /// None: the database is at the other primary.
    Moved,
    /// None yet: a copy.
    Arriving,
}

/// A statement of a node or a mover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// D6: which database has the name?
    Find,
    /// D6: actor row and head.
    Create {
        /// A new one.
        db: usize,
    },
    /// Only without its check: a create that has looked at the shard's row before.
    Insert {
        /// A new one.
        db: usize,
    },
    /// D4.
    TakeOver {
        /// Which database.
        db: usize,
        /// The generation that was judged.
        replaces: u8,
    },
    /// A head that a mover left is set back.
    Release {
        /// Which database.
        db: usize,
        /// The mover's generation.
        generation: u8,
    },
    /// D2.
    Commit {
        /// Which database.
        db: usize,
        /// The session's fence.
        generation: u8,
        /// The txid before it.
        base: u32,
        /// What it writes.
        write: Writes,
    },
    /// D3: head and commit row in one statement.
    Verdict {
        /// Which database.
        db: usize,
        /// The session's fence.
        generation: u8,
        /// What the commit wrote.
        write: Writes,
    },
    /// D10: head and actor row, last.
    Destroy {
        /// Which database.
        db: usize,
        /// The session's fence.
        generation: u8,
    },
    /// D10: unfenced.
    Pin {
        /// Which database.
        db: usize,
    },
    /// Target: a copy becomes valid, since the source says that this generation's is. Another one
    /// never will be, and is deleted.
    Help {
        /// Which database.
        db: usize,
        /// What the source says.
        mark: u8,
        /// The move's number.
        version: u8,
    },
    /// Target: a copy is deleted, since the source says that there is no such database any more.
    Void {
        /// Which database.
        db: usize,
        /// The move's number.
        version: u8,
    },
    /// Source: the move begins.
    Leave {
        /// To where.
        to: usize,
        /// The move's number.
        version: u8,
    },
    /// What was moved away is deleted.
    Purge,
    /// Target: the move begins.
    Come {
        /// From where.
        from: usize,
        /// The move's number.
        version: u8,
    },
    /// Target: from now on this mover alone writes the copy.
    Claim {
        /// Which database.
        db: usize,
        /// The mover.
        claim: u8,
        /// The move's number.
        version: u8,
    },
    /// Target: rows of a copy that another mover has left are deleted.
    Discard {
        /// Which database.
        db: usize,
        /// The mover.
        claim: u8,
    },
    /// Target: page and commit rows.
    Copy {
        /// Which database.
        db: usize,
        /// The mover.
        claim: u8,
        /// Which rows.
        writes: Writes,
    },
    /// Source: the mover gets the head.
    Take {
        /// Which database.
        db: usize,
        /// The generation that it saw.
        replaces: u8,
    },
    /// Target: the copy's head, pins and actor row.
    Complete {
        /// Which database.
        db: usize,
        /// The mover.
        claim: u8,
        /// The mover's generation at the source.
        generation: u8,
        /// The source's commits.
        writes: Writes,
        /// The source's pins.
        pinned: bool,
        /// The move's number.
        version: u8,
    },
    /// Source: the moment of the move.
    Decide {
        /// Which database.
        db: usize,
        /// The mover's generation.
        generation: u8,
        /// The pins that were copied.
        pinned: bool,
    },
    /// Source: rows of a moved database are deleted.
    Strip {
        /// Which database.
        db: usize,
    },
    /// Source: the whole shard is at the target.
    Flip {
        /// The target.
        to: usize,
        /// The move's number.
        version: u8,
    },
    /// Target: the move ends.
    Settle {
        /// The move's number.
        version: u8,
    },
}

/// What a primary answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Done; by what the generation is then, for steps that raise it.
    Done,
    /// Nothing was done: a condition does not hold.
    Refused,
    /// Nothing was done: another primary has it.
    Elsewhere,
    /// The mover has the claim of a copy that another one has begun.
    Left,
    /// There is no such actor or database.
    Absent,
    /// The name's database.
    Found { db: usize, head: Head },
    /// D3: its head, and whether the commit has a row.
    Head { head: Head, row: bool },
}

impl Head {
    /// The head of a new database.
    #[must_use]
    pub fn new(sealed: Sealed) -> Self {
        Self { generation: 1, sealed, writes: 0, pinned: false, claim: 0 }
    }

    /// Whether it is the database's head, and no mark or copy.
    #[must_use]
    pub fn is_live(self) -> bool {
        self.sealed < Sealed::Moved
    }

    /// The number of commits.
    #[must_use]
    pub fn txid(self) -> u32 {
        self.writes.count_ones()
    }
}

impl Books {
    /// The head of a database, if it is in this state.
    #[must_use]
    pub fn head_in(&self, db: usize, sealed: Sealed) -> Option<Head> {
        self.heads[db].filter(|head| head.sealed == sealed)
    }

    /// The head of the name's database.
    #[must_use]
    pub fn named(&self) -> Option<(usize, Head)> {
        let db = self.actor?;
        Some((db, self.heads[db]?))
    }

    /// Whether anything of the shard is left.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        self.heads.iter().any(Option::is_some) || self.rows.iter().any(|rows| *rows != 0)
    }

    /// Deletes a database.
    fn delete(&mut self, db: usize) {
        self.heads[db] = None;
        self.rows[db] = 0;
        if self.actor == Some(db) {
            self.actor = None;
        }
    }
}

impl Shards {
    /// Whether it counts here that a name is absent: the shard is here, or the source has sent the
    /// step here and the move is still that one.
    fn counts(&self, books: &Books, directed: Option<u8>) -> bool {
        match books.shard.state {
            State::Here | State::Leaving(_) => true,
            State::Gone(_) => false,
            State::Coming(_) => directed.is_some_and(|version| {
                version == books.shard.version || !self.checks.make(Variant::DirectedVersion)
            }),
        }
    }

    /// No row was found.
    fn missing(&self, books: &Books, directed: Option<u8>) -> Answer {
        if self.counts(books, directed) || !self.checks.make(Variant::AbsentRow) {
            Answer::Absent
        } else {
            Answer::Elsewhere
        }
    }

    /// No head was found. Unlike a name, a database that was made at the target has left no mark at
    /// the source.
    fn missing_db(&self, world: &mut World, at: usize, directed: Option<u8>, db: usize) -> Answer {
        let leaving = matches!(world.primaries[at].shard.state, State::Leaving(_));
        if leaving && self.checks.make(Variant::AbsentDb) {
            return Answer::Elsewhere;
        }
        let answer = self.missing(&world.primaries[at], directed);
        world.breaches.absent |= answer == Answer::Absent && world.lives == Some(db);
        answer
    }

    /// Executes one step at a primary.
    pub(super) fn execute(
        &self,
        world: &mut World,
        at: usize,
        directed: Option<u8>,
        step: Step,
    ) -> Answer {
        match step {
            Step::Find => match world.primaries[at].named() {
                Some((db, head)) if head.is_live() => Answer::Found { db, head },
                Some(_) => Answer::Elsewhere,
                None => {
                    let answer = self.missing(&world.primaries[at], directed);
                    world.breaches.absent |= answer == Answer::Absent && world.lives.is_some();
                    answer
                }
            },
            Step::Create { db } => {
                let counts = self.counts(&world.primaries[at], directed);
                if counts || !self.checks.make(Variant::CreateRow) {
                    insert(world, at, db)
                } else {
                    Answer::Elsewhere
                }
            }
            Step::Insert { db } => insert(world, at, db),
            Step::TakeOver { db, .. }
            | Step::Release { db, .. }
            | Step::Commit { db, .. }
            | Step::Verdict { db, .. }
            | Step::Destroy { db, .. }
            | Step::Pin { db } => {
                let Some(head) = world.primaries[at].heads[db] else {
                    return self.missing_db(world, at, directed, db);
                };
                let verdict = matches!(step, Step::Verdict { .. });
                let asks = self.checks.make(Variant::VerdictMoved) || !verdict;
                if !head.is_live() && asks {
                    return Answer::Elsewhere;
                }
                use_head(world, at, db, head, step)
            }
            Step::Help { db, mark, version } => self.help(world, at, db, mark, version),
            Step::Leave { .. } | Step::Come { .. } | Step::Flip { .. } | Step::Settle { .. } => {
                self.change_shard(&mut world.primaries[at], step)
            }
            Step::Purge => self.purge(&mut world.primaries[at]),
            Step::Claim { .. }
            | Step::Discard { .. }
            | Step::Copy { .. }
            | Step::Complete { .. }
            | Step::Void { .. } => self.change_copy(&mut world.primaries[at], step),
            Step::Take { db, replaces } => match &mut world.primaries[at].heads[db] {
                Some(head) if head.generation == replaces && head.is_live() => {
                    head.generation += 1;
                    head.sealed = Sealed::Moving;
                    Answer::Done
                }
                Some(_) | None => Answer::Refused,
            },
            Step::Decide { db, generation, pinned } => {
                let Some(head) = &mut world.primaries[at].heads[db] else { return Answer::Refused };
                let owns = head.generation == generation || !self.checks.make(Variant::DecideOwner);
                let same = head.pinned == pinned || !self.checks.make(Variant::DecidePins);
                if head.sealed != Sealed::Moving || !owns || !same {
                    return Answer::Refused;
                }
                head.sealed = Sealed::Moved;
                Answer::Done
            }
            Step::Strip { db } => {
                let books = &mut world.primaries[at];
                let moved = books.head_in(db, Sealed::Moved).is_some();
                if moved || !self.checks.make(Variant::StripMoved) {
                    books.rows[db] = 0;
                }
                Answer::Done
            }
        }
    }

    /// A copy becomes valid.
    fn help(&self, world: &mut World, at: usize, db: usize, mark: u8, version: u8) -> Answer {
        let books = &mut world.primaries[at];
        let Some(copy) = books.head_in(db, Sealed::Arriving) else { return Answer::Refused };
        if !self.comes(books, version) {
            return Answer::Refused;
        }
        if copy.generation != mark && self.checks.make(Variant::HelpOwner) {
            books.delete(db);
            return Answer::Done;
        }
        books.heads[db] = Some(Head { sealed: Sealed::Sealed, claim: 0, ..copy });
        let as_moved = |books: &Books| {
            books.head_in(db, Sealed::Moved).is_some_and(|source| {
                source.generation == copy.generation
                    && source.writes == copy.writes
                    && source.pinned == copy.pinned
            })
        };
        let right = world.primaries.iter().any(as_moved);
        world.breaches.copy |= !right;
        Answer::Done
    }

    /// The shard's row, locked.
    fn change_shard(&self, books: &mut Books, step: Step) -> Answer {
        let Shard { state, version: had } = books.shard;
        let next = match step {
            Step::Leave { to, version } if state == State::Here && had + 1 == version => {
                Shard { state: State::Leaving(to), version }
            }
            Step::Come { from, version } => {
                let newer = had < version || !self.checks.make(Variant::ComeVersion);
                if !matches!(state, State::Gone(_)) || !newer || books.has_rows() {
                    return Answer::Refused;
                }
                Shard { state: State::Coming(from), version }
            }
            Step::Flip { to, version } if state == State::Leaving(to) && had == version => {
                let left = books.heads.iter().flatten().any(|head| head.is_live());
                if left && self.checks.make(Variant::FlipEmpty) {
                    return Answer::Refused;
                }
                Shard { state: State::Gone(to), version }
            }
            Step::Settle { version } if matches!(state, State::Coming(_)) && had == version => {
                let arrives = |head: &Head| head.sealed == Sealed::Arriving;
                if books.heads.iter().flatten().any(arrives) {
                    return Answer::Refused;
                }
                Shard { state: State::Here, version }
            }
            _ => return Answer::Refused,
        };
        books.shard = next;
        Answer::Done
    }

    /// Deletes what was moved away, while the shard is gone.
    fn purge(&self, books: &mut Books) -> Answer {
        let gone = matches!(books.shard.state, State::Gone(_));
        if !gone && self.checks.make(Variant::PurgeGone) {
            return Answer::Refused;
        }
        for db in 0..books.heads.len() {
            let orphan = gone && books.heads[db].is_none();
            if orphan || books.head_in(db, Sealed::Moved).is_some() {
                books.delete(db);
            }
        }
        Answer::Done
    }

    /// Target: what a mover does to a copy, behind its head's lock.
    fn change_copy(&self, books: &mut Books, step: Step) -> Answer {
        let claimed = |db: usize, claim: u8| {
            let copy = books.head_in(db, Sealed::Arriving);
            copy.filter(|copy| copy.claim == claim || !self.checks.make(Variant::CopyClaim))
        };
        match step {
            Step::Claim { db, claim, version } => {
                if !self.comes(books, version) {
                    return Answer::Refused;
                }
                match &mut books.heads[db] {
                    None => {
                        // No head that is moved has generation 0.
                        let sealed = Sealed::Arriving;
                        let copy = Head { generation: 0, claim, ..Head::new(sealed) };
                        books.heads[db] = Some(copy);
                        Answer::Done
                    }
                    Some(copy) if copy.sealed == Sealed::Arriving => {
                        copy.claim = claim;
                        Answer::Left
                    }
                    Some(_) => Answer::Refused,
                }
            }
            Step::Discard { db, claim } if claimed(db, claim).is_some() => {
                books.rows[db] = 0;
                books.actor = books.actor.filter(|named| *named != db);
                Answer::Done
            }
            Step::Copy { db, claim, writes } if claimed(db, claim).is_some() => {
                books.rows[db] |= writes;
                Answer::Done
            }
            Step::Complete { db, claim, generation, writes, pinned, version } => {
                let whole = writes & !books.rows[db] == 0;
                let named = books.actor.is_none_or(|named| named == db);
                let Some(copy) = claimed(db, claim) else { return Answer::Refused };
                if !self.comes(books, version) || !whole || !named {
                    return Answer::Refused;
                }
                let anew = copy.generation == 0 || self.checks.make(Variant::CopyAnew);
                let (writes, pinned) =
                    if anew { (writes, pinned) } else { (copy.writes, copy.pinned) };
                books.heads[db] = Some(Head { generation, writes, pinned, ..copy });
                books.actor = Some(db);
                Answer::Done
            }
            Step::Void { db, version } => {
                if self.comes(books, version) && books.head_in(db, Sealed::Arriving).is_some() {
                    books.delete(db);
                }
                Answer::Done
            }
            _ => Answer::Refused,
        }
    }

    /// The shard is still on its way here by that move.
    fn comes(&self, books: &Books, version: u8) -> bool {
        let comes = matches!(books.shard.state, State::Coming(_)) && books.shard.version == version;
        comes || !self.checks.make(Variant::ComesStill)
    }
}

fn insert(world: &mut World, at: usize, db: usize) -> Answer {
    let books = &mut world.primaries[at];
    match books.named() {
        Some((_, head)) if head.is_live() => Answer::Refused,
        Some(_) => Answer::Elsewhere,
        None => {
            books.actor = Some(db);
            books.heads[db] = Some(Head::new(Sealed::Held));
            world.breaches.second |= world.lives.is_some();
            world.lives = Some(db);
            Answer::Done
        }
    }
}

/// Steps on the head of a database.
fn use_head(world: &mut World, at: usize, db: usize, head: Head, step: Step) -> Answer {
    let books = &mut world.primaries[at];
    let held = |fence: u8| head.generation == fence && head.sealed == Sealed::Held;
    let after = match step {
        Step::TakeOver { replaces, .. }
            if head.generation == replaces && head.sealed < Sealed::Moving =>
        {
            Head { generation: replaces + 1, sealed: Sealed::Held, ..head }
        }
        Step::Release { generation, .. }
            if head.generation == generation && head.sealed == Sealed::Moving =>
        {
            Head { sealed: Sealed::Sealed, ..head }
        }
        Step::Commit { generation, base, write, .. } if held(generation) && head.txid() == base => {
            books.rows[db] |= write;
            world.applied |= write;
            Head { writes: head.writes | write, ..head }
        }
        Step::Verdict { write, .. } => {
            let row = head.writes & books.rows[db] & write != 0;
            return Answer::Head { head, row };
        }
        Step::Destroy { generation, .. } if held(generation) => {
            books.delete(db);
            world.told.committed &= !head.writes;
            world.lives = None;
            return Answer::Done;
        }
        Step::Pin { .. } => {
            world.told.pinned |= 1 << db;
            Head { pinned: true, ..head }
        }
        _ => return Answer::Refused,
    };
    books.heads[db] = Some(after);
    Answer::Done
}
