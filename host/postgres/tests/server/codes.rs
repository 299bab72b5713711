//! Codes that the server refuses with, made by a trigger: the error that the depot gets for each.

use std::sync::Arc;

use stockade_depot::{Store, StoreError};
use stockade_testkit::owner::Owner;
use tokio_postgres::Client;

/// From now on each row of table `page` ends in this code, for `times` statements.
async fn refuse_with(client: &Client, code: &str, times: u32) {
    let text = format!(
        "DROP SEQUENCE IF EXISTS refusals CASCADE; CREATE SEQUENCE refusals;
         CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
           IF nextval('refusals') <= {times} THEN
             RAISE EXCEPTION 'made up' USING ERRCODE = '{code}';
           END IF; RETURN NULL; END $f$;
         CREATE OR REPLACE TRIGGER refuse AFTER INSERT ON page FOR EACH STATEMENT
           EXECUTE FUNCTION refuse();"
    );
    client.batch_execute(&text).await.unwrap();
}

async fn told(store: &Arc<dyn Store>, owner: &Owner) -> Result<(), StoreError> {
    store.commit(owner.commit_step(&[(1, 9)], 1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_code_is_told_as_what_it_means() {
    let (store, database) = crate::store().await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let client = database.client().await;
    for code in ["25006", "53300", "53200", "57014", "55P03", "42501"] {
        refuse_with(&client, code, 100).await;
        let told = told(&store, &owner).await;
        assert!(matches!(told, Err(StoreError::Unavailable(_))), "{code}: {told:?}");
    }
    refuse_with(&client, "40003", 100).await;
    assert!(matches!(told(&store, &owner).await, Err(StoreError::Unknown(_))));
    refuse_with(&client, "XX001", 100).await;
    assert!(matches!(told(&store, &owner).await, Err(StoreError::Corrupt(_))));
    // No room: said, remembered, and forgotten with the first write that is taken.
    assert_eq!(store.full(), None);
    refuse_with(&client, "53100", 1).await;
    let Err(StoreError::Full(full)) = told(&store, &owner).await else {
        panic!("a full disk was not told");
    };
    assert_eq!(store.full(), Some(full));
    owner.commit(&[(1, 2)], 1).await;
    assert_eq!(store.full(), None);
    assert!(owner.verify().await.is_sound());
}

/// Rolled back because of another transaction: no caller learns of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_settled_within() {
    let (store, database) = crate::store().await;
    let mut owner = Owner::create(&store, "a").await;
    let client = database.client().await;
    for code in ["40001", "40P01"] {
        refuse_with(&client, code, 3).await;
        let version = owner.txid.0 + 1;
        owner.commit(&[(1, version)], 1).await;
    }
    refuse_with(&client, "40001", 1000).await;
    assert!(matches!(told(&store, &owner).await, Err(StoreError::Unavailable(_))));
    assert!(owner.verify().await.is_sound());
}
