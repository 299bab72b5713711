//! `POST /admin/verify`: the check of the whole store, reported while it runs.
//!
//! ```text
//!  {"progress": {"what", "done", "total"}}     what was looked at
//!  {"finding": {"file", "table", "actor", "what"}}
//!  {"accepted": {...}}                         a loss that was accepted: not counted
//!  {"actor": {"actor", "ok", "commits", ...}}   as of `verify` of one actor
//!  {"end": {"ok", "actors", "damaged", "findings"}} or {"error": ...}    the last line
//! ```
//! The check runs as part of its answer: it advances as fast as the client reads the lines, and
//! ends when the client goes away.

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::super::LINES_CONTENT_TYPE;
use super::super::reply::Refusal;
use super::{Answer, Shared, told};
use stockade::error::Code;
use stockade::host::VerifyNews;

/// What to check.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckQuery {
    /// Only the actors of this kind, in addition to the store itself.
    kind: Option<String>,
}

pub(super) async fn verify_all(
    State(gateway): Shared,
    query: Result<Query<CheckQuery>, QueryRejection>,
    body: Body,
) -> Answer {
    gateway.bodies.read(body).await?;
    let Query(CheckQuery { kind }) =
        query.map_err(|rejection| Refusal::new(Code::Malformed, rejection.body_text()))?;
    let room = gateway.admission.check()?;
    // The channel has no bound of its own: it holds what one step of the check reports before the
    // lines are read.
    let (tell, mut lines) = mpsc::unbounded_channel();
    let work = async move {
        let _room = room;
        let mut news = |news: VerifyNews| drop(tell.send(told::news(&news)));
        let end = match gateway.host.verify_all(kind.as_deref(), &mut news).await {
            Ok(verified) => told::end_of_check(&verified),
            Err(error) => json!({ "error": error.body() }),
        };
        drop(tell.send(end));
    };
    let work = stream::once(work).filter_map(|()| std::future::ready(None));
    let lines = stream::poll_fn(move |context| lines.poll_recv(context)).map(line);
    let mut response = Body::from_stream(stream::select(lines, work)).into_response();
    let content_type = HeaderValue::from_static(LINES_CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

fn line(document: Json) -> Result<Bytes, std::convert::Infallible> {
    Ok(format!("{document}\n").into())
}
