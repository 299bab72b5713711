//! The actors in the documents work as printed.

use serde_json::json;
use stockade_tests::guest;
use stockade_tests::host::{Site, actor};

#[tokio::test(flavor = "multi_thread")]
async fn actors_of_the_documents_work() {
    let site = Site::new();
    let host = site.host().start().await;
    for (guest, method, argument, answers) in [
        (guest::DOCS_COUNTER, "increment", json!([5]), [5, 10]),
        (guest::DOCS_GUESTBOOK, "sign", json!(["Ada"]), [1, 2]),
    ] {
        host.deploy(guest).await;
        for expected in answers {
            let answer = host.call(&actor(guest, "a"), method, argument.clone()).await.unwrap();
            assert_eq!(answer, json!({ "ok": expected }), "{}", guest.name);
        }
    }
    host.host.shutdown().await;
}
