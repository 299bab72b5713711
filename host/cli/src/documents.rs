//! Commands in documents: the program takes each `stockade` line, and the Makefile has each target.
//!
//! Blocks of the languages `console` (lines with a prompt) and `sh` (every line) are read. The reader
//! knows what these documents use of a shell: quotes, comments, lines that continue, redirections,
//! assignments, and what separates commands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What users read.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let folders = ["", "docs", "docs/reference", "guest-sdk", "host/cli", "tests", "tests/bench"];
    let examples = std::fs::read_dir(root().join("examples")).expect("examples");
    let examples = examples.map(|entry| entry.expect("an example").path());
    for folder in folders.map(|folder| root().join(folder)).into_iter().chain(examples) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_log = path.ends_with("CHANGELOG.md");
            found.extend(
                Some(path).filter(|it| it.extension().is_some_and(|e| e == "md") && !is_log),
            );
        }
    }
    found
}

/// Lines of a document that a shell reads, with their numbers. Lines that continue are joined.
fn shell_lines(text: &str) -> Vec<(usize, String)> {
    let (mut language, mut goes_on) = (None, false);
    let mut found: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        if let Some(tag) = line.strip_prefix("```") {
            (language, goes_on) = (language.is_none().then_some(tag), false);
            continue;
        }
        let prompt = if goes_on { "> " } else { "$ " };
        let typed = match language {
            Some("console") => line.strip_prefix(prompt),
            Some("sh") => Some(line),
            _ => None,
        };
        let Some(typed) = typed else { continue };
        let whole = typed.strip_suffix('\\').unwrap_or(typed);
        match found.last_mut().filter(|_| goes_on) {
            Some((_, before)) => before.push_str(whole),
            None => found.push((number, whole.to_owned())),
        }
        goes_on = whole.len() < typed.len();
    }
    found
}

/// The commands of a line, each as its words.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut found, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '&' | ';' | '|') => {
                words.extend(word.take());
                found.push(std::mem::take(&mut words));
            }
            (None, '>') => {
                words.extend(word.take());
                words.push(">".to_owned());
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "a quote that does not end: {line}");
    words.extend(word);
    found.push(words);
    let bare = found.into_iter().map(bare).filter(|words| !words.is_empty());
    bare.collect()
}

/// A command without its redirection, and without assignments and words of a loop in front.
fn bare(words: Vec<String>) -> Vec<String> {
    let is_in_front = |word: &String| word == "do" || word == "then" || word.contains('=');
    let command = words.into_iter().take_while(|word| word != ">").skip_while(is_in_front);
    command.collect()
}

/// Why the program or the Makefile would refuse a command; `None` for commands of others.
fn refusal(words: &[String], targets: &BTreeSet<String>) -> Option<String> {
    match words[0].as_str() {
        "stockade" => {
            let matches = crate::command().try_get_matches_from(words);
            matches.err().map(|error| error.to_string())
        }
        "make" => {
            let asked = words[1..].iter().filter(|word| !word.contains('='));
            let missing: Vec<_> = asked.filter(|word| !targets.contains(*word)).collect();
            (!missing.is_empty()).then(|| format!("no target of the Makefile: {missing:?}"))
        }
        _ => None,
    }
}

/// Targets that the Makefile has.
fn targets() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("Makefile")).expect("the Makefile");
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let names = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name);
    names.filter(|name| !name.is_empty() && is_name(name)).map(str::to_owned).collect()
}

/// Commands in the running text: `make` in backticks.
fn mentioned(text: &str) -> impl Iterator<Item = Vec<String>> + '_ {
    let prose = text.split("```").step_by(2).flat_map(|part| part.split('`').skip(1).step_by(2));
    prose.filter(|code| code.starts_with("make ")).flat_map(commands)
}

fn offences(text: &str, targets: &BTreeSet<String>) -> Vec<String> {
    let lines = shell_lines(text).into_iter().flat_map(|(number, line)| {
        commands(&line).into_iter().map(move |words| (format!("line {number}"), words))
    });
    let prose = mentioned(text).map(|words| ("in the text".to_owned(), words));
    let refused = lines.chain(prose).filter_map(|(place, words)| {
        refusal(&words, targets).map(|why| format!("{place}: `{}`: {why}", words.join(" ")))
    });
    refused.collect()
}

#[test]
fn commands_of_the_documents_are_taken() {
    let (targets, mut found, mut seen) = (targets(), Vec::new(), 0);
    for path in documents() {
        let text = std::fs::read_to_string(&path).expect("a document");
        seen += shell_lines(&text).iter().filter(|(_, line)| line.contains("stockade ")).count();
        let name = path.display().to_string();
        found.extend(offences(&text, &targets).into_iter().map(|it| format!("{name}, {it}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(seen > 40, "only {seen} commands were found: are the blocks still read?");
}

#[test]
fn commands_that_are_not_taken_are_found() {
    let targets = BTreeSet::from(["demo".to_owned()]);
    let check = |text: &str, expected: &str| {
        let found = offences(text, &targets);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    };
    check("```console\n$ stockade serve --data-dri x\n```\n", "--data-dri");
    check("```console\n$ stockade srve & sleep 1\n```\n", "srve");
    check("```sh\nfor a in b; do stockade cal $a; done\n```\n", "cal");
    check("```console\n$ stockade call a/b \\\n>   c --no-such\n```\n", "--no-such");
    check("```console\n$ A=b make demmo   # not make this\n```\n", "demmo");
    check("Run `make demmo`.\n", "demmo");
    let good = "```console\n$ stockade sql a/b 'SELECT 1; -- # no' > file   # a | b\n\
                the output: stockade nonsense\n$ make demo SEEDS=1 && export A=\"b\"\n```\n";
    assert_eq!(offences(good, &targets), Vec::<String>::new());
}
