//! A parameter of a method.

use wasmtime::component::Val;

use crate::typed::bounds::QUOTE_CHARS_MAX;
use crate::typed::place::{ArgumentError, Place, shortened};
use crate::typed::shape::Shape;

/// A parameter of a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, as in WIT.
    pub name: String,
    /// Its type.
    pub shape: Shape,
}

impl Parameter {
    /// The value of a parameter that the caller did not send.
    pub(super) fn left_out(&self, place: &Place<'_>) -> Result<Val, ArgumentError> {
        match self.shape {
            Shape::Option(_) => Ok(Val::Option(None)),
            _ => Err(place.error(self.shape.brief(), "nothing: the argument is missing")),
        }
    }

    /// All of a method in words, for an error: `2 arguments (a: u32, b: string)`.
    pub(super) fn list(all: &[Self]) -> String {
        let list = all.iter().take(8).map(|parameter| {
            format!("{}: {}", shortened(&parameter.name, 40), parameter.shape.brief())
        });
        let list = list.collect::<Vec<_>>().join(", ");
        let list = shortened(&list, QUOTE_CHARS_MAX);
        match all.len() {
            0 => "no arguments".to_owned(),
            1 => format!("1 argument ({list}), in an array or by name"),
            count => format!("{count} arguments ({list}), in an array or by name"),
        }
    }
}
