//! Which exported functions are methods, and which names find them.
//!
//! Every function of every exported interface that belongs to a package is a method, and each other
//! one that the kind's manifest names, except:
//! - interfaces of `stockade:actor` and of WASI: the host calls those, callers do not;
//! - functions with a type that neither JSON nor WAVE can carry. They are listed with the reason,
//!   and so is what is exported without a package: toolchains leave functions there (`init`) that
//!   only they may call.
//!
//! A method is found by its full name `ns:pkg/interface@1.0.0#function`, the same without version,
//! `interface.function`, and `function`. A full name always means itself; a shorter one has to be
//! unique.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use stockade_componentize::{client_names, is_for_callers};
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, Type};

use crate::typed::bounds::{FUNCTIONS_MAX, NAMES_LISTED_MAX};
use crate::typed::method::Method;
use crate::typed::parameter::Parameter;
use crate::typed::place::{shortened, similar};
use crate::typed::shape::{Shape, ShapeRoom, Unsupported};

/// All methods of a component, made once when it is loaded.
#[derive(Debug, Default)]
pub struct MethodTable {
    methods: Vec<Arc<Method>>,
    names: HashMap<String, Found>,
    /// The names that methods have in clients.
    clients: HashMap<String, usize>,
    excluded: Vec<Excluded>,
}

/// An exported function that is not a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// Its full name.
    pub name: String,
    /// Why callers cannot reach it.
    pub why: Unsupported,
}

/// No method has this name, or several methods have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMethod {
    /// The name that was asked for, shortened if it is long.
    pub name: String,
    /// The reason.
    pub why: NotFound,
}

/// Why a name finds no method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No method has this name.
    NoSuch {
        /// Names that look alike, best first.
        similar: Vec<String>,
        /// Some names that exist.
        known: Vec<String>,
        /// How many methods there are.
        count: usize,
    },
    /// Several methods have the name.
    Ambiguous {
        /// Longer names, one for each.
        candidates: Vec<String>,
    },
    /// The component exports the function, but callers cannot reach it.
    Excluded {
        /// The reason.
        why: Unsupported,
    },
}

/// The component exports more functions than a host describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the component exports {count} functions of its own; at most {max} are possible")]
pub struct TooManyFunctions {
    /// How many it exports.
    pub count: usize,
    /// The limit.
    pub max: usize,
}

/// The function that a name leads to.
#[derive(Debug)]
enum Found {
    Method(usize),
    Several(Vec<usize>),
    Excluded(usize),
}

impl MethodTable {
    /// The methods of a compiled component. `named`: full names of those that belong to no package.
    ///
    /// # Errors
    /// [`TooManyFunctions`], so that a hostile component cannot fill the host with names.
    pub fn of(component: &Component, named: &[String]) -> Result<Self, TooManyFunctions> {
        let functions = own_functions(component)?;
        let mut room = ShapeRoom::new();
        let mut table = Self::default();
        for function in functions {
            let is_method = function.has_package() || named.contains(&function.full_name());
            let found =
                if is_method { method(&function, &mut room) } else { Err(Unsupported::NoPackage) };
            match found {
                Ok(method) => table.methods.push(Arc::new(method)),
                Err(why) => {
                    let name = shortened(&function.full_name(), 256).into_owned();
                    table.excluded.push(Excluded { name, why });
                }
            }
        }
        table.name_all();
        Ok(table)
    }

    /// The method with this name, full or short.
    ///
    /// # Errors
    /// [`UnknownMethod`] says what looks alike, or how to be exact.
    pub fn find(&self, name: &str) -> Result<&Arc<Method>, UnknownMethod> {
        let why = match self.names.get(name) {
            Some(Found::Method(index)) => return Ok(&self.methods[*index]),
            Some(Found::Several(indexes)) => NotFound::Ambiguous {
                candidates: indexes
                    .iter()
                    .map(|index| self.methods[*index].short.clone())
                    .collect(),
            },
            Some(Found::Excluded(index)) => {
                NotFound::Excluded { why: self.excluded[*index].why.clone() }
            }
            None => {
                let short = || self.methods.iter().map(|method| method.short.as_str());
                let all = short().chain(self.names.keys().map(String::as_str));
                NotFound::NoSuch {
                    similar: similar(name, all).into_iter().map(str::to_owned).collect(),
                    known: short().take(NAMES_LISTED_MAX).map(str::to_owned).collect(),
                    count: self.methods.len(),
                }
            }
        };
        Err(UnknownMethod { name: shortened(name, 128).into_owned(), why })
    }

    /// The method that clients of the kind call so, or that has the name.
    ///
    /// # Errors
    /// [`UnknownMethod`] says what looks alike, or how to be exact.
    pub(crate) fn find_for_client(&self, name: &str) -> Result<&Arc<Method>, UnknownMethod> {
        match self.clients.get(name) {
            Some(index) => Ok(&self.methods[*index]),
            None => self.find(name),
        }
    }

    /// All methods, in the component's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Method>> {
        self.methods.iter()
    }

    /// How many methods there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.methods.len()
    }

    /// Whether there is no method.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }

    /// Exported functions that callers cannot reach, with the reason.
    #[must_use]
    pub fn excluded(&self) -> &[Excluded] {
        &self.excluded
    }

    /// Fills `names`, then each method's shortest unique name.
    fn name_all(&mut self) {
        for (index, method) in self.methods.iter().enumerate() {
            self.names.insert(method.full_name(), Found::Method(index));
        }
        let pairs = self.methods.iter().map(|method| (&*method.interface, &*method.name));
        let of_clients = client_names(pairs).into_iter().enumerate();
        self.clients = of_clients.filter_map(|(index, name)| Some((name?, index))).collect();
        let mut shorter: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, method) in self.methods.iter().enumerate() {
            for name in shorter_names(&method.interface, &method.name) {
                shorter.entry(name).or_default().push(index);
            }
        }
        for (name, indexes) in shorter {
            self.names.entry(name).or_insert(match indexes[..] {
                [only] => Found::Method(only),
                _ => Found::Several(indexes),
            });
        }
        for (index, excluded) in self.excluded.iter().enumerate() {
            let (interface, name) = excluded.name.split_once('#').unwrap_or(("", &excluded.name));
            for name in shorter_names(interface, name).chain([excluded.name.clone()]) {
                self.names.entry(name).or_insert(Found::Excluded(index));
            }
        }
        for (index, method) in self.methods.iter_mut().enumerate() {
            let mut names = shorter_names(&method.interface, &method.name);
            let unique = names.find(|name| {
                matches!(self.names.get(name), Some(Found::Method(found)) if *found == index)
            });
            let method = Arc::get_mut(method).expect("BUG: the table is still alone");
            method.short = unique.unwrap_or_else(|| method.full_name());
        }
    }
}

/// The names of a function, shortest first: `add`, `api.add`, `demo:counter/api#add`.
fn shorter_names(interface: &str, name: &str) -> impl Iterator<Item = String> + use<> {
    let unversioned = interface.split('@').next().unwrap_or(interface);
    let last = unversioned.rsplit('/').next().unwrap_or(unversioned);
    let longer = (!interface.is_empty())
        .then(|| [format!("{last}.{name}"), format!("{unversioned}#{name}")]);
    std::iter::once(name.to_owned()).chain(longer.into_iter().flatten())
}

/// An exported function on its way to become a method.
struct Function {
    interface: String,
    name: String,
    ty: ComponentFunc,
    export: ComponentExportIndex,
}

impl Function {
    /// Whether its interface is one of a package: `demo:counter/api`.
    fn has_package(&self) -> bool {
        self.interface.contains(':')
    }

    fn full_name(&self) -> String {
        match self.interface.as_str() {
            "" => self.name.clone(),
            interface => format!("{interface}#{}", self.name),
        }
    }
}

fn own_functions(component: &Component) -> Result<Vec<Function>, TooManyFunctions> {
    let ty = component.component_type();
    let engine = component.engine();
    let mut functions = Vec::new();
    let mut count = 0;
    let mut keep = |interface: &str, name: &str, ty, export| {
        count += 1;
        if let (Some(export), true) = (export, count <= FUNCTIONS_MAX) {
            let (interface, name) = (interface.to_owned(), name.to_owned());
            functions.push(Function { interface, name, ty, export });
        }
    };
    for (outer, item) in ty.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(ty) => {
                keep("", outer, ty, component.get_export_index(None, outer));
            }
            ComponentItem::ComponentInstance(instance) if is_for_callers(outer) => {
                let parent = component.get_export_index(None, outer);
                for (name, item) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(ty) = item.ty {
                        keep(outer, name, ty, component.get_export_index(parent.as_ref(), name));
                    }
                }
            }
            _ => {}
        }
    }
    if count > FUNCTIONS_MAX {
        return Err(TooManyFunctions { count, max: FUNCTIONS_MAX });
    }
    Ok(functions)
}

fn method(function: &Function, room: &mut ShapeRoom) -> Result<Method, Unsupported> {
    if function.ty.async_() {
        return Err(Unsupported::Async);
    }
    let parameters = parameters(&function.ty, room)?;
    let result = function.ty.results().next().map(|ty| Shape::of(&ty, room)).transpose()?;
    Ok(Method {
        interface: room.name(&function.interface)?,
        name: room.name(&function.name)?,
        short: String::new(),
        export: function.export,
        parameters,
        result,
    })
}

/// The parameters of a function of the engine.
pub(crate) fn parameters(
    ty: &ComponentFunc,
    room: &mut ShapeRoom,
) -> Result<Vec<Parameter>, Unsupported> {
    ty.params().map(|(name, ty)| parameter_of(name, &ty, room)).collect()
}

/// A parameter of a function of the engine.
pub(crate) fn parameter_of(
    name: &str,
    ty: &Type,
    room: &mut ShapeRoom,
) -> Result<Parameter, Unsupported> {
    Ok(Parameter { name: room.name(name)?, shape: Shape::of(ty, room)? })
}

impl fmt::Display for UnknownMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.why {
            NotFound::NoSuch { count: 0, .. } => {
                write!(f, "no method `{name}`: the component exports no methods")
            }
            NotFound::NoSuch { similar, .. } if !similar.is_empty() => {
                write!(f, "no method `{name}`; did you mean `{}`?", similar.join("` or `"))
            }
            NotFound::NoSuch { known, count, .. } => {
                write!(f, "no method `{name}`; there are: {}", known.join(", "))?;
                if known.len() < *count {
                    write!(f, ", and {} more", count - known.len())?;
                }
                Ok(())
            }
            NotFound::Ambiguous { candidates } => {
                write!(f, "several methods are called `{name}`: {}", candidates.join(", "))
            }
            NotFound::Excluded { why } => write!(f, "`{name}` cannot be called: {why}"),
        }
    }
}

impl std::error::Error for UnknownMethod {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typed::Arguments;
    use crate::typed::samples::component;

    const SEVERAL: &str = r#"
    (component
      (core module $m
        (memory (export "memory") 1)
        (func (export "nothing"))
        (func (export "add") (param i64) (result i64) (local.get 0))
        (func (export "drop") (param i32)))
      (core instance $i (instantiate $m))
      (type $thing (resource (rep i32)))
      (func $nothing (canon lift (core func $i "nothing")))
      (func $add (param "delta" s64) (result s64) (canon lift (core func $i "add")))
      (func $use (param "thing" (own $thing)) (canon lift (core func $i "drop")))
      (instance $api (export "add" (func $add)) (export "get-all" (func $nothing)))
      (instance $admin
        (export "thing" (type $thing))
        (export "get-all" (func $nothing))
        (export "use-it" (func $use)))
      (instance $hooks (export "run" (func $nothing)))
      (export "demo:counter/api@0.1.0" (instance $api))
      (export "demo:counter/admin@0.1.0" (instance $admin))
      (export "wasi:cli/run@0.2.0" (instance $hooks))
      (export "ping" (func $nothing)))
    "#;

    fn several() -> Result<MethodTable, TooManyFunctions> {
        MethodTable::of(&component(SEVERAL), &["ping".to_owned()])
    }

    #[track_caller]
    fn check(table: &MethodTable, name: &str, expected: &str) {
        let found = match table.find(name) {
            Ok(method) => method.full_name(),
            Err(unknown) => unknown.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn names_find_their_method() {
        let table = several().expect("few functions");
        let api = "demo:counter/api@0.1.0#add";
        for name in ["add", "api.add", "demo:counter/api#add", api] {
            check(&table, name, api);
        }
        check(&table, "api.get-all", "demo:counter/api@0.1.0#get-all");
        check(&table, "admin.get-all", "demo:counter/admin@0.1.0#get-all");
        check(&table, "ping", "ping");
        let shorts: Vec<&str> = table.iter().map(|method| method.short.as_str()).collect();
        assert_eq!(shorts, ["add", "api.get-all", "admin.get-all", "ping"]);
        assert_eq!(
            table.find("add").map(|m| m.to_string()),
            Ok("add: func(delta: s64) -> s64".into())
        );
    }

    #[test]
    fn other_names_say_what_is_wrong() {
        let table = several().expect("few functions");
        check(
            &table,
            "get-all",
            "several methods are called `get-all`: api.get-all, admin.get-all",
        );
        check(&table, "pingg", "no method `pingg`; did you mean `ping`?");
        check(&table, "api.getAll", "no method `api.getAll`; did you mean `api.get-all`?");
        check(
            &table,
            "unheard-of",
            "no method `unheard-of`; there are: add, api.get-all, admin.get-all, ping",
        );
        check(&table, "run", "no method `run`; there are: add, api.get-all, admin.get-all, ping");
        let why = "`use-it` cannot be called: its signature has a resource handle";
        check(&table, "use-it", why);
        assert_eq!(
            table.excluded(),
            [Excluded {
                name: "demo:counter/admin@0.1.0#use-it".into(),
                why: Unsupported::Resource
            }]
        );
        let long = "x".repeat(100_000);
        let error = table.find(&long).expect_err("no such name");
        assert!(error.to_string().len() < 500, "{}", error.to_string().len());
        let none = MethodTable::of(&component("(component)"), &[]).expect("few functions");
        check(&none, "add", "no method `add`: the component exports no methods");
    }

    /// Any caller could run a function that a toolchain left for itself, and end the actor with it.
    #[test]
    fn what_belongs_to_no_package_is_a_method_only_if_it_is_named() {
        let left = r#"(component
          (core module $m (func (export "f")))
          (core instance $i (instantiate $m))
          (func $f (canon lift (core func $i "f")))
          (instance $api (export "go" (func $f)))
          (export "init" (func $f))
          (export "exports" (instance $api))
          (export "demo:counter/api@0.1.0" (instance $api)))"#;
        let table = MethodTable::of(&component(left), &[]).expect("few functions");
        check(&table, "go", "demo:counter/api@0.1.0#go");
        let why = "it belongs to no package; a manifest can name it (`methods`)";
        for name in ["init", "exports#go", "exports.go"] {
            let found = table.find(name).expect_err("no method").to_string();
            assert!(found.contains(why), "{name}: {found}");
        }
        let left_out: Vec<&str> = table.excluded().iter().map(|it| it.name.as_str()).collect();
        assert_eq!(left_out, ["init", "exports#go"]);
        let named = ["init", "exports#go"].map(str::to_owned);
        let table = MethodTable::of(&component(left), &named).expect("few functions");
        check(&table, "init", "init");
        check(&table, "exports.go", "exports#go");
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn the_description_has_examples_that_fit() {
        let table = several().expect("few functions");
        let described = table.describe();
        assert_eq!(
            described["methods"][0],
            serde_json::json!({
                "name": "add",
                "full_name": "demo:counter/api@0.1.0#add",
                "interface": "demo:counter/api@0.1.0",
                "params": [{ "name": "delta", "type": "s64", "optional": false }],
                "result": "s64",
                "signature": "func(delta: s64) -> s64",
                "example": { "delta": 1 },
            })
        );
        assert_eq!(
            described["excluded"][0]["why"],
            serde_json::json!("its signature has a resource handle")
        );
        for method in table.iter() {
            let example = method.describe()["example"].clone();
            method.arguments(&Arguments::Json(example)).expect("the example fits");
        }
    }

    #[test]
    fn a_component_of_endless_functions_is_refused() {
        let exports: String =
            (0..=FUNCTIONS_MAX).map(|n| format!("(export \"f{n}\" (func $f))")).collect();
        let text = format!(
            "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate \
             $m)) (func $f (canon lift (core func $i \"f\"))) {exports})"
        );
        let error = MethodTable::of(&component(&text), &[]).expect_err("too many");
        assert_eq!(error, TooManyFunctions { count: FUNCTIONS_MAX + 1, max: FUNCTIONS_MAX });
    }

    #[test]
    fn types_that_unfold_without_end_are_not_methods() {
        // A type of ten parts, each of ten parts, and so on: 11,111 when written out.
        let mut types = String::from("(type $t0 (tuple u8 u8 u8 u8 u8 u8 u8 u8 u8 u8))");
        for level in 1..4 {
            let below = format!(" $t{}", level - 1).repeat(10);
            types.push_str(&format!("(type $t{level} (tuple{below}))"));
        }
        let functions: String = (0..20)
            .map(|n| {
                format!(
                    "(func (export \"wide{n}\") (param \"p\" (list $t3)) (canon lift (core func $i \
                     \"f\") (memory (core memory $i \"memory\")) (realloc (core func $i \
                     \"realloc\"))))"
                )
            })
            .collect();
        let text = format!(
            "(component {types} (core module $m (memory (export \"memory\") 1) (func (export \
             \"realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 0)) (func (export \"f\") \
             (param i32 i32))) (core instance $i (instantiate $m)) {functions})"
        );
        let named: Vec<String> = (0..20).map(|n| format!("wide{n}")).collect();
        let table = MethodTable::of(&component(&text), &named).expect("twenty functions");
        assert!((1..10).contains(&table.len()), "{}", table.len());
        assert!(matches!(table.excluded()[0].why, Unsupported::TooLarge { .. }));
    }
}
