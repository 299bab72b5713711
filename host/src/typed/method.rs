//! One exported function that callers can reach: its names, its shapes, and both directions of a
//! call's values.

use std::fmt;

use serde_json::Value;
use wasmtime::component::{ComponentExportIndex, Val};

use crate::typed::arguments::{self, Arguments};
use crate::typed::json;
use crate::typed::parameter::Parameter;
use crate::typed::place::{ArgumentError, Room};
use crate::typed::shape::Shape;

/// A method: an exported function with a signature that JSON and WAVE can carry.
pub struct Method {
    /// The interface that exports it, as in the component: `demo:counter/api@0.1.0`. Empty for a
    /// function that the component exports by itself.
    pub interface: String,
    /// The function's name: `add`.
    pub name: String,
    /// The shortest name that finds it and nothing else: `add`, or `api.add`, or the full one.
    pub short: String,
    pub(super) export: ComponentExportIndex,
    pub(super) parameters: Vec<Parameter>,
    pub(super) result: Option<Shape>,
}

impl Method {
    /// The name that is unique for sure: `demo:counter/api@0.1.0#add`.
    #[must_use]
    pub fn full_name(&self) -> String {
        match self.interface.as_str() {
            "" => self.name.clone(),
            interface => format!("{interface}#{}", self.name),
        }
    }

    /// Where an instance of the component has the function.
    #[must_use]
    pub fn export(&self) -> &ComponentExportIndex {
        &self.export
    }

    /// The parameters, in order.
    #[must_use]
    pub fn params(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The type of the result, if there is one.
    #[must_use]
    pub fn result(&self) -> Option<&Shape> {
        self.result.as_ref()
    }

    /// How many values a call returns: 0 or 1. The engine wants room for as many.
    #[must_use]
    pub fn results_len(&self) -> usize {
        usize::from(self.result.is_some())
    }

    /// The values to call the function with, exactly of its types.
    ///
    /// # Errors
    /// The first argument that does not fit, with its place. The guest did not run.
    pub fn arguments(&self, arguments: &Arguments) -> Result<Vec<Val>, ArgumentError> {
        self.arguments_within(arguments, Room::default())
    }

    /// The same, where the values take `room`.
    ///
    /// # Errors
    /// As above, and if there is no room.
    pub(crate) fn arguments_within(
        &self,
        arguments: &Arguments,
        room: Room<'_>,
    ) -> Result<Vec<Val>, ArgumentError> {
        arguments::bind(arguments, &self.parameters, room)
    }

    /// The value that a call returned, as JSON; `null` if the function has no result. A `result`
    /// stays visible as `{"ok": ..}` or `{"err": ..}`: both are answers of the guest.
    #[must_use]
    pub fn to_json(&self, results: &[Val]) -> Value {
        match (results.first(), &self.result) {
            (Some(value), Some(shape)) => json::write(value, shape),
            _ => Value::Null,
        }
    }

    /// The values of a result that [`Self::to_json`] has written, if they still have the method's type.
    pub(crate) fn results_of(&self, json: &str) -> Option<Vec<Val>> {
        let Some(shape) = &self.result else { return Some(Vec::new()) };
        let result = Parameter { name: "result".to_owned(), shape: shape.clone() };
        let by_position = Arguments::JsonText(format!("[{json}]").into());
        arguments::bind(&by_position, &[result], Room::default()).ok()
    }

    /// The value that a call returned, as WAVE text; empty if the function has no result.
    #[must_use]
    pub fn to_wave(&self, results: &[Val]) -> String {
        let Some(value) = results.first() else {
            return String::new();
        };
        // WAVE lacks only types that no method has, so JSON is for a mistake of the host.
        value.to_wave().unwrap_or_else(|_| self.to_json(results).to_string())
    }
}

/// The signature as WIT text: `func(a: u32) -> string`.
pub(crate) fn signature(parameters: &[Parameter], result: Option<&Shape>) -> String {
    let list = parameters.iter().map(|p| format!("{}: {}", p.name, p.shape));
    let list = list.collect::<Vec<_>>().join(", ");
    match result {
        Some(shape) => format!("func({list}) -> {shape}"),
        None => format!("func({list})"),
    }
}

/// Name and signature: `api.add: func(delta: s64) -> s64`.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.short, signature(&self.parameters, self.result.as_ref()))
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Method").field("name", &self.full_name()).finish_non_exhaustive()
    }
}
