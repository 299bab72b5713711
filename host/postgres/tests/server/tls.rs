//! TLS with an authority of our own.

use std::path::Path;

use stockade_postgres::{AddressError, OpenPgError, Password, PgAddress, PgConfig, PgStores};
use stockade_testkit::owner::Owner;

use crate::kit::Server;
use crate::kit::authority::Authority;
use crate::kit::server::USER;

async fn opened(port: u16, name: &str, host: &str, more: &str) -> Result<PgStores, OpenPgError> {
    let address = format!("postgres://{USER}@{host}:{port}/{name}?{more}");
    PgStores::open(&[PgConfig::new(PgAddress::parse(&address)?, Password::none())]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_proves_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, other) = (directory.path().join("ca.pem"), directory.path().join("other.pem"));
    let issuer = Authority::new(&ours);
    Authority::new(&other);
    let server = Server::prepare(&["ssl=on"], |data| {
        issuer.sign_for(data);
        let rules = "host postgres all 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 trust\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
    });
    let database = server.database().await;
    let open = async |host: &str, more: &str| opened(server.port, &database.name, host, more).await;
    let with = |roots: &Path| format!("sslmode=verify-full&sslrootcert={}", roots.display());
    let store = open("localhost", &with(&ours)).await.unwrap();
    let store: std::sync::Arc<dyn stockade_depot::Store> = std::sync::Arc::new(store);
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let client = crate::kit::server::client(server.port, "postgres").await;
    let asked = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
        WHERE a.application_name = 'stockade' AND s.ssl";
    let secured: i64 = client.query_one(asked, &[]).await.unwrap().get(0);
    assert!(secured >= 1);
    // Another authority, another name, none at all.
    for (host, more) in [
        ("localhost", with(&other)),
        ("127.0.0.1", with(&ours)),
        ("localhost", "sslmode=disable".into()),
    ] {
        let refused = open(host, &more).await.map(drop).unwrap_err();
        assert!(matches!(refused, OpenPgError::Connect { .. }), "{host} {more}: {refused:?}");
    }
    // Any server that answers is believed.
    open("127.0.0.1", "sslmode=require").await.unwrap();
    let missing = open("localhost", &with(&directory.path().join("none.pem"))).await;
    let missing = missing.map(drop).unwrap_err();
    assert!(matches!(missing, OpenPgError::Address(AddressError::Roots { .. })), "{missing:?}");
}
