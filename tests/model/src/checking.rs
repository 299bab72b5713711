//! Running a machine: every state, or the shortest way to a state that breaks a property.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// What a search over all states has found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// Transitions between them.
    pub transitions: usize,
    /// Actions on the longest of the shortest ways to a state.
    pub depth: usize,
    /// Properties that do not hold, with the actions that lead there.
    pub violated: Vec<(&'static str, Vec<String>)>,
    /// Things that must happen in some state, and do not.
    pub missing: Vec<&'static str>,
}

/// Visits every state of a machine.
pub fn visit_all<M>(model: M) -> Report
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: Clone + PartialEq + Debug,
{
    let properties = model.properties();
    let must_hold: BTreeSet<&'static str> = properties
        .iter()
        .filter(|property| property.expectation == Expectation::Always)
        .map(|property| property.name)
        .collect();
    let checker =
        model.checker().finish_when(HasDiscoveries::AnyOf(must_hold.clone())).spawn_bfs().join();
    let found = checker.discoveries();
    let violated = found
        .iter()
        .filter(|(name, _)| must_hold.contains(*name))
        .map(|(name, path)| {
            let actions = path.clone().into_actions();
            (*name, actions.iter().map(|action| format!("{action:?}")).collect())
        })
        .collect();
    let missing = properties
        .iter()
        .filter(|property| property.expectation == Expectation::Sometimes)
        .map(|property| property.name)
        .filter(|name| !found.contains_key(name))
        .collect();
    Report {
        states: checker.unique_state_count(),
        transitions: checker.state_count(),
        depth: checker.max_depth(),
        violated,
        missing,
    }
}

/// The actions of a shortest way to a state where `property` does not hold; `None` if it holds in
/// every state.
pub fn shortest_trace<M>(model: &M, property: &'static str) -> Option<Vec<String>>
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: Clone + PartialEq + Debug,
{
    let mut best: Option<Vec<String>> = None;
    loop {
        let wanted = HasDiscoveries::AnyOf(BTreeSet::from([property]));
        let mut checker = model.clone().checker().finish_when(wanted);
        if let Some(best) = &best {
            // The checker works on blocks of states and keeps the last find of a block, which may be
            // one action longer than another. A state after n actions has depth n + 1.
            checker = checker.target_max_depth(best.len() + 1);
        }
        match checker.spawn_bfs().join().discovery(property) {
            None => return best,
            Some(path) => {
                let actions = path.into_actions();
                best = Some(actions.iter().map(|action| format!("{action:?}")).collect());
            }
        }
    }
}
