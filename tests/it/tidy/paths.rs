//! Which files a package compiles: its own. What others need as well is a package, for tests
//! `tests/kit`; a copy by `#[path]` would be other types under the same names.

use std::path::{Component, Path, PathBuf};

use super::source::{Source, manifests};

/// Files that compile one of another package all the same. Each says why beside its `#[path]`.
const ACROSS: [(&str, &str); 1] =
    [("tests/guests/sqlite_api/src/lib.rs", "tests/guests/sqlite_types/src/packed.rs")];

/// Each `#[path]` that leads into another package.
pub(super) fn offences(files: &[Source]) -> Vec<String> {
    let mut homes: Vec<PathBuf> =
        manifests().iter().filter_map(|path| path.parent().map(Path::to_owned)).collect();
    // The innermost first: packages lie in packages.
    homes.sort_by_key(|home| std::cmp::Reverse(home.components().count()));
    let package = |path: &Path| homes.iter().find(|home| path.starts_with(home));
    let mut found = Vec::new();
    for file in files {
        for (number, target) in targets(file) {
            let known = ACROSS
                .iter()
                .any(|(from, to)| file.path == Path::new(from) && target == Path::new(to));
            if package(&file.path) != package(&target) && !known {
                found.push(format!("{}:{number} compiles {}", file.name(), target.display()));
            }
        }
    }
    found
}

/// Lines with a `#[path]`, and where it leads to in the workspace.
fn targets(file: &Source) -> Vec<(usize, PathBuf)> {
    let folder = file.path.parent().unwrap();
    let lines = file.code.lines().zip(file.text.lines());
    lines
        .enumerate()
        .filter(|(_, (code, _))| code.contains("#[path"))
        .map(|(at, (_, text))| (at + 1, walk(folder, text.split('"').nth(1).unwrap_or_default())))
        .collect()
}

/// A path from a folder, without `..`.
fn walk(folder: &Path, path: &str) -> PathBuf {
    let mut at = folder.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => drop(at.pop()),
            Component::Normal(name) => at.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    at
}
