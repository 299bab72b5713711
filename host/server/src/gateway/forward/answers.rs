//! Answers of other processes: which fields go to the caller, and which errors say that nothing was
//! done.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Response as Answer, header};
use axum::response::Response;
use serde_json::Value as Json;
use stockade_depot::{DbId, Generation, Txid};

use super::super::{BILL_HEADER, GENERATION_HEADER, RESULT_HEADER, TXID_HEADER};
use stockade::error::{Body as ErrorBody, Code};

/// Fields of an answer that its caller gets.
static OF_ANSWER: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::RETRY_AFTER,
    HeaderName::from_static(GENERATION_HEADER),
    HeaderName::from_static(TXID_HEADER),
    HeaderName::from_static(BILL_HEADER),
    HeaderName::from_static(RESULT_HEADER),
];

/// An answer with the fields that its caller gets.
pub(super) fn passed_on(answer: Answer<Body>) -> Response {
    let (mut parts, body) = answer.into_parts();
    let mut fields = HeaderMap::new();
    for field in &OF_ANSWER {
        if let Some(value) = parts.headers.remove(field) {
            fields.insert(field.clone(), value);
        }
    }
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (parts.status, fields);
    response
}

/// The error in a refusal.
pub(super) fn error_of(bytes: &[u8]) -> Option<(Code, ErrorBody)> {
    let body: ErrorBody = serde_json::from_slice(bytes).ok()?;
    let named = |code: &&Code| code.group() == body.group && code.name() == body.code;
    let code = *Code::ALL.iter().find(named)?;
    Some((code, body))
}

/// The commit that an answer is as of, if it says so.
pub(super) fn txid_of(answer: &Response) -> Option<Txid> {
    let text = answer.headers().get(TXID_HEADER)?.to_str().ok()?;
    text.parse().ok().map(Txid)
}

/// The generation that the other process says it runs.
pub(super) fn runs_of(details: &Json) -> Option<(DbId, Generation)> {
    let mut db = [0; 16];
    hex::decode_to_slice(details["db"].as_str()?, &mut db).ok()?;
    Some((DbId(db), Generation(details["generation"].as_u64()?)))
}

#[cfg(test)]
mod tests {
    use stockade::error::{HostError, Retry};
    use stockade::internal::is_moved;
    use stockade_depot::ActorId;

    use super::*;

    #[test]
    fn only_what_has_surely_not_run_is_tried_again() {
        for code in [
            Code::Elsewhere,
            Code::Reroute,
            Code::Superseded,
            Code::HeadFenceMismatch,
            Code::Draining,
            Code::Starting,
            Code::Stopping,
            Code::ShuttingDown,
            Code::LeaseLost,
        ] {
            assert!(is_moved(code, code.retry()), "{code:?}");
            assert!(!is_moved(code, Retry::UnknownOutcome), "{code:?} with a verdict");
        }
        for code in [
            Code::Ended,
            Code::CommitLost,
            Code::Unanswered,
            Code::DeadlinePassed,
            Code::ActorOverloaded,
            Code::Trapped,
            Code::StoreUnknown,
            Code::Internal,
        ] {
            assert!(!is_moved(code, code.retry()), "{code:?}");
        }
    }

    #[test]
    fn what_another_process_runs_is_read_from_its_refusal() {
        let actor = ActorId::new("kind", "key").expect("a name");
        let runs = Some((DbId([7; 16]), Generation(3)));
        for runs in [runs, None] {
            let error = HostError::Reroute { actor: actor.clone(), runs, address: None };
            let bytes = serde_json::to_vec(&error.body()).expect("JSON");
            let (code, body) = error_of(&bytes).expect("reads");
            assert_eq!((code, runs_of(&body.details)), (Code::Reroute, runs));
        }
        assert!(error_of(b"{}").is_none() && error_of(b"<html>").is_none());
    }

    #[test]
    fn an_answer_has_its_own_fields_and_no_others() {
        let answer = Answer::builder()
            .status(503)
            .header("retry-after", "1")
            .header("stockade-txid", "7")
            .header("connection", "close")
            .header("x-other", "1")
            .body(Body::empty())
            .expect("an answer");
        let passed = passed_on(answer);
        let names: Vec<&str> = passed.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!((passed.status().as_u16(), names), (503, vec!["retry-after", "stockade-txid"]));
        assert_eq!(passed.headers()["retry-after"], "1");
    }
}
