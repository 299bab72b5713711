//! The needs of a component, read from its bytes: in milliseconds, where compiling takes seconds.
//!
//! ```text
//!  component ─┬─ imports                            offered?
//!             ├─ asynchronous functions or types    not run here
//!             └─ instantiates ─┬─ modules ── memories and tables: what it starts with, all together
//!                              └─ components ── the same
//! ```
//! The result proves nothing: the compiler validates the component afterwards. Parts that are
//! invisible here (a module that comes out of an instance) count as nothing, so a component may
//! need more than is reported here, and never less.

use std::ops::AddAssign;

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentDefinedType,
    ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentType,
    ComponentTypeDeclaration, ComponentTypeRef, Instance, InstanceTypeDeclaration, MemoryType,
    Parser, Payload,
};

use crate::engine::config::MEMORIES_MAX;
use crate::engine::error::ComponentError;

/// Modules, components and instances that are counted. 100,000: real components have dozens, and
/// each is a few bytes of the file.
const ITEMS_MAX: usize = 100_000;

/// The needs of a component.
#[derive(Debug, Default)]
pub struct Needs {
    /// The imports, by name.
    pub(super) imports: Vec<String>,
    /// Whether it needs functions or types that only run asynchronously.
    pub(super) is_async: bool,
    start: Start,
}

/// The memory and tables that an instance starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Start {
    memories: u64,
    memory_bytes: u64,
    table_elements: u64,
}

impl AddAssign for Start {
    fn add_assign(&mut self, other: Self) {
        self.memories = self.memories.saturating_add(other.memories);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.table_elements = self.table_elements.saturating_add(other.table_elements);
    }
}

/// The module or component that is being read.
#[derive(Default)]
struct Frame {
    is_module: bool,
    /// The sum of what it instantiates; a module's own.
    start: Start,
    /// The start of an instance of each of its modules and components, by index.
    modules: Vec<Start>,
    components: Vec<Start>,
}

impl Needs {
    /// Reads a component.
    ///
    /// # Errors
    /// `Invalid` if the bytes are no component.
    pub(super) fn read(wasm: &[u8]) -> Result<Self, ComponentError> {
        let invalid = |error: wasmparser::Error| ComponentError::malformed(&error);
        let mut needs = Self::default();
        let mut frames = vec![Frame::default()];
        let mut items = 0;
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.map_err(invalid)?;
            items += usize::try_from(count(&payload)).unwrap_or(usize::MAX);
            if items > ITEMS_MAX {
                return Err(ComponentError::TooManyParts { max: ITEMS_MAX });
            }
            needs.take(payload, &mut frames).map_err(invalid)?;
        }
        Ok(needs)
    }

    /// Checks that an actor of a kind with these limits can start.
    ///
    /// # Errors
    /// `Memories`, `Memory` or `Table`, with the need.
    pub fn within(
        &self,
        memory_bytes_max: u64,
        table_elements_max: u64,
    ) -> Result<(), ComponentError> {
        let Start { memories: count, memory_bytes: bytes, table_elements: elements } = self.start;
        if count > u64::from(MEMORIES_MAX) {
            return Err(ComponentError::Memories { count, max: MEMORIES_MAX });
        }
        if bytes > memory_bytes_max {
            return Err(ComponentError::Memory { bytes, max: memory_bytes_max });
        }
        if elements > table_elements_max {
            return Err(ComponentError::Table { elements, max: table_elements_max });
        }
        Ok(())
    }

    fn take(&mut self, payload: Payload<'_>, frames: &mut Vec<Frame>) -> wasmparser::Result<()> {
        let is_root = frames.len() == 1;
        let frame = frames.last_mut().expect("BUG: the root is left last");
        match payload {
            Payload::ModuleSection { .. } => {
                frames.push(Frame { is_module: true, ..Frame::default() });
            }
            Payload::ComponentSection { .. } => frames.push(Frame::default()),
            Payload::End(_) if is_root => self.start = frame.start,
            Payload::End(_) => {
                let Frame { is_module, start, .. } = frames.pop().expect("BUG: it was looked at");
                let outer = frames.last_mut().expect("BUG: the root is left last");
                if is_module { outer.modules.push(start) } else { outer.components.push(start) }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    frame.start += of_memory(&memory?);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    let table_elements = table?.ty.initial;
                    frame.start += Start { table_elements, ..Start::default() };
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    let import = import?;
                    if is_root {
                        self.imports.push(import.name.name.to_owned());
                    }
                    match import.ty {
                        ComponentTypeRef::Module(_) => frame.modules.push(Start::default()),
                        ComponentTypeRef::Component(_) => frame.components.push(Start::default()),
                        _ => {}
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    take_alias(&alias?, frames);
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    // An export has a second index.
                    let export = export?;
                    match export.kind {
                        ComponentExternalKind::Module => {
                            frame.modules.push(at(&frame.modules, export.index));
                        }
                        ComponentExternalKind::Component => {
                            frame.components.push(at(&frame.components, export.index));
                        }
                        _ => {}
                    }
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        frame.start += at(&frame.modules, module_index);
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        frame.start += at(&frame.components, component_index);
                    }
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions {
                    self.is_async |= is_async(&function?);
                }
            }
            Payload::ComponentTypeSection(types) => {
                for ty in types {
                    self.is_async |= is_async_type(&ty?);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The part of [`ITEMS_MAX`] that a payload takes.
fn count(payload: &Payload<'_>) -> u32 {
    match payload {
        Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => 1,
        Payload::ComponentImportSection(items) => items.count(),
        Payload::ComponentExportSection(items) => items.count(),
        Payload::ComponentAliasSection(items) => items.count(),
        Payload::InstanceSection(items) => items.count(),
        Payload::ComponentInstanceSection(items) => items.count(),
        Payload::MemorySection(items) => items.count(),
        Payload::TableSection(items) => items.count(),
        _ => 0,
    }
}

/// Guest-controlled index: a missing entry counts as nothing.
fn at(starts: &[Start], index: u32) -> Start {
    usize::try_from(index).ok().and_then(|at| starts.get(at)).copied().unwrap_or_default()
}

fn of_memory(memory: &MemoryType) -> Start {
    let page_bytes = 1_u64.checked_shl(memory.page_size_log2.unwrap_or(16)).unwrap_or(u64::MAX);
    let memory_bytes = memory.initial.saturating_mul(page_bytes);
    Start { memories: 1, memory_bytes, ..Start::default() }
}

fn take_alias(alias: &ComponentAlias<'_>, frames: &mut [Frame]) {
    let (is_module, start) = match *alias {
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
            (true, Start::default())
        }
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
            (false, Start::default())
        }
        ComponentAlias::Outer { kind, count, index } => {
            let levels = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(1);
            let outer = frames.len().checked_sub(levels).map(|level| &frames[level]);
            match kind {
                ComponentOuterAliasKind::CoreModule => {
                    (true, outer.map(|it| at(&it.modules, index)).unwrap_or_default())
                }
                ComponentOuterAliasKind::Component => {
                    (false, outer.map(|it| at(&it.components, index)).unwrap_or_default())
                }
                ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => return,
            }
        }
        _ => return,
    };
    if let Some(frame) = frames.last_mut() {
        if is_module { frame.modules.push(start) } else { frame.components.push(start) }
    }
}

/// Whether a function between a component and its host or its modules needs an asynchronous host.
fn is_async(function: &CanonicalFunction) -> bool {
    match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            let waits = |option: &CanonicalOption| {
                matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_))
            };
            options.iter().any(waits)
        }
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => false,
        _ => true,
    }
}

/// The same for types. wasmparser bounds their depth.
fn is_async_type(ty: &ComponentType<'_>) -> bool {
    match ty {
        ComponentType::Func(ty) => ty.async_,
        ComponentType::Defined(ty) => {
            matches!(ty, ComponentDefinedType::Future(_) | ComponentDefinedType::Stream(_))
        }
        ComponentType::Component(items) => items.iter().any(|item| match item {
            ComponentTypeDeclaration::Type(ty) => is_async_type(ty),
            _ => false,
        }),
        ComponentType::Instance(items) => items.iter().any(|item| match item {
            InstanceTypeDeclaration::Type(ty) => is_async_type(ty),
            _ => false,
        }),
        ComponentType::Resource { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, memories: u64, pages: u64, table_elements: u64) {
        let needs = Needs::read(&wat::parse_str(text).expect("the text is wasm")).expect("reads");
        let memory_bytes = pages << 16;
        assert_eq!(needs.start, Start { memories, memory_bytes, table_elements }, "{text}");
    }

    #[test]
    fn what_is_instantiated_is_added_up() {
        check("(component (core module (memory 5)))", 0, 0, 0);
        check("(component (core module $m (memory 5)) (core instance (instantiate $m)))", 1, 5, 0);
        let twice = "(core instance (instantiate $m)) (core instance (instantiate $m))";
        let text = "(core module $m (table 7 funcref) (memory 2))";
        check(&format!("(component {text} {twice})"), 2, 4, 14);
        // An instance that imports a memory has none of its own.
        check(
            r#"(component
              (core module $a (memory (export "m") 3))
              (core module $b (import "a" "m" (memory 1)))
              (core instance $i (instantiate $a))
              (core instance (instantiate $b (with "a" (instance $i)))))"#,
            1,
            3,
            0,
        );
        // A component in a component, twice, with a module from around it.
        check(
            r#"(component
              (core module $m (memory 3))
              (component $c (alias outer 1 0 (core module $o)) (core instance (instantiate $o)))
              (instance (instantiate $c))
              (instance (instantiate $c)))"#,
            2,
            6,
            0,
        );
    }

    #[test]
    fn what_a_component_starts_with_is_within_its_bounds_or_refused_by_name() {
        let needs = |memories: u64| {
            let start = Start { memories, memory_bytes: 10, table_elements: 20 };
            Needs { start, ..Needs::default() }
        };
        let max = u64::from(MEMORIES_MAX);
        assert_eq!(needs(max).within(10, 20), Ok(()));
        let too_many = ComponentError::Memories { count: max + 1, max: MEMORIES_MAX };
        assert_eq!(needs(max + 1).within(10, 20), Err(too_many));
        let too_large = ComponentError::Memory { bytes: 10, max: 9 };
        assert_eq!(needs(max).within(9, 20), Err(too_large));
        let too_long = ComponentError::Table { elements: 20, max: 19 };
        assert_eq!(needs(max).within(10, 19), Err(too_long));
    }

    #[test]
    fn only_the_outermost_imports_are_the_hosts() {
        let text = r#"(component
            (import "a:b/c@1.0.0" (instance))
            (component (import "d:e/f" (instance))))"#;
        let needs = Needs::read(&wat::parse_str(text).expect("wasm")).expect("reads");
        assert_eq!(needs.imports, ["a:b/c@1.0.0"]);
        assert!(!needs.is_async);
    }

    #[test]
    fn what_only_runs_asynchronously_is_seen() {
        for text in [
            "(component (core func (canon task.cancel)))",
            "(component (type (stream u8)))",
            "(component (type (func async)))",
            r#"(component (type (instance (type (future)))))"#,
        ] {
            let needs = Needs::read(&wat::parse_str(text).expect("wasm")).expect("reads");
            assert!(needs.is_async, "{text}");
        }
    }

    #[test]
    fn parts_without_end_are_refused() {
        let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
        // An empty component in a section of its own, one time too many.
        let nested = [&[4, 8][..], b"\0asm\x0d\0\x01\0"].concat();
        for _ in 0..=ITEMS_MAX {
            wasm.extend(&nested);
        }
        let error = Needs::read(&wasm).expect_err("too many");
        assert_eq!(error, ComponentError::TooManyParts { max: ITEMS_MAX });
    }
}
