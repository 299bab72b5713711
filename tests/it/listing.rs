//! Lists of actors: by the beginning of a key, by state, sorted, counted, page by page.

use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::program::{self, Program};

struct Stand {
    program: Program,
    _dir: tempfile::TempDir,
}

impl Stand {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = Program::serve(&dir.path().join("data")).unwrap();
        program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
        program.deploy("other", &guest::COUNTER.wasm().unwrap()).unwrap();
        for actor in ["counter/al", "counter/alice", "counter/am", "counter/ä", "other/alice"] {
            let route = actor.replace('ä', "%C3%A4");
            assert_eq!(program.call(&route, "increment", &json!([1])).unwrap().status, 200);
        }
        Self { program, _dir: dir }
    }

    /// The keys that a command lists, and the whole answer.
    fn list(&self, arguments: &[&str]) -> (String, Json) {
        let fixed = ["--admin", &self.program.admin, "--json", "actors", "list"];
        let (code, out, err) = program::run(&[&fixed[..], arguments].concat()).unwrap();
        assert_eq!(code, 0, "{err}");
        let document: Json = serde_json::from_str(&out).unwrap();
        let actors = document["actors"].as_array().cloned().unwrap_or_default();
        let names = actors.iter().map(|actor| actor["actor"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>().join(" "), document)
    }

    fn status(&self, query: &str) -> u16 {
        self.program.admin_get(&format!("/admin/actors?{query}")).unwrap().status
    }
}

#[test]
fn actors_are_listed_as_asked_for() {
    let stand = Stand::new();
    let names = |arguments: &[&str]| stand.list(arguments).0;
    let all = "counter/al counter/alice counter/am counter/ä other/alice";
    assert_eq!(names(&[]), all);
    // The prefix itself is a key, and not every key after it begins with it.
    assert_eq!(names(&["--kind", "counter", "--prefix", "al"]), "counter/al counter/alice");
    assert_eq!(names(&["--kind", "counter", "--prefix", "ä"]), "counter/ä");
    assert_eq!(names(&["--kind", "counter", "--prefix", "alicf"]), "");
    assert_eq!(
        names(&["--kind", "counter", "--prefix", "al", "--after", "counter/al"]),
        "counter/alice"
    );
    // Pages of one actor, each starting where the one before ended.
    let page = |after: &str| {
        let after = if after.is_empty() { String::new() } else { format!("&after={after}") };
        let route = format!("/admin/actors?kind=counter&prefix=al&limit=1{after}");
        let body = stand.program.admin_get(&route).unwrap().body;
        (body["actors"][0]["key"].clone(), body["next"].clone())
    };
    assert_eq!(page(""), (json!("al"), json!("counter/al")));
    assert_eq!(page("counter/al"), (json!("alice"), json!("counter/alice")));
    assert_eq!(page("counter/alice"), (Json::Null, Json::Null));

    let stopped = stand.program.admin_post("/admin/actors/counter/am/stop", &json!({})).unwrap();
    assert_eq!(stopped.status, 200);
    assert_eq!(names(&["--state", "asleep"]), "counter/am");
    assert_eq!(
        names(&["--state", "awake", "--kind", "counter"]),
        "counter/al counter/alice counter/ä"
    );
    assert_eq!(names(&["--state", "destroying"]), "");

    let count = stand.list(&["--count", "--kind", "counter"]).1;
    assert_eq!((&count["count"], &count["complete"]), (&json!(4), &json!(true)));
    assert!(count["bytes"].as_u64().unwrap() > 0, "{count}");
    assert_eq!(stand.list(&["--count", "--state", "asleep"]).1["count"], 1);

    for (query, status) in [
        ("prefix=al", 400),
        ("state=sleepy", 400),
        ("sort=name", 400),
        ("sort=size&after=counter/al", 400),
        ("count=true&after=counter/al", 400),
        ("kind=counter&prefix=%00", 400),
        ("colour=red", 400),
        ("kind=counter&prefix=", 200),
    ] {
        assert_eq!(stand.status(query), status, "{query}");
    }
    stand.program.stop().unwrap();
}

#[test]
fn the_largest_come_first() {
    let stand = Stand::new();
    for (key, rows) in [("am", 20), ("al", 40)] {
        let sql = format!(
            "CREATE TABLE t (x); WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             INSERT INTO t SELECT randomblob(4000) FROM n"
        );
        let request = json!({"sql": sql, "write": true});
        let route = format!("/admin/actors/counter/{key}/sql");
        assert_eq!(stand.program.admin_post(&route, &request).unwrap().status, 200);
    }
    let (names, document) = stand.list(&["--sort", "size", "--limit", "2"]);
    assert_eq!(names, "counter/al counter/am");
    assert_eq!((&document["count"], &document["complete"]), (&json!(5), &json!(true)));
    let (names, _) = stand.list(&["--sort", "size", "--kind", "other"]);
    assert_eq!(names, "other/alice");
    let (names, _) = stand.list(&["--sort", "txid", "--limit", "1"]);
    assert!(names == "counter/al" || names == "counter/am", "{names}");
    stand.program.stop().unwrap();
}
