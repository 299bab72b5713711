//! The chain of a call: the actors that wait for it, and since when the chain exists.
//!
//! Invariants:
//! - A chain is never empty and names no actor twice: a call that would name one twice is refused
//!   by the caller that makes it.
//! - The age of a chain stays the same wherever the chain goes.

use std::fmt;
use std::sync::Arc;

use stockade_depot::{ActorId, NodeSession};

/// When a chain began: the greater one is the younger. The clock of the process in which it began
/// decides, and among equals its name; of two chains every process finds the same one younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age {
    /// Milliseconds since 1970, by the clock of the process in which the chain began.
    pub began_ms: u64,
    /// That process.
    pub node: NodeSession,
    /// The number of the chain in that process.
    pub number: u64,
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.began_ms, self.node, self.number)
    }
}

/// One call: the process that made it, and its number there. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// The process that made the call.
    pub node: NodeSession,
    /// Its number there.
    pub number: u64,
}

/// Actors each of which waits for the next one; the last one waits for the call. Cloning shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    age: Age,
    actors: Arc<[ActorId]>,
}

/// Actors that would wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Each waits for the next one, and the last one for the first.
    pub actors: Vec<ActorId>,
    /// Whether two chains cross; otherwise one chain comes back to itself.
    pub crosses: bool,
}

impl Chain {
    /// The chain of what an actor does by itself, or for a caller that is no actor.
    #[must_use]
    pub fn begun(age: Age, actor: &ActorId) -> Self {
        Self { age, actors: Arc::from([actor.clone()]) }
    }

    /// A chain that another process has sent. `None`: it is empty, or names an actor twice.
    #[must_use]
    pub fn received(age: Age, actors: Vec<ActorId>) -> Option<Self> {
        let mut sorted: Vec<&ActorId> = actors.iter().collect();
        sorted.sort_unstable();
        let twice = sorted.windows(2).any(|pair| pair[0] == pair[1]);
        (!actors.is_empty() && !twice).then(|| Self { age, actors: actors.into() })
    }

    /// This chain with the actor that works on its call.
    #[must_use]
    pub fn then(&self, actor: &ActorId) -> Self {
        let actors = self.actors.iter().chain([actor]).cloned().collect();
        Self { age: self.age, actors }
    }

    /// When it began.
    #[must_use]
    pub fn age(&self) -> Age {
        self.age
    }

    /// The actors, the first one first.
    #[must_use]
    pub fn actors(&self) -> &[ActorId] {
        &self.actors
    }

    /// The actor that makes the call.
    #[must_use]
    pub fn caller(&self) -> &ActorId {
        self.actors.last().expect("BUG: a chain is never empty")
    }

    /// The circle that a call of `actor` would close, if the actor waits in this chain.
    #[must_use]
    pub fn cycle_with(&self, actor: &ActorId) -> Option<Cycle> {
        let at = self.actors.iter().position(|waits| waits == actor)?;
        Some(Cycle { actors: self.actors[at..].to_vec(), crosses: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(key: &str) -> ActorId {
        ActorId::new("kind", key).expect("a name")
    }

    fn age(began_ms: u64, node: u8, number: u64) -> Age {
        Age { began_ms, node: NodeSession([node; 16]), number }
    }

    #[test]
    fn a_chain_that_comes_back_is_seen_whole() {
        let chain = Chain::begun(age(1, 1, 1), &actor("a")).then(&actor("b")).then(&actor("c"));
        let cycle = |key| chain.cycle_with(&actor(key)).map(|cycle| cycle.actors);
        assert_eq!(cycle("b"), Some(vec![actor("b"), actor("c")]));
        assert_eq!(cycle("c"), Some(vec![actor("c")]), "itself");
        assert_eq!(cycle("d"), None);
        assert_eq!((chain.caller(), chain.age()), (&actor("c"), age(1, 1, 1)));
    }

    #[test]
    fn a_chain_from_elsewhere_names_each_actor_once() {
        let received = |keys: &[&str]| {
            let actors = keys.iter().map(|key| actor(key)).collect();
            Chain::received(age(1, 1, 1), actors).is_some()
        };
        assert!(received(&["a"]) && received(&["b", "a"]));
        assert!(!received(&[]) && !received(&["a", "b", "a"]));
    }

    #[test]
    fn the_later_chain_is_the_younger_and_a_tie_has_one_winner() {
        assert!(age(2, 1, 1) > age(1, 9, 9));
        assert!(age(1, 2, 1) > age(1, 1, 9));
        assert!(age(1, 1, 2) > age(1, 1, 1));
    }
}
