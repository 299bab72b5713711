//! Files of a room that name each other in a circle, and modules of the library that do. What is in
//! a circle can be read only as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::layers::{is_unit_test, paths_after};
use super::source::{Source, words};

/// Where the rooms are.
const HOME: &str = "host/src";

/// Rooms in which files may name each other in a circle.
const EXCEPTIONS: [(&str, &str); 2] = [
    ("capability", "the state of a guest holds its log, which is the stderr that WASI gives it"),
    ("sqlite", "a connection runs statements, which are kept by their connection"),
];

/// Who names whom.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Circles of files inside rooms, and of the rooms themselves.
pub(super) fn offences(files: &[Source]) -> Vec<String> {
    let files: Vec<(&Source, Vec<String>)> = files
        .iter()
        .filter(|file| !is_unit_test(file))
        .filter_map(|file| Some((file, parts(file.path.strip_prefix(HOME).ok()?))))
        .collect();
    let mut found = circles("room", &rooms(&files));
    let names: BTreeSet<&String> = files.iter().map(|(_, parts)| &parts[0]).collect();
    for room in names.into_iter().filter(|room| !EXCEPTIONS.iter().any(|(name, _)| name == room)) {
        found.extend(circles(room, &files_of(room, &files)));
    }
    found
}

/// `a/b.rs` as `a`, `b`, and `a.rs` or `a/mod.rs` as `a`.
fn parts(path: &Path) -> Vec<String> {
    let path = path.with_extension("");
    let parts = path.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    parts.filter(|part| part != "mod").collect()
}

/// Without the unit tests at the end.
fn code(file: &Source) -> &str {
    file.code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

fn rooms(files: &[(&Source, Vec<String>)]) -> Graph {
    let mut graph = Graph::new();
    for (file, parts) in files.iter().filter(|(_, parts)| parts[0] != "lib") {
        let named = paths_after("crate::", code(file)).into_iter().filter(|name| *name != parts[0]);
        graph.entry(parts[0].clone()).or_default().extend(named);
    }
    graph
}

/// The files of a room; the room's own has its name.
fn files_of(room: &str, files: &[(&Source, Vec<String>)]) -> Graph {
    let inside: Vec<(&Source, &str)> = files
        .iter()
        .filter(|(_, parts)| parts[0] == room)
        .map(|(file, parts)| (*file, parts.get(1).map_or(room, String::as_str)))
        .collect();
    let names: BTreeSet<&str> = inside.iter().map(|(_, name)| *name).collect();
    let own = inside.iter().find(|(_, name)| *name == room);
    let homes = own.map(|(file, _)| re_exports(code(file), &names)).unwrap_or_default();
    let of_crate = format!("crate::{room}::");
    let mut graph = Graph::new();
    for (file, name) in &inside {
        let named = graph.entry((*name).to_owned()).or_default();
        if *name == room {
            named.extend(children(code(file), &names));
            continue;
        }
        for prefix in ["super::", of_crate.as_str()] {
            // Files in folders of a room are of the folder: their `super` is not the room.
            if prefix == "super::" && file.path.components().count() > HOME.matches('/').count() + 3
            {
                continue;
            }
            named.extend(paths_after(prefix, code(file)).into_iter().map(|word| {
                match homes.get(&word) {
                    _ if names.contains(word.as_str()) => word,
                    Some(home) => home.clone(),
                    None => room.to_owned(),
                }
            }));
        }
        named.remove(*name);
    }
    graph
}

/// What a room gives away of its files: the item, and whose it is.
fn re_exports(code: &str, names: &BTreeSet<&str>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (home, items) in gifts(code, names) {
        found.extend(words(items).map(|item| (item.to_owned(), home.to_owned())));
    }
    found
}

/// `pub use child::..;`: the child, and what follows.
fn gifts<'c>(code: &'c str, names: &BTreeSet<&str>) -> Vec<(&'c str, &'c str)> {
    let uses = code.split(';').filter_map(|item| {
        let item = item.trim_start();
        let (visible, used) = item.split_once("use ")?;
        let is_use = visible.starts_with("pub") && !visible.contains('\n');
        is_use.then(|| used.split_once("::")).flatten()
    });
    uses.filter(|(home, _)| names.contains(home)).collect()
}

/// Files that a room's own file uses, beside what it gives away.
fn children(code: &str, names: &BTreeSet<&str>) -> Vec<String> {
    let mut code = code.to_owned();
    for (home, items) in gifts(&code.clone(), names) {
        code = code.replacen(&format!("use {home}::{items}"), "", 1);
    }
    let used = |name: &&&str| {
        code.match_indices(&format!("{name}::")).any(|(at, _)| {
            !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        })
    };
    names.iter().filter(used).map(|name| (*name).to_owned()).collect()
}

/// Names from which a way leads back to them.
fn circles(of: &str, graph: &Graph) -> Vec<String> {
    let circular = |name: &&String| reached(graph, name).contains(name.as_str());
    graph.keys().filter(circular).map(|name| format!("{of}: `{name}` is in a circle")).collect()
}

/// Everything that a name leads to.
fn reached<'g>(graph: &'g Graph, from: &'g str) -> BTreeSet<&'g str> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(name) = next.pop() {
        for named in graph.get(name).into_iter().flatten() {
            if seen.insert(named.as_str()) {
                next.push(named);
            }
        }
    }
    seen
}
