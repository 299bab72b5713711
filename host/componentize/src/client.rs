//! Writes the WIT with which programs call the actors of a kind through typed functions.
//!
//! ```text
//!  component, or WIT ── Interfaces ── client(kind) ──> package stockade-client:KIND;
//!   what callers reach                                  interface KIND { resource KIND {
//!                                                         constructor(key: string);
//!                                                         METHOD: func(..) -> result<.., call-error>; } }
//!                                                       interface call-errors, world imports
//! ```
//! The text stands alone: it uses no other package.

mod names;
mod types;

use std::path::Path;

use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{Function, InterfaceId, PackageId, Resolve, WorldId, WorldItem};

pub use names::{CLIENT_NAMESPACE, client_names, is_for_callers, kind_of, package_of};
use names::{ident, readable};
use types::{Types, Unfit, docs, printable};

/// The interface of the errors.
pub const CALL_ERRORS: &str = "call-errors";
/// Its text.
const CALL_ERRORS_TEXT: &str = include_str!("client/call-errors.wit");
/// The name of its error in the interface of the client.
const CALL_ERROR: &str = "call-error";

/// Bytes of a client. 4 MiB: real ones have kilobytes.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The file is neither a component nor WIT, or it lacks a part of it.
    #[error("its interfaces cannot be read: {0}")]
    Unreadable(String),
    /// Callers reach no function.
    #[error("it has no method: no function of an interface of a package that callers can reach{0}")]
    NoMethod(String),
    /// The types, written out, are too large.
    #[error("its types are too large to be written out")]
    TooLarge,
}

/// What a component exports.
pub struct Interfaces {
    resolve: Resolve,
    exports: Vec<Export>,
}

/// An exported function.
struct Export {
    /// The interface, as in the component. Empty for a function that is exported by itself.
    interface: String,
    function: Function,
}

impl Interfaces {
    /// The exports of a component, or of what a core module becomes.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn of_component(wasm: &[u8]) -> Result<Self, ClientError> {
        let unreadable = ClientError::Unreadable;
        let made = match super::form(wasm) {
            Some(super::Form::Module) => {
                Some(super::componentize(wasm).map_err(|error| unreadable(error.to_string()))?)
            }
            Some(super::Form::Component) | None => None,
        };
        let decoded = decode(made.as_deref().unwrap_or(wasm));
        match decoded.map_err(|error| unreadable(format!("{error:#}")))? {
            DecodedWasm::Component(resolve, world) => Ok(Self::of_world(resolve, world)),
            DecodedWasm::WitPackage(resolve, package) => Self::of_package(resolve, package, None),
        }
    }

    /// The exports of a world in a WIT file, or in a folder with its dependencies. Without a world in it,
    /// all its interfaces.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn of_wit(path: &Path, world: Option<&str>) -> Result<Self, ClientError> {
        let mut resolve = Resolve::default();
        let (package, _) = resolve
            .push_path(path)
            .map_err(|error| ClientError::Unreadable(format!("{error:#}")))?;
        Self::of_package(resolve, package, world)
    }

    fn of_package(
        resolve: Resolve,
        package: PackageId,
        world: Option<&str>,
    ) -> Result<Self, ClientError> {
        if world.is_none() && resolve.packages[package].worlds.is_empty() {
            let interfaces: Vec<InterfaceId> =
                resolve.packages[package].interfaces.values().copied().collect();
            let mut exports = Vec::new();
            for interface in interfaces {
                let name = resolve.id_of(interface).unwrap_or_default();
                exports.extend(functions(&resolve, interface, &name));
            }
            return Ok(Self { resolve, exports });
        }
        let world = resolve
            .select_world(&[package], world)
            .map_err(|error| ClientError::Unreadable(format!("{error:#}")))?;
        Ok(Self::of_world(resolve, world))
    }

    fn of_world(resolve: Resolve, world: WorldId) -> Self {
        let mut exports = Vec::new();
        for (key, item) in &resolve.worlds[world].exports {
            match item {
                WorldItem::Interface { id, .. } => {
                    let name = resolve.name_world_key(key);
                    exports.extend(functions(&resolve, *id, &name));
                }
                WorldItem::Function(function) => {
                    let function = function.clone();
                    exports.push(Export { interface: String::new(), function });
                }
                WorldItem::Type { .. } => {}
            }
        }
        Self { resolve, exports }
    }
}

fn functions<'r>(
    resolve: &'r Resolve,
    interface: InterfaceId,
    name: &'r str,
) -> impl Iterator<Item = Export> + 'r {
    let functions = resolve.interfaces[interface].functions.values();
    functions.map(|function| Export { interface: name.to_owned(), function: function.clone() })
}

impl Export {
    fn full_name(&self) -> String {
        match self.interface.as_str() {
            "" => self.function.name.clone(),
            interface => format!("{interface}#{}", self.function.name),
        }
    }
}

/// The WIT of a kind's callers. `named`: the functions without a package that the kind's manifest names.
///
/// ```
/// use stockade_componentize::{Interfaces, client};
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("counter.wit");
/// std::fs::write(&path, "package demo:counter; interface api { add: func(by: u32) -> u64; }")?;
/// let text = client("counter", &Interfaces::of_wit(&path, None)?, &[])?;
/// assert!(text.contains("package stockade-client:counter;"));
/// assert!(text.contains("add: func(by: u32) -> result<u64, call-error>;"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `NoMethod`; `TooLarge`.
pub fn client(
    kind: &str,
    interfaces: &Interfaces,
    named: &[String],
) -> Result<String, ClientError> {
    let Interfaces { resolve, exports } = interfaces;
    let resource = readable(kind);
    // An actor may be called so as well.
    let error = if resource == CALL_ERROR { "error-of-call" } else { CALL_ERROR };
    let mut types = Types::new(resolve, &[&resource, error]);
    let (mut methods, mut left_out) = (Vec::new(), Vec::new());
    for export in exports.iter().filter(|export| is_for_callers(&export.interface)) {
        let name = export.full_name();
        match types.check(&export.function) {
            Err(Unfit::TooLarge) => return Err(ClientError::TooLarge),
            Err(Unfit::Async) => left_out.push(format!("{name}: it is an async function")),
            Err(Unfit::Has(what)) => left_out.push(format!("{name}: its signature has {what}")),
            Ok(()) if export.interface.contains(':') || named.contains(&name) => {
                methods.push(export);
            }
            Ok(()) => {
                let why = "it belongs to no package, and the manifest does not name it (`methods`)";
                left_out.push(format!("{name}: {why}"));
            }
        }
    }
    let pairs = methods.iter().map(|export| (&*export.interface, &*export.function.name));
    let names = client_names(pairs);
    let mut body = String::new();
    for (export, name) in methods.into_iter().zip(names) {
        let Some(name) = name else {
            let why = "no name of WIT is its alone";
            left_out.push(format!("{}: {why}", export.full_name()));
            continue;
        };
        let signature = types.signature(&export.function, error);
        let signature = signature.map_err(|unfit| match unfit {
            Unfit::Has(what) => ClientError::Unreadable(format!("it has {what}")),
            Unfit::Async | Unfit::TooLarge => ClientError::TooLarge,
        })?;
        body.push_str(&docs(&export.function.docs, "    "));
        body.push_str(&format!("    {}: {signature};\n", ident(&name)));
        if body.len() + types.declared.len() > TEXT_BYTES_MAX {
            return Err(ClientError::TooLarge);
        }
    }
    if body.is_empty() {
        let first = left_out.first().map(|first| format!("; {first}"));
        return Err(ClientError::NoMethod(first.unwrap_or_default()));
    }
    Ok(whole((kind, &resource, error), (&types.declared, &body), &left_out))
}

fn whole(
    (kind, resource, error): (&str, &str, &str),
    (declared, body): (&str, &str),
    left_out: &[String],
) -> String {
    let package = package_of(kind);
    // Neither the errors nor the world have the name of the client.
    let interface = match resource {
        CALL_ERRORS | "imports" => format!("{resource}-actor"),
        resource => resource.to_owned(),
    };
    let rust = |name: &str| name.replace('-', "_");
    let idents = match package == interface {
        true => rust(&package),
        false => format!("{}::{}", rust(&package), rust(&interface)),
    };
    let mut text = format!(
        "// Typed calls of actors of the kind `{kind}`, written by `stockade client`.\n\
         // In Rust: stockade_sdk::client!(\"{resource}.wit\", {idents});\n"
    );
    if !left_out.is_empty() {
        text.push_str("//\n// Functions that callers cannot reach:\n");
        left_out.iter().for_each(|line| text.push_str(&format!("// - {}\n", printable(line))));
    }
    let (resource, interface) = (ident(resource), ident(&interface));
    text.push_str(&format!(
        "package {CLIENT_NAMESPACE}{};\n\n\
         /// The actors of the kind `{kind}`.\n\
         interface {interface} {{\n  use {CALL_ERRORS}.{{error as {error}}};\n\n\
         {declared}\
         \x20 /// An actor of the kind `{kind}`. Each function calls it, and blocks until it has answered.\n\
         \x20 resource {resource} {{\n\
         \x20   /// The actor with this key. Nothing is called yet.\n\
         \x20   constructor(key: string);\n\
         {body}\x20 }}\n}}\n\n\
         {CALL_ERRORS_TEXT}\n\
         /// What a program imports that calls these actors.\n\
         world imports {{\n  import {interface};\n}}\n",
        ident(&package)
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, wit: &str, named: &[String]) -> Result<String, ClientError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("callee.wit");
        std::fs::write(&path, wit).expect("written");
        client(kind, &Interfaces::of_wit(&path, None)?, named)
    }

    /// The text reads, and its world imports the interface of the client and of the errors.
    #[track_caller]
    fn reads(text: &str) -> Vec<String> {
        let mut resolve = Resolve::default();
        let package = resolve
            .push_str("client.wit", text)
            .unwrap_or_else(|error| panic!("{error:#}\n{text}"));
        let world = resolve.select_world(&[package], None).expect("one world");
        resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect()
    }

    #[test]
    fn a_client_has_every_type_of_its_callee() {
        let text = of("all_types", include_str!("client/all.wit"), &[]).expect("a client");
        let expected = include_str!("client/all.expected.wit");
        if std::env::var_os("UPDATE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/all.expected.wit");
            std::fs::write(path, &text).expect("written");
            return;
        }
        assert_eq!(text, expected, "UPDATE=1 writes it again");
        assert_eq!(
            reads(&text),
            [
                "stockade-client:x616c6c5f7479706573/call-errors",
                "stockade-client:x616c6c5f7479706573/all-types"
            ]
        );
    }

    /// The SDK's documentation, the tests' guests and the example use it.
    #[test]
    fn the_client_of_the_example_is_the_one_that_the_sdk_shows() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let world = root.join("examples/counter/world.wit");
        let interfaces = Interfaces::of_wit(&world, None).expect("it reads");
        let text = client("counter", &interfaces, &[]).expect("a client");
        let path = root.join("guest-sdk/src/clients/counter.wit");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &text).expect("written");
            return;
        }
        assert_eq!(text, std::fs::read_to_string(path).expect("it is there"), "UPDATE=1 writes it");
        reads(&text);
    }

    /// Programs that were built with one of them and those that were built with the other one get the same
    /// errors.
    #[test]
    fn the_errors_are_those_of_the_contract() {
        let mut resolve = Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let (contract, _) = resolve.push_path(wit).expect("the contract reads");
        let text = format!("package a:b;\n{CALL_ERRORS_TEXT}");
        let own = resolve.push_str("errors.wit", &text).expect("the errors read");
        let error = |package: PackageId, interface: &str| {
            let interface = resolve.packages[package].interfaces[interface];
            let error = wit_parser::Type::Id(resolve.interfaces[interface].types["error"]);
            shape(&resolve, error)
        };
        assert_eq!(error(own, CALL_ERRORS), error(contract, "actors"));
    }

    /// A type written out, without names of types.
    fn shape(resolve: &Resolve, ty: wit_parser::Type) -> String {
        use wit_parser::{Type, TypeDefKind};
        let Type::Id(id) = ty else { return format!("{ty:?}") };
        let of = |ty: &Type| shape(resolve, *ty);
        match &resolve.types[id].kind {
            TypeDefKind::Type(ty) => of(ty),
            TypeDefKind::List(ty) => format!("list<{}>", of(ty)),
            TypeDefKind::Option(ty) => format!("option<{}>", of(ty)),
            TypeDefKind::Enum(cases) => {
                let names: Vec<&str> = cases.cases.iter().map(|case| case.name.as_str()).collect();
                format!("enum {names:?}")
            }
            TypeDefKind::Record(record) => {
                let fields = record.fields.iter().map(|field| (&field.name, of(&field.ty)));
                format!("record {:?}", fields.collect::<Vec<_>>())
            }
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter().map(|case| (&case.name, case.ty.as_ref().map(of)));
                format!("variant {:?}", cases.collect::<Vec<_>>())
            }
            other => panic!("no error has a {}", other.as_str()),
        }
    }

    #[test]
    fn names_of_wit_and_of_the_client_are_no_trouble() {
        for kind in ["record", "call-errors", "imports", "call-error", "xab", "v_2"] {
            let wit = format!(
                "package a:b; interface %record {{
                    record call-error {{ %type: u32 }}
                    enum {} {{ %use }}
                    %list: func(%func: call-error, other: {}) -> result<call-error>;
                }}",
                ident(&readable("v-2")),
                ident(&readable("v-2")),
            );
            let text = of(kind, &wit, &[]).expect("a client");
            let imports = reads(&text);
            let of_kind = |import: &String| kind_of(import).map(|(kind, _)| kind);
            assert!(
                imports.iter().all(|import| of_kind(import).as_deref() == Some(kind)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_callers_cannot_reach_is_left_out_by_name() {
        let wit = "package a:b;
            interface api {
                resource thing { get: func() -> u32; }
                make: func() -> thing;
                watch: func() -> stream<u8>;
                wait: async func();
                add: func(by: u32) -> u32;
            }
            world w { export api; export ping: func(); }";
        let text = of("counter", wit, &[]).expect("a client");
        for line in [
            "// - a:b/api#[method]thing.get: its signature has a resource handle\n",
            "// - a:b/api#make: its signature has a resource handle\n",
            "// - a:b/api#watch: its signature has a stream\n",
            "// - a:b/api#wait: it is an async function\n",
            "// - ping: it belongs to no package, and the manifest does not name it (`methods`)\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        reads(&text);
        let text = of("counter", wit, &["ping".to_owned()]).expect("a client");
        assert!(text.contains("    ping: func() -> result<_, call-error>;\n"), "{text}");
        let wit = "package a:b; interface api { make: func() -> stream<u8>; }";
        let refused = of("counter", wit, &[]).expect_err("nothing to call");
        assert!(refused.to_string().ends_with("; a:b/api#make: its signature has a stream"));
    }

    #[test]
    fn types_that_write_out_to_millions_are_refused() {
        let mut wit = "package a:b; interface api { f: func(x: ".to_owned();
        wit.push_str("tuple<");
        wit.push_str(&vec!["u8"; 100_001].join(", "));
        wit.push_str(">); }");
        assert_eq!(of("counter", &wit, &[]), Err(ClientError::TooLarge));
    }

    #[test]
    fn what_is_no_component_is_refused() {
        assert!(matches!(Interfaces::of_component(b"x"), Err(ClientError::Unreadable(_))));
        let module = wat::parse_str("(module)").expect("wasm");
        assert!(matches!(Interfaces::of_component(&module), Err(ClientError::Unreadable(_))));
    }
}
