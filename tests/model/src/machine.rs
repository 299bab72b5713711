//! A machine: how far it goes, which check is switched off, and how the checker drives it.
//!
//! A step copies the world and changes the copy. Steps of the protocol travel as letters, which are
//! kept in order: worlds that differ in the order of sending only are one state.

use stateright::{Model, Property};

use crate::Variant;
use crate::variant::Checks;

/// A state machine of some size.
#[derive(Clone, Copy, Debug)]
pub struct Machine<Size> {
    pub(crate) size: Size,
    pub(crate) checks: Checks,
}

impl<Size> Machine<Size> {
    /// The whole protocol.
    #[must_use]
    pub fn whole(size: Size) -> Self {
        Self { size, checks: Checks(None) }
    }

    /// The protocol without one check.
    #[must_use]
    pub fn without(size: Size, variant: Variant) -> Self {
        Self { size, checks: Checks(Some(variant)) }
    }
}

/// What each machine says of itself, by its size.
pub trait Protocol: Sized {
    /// Everything at one moment.
    type World: Clone;
    /// One thing that happens.
    type Action;
    /// A step on its way.
    type Letter: Ord;

    /// The world before anything has happened.
    fn initial(&self) -> Self::World;

    /// The letters of a world.
    fn letters(world: &mut Self::World) -> &mut Vec<Self::Letter>;

    /// Adds everything that may happen next.
    fn enabled(machine: &Machine<Self>, world: &Self::World, actions: &mut Vec<Self::Action>);

    /// Does it.
    fn apply(machine: &Machine<Self>, world: &mut Self::World, action: Self::Action);

    /// What must hold in every state, and what must happen in some.
    fn properties(&self) -> Vec<Property<Machine<Self>>>;
}

/// What is the same in each `impl Protocol`: letters are a field of the world, actions and properties
/// have files of their own.
macro_rules! as_each_machine {
    () => {
        type World = World;
        type Action = actions::Action;

        fn letters(world: &mut World) -> &mut Vec<Self::Letter> {
            &mut world.letters
        }

        fn enabled(
            machine: &crate::machine::Machine<Self>,
            world: &World,
            actions: &mut Vec<actions::Action>,
        ) {
            machine.possible(world, actions);
        }

        fn apply(
            machine: &crate::machine::Machine<Self>,
            world: &mut World,
            action: actions::Action,
        ) {
            machine.act(world, action);
        }

        fn properties(&self) -> Vec<stateright::Property<crate::machine::Machine<Self>>> {
            properties::all(self)
        }
    };
}

pub(crate) use as_each_machine;

impl<Size: Protocol> Model for Machine<Size> {
    type State = Size::World;
    type Action = Size::Action;

    fn init_states(&self) -> Vec<Size::World> {
        vec![self.size.initial()]
    }

    fn actions(&self, world: &Size::World, actions: &mut Vec<Size::Action>) {
        Size::enabled(self, world, actions);
    }

    fn next_state(&self, world: &Size::World, action: Size::Action) -> Option<Size::World> {
        let mut next = world.clone();
        Size::apply(self, &mut next, action);
        Size::letters(&mut next).sort_unstable();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.size.properties()
    }
}
