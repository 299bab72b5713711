//! A bounded memory of the newest actors for which something was recorded.
//!
//! Invariants:
//! - No more actors than the bound are remembered; the one that came first is forgotten first.
//! - An actor keeps its place when its value is replaced.

use std::collections::{HashMap, VecDeque};

use stockade_depot::ActorId;

/// The newest value of each actor, up to a number of actors.
pub struct Recent<V> {
    values: HashMap<ActorId, V>,
    /// In the order in which the actors came.
    order: VecDeque<ActorId>,
    max: usize,
}

impl<V> Recent<V> {
    /// An empty memory of at most `max` actors.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { values: HashMap::new(), order: VecDeque::new(), max }
    }

    /// Remembers a value in place of the actor's former one. Forgets the oldest actor where there
    /// are too many.
    pub fn put(&mut self, actor: &ActorId, value: V) {
        if self.values.insert(actor.clone(), value).is_none() {
            self.order.push_back(actor.clone());
        }
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    /// The value of an actor.
    #[must_use]
    pub fn get(&self, actor: &ActorId) -> Option<&V> {
        self.values.get(actor)
    }

    /// The value of an actor, to be changed.
    pub fn get_mut(&mut self, actor: &ActorId) -> Option<&mut V> {
        self.values.get_mut(actor)
    }

    /// Forgets an actor.
    pub fn forget(&mut self, actor: &ActorId) {
        if self.values.remove(actor).is_some() {
            self.order.retain(|other| other != actor);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(number: usize) -> ActorId {
        ActorId::new("kind", &number.to_string()).expect("a name")
    }

    #[test]
    fn the_memory_is_bounded_and_the_first_to_come_goes_first() {
        let mut recent = Recent::new(3);
        for number in 0..3 {
            recent.put(&actor(number), number);
        }
        recent.put(&actor(0), 10);
        assert_eq!(recent.get(&actor(0)), Some(&10), "a newer value of the same actor");
        recent.put(&actor(3), 3);
        let kept: Vec<_> = (0..4).map(|number| recent.get(&actor(number)).copied()).collect();
        assert_eq!(kept, [None, Some(1), Some(2), Some(3)], "it kept its place");
        assert_eq!((recent.values.len(), recent.order.len()), (3, 3));
    }

    #[test]
    fn a_forgotten_actor_takes_no_place() {
        let mut recent = Recent::new(2);
        for number in 0..2 {
            recent.put(&actor(number), number);
        }
        recent.forget(&actor(0));
        recent.put(&actor(2), 2);
        assert_eq!((recent.get(&actor(0)), recent.get(&actor(1))), (None, Some(&1)));
        assert_eq!((recent.values.len(), recent.order.len()), (2, 2));
    }
}
