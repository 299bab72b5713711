//! Opening: schemas of other programs, programs that start together, servers that do not write, passwords.

use stockade_depot::store::NodeBeat;
use stockade_depot::{NodeSession, Store, StoreError};
use stockade_postgres::{OpenPgError, Password, PgAddress, PgConfig, PgStores, SCHEMA_VERSION};
use stockade_testkit::owner::Owner;

use crate::kit::{self, Server, config};
use crate::open;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_start_at_once_make_one_schema() {
    for _ in 0..3 {
        let database = kit::server().database().await;
        let starts: Vec<_> = (0..6_u8)
            .map(|n| {
                let mut config = config(&database, "");
                config.shards = u16::from(n) + 1;
                tokio::spawn(
                    async move { PgStores::open(std::slice::from_ref(&config)).await.unwrap() },
                )
            })
            .collect();
        let mut shards = Vec::new();
        for start in starts {
            let store = start.await.unwrap();
            shards.push(store.shards());
        }
        assert!(shards.windows(2).all(|pair| pair[0] == pair[1]), "{shards:?}");
        let client = database.client().await;
        let row = client.query_one("SELECT count(*) FROM stockade_schema", &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_was_cut_off_is_finished_by_the_next() {
    let database = kit::server().database().await;
    drop(open(&config(&database, "")).await);
    let client = database.client().await;
    client.batch_execute("DELETE FROM stockade_schema; DROP TABLE pin, kind").await.unwrap();
    let store = open(&config(&database, "")).await;
    let owner = Owner::create(&store, "a").await;
    store.pin(owner.fence.db, owner.txid, "p").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_refused_with_the_program_to_run() {
    let (store, database) = crate::store().await;
    let shards = store.shards();
    let client = database.client().await;
    client
        .batch_execute("UPDATE stockade_schema SET version = 7, program = '9.9.0'")
        .await
        .unwrap();
    let refused = PgStores::open(&[config(&database, "")]).await.map(drop).unwrap_err();
    assert!(matches!(&refused, OpenPgError::Newer { found: 7, .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains("run stockade 9.9.0 or a later one"), "{text}");
    client.batch_execute("UPDATE stockade_schema SET version = 0").await.unwrap();
    let damaged = PgStores::open(&[config(&database, "")]).await.map(drop).unwrap_err();
    assert!(matches!(damaged, OpenPgError::Damaged), "{damaged:?}");
    let ours = format!("UPDATE stockade_schema SET version = {SCHEMA_VERSION}");
    client.batch_execute(&ours).await.unwrap();
    let mut other = config(&database, "");
    other.shards = 5;
    assert_eq!(open(&other).await.shards(), shards, "a store keeps what it was made with");
}

/// A program of version 1 that runs when this one starts keeps its row, and the row reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_version_1_is_converted_beside_its_programs() {
    let database = kit::server().database().await;
    drop(open(&config(&database, "")).await);
    let client = database.client().await;
    let columns = ["peers", "draining", "awake", "awake_max", "bytes", "bytes_max", "cpu"];
    let drops: Vec<String> =
        columns.iter().map(|column| format!("ALTER TABLE node DROP COLUMN {column}")).collect();
    let former = format!("{}; UPDATE stockade_schema SET version = 1", drops.join("; "));
    client.batch_execute(&former).await.unwrap();
    let insert = "INSERT INTO node (session, address, counter, pid, version, format_min, \
        format_max) VALUES ($1, 'there:1', 4, 7, '0.2.0', 1, 1)";
    client.execute(insert, &[&vec![9_u8; 16]]).await.unwrap();
    let store = open(&config(&database, "")).await;
    let row = client.query_one("SELECT version FROM stockade_schema", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), i64::from(SCHEMA_VERSION));
    let nodes = store.nodes().await.unwrap();
    assert_eq!((nodes[0].address.as_str(), nodes[0].counter), ("there:1", 4));
    assert_eq!((&nodes[0].peers, nodes[0].draining, nodes[0].load), (&None, false, None));
    store.node_beat(NodeSession([1; 16]), &NodeBeat::at("here:1")).await.unwrap();
    let nodes = store.nodes().await.unwrap();
    assert!(nodes[0].load.is_some() && nodes[1].load.is_none(), "{nodes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_only_reads_is_refused() {
    let database = kit::server().database().await;
    let options = "&options=-c%20default_transaction_read_only%3Don";
    let refused = PgStores::open(&[config(&database, options)]).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenPgError::Connect { .. }), "{refused:?}");
    // Of several servers the one that writes is found, behind one that is not there
    // and one that accepts and says nothing.
    let gone = stockade_testkit::postgres::free_port();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = silent.local_addr().unwrap().port();
    let (user, name, port) = (kit::server::USER, &database.name, database.port);
    let several = format!(
        "postgres://{user}@127.0.0.1:{gone},127.0.0.1:{mute},127.0.0.1:{port}/{name}?sslmode=disable"
    );
    let config = PgConfig::new(PgAddress::parse(&several).unwrap(), Password::none());
    let store = open(&config).await;
    Owner::create(&store, "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_connection_left_is_unavailable() {
    let server = Server::start(&["max_connections=8", "superuser_reserved_connections=0"]);
    let database = server.database().await;
    let mut config = config(&database, "");
    config.committers = 1;
    let store = open(&config).await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let mut others = Vec::new();
    let address = |user| format!("postgres://{user}@127.0.0.1:{}/{}", server.port, database.name);
    while let Ok((client, connection)) =
        tokio_postgres::connect(&address(kit::server::USER), tokio_postgres::NoTls).await
    {
        tokio::spawn(connection);
        others.push(client);
    }
    let reads = (0..4).map(|_| owner.read_one(1, 1));
    let told = futures_join(reads).await;
    assert!(told.iter().any(|told| matches!(told, Err(StoreError::Unavailable(_)))), "{told:?}");
    assert!(told.iter().any(Result::is_ok), "one connection is ours");
    drop(others);
}

async fn futures_join<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(all).await
}

/// The password is asked for, from a file, and stands in no text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_proved_and_never_shown() {
    let server = Server::prepare(&[], |data| {
        let rules =
            "host all stockade 127.0.0.1/32 trust\nhost all app 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
    });
    let database = server.database().await;
    let client = database.client().await;
    client
        .batch_execute(
            "CREATE ROLE app LOGIN PASSWORD 'pa55 w0rd'; GRANT ALL ON SCHEMA public TO app",
        )
        .await
        .unwrap();
    let address =
        format!("postgres://app@127.0.0.1:{}/{}?sslmode=disable", server.port, database.name);
    let address = PgAddress::parse(&address).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "pa55 w0rd\n").unwrap();
    let config = PgConfig::new(address.clone(), Password::from_file(file.path()).unwrap());
    let store = PgStores::open(std::slice::from_ref(&config)).await.unwrap();
    assert!(!format!("{config:?} {store:?} {address}").contains("pa55"));
    std::fs::write(file.path(), "wr0ng").unwrap();
    for password in [Password::from_file(file.path()).unwrap(), Password::none()] {
        let refused = PgStores::open(&[PgConfig::new(address.clone(), password)]).await;
        let refused = refused.map(drop).unwrap_err();
        let text = format!("{refused} {refused:?}");
        assert!(matches!(refused, OpenPgError::Connect { .. }), "{text}");
        assert!(!text.contains("wr0ng") && !text.contains("pa55"), "{text}");
    }
    assert!(!server.log().contains("pa55"));
}
