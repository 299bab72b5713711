//! The facts of an error, by name. Only what a caller may know.

use serde_json::{Value as Json, json};
use stockade_depot::{ActorId, HeadFenceMismatch, StoreError};

use super::HostError;
use super::code::sql_code;
use crate::import::PlainError;
use crate::sqlite::SqlError;
use crate::typed::{Difference, NotFound, UnknownMethod};

impl HostError {
    /// The facts of an error, by name. Only what a caller may know.
    pub(super) fn details(&self) -> Json {
        match self {
            Self::KindMissing { kind } => json!({ "kind": kind }),
            Self::ActorMissing { actor }
            | Self::ActorAsleep { actor }
            | Self::Destroying { actor }
            | Self::Importing { actor }
            | Self::Starting { actor }
            | Self::Superseded { actor }
            | Self::ImportExists { actor } => actor_details(actor),
            Self::Elsewhere { actor, address } => {
                json!({ "kind": actor.kind(), "key": actor.key(), "address": address })
            }
            Self::Behind { actor, txid, txid_min } => {
                let mut details = actor_details(actor);
                details["txid"] = txid.0.into();
                details["txid_min"] = txid_min.0.into();
                details
            }
            Self::Reroute { actor, runs, address } => {
                let mut details = actor_details(actor);
                details["address"] = address.as_deref().into();
                details["db"] = runs.map(|(db, _)| db.to_string()).into();
                details["generation"] = runs.map(|(_, generation)| generation.0).into();
                details
            }
            Self::CallCycle { cycle } => {
                let chain: Vec<Json> = cycle.actors.iter().map(actor_details).collect();
                json!({ "chain": chain, "crosses": cycle.crosses })
            }
            Self::NotRun { id, .. } => json!({ "call_id": id }),
            Self::CallRecordsFull { max } => json!({ "max": max }),
            Self::HasOutbox { actor, messages } => {
                let mut details = actor_details(actor);
                details["messages"] = (*messages).into();
                details
            }
            Self::MethodMissing(unknown) => method_details(unknown),
            Self::Arguments(error) => {
                json!({ "path": error.path, "expected": error.expected, "got": error.got })
            }
            Self::Signature(difference) => {
                let Difference { method, place, here, there } = &**difference;
                json!({ "method": method, "place": place, "here": here, "there": there })
            }
            Self::PayloadTooLarge { bytes, max } | Self::ReplyTooLarge { bytes, max } => {
                json!({ "bytes": bytes, "max": max })
            }
            Self::Overloaded { what, max } => json!({ "what": what, "max": max }),
            Self::Trapped { crash } => match crash.limit {
                Some(limit) => json!({ "limit": limit.as_str() }),
                None => json!({}),
            },
            Self::BudgetExhausted { which } => json!({ "which": which.as_str() }),
            Self::Stopping(reason) | Self::Ended { reason, .. } => {
                json!({ "reason": reason.as_str() })
            }
            Self::CrashLooping { restarts, retry_after_ms } => {
                json!({ "restarts": restarts, "retry_after_ms": retry_after_ms })
            }
            Self::QuotaReached { kind, what, used, max } => {
                json!({ "kind": kind, "quota": what, "used": used, "max": max })
            }
            Self::CreatedTooFast { kind, max, retry_after_ms } => {
                json!({ "kind": kind, "max": max, "retry_after_ms": retry_after_ms })
            }
            Self::KindInUse { kind, actor } => json!({ "kind": kind, "key": actor.key() }),
            Self::Fenced { mismatch } => fence_details(mismatch),
            Self::Corrupt { actor: Some(actor), .. } => actor_details(actor),
            Self::StoreFull { full } => {
                json!({ "path": full.path, "free_bytes": full.free_bytes })
            }
            Self::Store(StoreError::Failed(failure)) => {
                json!({ "file": failure.file, "why": failure.cause.as_str() })
            }
            Self::Store(StoreError::Refused { limit, actual, max }) => {
                json!({ "limit": format!("{limit:?}"), "actual": actual, "max": max })
            }
            Self::Store(StoreError::HistoryGone { txid, floor, .. }) => {
                json!({ "txid": txid.0, "floor": floor.0 })
            }
            Self::Store(StoreError::Elsewhere { shard, primary }) => {
                json!({ "shard": shard.0, "primary": primary })
            }
            Self::Import(PlainError::TooLarge { bytes, max }) => {
                json!({ "bytes": bytes, "max": max })
            }
            Self::Sql { error } => sql_details(error),
            Self::InvalidActor(_)
            | Self::InvalidCallKey(_)
            | Self::Manifest(_)
            | Self::Component(_)
            | Self::FaultsNotAllowed
            | Self::InvalidFault(_)
            | Self::StartFailed { .. }
            | Self::CommitLost { .. }
            | Self::Corrupt { actor: None, .. }
            | Self::Store(_)
            | Self::Import(_)
            | Self::ShuttingDown
            | Self::Draining
            | Self::LeaseLost
            | Self::DeadlinePassed
            | Self::Alone
            | Self::Directory { .. }
            | Self::Engine(_)
            | Self::Internal(_) => json!({}),
        }
    }
}

fn sql_details(error: &SqlError) -> Json {
    match error {
        SqlError::Constraint(failure) => {
            json!({ "table": failure.table, "columns": failure.columns })
        }
        SqlError::LimitExceeded(limit) => json!({ "limit": limit.as_str() }),
        SqlError::CommitTooLarge(max) => json!({ "max": max }),
        SqlError::Revoked(reason) => json!({ "reason": reason.as_str() }),
        SqlError::Statement(failure) => {
            json!({ "sqlite_code": failure.code, "offset": failure.offset })
        }
        SqlError::RowFailed { row, cause } => {
            json!({ "row": row, "cause": sql_code(cause).name(), "details": sql_details(cause) })
        }
        SqlError::Busy
        | SqlError::Denied(_)
        | SqlError::Interrupted
        | SqlError::Full
        | SqlError::NotOpen
        | SqlError::Unavailable
        | SqlError::InvalidArgument(_)
        | SqlError::Other(_) => json!({}),
    }
}

fn method_details(unknown: &UnknownMethod) -> Json {
    let method = &unknown.name;
    match &unknown.why {
        NotFound::NoSuch { similar, known, count } => {
            json!({ "method": method, "similar": similar, "known": known, "count": count })
        }
        NotFound::Ambiguous { candidates } => {
            json!({ "method": method, "candidates": candidates })
        }
        NotFound::Excluded { why } => json!({ "method": method, "excluded": why.to_string() }),
    }
}

fn actor_details(actor: &ActorId) -> Json {
    json!({ "kind": actor.kind(), "key": actor.key() })
}

/// Both fences without their tokens: a token grants ownership.
fn fence_details(mismatch: &HeadFenceMismatch) -> Json {
    json!({
        "db": mismatch.db.to_string(),
        "expected_generation": mismatch.expected.0.0,
        "expected_txid": mismatch.expected_txid.0,
        "actual_generation": mismatch.actual.0.0,
        "actual_txid": mismatch.actual_txid.0,
        "sealed": mismatch.sealed,
    })
}
