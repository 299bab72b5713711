//! A PostgreSQL server in a directory of its own, on a free port of the loopback interface.
//!
//! ```text
//! test process ── pipe ── sh ── postgres        the pipe's end, however it comes, is the server's end
//! ```
//! The server refuses to run as root, so shell and server run as an unprivileged user. The shell stops
//! it by the number of its own child, never by one that a file names, and removes the directory. What
//! is removed need not be written: it ends immediately.
//!
//! [`standby`] makes one server a copy of another that follows it, and promotes it.

#![allow(clippy::disallowed_methods, reason = "a test may wait for another process")]

pub mod standby;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where Debian's package has its programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// The role that owns the server.
pub const USER: &str = "stockade";
/// Small, but as durable as any.
const SETTINGS: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "shared_buffers=32MB",
    "max_connections=100",
    "fsync=on",
    "synchronous_commit=on",
    "max_wal_size=256MB",
    "log_min_messages=warning",
    "password_encryption=scram-sha-256",
];
/// Starts `$0` with the arguments behind the first one, which is the directory to remove in the end. A
/// fast shutdown in the middle of a recovery may never end: then it is stopped immediately.
const SUPERVISE: &str = r#"directory=$1; shift
"$0" "$@" </dev/null >>"$directory/log" 2>&1 & pid=$!
echo $pid
read end
if [ "$end" = again ]; then kill -INT $pid; else kill -QUIT $pid; fi 2>/dev/null
(sleep 20; kill -QUIT $pid) </dev/null >/dev/null 2>&1 & dog=$!
wait $pid
kill $dog 2>/dev/null
[ "$end" = again ] || rm -rf "$directory""#;

/// A running server. It ends when this is dropped, and when the process ends.
pub struct Server {
    directory: PathBuf,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    settings: Vec<String>,
    user: Option<(u32, u32)>,
    running: Mutex<Option<(Child, u32)>>,
    databases: AtomicU32,
}

/// A folder for a server that does not run yet.
struct Place {
    directory: PathBuf,
    user: Option<(u32, u32)>,
}

impl Place {
    /// A new folder, which belongs to the user that the server runs as.
    fn new() -> Self {
        assert!(
            Path::new(PROGRAMS).join("postgres").exists(),
            "no server: `make setup` installs Debian's postgresql-15"
        );
        let directory = tempfile::Builder::new().prefix("stockade-pg-").tempdir().unwrap().keep();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(&directory, Some(uid), Some(gid)).unwrap();
        }
        Self { directory, user }
    }

    /// The data directory.
    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// A program of the package, which runs as the server's user.
    fn program(&self, name: &str) -> Command {
        as_user(Command::new(Path::new(PROGRAMS).join(name)), self.user)
    }

    /// Makes an empty data directory.
    fn init(&self) {
        let made = self
            .program("initdb")
            .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust"])
            .arg(format!("--username={USER}"))
            .arg("--pgdata")
            .arg(self.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    }

    /// Makes the user that the server runs as the owner of the data directory.
    fn give_to_user(&self) {
        if let Some((uid, gid)) = self.user {
            let owner = format!("{uid}:{gid}");
            let given = Command::new("chown").args(["-R", &owner]).arg(self.data()).status();
            assert!(given.unwrap().success());
        }
    }

    /// The server of a data directory that is complete: on this port, or on a free one.
    fn launch(self, port: Option<u16>, settings: Vec<String>) -> Server {
        let (running, databases) = (Mutex::default(), AtomicU32::new(0));
        let Self { directory, user } = self;
        let mut server = Server { directory, port: 0, settings, user, running, databases };
        // Another process may take a free port before the server does.
        for _ in 0..5 {
            server.port = port.unwrap_or_else(free_port);
            if server.run() {
                return server;
            }
        }
        panic!("the server does not start: {}", server.log());
    }
}

impl Server {
    /// A new server with more settings, `name=value` each.
    pub fn start(settings: &[&str]) -> Self {
        Self::prepare(settings, |_| {})
    }

    /// The same, whose data directory is shown to `with` first.
    pub fn prepare(settings: &[&str], with: impl FnOnce(&Path)) -> Self {
        let place = Place::new();
        copy(&template(), &place.data());
        with(&place.data());
        place.give_to_user();
        let all = SETTINGS.iter().chain(settings).map(|&setting| setting.to_owned());
        place.launch(None, all.collect())
    }

    /// A program of the package, which runs as the server's user, and the data directory.
    fn program(&self, name: &str) -> (Command, PathBuf) {
        let program = Command::new(Path::new(PROGRAMS).join(name));
        (as_user(program, self.user), self.directory.join("data"))
    }

    /// What it has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Starts the server in its directory. Whether it answers.
    fn run(&self) -> bool {
        let mut command = as_user(Command::new("/bin/sh"), self.user);
        command.arg("-c").arg(SUPERVISE).arg(Path::new(PROGRAMS).join("postgres"));
        command.arg(&self.directory).arg("-D").arg(self.directory.join("data"));
        command.arg("-p").arg(self.port.to_string());
        for setting in &self.settings {
            command.arg("-c").arg(setting);
        }
        // What ends the test's group of processes, like Ctrl-C, leaves the shell to its work.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().unwrap();
        *self.running.lock().unwrap() = Some((shell, pid));
        let answers = self.wait();
        if !answers {
            self.stop();
        }
        answers
    }

    /// Waits until the server answers.
    fn wait(&self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            let port = self.port.to_string();
            let asked = Command::new(Path::new(PROGRAMS).join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .status();
            if asked.unwrap().success() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Stops it fast: it ends its connections. It can be started again.
    pub fn stop(&self) {
        let running = self.running.lock().unwrap().take();
        if let Some((mut shell, _)) = running {
            // The shell may be gone, with the server.
            let _ = shell.stdin.take().unwrap().write_all(b"again\n");
            shell.wait().unwrap();
        }
    }

    /// Ends the server and all of its processes as the loss of its machine does. It can be started
    /// again.
    pub fn kill_all(&self) {
        let running = self.running.lock().unwrap().take();
        let (mut shell, pid) = running.expect("the server runs");
        // While it is stopped none of its processes is waited for, so that no other process gets one
        // of their numbers.
        signal("-STOP", &[pid]);
        while state(pid).is_none_or(|(state, _)| state != 'T') {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut pids = children(pid);
        pids.push(pid);
        signal("-KILL", &pids);
        let _ = shell.stdin.take().unwrap().write_all(b"again\n");
        shell.wait().unwrap();
        // The next process with its number would pass for this server.
        let _ = std::fs::remove_file(self.directory.join("data/postmaster.pid"));
    }

    /// Whether it runs, as far as what was done to it tells.
    pub fn is_running(&self) -> bool {
        self.running.lock().unwrap().is_some()
    }

    /// Starts it again on the same port.
    pub fn again(&self) {
        assert!(self.run(), "the server does not come back: {}", self.log());
    }

    /// Ends a process of the server as a crash does. `pid` is one that the server has reported.
    pub fn kill(&self, pid: i32) {
        signal("-KILL", &[u32::try_from(pid).unwrap()]);
    }

    /// A number that no other database or role of this server has.
    pub fn number(&self) -> u32 {
        self.databases.fetch_add(1, Ordering::Relaxed)
    }

    /// A new, empty database; its name.
    pub fn new_database(&self) -> String {
        let name = format!("d{}", self.number());
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs statements in a database, past every store; the rows, a line each.
    pub fn sql(&self, database: &str, text: &str) -> String {
        let port = self.port.to_string();
        let run = Command::new(Path::new(PROGRAMS).join("psql"))
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"])
            .args(["-p", &port, "-U", USER, "-d", database, "-c", text])
            .output()
            .unwrap();
        assert!(run.status.success(), "{text}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((mut shell, _)) = self.running.lock().unwrap().take() {
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The data directory that servers begin with a copy of, since making one takes a second. It lies
/// beside the program of the tests and is made by the first of them.
fn template() -> PathBuf {
    let template = std::env::current_exe().unwrap().with_file_name("postgresql-15-data");
    if !template.exists() {
        let place = Place::new();
        place.init();
        let made = tempfile::tempdir_in(template.parent().unwrap()).unwrap();
        copy(&place.data(), &made.path().join("data"));
        std::fs::remove_dir_all(&place.directory).unwrap();
        // Another process may have been faster.
        let renamed = std::fs::rename(made.path().join("data"), &template);
        assert!(renamed.is_ok() || template.exists(), "{renamed:?}");
    }
    template
}

/// Copies a directory with all that belongs to it.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// Sends a signal to processes that the caller knows to be there.
fn signal(signal: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let sent = Command::new("/bin/kill").arg(signal).args(pids).status().unwrap();
    assert!(sent.success());
}

/// The state of a process, as the system's letter, and its parent.
fn state(pid: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// The processes that one has started and not waited for.
fn children(of: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| state(*pid).is_some_and(|(_, parent)| parent == of)).collect()
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn as_user(mut command: Command, user: Option<(u32, u32)>) -> Command {
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/");
    command
}

/// The user that the server runs as, if this process is root: `postgres`, or else `nobody`.
fn unprivileged() -> Option<(u32, u32)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    if uids.split_whitespace().nth(1) != Some("0") {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(of("postgres").or_else(|| of("nobody")).expect("no unprivileged user"))
}
