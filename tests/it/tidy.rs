//! The rules of the tree that can be checked: headers, layers, names, `unsafe`, test guests.
//!
//! Each test collects every offence before it fails, so one run names all of them. The rules about
//! sources look at the text with comments and strings blanked out (see `source`).

mod circles;
mod documents;
mod layers;
mod packages;
mod paths;
pub(crate) mod source;
mod words;

use std::collections::BTreeSet;

use source::{Source, root, sources, test_guests};

/// File names that say nothing about the job inside.
const EMPTY_NAMES: [&str; 8] =
    ["utils", "util", "helpers", "helper", "common", "misc", "manager", "shared"];

/// Where `unsafe` may be: the package of SQLite's C interface, loading compiled code, and the
/// allocator of actors.
const UNSAFE_HOMES: [&str; 4] = [
    "host/sqlite/src",
    "host/src/engine/loader.rs",
    "host/cli/src/allocator.rs",
    "guest-sdk/alloc/src/lib.rs",
];

/// Fails with every offence, one per line.
fn check(rule: &str, offences: impl IntoIterator<Item = String>) {
    let offences: BTreeSet<String> = offences.into_iter().collect();
    assert!(
        offences.is_empty(),
        "{rule}\n  {}",
        offences.into_iter().collect::<Vec<_>>().join("\n  ")
    );
}

#[test]
fn every_source_opens_with_its_purpose() {
    check(
        "a .rs file opens with `//!` and a sentence of purpose",
        sources().iter().filter(|file| !has_header(file)).map(Source::name),
    );
}

fn has_header(file: &Source) -> bool {
    file.text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("//!"))
        .is_some_and(|purpose| purpose.trim().len() >= 12)
}

#[test]
fn no_host_file_has_an_empty_name() {
    check(
        "a file is named by what it is or does in our domain",
        sources()
            .iter()
            .filter(|file| file.path.starts_with("host") || file.path.starts_with("guest-sdk"))
            .filter(|file| {
                file.path
                    .with_extension("")
                    .components()
                    .any(|part| EMPTY_NAMES.contains(&part.as_os_str().to_string_lossy().as_ref()))
            })
            .map(Source::name),
    );
}

#[test]
fn unsafe_stays_in_the_files_named_for_it() {
    let allowed = |file: &Source| UNSAFE_HOMES.iter().any(|home| file.path.starts_with(home));
    // Guests: the binding macro generates the component ABI in place, nothing is written by hand.
    check(
        "`unsafe` is written only in stockade-sqlite, loader.rs and the allocators",
        sources()
            .iter()
            .filter(|file| !allowed(file))
            .filter(|file| has_unsafe(&file.code))
            .map(Source::name),
    );
}

fn has_unsafe(code: &str) -> bool {
    source::words(code).any(|word| word == "unsafe")
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let mut offences = Vec::new();
    for file in sources() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (at, code) in file.code.lines().enumerate() {
            if !code.contains("unsafe {") {
                continue;
            }
            let above = &lines[at.saturating_sub(6)..=at];
            if !above.iter().any(|line| line.contains("SAFETY:")) {
                offences.push(format!("{}:{}", file.name(), at + 1));
            }
        }
    }
    check("an `unsafe` block has a `// SAFETY:` note just above it", offences);
}

#[test]
fn no_lint_is_silenced_without_a_reason() {
    let mut offences = Vec::new();
    for file in sources() {
        for opening in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
            for (at, _) in file.code.match_indices(opening) {
                let attribute = &file.code[at..];
                let end = attribute.find(")]").unwrap_or(attribute.len());
                if !attribute[..end].contains("reason") {
                    let line = file.code[..at].lines().count().max(1);
                    offences.push(format!("{}:{line}", file.name()));
                }
            }
        }
    }
    check("every allow and expect carries `reason = \"..\"`", offences);
}

#[test]
fn nothing_is_left_for_later() {
    // Concatenated here, so that this file does not contain the marks itself.
    let marks = [["FIX", "ME"].concat(), ["TO", "DO"].concat(), ["X", "XX"].concat()];
    let mut offences = Vec::new();
    for file in sources() {
        for (at, line) in file.text.lines().enumerate() {
            if source::words(line).any(|word| marks.iter().any(|mark| mark == word)) {
                offences.push(format!("{}:{}", file.name(), at + 1));
            }
        }
    }
    check("no mark of unfinished work", offences);
}

#[test]
fn no_test_is_ignored() {
    check(
        "a test that is not run proves nothing",
        sources().iter().filter(|file| file.code.contains("#[ignore")).map(Source::name),
    );
}

#[test]
fn printing_has_its_homes() {
    // The program's commands print; tests and benches report; guests have no terminal.
    let homes = [
        "host/cli/src",
        "host/server/src/server",
        "host/server/src/server.rs",
        "tests",
        "examples",
    ];
    check(
        "only the program's commands print",
        sources()
            .iter()
            .filter(|file| !homes.iter().any(|home| file.path.starts_with(home)))
            .filter(|file| !file.name().ends_with("build.rs"))
            .filter(|file| {
                !file
                    .path
                    .components()
                    .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches")
            })
            .filter(|file| {
                ["println!", "print!", "eprintln!", "eprint!", "dbg!"]
                    .iter()
                    .any(|print| file.code.contains(print))
            })
            .map(Source::name),
    );
}

#[test]
fn modules_look_down_only() {
    check("modules look down only", layers::offences(&sources()));
}

#[test]
fn nothing_is_read_in_a_circle() {
    check("files of a room, and rooms, name each other one way", circles::offences(&sources()));
}

#[test]
fn packages_look_down_only() {
    check("packages look down only", layers::package_offences());
}

#[test]
fn rules_are_switched_off_in_the_simulation_only() {
    // The feature's home, and the packages that turn it on: they are no default members, so no
    // other build has it.
    for (feature, homes) in [
        (
            "broken-variants",
            &["host/depot/Cargo.toml", "tests/sim-depot/Cargo.toml", "tests/sim-hosts/Cargo.toml"]
                [..],
        ),
        ("simulated", &["host/remote/Cargo.toml", "tests/sim-depot/Cargo.toml"][..]),
    ] {
        let (on, made) = (format!("\"{feature}\""), format!("{feature} ="));
        check(
            "only the simulation's manifests turn its features on",
            source::manifests().into_iter().map(|path| path.display().to_string()).filter(|name| {
                let text = std::fs::read_to_string(root().join(name)).unwrap();
                (text.contains(&on) || text.contains(&made)) && !homes.contains(&name.as_str())
            }),
        );
    }
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let default = workspace.lines().find(|line| line.starts_with("default-members"));
    for simulation in ["tests/sim-depot", "tests/sim-hosts"] {
        assert!(!default.unwrap().contains(simulation), "{simulation} is no default member");
    }
}

/// A regression: times of parcels and calls were taken from `std` and waited for on tokio's clock, which
/// stands still or is far ahead in a simulation.
#[test]
fn timers_wait_for_times_of_their_own_clock() {
    let timers = ["timeout_at(", "sleep_until(", "interval_at("];
    let is_of_std = |line: &str| {
        let names = line.starts_with("use std::time::") && line.contains("Instant");
        names && !line.contains("Instant as ")
    };
    check(
        "a file of the host side that waits until a time has the `Instant` of tokio",
        sources()
            .iter()
            .filter(|file| file.path.starts_with("host") && !layers::is_unit_test(file))
            .filter(|file| timers.iter().any(|timer| file.code.contains(timer)))
            .filter(|file| file.code.lines().any(is_of_std))
            .map(Source::name),
    );
}

#[test]
fn sources_are_compiled_by_their_own_package() {
    check("no `#[path]` leads into another package", paths::offences(&sources()));
}

#[test]
fn engines_stay_behind_their_walls() {
    check("a library is named only behind its wall", layers::wall_offences(&sources()));
}

#[test]
fn every_test_guest_belongs_to_a_suite_and_has_a_test() {
    let suites = ["sqlite", "docs", "lifecycle", "revoke", "hostile", "typed", "calls", "messages"];
    let homes = ["tests/it", "tests/sim-hosts"];
    let tests: Vec<Source> = sources()
        .into_iter()
        .filter(|file| homes.iter().any(|it| file.path.starts_with(it)))
        .collect();
    let guests = test_guests();
    assert!(!guests.is_empty(), "there are test guests");
    let mut offences = Vec::new();
    for guest in guests {
        let suite = guest.split('_').next().unwrap_or_default();
        if !suites.contains(&suite) || suite == guest {
            offences.push(format!("{guest}: named <suite>_<name>, suites are {suites:?}"));
        }
        // The bench guest is run by the bench; everything else by a test of this binary or by a
        // simulation.
        let constant = format!("guest::{}", guest.to_uppercase());
        let used = tests.iter().any(|file| file.code.contains(&constant));
        if !used {
            offences.push(format!("{guest}: no test names {constant}"));
        }
    }
    check("every test guest has a suite and a test", offences);
}

#[test]
fn every_package_takes_the_workspace_lints() {
    let mut offences = Vec::new();
    for manifest in source::manifests() {
        let text = std::fs::read_to_string(root().join(&manifest)).unwrap();
        if !text.contains("[package]") {
            continue;
        }
        if !text.contains("[lints]\nworkspace = true") {
            offences.push(manifest.display().to_string());
        }
    }
    check("`[lints] workspace = true` in every package", offences);
}

/// Tests of the checks themselves: a rule that cannot fail is no rule.
mod bite {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::new(path.into(), text.to_owned())
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        let file = source(
            "host/src/a.rs",
            "//! unsafe\nfn f() { let s = \"unsafe {\"; /* unsafe */ let c = '\"'; let r = r#\"unsafe\"#; }",
        );
        assert!(!has_unsafe(&file.code), "{}", file.code);
        assert!(has_unsafe(&source("a.rs", "//! x\nunsafe { f() }").code));
        assert!(!has_unsafe(&source("a.rs", "#![deny(unsafe_code)]").code));
    }

    #[test]
    fn a_module_that_looks_up_is_found() {
        let up = source("host/src/engine/mod.rs", "//! x\nuse crate::{grip::Grip, actor};\n");
        let offences = layers::offences(&[up]);
        assert_eq!(offences.len(), 1, "{offences:?}");
        assert!(offences[0].contains("actor"), "{offences:?}");
        let path = source("host/src/sqlite/a.rs", "//! x\nfn f() { crate::host::run() }\n");
        assert_eq!(layers::offences(&[path]).len(), 1);
        let down = source("host/src/host/a.rs", "//! x\nuse crate::router::Router;\n");
        assert!(layers::offences(&[down]).is_empty());
        let homeless = source("host/src/surprise.rs", "//! x\n");
        assert_eq!(layers::offences(&[homeless]).len(), 1);
    }

    #[test]
    fn an_unusual_word_is_found_in_text_and_comments_only() {
        let comments =
            "//! Says so anew.\nfn anew() {} // anew\n/// It ends at\n/// once: `told`.\n";
        let found = words::in_comments("host/cli/src/a.rs", comments);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("a.rs:1: anew") && found[1].contains("a.rs:3: at once"));
        assert!(words::in_comments("host/cli/src/a.rs", "/// At once-only, retold.\n").len() == 1);
        let text = "Nobody reads it.\n```text\nnobody\n```\n| `nobody` | nobody |\n";
        assert_eq!(words::in_document("docs/a.md", text).len(), 2);
        let restated = words::in_document("docs/reference/errors.md", text);
        assert_eq!(restated.len(), 1, "{restated:?}");
    }

    #[test]
    fn a_path_into_another_package_is_found() {
        let path = |at: &str, to: &str| {
            let file = source(at, &format!("//! x\n#[path = \"{to}\"]\nmod a;\n"));
            paths::offences(&[file])
        };
        assert_eq!(path("host/vfs/tests/oracle/main.rs", "../../src/file.rs").len(), 0);
        assert_eq!(path("host/src/lib.rs", "typed/fuzz.rs").len(), 0);
        assert_eq!(path("host/src/lib.rs", "../depot/src/fence.rs").len(), 1);
        assert_eq!(path("host/depot/tests/session/main.rs", "../../../src/grip.rs").len(), 1);
        let said = source("host/src/lib.rs", "//! #[path = \"../depot/src/fence.rs\"]\n");
        assert!(paths::offences(&[said]).is_empty());
    }

    #[test]
    fn a_circle_is_found() {
        let file = |name: &str, text: &str| source(&format!("host/src/{name}.rs"), text);
        let own = file("actor/mod", "mod a;\nmod b;\npub use b::B;\n");
        let (a, b) = (file("actor/a", "use super::B;\n"), file("actor/b", "struct B;\n"));
        assert!(circles::offences(&[own.clone(), a.clone(), b]).is_empty());
        let back = file("actor/b", "use crate::actor::a::A;\n");
        assert_eq!(circles::offences(&[own.clone(), a.clone(), back]).len(), 2);
        let uses = file("actor/mod", "mod a;\nuse a::A;\nstruct Own(A);\n");
        let of_own = file("actor/a", "use super::Own;\n");
        assert_eq!(circles::offences(&[uses, of_own]).len(), 2);
        let rooms =
            [file("kinds", "use crate::membership;\n"), file("membership", "use crate::kinds;\n")];
        assert_eq!(circles::offences(&rooms).len(), 2);
    }

    #[test]
    fn a_circle_of_the_depot_is_found() {
        let aside = source("host/depot/src/confirm.rs", "//! x\nuse crate::cause::Cause;\n");
        assert_eq!(layers::offences(&[aside]).len(), 1);
        let up = source("host/depot/src/session/read.rs", "//! x\nuse crate::depot::Depot;\n");
        assert_eq!(layers::offences(&[up]).len(), 1);
        let inside = source("host/depot/src/session/read.rs", "//! x\nuse crate::session::Mark;\n");
        assert!(layers::offences(&[inside]).is_empty());
    }

    #[test]
    fn a_library_behind_a_wall_is_found() {
        let rule = source("host/depot/src/session.rs", "//! x\nuse rusqlite::Connection;\n");
        assert_eq!(layers::wall_offences(&[rule]).len(), 1);
        let store =
            source("host/depot/src/store/embedded.rs", "//! x\nuse rusqlite::Connection;\n");
        assert!(layers::wall_offences(&[store]).is_empty());
    }
}

#[test]
fn rules_of_the_protocol_are_cited_and_kept() {
    check(
        "docs/protocol.md states each rule with its code and its tests",
        documents::protocol_offences(),
    );
}

#[test]
fn code_in_documents_is_code() {
    check("blocks of documents read as what they are said to be", documents::block_offences());
}

#[test]
fn documents_and_comments_use_plain_words() {
    check("documents and comments use plain words (tidy/words.rs)", words::offences());
}

#[test]
fn packages_are_ready_to_be_published_or_never_are() {
    check("published packages have what docs/releasing.md says", packages::offences());
}

#[test]
fn links_of_documents_lead_somewhere() {
    check("links lead to files", documents::link_offences());
}

#[test]
fn decisions_are_recorded_whole() {
    check("docs/decisions has whole records, numbered and listed", documents::decision_offences());
}

#[test]
fn each_row_of_what_can_break_has_its_tests() {
    let table = std::fs::read_to_string(root().join("docs/reference/damage.md")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 15, "the table was not read: {}", rows.len());
    let names: BTreeSet<String> = sources()
        .iter()
        .flat_map(|file| file.code.match_indices("fn ").map(|(at, _)| &file.code[at + 3..]))
        .map(|name| name.split('(').next().unwrap_or_default().to_owned())
        .collect();
    let mut offences = Vec::new();
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let wanted: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        for test in &wanted {
            let exists = match (test.strip_suffix('*'), test.ends_with(".rs")) {
                (Some(begin), _) => names.iter().any(|name| name.starts_with(begin)),
                (None, true) => sources().iter().any(|file| file.path.ends_with(test)),
                (None, false) => names.contains(*test),
            };
            if !exists {
                offences.push(format!("{test} of: {row}"));
            }
        }
        if wanted.is_empty() {
            offences.push(format!("no test: {row}"));
        }
    }
    check("each row of docs/reference/damage.md names tests that there are", offences);
}
