//! The methods of a component as JSON, for `GET` on a kind and for `--help` of a call.
//!
//! ```text
//! { "methods":  [ { "name": "add", "full_name": "demo:counter/api@0.1.0#add",
//!                   "interface": "demo:counter/api@0.1.0",
//!                   "params": [ { "name": "delta", "type": "s64", "optional": false } ],
//!                   "result": "result<s64, string>",
//!                   "signature": "func(delta: s64) -> result<s64, string>",
//!                   "example": { "delta": 1 } } ],
//!   "excluded": [ { "name": "..#watch", "why": "its signature has a stream" } ] }
//! ```

use serde_json::{Map, Value, json};

use crate::typed::example::example;
use crate::typed::method::{Method, signature};
use crate::typed::parameter::Parameter;
use crate::typed::shape::Shape;
use crate::typed::table::MethodTable;

impl MethodTable {
    /// All methods with their types and example arguments, and what was left out and why.
    #[must_use]
    pub fn describe(&self) -> Value {
        let methods: Vec<Value> = self.iter().map(|method| method.describe()).collect();
        let excluded = self.excluded().iter();
        let excluded: Vec<Value> = excluded
            .map(|excluded| json!({ "name": excluded.name, "why": excluded.why.to_string() }))
            .collect();
        json!({ "methods": methods, "excluded": excluded })
    }
}

impl Method {
    /// Name, types and example arguments of this method.
    #[must_use]
    pub fn describe(&self) -> Value {
        let params = self.params().iter().map(|parameter| {
            json!({
                "name": parameter.name,
                "type": parameter.shape.to_string(),
                "optional": matches!(parameter.shape, Shape::Option(_)),
            })
        });
        json!({
            "name": self.short,
            "full_name": self.full_name(),
            "interface": self.interface,
            "params": params.collect::<Vec<_>>(),
            "result": self.result().map(Shape::to_string),
            "signature": signature(self.params(), self.result()),
            "example": example_arguments(self.params()),
        })
    }
}

/// Arguments by name that fit.
fn example_arguments(parameters: &[Parameter]) -> Value {
    let named = parameters.iter().map(|p| (p.name.clone(), example(&p.shape)));
    Value::Object(named.collect::<Map<_, _>>())
}
