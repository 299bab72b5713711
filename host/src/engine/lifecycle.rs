//! The hooks and the handler of alarms that a component may export, found once and checked against
//! their types.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex};

use crate::typed::Shape;
use crate::typed::{ShapeRoom, parameters, signature};

/// The prefix of every hook interface of the host.
const PACKAGE: &str = "stockade:actor/";

/// The interfaces and the version track that this host calls.
const INTERFACE: &str = "stockade:actor/lifecycle@0.2.";
const HANDLER: &str = "stockade:actor/alarm-handler@0.2.";

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

/// The handler of alarms, as `wit/alarm-handler.wit` has it.
const ON_ALARM: (&str, &str) = (
    "on-alarm",
    "func(alarm: record { name: string, payload: list<u8>, due: u64, attempt: u32, missed: u64 }) \
     -> result<_, variant { other(string) }>",
);

/// The exports of a component that the host calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks {
    /// The hooks of a generation's life, if the component exports them.
    pub lifecycle: Option<Lifecycle>,
    /// `on-alarm`, if the component exports it.
    pub on_alarm: Option<ComponentExportIndex>,
}

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

impl Hooks {
    /// The exports of `component` that the host calls.
    pub(super) fn of(component: &Component) -> Result<Self, LifecycleError> {
        let ty = component.component_type();
        let (mut lifecycle, mut handler) = (None, None);
        for (name, _) in ty.exports(component.engine()) {
            if name.starts_with(INTERFACE) {
                lifecycle = component.get_export_index(None, name);
            } else if name.starts_with(HANDLER) {
                handler = component.get_export_index(None, name);
            } else if name.starts_with(PACKAGE) {
                let interface = name.chars().take(128).collect();
                return Err(LifecycleError::UnknownInterface { interface });
            }
        }
        let lifecycle = lifecycle.map(|parent| Lifecycle::of(component, &parent)).transpose()?;
        let (name, expected) = ON_ALARM;
        let on_alarm =
            handler.map(|parent| hook(component, &parent, name, expected)).transpose()?;
        Ok(Self { lifecycle, on_alarm })
    }
}

impl Lifecycle {
    fn of(component: &Component, parent: &ComponentExportIndex) -> Result<Self, LifecycleError> {
        let hook = |(name, expected)| hook(component, parent, name, expected);
        Ok(Self {
            restore: hook(RESTORE)?,
            start: hook(START)?,
            stop: hook(STOP)?,
            snapshot: hook(SNAPSHOT)?,
        })
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
