//! The admin routes about processes: which ones share the store, and the drain of this one.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Gateway;
use super::reply::Refusal;
use stockade::error::{Code, HostError};
use stockade::host::{Drain, NodeInfo};

/// How long an answer waits for the end of a drain at most. 1 s: clients show progress.
const WAIT_MAX: Duration = Duration::from_secs(1);

type Answer = Result<Response, Refusal>;
type Shared = State<Arc<Gateway>>;

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/admin/nodes", get(nodes))
        .route("/admin/drain", post(drain).get(status).delete(stop_draining))
}

async fn nodes(State(gateway): Shared) -> Answer {
    let nodes = gateway.host.nodes().await?;
    let nodes: Vec<Json> = nodes.iter().map(node).collect();
    Ok(axum::Json(json!({ "nodes": nodes })).into_response())
}

fn node(info: &NodeInfo) -> Json {
    let load = info.load.map(|load| {
        json!({
            "awake": load.awake,
            "awake_max": load.awake_max,
            "guest_bytes": load.guest_bytes,
            "guest_bytes_max": load.guest_bytes_max,
            "cpu_permille": load.cpu_permille,
        })
    });
    json!({
        "node": info.session.to_string(),
        "address": info.address,
        "peers": info.peers,
        "version": info.version,
        "pid": info.pid,
        "alive": info.alive,
        "draining": info.draining,
        "lease_age_ms": u64::try_from(info.lease_age.as_millis()).unwrap_or(u64::MAX),
        "load": load,
        "answers": info.answers,
    })
}

/// Begins to give actors up. Refused if the host passes no calls on: callers would get errors.
async fn drain(State(gateway): Shared, body: Body) -> Answer {
    gateway.bodies.read(body).await?;
    if gateway.lines.is_none() {
        return Err(HostError::Alone.into());
    }
    Ok(told(gateway.host.drain().await?))
}

/// How long the answer may wait for the end of a drain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    #[serde(default)]
    wait_ms: u64,
}

async fn status(
    State(gateway): Shared,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> Answer {
    let Query(StatusQuery { wait_ms }) =
        query.map_err(|rejection| Refusal::new(Code::Malformed, rejection.body_text()))?;
    let wait = Duration::from_millis(wait_ms).min(WAIT_MAX);
    // Whether it has ended is in the answer.
    drop(tokio::time::timeout(wait, gateway.host.drained()).await);
    Ok(told(gateway.host.drain_status()))
}

async fn stop_draining(State(gateway): Shared, body: Body) -> Answer {
    gateway.bodies.read(body).await?;
    Ok(told(gateway.host.stop_draining()))
}

fn told(drain: Drain) -> Response {
    let Drain { draining, awake, takers } = drain;
    axum::Json(json!({ "draining": draining, "awake": awake, "takers": takers })).into_response()
}
