//! The actors and the commands in the documents work as printed.

use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};
use stockade_tests::guest::{self, Guest};
use stockade_tests::host::{Site, actor};
use stockade_tests::program::{self, ADMIN_TOKEN, Program};

/// Commands in front of the path that are run: what they make is there already.
const PREPARES: [&str; 4] = ["make ", "cargo build ", "export ", "guest-sdk/toolchain/"];

#[tokio::test(flavor = "multi_thread")]
async fn actors_of_the_documents_work() {
    let site = Site::new();
    let host = site.host().start().await;
    for (guest, method, argument, answers) in [
        (guest::DOCS_COUNTER, "increment", json!([5]), [5, 10]),
        (guest::DOCS_GUESTBOOK, "sign", json!(["Ada"]), [1, 2]),
    ] {
        host.deploy(guest).await;
        for expected in answers {
            let answer = host.call(&actor(guest, "a"), method, argument.clone()).await.unwrap();
            assert_eq!(answer, json!({ "ok": expected }), "{}", guest.name);
        }
    }
    host.host.shutdown().await;
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// Blocks of a language that contain `part`.
fn blocks<'t>(text: &'t str, language: &str, part: &str) -> Vec<&'t str> {
    let inside = text.split("```").skip(1).step_by(2);
    let blocks = inside.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    blocks.filter(|block| block.contains(part)).collect()
}

/// A command as it is typed, and what is printed below it.
fn typed(block: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command, String::new())),
            (None, Some((_, printed))) => *printed += &format!("{line}\n"),
            (None, None) => panic!("a block begins with output: {line}"),
        }
    }
    found
}

/// A running program, and a folder as a reader has it: with the built guest at its place.
struct Reader {
    program: Program,
    dir: tempfile::TempDir,
}

impl Reader {
    fn new(guest: Guest) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let built = dir.path().join("target/guest/wasm32-wasip1/guest");
        std::fs::create_dir_all(&built).unwrap();
        let module = guest.core_module().unwrap();
        std::fs::write(built.join(format!("{}.wasm", guest.name)), module).unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        let program = program::path().unwrap();
        std::os::unix::fs::symlink(program, dir.path().join("bin/stockade")).unwrap();
        Self { program: Program::serve(&dir.path().join("data")).unwrap(), dir }
    }

    /// Runs a line in a shell; what it prints.
    fn run(&self, line: &str) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("bash")
            .args(["-euc", line])
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:{path}", self.dir.path().join("bin").display()))
            .env("STOCKADE_SERVER", &self.program.listen)
            .env("STOCKADE_ADMIN", &self.program.admin)
            .env("STOCKADE_ADMIN_TOKEN", ADMIN_TOKEN)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{line}` failed: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn prepares(command: &str) -> bool {
    PREPARES.iter().any(|prepares| command.starts_with(prepares))
}

/// The README from `serve` to the end of its actors. The server is started on ports that are free.
#[test]
fn the_readme_runs_as_it_is_printed() {
    let readme = read("README.md");
    let served = blocks(&readme, "console", "$ stockade serve & sleep 1");
    assert_eq!(served.len(), 2, "the first block, and \"Run it\"");
    for block in served {
        let (mut reader, mut ran) = (Some(Reader::new(guest::COUNTER)), 0);
        for (command, printed) in typed(block) {
            if prepares(command) || command.starts_with("stockade serve & sleep 1") {
                continue;
            }
            if command.starts_with("kill %1") {
                let Reader { program, dir: _dir } = reader.take().expect("ended once");
                program.stop().unwrap();
                continue;
            }
            let found = reader.as_ref().expect("before its end").run(command);
            assert!(printed.is_empty() || found == printed, "`{command}` printed {found}");
            ran += 1;
        }
        assert!(ran >= 2, "{ran} commands of:\n{block}");
    }
}

/// The request of the README, after its first call.
#[test]
fn the_request_of_the_readme_is_answered_as_it_is_printed() {
    let reader = Reader::new(guest::COUNTER);
    reader.run("stockade deploy counter target/guest/wasm32-wasip1/guest/counter.wasm");
    reader.run("stockade call counter/alice increment 5");
    let readme = read("README.md");
    let [block] = blocks(&readme, "console", "$ curl")[..] else { panic!("one request") };
    assert!(
        block.starts_with("$ curl -i -d '[5]'")
            && block.contains("/actors/counter/alice/increment")
    );
    let reply = reader.program.call("counter/alice", "increment", &json!([5])).unwrap();
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(|text| text.parse::<u64>().unwrap())
    };
    assert!(block.contains(&format!("HTTP/1.1 {} ", reply.status)), "{reply:?}");
    assert_eq!(reply.generation, field("stockade-generation"));
    assert_eq!(reply.txid, field("stockade-txid"));
    let printed: Json = serde_json::from_str(block.lines().last().unwrap()).unwrap();
    assert_eq!(reply.body, printed);
    // Its fields, in their order; those that are left out stand as `...`.
    let words = |bill: &str| -> Vec<String> {
        let fields = bill.split(';').map(|field| field.split('=').next().unwrap_or_default());
        fields.filter(|name| *name != "...").map(str::to_owned).collect()
    };
    let bill = block.lines().find_map(|line| line.strip_prefix("stockade-bill: ")).unwrap();
    let (printed, found) = (words(bill), words(&reply.bill.unwrap()));
    assert_eq!(printed[..], found[..printed.len()]);
    reader.program.stop().unwrap();
}

/// READMEs of the examples: the comment of a call says what it answers.
#[test]
fn the_examples_answer_as_their_comments_say() {
    for guest in [guest::COUNTER, guest::LEDGER, guest::REMINDERS] {
        let text = read(&format!("examples/{}/README.md", guest.name));
        let [block] = blocks(&text, "sh", "stockade serve")[..] else { panic!("one block") };
        let (reader, mut answers) = (Reader::new(guest), 0);
        for line in block.lines().filter(|line| !line.is_empty()) {
            if prepares(line) || line.starts_with("stockade serve & sleep 1") {
                continue;
            }
            let found = reader.run(line);
            if let Some((_, comment)) = line.split_once(" # ") {
                assert!(comment.starts_with(found.trim()), "`{line}` printed {found}");
                answers += 1;
            }
        }
        assert!(answers >= 4, "{}", guest.name);
        reader.program.stop().unwrap();
    }
}
