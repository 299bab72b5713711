//! What may happen next: calls, movers, and steps that arrive.

use super::store::{State, Step};
use super::{Doing, Letter, Party, Shards, Task, World};
use crate::Variant;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A node looks for the actor, to take it over.
    Call(usize),
    /// A node makes it.
    Create(usize),
    /// D2: the generation commits.
    Commit(usize),
    /// D10: it destroys its database.
    Destroy(usize),
    /// D10: an operator pins the newest commit.
    Pin(usize),
    /// The generation is forgotten; the next call takes over.
    Forget(usize),
    /// A node goes where a primary has pointed.
    Route(usize),
    /// A node stops waiting for its answer.
    TimeOut(usize),
    /// A mover to this primary is started.
    Start(usize),
    /// A mover reads, and sends its next step.
    Move(usize),
    /// A mover dies. Its last step stays on its way.
    MoverCrash(usize),
    /// A step reaches its primary; who waits has the answer.
    Arrive(usize),
}

impl Shards {
    /// Everything that may happen next.
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        for (at, node) in world.nodes.iter().enumerate() {
            match node.doing {
                Doing::Idle => {
                    if world.left.calls > 0 {
                        actions.push(Action::Call(at));
                        if world.left.next_db < self.size.databases {
                            actions.push(Action::Create(at));
                        }
                    }
                }
                Doing::Elsewhere(..) => actions.push(Action::Route(at)),
                Doing::Asks(_) | Doing::Helps(..) => {}
                Doing::Serves { .. } => {
                    if world.left.next_write < self.size.writes {
                        actions.push(Action::Commit(at));
                    }
                    if world.left.destroys > 0 {
                        actions.push(Action::Destroy(at));
                    }
                    if world.left.pins > 0 {
                        actions.push(Action::Pin(at));
                    }
                    if world.left.calls > 0 {
                        actions.push(Action::Forget(at));
                    }
                }
            }
        }
        for (at, letter) in world.letters.iter().enumerate() {
            actions.push(Action::Arrive(at));
            if world.left.timeouts > 0
                && let Some(Party::Node(node)) = letter.awaited
                && let Doing::Asks(task) = world.nodes[node].doing
                && task.writes()
            {
                actions.push(Action::TimeOut(at));
            }
        }
        self.possible_moves(world, actions);
    }

    fn possible_moves(&self, world: &World, actions: &mut Vec<Action>) {
        for (at, mover) in world.movers.iter().enumerate() {
            if let Some(mover) = mover {
                if !mover.waits {
                    actions.push(Action::Move(at));
                }
                if world.left.crashes > 0 {
                    actions.push(Action::MoverCrash(at));
                }
            }
        }
        if world.left.runs > 0 && world.movers.iter().any(Option::is_none) {
            for to in 0..world.primaries.len() {
                if self.may_start(world, to) {
                    actions.push(Action::Start(to));
                }
            }
        }
    }

    /// Does it.
    pub(super) fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Call(node) => {
                world.left.calls -= 1;
                self.ask_hint(world, node, Task::Find);
            }
            Action::Create(node) => {
                world.left.calls -= 1;
                let db = world.left.next_db;
                world.left.next_db += 1;
                self.ask_hint(world, node, Task::Create { db });
            }
            Action::Commit(node) => {
                if let Doing::Serves { db, generation, txid: base } = world.nodes[node].doing {
                    let write = 1 << world.left.next_write;
                    world.left.next_write += 1;
                    let task = Task::Commit { db, generation, base, write, doubt: false };
                    self.ask_hint(world, node, task);
                }
            }
            Action::Destroy(node) => {
                if let Doing::Serves { db, generation, .. } = world.nodes[node].doing {
                    world.left.destroys -= 1;
                    self.ask_hint(world, node, Task::Destroy { db, generation });
                }
            }
            Action::Pin(node) => {
                if let Doing::Serves { db, .. } = world.nodes[node].doing {
                    world.left.pins -= 1;
                    let to = world.nodes[node].hint;
                    let step = Step::Pin { db };
                    world.letters.push(Letter { awaited: None, to, directed: None, step });
                }
            }
            Action::Forget(node) => world.nodes[node].doing = Doing::Idle,
            Action::Route(node) => {
                if let Doing::Elsewhere(task, at) = world.nodes[node].doing {
                    self.route(world, node, task, at);
                }
            }
            Action::TimeOut(letter) => {
                world.left.timeouts -= 1;
                if let Some(Party::Node(node)) = world.letters[letter].awaited.take() {
                    self.unknown(world, node);
                }
            }
            Action::Start(to) => {
                world.left.runs -= 1;
                if let Some(at) = world.movers.iter().position(Option::is_none) {
                    self.start(world, at, to);
                }
            }
            Action::Move(mover) => self.move_on(world, mover),
            Action::MoverCrash(mover) => {
                world.left.crashes -= 1;
                world.movers[mover] = None;
                for letter in &mut world.letters {
                    if letter.awaited == Some(Party::Mover(mover)) {
                        letter.awaited = None;
                    }
                }
            }
            Action::Arrive(letter) => {
                let letter = world.letters.remove(letter);
                self.arrive(world, letter);
            }
        }
    }

    /// The answer is lost: of a commit the node asks for the verdict, of all else nothing is known.
    fn unknown(&self, world: &mut World, node: usize) {
        let Doing::Asks(task) = world.nodes[node].doing else { return };
        world.nodes[node].doing = Doing::Idle;
        if let Task::Commit { db, generation, base, write, .. } = task {
            self.ask_hint(world, node, Task::Verdict { db, generation, base, write });
        }
    }

    /// A step reaches its primary.
    pub(super) fn arrive(&self, world: &mut World, letter: Letter) {
        let Letter { awaited, to, directed, step } = letter;
        let here = matches!(world.primaries[to].shard.state, State::Here | State::Leaving(_));
        if let Step::Create { db } = step
            && here
            && !self.checks.make(Variant::CreateLock)
        {
            // The row was right when it was read; what follows does not look again.
            world.letters.push(Letter { step: Step::Insert { db }, ..letter });
            return;
        }
        let answer = self.execute(world, to, directed, step);
        match awaited {
            Some(Party::Node(node)) => self.answered(world, node, to, answer),
            Some(Party::Mover(mover)) => self.moved(world, mover, step, answer),
            None => {}
        }
    }
}
