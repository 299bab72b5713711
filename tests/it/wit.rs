//! The WIT package keeps its own rules, its flattened text changes only by hand, and its version rises
//! with it as `docs/releasing.md` says.
//!
//! `wit.snapshot` is the package as it is, `wit.released` as the last release has it.
//! `UPDATE=1 cargo test -p stockade-tests wit` rewrites the snapshot; the diff is the review.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use wit_parser::{
    Docs, Function, FunctionKind, Interface, Resolve, Stability, Type, TypeDefKind, TypeOwner,
};

const SNAPSHOT: &str = "it/wit.snapshot";
const RELEASED: &str = "it/wit.released";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

/// Our package, resolved; `stockade:actor` is the only package in it.
fn package() -> Resolve {
    let mut resolve = Resolve::default();
    resolve.push_dir(folder()).expect("wit/ parses");
    resolve
}

/// Every rule that an item of `resolve` breaks, as `where: what`.
fn offences(resolve: &Resolve) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, world) in &resolve.worlds {
        item(&mut found, &format!("world {}", world.name), &world.docs, &world.stability);
    }
    for (_, interface) in &resolve.interfaces {
        let name = interface.name.clone().unwrap_or_default();
        item(&mut found, &format!("interface {name}"), &interface.docs, &interface.stability);
        check_types(&mut found, resolve, interface, &name);
        for function in interface.functions.values() {
            check_function(&mut found, resolve, function, &name);
        }
    }
    found
}

fn item(found: &mut BTreeSet<String>, place: &str, docs: &Docs, stability: &Stability) {
    documented(found, place, docs);
    if !matches!(stability, Stability::Stable { .. }) {
        found.insert(format!("{place}: no @since"));
    }
}

fn documented(found: &mut BTreeSet<String>, place: &str, docs: &Docs) {
    if docs.contents.as_deref().is_none_or(|text| text.trim().is_empty()) {
        found.insert(format!("{place}: no documentation"));
    }
}

fn check_types(found: &mut BTreeSet<String>, resolve: &Resolve, interface: &Interface, name: &str) {
    for (type_name, id) in &interface.types {
        let definition = &resolve.types[*id];
        // A type of another interface is described there.
        if let TypeDefKind::Type(Type::Id(_)) = definition.kind {
            continue;
        }
        let place = format!("{name}.{type_name}");
        // A type that is used from another interface is documented there.
        if let TypeDefKind::Type(Type::Id(_)) = &definition.kind {
            continue;
        }
        item(found, &place, &definition.docs, &definition.stability);
        let parts: Vec<(&str, &Docs)> = match &definition.kind {
            TypeDefKind::Record(r) => r.fields.iter().map(|f| (&*f.name, &f.docs)).collect(),
            TypeDefKind::Variant(v) => v.cases.iter().map(|c| (&*c.name, &c.docs)).collect(),
            TypeDefKind::Enum(e) => e.cases.iter().map(|c| (&*c.name, &c.docs)).collect(),
            TypeDefKind::Flags(f) => f.flags.iter().map(|f| (&*f.name, &f.docs)).collect(),
            _ => Vec::new(),
        };
        for (part, docs) in parts {
            documented(found, &format!("{place}.{part}"), docs);
        }
        if type_name == "error" {
            check_error(found, &place, &definition.kind);
        }
    }
    if !interface.functions.is_empty() && !interface.types.contains_key("error") {
        found.insert(format!("{name}: functions, but no `error`"));
    }
}

fn check_error(found: &mut BTreeSet<String>, place: &str, kind: &TypeDefKind) {
    let TypeDefKind::Variant(variant) = kind else {
        found.insert(format!("{place}: an error is a variant"));
        return;
    };
    let last = variant.cases.last();
    if !last.is_some_and(|case| case.name == "other" && case.ty == Some(Type::String)) {
        found.insert(format!("{place}: the last case is other(string)"));
    }
}

fn check_function(
    found: &mut BTreeSet<String>,
    resolve: &Resolve,
    function: &Function,
    name: &str,
) {
    let place = format!("{name}.{}", function.name);
    item(found, &place, &function.docs, &function.stability);
    if !function.docs.contents.as_deref().unwrap_or_default().contains("# Typical errors") {
        found.insert(format!("{place}: its documentation has no `# Typical errors`"));
    }
    // For methods of revocable resources and for free functions: without a result the host can only
    // trap.
    let constructor = matches!(function.kind, FunctionKind::Constructor(_));
    let result = function.result.is_some_and(|ty| is_result(resolve, ty));
    if !result && !constructor {
        found.insert(format!("{place}: returns no result"));
    }
    if constructor {
        found.insert(format!("{place}: a constructor cannot answer `revoked`"));
    }
}

fn is_result(resolve: &Resolve, ty: Type) -> bool {
    let Type::Id(id) = ty else { return false };
    let TypeDefKind::Result(result) = &resolve.types[id].kind else { return false };
    let Some(Type::Id(error)) = result.err else { return false };
    let error = &resolve.types[error];
    error.name.as_deref() == Some("error") && matches!(error.owner, TypeOwner::Interface(_))
}

/// Every item on its own line, in the order of the files: the order of cases is part of the
/// interface.
fn flattened(resolve: &Resolve) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").unwrap();
    for (_, package) in &resolve.packages {
        line(format!("package {}", package.name));
    }
    for (_, world) in &resolve.worlds {
        line(format!("world {}", world.name));
        for (direction, items) in [("import", &world.imports), ("export", &world.exports)] {
            for key in items.keys() {
                line(format!("  {direction} {}", resolve.name_world_key(key)));
            }
        }
    }
    for (_, interface) in &resolve.interfaces {
        line(format!("interface {}", interface.name.clone().unwrap_or_default()));
        for (name, id) in &interface.types {
            line(format!("  {}", type_line(resolve, name, &resolve.types[*id].kind)));
        }
        for function in interface.functions.values() {
            let parameters: Vec<String> = function
                .params
                .iter()
                .map(|parameter| format!("{}: {}", parameter.name, spell(resolve, &parameter.ty)))
                .collect();
            let result = function.result.map_or("_".into(), |ty| spell(resolve, &ty));
            line(format!("  {}({}) -> {result}", function.name, parameters.join(", ")));
        }
    }
    out
}

fn type_line(resolve: &Resolve, name: &str, kind: &TypeDefKind) -> String {
    let case = |name: &str, ty: Option<Type>| match ty {
        Some(ty) => format!("{name}({})", spell(resolve, &ty)),
        None => name.to_owned(),
    };
    let (word, parts): (_, Vec<String>) = match kind {
        TypeDefKind::Record(r) => (
            "record",
            r.fields.iter().map(|f| format!("{}: {}", f.name, spell(resolve, &f.ty))).collect(),
        ),
        TypeDefKind::Variant(v) => {
            ("variant", v.cases.iter().map(|c| case(&c.name, c.ty)).collect())
        }
        TypeDefKind::Enum(e) => ("enum", e.cases.iter().map(|c| c.name.clone()).collect()),
        TypeDefKind::Flags(f) => ("flags", f.flags.iter().map(|f| f.name.clone()).collect()),
        TypeDefKind::Resource => return format!("resource {name}"),
        other => return format!("type {name} = {}", spell_kind(resolve, other)),
    };
    format!("{word} {name} {{ {} }}", parts.join(", "))
}

fn spell(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Id(id) => match &resolve.types[*id].name {
            Some(name) => name.clone(),
            None => spell_kind(resolve, &resolve.types[*id].kind),
        },
        other => format!("{other:?}").to_lowercase(),
    }
}

fn spell_kind(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let some = |ty: &Option<Type>| ty.map_or("_".into(), |ty| spell(resolve, &ty));
    match kind {
        TypeDefKind::Type(ty) => spell(resolve, ty),
        TypeDefKind::List(ty) => format!("list<{}>", spell(resolve, ty)),
        TypeDefKind::Option(ty) => format!("option<{}>", spell(resolve, ty)),
        TypeDefKind::Result(r) => format!("result<{}, {}>", some(&r.ok), some(&r.err)),
        TypeDefKind::Tuple(t) => {
            let parts: Vec<String> = t.types.iter().map(|ty| spell(resolve, ty)).collect();
            format!("tuple<{}>", parts.join(", "))
        }
        TypeDefKind::Handle(handle) => match handle {
            wit_parser::Handle::Own(id) => resolve.types[*id].name.clone().unwrap_or_default(),
            wit_parser::Handle::Borrow(id) => {
                format!("borrow<{}>", resolve.types[*id].name.as_deref().unwrap_or_default())
            }
        },
        other => panic!("a kind of type that the snapshot cannot spell yet: {other:?}"),
    }
}

#[test]
fn every_item_keeps_the_rules() {
    let found = offences(&package());
    assert!(found.is_empty(), "{}", found.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn there_is_one_package_and_every_interface_is_in_a_file_of_its_name() {
    let resolve = package();
    assert_eq!(resolve.packages.len(), 1);
    for (_, interface) in &resolve.interfaces {
        let name = interface.name.as_deref().unwrap();
        let text = std::fs::read_to_string(folder().join(format!("{name}.wit"))).unwrap();
        assert!(text.contains(&format!("interface {name} {{")), "{name}.wit");
    }
}

#[test]
fn the_flattened_package_changes_by_hand() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SNAPSHOT);
    let now = flattened(&package());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == now,
        "the WIT package changed. If that is meant, run with UPDATE=1 and review the diff of \
         tests/{SNAPSHOT}.\n{}",
        first_difference(&kept, &now)
    );
}

fn first_difference(kept: &str, now: &str) -> String {
    kept.lines()
        .zip(now.lines())
        .find(|(a, b)| a != b)
        .map_or("one has more lines".into(), |(a, b)| format!("- {a}\n+ {b}"))
}

/// How much of a version a change of the contract raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Raise {
    /// Nothing changed.
    Nothing,
    /// Interfaces, types or functions were added: the last number.
    Last,
    /// An item was removed or changed; a case or a field of a type is a part of it: the second number.
    Second,
}

/// Items of a flattened package, each with its interface or world in front, and without versions.
fn items(flattened: &str) -> BTreeSet<String> {
    let (mut place, mut found) = ("", BTreeSet::new());
    for line in flattened.lines().filter(|line| !line.starts_with("package ")) {
        if line.starts_with(' ') {
            let item = line.trim();
            let item = item.rsplit_once('@').map_or(item, |(name, _)| name);
            found.insert(format!("{place}: {item}"));
        } else {
            place = line;
            found.insert(line.to_owned());
        }
    }
    found
}

fn raise(released: &str, now: &str) -> Raise {
    let (released, now) = (items(released), items(now));
    if !released.is_subset(&now) {
        Raise::Second
    } else if released == now {
        Raise::Nothing
    } else {
        Raise::Last
    }
}

/// The version of a flattened package.
fn version(flattened: &str) -> [u64; 3] {
    let line = flattened.lines().next().unwrap_or_default();
    let (_, version) = line.rsplit_once('@').expect("the package has a version");
    let numbers: Vec<u64> = version.split('.').map(|number| number.parse().unwrap()).collect();
    numbers.try_into().expect("three numbers")
}

/// Whether the version has risen as far as the change asks for.
fn has_risen(released: &str, now: &str) -> bool {
    let (before, after) = (version(released), version(now));
    match raise(released, now) {
        Raise::Nothing => after >= before,
        Raise::Last => after > before,
        Raise::Second => after[..2] > before[..2],
    }
}

#[test]
fn the_version_rises_with_the_contract() {
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join(RELEASED);
    let released = std::fs::read_to_string(released).unwrap();
    let now = flattened(&package());
    assert!(
        has_risen(&released, &now),
        "the contract changed since {:?} and is {:?}: {:?} of the numbers must rise \
         (docs/releasing.md).\n{}",
        version(&released),
        version(&now),
        raise(&released, &now),
        items(&released).difference(&items(&now)).cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn each_change_asks_for_its_number() {
    let text = |version: &str, lines: &str| {
        format!("package a:b@{version}\nworld w\n  import a:b/i@{version}\ninterface i\n{lines}")
    };
    let released = text("0.2.3", "  record r { a: u8 }\n  f() -> u8\n");
    for (lines, needs, enough, less) in [
        ("  record r { a: u8 }\n  f() -> u8\n", Raise::Nothing, "0.2.3", "0.2.2"),
        ("  record r { a: u8 }\n  f() -> u8\n  g() -> u8\n", Raise::Last, "0.2.4", "0.2.3"),
        ("  record r { a: u8, b: u8 }\n  f() -> u8\n", Raise::Second, "0.3.0", "0.2.4"),
        ("  record r { a: u8 }\n", Raise::Second, "1.0.0", "0.2.9"),
    ] {
        let now = text(enough, lines);
        assert_eq!(raise(&released, &now), needs, "{lines}");
        assert!(has_risen(&released, &now), "{lines}");
        assert!(!has_risen(&released, &text(less, lines)), "{lines}");
    }
}

/// Each rule finds an item that breaks it.
#[test]
fn broken_texts_are_found() {
    let check = |broken: &str, expected: &str| {
        let text = format!("package a:b@0.1.0;\n{broken}");
        let mut resolve = Resolve::default();
        resolve.push_str("broken.wit", &text).expect("parses");
        let found = offences(&resolve);
        assert!(found.iter().any(|line| line.contains(expected)), "{expected}: {found:?}");
    };
    let since = "@since(version = 0.1.0)";
    check(&format!("{since} interface i {{}}"), "interface i: no documentation");
    check("/// Doc.\ninterface i {}", "interface i: no @since");
    let inside = |text: &str| format!("/// Doc.\n{since} interface i {{ {text} }}");
    check(&inside(&format!("/// D.\n{since} record r {{ f: u8 }}")), "i.r.f: no documentation");
    check(
        &inside(&format!("/// D.\n{since} variant error {{ /// D.\n other(string), /// D.\n x }}")),
        "i.error: the last case is other(string)",
    );
    let error = format!("/// D.\n{since} variant error {{ /// D.\n other(string) }}");
    check(
        &inside(&format!("{error} /// D.\n{since} resource r {{ /// D.\n{since} m: func(); }}")),
        "i.[method]r.m: returns no result",
    );
    check(
        &inside(&format!("{error} /// D.\n{since} f: func() -> result<u8, string>;")),
        "i.f: returns no result",
    );
    check(&inside(&format!("/// D.\n{since} f: func();")), "functions, but no `error`");
}
