//! Lists and moves that are refused, with what to do.

use serde_json::json;
use stockade_testkit::postgres::{USER, free_port};
use stockade_tests::program::run;

use super::{NAMES, Primaries, add, deploy_counter, keys_in, other};

/// The end of the log of a start that is refused.
fn refused(primaries: &Primaries, names: &[&str]) -> String {
    primaries.serve("refused", names).map(drop).expect_err("refused").to_string()
}

#[test]
fn a_node_that_lacks_a_primary_is_refused_with_what_to_do() {
    let primaries = Primaries::new();
    primaries.serve("one", &NAMES).unwrap().stop().unwrap();
    for missing in NAMES {
        let why = refused(&primaries, &[other(missing)]);
        assert!(why.contains(missing) && why.contains("--store"), "{why}");
    }
    // And is served with the whole list.
    primaries.serve("one", &NAMES).unwrap().stop().unwrap();
}

/// A node that was started before the second primary was there: its actors are served, those that
/// have moved away are not, and it says why.
#[test]
fn a_node_of_before_says_which_primary_it_needs() {
    let primaries = Primaries::new();
    let former = primaries.serve("former", &["east"]).unwrap();
    deploy_counter(&former);
    let [moves, stays] = [9, 10].map(|shard| keys_in(shard, 1).remove(0));
    for key in [&moves, &stays] {
        assert_eq!(add(&former, key, 1), 1);
    }
    let later = primaries.serve("later", &NAMES).unwrap();
    primaries.done(&["store", "move-shard", "9", "--to", "west"]);
    // The first call may be the one that meets the lost fence.
    let asked = || former.call(&format!("counter/{moves}"), "get", &json!([])).unwrap();
    let answer = [asked(), asked()].into_iter().find(|it| it.body.to_string().contains("--store"));
    let answer = answer.unwrap_or_else(|| panic!("{:?}", asked()));
    let text = answer.body["message"].as_str().unwrap();
    assert!(text.contains("west") && answer.status == 503, "{answer:?}");
    assert_eq!(answer.body["retry"], "retry", "{answer:?}");
    assert_eq!(add(&former, &stays, 1), 2);
    assert_eq!(add(&later, &moves, 1), 2);
    let why = refused(&primaries, &["east"]);
    assert!(why.contains("west") && why.contains("--store"), "{why}");
    former.stop().unwrap();
    later.stop().unwrap();
}

#[test]
fn lists_that_are_no_store_are_refused() {
    let primaries = Primaries::new();
    primaries.serve("one", &NAMES).unwrap().stop().unwrap();
    let [east, west] = NAMES.map(|name| primaries.address(name));
    let strange = format!(
        "postgres://{USER}@127.0.0.1:{}/{}?sslmode=disable&name=north",
        primaries.server.port,
        primaries.server.new_database()
    );
    let alone = ["store", "shards"];
    for (addresses, word) in [
        // Without a name, and with one that is not recorded.
        (vec![east.replace("&name=east", ""), west.clone()], "name"),
        (vec![east.replace("name=east", "name=south"), west.clone()], "south"),
        (vec![east.clone(), west.replace("name=west", "name=east")], "east"),
        (vec![east.replace("name=east", "name=No_Name"), west.clone()], "name"),
    ] {
        let flags: Vec<&str> = addresses.iter().flat_map(|it| ["--store", it]).collect();
        let (code, out, err) = run(&[&alone[..], &flags].concat()).unwrap();
        assert!(code != 0 && err.contains(word), "{addresses:?}: {out}{err}");
    }
    // A primary that holds another store.
    let other_store = stockade_tests::program::Program::serve_with(
        &primaries.data("other"),
        &["--store", &strange],
    );
    other_store.unwrap().stop().unwrap();
    let flags = ["--store", &east, "--store", &west, "--store", &strange];
    let (code, out, err) = run(&[&alone[..], &flags].concat()).unwrap();
    assert!(code == 1 && err.contains("another store"), "{out}{err}");
}

#[test]
fn a_move_that_cannot_be_done_says_why() {
    let primaries = Primaries::new();
    let program = primaries.serve("one", &NAMES).unwrap();
    let check = |arguments: &[&str], exit: i32, code: &str, retry: &str, word: &str| {
        let (found, error) = primaries.failed(&[&["store", "move-shard"], arguments].concat());
        assert_eq!((found, &error["code"]), (exit, &json!(code)), "{arguments:?}: {error}");
        assert_eq!(error["retry"], json!(retry), "{error}");
        let text = error["message"].as_str().unwrap();
        assert!(text.contains(word), "{arguments:?}: {text}");
    };
    check(&["256", "--to", "west"], 2, "usage", "fix", "256");
    check(&["7"], 2, "usage", "fix", "--to");
    check(&["7", "--to", "north"], 1, "not-moved", "fix", "north");
    // It is there already: nothing is done, and that is well.
    let keeper = primaries.keeper(7);
    let moved = primaries.done(&["store", "move-shard", "7", "--to", keeper]);
    assert_eq!((&moved["was_there"], &moved["databases"]), (&json!(true), &json!(0)), "{moved}");
    let (_, text, _) = primaries.run(&["store", "move-shard", "7", "--to", keeper]);
    assert!(text.contains("already"), "{text}");

    // Another store than one with primaries.
    let data = primaries.data("two");
    let data = data.to_str().unwrap();
    for arguments in [
        &["store", "shards"][..],
        &["store", "move-shard", "7", "--to", "west"],
        &["store", "shards", "--store", "stockade://127.0.0.1:1"],
    ] {
        let (code, error) = super::super::failed(arguments);
        assert_eq!((code, &error["code"]), (2, &json!("usage")), "{error}");
    }
    let (code, _) = super::super::failed(&["store", "shards", "--data-dir", data]);
    assert_eq!(code, 2);

    // A primary that is away.
    let gone = primaries
        .address("west")
        .replace(&format!(":{}/", primaries.server.port), &format!(":{}/", free_port()));
    let east = primaries.address("east");
    let arguments =
        ["store", "move-shard", "7", "--to", "west", "--store", &east, "--store", &gone];
    let (code, error) = super::super::failed(&arguments);
    assert_eq!((code, &error["code"], &error["retry"]), (1, &json!("no-store"), &json!("retry")));
    program.stop().unwrap();
}
