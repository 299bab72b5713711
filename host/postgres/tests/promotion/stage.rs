//! Three servers, of which one writes.

use std::sync::Arc;

use stockade_depot::Store;
use stockade_postgres::{Password, PgAddress, PgConfig, PgStores};

use crate::kit::authority::Authority;
use crate::kit::server::USER;

/// Each commit is on one more server than the one that writes.
const QUORUM: &str = "ANY 1 (s0, s1, s2)";
const RULES: &str = "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n";

/// The servers, and how stores find them.
pub(crate) struct Stage {
    servers: Vec<stockade_testkit::postgres::Server>,
    primary: usize,
    database: String,
    directory: tempfile::TempDir,
}

fn name(at: usize) -> String {
    format!("s{at}")
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let issuer = Authority::new(&directory.path().join("ca.pem"));
        let settings = ["ssl=on", "wal_retrieve_retry_interval=200ms", "max_wal_senders=10"];
        let primary = stockade_testkit::postgres::Server::prepare(&settings, |data| {
            issuer.sign_for(data);
            std::fs::write(data.join("pg_hba.conf"), RULES).unwrap();
        });
        let database = primary.new_database();
        let standbys = [primary.standby(&name(1), None), primary.standby(&name(2), None)];
        let mut servers = vec![primary];
        servers.extend(standbys);
        let stage = Self { servers, primary: 0, database, directory };
        let primary = &stage.servers[0];
        primary.set("synchronous_standby_names", QUORUM);
        primary.until("SELECT count(*) = 2 FROM pg_stat_replication WHERE sync_state = 'quorum'");
        stage
    }

    /// A store whose address names all servers.
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        let hosts: Vec<String> =
            self.servers.iter().map(|server| format!("localhost:{}", server.port)).collect();
        let address = format!(
            "postgres://{USER}@{}/{}?sslmode=verify-full&sslrootcert={}&standby=yes",
            hosts.join(","),
            self.database,
            self.directory.path().join("ca.pem").display()
        );
        let mut config = PgConfig::new(PgAddress::parse(&address).unwrap(), Password::none());
        // One, so that its groups are large.
        config.committers = 1;
        Arc::new(PgStores::open(std::slice::from_ref(&config)).await.unwrap())
    }

    fn standbys(&self) -> [usize; 2] {
        [(self.primary + 1) % 3, (self.primary + 2) % 3]
    }

    /// Takes one of the standbys off the primary: from now on the other one has what it lacks.
    pub(crate) fn lag(&self) -> usize {
        let [lagging, _] = self.standbys();
        self.servers[lagging].leave();
        lagging
    }

    /// Ends the primary as the loss of its machine does.
    pub(crate) fn kill(&self) {
        self.servers[self.primary].kill_all();
    }

    /// What an operator does: takes both standbys off the old primary, promotes the one with more of
    /// the log, and has the other one follow it. No commit is acknowledged before that one does.
    pub(crate) fn promote(&mut self) {
        let [one, other] = self.standbys();
        self.servers[other].leave();
        let received = |at: usize| self.servers[at].received();
        let (chosen, left) =
            if received(one) > received(other) { (one, other) } else { (other, one) };
        self.servers[chosen].set("synchronous_standby_names", QUORUM);
        self.servers[chosen].promote();
        self.servers[left].follow(&self.servers[chosen], &name(left));
        self.primary = chosen;
    }

    /// Makes a standby of the new primary in the place of the killed one.
    pub(crate) fn come_back(&mut self) {
        let gone = (0..3).find(|at| !self.servers[*at].is_running()).expect("one was killed");
        let port = self.servers[gone].port;
        let standby = self.servers[self.primary].standby(&name(gone), Some(port));
        self.servers[gone] = standby;
        let both = "SELECT count(*) = 2 FROM pg_stat_replication WHERE sync_state = 'quorum'";
        self.servers[self.primary].until(both);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (at, server) in self.servers.iter().enumerate() {
                println!("server {at}: {}", server.log());
            }
        }
    }
}
