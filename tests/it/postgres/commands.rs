//! Commands that work on the store itself, and those that are for a data directory only.

use serde_json::json;
use stockade_tests::program::Program;

use super::{Stage, add, deploy_counter, done, failed, shared};

#[test]
fn commands_without_a_server_work_on_the_store() {
    let stage = Stage::new(shared());
    let address = stage.address();
    let program = stage.serve("one");
    deploy_counter(&program);
    add(&program, "a", 5);
    add(&program, "b", 1);
    let slept = program.admin_post("/admin/actors/counter/a/stop", &json!({})).unwrap();
    assert_eq!(slept.status, 200, "{slept:?}");

    // Beside the program that serves.
    let all = done(&["verify", "--all", "--store", &address]);
    assert_eq!((&all["ok"], all["actors"].as_array().unwrap().len()), (&json!(true), 2), "{all}");
    let one = done(&["verify", "counter/a", "--store", &address]);
    assert_eq!(one["ok"], true, "{one}");
    let file = stage.dir.path().join("a.sqlite");
    let exported = done(&["export", "counter/a", file.to_str().unwrap(), "--store", &address]);
    assert_eq!(exported["integrity_check"], "ok", "{exported}");
    let imported = done(&["import", "counter/c", file.to_str().unwrap(), "--store", &address]);
    assert_eq!(imported["actor"], "counter/c", "{imported}");
    assert_eq!(add(&program, "c", 1), 6);
    let checked = done(&["store", "check", "--store", &address]);
    assert_eq!((&checked["verdict"], &checked["store"]), (&json!("opens"), &json!(stage.name())));
    assert_eq!(checked["processes"][0]["address"], json!(program.listen), "{checked}");
    assert_eq!(checked["processes"][0]["pid"], json!(program.id()), "{checked}");
    program.stop().unwrap();
    let checked = done(&["serve", "--check-store", "--store", &address]);
    assert_eq!(checked["processes"], json!([]), "{checked}");
}

/// A look makes nothing, and neither does a command.
#[test]
fn an_empty_database_is_no_store_before_a_program_serves_it() {
    let stage = Stage::new(shared());
    let address = stage.address();
    for command in [["store", "check"], ["serve", "--check-store"]] {
        let checked = done(&[&command[..], &["--store", &address]].concat());
        assert_eq!((&checked["verdict"], &checked["ok"]), (&json!("empty"), &json!(true)));
    }
    let (code, error) = failed(&["verify", "--all", "--store", &address]);
    assert_eq!((code, &error["code"]), (1, &json!("no-store")), "{error}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(shared().sql(&stage.database, tables), "0");
}

#[test]
fn what_is_for_a_data_directory_says_so() {
    let stage = Stage::new(shared());
    let address = stage.address();
    let usage = |arguments: &[&str], word: &str| {
        let (code, error) = failed(arguments);
        let text = error["message"].as_str().unwrap().to_owned();
        assert!(code == 2 && text.contains(word), "{arguments:?}: {error}");
    };
    let data = stage.data("one");
    let data = data.to_str().unwrap();
    usage(&["serve", "--data-dir", data, "--accept-loss", "--store", &address], "--accept-loss");
    usage(&["verify", "--all", "--repair", "--store", &address], "--repair");
    usage(&["store", "upgrade", "--store", &address], "--data-dir");
    usage(&["store", "check"], "--data-dir");
    usage(&["store", "check", "--data-dir", data, "--store", &address], "--store");
    usage(&["serve", "--data-dir", data, "--store-password-file", "p"], "belongs to --store");

    // A data directory whose program has its store elsewhere holds none.
    stage.serve("one").stop().unwrap();
    let (_, error) = failed(&["verify", "--all", "--data-dir", data]);
    assert!(error["message"].as_str().unwrap().contains("--store"), "{error}");
    // And one that holds a store is not mistaken for the server's.
    Program::serve(&stage.data("two")).unwrap().stop().unwrap();
    let program = stage.serve("two");
    let log = std::fs::read_to_string(program.log()).unwrap();
    assert!(log.contains("the store in the data directory is not used"), "{log}");
}
