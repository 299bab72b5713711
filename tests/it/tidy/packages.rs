//! What a package must have to be published, and that every other package never is.
//!
//! A package is published if its manifest does not forbid it. Cargo tells what stands in manifests and
//! which files a package contains, so nothing is parsed here. `docs/releasing.md` has the rules and
//! the list of packages.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value as Json;

use super::source::root;

/// Files that every published package contains.
const FILES: [&str; 4] = ["Cargo.toml", "LICENSE", "README.md", "src/"];
/// Packages whose code reads the WIT package.
const READ_WIT: [&str; 2] = ["stockade", "stockade-sdk"];
/// Keywords that a registry takes.
const KEYWORDS_MAX: usize = 5;

fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).current_dir(root()).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}:\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn packages() -> Vec<Json> {
    let text = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Json = serde_json::from_str(&text).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(package: &Json) -> &str {
    package["name"].as_str().unwrap()
}

/// Cargo writes no registries for `publish = false`, and nothing at all without the line.
fn is_published(package: &Json) -> bool {
    package["publish"].as_array().is_none_or(|registries| !registries.is_empty())
}

/// What is missing in the manifest of a published package. `repository` is the workspace's, or
/// nothing before there is an address.
fn manifest_offences(package: &Json, repository: Option<&str>) -> Vec<String> {
    let mut missing = Vec::new();
    for field in ["description", "license", "readme", "rust_version"] {
        if package[field].as_str().is_none_or(|text| text.trim().is_empty()) {
            missing.push(format!("no {field}"));
        }
    }
    for field in ["keywords", "categories"] {
        let count = package[field].as_array().map_or(0, Vec::len);
        if !(1..=KEYWORDS_MAX).contains(&count) {
            missing.push(format!("{count} {field}, not 1 to {KEYWORDS_MAX}"));
        }
    }
    if package["repository"].as_str() != repository {
        missing.push("its repository is not the workspace's".to_owned());
    }
    missing
}

/// Dependencies on packages of the workspace that a registry could not resolve. Cargo leaves out
/// dependencies of tests that have a path and no version.
fn dependency_offences(package: &Json, versions: &BTreeMap<&str, &str>) -> Vec<String> {
    let of_ours = package["dependencies"].as_array().unwrap().iter();
    let of_ours = of_ours.filter(|dependency| dependency["path"].is_string());
    let is_left_out = |dependency: &Json| dependency["kind"] == "dev" && dependency["req"] == "*";
    of_ours
        .filter_map(|dependency| {
            let (on, asked) = (name(dependency), dependency["req"].as_str().unwrap());
            match versions.get(on) {
                None if is_left_out(dependency) => None,
                None => Some(format!("depends on {on}, which is not published")),
                Some(version) if *asked == format!("^{version}") => None,
                Some(version) => Some(format!("asks for {on} {asked}, which is {version}")),
            }
        })
        .collect()
}

/// Files that a package lacks.
fn file_offences(package: &str, files: &BTreeSet<String>, wit: &BTreeSet<String>) -> Vec<String> {
    let mut wanted: BTreeSet<String> = FILES.map(str::to_owned).into();
    if READ_WIT.contains(&package) {
        wanted.extend(wit.iter().cloned());
    }
    let has = |path: &str| match path.strip_suffix('/') {
        Some(_) => files.iter().any(|file| file.starts_with(path)),
        None => files.contains(path),
    };
    let missing = wanted.into_iter().filter(|path| !has(path));
    missing.map(|path| format!("does not contain {path}")).collect()
}

/// `wit/` of a package is the folder of the repository, so that they cannot differ.
fn is_the_contract(folder: &str) -> bool {
    let link = root().join(folder).join("wit");
    link.is_symlink() && link.canonicalize().unwrap() == root().join("wit").canonicalize().unwrap()
}

/// Packages in the loop that publishes them, in its order.
fn released(document: &str) -> Vec<&str> {
    let steps = document.split("cargo publish").next().unwrap_or_default();
    let list = steps.rsplit("for package in ").next().unwrap_or_default();
    let list = list.split("; do").next().unwrap_or_default();
    list.split_whitespace().filter(|word| *word != "\\").collect()
}

/// Every offence of every package.
pub(super) fn offences() -> Vec<String> {
    let packages = packages();
    let published: Vec<&Json> = packages.iter().filter(|package| is_published(package)).collect();
    let versions: BTreeMap<&str, &str> = published
        .iter()
        .map(|package| (name(package), package["version"].as_str().unwrap()))
        .collect();
    let workspace: toml::Table =
        toml::from_str(&std::fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    let repository = workspace["workspace"]["package"].get("repository").and_then(|it| it.as_str());
    let wit = std::fs::read_dir(root().join("wit")).unwrap();
    let wit: BTreeSet<String> =
        wit.map(|entry| format!("wit/{}", entry.unwrap().file_name().display())).collect();
    let mut offences = Vec::new();
    for package in &published {
        let own = cargo(&[
            "package",
            "--list",
            "--quiet",
            "--allow-dirty",
            "--offline",
            "--package",
            name(package),
        ]);
        let files = own.lines().map(str::to_owned).collect();
        let found = [
            manifest_offences(package, repository),
            dependency_offences(package, &versions),
            file_offences(name(package), &files, &wit),
        ];
        offences.extend(found.concat().iter().map(|it| format!("{}: {it}", name(package))));
    }
    for folder in ["host", "guest-sdk"].into_iter().filter(|folder| !is_the_contract(folder)) {
        offences.push(format!("{folder}/wit is no link to wit/"));
    }
    let document = std::fs::read_to_string(root().join("docs/releasing.md")).unwrap();
    offences.extend(list_offences(&released(&document), &published));
    offences
}

/// The list of `docs/releasing.md` has every package after those that it depends on.
fn list_offences(list: &[&str], published: &[&Json]) -> Vec<String> {
    let mut offences = Vec::new();
    for package in published {
        let Some(at) = list.iter().position(|listed| *listed == name(package)) else {
            offences.push(format!("docs/releasing.md does not publish {}", name(package)));
            continue;
        };
        for on in package["dependencies"].as_array().unwrap().iter().map(name) {
            if list[at..].contains(&on) {
                offences.push(format!("docs/releasing.md publishes {} before {on}", list[at]));
            }
        }
    }
    for listed in list.iter().filter(|it| !published.iter().any(|package| name(package) == **it)) {
        offences.push(format!("docs/releasing.md publishes {listed}, which is not published"));
    }
    offences
}

/// Each rule finds what breaks it.
#[test]
fn a_package_that_is_not_ready_is_found() {
    let good = serde_json::json!({
        "name": "a", "version": "1.0.0", "publish": null, "description": "A", "license": "MIT",
        "readme": "README.md", "rust_version": "1.95", "keywords": ["a"], "categories": ["wasm"],
        "repository": null,
        "dependencies": [{ "name": "b", "path": "/b", "req": "^2.0.0" }],
    });
    let versions = BTreeMap::from([("a", "1.0.0"), ("b", "2.0.0")]);
    assert!(manifest_offences(&good, None).is_empty());
    assert!(dependency_offences(&good, &versions).is_empty());
    assert!(is_published(&good));
    for field in ["description", "license", "readme", "rust_version", "keywords", "categories"] {
        let mut bad = good.clone();
        bad[field] = Json::Null;
        assert_eq!(manifest_offences(&bad, None).len(), 1, "{field}");
    }
    assert_eq!(manifest_offences(&good, Some("https://example.org")).len(), 1);
    assert_eq!(dependency_offences(&good, &BTreeMap::from([("b", "2.1.0")])).len(), 1);
    assert_eq!(dependency_offences(&good, &BTreeMap::new()).len(), 1);
    let of = |kind: &str, req: &str| {
        let dependency = serde_json::json!({ "name": "b", "path": "/b", "req": req, "kind": kind });
        serde_json::json!({ "name": "a", "dependencies": [dependency] })
    };
    for (kind, req, count) in [("dev", "*", 0), ("dev", "^2.0.0", 1), ("build", "*", 1)] {
        let found = dependency_offences(&of(kind, req), &BTreeMap::new());
        assert_eq!(found.len(), count, "{kind} {req}");
    }
    let mut private = good.clone();
    private["publish"] = serde_json::json!([]);
    assert!(!is_published(&private));

    let files = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (whole, wit) =
        (["Cargo.toml", "LICENSE", "README.md", "src/lib.rs"], files(&["wit/a.wit"]));
    assert!(file_offences("a", &files(&whole), &wit).is_empty());
    assert_eq!(file_offences("stockade", &files(&whole), &wit), ["does not contain wit/a.wit"]);
    assert_eq!(file_offences("a", &files(&whole[..3]), &wit), ["does not contain src/"]);

    let mut other = good.clone();
    (other["name"], other["dependencies"]) = ("b".into(), serde_json::json!([]));
    let both = [&good, &other];
    assert!(list_offences(&["b", "a"], &both).is_empty());
    assert_eq!(list_offences(&["a", "b"], &both).len(), 1, "before its dependency");
    assert_eq!(list_offences(&["b"], &both).len(), 1, "left out");
    assert_eq!(list_offences(&["b", "a", "c"], &both).len(), 1, "not published");
}
