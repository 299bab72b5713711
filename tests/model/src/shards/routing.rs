//! A node's calls: which primary a step goes to, and what its answer means.
//!
//! The map is a hint. A primary that does not keep what it is asked for says so and has done nothing;
//! the node looks at that primary's row of the shard, and goes where it points.

use super::store::{Answer, Head, Sealed, State, Step};
use super::{Doing, Letter, Party, Shards, World, Writes};
use crate::Variant;

/// What a node wants of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// The name's database, to take it over.
    Find,
    /// A new database.
    Create {
        /// Its id.
        db: usize,
    },
    /// The next generation.
    TakeOver {
        /// Of which database.
        db: usize,
        /// The generation that was judged.
        replaces: u8,
    },
    /// A head that a mover has left.
    Release {
        /// Of which database.
        db: usize,
        /// The mover's generation.
        generation: u8,
    },
    /// A commit of the session.
    Commit {
        /// Of which database.
        db: usize,
        /// The session's fence.
        generation: u8,
        /// The txid before it.
        base: u32,
        /// What it writes.
        write: Writes,
        /// A send before may have been applied.
        doubt: bool,
    },
    /// What became of it.
    Verdict {
        /// Of which database.
        db: usize,
        /// The session's fence.
        generation: u8,
        /// The txid before it.
        base: u32,
        /// What it writes.
        write: Writes,
    },
    /// The end of a database.
    Destroy {
        /// Which.
        db: usize,
        /// The session's fence.
        generation: u8,
    },
}

impl Task {
    fn step(self) -> Step {
        match self {
            Self::Find => Step::Find,
            Self::Create { db } => Step::Create { db },
            Self::TakeOver { db, replaces } => Step::TakeOver { db, replaces },
            Self::Release { db, generation } => Step::Release { db, generation },
            Self::Commit { db, generation, base, write, .. } => {
                Step::Commit { db, generation, base, write }
            }
            Self::Verdict { db, generation, write, .. } => Step::Verdict { db, generation, write },
            Self::Destroy { db, generation } => Step::Destroy { db, generation },
        }
    }

    /// The database, or `None` if it asks by the name.
    fn db(self) -> Option<usize> {
        match self {
            Self::Find | Self::Create { .. } => None,
            Self::TakeOver { db, .. }
            | Self::Release { db, .. }
            | Self::Commit { db, .. }
            | Self::Verdict { db, .. }
            | Self::Destroy { db, .. } => Some(db),
        }
    }

    /// Whether it changes anything, so that a late one matters.
    pub(super) fn writes(self) -> bool {
        !matches!(self, Self::Find | Self::Verdict { .. })
    }
}

impl Shards {
    /// Sends a step of a task.
    pub(super) fn ask(
        &self,
        world: &mut World,
        node: usize,
        to: usize,
        directed: Option<u8>,
        task: Task,
    ) {
        world.nodes[node].doing = Doing::Asks(task);
        let awaited = Some(Party::Node(node));
        world.letters.push(Letter { awaited, to, directed, step: task.step() });
    }

    /// Sends it to where the node believes the shard to be.
    pub(super) fn ask_hint(&self, world: &mut World, node: usize, task: Task) {
        let hint = world.nodes[node].hint;
        self.ask(world, node, hint, None, task);
    }

    /// A primary has said "elsewhere": one statement there reads the shard's row and the row that
    /// was asked for. The next step goes where they point.
    pub(super) fn route(&self, world: &mut World, node: usize, task: Task, at: usize) {
        let books = &world.primaries[at];
        let version = books.shard.version;
        let found = match task.db() {
            Some(db) => books.heads[db].map(|head| (db, head)),
            None => books.named(),
        };
        let moved = match found {
            Some((_, head)) => head.sealed == Sealed::Moved,
            // It may have been made at the target.
            None => task.db().is_some(),
        };
        match books.shard.state {
            State::Here => self.ask(world, node, at, None, task),
            State::Gone(to) => {
                world.nodes[node].hint = to;
                self.ask(world, node, to, Some(version), task);
            }
            State::Leaving(to) => {
                if moved || !self.checks.make(Variant::LookTogether) {
                    self.ask(world, node, to, Some(version), task);
                } else {
                    self.ask(world, node, at, None, task);
                }
            }
            State::Coming(from) => {
                let arriving = found.filter(|(_, head)| head.sealed == Sealed::Arriving);
                let step = arriving.and_then(|(db, copy)| self.settles(world, at, from, db, copy));
                if let Some(step) = step {
                    world.nodes[node].doing = Doing::Helps(task, from);
                    let awaited = Some(Party::Node(node));
                    world.letters.push(Letter { awaited, to: at, directed: None, step });
                } else {
                    world.nodes[node].hint = from;
                    self.ask(world, node, from, None, task);
                }
            }
        }
    }

    /// A copy is in the way of a task. One statement at the source reads the shard's row and the
    /// head: whether the copy is valid, or will never be. `None`: the source has the database.
    fn settles(
        &self,
        world: &World,
        at: usize,
        from: usize,
        db: usize,
        copy: Head,
    ) -> Option<Step> {
        let (source, target) = (&world.primaries[from], &world.primaries[at]);
        let version = source.shard.version;
        if !self.checks.make(Variant::HelpMark) {
            return Some(Step::Help { db, mark: copy.generation, version });
        }
        match source.heads[db] {
            Some(head) if head.sealed == Sealed::Moved => {
                Some(Step::Help { db, mark: head.generation, version })
            }
            Some(_) => None,
            None => {
                let here = [State::Leaving(at), State::Gone(at)].contains(&source.shard.state);
                let voids =
                    here && version == target.shard.version && self.checks.make(Variant::CopyVoid);
                voids.then_some(Step::Void { db, version })
            }
        }
    }

    /// The answer to a node.
    pub(super) fn answered(&self, world: &mut World, node: usize, at: usize, answer: Answer) {
        let task = match world.nodes[node].doing {
            Doing::Asks(task) => task,
            Doing::Helps(task, from) => {
                world.nodes[node].doing = Doing::Elsewhere(task, from);
                return;
            }
            Doing::Idle | Doing::Elsewhere(..) | Doing::Serves { .. } => return,
        };
        if answer == Answer::Elsewhere {
            world.nodes[node].doing = Doing::Elsewhere(task, at);
            return;
        }
        world.nodes[node].doing = Doing::Idle;
        match task {
            Task::Find => self.found(world, node, answer),
            Task::Create { db } => {
                if answer == Answer::Done {
                    world.nodes[node].doing = Doing::Serves { db, generation: 1, txid: 0 };
                }
            }
            Task::TakeOver { db, replaces } => {
                if let (Answer::Done, Some(head)) = (answer, world.primaries[at].heads[db]) {
                    let (generation, txid) = (replaces + 1, head.txid());
                    world.nodes[node].doing = Doing::Serves { db, generation, txid };
                }
            }
            Task::Release { db, generation } => {
                self.ask_hint(world, node, Task::TakeOver { db, replaces: generation });
            }
            Task::Commit { db, generation, base, write, doubt } => match answer {
                Answer::Done => {
                    world.told.committed |= write;
                    let txid = base + 1;
                    world.nodes[node].doing = Doing::Serves { db, generation, txid };
                }
                Answer::Refused if doubt => {
                    let task = Task::Verdict { db, generation, base, write };
                    self.ask_hint(world, node, task);
                }
                // Of a destroyed database nothing can be known.
                _ if doubt => {}
                _ => world.told.refused |= write,
            },
            Task::Verdict { db, generation, base, write } => match answer {
                Answer::Head { row: true, .. } => world.told.committed |= write,
                Answer::Head { head, .. } => {
                    if head.generation == generation && head.sealed == Sealed::Held {
                        let task = Task::Commit { db, generation, base, write, doubt: true };
                        self.ask_hint(world, node, task);
                    } else {
                        world.told.refused |= write;
                    }
                }
                _ => {}
            },
            Task::Destroy { .. } => {}
        }
    }

    fn found(&self, world: &mut World, node: usize, answer: Answer) {
        let Answer::Found { db, head } = answer else { return };
        if head.sealed == Sealed::Moving {
            if self.checks.make(Variant::ReleaseMoving) {
                let task = Task::Release { db, generation: head.generation };
                self.ask_hint(world, node, task);
            }
            return;
        }
        let task = Task::TakeOver { db, replaces: head.generation };
        self.ask_hint(world, node, task);
    }
}
