//! The clients that a component imports: resources through which it calls the actors of a kind by typed
//! functions.
//!
//! ```text
//!  stockade-client:KIND/NAME      resource R
//!                                 [constructor]R: func(key: string) -> own<R>
//!                                 [method]R.METHOD: func(self, ..) -> result<.., call-error>
//! ```
//! Invariant: a component that imports anything else under such a name is not run. Which methods the
//! kind has is asked at each call, not here: it may be deployed later, and again.

use std::sync::Arc;

use stockade_componentize::kind_of;
use stockade_depot::ActorId;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, ResourceType, Type};

use crate::engine::error::ComponentError;
use crate::typed::bounds::FUNCTIONS_MAX;
use crate::typed::{Parameter, Shape, ShapeRoom, Signature, parameter_of};

/// The type of a failure, written out.
macro_rules! failure {
    () => {
        "record { code: string, message: string, advice: enum { retry, reroute, fix, never, \
         unknown-outcome }, verdict: option<enum { committed, not-committed, indeterminate }>, details: \
         string }"
    };
}

/// The error of a call, as `stockade client` writes it and `wit/actors.wit` has it, with names written
/// out.
pub(crate) const CALL_ERROR: &str = concat!(
    "variant { invalid(",
    failure!(),
    "), not-found(",
    failure!(),
    "), denied(string), open-transaction, call-cycle(record { chain: list<record { kind: string, \
     key: string }>, crosses: bool }), limit-exceeded(enum { calls-in-flight, chain-length, memory }), \
     overloaded(",
    failure!(),
    "), timed-out(",
    failure!(),
    "), unknown-outcome(",
    failure!(),
    "), failed(",
    failure!(),
    "), not-open, revoked(enum { shutdown, slept, fenced, trapped, budget, upgraded, destroyed, storage, \
     operator }), other(string) }"
);

/// A kind whose actors the component calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The import: `stockade-client:counter/counter`.
    pub import: String,
    /// The kind that it names.
    pub kind: String,
    /// The resource.
    pub resource: String,
    /// The functions of the resource, without its constructor.
    pub methods: Vec<ClientMethod>,
}

/// A function that calls a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMethod {
    /// Its name in the import: `[method]counter.add`.
    pub import: String,
    /// The method as the component knows it.
    pub signature: Arc<Signature>,
}

impl Client {
    /// All clients that a component imports.
    ///
    /// # Errors
    /// `Client` names the first function that is none of a client.
    pub(super) fn all_of(component: &Component) -> Result<Vec<Self>, ComponentError> {
        let ty = component.component_type();
        let mut room = ShapeRoom::new();
        let mut clients = Vec::new();
        let mut functions_left = FUNCTIONS_MAX;
        for (import, item) in ty.imports(component.engine()) {
            let Some((kind, _)) = kind_of(import) else { continue };
            let refused = |reason: String| ComponentError::Client {
                import: import.chars().take(256).collect(),
                kind: kind.chars().take(ActorId::KIND_BYTES_MAX).collect(),
                reason: reason.chars().take(500).collect(),
            };
            if !ActorId::kind_is_valid(&kind) {
                return Err(refused("it names no kind".to_owned()));
            }
            let ComponentItem::ComponentInstance(instance) = item.ty else {
                return Err(refused("it is no interface".to_owned()));
            };
            let found = Found::of(component, &instance).map_err(refused)?;
            functions_left = functions_left
                .checked_sub(found.functions.len())
                .ok_or_else(|| refused(format!("it has more than {FUNCTIONS_MAX} functions")))?;
            if let Some(resource) = &found.resource {
                let methods = found.methods(resource, &mut room).map_err(refused)?;
                let (import, resource) = (import.to_owned(), resource.0.clone());
                clients.push(Self { import, kind, resource, methods });
            } else if let Some((name, _)) = found.functions.first() {
                // Types alone need no host.
                return Err(refused(format!("`{name}` belongs to no resource")));
            }
        }
        Ok(clients)
    }
}

/// What an import has.
struct Found {
    resource: Option<(String, ResourceType)>,
    functions: Vec<(String, ComponentFunc)>,
}

impl Found {
    fn of(component: &Component, instance: &ComponentInstance) -> Result<Self, String> {
        let (mut resource, mut functions) = (None, Vec::new());
        for (name, item) in instance.exports(component.engine()) {
            match item.ty {
                ComponentItem::Resource(ty) => {
                    if resource.replace((name.to_owned(), ty)).is_some() {
                        return Err(format!("`{name}` is a second resource"));
                    }
                }
                ComponentItem::ComponentFunc(ty) => functions.push((name.to_owned(), ty)),
                ComponentItem::Type(_) => {}
                ComponentItem::CoreFunc(_)
                | ComponentItem::Module(_)
                | ComponentItem::Component(_)
                | ComponentItem::ComponentInstance(_) => {
                    return Err(format!("`{name}` is neither a function nor a type"));
                }
            }
        }
        Ok(Self { resource, functions })
    }

    fn methods(
        &self,
        (resource, handle): &(String, ResourceType),
        room: &mut ShapeRoom,
    ) -> Result<Vec<ClientMethod>, String> {
        let constructor = format!("[constructor]{resource}");
        let prefix = format!("[method]{resource}.");
        let mut methods = Vec::new();
        for (name, ty) in &self.functions {
            if *name == constructor {
                check_constructor(ty, handle).map_err(|why| format!("`{name}` {why}"))?;
            } else if let Some(method) = name.strip_prefix(&prefix) {
                let signature = signature(method, ty, handle, room);
                let signature = signature.map_err(|why| format!("`{name}` {why}"))?;
                methods.push(ClientMethod { import: name.clone(), signature: Arc::new(signature) });
            } else {
                return Err(format!("`{name}` is no method of the resource `{resource}`"));
            }
        }
        Ok(methods)
    }
}

fn check_constructor(ty: &ComponentFunc, handle: &ResourceType) -> Result<(), String> {
    let is_key = matches!(ty.params().collect::<Vec<_>>().as_slice(), [(_, Type::String)]);
    let makes = |result: &Type| matches!(result, Type::Own(made) if made == handle);
    let is_it = matches!(ty.results().collect::<Vec<_>>().as_slice(), [result] if makes(result));
    match is_key && is_it && !ty.async_() {
        true => Ok(()),
        false => Err("does not make the resource of a key, `func(key: string)`".to_owned()),
    }
}

fn signature(
    method: &str,
    ty: &ComponentFunc,
    handle: &ResourceType,
    room: &mut ShapeRoom,
) -> Result<Signature, String> {
    if ty.async_() {
        return Err("is an async function".to_owned());
    }
    let mut types = ty.params();
    if !matches!(types.next(), Some((_, Type::Borrow(of))) if of == *handle) {
        return Err("does not take the resource".to_owned());
    }
    let parameters: Result<Vec<Parameter>, String> = types
        .map(|(name, ty)| {
            let parameter = parameter_of(name, &ty, room);
            parameter.map_err(|why| format!("cannot be called: {why}, in parameter `{name}`"))
        })
        .collect();
    let results: Result<Vec<Shape>, String> = ty
        .results()
        .map(|ty| {
            Shape::of(&ty, room).map_err(|why| format!("cannot be called: {why}, in its result"))
        })
        .collect();
    let (parameters, mut results) = (parameters?, results?);
    let result = match (results.pop(), results.is_empty()) {
        (Some(Shape::Result { ok, err: Some(err) }), true) if err.to_string() == CALL_ERROR => ok,
        _ => return Err("does not return a `result` with the error of a call".to_owned()),
    };
    let method = room.name(method).map_err(|why| why.to_string())?;
    Ok(Signature { method, parameters, result: result.map(|shape| *shape) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with an import of these items.
    fn refused(items: &str) -> String {
        let text =
            format!(r#"(component (import "stockade-client:room/room" (instance {items})))"#);
        let engine = wasmtime::Engine::default();
        let component = Component::new(&engine, wat::parse_str(text).expect("the text is wasm"));
        match Client::all_of(&component.expect("it is valid")) {
            Ok(clients) => format!("{clients:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_no_client_is_refused_by_function() {
        let resource = r#"(export "room" (type $r (sub resource)))"#;
        let way_out = "; import what `stockade client room` writes";
        for (items, reason) in [
            (r#"(export "add" (func))"#.to_owned(), "`add` belongs to no resource"),
            (
                format!(r#"{resource} (export "add" (func))"#),
                "`add` is no method of the resource `room`",
            ),
            (
                format!(r#"{resource} (export "more" (type (sub resource)))"#),
                "`more` is a second resource",
            ),
            (
                format!(r#"{resource} (export "[constructor]room" (func (result (own $r))))"#),
                "`[constructor]room` does not make the resource of a key, `func(key: string)`",
            ),
            (
                format!(
                    r#"{resource} (export "[method]room.add"
                        (func (param "self" (borrow $r)) (result u32)))"#
                ),
                "`[method]room.add` does not return a `result` with the error of a call",
            ),
            (
                format!(
                    r#"{resource} (export "[method]room.add"
                        (func (param "self" (borrow $r)) (param "other" (borrow $r)) (result u32)))"#
                ),
                "`[method]room.add` cannot be called: its signature has a resource handle, in \
                 parameter `other`",
            ),
        ] {
            let expected = format!("the import `stockade-client:room/room`: {reason}{way_out}");
            assert_eq!(refused(&items), expected);
        }
        assert_eq!(refused(""), "[]", "types alone");
        let make = r#"(export "[constructor]room" (func (param "key" string) (result (own $r))))"#;
        let clients = refused(&format!("{resource} {make}"));
        assert!(clients.contains(r#"kind: "room", resource: "room", methods: []"#), "{clients}");
    }
}
