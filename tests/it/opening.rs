//! A program that was killed and whose log is then damaged: the store is refused with the known
//! loss, and starts only when an operator accepts that.

use std::path::Path;

use serde_json::json;
use stockade_tests::guest;
use stockade_tests::program::{self, Program};

/// Bytes of a log's header, and of a frame with its page.
const HEADER: usize = 32;
const FRAME: usize = 24 + 2048;
/// Deposits of an actor.
const DEPOSITS: u64 = 20;

fn total(program: &Program, actor: &str) -> Option<u64> {
    let answer = program.call(actor, "total", &json!([])).unwrap();
    (answer.status == 200).then(|| answer.body["ok"][1].as_u64().unwrap())
}

fn serve(data: &Path, more: &[&str]) -> (i32, String) {
    let data = data.to_str().unwrap();
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir", data];
    let (code, _, err) = program::run(&[&fixed[..], more].concat()).unwrap();
    (code, err)
}

#[test]
fn a_damaged_log_is_refused_until_the_loss_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve(&data).unwrap();
    program.deploy("ledger", &guest::LEDGER.wasm().unwrap()).unwrap();
    let actors: Vec<String> = (0..6).map(|n| format!("ledger/{n}")).collect();
    for actor in &actors {
        for name in ["bank", "till"] {
            program.call(actor, "open", &json!([name])).unwrap();
        }
    }
    for _ in 0..DEPOSITS {
        for actor in &actors {
            let answer = program.call(actor, "deposit", &json!(["bank", 1])).unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    program.kill().unwrap();

    let path = data.join("store").join("shard-00.db-wal");
    let mut log = std::fs::read(&path).unwrap();
    let salts = log[16..24].to_vec();
    let frames = log[HEADER..].chunks_exact(FRAME).take_while(|frame| frame[8..16] == salts);
    let middle = frames.count() / 2;
    log[HEADER + middle * FRAME + 500] ^= 0x10;
    std::fs::write(&path, &log).unwrap();

    let (code, said) = serve(&data, &[]);
    assert_eq!(code, 1, "{said}");
    let due = format!("shard-00.db-wal is damaged at frame {}", middle + 1);
    assert!(said.contains(&due) && said.contains("--accept-loss"), "{said}");
    let (_, said_again) = serve(&data, &[]);
    assert!(said_again.contains(&due), "it is refused as long as it is damaged: {said_again}");

    let program = Program::serve_with(&data, &["--accept-loss"]).unwrap();
    let found: Vec<_> = actors.iter().map(|actor| total(&program, actor)).collect();
    assert!(found.contains(&Some(DEPOSITS)), "the other shard lost nothing: {found:?}");
    assert!(found.iter().any(|total| *total != Some(DEPOSITS)), "nothing was lost: {found:?}");
    assert!(program.autopsy().contains("loss accepted"), "{}", program.autopsy());
    program.kill().unwrap();
    assert!(data.join("store").join("shard-00.db-wal.damaged-1").exists());

    // From then on the store is like any other.
    let program = Program::serve(&data).unwrap();
    let again: Vec<_> = actors.iter().map(|actor| total(&program, actor)).collect();
    assert_eq!(again, found);
    program.stop().unwrap();
}
