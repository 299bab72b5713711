//! The hooks that a component may export, found once and checked against their types.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex};

use crate::typed::Shape;
use crate::typed::{ShapeRoom, parameters, signature};

/// The prefix of every hook interface of the host.
const PACKAGE: &str = "stockade:actor/";

/// The interface and the version track that this host calls.
const INTERFACE: &str = "stockade:actor/lifecycle@0.2.";

/// The hooks and their types, as `wit/lifecycle.wit` has them, with names written out.
const RESTORE: (&str, &str) = (
    "restore",
    "func(snapshot: record { state: list<u8>, current: bool, generation: u64 }) \
     -> result<_, variant { other(string) }>",
);
const START: (&str, &str) = ("start", "func() -> result<_, variant { other(string) }>");
const STOP: (&str, &str) = ("stop", "func() -> result<_, variant { other(string) }>");
const SNAPSHOT: (&str, &str) =
    ("snapshot", "func() -> result<option<list<u8>>, variant { other(string) }>");

/// Where an instance of the component has its hooks.
#[derive(Clone, Copy, Debug)]
pub struct Lifecycle {
    /// `restore`: takes over in-memory state.
    pub restore: ComponentExportIndex,
    /// `start`: prepares for calls.
    pub start: ComponentExportIndex,
    /// `stop`: the generation ends in order.
    pub stop: ComponentExportIndex,
    /// `snapshot`: the state to hand over.
    pub snapshot: ComponentExportIndex,
}

/// The component's hooks are not the ones this host calls.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    /// The component exports an interface of the host that this host does not call. Ignoring the
    /// export would leave out what the author counts on.
    #[error("the component exports `{interface}`, which this host does not call")]
    UnknownInterface {
        /// The interface's name.
        interface: String,
    },
    /// A hook has another type.
    #[error("the hook `{hook}` must be `{expected}`, but is `{actual}`")]
    WrongType {
        /// The hook.
        hook: &'static str,
        /// The type in `stockade:actor`.
        expected: &'static str,
        /// The type that the component exports.
        actual: String,
    },
}

impl Lifecycle {
    /// The hooks of `component`; `None` if it exports none.
    pub(super) fn of(component: &Component) -> Result<Option<Self>, LifecycleError> {
        let ty = component.component_type();
        let mut found = None;
        for (name, _) in ty.exports(component.engine()) {
            if name.starts_with(INTERFACE) {
                found = component.get_export_index(None, name);
            } else if name.starts_with(PACKAGE) {
                let interface = name.chars().take(128).collect();
                return Err(LifecycleError::UnknownInterface { interface });
            }
        }
        let Some(parent) = found else { return Ok(None) };
        let hook = |(name, expected)| hook(component, &parent, name, expected);
        Ok(Some(Self {
            restore: hook(RESTORE)?,
            start: hook(START)?,
            stop: hook(STOP)?,
            snapshot: hook(SNAPSHOT)?,
        }))
    }
}

fn hook(
    component: &Component,
    parent: &ComponentExportIndex,
    hook: &'static str,
    expected: &'static str,
) -> Result<ComponentExportIndex, LifecycleError> {
    let (actual, export) = match component.get_export(Some(parent), hook) {
        Some((ComponentItem::ComponentFunc(ty), export)) => {
            let mut room = ShapeRoom::new();
            let result = ty.results().next().map(|ty| Shape::of(&ty, &mut room)).transpose();
            let actual = match (parameters(&ty, &mut room), result) {
                (Ok(parameters), Ok(result)) => signature(&parameters, result.as_ref()),
                (Err(why), _) | (_, Err(why)) => why.to_string(),
            };
            (actual, Some(export))
        }
        Some(_) => ("not a function".to_owned(), None),
        None => ("missing".to_owned(), None),
    };
    match export {
        Some(export) if actual == expected => Ok(export),
        _ => {
            let actual = actual.chars().take(256).collect();
            Err(LifecycleError::WrongType { hook, expected, actual })
        }
    }
}
