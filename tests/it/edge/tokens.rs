//! Two tokens: where they are, what they open, and how a start ends that cannot use one.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use stockade_tests::program::{self, Program};

use super::refused;

/// No token in the environment.
fn none() -> (&'static str, &'static Path) {
    ("STOCKADE_ADMIN_TOKEN", Path::new(""))
}

#[test]
fn the_first_start_makes_a_token_that_the_command_line_finds() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve_in(&data, &[], &[none()]).unwrap();
    let file = data.join("admin-token");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let token = std::fs::read_to_string(&file).unwrap();
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", program.id())).unwrap();
    let log = std::fs::read_to_string(program.log()).unwrap();
    assert!(!line.contains(token.trim()) && !log.contains(token.trim()), "told by nobody");

    let here = ("STOCKADE_DATA_DIR", data.as_path());
    let list = ["--admin", &program.admin, "actors", "list"];
    assert_eq!(program::run_in(&list, &[none(), here]).unwrap().0, 0);
    // Without a token the message says where to find it.
    let elsewhere = ("STOCKADE_DATA_DIR", dir.path());
    let (exit, code, words) = refused(&list, &[none(), elsewhere]);
    assert_eq!((exit, code.as_str()), (1, "request.unauthorized"));
    for way in ["STOCKADE_DATA_DIR", "--admin-token-file", &file.display().to_string()] {
        assert!(words.contains(way), "{way}: {words}");
    }
    let given = file.display().to_string();
    let given: Vec<&str> = list.iter().copied().chain(["--admin-token-file", &given]).collect();
    assert_eq!(program::run_in(&given, &[none(), elsewhere]).unwrap().0, 0);
    program.stop().unwrap();

    // The token stays the same, and no other user can read it.
    let program = Program::serve_in(&data, &[], &[none()]).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
    program.stop().unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let (exit, _, words) = refused(&serve, &[none(), here]);
    assert_eq!(exit, 1);
    assert!(words.contains("others can read") && words.contains("admin-token"), "{words}");
}

#[test]
fn callers_may_call_and_operators_may_do_all() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let callers = write("callers", "the-token-of-callers\n");
    let data = dir.path().join("data");
    let program = Program::serve_with(&data, &["--token-file", &callers]).unwrap();
    let (server, admin) = (program.listen.as_str(), program.admin.as_str());
    let call = ["--server", server, "call", "nothing/x", "run"];
    let list = ["--admin", admin, "actors", "list"];
    let none = [none()];
    // The environment of `run` has the operators' token.
    assert_eq!(refused(&call, &[]).1, "request.kind-missing");
    assert_eq!(program::run(&list).unwrap().0, 0);
    assert_eq!(refused(&call, &none).1, "request.unauthorized");
    let called: Vec<&str> = call.iter().copied().chain(["--token-file", &callers]).collect();
    assert_eq!(refused(&called, &none).1, "request.kind-missing");
    // A caller's token at the operators' listener.
    let listed: Vec<&str> = list.iter().copied().chain(["--admin-token-file", &callers]).collect();
    let (exit, code, _) = refused(&listed, &none);
    assert_eq!((exit, code.as_str()), (1, "request.forbidden"));
    // Probes need no token.
    for address in [server, admin] {
        let probe = "GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        assert!(super::raw(address, probe).starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn a_start_that_cannot_use_what_it_is_given_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (short, good) = (write("short", "short"), write("good", "0123456789abcdef"));
    let data = dir.path().join("data").display().to_string();
    for (flags, exit, named) in [
        (&["--token-file", "/nowhere/token"][..], 1, "/nowhere/token"),
        (&["--token-file", &short], 2, "16 to 1024"),
        (&["--admin-token-file", &short], 2, "16 to 1024"),
        (&["--token-file", &good, "--admin-token-file", &good], 2, "same token"),
        (&["--listen", "0.0.0.0:0"], 2, "--token-file"),
        (&["--tls-cert", &good], 2, "--tls-key"),
        (&["--tls-key", &good], 2, "--tls-cert"),
        (&["--tls-cert", "/nowhere/chain", "--tls-key", &good], 1, "/nowhere/chain"),
        (&["--tls-cert", &good, "--tls-key", &good], 1, "BEGIN CERTIFICATE"),
        (&["--allow-origin", "*"], 2, "https://app.example"),
        (&["--allow-origin", "app.example"], 2, "--allow-origin"),
        (&["--allow-host", "https://chat.example"], 2, "--allow-host"),
    ] {
        let mut line = vec!["serve", "--data-dir", &data, "--admin", "127.0.0.1:0"];
        if !flags.contains(&"--listen") {
            line.extend(["--listen", "127.0.0.1:0"]);
        }
        line.extend(flags);
        let (found, _, words) = refused(&line, &[]);
        assert_eq!(found, exit, "{flags:?}: {words}");
        assert!(words.contains(named), "{flags:?}: {words}");
    }
}
