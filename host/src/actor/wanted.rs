//! What a caller asks for, as it came: a method by its name, and arguments, perhaps with the types that
//! the caller was built with. It finds its method in any version of a component.
//!
//! Invariant: a method that a caller expects to have certain types has them, or is not called.

use std::sync::Arc;

use wasmtime::component::Val;

use crate::error::HostError;
use crate::typed::{Arguments, Expected, Method, MethodTable, Room};

/// A method and arguments, as a caller has them.
#[derive(Clone)]
pub struct Wanted {
    name: String,
    arguments: Arc<Arguments>,
    /// `None`: the arguments are read into whatever types the method has.
    expected: Option<Expected>,
}

impl Wanted {
    /// A method by its name, or by that which clients have for it if the caller expects its types.
    #[must_use]
    pub fn new(name: &str, arguments: Arguments, expected: Option<Expected>) -> Self {
        Self { name: name.to_owned(), arguments: Arc::new(arguments), expected }
    }

    /// The method, and values of its types, which take `room`.
    ///
    /// # Errors
    /// `MethodMissing`, `Signature`, `Arguments`.
    pub fn found_in(
        &self,
        methods: &MethodTable,
        room: Room<'_>,
    ) -> Result<(Arc<Method>, Vec<Val>), HostError> {
        let found = match &self.expected {
            None => methods.find(&self.name)?,
            Some(expected) => {
                let found = methods.find_for_client(&self.name)?;
                expected.check(&self.name, found)?;
                found
            }
        };
        let values = found.arguments_within(&self.arguments, room)?;
        Ok((Arc::clone(found), values))
    }
}
