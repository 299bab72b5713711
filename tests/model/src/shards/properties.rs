//! What must hold of the shard, and what must happen in some state, so that the rest says something.

use stateright::Property;

use super::store::{Books, Head, Sealed, State, Step};
use super::{Breaches, Doing, Node, Shards, Size, Task, World};

/// Names of the properties that variants violate.
pub mod names {
    /// Two primaries never accept for one name.
    pub const ONE_LIVE: &str = "a name has one live database at most";
    /// "No such actor" is true.
    pub const ABSENT_IS_TRUE: &str = "an actor that is called absent is";
    /// Nothing is lost on the way.
    pub const SOMEWHERE: &str = "a database is at one primary, whole";
    /// No commit is lost.
    pub const KEPT: &str = "what was acknowledged is in the database that is served";
    /// Final verdicts are final.
    pub const NOT_KEPT: &str = "a write told as not committed never is";
    /// The copy is the original.
    pub const AS_IT_WAS: &str = "a copy is served as the source had it at the move";
    /// A dead mover is in no caller's way.
    pub const ANSWERS: &str = "without a mover, every call is answered";
    /// A move can be ended.
    pub const ENDS: &str = "a mover that is started again ends the move";
}

/// Steps of a call or of a mover that runs alone, at most.
const STEPS_MAX: u32 = 80;

/// All of them.
pub(super) fn all(size: &Size) -> Vec<Property<Shards>> {
    let mut all = must_hold();
    all.extend(must_happen());
    if size.crashes > 0 {
        all.push(Property::sometimes(
            "a database is moved, its copy not valid yet, its mover dead",
            |_, world: &World| {
                let live = |books: &Books| books.heads.iter().flatten().any(|head| head.is_live());
                world.lives.is_some()
                    && !world.primaries.iter().any(live)
                    && world.movers.iter().all(Option::is_none)
            },
        ));
    }
    if size.moves > 1 {
        all.push(Property::sometimes("the shard was moved back", |_, world: &World| {
            let shard = world.primaries[0].shard;
            shard.state == State::Here && shard.version > 1
        }));
        all.push(Property::sometimes("a step of an earlier move is late", |_, world: &World| {
            let newest = world.primaries.iter().map(|books| books.shard.version).max();
            world.letters.iter().any(|letter| letter.directed.is_some_and(|v| Some(v) < newest))
        }));
    }
    if size.destroys > 0 {
        all.push(Property::sometimes(
            "a name is made again while its first database is still marked as moved",
            |_, world: &World| {
                world.lives.is_some_and(|db| db > 0)
                    && world.primaries.iter().any(|books| {
                        matches!(books.shard.state, State::Leaving(_))
                            && books.head_in(0, Sealed::Moved).is_some()
                    })
            },
        ));
    }
    if size.timeouts > 0 {
        all.extend(must_happen_to_commits());
    }
    all
}

fn must_hold() -> Vec<Property<Shards>> {
    vec![
        Property::always(names::ONE_LIVE, |_, world: &World| {
            let heads = world.primaries.iter().flat_map(|books| books.heads.iter().flatten());
            heads.filter(|head| head.is_live()).count() <= 1 && !world.breaches.second
        }),
        Property::always(names::ABSENT_IS_TRUE, |_, world: &World| !world.breaches.absent),
        Property::always(names::SOMEWHERE, |_, world: &World| {
            world.lives.is_none_or(|db| {
                served(world, db).is_some_and(|(books, head)| head.writes & !books.rows[db] == 0)
            })
        }),
        Property::always(names::KEPT, |_, world: &World| {
            let head = world.lives.and_then(|db| Some((db, served(world, db)?.1)));
            head.is_none_or(|(db, head)| {
                let pinned = head.pinned || world.told.pinned & (1 << db) == 0;
                world.told.committed & !head.writes == 0 && pinned
            })
        }),
        Property::always(names::NOT_KEPT, |_, world: &World| {
            world.told.refused & world.applied == 0
        }),
        Property::always(names::AS_IT_WAS, |_, world: &World| !world.breaches.copy),
        Property::always(names::ANSWERS, |model: &Shards, world: &World| {
            world.movers.iter().any(Option::is_some)
                || (0..world.primaries.len()).all(|hint| answers(model, world, hint))
        }),
        Property::always(names::ENDS, |model: &Shards, world: &World| {
            world.movers.iter().any(Option::is_some) || ends(model, world)
        }),
    ]
}

fn must_happen() -> Vec<Property<Shards>> {
    vec![
        Property::sometimes("a node makes a copy valid", |_, world: &World| {
            world.nodes.iter().any(|node| matches!(node.doing, Doing::Helps(..)))
        }),
        Property::sometimes("a node takes a head from a mover", |_, world: &World| {
            let releases = |node: &Node| matches!(node.doing, Doing::Asks(Task::Release { .. }));
            world.nodes.iter().any(releases)
        }),
        Property::sometimes("a step that decides is late", |_, world: &World| {
            world.letters.iter().any(|letter| match letter.step {
                Step::Decide { db, generation, .. } => world.primaries[letter.to].heads[db]
                    .is_none_or(|head| head.generation > generation),
                _ => false,
            })
        }),
        Property::sometimes("a node is served that was sent on", |_, world: &World| {
            world
                .nodes
                .iter()
                .any(|node| node.hint != 0 && matches!(node.doing, Doing::Serves { .. }))
        }),
    ]
}

fn must_happen_to_commits() -> Vec<Property<Shards>> {
    vec![
        Property::sometimes("a commit is late, its database moved", |_, world: &World| {
            world.letters.iter().any(|letter| match letter.step {
                Step::Commit { db, .. } => {
                    world.primaries[letter.to].head_in(db, Sealed::Moved).is_some()
                }
                _ => false,
            })
        }),
        Property::sometimes("a verdict follows its database", |_, world: &World| {
            world.letters.iter().any(|letter| {
                letter.directed.is_some() && matches!(letter.step, Step::Verdict { .. })
            })
        }),
    ]
}

/// The primary and the head that a database is at: the live one, or the copy that the source has
/// said to be.
fn served(world: &World, db: usize) -> Option<(&Books, Head)> {
    let head = |books: &Books| books.heads[db];
    let live = world.primaries.iter().find(|books| head(books).is_some_and(Head::is_live));
    let marks = || world.primaries.iter().filter_map(|books| books.head_in(db, Sealed::Moved));
    let copy = |books: &&Books| {
        books
            .head_in(db, Sealed::Arriving)
            .is_some_and(|copy| marks().any(|mark| mark.generation == copy.generation))
    };
    let books = live.or_else(|| world.primaries.iter().find(copy))?;
    Some((books, head(books)?))
}

/// Whether a call of a new node with this hint comes to an end, with no other process about.
fn answers(model: &Shards, world: &World, hint: usize) -> bool {
    let mut alone = alone(world);
    alone.nodes = vec![Node { hint, doing: Doing::Idle }];
    model.ask_hint(&mut alone, 0, Task::Find);
    for _ in 0..STEPS_MAX {
        if let Some(letter) = alone.letters.pop() {
            model.arrive(&mut alone, letter);
            continue;
        }
        match alone.nodes[0].doing {
            Doing::Elsewhere(task, at) => model.route(&mut alone, 0, task, at),
            Doing::Serves { .. } => return true,
            Doing::Idle | Doing::Asks(_) | Doing::Helps(..) => {
                // An answer, if it says that there is none.
                return alone.lives.is_none();
            }
        }
    }
    false
}

/// Whether a mover that is started again, with no other process about, brings
/// the shard to its target.
fn ends(model: &Shards, world: &World) -> bool {
    let leaving = world.primaries.iter().find_map(|books| match books.shard.state {
        State::Leaving(to) => Some(to),
        State::Here | State::Gone(_) | State::Coming(_) => None,
    });
    let coming = |books: &Books| matches!(books.shard.state, State::Coming(_));
    let Some(to) = leaving.or_else(|| world.primaries.iter().position(coming)) else { return true };
    let mut alone = alone(world);
    model.start(&mut alone, 0, to);
    for _ in 0..STEPS_MAX {
        if let Some(letter) = alone.letters.pop() {
            model.arrive(&mut alone, letter);
        } else if alone.movers[0].is_some() {
            model.move_on(&mut alone, 0);
        } else {
            break;
        }
    }
    let there = alone.primaries[to].shard.state == State::Here;
    let whole = alone.lives.is_none_or(|db| alone.primaries[to].heads[db].is_some());
    there && whole && !alone.breaches.copy
}

/// The world with nothing but its primaries: what is on its way never arrives.
fn alone(world: &World) -> World {
    World {
        letters: Vec::new(),
        movers: vec![None],
        breaches: Breaches::default(),
        ..world.clone()
    }
}
