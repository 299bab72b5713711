//! The form of answers: refusals with their row of the error table, calls with their headers.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use stockade::CallKey;
use stockade_depot::{ActorId, Generation, Txid};

use super::arguments::{Form, WAVE_CONTENT_TYPE};
use super::{BILL_HEADER, GENERATION_HEADER, RESULT_HEADER, TXID_HEADER};
use stockade::error::{Body, CallError, Code, HostError, Retry};
use stockade::host::{Bill, Reply};

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Refusal {
    code: Code,
    body: Box<Body>,
    retry_after: Option<Duration>,
    /// Whether the request's body may be unread. The connection cannot be used again then, and a
    /// client that does not know this would lose its next request on it.
    closes: bool,
}

impl Refusal {
    /// A refusal by the gateway itself: nothing reached the host.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        let body = Box::new(code.body(message.into(), json!({})));
        Self { code, body, retry_after: code.retry_after(), closes: false }
    }

    /// A failed call. `for_authors`: the caller may read what the guest wrote when it died.
    pub(super) fn of_call(error: CallError, for_authors: bool) -> Self {
        let body = for_authors.then(|| Box::new(error.body_for_authors()));
        let refusal = Self::from(error);
        Self { body: body.unwrap_or(refusal.body), ..refusal }
    }

    /// A refusal because of one field of the head.
    pub(super) fn of_field(code: Code, field: &HeaderName, message: &str) -> Self {
        let details = json!({ "header": field.as_str() });
        Self::new(code, format!("`{field}`: {message}")).with(details)
    }

    /// The row of the table.
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// What the caller is advised to do.
    pub(super) fn advice(&self) -> Retry {
        self.body.retry
    }

    /// The body.
    pub(super) fn into_body(self) -> Body {
        *self.body
    }

    /// Adds the facts by name.
    pub(super) fn with(mut self, details: Json) -> Self {
        self.body.details = details;
        self
    }

    /// The refusal of a call that may have an id: if its outcome is not known, it says how to ask.
    pub(super) fn identified(self, actor: &ActorId, key: Option<&CallKey>) -> Self {
        let Some(key) = key else { return self };
        Self { body: Box::new(self.body.identified(actor, key.id())), ..self }
    }

    /// A refusal while the request's body is still to come, so that the connection cannot continue.
    pub(super) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }
}

impl From<HostError> for Refusal {
    fn from(error: HostError) -> Self {
        CallError::from(error).into()
    }
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        let code = error.code();
        // The caller does not get the inner cause; the log does.
        if code == Code::Internal {
            tracing::error!(%error, "internal error");
        }
        let (body, retry_after) = (Box::new(error.body()), error.retry_after());
        Self { code, body, retry_after, closes: false }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.code.status()).expect("BUG: the table has HTTP statuses");
        tracing::debug!(
            status = status.as_u16(),
            code = self.code.name(),
            message = self.body.message,
            "refused"
        );
        let mut response = (status, axum::Json(&*self.body)).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: an early retry would be refused again.
            let seconds = wait.as_millis().div_ceil(1000);
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The answer to a call, in the notation that was asked for.
pub(super) fn of_call(reply: &Reply, form: Form) -> Response {
    let (content_type, bytes) = match form {
        Form::Json => ("application/json", json_bytes(&reply.to_json())),
        Form::Wave => (WAVE_CONTENT_TYPE, reply.to_wave().into_bytes()),
    };
    let result = if reply.is_err() { "err" } else { "ok" };
    let mut response = ([(header::CONTENT_TYPE, content_type)], bytes).into_response();
    with_commit(&mut response, reply.generation, reply.txid);
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(RESULT_HEADER), HeaderValue::from_static(result));
    let bill = HeaderValue::try_from(bill(&reply.bill)).expect("BUG: the bill is ASCII");
    headers.insert(HeaderName::from_static(BILL_HEADER), bill);
    response
}

/// Adds which generation answered, as of which commit.
pub(super) fn with_commit(response: &mut Response, generation: Generation, txid: Txid) {
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(GENERATION_HEADER), HeaderValue::from(generation.0));
    headers.insert(HeaderName::from_static(TXID_HEADER), HeaderValue::from(txid.0));
}

/// The bill as a header: every field has its name, so that a new one breaks no reader.
fn bill(bill: &Bill) -> String {
    let Bill { queue_us, run_us, gate_us, sql_steps, rows_read, rows_written, row_bytes, .. } =
        bill;
    let Bill { pages_read, pages_written, .. } = bill;
    format!(
        "queue_us={queue_us};run_us={run_us};gate_us={gate_us};sql_steps={sql_steps};\
         rows_read={rows_read};rows_written={rows_written};row_bytes={row_bytes};\
         pages_read={pages_read};pages_written={pages_written}"
    )
}

fn json_bytes(value: &Json) -> Vec<u8> {
    serde_json::to_vec(value).expect("BUG: a JSON value is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_is_pairs() {
        let text = bill(&Bill { queue_us: 12, sql_steps: 340, ..Bill::default() });
        assert!(text.starts_with("queue_us=12;"), "{text}");
        assert!(text.contains(";sql_steps=340;"), "{text}");
        let fields = serde_json::to_value(Bill::default()).expect("JSON");
        let names: Vec<&str> = text.split(';').filter_map(|pair| pair.split('=').next()).collect();
        let all = fields.as_object().expect("fields").keys().map(String::as_str);
        assert_eq!(names, all.collect::<Vec<_>>(), "every field, in its order");
    }

    #[test]
    fn a_retry_is_never_asked_for_too_early() {
        let error = HostError::CrashLooping { restarts: 4, retry_after_ms: 1_001 };
        let response = Refusal::from(error).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
