//! Builds every test guest and example with the guest toolchain and names them in `guests.rs`.
//!
//! If they cannot be built, the constants keep the reason, and the tests that need a guest fail with
//! it: the others run, none is skipped.

#![allow(clippy::unwrap_used, reason = "a build script fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use stockade_componentize::componentize;

/// What cargo tells a build script about the host's build, and a guest's build must not hear.
const HOST_SETTINGS: [&str; 9] = [
    "CARGO",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "MAKEFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "TARGET",
];

/// Names of the guests to build; without it all are built. The demo needs four.
const WANTED: &str = "STOCKADE_GUESTS";

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("..");
    let out = PathBuf::from(std::env::var("OUT_DIR").unwrap());
    let mut names = guests(&root.join("examples"));
    names.extend(guests(&root.join("tests/guests")));
    names.sort();
    for input in ["examples", "tests/guests", "guest-sdk", "wit", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", root.join(input).display());
    }
    // OUT_DIR is <target>/<profile>/build/<package>/out: guests share one folder for all profiles.
    let target = out.ancestors().nth(4).unwrap().join("guest");
    println!("cargo:rerun-if-env-changed={WANTED}");
    let wanted = std::env::var(WANTED).ok();
    let is_wanted = |name: &str| {
        wanted.as_ref().is_none_or(|wanted| wanted.split_whitespace().any(|it| it == name))
    };
    let chosen: Vec<String> = names.iter().filter(|name| is_wanted(name)).cloned().collect();
    let built = build(&root, &target, &chosen);

    let mut code = String::from("// Written by build.rs.\n");
    for name in &names {
        let path = match &built {
            Ok(()) if !is_wanted(name) => format!("Err({:?})", format!("{WANTED} leaves it out")),
            Ok(()) => {
                // As `stockade deploy` makes it.
                let path = out.join(format!("{name}.wasm"));
                let module = target.join(format!("wasm32-wasip1/guest/{name}.wasm"));
                let module = std::fs::read(module).unwrap();
                std::fs::write(path.with_extension("core.wasm"), &module).unwrap();
                let component = componentize(&module);
                std::fs::write(&path, component.unwrap_or_else(|error| panic!("{name}: {error}")))
                    .unwrap();
                format!("Ok({:?})", path.display().to_string())
            }
            Err(reason) => format!("Err({reason:?})"),
        };
        let constant = name.to_uppercase().replace('-', "_");
        writeln!(code, "/// `{name}`.").unwrap();
        writeln!(code, "pub const {constant}: Guest = Guest {{ name: {name:?}, path: {path} }};")
            .unwrap();
    }
    let all: Vec<String> = names.iter().map(|name| name.to_uppercase().replace('-', "_")).collect();
    writeln!(code, "/// Every guest.").unwrap();
    writeln!(code, "pub const ALL: &[Guest] = &[{}];", all.join(", ")).unwrap();
    std::fs::write(out.join("guests.rs"), code).unwrap();
}

/// Names of the folders with an actor.
fn guests(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("world.wit").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

fn build(root: &Path, target: &Path, names: &[String]) -> Result<(), String> {
    let mut command = Command::new("bash");
    command.arg(root.join("guest-sdk/toolchain/build-guest.sh")).args(names);
    command.env("GUEST_TARGET_DIR", target);
    for name in HOST_SETTINGS {
        command.env_remove(name);
    }
    let output = command.output().map_err(|error| format!("bash: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let end: Vec<&str> = said.lines().rev().take(40).collect();
    let end: Vec<&str> = end.into_iter().rev().collect();
    let reason = format!("the guests were not built (run `make setup`):\n{}", end.join("\n"));
    println!("cargo:warning=the guests were not built; tests that need one will fail");
    Err(reason)
}
