//! `stockade sql` for spreadsheets and scripts, and the command line's answers to mistakes.

use serde_json::json;
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
        assert_eq!(program.call("counter/a", "increment", &json!([1])).unwrap().status, 200);
        Self { program, _dir: dir }
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        program::run(&[&["--admin", &self.program.admin], arguments].concat()).unwrap()
    }

    fn sql(&self, format: &str, sql: &str) -> String {
        let (code, out, err) = self.run(&["sql", "counter/a", "--format", format, sql]);
        assert_eq!(code, 0, "{err}");
        out
    }
}

/// Every kind of value, with the cases that are hard to print.
const VALUES: &str = "SELECT NULL AS n, '' AS e, 9007199254740993 AS i, 0.1 + 0.2 AS r, 9e999 AS p, \
     -9e999 AS m, 'a,\"b\"' || char(13, 10) || char(27) || 'ü' AS t, x'00ff' AS b";

#[test]
fn rows_are_csv_as_it_is_defined() {
    let stand = Stand::new();
    let expected = "\"n\",\"e\",\"i\",\"r\",\"p\",\"m\",\"t\",\"b\"\r\n\
                    ,\"\",9007199254740993,0.30000000000000004,inf,-inf,\
                    \"a,\"\"b\"\"\r\n\u{1b}ü\",x'00ff'\r\n";
    assert_eq!(stand.sql("csv", VALUES), expected);
    // A whole blob, not the part that a table shows; without rows there is a header.
    assert_eq!(stand.sql("csv", "SELECT zeroblob(100) AS b").len(), 5 + 203 + 2);
    assert_eq!(stand.sql("csv", "SELECT 1 AS a WHERE 0"), "\"a\"\r\n");
    assert_eq!(stand.sql("csv", "SELECT value FROM counter"), "\"value\"\r\n1\r\n");
    stand.program.stop().unwrap();
}

#[test]
fn rows_are_lines_as_they_are_defined() {
    let stand = Stand::new();
    let expected = "n = NULL\ne = \ni = 9007199254740993\nr = 0.30000000000000004\np = inf\n\
                    m = -inf\nt = a,\"b\"\\r\\n\\u{1b}ü\nb = x'00ff'\n";
    assert_eq!(stand.sql("line", VALUES), expected);
    let two = stand.sql("line", "SELECT 1 AS long_name, 2 AS x UNION ALL SELECT 3, 4");
    assert_eq!(two, "long_name = 1\n        x = 2\n\nlong_name = 3\n        x = 4\n");
    stand.program.stop().unwrap();
}

#[test]
fn slips_are_told_how_it_is_done() {
    let stand = Stand::new();
    let (code, out, _) = stand.run(&["sql", "counter/a", ".tables"]);
    assert!(code == 0 && out.contains("counter"), "{out}");
    let (code, out, _) = stand.run(&["sql", "counter/a", ".schema counter"]);
    assert!(code == 0 && out.contains("CREATE TABLE"), "{out}");
    for (arguments, said) in [
        (&["sql", "counter/a", ".tabels"][..], "no such command"),
        (&["sql", "counter/a", "SELECT 1", "--json", "--format", "csv"], "--format"),
        (&["verify"], "--all"),
        (&["deploy", "Chat", "x"], "kind"),
        (&["describe", "Chat"], "kind"),
        (&["call", "/x", "m"], "kind"),
        (&["actors", "list", "--prefix", "a"], "--kind"),
        (&["serve", "--limit", "cal_time_ms=5"], "did you mean \"call_time_ms\""),
    ] {
        let (code, _, err) = stand.run(arguments);
        assert!(code == 2 && err.contains(said), "{arguments:?}: {code} {err}");
    }
    let component = guest::COUNTER.wasm().unwrap();
    let file = stand._dir.path().join("counter.wasm");
    std::fs::write(&file, component).unwrap();
    let file = file.to_str().unwrap();
    let (code, _, err) = stand.run(&["deploy", "counter", file, "--limit", "row_max=5"]);
    assert!(code == 1 && err.contains("did you mean \"rows_max\"") && err.len() < 200, "{err}");
    let (code, out, _) = stand.run(&["completions", "bash"]);
    assert!(code == 0 && out.contains("complete -F _stockade"), "{out}");
    let (code, out, _) = stand.run(&["man", "sql"]);
    assert!(code == 0 && out.contains(".TH") && out.contains("csv"), "{out}");
    // Each command's own options, not the common ones.
    let (code, out, _) = stand.run(&["sql", "--help"]);
    assert!(code == 0 && out.contains("stockade --help"), "{out}");
    assert!(!out.contains("Where to reach actors"), "{out}");
    stand.program.stop().unwrap();
}
