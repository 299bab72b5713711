//! Who may know whom (ARCHITECTURE.md, code map), as constants, and what offends against them.

use super::source::{Source, manifests, root, words};

/// Layers of package `stockade`, top to bottom. A module may name those of its own layer and of the
/// layers below it, never above.
const HOST_LAYERS: &[&[&str]] = &[
    &["host"],
    &["router"],
    &["supervision"],
    &["kinds", "membership"],
    &["actor"],
    &["error"],
    &["capability", "import"],
    &["bindings"],
    &["sqlite"],
    &["engine"],
    &["typed"],
    &[
        "calls",
        "eager",
        "environment",
        "fault",
        "fuzz",
        "grip",
        "cpu",
        "memory",
        "messages",
        "runtime",
        "schedule",
        "yielding",
    ],
    &["limits", "clock"],
    &["machine"],
];

/// Layers of package `stockade-server`, likewise.
const SERVER_LAYERS: &[&[&str]] = &[&["server"], &["gateway"], &["peers"], &["pem"]];

/// Layers of package `stockade-depot`, top to bottom. Here no module names another of its layer.
const DEPOT_LAYERS: &[&[&str]] = &[
    &["depot"],
    &["destroy", "import"],
    &["create", "takeover", "inherit"],
    &["opened"],
    &["gate"],
    &["session"],
    &["parts"],
    &["confirm", "cause", "history", "retention"],
    &["store"],
    &["cache", "chain", "retry"],
    &["limits", "parallel", "source"],
    &["fence", "page", "random"],
    &["error"],
    &["id", "reason", "broken", "tally", "parker", "eager"],
];

/// What tests of several packages share; nothing that ships depends on it.
const KIT: &str = "stockade-testkit";

/// Where a layer has no order inside, so that modules may name each other.
const WITH_CIRCLES: &[&str] = &["host/src"];

/// Packages and the packages of ours that each may depend on. Tests of each may use the kit.
const PACKAGES: [(&str, &[&str]); 16] = [
    ("examples/embed/Cargo.toml", &["stockade", "stockade-tests"]),
    ("host/componentize/Cargo.toml", &[]),
    ("host/sqlite/Cargo.toml", &[]),
    ("host/depot/Cargo.toml", &["stockade-sqlite"]),
    ("host/vfs/Cargo.toml", &["stockade-depot", "stockade-sqlite"]),
    ("host/postgres/Cargo.toml", &["stockade-depot"]),
    ("host/remote/Cargo.toml", &["stockade-depot"]),
    (
        "host/Cargo.toml",
        &["stockade-componentize", "stockade-depot", "stockade-sqlite", "stockade-vfs"],
    ),
    ("host/server/Cargo.toml", &["stockade", "stockade-depot"]),
    (
        "host/cli/Cargo.toml",
        &[
            "stockade",
            "stockade-componentize",
            "stockade-depot",
            "stockade-postgres",
            "stockade-remote",
            "stockade-remote",
            "stockade-server",
        ],
    ),
    ("guest-sdk/Cargo.toml", &[]),
    ("tests/model/Cargo.toml", &[]),
    ("tests/sim-depot/Cargo.toml", &["stockade-depot", "stockade-remote", "stockade-vfs"]),
    ("tests/kit/Cargo.toml", &["stockade-depot"]),
    (
        "tests/figures-pg/Cargo.toml",
        &["stockade-depot", "stockade-postgres", "stockade-remote", "stockade-testkit"],
    ),
    (
        "tests/Cargo.toml",
        &[
            "stockade",
            "stockade-componentize",
            "stockade-depot",
            "stockade-figures-pg",
            "stockade-testkit",
            "stockade-vfs",
        ],
    ),
];

/// A library, and the only places of the host side whose code may name it.
const WALLS: [(&str, &[&str]); 14] = [
    (
        "rusqlite",
        &[
            "host/sqlite",
            "host/depot/src/store",
            "host/vfs",
            "host/src/sqlite",
            "host/src/import",
            "host/cli",
        ],
    ),
    ("tokio_postgres", &["host/postgres"]),
    ("stockade_postgres", &["host/postgres", "host/cli/src/backend.rs", "host/cli/src/backend"]),
    ("tonic", &["host/remote"]),
    ("prost", &["host/remote"]),
    (
        "stockade_remote",
        &[
            "host/remote",
            "host/cli/src/backend.rs",
            "host/cli/src/backend",
            "host/cli/src/peer_keys.rs",
        ],
    ),
    ("lz4_flex", &["host/depot/src/page.rs"]),
    ("axum", &["host/server/src/gateway", "host/server/src/peers"]),
    ("wasmtime_wasi", &["host/src/capability"]),
    ("wasmparser", &["host/src/engine", "host/componentize/src"]),
    (
        "wasmtime",
        &[
            "host/src/engine",
            "host/src/typed",
            // `Val`, for embedders.
            "host/src/lib.rs",
            "host/src/bindings.rs",
            "host/src/bindings",
            "host/src/capability",
            "host/src/actor",
            "host/src/router",
            "host/src/kinds",
            "host/src/host",
            "host/src/host.rs",
            "host/src/error",
        ],
    ),
    ("clap", &["host/cli"]),
    ("ureq", &["host/cli"]),
    ("indicatif", &["host/cli"]),
];

/// Modules that name a higher layer, and modules without a place in the lists.
pub(super) fn offences(files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (home, layers) in [
            ("host/src", HOST_LAYERS),
            ("host/server/src", SERVER_LAYERS),
            ("host/depot/src", DEPOT_LAYERS),
        ] {
            if let Ok(inside) = file.path.strip_prefix(home) {
                let module = inside.components().next().unwrap().as_os_str().to_string_lossy();
                let module = module.trim_end_matches(".rs");
                if module != "lib" && !is_unit_test(file) {
                    found.extend(looks_up(file, module, layers, WITH_CIRCLES.contains(&home)));
                }
            }
        }
    }
    found
}

fn looks_up(file: &Source, module: &str, layers: &[&[&str]], siblings: bool) -> Vec<String> {
    let layer_of = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    let Some(own) = layer_of(module) else {
        return vec![format!("{}: module `{module}` has no layer", file.name())];
    };
    // Unit tests may build their subjects from above.
    let code = file.code.split("#[cfg(test)]").next().unwrap_or_default();
    paths_after("crate::", code)
        .into_iter()
        .filter(|named| named != module)
        .filter(|named| layer_of(named).is_some_and(|at| at < own + usize::from(!siblings)))
        .map(|named| format!("{}: `{module}` looks up, or aside, to `{named}`", file.name()))
        .collect()
}

pub(super) fn is_unit_test(file: &Source) -> bool {
    file.path.file_name().is_some_and(|name| name == "tests.rs")
        || file.path.components().any(|part| part.as_os_str() == "tests")
}

/// First segments of all paths after `prefix`, also inside `prefix{a::B, c}`.
pub(super) fn paths_after(prefix: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, path) in code.match_indices(prefix) {
        if code[..at].ends_with(':') {
            continue;
        }
        let rest = &code[at + path.len()..];
        if rest.starts_with('{') {
            found.extend(group_heads(rest));
        } else {
            found.extend(words(rest).next().map(str::to_owned));
        }
    }
    found
}

/// Heads of a `{a::B, c::{d, e}, f}` group: the words at depth one after `{` or `,`.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut item) = (0_usize, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        let ends = depth == 0 || (depth == 1 && c == ',');
        if ends {
            heads.extend(words(&item).next().map(str::to_owned));
            item.clear();
        } else {
            item.push(c);
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

/// Packages that depend on a package above them.
pub(super) fn package_offences() -> Vec<String> {
    let ours = [
        "stockade",
        "stockade-alloc",
        "stockade-componentize",
        "stockade-depot",
        "stockade-figures-pg",
        "stockade-sdk",
        "stockade-server",
        "stockade-postgres",
        KIT,
        "stockade-sqlite",
        "stockade-tests",
        "stockade-vfs",
    ];
    let mut found = Vec::new();
    for manifest in manifests() {
        let name = manifest.display().to_string();
        let guest = manifest.starts_with("examples") || manifest.starts_with("tests/guests");
        let allowed = match PACKAGES.iter().find(|(path, _)| *path == name) {
            Some((_, allowed)) => *allowed,
            None if guest => &["stockade-alloc", "stockade-sdk"],
            None => continue,
        };
        let text = std::fs::read_to_string(root().join(&manifest)).unwrap();
        for (section, dependency) in dependencies(&text) {
            let dependency = dependency.as_str();
            let tests_only = dependency == KIT && section == "[dev-dependencies]" && !guest;
            if ours.contains(&dependency) && !allowed.contains(&dependency) && !tests_only {
                found.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    found
}

/// Keys of `[dependencies]`, `[dev-dependencies]` and `[build-dependencies]`, each with its section.
fn dependencies(manifest: &str) -> Vec<(&str, String)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                found.push((section, name.to_owned()));
            }
        }
    }
    found
}

/// Sources that name a library from outside its wall. Unit tests may use rusqlite as an oracle.
pub(super) fn wall_offences(files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("host")) {
        if is_unit_test(file) {
            continue;
        }
        let code = file.code.split("#[cfg(test)]").next().unwrap_or_default();
        for (library, homes) in WALLS {
            let home = homes.iter().any(|home| file.path.starts_with(home));
            let path = format!("{library}::");
            let named = code.match_indices(&path).any(|(at, _)| {
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
            });
            if !home && named {
                found.push(format!("{} names {library}", file.name()));
            }
        }
    }
    found
}
