//! Who may speak: a certificate of the authority with the name of a store, or the token. Nothing else,
//! and nothing before it.

use std::sync::Arc;

use stockade_remote::{
    ClientKeys, KeysError, OpenRemoteError, RefusalCode, RemoteConfig, RemoteStore, ServeConfig,
    StoreToken,
};
use stockade_testkit::owner::Owner;

use crate::kit::{self, Keys};
use crate::{embedded, served};

const TOKEN: &str = "the-token-of-this-store";
/// What the authority signs for something else.
const OTHER_NAME: &str = "peer.stockade.internal";

async fn refused(config: RemoteConfig) -> OpenRemoteError {
    RemoteStore::open(config).await.map(|_| ()).expect_err("refused")
}

fn is_access(error: &OpenRemoteError, words: &str) {
    match error {
        OpenRemoteError::Refused { refusal, .. } => {
            assert_eq!(refusal.code, RefusalCode::Access, "{error}");
            assert!(refusal.reason.contains(words), "{error}");
            assert!(!error.to_string().contains(TOKEN), "{error}");
        }
        OpenRemoteError::Connect { .. } => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_the_authority_with_the_name_of_a_store_opens_it() {
    let served = served().await;
    let port = served.server.address().port();
    let store = kit::open(served.config()).await;
    Owner::create(&store, "a").await.commit(&[(1, 1)], 1).await;

    // Without a certificate: TLS ends it.
    let error = refused(kit::at(port, served.keys.stranger())).await;
    assert!(matches!(error, OpenRemoteError::Connect { .. }), "{error}");
    // One of another authority, on either side.
    let other = Keys::new();
    let error = refused(kit::at(port, other.client())).await;
    assert!(matches!(error, OpenRemoteError::Connect { .. }), "{error}");
    let (certificate, key) = other.sign("foreign", stockade_remote::STORE_NAME);
    let foreign = ClientKeys::read(&served.keys.authority(), Some((&certificate, &key))).unwrap();
    let error = refused(kit::at(port, foreign)).await;
    assert!(matches!(error, OpenRemoteError::Connect { .. }), "{error}");
    // One of the same authority for something else is not even read.
    let (certificate, key) = served.keys.sign("peer", OTHER_NAME);
    let peer = ClientKeys::read(&served.keys.authority(), Some((&certificate, &key)));
    assert!(matches!(peer, Err(KeysError::NoStore(_))), "{peer:?}");
    // A client that shows it all the same is refused before its first step.
    let client = kit::raw::Client::named(served.server.address(), &served.keys, OTHER_NAME).await;
    let answer = client.greet(&[1, 2], None).await;
    assert!(answer.is_err_and(|why| why.contains("lacks the name")));
    // And a token is none that this store takes.
    let mut config = kit::at(port, served.keys.client());
    config.token = Some(StoreToken::new(TOKEN).unwrap());
    kit::open(config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_a_store_that_takes_it() {
    let keys = Keys::new();
    let mut config = ServeConfig::new(keys.server(false));
    config.token = Some(StoreToken::new(TOKEN).unwrap());
    let server = kit::serve(embedded(), &config, 0).await;
    let at = |token: Option<&str>| {
        let mut config = kit::at(server.address().port(), keys.stranger());
        config.token = token.map(|token| StoreToken::new(token).unwrap());
        config
    };
    let store = kit::open(at(Some(TOKEN))).await;
    Owner::create(&store, "a").await.commit(&[(1, 1)], 1).await;
    is_access(&refused(at(Some("another-token-than-that"))).await, "another one");
    is_access(&refused(at(None)).await, "neither a certificate");
    // A certificate is enough, whatever the token.
    let mut certified = kit::at(server.address().port(), keys.client());
    certified.token = Some(StoreToken::new("another-token-than-that").unwrap());
    kit::open(certified).await;
    drop(Arc::clone(&store));
}

/// A server whose certificate is of another authority, or for something else, is not believed, and gets
/// no token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_proves_that_it_serves_a_store() {
    let (keys, other) = (Keys::new(), Keys::new());
    let config = ServeConfig::new(other.server(false));
    let server = kit::serve(embedded(), &config, 0).await;
    let mut asked = kit::at(server.address().port(), keys.stranger());
    asked.token = Some(StoreToken::new(TOKEN).unwrap());
    let error = refused(asked.clone()).await;
    assert!(matches!(error, OpenRemoteError::Connect { .. }), "{error}");
    let answers =
        kit::raw::Answers { accepted: kit::raw::proto::Accepted::default(), replies: vec![] };
    let server = kit::raw::Server::named(&keys, OTHER_NAME, answers.clone()).await;
    asked.address = kit::at(server.port, keys.stranger()).address;
    let error = refused(asked.clone()).await;
    assert!(matches!(error, OpenRemoteError::Connect { .. }), "{error}");
    // With the name it would be asked.
    let server = kit::raw::Server::start(&keys, answers).await;
    asked.address = kit::at(server.port, keys.stranger()).address;
    let error = refused(asked).await;
    assert!(matches!(error, OpenRemoteError::Refused { .. }), "{error}");
}

/// Steps before a greeting was accepted are refused: TLS alone opens nothing where tokens are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_an_accepted_greeting_has_no_step() {
    let keys = Keys::new();
    let mut config = ServeConfig::new(keys.server(false));
    config.token = Some(StoreToken::new(TOKEN).unwrap());
    let server = kit::serve(embedded(), &config, 0).await;
    let client = kit::raw::Client::connect(server.address(), &keys).await;
    let answer = client.step(&kit::raw::request(1, 37, 0, &[])).await;
    assert!(answer.is_err_and(|why| why.contains("no greeting")));
    let answer = client.greet(&[1, 2], Some("another-token-than-that")).await;
    assert!(answer.is_err_and(|why| why.contains("another one")));
    let answer = client.step(&kit::raw::request(1, 37, 0, &[])).await;
    assert!(answer.is_err_and(|why| why.contains("no greeting")));
    assert_eq!(client.greet(&[1, 2], Some(TOKEN)).await, Ok(2));
    client.step(&kit::raw::request(2, 37, 0, &[])).await.unwrap();
}
