//! How errors leave the process.

use std::sync::Arc;

use serde_json::json;
use stockade_depot::{ActorId, HeadFenceMismatch, Reason, StoreError, StoreFull};

use super::body::MESSAGE_BYTES_MAX;
use super::call::word;
use super::*;
use crate::sqlite::{Exhausted, SqlError};

fn trapped(verdict: Option<Verdict>) -> CallError {
    let crash = Crash::of("unreachable", Retry::Fix).told("panicked: boom", "0x1 - a!boom");
    CallError::new(HostError::Trapped { crash: Arc::new(crash) }, verdict)
}

#[test]
fn what_a_guest_said_leaves_for_its_authors_alone() {
    let error = trapped(None);
    assert!(!serde_json::to_string(&error.body()).expect("serializes").contains("boom"));
    let body = error.body_for_authors();
    assert_eq!((body.code.as_str(), body.retry), ("trapped", Retry::Fix));
    assert_eq!(
        body.details,
        json!({ "last_words": "panicked: boom", "backtrace": "0x1 - a!boom" })
    );
}

#[test]
fn advice_is_the_crashs_only_if_nothing_was_handed_over() {
    assert_eq!(trapped(None).retry(), Retry::Fix);
    for verdict in [Verdict::Committed, Verdict::NotCommitted, Verdict::Indeterminate] {
        let body = trapped(Some(verdict)).body();
        assert_eq!(body.retry, Retry::UnknownOutcome);
        assert_eq!(body.details["verdict"], word(verdict));
    }
}

/// Every error that a call can end with after it has begun.
#[test]
fn no_error_with_a_verdict_advises_to_send_again() {
    let mismatch = HeadFenceMismatch {
        db: DbId([0; 16]),
        expected: (Generation(1), stockade_depot::Token([1; 16])),
        expected_txid: Txid(1),
        actual: (Generation(2), stockade_depot::Token([2; 16])),
        actual_txid: Txid(1),
        sealed: false,
    };
    let cause = || "cause".to_owned();
    for verdict in [Verdict::Committed, Verdict::NotCommitted, Verdict::Indeterminate] {
        for error in [
            HostError::ReplyTooLarge { bytes: 2, max: 1 },
            HostError::Overloaded { what: "bytes", max: 1 },
            trapped(None).cause,
            HostError::BudgetExhausted { which: Exhausted::Time },
            HostError::Ended { reason: Reason::Slept, cause: cause() },
            HostError::Fenced { mismatch },
            HostError::CommitLost { cause: cause() },
            HostError::Corrupt { actor: None, what: cause() },
            HostError::Sql { error: SqlError::Busy },
        ] {
            let error = CallError::new(error, Some(verdict));
            assert_eq!(error.retry(), Retry::UnknownOutcome, "{error:?}");
            assert_eq!(error.body().details["verdict"], word(verdict), "{error:?}");
        }
    }
}

#[test]
fn damage_is_never_asked_for_again_and_names_whose_it_is() {
    let actor = ActorId::new("kind", "key").expect("a name");
    let error = HostError::from(StoreError::Corrupt("page 2".to_owned())).of(&actor);
    let body = error.body();
    assert_eq!((error.code(), body.retry), (Code::StoreCorrupt, Retry::Never));
    assert_eq!(body.message, "stored bytes of kind/key are damaged: page 2");
    assert_eq!(body.details, json!({ "kind": "kind", "key": "key" }));
    let other = ActorId::new("kind", "other").expect("a name");
    assert_eq!(error.of(&other).body(), body, "who is named first stays named");
}

/// A full store refused the first commit of the call: nothing of the call was kept.
#[test]
fn what_a_full_store_has_refused_is_sent_again() {
    for verdict in [None, Some(Verdict::NotCommitted)] {
        let full = StoreFull { path: "store".into(), free_bytes: 7 };
        let body = CallError::new(HostError::StoreFull { full }, verdict).body();
        assert_eq!((body.code.as_str(), body.retry), ("full", Retry::Retry));
        assert_eq!(
            (&body.details["path"], &body.details["free_bytes"]),
            (&json!("store"), &json!(7))
        );
    }
}

/// The three that are easily taken for each other leave as three.
#[test]
fn not_open_revoked_and_interrupted_stay_apart() {
    let told = |error: SqlError| {
        let body = HostError::from(error).body();
        (body.code, body.details)
    };
    let revoked = SqlError::Revoked(Reason::Fenced);
    assert_eq!(told(SqlError::NotOpen), ("not-open".to_owned(), json!({})));
    assert_eq!(told(SqlError::Interrupted), ("interrupted".to_owned(), json!({})));
    assert_eq!(told(revoked), ("revoked".to_owned(), json!({ "reason": "fenced" })));
}

#[test]
fn internal_errors_are_shown_without_details() {
    let body = HostError::Internal("/secret/path".to_owned()).body();
    let text = serde_json::to_string(&body).expect("serializes");
    assert!(!text.contains("secret"), "{text}");
    assert_eq!((body.group.as_str(), body.code.as_str()), ("core", "internal"));
}

#[test]
fn messages_are_bounded_at_a_character() {
    let body = HostError::Manifest("é".repeat(10_000)).body();
    assert!(body.message.len() <= MESSAGE_BYTES_MAX + 4);
}

#[test]
fn a_body_reads_back_as_it_was_written() {
    let body = HostError::CrashLooping { restarts: 3, retry_after_ms: 800 }.body();
    let text = serde_json::to_string(&body).expect("serializes");
    assert_eq!(serde_json::from_str::<Body>(&text).expect("reads"), body);
    assert_eq!(
        text,
        r#"{"group":"actor","code":"crash-looping","message":"the actor is crash-looping: 3 restarts; next try in 800 ms","retry":"retry","details":{"restarts":3,"retry_after_ms":800}}"#
    );
}

#[test]
fn words_of_advice_are_those_of_the_body() {
    for code in Code::ALL {
        let word = serde_json::to_value(code.retry()).expect("serializes");
        assert_eq!(word, code.retry().as_str());
    }
}
