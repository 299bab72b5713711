//! The rules for documents: cited rules exist and have code and tests, blocks of code are of a
//! known language and parse as it, records of decisions are complete. Words are in `words.rs`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::source::{Source, root, sources};

/// One fenced block of a document.
struct Block {
    place: String,
    tag: String,
    text: String,
}

pub(super) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Markdown files of a folder, without those of folders in it.
pub(super) fn documents_in(folder: &str) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    found.sort();
    found
}

/// The documents of users. Records of decisions and the changelog describe former states.
fn documents() -> Vec<String> {
    let packages = ["componentize", "depot", "postgres", "remote", "vfs", "server", "cli"];
    let packages = packages.map(|it| format!("host/{it}"));
    let folders = ["", "docs", "docs/reference", "guest-sdk", "guest-sdk/alloc", "host"];
    let folders = folders.map(str::to_owned).into_iter().chain(packages);
    let mut all: Vec<String> = folders.flat_map(|folder| documents_in(&folder)).collect();
    all.retain(|path| !path.ends_with("CHANGELOG.md"));
    all
}

fn blocks(path: &str) -> Vec<Block> {
    let (mut found, mut open) = (Vec::new(), None::<Block>);
    for (number, line) in read(path).lines().enumerate() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(tag), None) => {
                let (place, tag) = (format!("{path}:{}", number + 1), tag.to_owned());
                open = Some(Block { place, tag, text: String::new() });
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{path}: a block that does not end");
    found
}

/// Words in backticks that look like paths of the repository.
fn paths(text: &str) -> Vec<&str> {
    let roots = ["host/", "tests/", "guest-sdk/", "wit/", "docs/", "examples/"];
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|word| roots.iter().any(|root| word.starts_with(root))).collect()
}

/// Rules as they are cited: `D` and a number, as one word.
fn rules(text: &str) -> BTreeSet<u32> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.split(|c| !is_word(c))
        .filter_map(|word| word.strip_prefix('D'))
        .filter(|digits| digits.len() <= 2)
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// The comments of a file: lines that begin with one.
fn comments(file: &Source) -> String {
    let lines = file.text.lines().filter(|line| line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every cited rule has its heading; every heading has its tests, and its code, which cites the
/// rule.
pub(super) fn protocol_offences() -> Vec<String> {
    let (protocol, mut offences) = (read("docs/protocol.md"), Vec::new());
    let mut known = BTreeSet::new();
    for section in protocol.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let part = |name: &str| {
            let begin = section.find(&format!("- {name}: "))?;
            let rest = &section[begin..];
            Some(
                rest[..rest.find("\n- Tests").filter(|_| name == "Code").unwrap_or(rest.len())]
                    .to_owned(),
            )
        };
        if title == "Terms" {
            continue;
        }
        let (code, tests) = (part("Code").unwrap_or_default(), part("Tests").unwrap_or_default());
        for (name, text) in [("code", &code), ("tests", &tests)] {
            if paths(text).is_empty() {
                offences.push(format!("docs/protocol.md, {title}: no {name}"));
            }
        }
        for path in paths(section).into_iter().filter(|path| !root().join(path).exists()) {
            offences.push(format!("docs/protocol.md, {title}: there is no {path}"));
        }
        let Some(rule) =
            title.split(':').next().map(rules).and_then(|rules| rules.first().copied())
        else {
            continue;
        };
        known.insert(rule);
        let cites = |path: &&str| {
            let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
            path.ends_with(".rs") && rules(&text).contains(&rule)
        };
        if !paths(&code).iter().any(cites) {
            offences.push(format!("D{rule}: none of its files cites it"));
        }
    }
    for file in sources().iter().filter(|file| !file.path.starts_with("tests/it/tidy")) {
        for rule in rules(&comments(file)).difference(&known) {
            offences.push(format!("{}: cites D{rule}, which is no rule", file.name()));
        }
    }
    offences
}

/// Every block has a known language, and parses as that.
pub(super) fn block_offences() -> Vec<String> {
    let built: Vec<String> = sources().into_iter().map(|file| file.text).collect();
    let worlds: Vec<String> =
        worlds().iter().map(|path| read(&path.display().to_string())).collect();
    let mut offences = Vec::new();
    for block in documents().iter().flat_map(|path| blocks(path)) {
        let Block { place, tag, text } = &block;
        let wrong = match tag.as_str() {
            // Compiled by `tests/src/lib.rs`.
            "rust,no_run" => None,
            // An actor is built by the guest toolchain.
            "rust,ignore" => (!built.iter().any(|source| source.contains(text.as_str())))
                .then(|| "no guest has it word for word".to_owned()),
            "wit" => (!worlds.iter().any(|world| world.contains(text.as_str())))
                .then(|| "no guest has it word for word".to_owned()),
            "toml" => toml::from_str::<toml::Table>(text).err().map(|error| error.to_string()),
            "json" => {
                serde_json::from_str::<serde_json::Value>(text).err().map(|error| error.to_string())
            }
            "console" => {
                (!text.starts_with("$ ")).then(|| "it does not begin with a command".to_owned())
            }
            "text" => None,
            other => Some(format!("no language, or an unknown one: {other:?}")),
        };
        offences.extend(wrong.map(|wrong| format!("{place}: {wrong}")));
    }
    offences
}

fn worlds() -> Vec<PathBuf> {
    let guests = ["examples", "tests/guests"].into_iter().flat_map(|folder| {
        std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path())
    });
    guests.map(|guest| guest.join("world.wit")).filter(|world| world.is_file()).collect()
}

/// Every link leads to a file, and to a heading if it names one.
pub(super) fn link_offences() -> Vec<String> {
    let mut offences = Vec::new();
    let records = documents_in("docs/decisions");
    for path in documents().into_iter().chain(records) {
        let (text, at) = (read(&path), root().join(&path));
        let folder = at.parent().unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let found = folder.join(file);
            let has_heading = || {
                let text = std::fs::read_to_string(&found).unwrap_or_default();
                text.lines().any(|line| line.starts_with('#') && anchor(line) == heading)
            };
            if !found.exists() || (!heading.is_empty() && !has_heading()) {
                offences.push(format!("{path}: a link to {target}"));
            }
        }
    }
    offences
}

/// The part of a link to a heading after `#`.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Records of decisions: numbered without gaps, complete, in the table.
pub(super) fn decision_offences() -> Vec<String> {
    let folder = "docs/decisions";
    let table = read(&format!("{folder}/README.md"));
    let mut offences = Vec::new();
    let records = documents_in(folder);
    let records = records.iter().filter(|path| !path.ends_with("README.md"));
    for (number, path) in (1..).zip(records) {
        let (text, wanted) = (read(path), format!("{number:04}"));
        let name = path.rsplit('/').next().unwrap();
        if !name.starts_with(&format!("{wanted}-")) || !text.starts_with(&format!("# {wanted}: ")) {
            offences.push(format!("{path}: it should be number {wanted}"));
        }
        if !table.contains(&format!("]: {name}")) || !table.contains(&format!("| [{wanted}] |")) {
            offences.push(format!("{path}: it is not in the table"));
        }
        let parts = [
            "\nDate: ",
            "\n## Context\n",
            "\n## Choice\n",
            "\n## What lost\n",
            "\n## Consequence\n",
        ];
        for part in parts.iter().filter(|part| !text.contains(*part)) {
            offences.push(format!("{path}: no {}", part.trim()));
        }
        for path_in_it in paths(&text).into_iter().filter(|path| !root().join(path).exists()) {
            offences.push(format!("{path}: there is no {path_in_it}"));
        }
    }
    offences
}
