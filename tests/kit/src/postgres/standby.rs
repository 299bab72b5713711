//! Servers that follow another one, and what an operator does with them.
//!
//! ```text
//! primary ── stream ──> standby           each in a folder of its own, with a port and a slot
//!    ✗ kill_all            │ promote
//!                       primary ── stream ──> standby, made again on the port of the former primary
//! ```
//! What is set here stands in a file of the server, which a copy of the server begins with as well.

#![allow(clippy::disallowed_methods, reason = "a test waits on the clock")]

use std::time::{Duration, Instant};

use super::{Place, Server, USER};

/// The longest wait for something that a server does by itself.
const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    /// A copy of this server that follows it under `name`, with a slot of that name, and with the
    /// same settings; on this port, or on a free one. Blocks until the copy answers reads.
    pub fn standby(&self, name: &str, port: Option<u16>) -> Self {
        let place = Place::new();
        let made = place
            .program("pg_basebackup")
            .args(["--no-sync", "--checkpoint=fast", "--wal-method=stream"])
            .args(["--write-recovery-conf", "--create-slot"])
            .arg(format!("--slot={name}"))
            .arg(format!("--dbname={}", way_to(self.port, name)))
            .arg("--pgdata")
            .arg(place.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&made.stderr));
        place.launch(port, self.settings.clone())
    }

    /// Makes a standby a primary. Blocks until it writes.
    pub fn promote(&self) {
        let (mut command, data) = self.program("pg_ctl");
        command.arg("promote").arg("-D").arg(data).args(["-w", "-t", "60"]);
        let done = command.output().unwrap();
        assert!(done.status.success(), "pg_ctl: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Changes a setting that needs no restart. The processes of the server read it some time later.
    pub fn set(&self, name: &str, value: &str) {
        self.sql("postgres", &format!("ALTER SYSTEM SET {name} = '{value}'"));
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// Takes a standby off its primary: when this returns, nothing more arrives.
    pub fn leave(&self) {
        self.set("primary_conninfo", "");
        self.until("SELECT count(*) = 0 FROM pg_stat_wal_receiver");
    }

    /// Has a standby follow this primary from now on, under `name`. Returns when it streams.
    pub fn follow(&self, primary: &Self, name: &str) {
        // The slot is one of the primary that it was copied from.
        self.set("primary_slot_name", "");
        self.set("primary_conninfo", &way_to(primary.port, name));
        self.until("SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'");
    }

    /// How much of the log has arrived at a standby and is on its disk, in bytes from the beginning.
    pub fn received(&self) -> u64 {
        let asked = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::int8";
        self.sql("postgres", asked).parse().unwrap()
    }

    /// Waits until a question of one truth value is answered with yes.
    pub fn until(&self, asked: &str) {
        let begun = Instant::now();
        while self.sql("postgres", asked) != "t" {
            assert!(begun.elapsed() < PATIENCE, "{asked}: never\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Has commits wait for a standby of one of these names, which follows already. Other clients
    /// must be committing. Returns when every commit that was acknowledged before is on the standby,
    /// and every later one waits.
    pub fn wait_for(&self, names: &str) {
        self.set("synchronous_standby_names", names);
        // A commit that waits has seen the setting, and so will those after it.
        self.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
        let end = self.sql("postgres", "SELECT pg_current_wal_lsn()");
        self.until(&format!(
            "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') \
             AND flush_lsn >= '{end}'"
        ));
    }
}

/// The way to a primary, as a standby goes it.
fn way_to(port: u16, name: &str) -> String {
    format!("host=127.0.0.1 port={port} user={USER} application_name={name}")
}
